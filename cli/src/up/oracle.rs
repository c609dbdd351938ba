//! The proof: the same job once more, as one task a stage on one worker, without rate limits, and its result beside the first.
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use millstream_api::wire::JobState;
use millstream_operator::platform::Platform;
use millstream_operator::platform::local::LocalPlatform;
use millstream_runtime::job::JobSpec;
use millstream_runtime::workdir::{JobFile, Outcome, Workdir, read};
use millstream_sql::OpKind;
use tokio::time::{MissedTickBehavior, interval};

use super::summary::Proof;
use crate::launch::{self, Folder};
use crate::load::Loaded;

/// Options that offer load by a schedule; without them a source gives what it has at once.
const SCHEDULES: [&str; 2] = ["nexmark.rate", "rows-per-second"];
/// Time between two looks at the comparison run.
const LOOK: Duration = Duration::from_millis(250);

/// Compares the committed files of a completed job with those of a one-task run. None if the job writes anything but files.
pub async fn compare(loaded: &Loaded, folder: &Folder) -> Result<Option<Proof>> {
    let sinks: Vec<_> = millstream_sql::sink_tables(&loaded.graph).map(|(table, _)| table).collect();
    if sinks.iter().any(|sink| sink.connector != "filesystem") {
        return Ok(None);
    }
    let own = Folder::make(None)?;
    let mut spec = alone(&loaded.spec);
    let mut results = Vec::new();
    for (number, sink) in sinks.iter().enumerate() {
        let path = own.workdir.path().join(format!("result-{number}"));
        let options = spec.table_options.entry(sink.name.clone()).or_default();
        options.insert("path".to_owned(), Some(path.display().to_string()));
        results.push((sink.options.get("path").cloned().unwrap_or_default(), path));
    }
    for op in loaded.graph.stages.iter().flat_map(|stage| &stage.ops) {
        if let OpKind::Source(table) = &op.kind {
            for schedule in SCHEDULES.iter().filter(|name| table.options.contains_key(**name)) {
                spec.table_options.entry(table.name.clone()).or_default().insert((*schedule).to_owned(), None);
            }
        }
    }
    launch::prepare(&own.workdir, &spec, None)?;
    run_alone(&own.workdir).await?;
    let job = job_id(&folder.workdir)?;
    let oracle_job = job_id(&own.workdir)?;
    let (mut rows, mut oracle_rows, mut equal) = (0, 0, true);
    for (path, oracle_path) in results {
        let (one, two) = (lines(Path::new(&path), job)?, lines(&oracle_path, oracle_job)?);
        rows += one.values().sum::<u64>();
        oracle_rows += two.values().sum::<u64>();
        equal &= one == two;
    }
    Ok(Some(Proof { equal, rows, oracle_rows, oracle: "a one-task run without the limiter".to_owned() }))
}

/// The job with one task a stage and nothing that slows it down.
fn alone(spec: &JobSpec) -> JobSpec {
    let mut spec = spec.clone();
    spec.parallelism = 1;
    spec.stages = BTreeMap::new();
    spec.tuning.records_per_second = None;
    spec.tuning.stage_records_per_second = BTreeMap::new();
    spec.state_backend = "memory".to_owned();
    spec
}

async fn run_alone(workdir: &Workdir) -> Result<()> {
    let launch = launch::launch(workdir, 1, false)?;
    let mut platform = LocalPlatform::start(launch, workdir.path(), 1)?;
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !workdir.outcome_file().exists() {
        looks.tick().await;
        platform.observe().await.context("the one-task run for comparison cannot go on")?;
    }
    platform.shutdown().await;
    let outcome: Outcome = read(&workdir.outcome_file())?;
    if outcome.job.state != JobState::Completed {
        bail!("the one-task run for comparison failed: {}", outcome.job.error.unwrap_or_default());
    }
    Ok(())
}

fn job_id(workdir: &Workdir) -> Result<u64> {
    let file: JobFile = read(&workdir.job_file())?;
    Ok(file.job_id)
}

/// The rows of this job in a result folder, each with how often it is there. Header lines are rows that both sides have; they are
/// counted once.
fn lines(folder: &Path, job_id: u64) -> Result<BTreeMap<String, u64>> {
    let mut lines = BTreeMap::new();
    let own = format!("part-{job_id:016x}-");
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("cannot read the result in {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&own)) {
            let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            for line in text.lines() {
                *lines.entry(line.to_owned()).or_default() += 1;
            }
        }
    }
    Ok(lines)
}
