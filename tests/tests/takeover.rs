//! A coordinator that is killed is followed by one that takes the running tasks over: nothing restarts, and rows flow on.
use std::time::Duration;

use anyhow::{Result, ensure};
use millstream_api::wire::JobStatus;
use millstream_runtime::clock::{Clock, SystemClock};
use millstream_tests::popular::{check_result, start};
use millstream_tests::process::{committed_lines, rows_read_on_workers, until};

/// The longest a job may take.
const LIMIT: Duration = Duration::from_secs(90);
/// No stage stands still for longer while nobody coordinates.
const GAP_MS_MAX: u64 = 2_000;

/// How long a counter has stood still at most.
#[derive(Debug, Default)]
struct Gap {
    rows: u64,
    since_us: u64,
    longest_us: u64,
}

impl Gap {
    fn see(&mut self, rows: u64, now_us: u64) {
        self.longest_us = self.longest_us.max(now_us - self.since_us);
        if rows != self.rows {
            (self.rows, self.since_us) = (rows, now_us);
        }
    }
}

#[tokio::test]
async fn rows_flow_on_without_a_coordinator_and_under_the_next_one() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let options = ["--parallelism", "2", "--workers", "2", "--state", "rocksdb", "--set", "RATE=8000"];
    let mut job = start(folder.path(), &options)?;
    let begun = job.until_checkpoint(2).await?;
    let stages: Vec<String> = job.stages().await.into_iter().flatten().map(|stage| stage.name).collect();
    ensure!(stages.len() == 2, "a source and an aggregate, not {stages:?}");
    let (clock, epoch) = (SystemClock::default(), begun.checkpoint.as_ref().map_or(0, |done| done.epoch));
    let mut gaps: Vec<Gap> = stages.iter().map(|_| Gap { since_us: clock.now_us(), ..Gap::default() }).collect();
    job.kill(begun.coordinator.pid)?;
    let taken_over = until("a checkpoint of the next coordinator", LIMIT, async || {
        for (stage, gap) in stages.iter().zip(&mut gaps) {
            let rows: u64 = rows_read_on_workers(&begun, std::slice::from_ref(stage)).await?.iter().sum();
            gap.see(rows, clock.now_us());
        }
        let next = job.status().await.filter(|status| status.term > begun.term);
        Ok(next.filter(|status| status.checkpoint.as_ref().is_some_and(|done| done.epoch > epoch + 1)))
    });
    let taken_over = taken_over.await.map_err(|error| job.explain(error))?;
    let pids = |status: &JobStatus| status.workers.iter().map(|worker| worker.pid).collect::<Vec<_>>();
    assert_eq!((taken_over.generation, pids(&taken_over)), (begun.generation, pids(&begun)), "tasks were restarted");
    for (stage, gap) in stages.iter().zip(&gaps) {
        let gap_ms = gap.longest_us / 1000;
        println!(
            "{stage}: no row for {gap_ms} ms at most, from the kill to the second checkpoint of the next coordinator"
        );
        assert!(gap_ms <= GAP_MS_MAX, "{stage} stood still for {gap_ms} ms");
    }
    job.end(LIMIT).await?.success()?;
    assert_eq!(job.outcome()?.job.generation, begun.generation, "tasks were restarted");
    check_result(&committed_lines(&folder.path().join("result"))?)
}
