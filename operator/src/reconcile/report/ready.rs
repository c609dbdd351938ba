//! Whether all tasks run, and if not, what of all that is wrong a person should hear first.
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use millstream_api::crd::{ConditionType, Observation, OperationKind, OperationStep, Reason, find};
use millstream_api::wire::{Blocked, JobState};

use super::{Facts, second};
use crate::diagnose::{self, Trouble, rank};
use crate::name::{Role, ordinal};
use crate::reconcile::admit::Rejection;
use crate::reconcile::decide::{Decision, Phase, redeploy};
use crate::reconcile::observe::{Answer, Observed, Said};
use crate::revision::Revision;

/// A coordinator that is asked for the first time, or again after it moved, may take this long before that is worth a word.
const PATIENCE_MS: i64 = 10_000;
/// How long an eviction may be why a job does not run. The pod is still there long after another has taken its place.
const EVICTED_MS: i64 = 60_000;

/// Whether there is nothing to wait for.
pub fn is_settled(observed: &Observed, decision: &Decision) -> bool {
    let running = observed.said().is_some_and(|said| said.job.state == JobState::Running);
    let sized = decision.target.as_ref().is_some_and(|target| {
        let ready = observed.pods_of(&target.name, Role::Worker).filter(|pod| diagnose::is_ready(pod)).count();
        usize::try_from(wanted(decision, target)).is_ok_and(|wanted| wanted == ready)
    });
    // A pod that checks something says itself when it ends.
    let waits = decision.operation.is_some_and(|(_, step)| step != OperationStep::Checking);
    decision.phase == Phase::Up && running && sized && !waits
}

/// Workers that are to be there, without those that are lost.
fn wanted(decision: &Decision, target: &Revision) -> u32 {
    let told = decision.replicas.get(&(target.name.clone(), Role::Worker)).copied().unwrap_or_default();
    decision.numbers.below(told)
}

/// The condition.
pub fn ready(facts: &Facts<'_>, rejection: Option<&Rejection>) -> Observation {
    let not = |reason: Reason, message: String| say(Some(false), reason, message);
    match facts.decision.phase {
        Phase::Refused => match rejection {
            // Of what was rejected the pods may have been there and failed.
            Some(rejection) if ConditionType::Ready.reasons().contains(&rejection.reason) => {
                not(rejection.reason, rejection.message.clone())
            }
            _ => not(Reason::Deploying, "nothing runs, since the spec is not accepted".into()),
        },
        Phase::Suspending => not(Reason::Suspended, "being stopped with a savepoint".into()),
        Phase::Suspended => not(Reason::Suspended, "stopped, as spec.suspend says".into()),
        Phase::Completed => not(Reason::Completed, "the input has ended and everything is committed".into()),
        Phase::Redeploying if is_rolled_back(rejection) => {
            not(Reason::RolledBack, "the pods of the revision that did not become healthy go".into())
        }
        Phase::Redeploying => not(Reason::Redeploying, "the pods of the old revision go".into()),
        Phase::Up => changing(facts, rejection, up(facts)),
    }
}

/// What a change of revision adds to it.
fn changing(facts: &Facts<'_>, rejection: Option<&Rejection>, seen: Observation) -> Observation {
    let is_well = seen.holds == Some(true);
    if is_well && facts.decision.target.as_ref().is_some_and(redeploy::is_watched) {
        // Before that it may have to give way again.
        return say(Some(false), Reason::Redeploying, "all tasks run; the first checkpoint is awaited".into());
    }
    if let Some(rejection) = rejection.filter(|rejection| is_rolled_back(Some(rejection))) {
        let passes =
            matches!(seen.reason, Reason::Running | Reason::Deploying | Reason::Redeploying | Reason::Recovering);
        let reason = if passes { Reason::RolledBack } else { seen.reason };
        return Observation { reason, message: format!("{}; {}", seen.message, rejection.message), ..seen };
    }
    match facts.decision.check.as_ref().filter(|check| is_well && check.trouble.is_some()) {
        Some(check) => Observation { message: format!("{}; {}", seen.message, check.why().1), ..seen },
        None => seen,
    }
}

fn is_rolled_back(rejection: Option<&Rejection>) -> bool {
    rejection.is_some_and(|rejection| rejection.reason == Reason::RolledBack)
}

fn say(holds: Option<bool>, reason: Reason, message: String) -> Observation {
    Observation { kind: ConditionType::Ready, holds, reason, message }
}

fn up(facts: &Facts<'_>) -> Observation {
    let Some(target) = &facts.decision.target else { return say(None, Reason::Unknown, String::new()) };
    let worst = worst(facts, target);
    match &facts.observed.answer {
        Answer::Said(said) if said.revision == target.name => answered(facts, said, target, worst),
        Answer::Silent { reason, since_ms } if was_ready(facts) || was_silent(facts) => {
            // Tasks go on without their coordinator for a while; a short silence is no news.
            let silent_ms = facts.observed.now_ms - since_ms;
            match worst {
                Some(trouble) => tell(trouble),
                None if silent_ms < PATIENCE_MS => say(Some(true), Reason::Running, "all tasks run".into()),
                None => say(Some(false), Reason::CoordinatorUnreachable, reason.clone()),
            }
        }
        _ => match worst {
            Some(trouble) => tell(trouble),
            None if was_ready(facts) && is_replaced(facts.observed, target) => {
                say(Some(true), Reason::Running, "all tasks run; their coordinator is replaced".into())
            }
            None => underway(facts, "the coordinator is not there yet"),
        },
    }
}

/// What the job says of itself, and its pods beside it.
fn answered(facts: &Facts<'_>, said: &Said, target: &Revision, worst: Option<Trouble>) -> Observation {
    let why = said.job.error.clone();
    if said.job.blocked == Some(Blocked::StoreUnreachable) {
        return say(Some(false), Reason::StoreUnreachable, why.unwrap_or_else(|| "the store does not answer".into()));
    }
    match said.job.state {
        JobState::Running | JobState::Rescaling => running(facts, said, target, worst),
        JobState::Failed => {
            say(Some(false), Reason::RestartsExhausted, why.unwrap_or_else(|| "the job has failed".into()))
        }
        JobState::Recovering => match worst {
            Some(trouble) => tell(trouble),
            None => {
                say(Some(false), Reason::Recovering, why.unwrap_or_else(|| "going back to the last checkpoint".into()))
            }
        },
        JobState::WaitingForWorkers => match worst {
            Some(trouble) => tell(trouble),
            None => underway(facts, "waiting for workers"),
        },
        JobState::Deploying => underway(facts, "tasks are being placed"),
        JobState::Stopping | JobState::Stopped => underway(facts, "the job was stopped by a call of its API"),
        JobState::Completed => {
            say(Some(false), Reason::Completed, "the input has ended and everything is committed".into())
        }
    }
}

/// All tasks run. Whether that is on as many workers as there should be.
fn running(facts: &Facts<'_>, said: &Said, target: &Revision, worst: Option<Trouble>) -> Observation {
    let ready = facts.observed.pods_of(&target.name, Role::Worker).filter(|pod| diagnose::is_ready(pod)).count();
    let wanted = wanted(facts.decision, target);
    // A rescale waits for pods or has just got them; until it is over, the job is no less than it was.
    let waits = facts.decision.operation.is_some_and(|(kind, _)| kind == OperationKind::Rescale);
    // A worker that the job has is there, even if its probe has not found that yet.
    let registered = said.job.workers.iter().filter(|worker| !worker.released).count();
    let is_short = usize::try_from(wanted).is_ok_and(|wanted| ready.max(registered) < wanted);
    if let Some(given_up) = facts.control.given_up() {
        let why = facts.control.scarcity().unwrap_or("they did not become ready");
        let message = format!(
            "all tasks run, on {ready} of {} workers: {why}; given up after {} and asked for again at {}",
            given_up.workers,
            facts.observed.job.spec.rescale.pod_timeout,
            second(given_up.again_ms).0
        );
        return say(Some(true), Reason::Degraded, message);
    }
    let scarcity = facts.control.scarcity().filter(|_| waits && is_short);
    if is_short && (!waits || scarcity.is_some() || is_missed(facts, target, wanted)) {
        let cause = worst.map(|trouble| trouble.message).or(scarcity.map(str::to_owned));
        let cause = cause.map(|cause| format!(": {cause}")).unwrap_or_default();
        return say(Some(true), Reason::Degraded, format!("all tasks run, on {ready} of {wanted} workers{cause}"));
    }
    say(Some(true), Reason::Running, "all tasks run".into())
}

/// Whether a worker that should stay goes, or is on a node that is gone: then what is waited for is what there was.
fn is_missed(facts: &Facts<'_>, target: &Revision, wanted: u32) -> bool {
    facts.observed.pods.iter().any(|pod| {
        let stays = pod.metadata.name.as_deref().and_then(ordinal).is_some_and(|number| number < wanted);
        stays
            && diagnose::revision(pod) == Some(&target.name)
            && diagnose::role(pod) == Some(Role::Worker)
            && diagnose::is_going(pod)
    })
}

/// On the way up: for the first time, again, or as another revision.
fn underway(facts: &Facts<'_>, message: &str) -> Observation {
    let before = find(&facts.before.conditions, ConditionType::Ready).map(|condition| condition.reason.as_str());
    // The revision tells it too: nobody may have lived to write the status while the pods of the old one went.
    let target = facts.decision.target.as_ref().map(|target| facts.observed.identity.revision(&target.name));
    let is_another = facts.before.revision.as_ref().is_some_and(|known| Some(&known.name) != target.as_ref());
    let is_replacement = is_another || before == Some(Reason::Redeploying.as_str());
    let reason = if is_replacement {
        Reason::Redeploying
    } else if has_run(facts) {
        Reason::Recovering
    } else {
        Reason::Deploying
    };
    say(Some(false), reason, message.into())
}

fn was_ready(facts: &Facts<'_>) -> bool {
    find(&facts.before.conditions, ConditionType::Ready).is_some_and(|condition| condition.status == "True")
}

fn was_silent(facts: &Facts<'_>) -> bool {
    let is_silent = Reason::CoordinatorUnreachable.as_str();
    find(&facts.before.conditions, ConditionType::Ready).is_some_and(|condition| condition.reason == is_silent)
}

/// Whether a coordinator goes, or has just been made in its place.
fn is_replaced(observed: &Observed, target: &Revision) -> bool {
    let of_target = |pod: &&Arc<Pod>| {
        diagnose::revision(pod) == Some(&target.name) && diagnose::role(pod) == Some(Role::Coordinator)
    };
    observed.pods.iter().filter(of_target).any(|pod| {
        // The time of deletion has the grace in it.
        let at = pod.metadata.deletion_timestamp.as_ref().or(pod.metadata.creation_timestamp.as_ref());
        at.is_some_and(|at| observed.now_ms - at.0.as_millisecond() < PATIENCE_MS)
    })
}

/// Whether the job has run before, as far as the status remembers or its coordinator knows.
fn has_run(facts: &Facts<'_>) -> bool {
    was_ready(facts)
        || facts.before.checkpoint.is_some()
        || find(&facts.before.conditions, ConditionType::Ready)
            .is_some_and(|condition| condition.reason == Reason::Recovering.as_str())
}

/// The trouble that is told, of all that pods of the target have.
fn worst(facts: &Facts<'_>, target: &Revision) -> Option<Trouble> {
    let roles = [Role::Coordinator, Role::Worker];
    let pods = roles.into_iter().flat_map(|role| facts.observed.pods_of(&target.name, role));
    let troubles = pods.filter_map(|pod| diagnose::trouble(pod, facts.observed.now_ms));
    // What was evicted is there for long, and news for a while.
    let of_target = facts.observed.pods.iter().filter(|pod| diagnose::revision(pod) == Some(&target.name));
    let evicted = of_target.filter_map(|pod| diagnose::eviction(pod));
    let is_news = |at_ms: i64| facts.observed.now_ms - at_ms < EVICTED_MS;
    let troubles = troubles.chain(evicted.filter(|trouble| trouble.at_ms.is_some_and(is_news)));
    let refused = facts.observed.refusals.iter().cloned();
    troubles.chain(refused).min_by_key(|trouble| rank(trouble.reason))
}

/// A trouble as a reason of this condition.
fn tell(trouble: Trouble) -> Observation {
    let reason = match trouble.reason {
        reason if ConditionType::Ready.reasons().contains(&reason) => reason,
        // A reference that is missing keeps the pod from being made; a mistake of the spec makes it end.
        Reason::ReferenceNotFound => Reason::Deploying,
        _ => Reason::CrashLoop,
    };
    let message = match &trouble.pod {
        Some(pod) => format!("{pod}: {}", trouble.message),
        None => trouble.message,
    };
    say(Some(false), reason, message)
}
