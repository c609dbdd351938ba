//! `millstream job ...`: speaks to a running job over its API.
use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use millstream_api::wire::{CheckpointStatus, JobStatus, RescaleRequest, RescaleState, RescaleStatus, StageStatus};
use millstream_operator::client::{self, Client};
use serde::Serialize;

use crate::args::{JobArgs, JobCommand};
use crate::fail::user;
use crate::progress::{count, state, thousands};
use crate::say;

/// Pause between two looks at a rescale.
const LOOK: Duration = Duration::from_millis(200);

/// Does what is asked.
pub fn job(args: JobArgs) -> Result<()> {
    let client = connect(&args)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(ask(&client, &args)).map_err(whose)
}

/// What the API refuses, and a folder in which no job runs, are for the person who asked to mend.
fn whose(error: anyhow::Error) -> anyhow::Error {
    match error.downcast_ref::<client::Error>() {
        Some(client::Error::Refused { status: 400..500, message }) => user(message.clone()),
        Some(client::Error::NoJob { dir, .. }) => {
            user(format!("no job runs in {}; give the --workdir of a running job", dir.display()))
        }
        _ => error,
    }
}

fn connect(args: &JobArgs) -> Result<Client> {
    match (&args.workdir, &args.address, &args.token) {
        (Some(workdir), None, None) => {
            if !workdir.is_dir() {
                return Err(user(format!("--workdir {}: there is no such folder", workdir.display())));
            }
            Ok(Client::in_workdir(workdir)?)
        }
        (None, Some(address), Some(token)) => Ok(Client::new(address, token)?),
        _ => Err(user("say which job: --workdir DIR, or --address HOST:PORT with --token TOKEN")),
    }
}

async fn ask(client: &Client, args: &JobArgs) -> Result<()> {
    let named = |name: &Option<String>| name.clone();
    match &args.command {
        JobCommand::Status { job } => {
            let status = the_job(client, named(job)).await?;
            show(args.json, std::slice::from_ref(&status), status_text)
        }
        JobCommand::Stages { job } => {
            the_job(client, named(job)).await?;
            show(args.json, &client.stages().await?, stage_text)
        }
        JobCommand::Checkpoints { job } => {
            the_job(client, named(job)).await?;
            let checkpoints = client.checkpoints().await?;
            if checkpoints.is_empty() && !args.json {
                return say::line("no checkpoint is complete yet");
            }
            show(args.json, &checkpoints, checkpoint_text)
        }
        JobCommand::Savepoint { job } => {
            the_job(client, named(job)).await?;
            show(args.json, &[client.savepoint().await?], checkpoint_text)
        }
        JobCommand::Rescale { job, stages, no_wait } => {
            let status = the_job(client, named(job)).await?;
            let request = RescaleRequest {
                stages: parse_stages(stages)?,
                generation: Some(status.generation),
                ..RescaleRequest::default()
            };
            let mut rescale = client.rescale(&request).await?;
            while !no_wait && !rescale.state.is_final() {
                pause().await;
                let all = client.rescales().await?;
                let found = all.into_iter().find(|found| found.id == rescale.id);
                rescale = found.context("the coordinator was restarted during the rescale; see `job status`")?;
            }
            show(args.json, std::slice::from_ref(&rescale), rescale_text)?;
            if rescale.state == RescaleState::Failed {
                bail!("the rescale failed; the job goes on as it was, see `job status`");
            }
            Ok(())
        }
        JobCommand::Stop { job, savepoint } => {
            the_job(client, named(job)).await?;
            show(args.json, &[client.stop(*savepoint).await?], status_text)
        }
    }
}

#[allow(clippy::disallowed_methods)] // The API has no event for the end of a rescale yet.
async fn pause() {
    tokio::time::sleep(LOOK).await;
}

/// The job's status; refused if another name was expected.
async fn the_job(client: &Client, name: Option<String>) -> Result<JobStatus> {
    let status = client.job().await?;
    match name.filter(|name| *name != status.name) {
        Some(name) => Err(user(format!("the job there is {}, not {name}", status.name))),
        None => Ok(status),
    }
}

fn parse_stages(stages: &[String]) -> Result<BTreeMap<String, u32>> {
    let parse = |text: &String| {
        let (name, tasks) = text.split_once('=')?;
        Some((name.to_owned(), tasks.parse().ok()?))
    };
    let bad = |text: &String| user(format!("--stage {text}: write STAGE=TASKS, such as window-1=4"));
    stages.iter().map(|text| parse(text).ok_or_else(|| bad(text))).collect()
}

fn show<T: Serialize>(json: bool, items: &[T], text: impl Fn(&T) -> String) -> Result<()> {
    for item in items {
        say::line(&if json { serde_json::to_string(item)? } else { text(item) })?;
    }
    Ok(())
}

fn status_text(job: &JobStatus) -> String {
    let mut text =
        format!("{}  {}  generation {}  recoveries {}", job.name, state(job.state), job.generation, job.recoveries);
    if let Some(checkpoint) = &job.checkpoint {
        text.push_str(&format!("\n  checkpoint {} at {}", checkpoint.epoch, checkpoint.path));
    }
    text.push_str(&format!("\n  coordinator pid {}", job.coordinator.pid));
    for worker in &job.workers {
        let tasks: Vec<String> = worker.tasks.iter().map(ToString::to_string).collect();
        text.push_str(&format!("\n  {} pid {} tasks {}", worker.id, worker.pid, tasks.join(" ")));
    }
    if let Some(error) = &job.error {
        text.push_str(&format!("\n  last failure: {error}"));
    }
    text
}

fn stage_text(stage: &StageStatus) -> String {
    let mut text =
        format!("{}  {}  [{}]", stage.name, count(u64::from(stage.parallelism), "task"), stage.ops.join(" -> "));
    for task in &stage.tasks {
        let counters = &task.counters;
        let share = |us: u64| 100.0 * us as f64 / counters.elapsed_us.max(1) as f64;
        text.push_str(&format!(
            "\n  task {} on {}: {} in, {} out, busy {:.0} %, back-pressured {:.0} %, idle {:.0} %",
            task.id,
            task.worker,
            thousands(counters.records_in),
            thousands(counters.records_out),
            share(counters.busy_us),
            share(counters.backpressured_us),
            share(counters.idle_us),
        ));
    }
    text
}

fn checkpoint_text(checkpoint: &CheckpointStatus) -> String {
    let kind = if checkpoint.savepoint { "savepoint" } else { "checkpoint" };
    format!(
        "{kind} {}  {} ms  {} bytes uploaded  {}",
        checkpoint.epoch,
        checkpoint.duration_ms,
        thousands(checkpoint.uploaded_bytes),
        checkpoint.path
    )
}

fn rescale_text(rescale: &RescaleStatus) -> String {
    let changed = rescale.to.iter().filter(|(stage, to)| rescale.from.get(*stage) != Some(to));
    let changes: Vec<String> = changed
        .map(|(stage, to)| format!("{stage} {} -> {to}", rescale.from.get(stage).copied().unwrap_or(0)))
        .collect();
    let took = rescale.duration_ms.map_or_else(String::new, |ms| format!("  {ms} ms"));
    let moved = format!("{} key groups moved, {} had to", rescale.groups_moved, rescale.groups_moved_min);
    format!("rescale {}  {}  {}{took}  {moved}", rescale.id, rescale.state.name(), changes.join(", "))
}
