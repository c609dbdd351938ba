//! A job that is rescaled and killed all the time, as real processes, against an unbroken run. `MILLSTREAM_SOAK_SECONDS` says how long
//! its input lasts, `MILLSTREAM_SEED` what happens to it.
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use millstream_api::wire::{JobStatus, RescaleRequest, RescaleState, RescaleStrategy};
use millstream_operator::client::Client;
use millstream_runtime::random::{Random, SystemRandom};
use millstream_tests::popular::{compare, spec, unbroken};
use millstream_tests::process::{Job, committed_lines, until};

/// Events a second.
const RATE: u64 = 4_000;
/// How long the input lasts, unless said otherwise.
const SECONDS: u64 = 90;
/// The longest a rescale may take with all that happens to it.
const LIMIT: Duration = Duration::from_secs(60);
/// Tasks of a stage at most.
const TASKS_MAX: u64 = 4;

/// What was done to the job.
#[derive(Debug, Default)]
struct Done {
    rescales: u64,
    refused: u64,
    failed: u64,
    groups_moved: u64,
    workers_killed: u64,
    coordinators_killed: u64,
    /// Of these, while a rescale was under way.
    killed_on_the_way: u64,
}

/// Numbers of a seed (splitmix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let bits = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (bits ^ (bits >> 27)) % end
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Waits for a checkpoint after this epoch; none if the job is over.
async fn next_checkpoint(job: &mut Job, epoch: u64) -> Result<Option<JobStatus>> {
    let newer = |status: &JobStatus| {
        let is_newer = status.checkpoint.as_ref().is_some_and(|done| done.epoch > epoch);
        is_newer.then(|| status.clone())
    };
    match job.until("another checkpoint", newer).await {
        Err(_) if job.is_over() => Ok(None),
        found => found.map(Some),
    }
}

/// Kills the coordinator or a worker with SIGKILL. Says whether there was one: it may be gone already.
fn kill(job: &Job, status: &JobStatus, is_coordinator: bool, dice: &mut Dice, done: &mut Done) -> bool {
    let (pid, killed) = if is_coordinator {
        (status.coordinator.pid, &mut done.coordinators_killed)
    } else {
        let number = dice.below(status.workers.len().max(1) as u64) as usize;
        let Some(worker) = status.workers.get(number) else { return false };
        (worker.pid, &mut done.workers_killed)
    };
    let is_killed = job.kill(pid).is_ok();
    *killed += u64::from(is_killed);
    is_killed
}

/// Asks for other parallelisms of some stages, and waits for the end of that. Every third time somebody dies on the way.
async fn rescale(job: &mut Job, status: &JobStatus, dice: &mut Dice, done: &mut Done) -> Result<()> {
    let Some(stages) = job.stages().await else { return Ok(()) };
    let client = Client::in_workdir(job.workdir().path())?;
    let strategy = match dice.below(6) {
        0 => RescaleStrategy::Restart,
        1 => RescaleStrategy::AllAtOnce,
        _ => RescaleStrategy::Incremental,
    };
    let all = dice.below(3) == 0;
    let one = dice.below(stages.len() as u64) as usize;
    let chosen = stages.iter().enumerate().filter(|(index, _)| all || *index == one);
    let stages = chosen.map(|(_, stage)| (stage.name.clone(), 1 + dice.below(TASKS_MAX) as u32)).collect();
    let Ok(asked) = client.rescale(&RescaleRequest { stages, strategy, ..RescaleRequest::default() }).await else {
        done.refused += 1; // The job is recovering, or nearly over.
        return Ok(());
    };
    if dice.below(3) == 0 {
        let (batches, is_coordinator) = (dice.below(4) as u32, dice.below(2) == 0);
        let come_far = until("some batches of a rescale", LIMIT, async || {
            let rescales = client.rescales().await.unwrap_or_default();
            let found = rescales.iter().find(|found| found.id == asked.id);
            let is_over = job.is_over() || found.is_none_or(|found| found.state.is_final());
            let is_there = found.is_some_and(|found| found.batches_done >= batches);
            Ok((is_over || is_there).then_some(!is_over))
        });
        let on_the_way = come_far.await?;
        let is_killed = kill(job, status, is_coordinator, dice, done);
        done.killed_on_the_way += u64::from(on_the_way && is_killed);
    }
    let over = until("the end of a rescale", LIMIT, async || {
        if job.is_over() {
            return Ok(Some(None));
        }
        let Ok(rescales) = client.rescales().await else { return Ok(None) };
        let found = rescales.into_iter().find(|found| found.id == asked.id);
        // None: the coordinator that knew of it is gone.
        Ok(found.as_ref().is_none_or(|found| found.state.is_final()).then_some(found))
    });
    match over.await?.map(|found| (found.state, found.groups_moved)) {
        Some((RescaleState::Done, moved)) => {
            done.rescales += 1;
            done.groups_moved += u64::from(moved);
        }
        Some(_) => done.failed += 1,
        None => {}
    }
    Ok(())
}

/// One thing after the other, each after a checkpoint, until the job is over.
async fn disturb(job: &mut Job, dice: &mut Dice) -> Result<Done> {
    let (mut done, mut epoch) = (Done::default(), 0);
    while let Some(status) = next_checkpoint(job, epoch).await? {
        epoch = status.checkpoint.as_ref().map_or(epoch, |checkpoint| checkpoint.epoch);
        match dice.below(10) {
            one @ (0 | 1) => drop(kill(job, &status, one == 0, dice, &mut done)),
            _ => rescale(job, &status, dice, &mut done).await?,
        }
    }
    Ok(done)
}

#[tokio::test]
async fn rescales_and_kills_change_no_byte() -> Result<()> {
    let seconds = number("MILLSTREAM_SOAK_SECONDS").unwrap_or(SECONDS);
    let seed = number("MILLSTREAM_SEED").unwrap_or_else(|| SystemRandom.next_u64());
    let events = seconds * RATE;
    let expected = unbroken(events)?;
    let folder = tempfile::tempdir()?;
    let backend = if seed.is_multiple_of(2) { "RocksDB" } else { "Memory" };
    let file = spec(folder.path(), 2, backend)?;
    let (rate, events) = (format!("RATE={RATE}"), format!("EVENTS={events}"));
    let mut job = Job::start(folder.path(), &[&file, "--workers", "4", "--set", &rate, "--set", &events])?;
    let done = disturb(&mut job, &mut Dice(seed)).await.with_context(|| format!("MILLSTREAM_SEED={seed}"))?;
    job.end(Duration::from_secs(60 + seconds)).await?.success()?;
    println!("seed {seed}, {backend}, {seconds} s: {done:?}");
    let lines = committed_lines(&folder.path().join("result"))?;
    compare(&lines, &expected)
        .map_err(|error| job.explain(error))
        .with_context(|| format!("MILLSTREAM_SEED={seed}"))?;
    ensure!(done.rescales > seconds / 20 && done.groups_moved > 0, "too little happened: {done:?}");
    Ok(())
}
