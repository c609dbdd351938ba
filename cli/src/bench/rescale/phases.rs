//! One run: preload, quiet, rescale, quiet (and back), end of input.
use std::path::Path;

use anyhow::{Context, Result};
use millstream_api::wire::{JobStatus, RescaleStatus};
use millstream_operator::platform::local::LocalPlatform;
use millstream_runtime::bench::Offer;
use millstream_runtime::bench::line::Window;
use millstream_runtime::clock::Clock;

use super::report::{self, Figures, Marks, Trace};
use super::scenario::Scenario;
use super::watch::Watch;
use super::{ask, copy, job};
use crate::args::{State, Strategy};
use crate::fail::UserError;
use crate::launch::{self, Folder};
use crate::load::Loaded;
use crate::progress::thousands;

/// From the writing of the schedule to the first due record, and from the end's to the last one: the source looks more often.
const NOTICE_MS: i64 = 1_000;
/// The schedule's first records are not measured.
const SETTLE_MS: i64 = 2_000;
/// A backlog that has not gone by then is not waited for.
const BACKLOG_MS: i64 = 600_000;
/// Everything of a run.
struct Measured {
    windows: Vec<Window>,
    hops: Vec<Hop>,
    /// Records offered in all.
    records: u64,
    rate: u64,
}

/// One rescale of a run.
struct Hop {
    from: u32,
    to: u32,
    marks: Marks,
    moved: RescaleStatus,
    /// State in the checkpoint that was the newest when the rescale was done: of a restart, its savepoint.
    checkpoint_bytes: u64,
    rss_bytes: (u64, u64),
}

/// One run of a scenario: figures of each of its rescales, and its latency over time.
pub async fn measure(scenario: &Scenario, strategy: Strategy) -> Result<(Vec<Figures>, Trace)> {
    let mut folder = Folder::make(None)?;
    let meeting = folder.workdir.path().join("bench");
    std::fs::create_dir_all(&meeting).with_context(|| format!("cannot make {}", meeting.display()))?;
    let loaded = job::load(scenario, &meeting)?;
    launch::prepare(&folder.workdir, &loaded.spec, None)?;
    let launch = launch::launch(&folder.workdir, 1, false)?;
    let platform = LocalPlatform::start(launch, folder.workdir.path(), scenario.workers())?;
    let mut watch = Watch::new(platform, &folder.workdir, &meeting);
    let run = run(&mut watch, (scenario, strategy), &loaded, &meeting).await;
    watch.platform.shutdown().await;
    let measured = run.map_err(|error| {
        if error.is::<UserError>() {
            return error;
        }
        folder.keep();
        error.context(format!("logs are in {}", folder.workdir.path().join("logs").display()))
    })?;
    let mut figures = Vec::new();
    for hop in &measured.hops {
        let mut one = figures_of(&measured, hop, (scenario, strategy), &loaded);
        let rate = copy::bytes_per_s(folder.workdir.path(), one.bytes_moved, &watch.clock);
        one.copy_bytes_per_s = rate.context("cannot measure a plain copy")? as u64;
        figures.push(one);
    }
    let marks: Vec<Marks> = measured.hops.iter().map(|hop| hop.marks).collect();
    let title = format!("{}: {}", strategy.name(), scenario.text());
    Ok((figures, Trace::of(title, &measured.windows, &marks)))
}

async fn run(
    watch: &mut Watch,
    (scenario, strategy): (&Scenario, Strategy),
    loaded: &Loaded,
    meeting: &Path,
) -> Result<Measured> {
    let rate = preload(watch, scenario).await?;
    let at_ms = watch.clock.now_ms() + NOTICE_MS;
    let offer = Offer { first: scenario.untimed(), at_ms, per_s: rate, records: None };
    let cannot = || format!("cannot write into {}", meeting.display());
    offer.write(meeting).with_context(cannot)?;
    watch.until_ms(at_ms + SETTLE_MS).await?;
    let stage = job::keyed_stage(loaded)?;
    let mut hops = Vec::new();
    let there_and_back = [(scenario.from, scenario.to), (scenario.to, scenario.from)];
    for (from, to) in there_and_back.into_iter().take(if scenario.back { 2 } else { 1 }) {
        hops.push(hop(watch, (scenario, strategy), &stage, (from, to)).await?);
    }
    let due = offer.due().context("nothing is offered")?;
    let records = due.before(watch.clock.now_ms() + NOTICE_MS);
    Offer { records: Some(records), ..offer }.write(meeting).with_context(cannot)?;
    watch.end().await?;
    Ok(Measured { windows: watch.windows()?, hops, records, rate })
}

/// Waits until all keys have state and a checkpoint has all of it; answers the rate to offer.
async fn preload(watch: &mut Watch, scenario: &Scenario) -> Result<u64> {
    let started_ms = watch.clock.now_ms();
    let untimed = scenario.untimed();
    let arrived = |watch: &Watch| -> Result<u64> { Ok(watch.windows()?.last().map_or(0, |window| window.arrived)) };
    watch.until(|watch, _| Ok((arrived(watch)? >= untimed).then_some(()))).await?;
    let now_ms = watch.clock.now_ms();
    let saturation = report::saturation_per_s(&watch.windows()?, scenario.keys);
    let shown = saturation.map_or("unknown".to_owned(), |rate| format!("{} records/s", thousands(rate)));
    let (records, took_ms) = (thousands(untimed), now_ms - started_ms);
    eprintln!("preload: {records} records in {took_ms} ms; saturation {shown}");
    let is_after = |job: &JobStatus| {
        let checkpoint = job.checkpoint.as_ref();
        checkpoint.is_some_and(|done| done.completed_at_ms.saturating_sub_unsigned(done.duration_ms) >= now_ms)
    };
    watch.until(|_, observed| Ok(observed.job.as_ref().is_some_and(is_after).then_some(()))).await?;
    let half = saturation.map(|rate| (rate / 2).max(1)).filter(|_| scenario.half_of_saturation);
    let rate = half.map_or(scenario.rate, |half| half.min(scenario.rate));
    eprintln!("offering {} records/s", thousands(rate));
    Ok(rate)
}

async fn hop(
    watch: &mut Watch,
    (scenario, strategy): (&Scenario, Strategy),
    stage: &str,
    (from, to): (u32, u32),
) -> Result<Hop> {
    let quiet_ms = i64::try_from(scenario.seconds.saturating_mul(1000)).unwrap_or(i64::MAX);
    let before_ms = watch.clock.now_ms();
    watch.until_ms(before_ms.saturating_add(quiet_ms)).await?;
    let (id, requested_ms) = ask::ask(watch, (scenario, strategy), (stage, to)).await?;
    let (moved, done_ms, checkpoint_bytes) = watch
        .until(|_, observed| {
            let Some(found) = observed.rescales.iter().find(|rescale| rescale.id == id) else { return Ok(None) };
            let checkpoint = observed.job.as_ref().and_then(|job| job.checkpoint.as_ref());
            let bytes = checkpoint.map_or(0, |checkpoint| checkpoint.state_bytes);
            Ok(ask::done_at_ms(found)?.map(|done_ms| (found.clone(), done_ms, bytes)))
        })
        .await?;
    let marks = |end_ms: i64| Marks { before_ms, requested_ms, done_ms, end_ms };
    let quiet_at = |watch: &Watch| -> Result<Option<i64>> {
        Ok(report::phases(&watch.windows()?, &marks(watch.clock.now_ms())).quiet_ms)
    };
    let given_up_ms = done_ms.saturating_add(BACKLOG_MS);
    watch
        .until(|watch, _| Ok((quiet_at(watch)?.is_some() || watch.clock.now_ms() > given_up_ms).then_some(())))
        .await?;
    let over_ms = watch.clock.now_ms();
    watch.until_ms(over_ms.saturating_add(quiet_ms)).await?;
    let rss_bytes = (watch.memory.peak(before_ms, requested_ms), watch.memory.peak(requested_ms, over_ms));
    Ok(Hop { from, to, marks: marks(watch.clock.now_ms()), moved, checkpoint_bytes, rss_bytes })
}

fn figures_of(measured: &Measured, hop: &Hop, (scenario, strategy): (&Scenario, Strategy), loaded: &Loaded) -> Figures {
    let phases = report::phases(&measured.windows, &hop.marks);
    let state_bytes = scenario.keys * scenario.entry_bytes();
    let min_groups = hop.moved.groups_moved_min;
    // A restart sends nothing from task to task: the new tasks read all that the checkpoint has.
    let bytes_moved = match strategy {
        Strategy::Restart if hop.moved.bytes_moved == 0 => hop.checkpoint_bytes,
        _ => hop.moved.bytes_moved,
    };
    let spec = &loaded.spec;
    let store_bytes = if scenario.state == State::Rocksdb { spec.state_memory_bytes } else { 0 };
    let budget = u64::from(hop.to.saturating_sub(hop.from)) * (store_bytes + spec.tuning.op_cache_bytes as u64);
    let (rss_before, rss_during) = hop.rss_bytes;
    let last = measured.windows.last().cloned().unwrap_or_default();
    Figures {
        strategy: strategy.name(),
        keys: scenario.keys,
        value_bytes: scenario.value_bytes,
        rate: measured.rate,
        from: hop.from,
        to: hop.to,
        duration_ms: hop.moved.duration_ms.unwrap_or(0),
        state_bytes,
        min_bytes: report::share(state_bytes, min_groups, scenario.key_groups),
        bytes_moved,
        groups_moved: hop.moved.groups_moved,
        min_groups,
        latency_ms: phases.latency_ms,
        output_gap_ms_max: phases.output_gap_ms_max,
        copy_bytes_per_s: 0,
        rss_peak_extra_bytes: rss_during.saturating_sub(rss_before).saturating_sub(budget),
        lost: measured.records.saturating_sub(last.arrived) + last.faults.damaged,
        duplicated: last.faults.duplicated + last.arrived.saturating_sub(measured.records),
        reordered: last.faults.reordered,
    }
}
