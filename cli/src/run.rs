//! `millstream run`: a job on this machine until its bounded input ends or Ctrl-C. This process is the parent of a coordinator
//! and workers, and starts again what dies.
use std::io::IsTerminal;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use millstream_api::duration;
use millstream_api::wire::JobState;
use millstream_operator::platform::Platform;
use millstream_operator::platform::local::{Launch, LocalPlatform};
use millstream_runtime::workdir::{Outcome, Workdir, read};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};

use crate::args::RunArgs;
use crate::fail::{Interrupted, user};
use crate::launch::{self, Folder};
use crate::load::{self, Loaded};
use crate::progress::Progress;
use crate::say;

/// Time between two looks at the job.
const LOOK: Duration = Duration::from_millis(250);

/// Runs it.
pub fn run(args: RunArgs) -> Result<()> {
    let mut loaded = load::load(&args.file)?;
    apply(&args, &mut loaded)?;
    let widest = loaded.graph.stages.iter().map(|stage| loaded.spec.parallelism_of(&stage.name)).max().unwrap_or(1);
    let workers = args.workers.unwrap_or(2.min(widest)).max(1);
    let mut folder = Folder::make(args.workdir.as_deref())?;
    launch::prepare(&folder.workdir, &loaded.spec, args.restore.as_deref())?;
    let launch = launch::launch(&folder.workdir, widest.div_ceil(workers), !args.json)?;
    // One thread: children die with the thread that started them.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut progress = Progress::new(args.json, std::io::stderr().is_terminal());
    let ended = runtime.block_on(watch(&folder.workdir, launch, workers, &mut progress));
    // Whoever looks for a running job here shall not find one.
    let _ = std::fs::remove_file(folder.workdir.api_file());
    if ended.is_err() {
        folder.keep();
    }
    conclude(ended?, &mut folder, &progress, args.json)
}

/// Options of the command line win over the job's text.
fn apply(args: &RunArgs, loaded: &mut Loaded) -> Result<()> {
    if let Some(parallelism) = args.parallelism {
        if parallelism == 0 || parallelism > loaded.spec.key_groups {
            let groups = loaded.spec.key_groups;
            return Err(user(format!(
                "--parallelism {parallelism}: give a number from 1 to {groups}, the job's key groups"
            )));
        }
        loaded.spec.parallelism = parallelism;
        loaded.spec.stages.clear();
    }
    if args.workers == Some(0) {
        return Err(user("--workers 0: a job needs at least one worker"));
    }
    if let Some(state) = args.state {
        loaded.spec.state_backend = state.name().to_owned();
    }
    if let Some(text) = &args.checkpoint_interval {
        let bad = || user(format!("--checkpoint-interval {text}: write a duration above 0 such as 2s or 500ms"));
        let interval: duration::Duration = text.parse().map_err(|_| bad())?;
        loaded.spec.checkpoint_interval_ms = Some(Some(interval.ms).filter(|ms| *ms > 0).ok_or_else(bad)?);
    }
    Ok(())
}

/// How watching ended.
enum Ended {
    /// The job is over.
    Job,
    /// Ctrl-C or TERM.
    Interrupted,
}

async fn watch(workdir: &Workdir, launch: Launch, workers: u32, progress: &mut Progress) -> Result<Ended> {
    let mut platform = LocalPlatform::start(launch, workdir.path(), workers)?;
    let watched = look(&mut platform, workdir, progress).await;
    platform.shutdown().await;
    watched
}

async fn look(platform: &mut LocalPlatform, workdir: &Workdir, progress: &mut Progress) -> Result<Ended> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = looks.tick() => {}
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
        }
        let observed = platform.observe().await.with_context(|| {
            format!("the job cannot go on; its logs are in {}", workdir.path().join("logs").display())
        })?;
        // What it ended with is said once, at the end.
        if let Some(job) = observed.job.as_ref().filter(|job| !job.state.is_final()) {
            progress.show(job, &observed.stages)?;
        }
        if workdir.outcome_file().exists() {
            progress.end();
            return Ok(Ended::Job);
        }
    }
    progress.end();
    Ok(Ended::Interrupted)
}

fn conclude(ended: Ended, folder: &mut Folder, progress: &Progress, json: bool) -> Result<()> {
    let Ended::Job = ended else {
        return Err(Interrupted.into());
    };
    let path = folder.workdir.outcome_file();
    let outcome: Outcome = read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let job = &outcome.job;
    if json {
        say::line(&serde_json::json!({"kind": "end", "job": job, "stages": outcome.stages}).to_string())?;
    }
    match job.state {
        JobState::Completed | JobState::Stopped => {
            eprintln!("{}", progress.closing(&outcome));
            Ok(())
        }
        _ => {
            let reason = job.error.clone().unwrap_or_else(|| "for an unknown reason".into());
            if outcome.user {
                return Err(user(reason));
            }
            folder.keep();
            bail!("the job failed: {reason} (logs: {})", folder.workdir.path().join("logs").display())
        }
    }
}
