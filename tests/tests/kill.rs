//! Processes of a job are killed with SIGKILL at random moments; what the job has committed at its end is byte for byte what an
//! unbroken run commits.
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use millstream_api::wire::{CheckpointStatus, JobState, JobStatus};
use millstream_runtime::random::{Random, SystemRandom};
use millstream_runtime::workdir::Workdir;
use millstream_tests::popular::{ROWS, check_result, start};
use millstream_tests::process::{Job, committed_lines, millstream, rows_read, rows_read_on_workers, until};

/// The longest a job may take with all that happens to it.
const LIMIT: Duration = Duration::from_secs(60);

/// Runs in which a job should be caught before it is over, each half as fast as the one before: a loaded machine may need
/// seconds for what else takes moments.
const ATTEMPTS: u32 = 5;

/// What is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Worker,
    Coordinator,
    Both,
}

const VICTIMS: [Victim; 3] = [Victim::Worker, Victim::Coordinator, Victim::Both];

/// Does what has to catch a job while it runs, first with a job of this many events a second. `run` says whether it was in time.
async fn catch(rate: u32, mut run: impl AsyncFnMut(&str) -> Result<bool>) -> Result<()> {
    for attempt in 0..ATTEMPTS {
        let rate = format!("RATE={}", rate >> attempt);
        if run(&rate).await? {
            return Ok(());
        }
        eprintln!("{rate}: over too early");
    }
    anyhow::bail!("{ATTEMPTS} jobs, each slower than the one before, were over too early")
}

/// Waits for a job to be as `is_there` says. None if it was over first.
async fn in_time(job: &mut Job, what: &str, is_there: impl Fn(&JobStatus) -> bool) -> Result<Option<JobStatus>> {
    match job.until(what, |status| is_there(status).then(|| status.clone())).await {
        Err(_) if job.is_over() => Ok(None),
        found => found.map(Some),
    }
}

/// Waits for a checkpoint with at least this epoch. None if the job was over first.
async fn first_checkpoint(job: &mut Job, epoch: u64) -> Result<Option<JobStatus>> {
    let is_there = |status: &JobStatus| status.checkpoint.as_ref().is_some_and(|done| done.epoch >= epoch);
    in_time(job, "a first checkpoint", is_there).await
}

fn pids(status: &JobStatus) -> Vec<u32> {
    status.workers.iter().map(|worker| worker.pid).collect()
}

/// Kills what is asked for, one of the workers at random.
fn strike(job: &Job, status: &JobStatus, victim: Victim) -> Result<()> {
    if victim != Victim::Worker {
        job.kill(status.coordinator.pid)?;
    }
    if victim != Victim::Coordinator {
        let workers = pids(status);
        ensure!(!workers.is_empty(), "there is no worker to kill");
        job.kill(workers[(SystemRandom.next_u64() % workers.len() as u64) as usize])?;
    }
    Ok(())
}

/// Waits for the end and checks the result. Gives the rows that the tasks after the last kill have read; none if the job was
/// already over for those who were killed.
async fn conclude(job: &mut Job, folder: &Path, victim: Victim) -> Result<Option<u64>> {
    let done = job.end(LIMIT).await?.success()?;
    let outcome = job.outcome()?;
    let status = &outcome.job;
    ensure!(done.stdout.is_empty(), "unexpected on standard output: {}", done.stdout);
    check_result(&committed_lines(&folder.join("result"))?)?;
    let has_recovered = if victim == Victim::Worker { status.recoveries >= 1 } else { status.term >= 2 };
    ensure!(status.term == 1 || status.restored_epoch.is_some(), "it began anew: {status:?}");
    Ok(has_recovered.then(|| rows_read(&outcome.stages)))
}

/// Holds the coordinator, so that no checkpoint begins or completes from now on. Gives the names of the sources; none if the job is
/// over but for its last commit.
async fn hold_coordinator(job: &Job, status: &JobStatus) -> Result<Option<Vec<String>>> {
    let Some(stages) = job.stages().await else { return Ok(None) };
    let held = job.hold(&[status.coordinator.pid]).await;
    if job.is_over() {
        return Ok(None);
    }
    held?;
    if has_final_manifest(job.workdir())? {
        job.proceed(&[status.coordinator.pid])?;
        return Ok(None);
    }
    Ok(Some(stages.into_iter().filter(|stage| stage.source).map(|stage| stage.name).collect()))
}

/// Lets all go on that are left.
fn proceed(job: &Job) -> Result<()> {
    for pid in job.processes()? {
        // The victim may still be among them.
        let _ = job.proceed(&[pid]);
    }
    Ok(())
}

/// Waits until the sources of every worker have reported rows that no checkpoint covers, and says how many rows all have reported.
/// The coordinator is held: what a worker reports from now on is more than any checkpoint covers.
async fn rows_uncovered(status: &JobStatus, sources: &[String]) -> Result<u64> {
    let before = rows_read_on_workers(status, sources).await?;
    until("rows after a checkpoint", LIMIT, async || {
        let now = rows_read_on_workers(status, sources).await?;
        let is_new = now.iter().zip(&before).all(|(now, before)| now != before) || now.iter().sum::<u64>() == ROWS;
        Ok(is_new.then(|| now.iter().sum()))
    })
    .await
}

/// One run with a kill in its middle.
async fn broken_in_the_middle(victim: Victim, backend: &str, rate: &str) -> Result<bool> {
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    let (interval, workers) = (["--checkpoint-interval", "700ms"], ["--parallelism", "2", "--workers", "2"]);
    let options = [&interval[..], &workers, &["--state", backend, "--set", rate]].concat();
    let mut job = start(folder, &options)?;
    let epoch = 1 + SystemRandom.next_u64() % 2;
    let Some(status) = first_checkpoint(&mut job, epoch).await? else { return Ok(false) };
    let Some(sources) = hold_coordinator(&job, &status).await? else { return Ok(false) };
    let seen = rows_uncovered(&status, &sources).await.map_err(|error| job.explain(error))?;
    if seen == ROWS {
        return Ok(false);
    }
    strike(&job, &status, victim)?;
    proceed(&job)?;
    let again = conclude(&mut job, folder, victim).await.map_err(|error| job.explain(error))?.context("no recovery")?;
    if victim == Victim::Coordinator {
        let after = job.outcome()?.job;
        let went_on = (after.recoveries, after.generation) == (0, status.generation);
        ensure!(went_on, "the tasks did not go on under the next coordinator: {after:?}");
    } else {
        ensure!(seen + again > ROWS, "killed at {seen} rows, then {again}: none was replayed");
    }
    Ok(true)
}

/// Brings a job with a checkpoint to a moment between the end of its input and its last commit, and holds it there: before the
/// last checkpoint has begun, or after its manifest is stored. Says whether that was still possible.
async fn reach_the_end(job: &Job, folder: &Path, status: &JobStatus, is_stored: bool) -> Result<bool> {
    let Some(sources) = hold_coordinator(job, status).await? else { return Ok(false) };
    if is_stored {
        take_turns(job, &[status.coordinator.pid], &pids(status)).await?;
        // On a slow machine the checkpoint before may have all rows.
        return Ok(hidden_files(folder) > 0);
    }
    // Without the coordinator no checkpoint begins.
    until("the end of the input", LIMIT, async || {
        let rows = rows_read_on_workers(status, &sources).await?;
        Ok((rows.iter().sum::<u64>() == ROWS).then_some(()))
    })
    .await?;
    Ok(true)
}

/// Lets the coordinator and the workers act in turns, never both at once, until the last manifest is stored. That happens in a
/// turn of the coordinator: what it tells the workers to make visible is not, for the workers are held.
async fn take_turns(job: &Job, coordinator: &[u32], workers: &[u32]) -> Result<()> {
    let (mut acting, mut held) = (workers, coordinator);
    until("the last manifest", LIMIT, async || {
        if has_final_manifest(job.workdir())? {
            return Ok(Some(()));
        }
        job.hold(acting).await?;
        job.proceed(held)?;
        (acting, held) = (held, acting);
        Ok(None)
    })
    .await
}

/// Whether the last checkpoint's manifest is stored.
fn has_final_manifest(workdir: &Workdir) -> Result<bool> {
    for job in std::fs::read_dir(workdir.checkpoints()).into_iter().flatten() {
        for manifest in std::fs::read_dir(job?.path().join("manifests")).into_iter().flatten() {
            // Old ones are removed meanwhile, new ones are not whole yet.
            let text = std::fs::read_to_string(manifest?.path()).unwrap_or_default();
            if text.contains("\"final\":true") {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Files that a sink has not made visible yet.
fn hidden_files(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder.join("result")).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_name().to_string_lossy().starts_with('.')).count()
}

/// One run with a kill between the end of its input and its last commit.
async fn broken_at_the_end(victim: Victim, backend: &str, is_stored: bool, rate: &str) -> Result<bool> {
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    // One checkpoint to go back to, and no other before the last one: all that follows it is there to be made visible.
    let (interval, workers) = (["--checkpoint-interval", "10m"], ["--parallelism", "2", "--workers", "2"]);
    let options = [&interval[..], &workers, &["--state", backend, "--set", rate]].concat();
    let mut job = start(folder, &options)?;
    let is_running = |status: &JobStatus| status.state == JobState::Running;
    if in_time(&mut job, "tasks", is_running).await?.is_none() || ask_in_time(&job, &["savepoint"]).is_none() {
        return Ok(false);
    }
    let Some(status) = first_checkpoint(&mut job, 1).await? else { return Ok(false) };
    let reached = reach_the_end(&job, folder, &status, is_stored).await;
    let is_there = reached.map_err(|error| job.explain(error))?;
    if is_there {
        strike(&job, &status, victim)?;
    }
    proceed(&job)?;
    let again = conclude(&mut job, folder, victim).await.map_err(|error| job.explain(error))?;
    // Before the last manifest was stored, rows have to be read again; once it is, nothing does.
    Ok(is_there && again.is_some_and(|again| is_stored || again > 0))
}

async fn all_broken_at_the_end(backend: &str) {
    for (victim, is_stored) in VICTIMS.into_iter().flat_map(|victim| [(victim, false), (victim, true)]) {
        let run = async |rate: &str| broken_at_the_end(victim, backend, is_stored, rate).await;
        if let Err(error) = catch(40_000, run).await {
            panic!("{victim:?}, {backend}, last manifest stored: {is_stored}: {error:#}");
        }
    }
}

#[tokio::test]
async fn kills_at_the_end_change_no_byte_with_state_in_memory() {
    all_broken_at_the_end("memory").await;
}

#[tokio::test]
async fn kills_at_the_end_change_no_byte_with_state_in_rocksdb() {
    all_broken_at_the_end("rocksdb").await;
}

async fn all_broken_in_the_middle(backend: &str) {
    for victim in VICTIMS {
        let run = async |rate: &str| broken_in_the_middle(victim, backend, rate).await;
        if let Err(error) = catch(30_000, run).await {
            panic!("{victim:?}, {backend}: {error:#}");
        }
    }
}

#[tokio::test]
async fn kills_in_the_middle_change_no_byte_with_state_in_memory() {
    all_broken_in_the_middle("memory").await;
}

#[tokio::test]
async fn kills_in_the_middle_change_no_byte_with_state_in_rocksdb() {
    all_broken_in_the_middle("rocksdb").await;
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// `millstream job ARGS... --workdir DIR --json`: the last of the objects it says.
fn ask(job: &Job, args: &[&str]) -> Result<serde_json::Value> {
    let workdir = text(job.workdir().path());
    let done = millstream(&[&["job"], args, &["--workdir", &workdir, "--json"]].concat())?.success()?;
    Ok(serde_json::from_str(done.stdout.lines().last().unwrap_or_default())?)
}

/// The same of a job that may be over already, or about to be: then it refuses.
fn ask_in_time(job: &Job, args: &[&str]) -> Option<serde_json::Value> {
    ask(job, args).inspect_err(|error| eprintln!("{args:?}: {error:#}")).ok()
}

async fn rescaled(rate: &str) -> Result<bool> {
    let folder = tempfile::tempdir()?;
    let mut job = start(folder.path(), &["--parallelism", "2", "--workers", "3", "--set", rate])?;
    if first_checkpoint(&mut job, 1).await?.is_none() {
        return Ok(false);
    }
    for stages in ["window-1=3", "window-1=1"] {
        let Some(rescale) = ask_in_time(&job, &["rescale", "--stage", stages]) else { return Ok(false) };
        assert_eq!(rescale["state"], "done", "{rescale}");
        let (moved, least) = (&rescale["groups_moved"], &rescale["groups_moved_min"]);
        assert!(moved.as_u64() <= least.as_u64(), "{rescale}");
        if moved != least {
            return Ok(false); // Tasks that have read all their input give nothing away any more.
        }
    }
    job.end(LIMIT).await?.success()?;
    let outcome = job.outcome()?;
    let window = outcome.stages.iter().find(|stage| stage.name == "window-1").context("no window-1")?;
    assert_eq!((window.parallelism, window.tasks.len()), (1, 1));
    check_result(&committed_lines(&folder.path().join("result"))?)?;
    Ok(true)
}

#[tokio::test]
async fn a_rescale_under_way_changes_no_byte() -> Result<()> {
    catch(30_000, rescaled).await
}

async fn stopped_with_savepoint(rate: &str) -> Result<bool> {
    let folder = tempfile::tempdir()?;
    let (first, second) = (folder.path().join("first"), folder.path().join("second"));
    let mut job = start(&first, &["--parallelism", "2", "--workers", "2", "--set", rate])?;
    if first_checkpoint(&mut job, 1).await?.is_none() || ask_in_time(&job, &["stop", "--savepoint"]).is_none() {
        return Ok(false);
    }
    job.end(LIMIT).await?.success()?;
    let outcome = job.outcome()?;
    if rows_read(&outcome.stages) == ROWS {
        return Ok(false);
    }
    let savepoint = outcome.job.checkpoint.context("no checkpoint")?;
    assert!(savepoint.savepoint);
    let mut lines = committed_lines(&first.join("result"))?;
    let mut job = start(&second, &["--restore", &savepoint.path, "--parallelism", "3", "--workers", "2"])?;
    job.end(LIMIT).await?.success()?;
    assert_eq!(job.outcome()?.job.restored_epoch, Some(savepoint.epoch));
    lines.extend(committed_lines(&second.join("result"))?);
    lines.sort();
    check_result(&lines)?;
    Ok(true)
}

#[tokio::test]
async fn a_stop_with_savepoint_goes_on_elsewhere_at_another_parallelism() -> Result<()> {
    catch(30_000, stopped_with_savepoint).await
}

async fn restored_long_after(rate: &str) -> Result<bool> {
    let folder = tempfile::tempdir()?;
    let (first, second) = (folder.path().join("first"), folder.path().join("second"));
    let mut job = start(&first, &["--parallelism", "3", "--workers", "2", "--state", "memory", "--set", rate])?;
    if first_checkpoint(&mut job, 1).await?.is_none() {
        return Ok(false);
    }
    let Some(savepoint) = ask_in_time(&job, &["savepoint"]) else { return Ok(false) };
    let savepoint: CheckpointStatus = serde_json::from_value(savepoint)?;
    job.end(LIMIT).await?.success()?;
    check_result(&committed_lines(&first.join("result"))?)?;
    // part-JOB-GENERATION-TASK-EPOCH-NUMBER: what the savepoint does not cover is written once more.
    for entry in std::fs::read_dir(first.join("result"))? {
        let path = entry?.path();
        let epoch = path.to_string_lossy().rsplit('-').nth(1).context("a file without epoch")?.parse::<u64>()?;
        if epoch > savepoint.epoch {
            std::fs::remove_file(path)?;
        }
    }
    let mut lines = committed_lines(&first.join("result"))?;
    let mut job = start(&second, &["--restore", &savepoint.path, "--parallelism", "2", "--state", "memory"])?;
    job.end(LIMIT).await?.success()?;
    lines.extend(committed_lines(&second.join("result"))?);
    lines.sort();
    check_result(&lines)?;
    Ok(true)
}

#[tokio::test]
async fn a_savepoint_is_restored_while_its_job_is_long_over() -> Result<()> {
    catch(30_000, restored_long_after).await
}
