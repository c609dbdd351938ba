//! From a change of a job to the status that tells of it.
use std::time::Duration;

use anyhow::{Context, Result};
use futures::stream::{FuturesUnordered, StreamExt};
use kube::api::{Patch, PatchParams};
use millstream_runtime::clock::Clock;
use serde_json::json;

use super::follow::Follow;
use super::place::{Place, name};

/// From change to change. They come on schedule, whatever has become of those before.
const SCHEDULE: Duration = Duration::from_millis(100);
/// Jobs that are changed one after the other are far apart.
const STRIDE: u32 = 7_919;

/// Makes so many changes that restart nothing, and says how many ms each took, from the API server's answer to the status.
pub async fn time(place: &Place, follow: &Follow, changes: u32, jobs: u32, clock: &dyn Clock) -> Result<Vec<u64>> {
    let mut schedule = tokio::time::interval(SCHEDULE);
    let (mut running, mut latencies) = (FuturesUnordered::new(), Vec::new());
    let mut number = 0;
    loop {
        // Those under way are looked at all the time: when a status comes is what is measured.
        tokio::select! {
            _ = schedule.tick(), if number < changes => {
                running.push(one(place, follow, number, jobs, clock));
                number += 1;
            }
            Some(done) = running.next(), if !running.is_empty() => latencies.push(done?),
            else => return Ok(latencies),
        }
    }
}

async fn one(place: &Place, follow: &Follow, number: u32, jobs: u32, clock: &dyn Clock) -> Result<u64> {
    let name = name((number.wrapping_mul(STRIDE)) % jobs);
    // Another number than the one before, also where the same job comes again.
    let patch = json!({"spec": {"checkpoint": {"keep": 4 + number / jobs % 50}}});
    let patched = place.jobs().patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await;
    let generation = patched.context("cannot change a job")?.metadata.generation.unwrap_or_default();
    let begun_us = clock.now_us();
    follow.until(|rows| rows.get(&name).is_some_and(|row| row.observed >= generation)).await;
    Ok((clock.now_us() - begun_us) / 1000)
}
