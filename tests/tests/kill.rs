//! Processes of a job are killed with SIGKILL at random moments; what the job has committed at its end is byte for byte what an
//! unbroken run commits.
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use millstream_api::wire::{CheckpointStatus, JobStatus, StageStatus};
use millstream_runtime::random::{Random, SystemRandom};
use millstream_runtime::workdir::Workdir;
use millstream_tests::process::{Job, committed_lines, millstream, rows_read, until};

/// Counts of bids per auction and second: state in nearly every key group, output in every checkpoint.
const SQL: &str = "
CREATE TABLE bid (
  auction BIGINT, price BIGINT, dateTime TIMESTAMP(3),
  WATERMARK FOR dateTime AS dateTime - INTERVAL '1' SECOND
) WITH (
  'connector' = 'nexmark', 'nexmark.table' = 'bid', 'nexmark.events' = '100000',
  'nexmark.event-rate' = '10000', 'nexmark.rate' = '${RATE:-30000}'
);
CREATE TABLE popular (window_start TIMESTAMP(3), auction BIGINT, bids BIGINT, highest BIGINT)
WITH ('connector' = 'filesystem', 'path' = '${RESULT_DIR}', 'format' = 'csv');
INSERT INTO popular
SELECT window_start, auction, COUNT(*), MAX(price)
FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(dateTime), INTERVAL '1' SECOND))
GROUP BY window_start, window_end, auction;
";
/// Of 50 events 46 are bids.
const ROWS: u64 = 92_000;
/// The longest a job may take with all that happens to it.
const LIMIT: Duration = Duration::from_secs(60);

/// Runs in which a short moment should be hit.
const ATTEMPTS: usize = 10;

/// What is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Worker,
    Coordinator,
    Both,
}

const VICTIMS: [Victim; 3] = [Victim::Worker, Victim::Coordinator, Victim::Both];

fn options(folder: &Path, more: &[&str]) -> Result<Vec<String>> {
    std::fs::create_dir_all(folder)?;
    let file = folder.join("popular.sql");
    std::fs::write(&file, SQL)?;
    let set = format!("RESULT_DIR={}", folder.join("result").display());
    let mut options = vec![file.to_string_lossy().into_owned(), "--set".into(), set];
    if !more.contains(&"--checkpoint-interval") {
        options.extend(["--checkpoint-interval".into(), "300ms".into()]);
    }
    options.extend(more.iter().map(ToString::to_string));
    Ok(options)
}

fn start(folder: &Path, more: &[&str]) -> Result<Job> {
    let options = options(folder, more)?;
    Job::start(folder, &options.iter().map(String::as_str).collect::<Vec<_>>())
}

/// What an unbroken run commits, one task a stage.
fn unbroken() -> Result<&'static [String]> {
    static LINES: OnceLock<Vec<String>> = OnceLock::new();
    if let Some(lines) = LINES.get() {
        return Ok(lines);
    }
    let folder = tempfile::tempdir()?;
    let options = options(folder.path(), &["--set", "RATE=1000000000"])?;
    let mut args = vec!["run"];
    args.extend(options.iter().map(String::as_str));
    millstream(&args)?.success()?;
    let lines = committed_lines(&folder.path().join("result"))?;
    ensure!(lines.len() > 5_000, "only {} rows", lines.len());
    Ok(LINES.get_or_init(|| lines))
}

/// Refuses a result that is not the one of an unbroken run.
fn check_result(lines: &[String]) -> Result<()> {
    let expected = unbroken()?;
    if lines != expected {
        let missing: Vec<_> = expected.iter().filter(|line| lines.binary_search(line).is_err()).take(5).collect();
        let extra: Vec<_> = lines.iter().filter(|line| expected.binary_search(line).is_err()).take(5).collect();
        let (found, wanted) = (lines.len(), expected.len());
        anyhow::bail!("{found} rows instead of {wanted}; missing: {missing:?}; not expected: {extra:?}");
    }
    Ok(())
}

/// Kills what is asked for, one of the workers at random.
fn strike(job: &Job, status: &JobStatus, victim: Victim) -> Result<()> {
    if victim != Victim::Worker {
        job.kill(status.coordinator.pid)?;
    }
    if victim != Victim::Coordinator {
        let count = status.workers.len() as u64;
        ensure!(count > 0, "there is no worker to kill");
        job.kill(status.workers[(SystemRandom.next_u64() % count) as usize].pid)?;
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

/// Waits until every source has reported rows that its job's latest checkpoint does not cover, and says how many rows all have
/// reported. A checkpoint covers less than what a source says after it was complete.
async fn rows_uncovered(job: &mut Job) -> Result<u64> {
    let mut last = None;
    let mut since: Vec<(u32, u64)> = Vec::new();
    let read = |stages: &[StageStatus]| -> Vec<(u32, u64)> {
        let tasks = stages.iter().filter(|stage| stage.source).flat_map(|stage| &stage.tasks);
        tasks.map(|task| (task.id, task.counters.records_in)).collect()
    };
    until("rows after a checkpoint", LIMIT, async || {
        let (Some(status), Some(stages)) = (job.status().await, job.stages().await) else { return Ok(None) };
        let (epoch, now) = (status.checkpoint.map(|checkpoint| checkpoint.epoch), read(&stages));
        if last != epoch {
            (last, since) = (epoch, now);
            return Ok(None);
        }
        let is_new = !since.is_empty() && now.iter().all(|task| !since.contains(task));
        Ok(is_new.then(|| now.iter().map(|(_, rows)| rows).sum()))
    })
    .await
}

/// One run with a kill in its middle.
async fn broken_in_the_middle(victim: Victim, backend: &str) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    let options = ["--parallelism", "2", "--workers", "2", "--state", backend, "--checkpoint-interval", "700ms"];
    let mut job = start(folder, &options)?;
    let epochs = 1 + SystemRandom.next_u64() % 2;
    let is_enough =
        |status: &JobStatus| status.checkpoint.as_ref().is_some_and(|done| done.epoch >= epochs).then_some(());
    job.until("a first checkpoint", is_enough).await?;
    let seen = rows_uncovered(&mut job).await?;
    let status = job.status().await.context("no coordinator")?;
    let epoch = status.checkpoint.as_ref().context("no committed epoch before the kill")?.epoch;
    strike(&job, &status, victim)?;
    let again = conclude(&mut job, folder, victim).await.map_err(|error| job.explain(error))?.context("no recovery")?;
    ensure!(
        seen < ROWS && seen + again > ROWS,
        "killed after epoch {epoch}: {seen} rows, then {again}: none was replayed"
    );
    Ok(())
}

/// Waits until all rows have been read, or further, until the manifest of the last checkpoint is stored. Says whether the job was
/// found there before it was over.
async fn reach_the_end(job: &mut Job, is_stored: bool) -> Result<bool> {
    until("the end of the input", LIMIT, async || {
        if job.workdir().outcome_file().exists() {
            return Ok(Some(false));
        }
        let reached = if is_stored {
            has_final_manifest(job.workdir())?
        } else {
            job.stages().await.is_some_and(|stages| rows_read(&stages) == ROWS)
        };
        Ok(reached.then_some(true))
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

/// One run with a kill between the end of its input and its last commit. The moment is short: a run that was over before the
/// kill is held to its result and tried again.
async fn broken_at_the_end(victim: Victim, backend: &str, is_stored: bool) -> Result<()> {
    for _ in 0..ATTEMPTS {
        let folder = tempfile::tempdir()?;
        let folder = folder.path();
        let fast = ["--parallelism", "2", "--workers", "2", "--state", backend, "--set", "RATE=100000"];
        let mut job = start(folder, &fast)?;
        let before = job.until("a first checkpoint", |status| Some((status.checkpoint.clone()?, status.clone()))).await;
        let (_, status) = before?;
        if reach_the_end(&mut job, is_stored).await? {
            // Whoever is gone by now has ended by itself.
            let _ = strike(&job, &status, victim);
        }
        let again = conclude(&mut job, folder, victim).await.map_err(|error| job.explain(error))?;
        // Before the last manifest was stored, rows have to be read again; once it is, nothing does.
        if again.is_some_and(|again| is_stored || again > 0) {
            return Ok(());
        }
    }
    anyhow::bail!("in none of {ATTEMPTS} runs was the moment before the last commit hit")
}

async fn all_broken_at_the_end(backend: &str) {
    for (victim, is_stored) in VICTIMS.into_iter().flat_map(|victim| [(victim, false), (victim, true)]) {
        if let Err(error) = broken_at_the_end(victim, backend, is_stored).await {
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
        if let Err(error) = broken_in_the_middle(victim, backend).await {
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

#[tokio::test]
async fn a_rescale_under_way_changes_no_byte() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut job = start(folder.path(), &["--parallelism", "2", "--workers", "3"])?;
    job.until("a first checkpoint", |status| status.checkpoint.clone()).await?;
    for stages in ["window-1=3", "window-1=1"] {
        let rescale = ask(&job, &["rescale", "--stage", stages])?;
        assert_eq!(rescale["state"], "done", "{rescale}");
        let (moved, least) = (&rescale["groups_moved"], &rescale["groups_moved_min"]);
        assert!(moved.as_u64() > Some(0) && moved == least, "{rescale}");
    }
    job.end(LIMIT).await?.success()?;
    let outcome = job.outcome()?;
    let window = outcome.stages.iter().find(|stage| stage.name == "window-1").context("no window-1")?;
    assert_eq!((window.parallelism, window.tasks.len()), (1, 1));
    check_result(&committed_lines(&folder.path().join("result"))?)
}

#[tokio::test]
async fn a_stop_with_savepoint_goes_on_elsewhere_at_another_parallelism() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (first, second) = (folder.path().join("first"), folder.path().join("second"));
    let mut job = start(&first, &["--parallelism", "2", "--workers", "2"])?;
    job.until("a first checkpoint", |status| status.checkpoint.clone()).await?;
    ask(&job, &["stop", "--savepoint"])?;
    job.end(LIMIT).await?.success()?;
    let outcome = job.outcome()?;
    let savepoint = outcome.job.checkpoint.context("no checkpoint")?;
    assert!(savepoint.savepoint);
    assert!(rows_read(&outcome.stages) < ROWS);
    let mut lines = committed_lines(&first.join("result"))?;
    let mut job = start(&second, &["--restore", &savepoint.path, "--parallelism", "3", "--workers", "2"])?;
    job.end(LIMIT).await?.success()?;
    assert_eq!(job.outcome()?.job.restored_epoch, Some(savepoint.epoch));
    lines.extend(committed_lines(&second.join("result"))?);
    lines.sort();
    check_result(&lines)
}

#[tokio::test]
async fn a_savepoint_is_restored_while_its_job_is_long_over() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (first, second) = (folder.path().join("first"), folder.path().join("second"));
    let mut job = start(&first, &["--parallelism", "3", "--workers", "2", "--state", "memory"])?;
    job.until("a first checkpoint", |status| status.checkpoint.clone()).await?;
    let savepoint: CheckpointStatus = serde_json::from_value(ask(&job, &["savepoint"])?)?;
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
    check_result(&lines)
}
