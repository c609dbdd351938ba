//! Which workers a job could do without, and what would have to leave them first. Pure.
use millstream_api::wire::{Expect, JobStatus, RescaleRequest, WorkerStatus};

use crate::name::ordinal;
use crate::platform::number::Numbers;

/// The worker with a number, if it is registered.
fn numbered(job: &JobStatus, number: u32) -> Option<&WorkerStatus> {
    job.workers.iter().find(|worker| ordinal(&worker.id) == Some(number))
}

/// Whether it can be given tasks.
fn is_fit(worker: &WorkerStatus) -> bool {
    !worker.draining && !worker.released
}

/// Workers that can be given tasks.
pub fn registered(job: &JobStatus) -> u32 {
    u32::try_from(job.workers.iter().filter(|worker| is_fit(worker)).count()).unwrap_or(u32::MAX)
}

/// The least number of workers such that all above it up to `desired` `may_go`. One that is not registered is `None`.
pub fn trailing(
    (job, numbers): (&JobStatus, &Numbers),
    desired: u32,
    may_go: impl Fn(Option<&WorkerStatus>) -> bool,
) -> u32 {
    let mut keep = desired;
    while keep > 0 && may_go(numbered(job, numbers.nth(keep - 1))) {
        keep -= 1;
    }
    keep
}

/// What takes the tasks off the workers above the first `needed`, once all of these are there: workers that were added for others
/// that have come back.
pub fn vacate((job, numbers): (&JobStatus, &Numbers), needed: u32, desired: u32) -> Option<RescaleRequest> {
    let all_fit = || (0..needed).all(|n| numbered(job, numbers.nth(n)).is_some_and(is_fit));
    let any_drains = job.workers.iter().any(|worker| worker.draining);
    if desired <= needed || any_drains || !all_fit() {
        return None;
    }
    let first = numbers.nth(needed);
    let above = job.workers.iter().filter(|worker| ordinal(&worker.id).is_some_and(|number| number >= first));
    let vacate: Vec<String> = above.filter(|worker| !worker.tasks.is_empty()).map(|worker| worker.id.clone()).collect();
    let expect = Some(Expect::at(job.generation));
    (!vacate.is_empty()).then(|| RescaleRequest { vacate, expect, ..RescaleRequest::default() })
}
