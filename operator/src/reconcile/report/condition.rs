//! The conditions, each with the reason and the words a person needs.
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use millstream_api::crd::{ConditionType, Observation, OperationStep, Reason, find};
use millstream_api::wire::{Blocked, JobState, RescaleState};

use super::{CHECKPOINT_MS, Facts, ready, second};
use crate::autoscale;
use crate::control::Mode;
use crate::diagnose;
use crate::name::Role;
use crate::reconcile::admit::Rejection;
use crate::reconcile::decide::Phase;
use crate::revision;

/// A checkpoint is late when this many intervals have passed without one,
const LATE_INTERVALS: i64 = 3;
/// and at least this long: intervals may be shorter than a checkpoint takes.
const LATE_MS: i64 = 60_000;

/// All conditions, in a fixed order.
pub fn conditions(facts: &Facts<'_>, rejection: Option<&Rejection>) -> Vec<Condition> {
    let generation = super::told_generation(facts);
    let before = &facts.before.conditions;
    let now = second(facts.observed.now_ms);
    let all = [
        accepted(facts, rejection),
        ready::ready(facts, rejection),
        rescaling(facts),
        checkpoints(facts),
        autoscaling(facts),
        completed(facts),
    ];
    all.map(|observation| {
        // Whether it is accepted is said of the newest spec, even while everything else is about the one before.
        let about = match observation.kind {
            ConditionType::Accepted => facts.observed.job.metadata.generation,
            // `kubectl wait` must not take the readiness of the last good spec for that of one that is refused.
            ConditionType::Ready if rejection.is_some() => last_good(facts).or(generation),
            _ => generation,
        };
        observation.condition(about, before, &now)
    })
    .into()
}

/// The newest generation whose spec is in force, while a newer one is refused.
fn last_good(facts: &Facts<'_>) -> Option<i64> {
    let newest = facts.observed.job.metadata.generation;
    let told = find(&facts.before.conditions, ConditionType::Ready).and_then(|ready| ready.observed_generation);
    told.filter(|told| Some(*told) < newest).or_else(|| Some(facts.decision.target.as_ref()?.data.generation))
}

fn say(kind: ConditionType, holds: Option<bool>, reason: Reason, message: impl Into<String>) -> Observation {
    Observation { kind, holds, reason, message: message.into() }
}

fn accepted(facts: &Facts<'_>, rejection: Option<&Rejection>) -> Observation {
    let kind = ConditionType::Accepted;
    match (rejection, &facts.decision.check) {
        (None, Some(check)) => {
            let (reason, message) = check.why();
            say(kind, None, reason, message)
        }
        (None, None) => say(kind, Some(true), Reason::Valid, "the spec can be run"),
        (Some(rejection), _) => say(kind, Some(false), rejection.reason, rejection.message.clone()),
    }
}

fn rescaling(facts: &Facts<'_>) -> Observation {
    let kind = ConditionType::Rescaling;
    let last = facts.said().and_then(|said| said.rescales.first());
    if let Some(running) = last.filter(|rescale| !rescale.state.is_final()) {
        let to = running.to.iter().map(|(name, tasks)| format!("{name} {tasks}")).collect::<Vec<_>>().join(", ");
        return say(kind, Some(true), Reason::Moving, format!("to {to}"));
    }
    if facts.decision.operation.is_some_and(|(_, step)| step == OperationStep::WaitingForPods) {
        let target = facts.decision.target.as_ref().map_or("", |target| target.name.as_str());
        let troubles = facts
            .observed
            .pods_of(target, Role::Worker)
            .filter_map(|pod| diagnose::trouble(pod, facts.observed.now_ms));
        let unschedulable = troubles.into_iter().find(|trouble| trouble.reason == Reason::Unschedulable);
        return match unschedulable {
            Some(trouble) => say(kind, Some(true), Reason::Unschedulable, trouble.message),
            None => say(kind, Some(true), Reason::WaitingForPods, "new workers are not ready yet"),
        };
    }
    match last.filter(|rescale| rescale.state == RescaleState::Failed) {
        Some(failed) => {
            let why = failed.reason.clone().unwrap_or_else(|| "no reason given".into());
            say(kind, Some(false), Reason::RescaleFailed, why)
        }
        None => say(kind, Some(false), Reason::Settled, "the parallelism is as it should be"),
    }
}

fn checkpoints(facts: &Facts<'_>) -> Observation {
    let kind = ConditionType::CheckpointsHealthy;
    let before = find(&facts.before.conditions, kind);
    let Some(said) = facts.said() else {
        // Nobody to ask: what was said last stands.
        let stands = before.and_then(|before| {
            let reason = Reason::ALL.iter().copied().find(|reason| reason.as_str() == before.reason)?;
            let holds = match before.status.as_str() {
                "True" => Some(true),
                "False" => Some(false),
                _ => None,
            };
            Some(say(kind, holds, reason, before.message.clone()))
        });
        return stands.unwrap_or_else(|| say(kind, None, Reason::NoCheckpoint, "none is complete yet"));
    };
    if said.job.blocked == Some(Blocked::StoreUnreachable) {
        let why = said.job.error.clone().unwrap_or_else(|| "the store does not answer".into());
        return say(kind, Some(false), Reason::StoreUnreachable, why);
    }
    let interval_ms = facts.observed.job.spec.checkpoint.interval.as_ms();
    let limit_ms = (interval_ms * LATE_INTERVALS).max(LATE_MS);
    // A new coordinator knows of none that it has not committed itself, and the status may be behind.
    let before_ms = facts.before.checkpoint.as_ref().map(|newest| newest.time.0.as_millisecond() + CHECKPOINT_MS);
    let newest_ms = said.job.checkpoint.as_ref().map(|newest| newest.completed_at_ms).or(before_ms);
    // Nothing is due of a job that does not run.
    let ready = find(&facts.before.conditions, ConditionType::Ready).filter(|ready| ready.status == "True");
    let is_late = ready.is_some_and(|ready| {
        let since_ms = ready.last_transition_time.0.as_millisecond();
        facts.observed.now_ms - newest_ms.unwrap_or(since_ms).max(since_ms) > limit_ms
    });
    if is_late && said.job.state == JobState::Running {
        let message = format!("none was complete for {LATE_INTERVALS} intervals; the coordinator's log says why");
        return say(kind, Some(false), Reason::CheckpointFailed, message);
    }
    match newest_ms {
        None => say(kind, None, Reason::NoCheckpoint, "none is complete yet"),
        Some(_) => say(kind, Some(true), Reason::Committed, "the newest checkpoint is complete"),
    }
}

/// What ends the message of a job whose parallelism somebody has written, which the autoscaler decides about.
const IGNORED: &str = " in spec.parallelism would be where it begins";

/// What a message says of a write that is ignored.
pub fn ignored(message: &str) -> Option<&str> {
    message.rsplit("; ").next().filter(|said| said.ends_with(IGNORED))
}

/// What the autoscaler does, whatever that is with what somebody wrote in vain.
fn autoscaling(facts: &Facts<'_>) -> Observation {
    let observation = deciding(facts);
    if facts.observed.job.spec.autoscaling.mode != Mode::Auto || !is_ignored(facts) {
        return observation;
    }
    let message = format!("{}; {}{IGNORED}", observation.message, facts.observed.job.spec.parallelism);
    let is_plain = observation.reason == Reason::Deciding;
    let reason = if is_plain { Reason::WriteIgnored } else { observation.reason };
    Observation { reason, message, ..observation }
}

fn deciding(facts: &Facts<'_>) -> Observation {
    let kind = ConditionType::AutoscalingActive;
    let mode = facts.observed.job.spec.autoscaling.mode;
    if mode == Mode::Off {
        return say(kind, Some(false), Reason::Disabled, "spec.autoscaling.mode is Off");
    }
    if facts.decision.phase != Phase::Up {
        return say(kind, Some(false), Reason::Suspended, "the job does not run");
    }
    let why = facts.control.said().map(|said| said.stages.iter().map(|stage| stage.reason).collect::<Vec<_>>());
    let any = |reason: autoscale::Reason| why.as_ref().is_some_and(|reasons| reasons.contains(&reason));
    if facts.said().is_none() || why.as_ref().is_none_or(Vec::is_empty) || any(autoscale::Reason::NoInformation) {
        return say(kind, Some(false), Reason::NoInformation, "there is nothing to measure");
    }
    if let Some(why) = facts.control.scarcity() {
        let then = facts.control.given_up().map(|given_up| second(given_up.again_ms).0);
        let then = then.map(|again| format!("; asked for again at {again}")).unwrap_or_default();
        return say(kind, Some(true), Reason::Unschedulable, format!("more workers are wanted, and {why}{then}"));
    }
    if any(autoscale::Reason::WarmUp) {
        return say(kind, Some(true), Reason::WarmUp, "the tasks are too young to be measured");
    }
    if any(autoscale::Reason::AtMaximum) {
        return say(kind, Some(true), Reason::AtMaximum, "the load needs more than the bounds allow");
    }
    match mode {
        Mode::Advise => {
            say(kind, Some(true), Reason::Advising, "says what it would do in status.recommendation and events")
        }
        _ => say(kind, Some(true), Reason::Deciding, "the parallelism follows the load"),
    }
}

fn completed(facts: &Facts<'_>) -> Observation {
    let kind = ConditionType::Completed;
    if facts.decision.phase == Phase::Completed {
        return say(kind, Some(true), Reason::Completed, "the input has ended and everything is committed");
    }
    say(kind, Some(false), Reason::Running, "the input has not ended")
}

/// Whether somebody has asked for another parallelism since the job began, which the autoscaler decides about.
fn is_ignored(facts: &Facts<'_>) -> bool {
    let job = &facts.observed.job;
    // Most specs are as they were, and need not be read again.
    let target = facts.decision.target.as_ref();
    let begun = target.filter(|target| Some(target.data.generation) != job.metadata.generation);
    begun.and_then(revision::start_of).is_some_and(|begun| begun.parallelism != job.spec.parallelism)
}
