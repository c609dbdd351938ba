//! The status: what was applied and observed, never what was intended. Pure, but for the write in `reconcile`.
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use millstream_api::crd::{
    CheckpointStatus, Failure, Operation, Recommendation, Rejected, RevisionStatus, StageStatus, StreamJobStatus,
    WorkerCount,
};

use super::admit::{Admitted, Rejection};
use super::apply::Applied;
use super::decide::{Decision, Phase, redeploy};
use super::observe::{Observed, Said};
use crate::autoscale;
use crate::control::{Event, Memory, Mode};
use crate::diagnose;
use crate::name::Role;
use crate::revision::{Revision, Verdict};

mod condition;
mod lag;
mod obstacle;
mod ready;

pub use condition::ignored;
pub use obstacle::obstacle;
pub use ready::is_settled;

/// The time of the newest checkpoint moves at most this often.
const CHECKPOINT_MS: i64 = 60_000;
/// Values that only follow the load are written at most this often.
const QUIET_MS: i64 = 30_000;

/// What a status is made from.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// What was seen.
    pub observed: &'a Observed,
    /// Whether the spec can be run.
    pub admitted: &'a Result<Admitted, Rejection>,
    /// What was decided.
    pub decision: &'a Decision,
    /// What was done.
    pub applied: &'a Applied,
    /// What the control loop remembers.
    pub control: &'a Memory,
    /// This installation.
    pub installation: &'a str,
    /// The status before.
    pub before: &'a StreamJobStatus,
}

impl Facts<'_> {
    /// What the coordinator of the target says.
    fn said(&self) -> Option<&Said> {
        let target = self.decision.target.as_ref()?;
        self.observed.said().filter(|said| said.revision == target.name)
    }

    /// Why the newest spec does not run, if it does not.
    fn rejection(&self) -> Option<Rejection> {
        match self.admitted {
            Err(rejection) => Some(rejection.clone()),
            Ok(admitted) => {
                // What the pods found is told of the decision's revisions, which know more than those that were observed.
                let revisions = self.decision.revisions.iter().chain(std::iter::once(&admitted.revision));
                let found = revisions.into_iter().find(|revision| revision.name == admitted.revision.name)?;
                let Some(Verdict::Rejected { reason, message }) = &found.verdict else { return None };
                Some(Rejection { reason: *reason, message: message.clone() })
            }
        }
    }
}

/// The status of a job.
pub fn status(facts: Facts<'_>) -> StreamJobStatus {
    let Facts { observed, decision, before, .. } = facts;
    let generation = observed.job.metadata.generation;
    let rejection = facts.rejection();
    let stages = stages(&facts);
    let is_up = decision.phase == Phase::Up || decision.phase == Phase::Redeploying;
    let widest = |of: fn(&StageStatus) -> u32| stages.iter().map(of).max();
    let target = decision.target.as_ref();
    let mut status = StreamJobStatus {
        observed_generation: told_generation(&facts),
        conditions: condition::conditions(&facts, rejection.as_ref()),
        parallelism: Some(if is_up { widest(|stage| stage.parallelism).unwrap_or(0) } else { 0 }),
        target_parallelism: if is_up { widest(|stage| stage.target) } else { Some(0) },
        selector: Some(observed.identity.selector_text(Role::Worker)),
        workers: target.map(|target| workers(&facts, target)),
        stages,
        revision: target.map(|target| revision(&facts, target)),
        rejected: rejection.map(|rejection| Rejected {
            generation: generation.unwrap_or_default(),
            reason: rejection.reason,
            message: rejection.message,
        }),
        operation: operation(&facts),
        lag: is_up.then(|| lag::lag(&facts)).flatten(),
        checkpoint: checkpoint(&facts),
        // Whoever runs the job knows it; while there is nobody, what was said stands.
        started_from: match facts.said() {
            Some(said) if said.job.term > 0 => said.job.started_from.clone(),
            _ => before.started_from.clone(),
        },
        recommendation: recommendation(&facts),
        last_failure: last_failure(&facts),
        operator: Some(facts.installation.to_owned()),
    };
    let placed = facts.said().is_some_and(|said| said.stages.iter().any(|stage| !stage.tasks.is_empty()));
    if !placed && decision.phase == Phase::Up {
        // Nobody to ask, or one who asks around himself: what was true is more likely to be so than nothing.
        status.parallelism = before.parallelism.or(status.parallelism);
        status.target_parallelism = before.target_parallelism;
        status.stages.clone_from(&before.stages);
        status.lag.clone_from(&before.lag);
    }
    status
}

/// The generation that the status is about. As long as the newest spec is neither taken nor refused, that is the one before:
/// whoever waits for the new one to be ready must not be told that the old one is.
fn told_generation(facts: &Facts<'_>) -> Option<i64> {
    let before = facts.before.observed_generation;
    let running = || facts.decision.target.as_ref().map(|target| target.data.generation);
    if redeploy::is_undecided(facts.decision) {
        before.or_else(running)
    } else {
        facts.observed.job.metadata.generation
    }
}

/// Whether a status need not be written now: nothing has changed, or only what follows the load and was written just now.
pub fn is_quiet(status: &StreamJobStatus, before: &StreamJobStatus, written_ms: Option<i64>, now_ms: i64) -> bool {
    if status == before {
        return true;
    }
    let steady = |status: &StreamJobStatus| StreamJobStatus {
        lag: None,
        checkpoint: None,
        recommendation: None,
        ..status.clone()
    };
    let was_just_written = written_ms.is_some_and(|at_ms| now_ms - at_ms < QUIET_MS);
    was_just_written && before.operator.is_some() && steady(status) == steady(before)
}

fn time(ms: i64) -> Time {
    Time(Timestamp::from_millisecond(ms).unwrap_or_default())
}

/// Time without its part of a second: as the API server keeps it.
fn second(ms: i64) -> Time {
    time(ms.div_euclid(1000) * 1000)
}

fn stages(facts: &Facts<'_>) -> Vec<StageStatus> {
    let Some(said) = facts.said() else { return Vec::new() };
    let running = said.rescales.first().filter(|rescale| !rescale.state.is_final());
    let stages = said.stages.iter().map(|stage| {
        let parallelism = u32::try_from(stage.tasks.len()).unwrap_or(u32::MAX);
        let awaited = facts.control.awaited().and_then(|stages| stages.get(&stage.name));
        let target = running.and_then(|rescale| rescale.to.get(&stage.name)).or(awaited).copied();
        // It is asked for, and the job has not told of it yet.
        let asked = facts.control.is_rescaling() && running.is_none();
        let before = facts.before.stages.iter().find(|before| asked && before.name == stage.name);
        let target = target.or(before.map(|before| before.target));
        StageStatus { name: stage.name.clone(), parallelism, target: target.unwrap_or(parallelism) }
    });
    stages.collect()
}

fn workers(facts: &Facts<'_>, target: &Revision) -> WorkerCount {
    let ready = facts.observed.pods_of(&target.name, Role::Worker).filter(|pod| diagnose::is_ready(pod)).count();
    let told = facts.observed.workload(&target.name, Role::Worker).map(|workload| workload.replicas);
    let desired = facts.decision.numbers.below(facts.applied.workers.or(told).unwrap_or_default());
    let desired = if facts.decision.phase == Phase::Up { desired } else { 0 };
    WorkerCount { ready: u32::try_from(ready).unwrap_or(u32::MAX), desired }
}

fn revision(facts: &Facts<'_>, target: &Revision) -> RevisionStatus {
    RevisionStatus {
        name: facts.observed.identity.revision(&target.name),
        generation: target.data.generation,
        image: target.data.image.clone(),
    }
}

fn operation(facts: &Facts<'_>) -> Option<Operation> {
    let (kind, step) = facts.decision.operation?;
    // A step further is still the same operation.
    let same = facts.before.operation.as_ref().filter(|before| before.kind == kind);
    let started_at = same.map_or_else(|| second(facts.observed.now_ms), |before| before.started_at.clone());
    Some(Operation { kind, step, started_at })
}

/// The newest checkpoint, but no more often than once a minute, unless the job stands still.
fn checkpoint(facts: &Facts<'_>) -> Option<CheckpointStatus> {
    let before = facts.before.checkpoint.clone();
    let Some(newest) = facts.observed.said().and_then(|said| said.job.checkpoint.as_ref()) else { return before };
    let shown =
        CheckpointStatus { epoch: newest.epoch, time: second(newest.completed_at_ms), path: newest.path.clone() };
    let stands_still = facts.decision.phase != Phase::Up;
    match before {
        Some(before) if !stands_still && newest.completed_at_ms - before.time.0.as_millisecond() < CHECKPOINT_MS => {
            // Unless the job went back behind it, or is another.
            Some(if newest.epoch < before.epoch { shown } else { before })
        }
        _ => Some(shown),
    }
}

/// What the autoscaler wants of the widest stage. Its time moves when it wants something else.
fn recommendation(facts: &Facts<'_>) -> Option<Recommendation> {
    if facts.observed.job.spec.autoscaling.mode == Mode::Off {
        return None;
    }
    let decided = facts.decision.reports.iter().filter_map(|report| match &report.event {
        Event::Decision(decision) => Some(decision.as_ref()),
        _ => None,
    });
    let Some(widest) = decided.max_by_key(|decision| decision.to) else { return facts.before.recommendation.clone() };
    let parallelism = widest.to;
    let reason = word(widest.reason);
    match &facts.before.recommendation {
        Some(before) if (before.parallelism, &before.reason) == (parallelism, &reason) => Some(before.clone()),
        _ => Some(Recommendation { parallelism, reason, time: second(widest.at_ms) }),
    }
}

fn word(reason: autoscale::Reason) -> String {
    format!("{reason:?}")
}

/// The newest failure of any time.
fn last_failure(facts: &Facts<'_>) -> Option<Failure> {
    let before = facts.before.last_failure.clone();
    let pods = facts.observed.pods.iter().map(AsRef::as_ref);
    let Some(newest) = diagnose::last_failure(pods) else { return before };
    let at_ms = newest.at_ms.unwrap_or_default();
    if before.as_ref().is_some_and(|before| before.time.0.as_millisecond() >= at_ms) {
        return before;
    }
    Some(Failure { time: second(at_ms), pod: newest.pod, reason: newest.reason, message: newest.message })
}

#[cfg(test)]
mod tests;
