//! What to do about a job: which revision runs, with how many pods, and what its coordinator is asked. Pure.
use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use millstream_api::crd::{OperationKind, OperationStep};
use millstream_api::wire::{JobState, KeepRequest, ReleaseRequest, ReleasedWorker, RescaleRequest, StopRequest};

use super::admit::{Admitted, Rejection};
use super::observe::{Answer, Observed, Said};
use crate::control::{self, Action, Report};
use crate::diagnose;
use crate::event::{Happened, News};
use crate::name::{Role, ordinal};
use crate::platform::{self, number::Numbers};
use crate::revision::{Revision, Verdict};

pub mod lost;
pub mod redeploy;
pub mod scarcity;
mod tell;

/// A coordinator that does not answer for this long is stopped without a savepoint: its last checkpoint has to do.
const SILENCE_MS: i64 = 60_000;
/// A pod that was to go and is there this long after its grace is on a node that is gone: nobody waits for it.
const STUCK_MS: i64 = 60_000;

/// What to do.
#[derive(Debug, Clone, Default)]
pub struct Decision {
    /// Where the job is on its way.
    pub phase: Phase,
    /// The revision that is to run; `None` if no spec was ever good.
    pub target: Option<Revision>,
    /// Revisions to be written, in this order; the target is one of them.
    pub revisions: Vec<Revision>,
    /// Pods of each role of each revision that has any.
    pub replicas: BTreeMap<(String, Role), u32>,
    /// Name of the revision that the spec asks for; `None` if it cannot be read.
    pub wanted: Option<String>,
    /// The revision that is being checked, while that is not known to be good.
    pub check: Option<redeploy::Check>,
    /// Pods that checked something, and are of no use any more.
    pub checked: Vec<Arc<Pod>>,
    /// How the workers of the target are numbered: those that are lost are passed over.
    pub numbers: Numbers,
    /// What the coordinator is asked, before pods change.
    pub calls: Vec<Call>,
    /// What is under way.
    pub operation: Option<(OperationKind, OperationStep)>,
    /// What happened.
    pub news: Vec<News>,
    /// What the control loop reports.
    pub reports: Vec<Report>,
}

/// Where a job is on its way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Phase {
    /// There is nothing that could run.
    #[default]
    Refused,
    /// It is being stopped on request.
    Suspending,
    /// It is stopped.
    Suspended,
    /// It has run to its end.
    Completed,
    /// The pods of another revision go.
    Redeploying,
    /// Its pods are there, or come.
    Up,
}

/// What a coordinator is asked.
#[derive(Debug, Clone, PartialEq)]
pub enum Call {
    /// To stop with a savepoint.
    Stop(StopRequest),
    /// For other parallelisms.
    Rescale(RescaleRequest),
    /// To place nothing on these workers any more. Only then do they go.
    Release(ReleaseRequest),
    /// To keep another number of checkpoints.
    Keep(KeepRequest),
}

/// Decides.
pub fn decide(observed: &Observed, admitted: &Result<Admitted, Rejection>, memory: &mut control::Memory) -> Decision {
    let mut decision = Decision::default();
    redeploy::choose(observed, admitted, &mut decision);
    let Some(target) = decision.target.clone() else { return decision };
    let ended = target.verdict.is_some();
    if ended || observed.job.spec.suspend {
        let up = all_up(observed);
        decision.phase = match (&target.verdict, up) {
            (Some(Verdict::Completed), _) => Phase::Completed,
            (Some(Verdict::Rejected { .. }), _) => Phase::Refused,
            (None, true) => Phase::Suspending,
            (None, false) => Phase::Suspended,
        };
        if decision.phase == Phase::Suspending {
            let kind = OperationKind::Suspend;
            if stop(observed, &mut decision, kind, |_| true) {
                decision.news.push(News::new(Happened::Suspending, "stopping with a savepoint, as spec.suspend says"));
            }
        } else {
            all_to_zero(observed, &mut decision, |_| true);
        }
        redeploy::pause(&mut decision);
        return decision;
    }
    let of_others = |revision: &str| revision != target.name;
    if has_pods(observed, &of_others) {
        decision.phase = Phase::Redeploying;
        let kind = redeploy::kind(admitted, &decision);
        if stop(observed, &mut decision, kind, of_others) && kind != OperationKind::Rollback {
            let note = format!("revision {} takes over; stopping the old one with a savepoint", target.name);
            decision.news.push(News::new(Happened::Redeploying, note));
        }
        return decision;
    }
    if let Some(said) = observed.said().filter(|said| said.job.state == JobState::Stopped) {
        // Whoever had it stopped does not want that any more, or has called its API: it begins again from its savepoint.
        tracing::info!(revision = said.revision, "the job is stopped and should not be; it begins again");
        decision.phase = Phase::Redeploying;
        decision.operation = Some((OperationKind::Redeploy, OperationStep::Stopping));
        all_to_zero(observed, &mut decision, |_| true);
        return decision;
    }
    decision.phase = Phase::Up;
    redeploy::begin_trial(observed, &mut decision);
    run(observed, admitted, memory, &target, &mut decision);
    redeploy::operation(&mut decision);
    decision
}

/// Stops what `is_meant`: with a savepoint unless nothing of it is visible yet, then without pods. Says whether the coordinator is
/// asked now.
fn stop(observed: &Observed, decision: &mut Decision, kind: OperationKind, is_meant: impl Fn(&str) -> bool) -> bool {
    let is_exact =
        |revision: &str| kind != OperationKind::Suspend && redeploy::is_unproven(observed, decision, revision);
    let call =
        |said: &Said, savepoint| Call::Stop(StopRequest { savepoint, resumes: true, expect: Some(said.expect()) });
    let mut calls = Vec::new();
    let wait = match &observed.answer {
        Answer::Said(said) if is_meant(&said.revision) => match (said.job.state, is_exact(&said.revision)) {
            (JobState::Running | JobState::Rescaling, false) => {
                calls.push(call(said, true));
                true
            }
            // Pods that go take a checkpoint if they can, and this one's must not be the next one's beginning.
            (JobState::Running | JobState::Rescaling | JobState::Deploying | JobState::Recovering, true) => {
                calls.push(call(said, false));
                true
            }
            (JobState::Stopping, _) => true,
            // Nothing runs that a savepoint could hold; the last checkpoint stands.
            _ => false,
        },
        // What cannot be run has nothing to save.
        Answer::Silent { since_ms, .. } => {
            let is_good = |revision: &Revision| is_meant(&revision.name) && !is_exact(&revision.name);
            observed.now_ms - since_ms < SILENCE_MS
                && observed.revisions.iter().any(|revision| is_good(revision) && runs(observed, revision))
        }
        Answer::Said(_) | Answer::Absent => false,
    };
    if wait {
        let asks_for_savepoint = !calls.iter().any(|call| matches!(call, Call::Stop(request) if !request.savepoint));
        let step = if asks_for_savepoint { OperationStep::TakingSavepoint } else { OperationStep::Stopping };
        decision.operation = Some((kind, step));
        decision.calls.extend(calls);
        keep(observed, decision, is_meant);
        return !decision.calls.is_empty();
    }
    decision.operation = Some((kind, OperationStep::Stopping));
    all_to_zero(observed, decision, is_meant);
    false
}

/// Whether a revision is told to have pods.
fn runs(observed: &Observed, revision: &Revision) -> bool {
    observed.workloads.iter().any(|workload| workload.revision == revision.name && workload.replicas > 0)
}

/// Leaves the pods of what `is_meant` as they are.
fn keep(observed: &Observed, decision: &mut Decision, is_meant: impl Fn(&str) -> bool) {
    for workload in observed.workloads.iter().filter(|workload| is_meant(&workload.revision)) {
        decision.replicas.insert((workload.revision.clone(), workload.role), workload.replicas);
    }
}

fn all_to_zero(observed: &Observed, decision: &mut Decision, is_meant: impl Fn(&str) -> bool) {
    for workload in observed.workloads.iter().filter(|workload| is_meant(&workload.revision)) {
        decision.replicas.insert((workload.revision.clone(), workload.role), 0);
    }
}

fn all_up(observed: &Observed) -> bool {
    observed.workloads.iter().any(|workload| workload.replicas > 0)
}

/// Whether a revision that `is_meant` has pods, or will.
fn has_pods(observed: &Observed, is_meant: &impl Fn(&str) -> bool) -> bool {
    let told = observed
        .workloads
        .iter()
        .any(|workload| is_meant(&workload.revision) && (workload.replicas > 0 || workload.is_behind));
    let there = observed.pods.iter().any(|pod| {
        diagnose::revision(pod).is_some_and(is_meant)
            && diagnose::role(pod).is_some()
            && !diagnose::is_over(pod)
            && !is_stuck(pod, observed.now_ms)
    });
    told || there
}

/// Whether a pod should be gone long since.
pub fn is_stuck(pod: &Pod, now_ms: i64) -> bool {
    // The time of deletion has the grace in it.
    pod.metadata.deletion_timestamp.as_ref().is_some_and(|time| now_ms - time.0.as_millisecond() > STUCK_MS)
}

/// The normal life of a revision: its pods are there, and the control loop says how many.
fn run(
    observed: &Observed,
    admitted: &Result<Admitted, Rejection>,
    memory: &mut control::Memory,
    target: &Revision,
    decision: &mut Decision,
) {
    let plan = redeploy::plan(observed, admitted, target);
    all_to_zero(observed, decision, |revision| revision != target.name);
    let workers = observed.workload(&target.name, Role::Worker).map(|workload| workload.replicas);
    let initial = plan.as_ref().map_or(1, control::Plan::initial_workers);
    let desired = workers.filter(|workers| *workers > 0).unwrap_or(initial);
    decision.replicas.insert((target.name.clone(), Role::Coordinator), 1);
    decision.replicas.insert((target.name.clone(), Role::Worker), desired);
    let (Some(said), Some(plan)) = (observed.said().filter(|said| said.revision == target.name), plan) else { return };
    let numbers = lost::numbers(&observed.pods, &target.name, &said.job.workers, observed.now_ms);
    if let Some(why) = scarcity::why(observed.pods_of(&target.name, Role::Worker), &observed.refusals, observed.now_ms)
    {
        memory.lacks(why);
    } else if memory.awaited().is_none() && memory.given_up().is_none() {
        memory.lacks_nothing();
    }
    let seen = platform::Observed {
        job: Some(said.job.clone()),
        stages: said.stages.clone(),
        rescales: said.rescales.clone(),
        workers_desired: numbers.below(desired),
        numbers: numbers.clone(),
        coordinator_done: false,
    };
    for action in control::step(&seen, &plan, memory, observed.now_ms) {
        match action {
            Action::EnsureWorkers(count) => {
                let count = numbers.end(count);
                decision.replicas.insert((target.name.clone(), Role::Worker), count);
                decision.calls.extend(release(said, count).map(Call::Release));
            }
            Action::Rescale(request) => {
                decision.news.push(News::new(Happened::RescaleStarted, describe(&request, said)));
                decision.calls.push(Call::Rescale(RescaleRequest { expect: Some(said.expect()), ..request }));
            }
            Action::Report(report) => decision.reports.push(*report),
        }
    }
    decision.calls.extend(kept(observed, admitted, said).map(Call::Keep));
    decision.news.extend(decision.reports.iter().flat_map(|report| tell::told(report, plan.mode)));
    decision.operation = rescale_operation(said, memory, desired);
    decision.numbers = numbers;
}

/// As many checkpoints as the newest spec says, if that can be run.
fn kept(observed: &Observed, admitted: &Result<Admitted, Rejection>, said: &Said) -> Option<KeepRequest> {
    let checkpoints = observed.job.spec.checkpoint.keep;
    let differs = said.job.checkpoints_kept.is_some_and(|kept| kept != checkpoints);
    (admitted.is_ok() && differs).then(|| KeepRequest { checkpoints, expect: Some(said.expect()) })
}

/// The workers from number `count` on, as they are registered now.
fn release(said: &Said, count: u32) -> Option<ReleaseRequest> {
    let goes = said.job.workers.iter().filter(|worker| ordinal(&worker.id).is_some_and(|number| number >= count));
    let workers: Vec<_> =
        goes.map(|worker| ReleasedWorker { name: worker.id.clone(), incarnation: worker.incarnation }).collect();
    (!workers.is_empty()).then(|| ReleaseRequest { workers, expect: Some(said.expect()) })
}

fn describe(request: &RescaleRequest, said: &Said) -> String {
    let now = |name: &str| said.stages.iter().find(|stage| stage.name == name).map_or(0, |stage| stage.tasks.len());
    let changes = request.stages.iter().map(|(name, tasks)| format!("{name} {} -> {tasks}", now(name)));
    let spread = request.rebalance.iter().map(|name| format!("{name} spread by load"));
    let vacated = request.vacate.iter().map(|name| format!("{name} is emptied: fewer workers are enough"));
    changes.chain(spread).chain(vacated).collect::<Vec<_>>().join(", ")
}

fn rescale_operation(said: &Said, memory: &control::Memory, desired: u32) -> Option<(OperationKind, OperationStep)> {
    let kind = OperationKind::Rescale;
    if said.rescales.first().is_some_and(|rescale| !rescale.state.is_final()) || memory.is_rescaling() {
        return Some((kind, OperationStep::Moving));
    }
    if memory.awaited().is_some() {
        return Some((kind, OperationStep::WaitingForPods));
    }
    let released = said.job.workers.iter().filter(|worker| worker.released);
    let leaving = released.filter(|worker| ordinal(&worker.id).is_some_and(|number| number < desired)).count();
    (leaving > 0).then_some((kind, OperationStep::RemovingPods))
}
