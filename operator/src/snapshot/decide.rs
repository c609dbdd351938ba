//! What to do next about a snapshot. Pure.
use millstream_api::crd::{OperationKind, StreamJob, StreamJobSnapshot};
use millstream_api::wire::{Expect, JobState};

use super::Standing;
use crate::reconcile::decide::Phase;

/// What is not there when a snapshot is created may come: the two may have been applied at once.
const GRACE_MS: i64 = 30_000;
/// A savepoint that is not taken by then is given up, unless the job allows its checkpoints more.
const LIMIT_MS: i64 = 600_000;

/// What was seen.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// When.
    pub now_ms: i64,
    /// The snapshot.
    pub snapshot: &'a StreamJobSnapshot,
    /// The job it names.
    pub job: Option<&'a StreamJob>,
    /// What the job's last turn found.
    pub standing: Option<&'a Standing>,
    /// This installation.
    pub installation: &'a str,
}

/// What to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// It has its result.
    Done,
    /// The job is another installation's.
    Leave,
    /// There is no such job, yet.
    NoJob,
    /// The job cannot take a savepoint now, for this reason.
    Wait(String),
    /// The coordinator is asked.
    Ask(Expect),
    /// There will be none, for this reason.
    Fail(String),
}

/// Decides.
pub fn decide(facts: Facts<'_>) -> Step {
    let status = facts.snapshot.status.as_ref();
    if status.is_some_and(|status| status.result.is_some()) {
        return Step::Done;
    }
    let name = &facts.snapshot.spec.job_name;
    let created = facts.snapshot.metadata.creation_timestamp.as_ref();
    let age_ms = created.map_or(0, |time| facts.now_ms - time.0.as_millisecond());
    let is_new = age_ms < GRACE_MS;
    let Some(job) = facts.job else {
        return if is_new { Step::NoJob } else { Step::Fail(format!("there is no StreamJob {name}")) };
    };
    if let Some(uid) = status.and_then(|status| status.job_uid.as_ref())
        && job.metadata.uid.as_ref() != Some(uid)
    {
        return Step::Fail(format!("the StreamJob {name} was deleted and is another one now"));
    }
    let operator = job.status.as_ref().and_then(|status| status.operator.as_deref());
    if operator.is_some_and(|operator| !operator.is_empty() && operator != facts.installation) {
        return Step::Leave;
    }
    if job.metadata.deletion_timestamp.is_some() {
        return Step::Fail(format!("the StreamJob {name} is being deleted"));
    }
    let Some(standing) = facts.standing else { return Step::Wait("the job is being looked at".into()) };
    let is_asked = status.is_some_and(|status| status.started_at.is_some());
    match (is_asked, &standing.said) {
        // Whatever the job does now: the coordinator knows what became of it.
        (true, Some((_, expect))) if age_ms <= limit_ms(job) => Step::Ask(expect.clone()),
        _ => unasked(job, standing, (is_new, age_ms > limit_ms(job))),
    }
}

/// The time in which a savepoint has to be taken.
fn limit_ms(job: &StreamJob) -> i64 {
    LIMIT_MS.max(job.spec.checkpoint.timeout.as_ms().saturating_add(GRACE_MS))
}

fn unasked(job: &StreamJob, standing: &Standing, (is_new, is_late): (bool, bool)) -> Step {
    let stands = match standing.phase {
        _ if job.spec.suspend => Some("the job is suspended"),
        Phase::Suspending | Phase::Suspended => Some("the job is suspended"),
        Phase::Completed => Some("the job has completed"),
        Phase::Refused => Some("the job's spec is not accepted"),
        Phase::Redeploying | Phase::Up => None,
    };
    if let Some(stands) = stands {
        let message = format!("{stands}; a savepoint needs a running job");
        return if is_new { Step::Wait(message) } else { Step::Fail(message) };
    }
    let waits = match (standing.phase, standing.operation, &standing.said) {
        (Phase::Redeploying, ..) => "another version of the job takes over".to_owned(),
        // Everything else comes first.
        (_, Some(kind), _) if kind != OperationKind::Savepoint => format!("the job is at a {kind}"),
        (_, _, Some((JobState::Running, expect))) if !is_late => return Step::Ask(expect.clone()),
        (_, _, Some((state, _))) => format!("the job is {}", words(*state)),
        (_, _, None) => "the coordinator does not answer".to_owned(),
    };
    if is_late { Step::Fail(format!("it could not be taken in time: {waits}")) } else { Step::Wait(waits) }
}

fn words(state: JobState) -> String {
    serde_json::to_value(state).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

#[cfg(test)]
mod tests;
