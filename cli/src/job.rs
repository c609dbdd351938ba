//! `millstream job ...`: speaks to a running job over its API.
use anyhow::Result;
use millstream_api::wire::{CheckpointStatus, JobStatus, StageStatus};
use millstream_operator::client::{self, Client};
use serde::Serialize;

use crate::args::{JobArgs, JobCommand};
use crate::fail::user;
use crate::progress::{count, state, thousands};
use crate::say;

pub mod rescale;

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
        JobCommand::Rescale(rescale) => {
            let status = the_job(client, named(&rescale.job)).await?;
            rescale::rescale(client, rescale, status.generation, args.json).await
        }
        JobCommand::Stop { job, savepoint } => {
            the_job(client, named(job)).await?;
            show(args.json, &[client.stop(*savepoint).await?], status_text)
        }
    }
}

/// The job's status; refused if another name was expected.
async fn the_job(client: &Client, name: Option<String>) -> Result<JobStatus> {
    let status = client.job().await?;
    match name.filter(|name| *name != status.name) {
        Some(name) => Err(user(format!("the job there is {}, not {name}", status.name))),
        None => Ok(status),
    }
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
