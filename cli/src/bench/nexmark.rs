//! Nexmark queries over a coordinator and worker processes, checkpoints on.
use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use millstream_api::wire::{JobState, StageStatus};
use millstream_operator::platform::local::LocalPlatform;
use millstream_operator::platform::{Observed, Platform};
use millstream_runtime::clock::{Clock, SystemClock};
use millstream_sql::{OpKind, StageGraph};
use serde::Serialize;
use tokio::time::{MissedTickBehavior, interval};

use super::usage::Usage;
use crate::args::NexmarkArgs;
use crate::fail::user;
use crate::launch::{self, Folder};
use crate::load::{self, Loaded};

/// The stream all queries read: every kind of event is generated, and columns that nobody reads are not.
const EVENTS: &str = include_str!("events.sql");
/// The queries, as the examples have them; of each, what follows its source tables.
const QUERIES: [(&str, &str); 6] = [
    ("q0", include_str!("../../../examples/nexmark/q0.sql")),
    ("q1", include_str!("../../../examples/nexmark/q1.sql")),
    ("q2", include_str!("../../../examples/nexmark/q2.sql")),
    ("q3", include_str!("../../../examples/nexmark/q3.sql")),
    ("q5", include_str!("../../../examples/nexmark/q5.sql")),
    ("q8", include_str!("../../../examples/nexmark/q8.sql")),
];
/// Time between two looks at the job.
const LOOK: Duration = Duration::from_millis(250);
/// Bytes of decoded entries an op, and of block cache and write buffers a task, may hold: together at most 32 MB.
const CACHE_BYTES: u64 = 16 << 20;
const CHECKPOINT_INTERVAL_MS: u64 = 5_000;

/// One query measured.
#[derive(Debug, Serialize)]
struct Figures {
    query: String,
    /// Events of all kinds, each counted once however many sources read the stream.
    events: u64,
    seconds: f64,
    events_per_s: f64,
    /// Of all processes, the generator included.
    cpu_s: f64,
    events_per_cpu_s: f64,
    max_rss_bytes: u64,
    rows_out: u64,
    checkpoints: u64,
    checkpoint_bytes: u64,
    state_bytes: u64,
    store_reads: u64,
    store_writes: u64,
}

/// Measures every query asked for.
pub fn bench(args: &NexmarkArgs) -> Result<()> {
    if cfg!(debug_assertions) {
        eprintln!("note: this is not a release build; its figures say little");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    for query in &args.query {
        let known = QUERIES.iter().find(|(name, _)| name == query);
        let names: Vec<&str> = QUERIES.iter().map(|(name, _)| *name).collect();
        let (_, sql) = known.ok_or_else(|| user(format!("--query {query}: there are {}", names.join(", "))))?;
        let loaded = job(query, sql, args)?;
        let figures = runtime.block_on(measure(query, &loaded, args))?;
        if args.json {
            crate::say::line(&serde_json::to_string(&figures)?)?;
        } else {
            let text = format!(
                "{query}: {:.2} M events/s, {:.2} M events per CPU second, {} events in {:.1} s, {:.0} MB peak",
                figures.events_per_s / 1e6,
                figures.events_per_cpu_s / 1e6,
                crate::progress::thousands(figures.events),
                figures.seconds,
                figures.max_rss_bytes as f64 / 1e6,
            );
            crate::say::line(&text)?;
        }
    }
    Ok(())
}

/// The query with endless or so many events, into nothing.
fn job(query: &str, sql: &str, args: &NexmarkArgs) -> Result<Loaded> {
    let body = sql.find("CREATE TABLE nexmark_").map_or(sql, |at| &sql[at..]);
    let mut loaded = load::from_sql(query, &format!("{EVENTS}{body}"))?;
    let spec = &mut loaded.spec;
    spec.parallelism = args.parallelism;
    spec.state_backend = args.state.name().to_owned();
    spec.checkpoint_interval_ms = Some(CHECKPOINT_INTERVAL_MS);
    let tasks = u64::from(args.parallelism.div_ceil(args.workers.max(1)));
    spec.state_memory_bytes = CACHE_BYTES * tasks * loaded.graph.stages.len() as u64;
    spec.tuning.op_cache_bytes = CACHE_BYTES as usize;
    for op in loaded.graph.stages.iter().flat_map(|stage| &stage.ops) {
        let option = |name: &str, value: Option<&str>| (name.to_owned(), value.map(str::to_owned));
        let options: BTreeMap<String, Option<String>> = match &op.kind {
            OpKind::Source(_) => {
                let events = args.events.map(|events| events.to_string());
                [option("nexmark.events", events.as_deref())].into()
            }
            OpKind::Sink(_) => {
                [option("connector", Some("blackhole")), option("path", None), option("format", None)].into()
            }
            _ => continue,
        };
        if let OpKind::Source(table) | OpKind::Sink(table) = &op.kind {
            spec.table_options.insert(table.name.clone(), options);
        }
    }
    Ok(loaded)
}

/// What the counters say at one moment.
#[derive(Clone, Default)]
struct Sample {
    at_us: u64,
    events: u64,
    rows_out: u64,
    store_reads: u64,
    store_writes: u64,
    usage: Usage,
}

async fn measure(query: &str, loaded: &Loaded, args: &NexmarkArgs) -> Result<Figures> {
    let mut folder = Folder::make(None)?;
    launch::prepare(&folder.workdir, &loaded.spec, None)?;
    let launch = launch::launch(&folder.workdir, args.parallelism.div_ceil(args.workers.max(1)), false)?;
    let mut platform = LocalPlatform::start(launch, folder.workdir.path(), args.workers)?;
    let watched = watch(&mut platform, &loaded.graph, args).await;
    platform.shutdown().await;
    let (first, last, observed) = watched.inspect_err(|_| folder.keep())?;
    let seconds = (last.at_us - first.at_us) as f64 / 1e6;
    let (events, cpu_s) = (last.events - first.events, last.usage.cpu_s() - first.usage.cpu_s());
    let checkpoint = observed.job.and_then(|job| job.checkpoint);
    let tasks = || observed.stages.iter().flat_map(|stage| &stage.tasks);
    Ok(Figures {
        query: query.to_owned(),
        events,
        seconds,
        events_per_s: events as f64 / seconds,
        cpu_s,
        events_per_cpu_s: events as f64 / cpu_s.max(1e-9),
        max_rss_bytes: last.usage.max_rss_bytes(),
        rows_out: last.rows_out - first.rows_out,
        checkpoints: checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.epoch),
        checkpoint_bytes: checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.uploaded_bytes),
        state_bytes: tasks().map(|task| task.state_bytes).sum(),
        store_reads: last.store_reads - first.store_reads,
        store_writes: last.store_writes - first.store_writes,
    })
}

/// Watches until the time or the input is over; gives the first sample with rows read, the last, and what was seen last.
async fn watch(
    platform: &mut LocalPlatform,
    graph: &StageGraph,
    args: &NexmarkArgs,
) -> Result<(Sample, Sample, Observed)> {
    let clock = SystemClock::default();
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut first, mut last) = (None, Sample::default());
    loop {
        looks.tick().await;
        let observed = platform.observe().await.context("the job cannot go on")?;
        let Some(job) = &observed.job else { continue };
        if job.state == JobState::Failed {
            bail!("the job failed: {}", job.error.clone().unwrap_or_default());
        }
        last = sample(&observed, graph, clock.now_us(), &last.usage);
        if last.events > 0 && first.is_none() {
            first = Some(last.clone());
        }
        let over = job.state.is_final();
        let Some(first) = &first else { continue };
        let timed_out = args.events.is_none() && last.at_us - first.at_us >= args.seconds * 1_000_000;
        if over || timed_out {
            return Ok((first.clone(), last, observed));
        }
    }
}

fn sample(observed: &Observed, graph: &StageGraph, at_us: u64, before: &Usage) -> Sample {
    let mut usage = before.clone();
    if let Some(job) = &observed.job {
        let workers = job.workers.iter().map(|worker| worker.pid);
        usage.read(workers.chain([job.coordinator.pid]));
    }
    let tasks = || observed.stages.iter().flat_map(|stage| &stage.tasks);
    let sinks = observed
        .stages
        .iter()
        .zip(&graph.stages)
        .filter(|(_, planned)| planned.ops.last().is_some_and(|op| matches!(op.kind, OpKind::Sink(_))));
    Sample {
        at_us,
        events: events(&observed.stages),
        rows_out: sinks.flat_map(|(stage, _)| &stage.tasks).map(|task| task.counters.records_out).sum(),
        store_reads: tasks().map(|task| task.store_reads).sum(),
        store_writes: tasks().map(|task| task.store_writes).sum(),
        usage,
    }
}

/// Events that every source has passed; a query that reads the stream twice is as far as the slower one.
fn events(stages: &[StageStatus]) -> u64 {
    let passed = |stage: &StageStatus| stage.tasks.iter().map(|task| task.counters.records_in).sum();
    stages.iter().filter(|stage| stage.source).map(passed).min().unwrap_or(0)
}
