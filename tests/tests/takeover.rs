//! A coordinator that is killed is followed by one that takes the running tasks over: nothing restarts, and rows flow on.
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use millstream_api::wire::{JobStatus, RescaleState, RescaleStatus};
use millstream_runtime::clock::{Clock, SystemClock};
use millstream_tests::popular::{check_result, start};
use millstream_tests::process::{committed_lines, millstream, rows_read_on_workers, until};

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
    job.until_checkpoint(1).await?;
    let workdir = job.workdir().path().to_string_lossy().into_owned();
    millstream(&["job", "rescale", "--stage", "window-1=1", "--workdir", &workdir])?.success()?;
    let rescales = job.rescales().await?;
    let begun = job.until_checkpoint(3).await?;
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
    assert_eq!(job.rescales().await?, rescales, "rescales are the job's, whoever coordinates it");
    assert_eq!((rescales[0].id, rescales[0].state), (1, RescaleState::Done));
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

/// Whether there is a folder of this name in one that is in `folder`.
fn has_folder(folder: &Path, name: &str) -> bool {
    let jobs = std::fs::read_dir(folder).into_iter().flatten().flatten();
    jobs.into_iter().any(|job| job.path().join(name).is_dir())
}

/// A worker stands still, so that a rescale has to wait; then its coordinator is killed.
#[tokio::test]
async fn a_rescale_is_followed_under_the_next_coordinator() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut job = start(folder.path(), &["--parallelism", "2", "--workers", "2", "--set", "RATE=8000"])?;
    let begun = job.until_checkpoint(1).await?;
    let worker = begun.workers.first().context("no worker")?.pid;
    job.hold(&[worker]).await?;
    let workdir = job.workdir().path().to_string_lossy().into_owned();
    let asked = move || millstream(&["job", "rescale", "--stage", "window-1=1", "--workdir", &workdir, "--json"]);
    let following = tokio::task::spawn_blocking(asked);
    let checkpoints = job.workdir().checkpoints();
    until("a note of the rescale", LIMIT, async || Ok(has_folder(&checkpoints, "rescales").then_some(()))).await?;
    job.kill(begun.coordinator.pid)?;
    job.proceed(&[worker])?;
    let followed = following.await??;
    let rescales = job.rescales().await?;
    assert!(rescales.len() == 1 && rescales[0].id == 1 && rescales[0].state.is_final(), "{rescales:?}");
    let last: RescaleStatus = serde_json::from_str(followed.stdout.lines().last().unwrap_or_default())?;
    assert_eq!((&last, followed.status.success()), (&rescales[0], last.state != RescaleState::Failed), "{followed:?}");
    job.end(LIMIT).await?.success()?;
    assert_eq!(job.outcome()?.job.generation, begun.generation, "tasks were restarted");
    check_result(&committed_lines(&folder.path().join("result"))?)
}
