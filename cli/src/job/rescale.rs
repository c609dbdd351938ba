//! `millstream job rescale`: the plan, then what happens, then what has.
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};
use millstream_api::id::{Generation, TaskId};
use millstream_api::wire::{
    Batching, Expect, RescaleEstimate, RescaleRequest, RescaleState, RescaleStatus, RescaleStrategy,
};
use millstream_operator::client::{Client, Error};
use millstream_operator::clock::back_off;

use super::show;
use crate::args::RescaleArgs;
use crate::fail::user;
use crate::progress::{count, thousands};
use crate::up::view::text::bytes;

/// A coordinator that does not answer is asked again after this time,
const AGAIN: Duration = Duration::from_millis(500);
/// and so often: its process is started anew, takes the tasks over and goes on.
const AWAY_MAX: u32 = 60;

/// Does what is asked of the job at `generation`.
pub async fn rescale(client: &Client, args: &RescaleArgs, generation: Generation, json: bool) -> Result<()> {
    if args.cancel {
        let cancelled = client.cancel_rescale().await?;
        return follow(client, cancelled, args.no_wait, json).await;
    }
    let request = request(args, generation)?;
    let plan = client.rescale(&RescaleRequest { dry_run: true, ..request.clone() }).await?;
    show(json, std::slice::from_ref(&plan), plan_text)?;
    if args.dry_run {
        return Ok(());
    }
    let rescale = client.rescale(&request).await?;
    follow(client, rescale, args.no_wait, json).await
}

/// Shows a rescale until it is over.
async fn follow(client: &Client, mut rescale: RescaleStatus, no_wait: bool, json: bool) -> Result<()> {
    let mut shown = RescaleStatus::default();
    while !no_wait && !rescale.state.is_final() {
        if progress_text(&rescale) != progress_text(&shown) {
            show(json, std::slice::from_ref(&rescale), progress_text)?;
        }
        shown = rescale;
        rescale = beyond(client, &shown).await?;
    }
    show(json, std::slice::from_ref(&rescale), result_text)?;
    if rescale.state == RescaleState::Failed {
        let reason = rescale.reason.as_deref().unwrap_or("no reason was given");
        bail!("the rescale failed: {reason}; the job goes on as `job stages` shows it, ask again when it is running");
    }
    Ok(())
}

/// How a rescale stands once it has come further. If its coordinator is lost, the next one knows.
async fn beyond(client: &Client, shown: &RescaleStatus) -> Result<RescaleStatus> {
    for _ in 0..AWAY_MAX {
        match client.rescales_beyond(shown.id, shown.batches_done).await {
            Ok(found) => {
                if let Some(found) = found.into_iter().find(|found| found.id == shown.id) {
                    return Ok(found);
                }
            }
            Err(Error::Unreachable { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        back_off(AGAIN).await;
    }
    bail!("nobody knows what has become of rescale {}; see `job status`, and ask again", shown.id)
}

fn request(args: &RescaleArgs, generation: Generation) -> Result<RescaleRequest> {
    let (strategy, batch) = (args.strategy.wire(), args.batch.wire());
    if strategy != RescaleStrategy::Incremental && batch != Batching::Auto {
        return Err(user("--batch is for --strategy incremental; the others move all at once"));
    }
    Ok(RescaleRequest {
        stages: parse_stages(&args.stages)?,
        strategy,
        expect: Some(Expect::at(generation)),
        tables: args.table.as_deref().map(read_tables).transpose()?.unwrap_or_default(),
        rebalance: args.rebalance.clone(),
        vacate: Vec::new(),
        batch,
        dry_run: false,
    })
}

fn parse_stages(stages: &[String]) -> Result<BTreeMap<String, u32>> {
    let parse = |text: &String| {
        let (name, tasks) = text.split_once('=')?;
        Some((name.to_owned(), tasks.parse().ok()?))
    };
    let bad = |text: &String| user(format!("--stage {text}: write STAGE=TASKS, such as window-1=4"));
    stages.iter().map(|text| parse(text).ok_or_else(|| bad(text))).collect()
}

fn read_tables(file: &Path) -> Result<BTreeMap<String, Vec<TaskId>>> {
    let bad = |what: String| user(format!("--table {}: {what}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|error| bad(format!("cannot be read: {error}")))?;
    serde_json::from_str(&text).map_err(|error| {
        bad(format!(
            "{error}; write the task that is to own each key group, by stage, such as {{\"window-1\": [4, 4, 5, 5]}}"
        ))
    })
}

/// `window-1 2 -> 4`.
fn changes(rescale: &RescaleStatus) -> String {
    let changed = rescale.to.iter().filter(|(stage, to)| rescale.from.get(*stage) != Some(to));
    let one =
        |(stage, to): (&String, &u32)| format!("{stage} {} -> {to}", rescale.from.get(stage).copied().unwrap_or(0));
    let changes: Vec<String> = changed.map(one).collect();
    if changes.is_empty() { "the same tasks".into() } else { changes.join(", ") }
}

fn strategy(strategy: RescaleStrategy) -> &'static str {
    match strategy {
        RescaleStrategy::Incremental => "incremental",
        RescaleStrategy::AllAtOnce => "all at once",
        RescaleStrategy::Restart => "restart",
    }
}

fn plan_text(plan: &RescaleStatus) -> String {
    let head = format!("plan  {}  {}", changes(plan), strategy(plan.strategy));
    let Some(estimate) = plan.estimate else { return head };
    let hot: String = plan.hot.iter().map(|hot| format!("\n  {hot}")).collect();
    if estimate.groups == 0 {
        return format!("{head}  no key group moves{hot}");
    }
    let RescaleEstimate { groups, groups_min, bytes: moved, bytes_min, duration_ms, pause_ms } = estimate;
    format!(
        "{head}\n  moves {} (at least {}), {} of state (at least {})\n  takes about {}, a key group is held for up to {}{hot}",
        count(u64::from(groups), "key group"),
        thousands(u64::from(groups_min)),
        bytes(moved),
        bytes(bytes_min),
        time(duration_ms),
        time(pause_ms),
    )
}

/// Where a rescale is, on one line.
pub fn progress_text(rescale: &RescaleStatus) -> String {
    let mut text = format!("rescale {}  {}", rescale.id, rescale.state.name());
    if let Some(batches) = rescale.batches {
        text.push_str(&format!("  batch {} of {batches}", (rescale.batches_done + 1).min(batches)));
    }
    if rescale.bytes_moved > 0 {
        text.push_str(&format!("  {} moved", bytes(rescale.bytes_moved)));
    }
    if let Some(pause_ms) = rescale.pause_ms_max {
        text.push_str(&format!("  longest pause {}", time(pause_ms)));
    }
    if !rescale.step.is_empty() {
        text.push_str(&format!("  {}", rescale.step));
    }
    text
}

fn result_text(rescale: &RescaleStatus) -> String {
    let took = rescale.duration_ms.map_or_else(String::new, |ms| format!("  {}", time(ms)));
    let head = format!("rescale {}  {}  {}{took}", rescale.id, rescale.state.name(), changes(rescale));
    let mut text = match &rescale.reason {
        Some(reason) => format!("{head}  ({reason})"),
        None => head,
    };
    if rescale.state == RescaleState::Running {
        return text;
    }
    let moved = count(u64::from(rescale.groups_moved), "key group");
    text.push_str(&format!("  {moved} moved, {} had to", thousands(u64::from(rescale.groups_moved_min))));
    if rescale.batches_done > 0 {
        let batches = rescale.batches_done;
        text.push_str(&format!(
            "  {} in {batches} batch{}",
            bytes(rescale.bytes_moved),
            if batches == 1 { "" } else { "es" }
        ));
    }
    if let (Some(middle), Some(longest)) = (rescale.pause_ms_p50, rescale.pause_ms_max) {
        text.push_str(&format!("  held for {} mostly, {} at most", time(middle), time(longest)));
    }
    text
}

/// `640 ms`, `12.5 s`.
fn time(ms: u64) -> String {
    if ms < 10_000 { format!("{} ms", thousands(ms)) } else { format!("{:.1} s", ms as f64 / 1e3) }
}

#[cfg(test)]
mod tests;
