//! `millstream up`: the operator on the local platform, in charge of one job.
use std::io::IsTerminal;

use anyhow::{Context, Result, bail};
use millstream_api::wire::JobState;
use millstream_operator::clock::now_ms;
use millstream_operator::control::{self, Outcome, Plan, Report};
use millstream_operator::platform::local::LocalPlatform;
use millstream_runtime::workdir;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

use super::model::Model;
use super::oracle;
use super::summary::{Proof, summary};
use super::{headless, view};
use crate::args::UpArgs;
use crate::fail::user;
use crate::launch::{self, Folder};
use crate::load::{self, Loaded};

/// Reports that may wait for the view.
const REPORTS: usize = 1024;

/// Runs a job under the operator until its input ends or someone stops it.
pub fn up(args: UpArgs) -> Result<()> {
    let loaded = load::load(&args.file)?;
    let mut folder = Folder::make(args.workdir.as_deref())?;
    launch::prepare(&folder.workdir, &loaded.spec, None)?;
    // One thread: children die with the thread that started them.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let live = !args.headless && std::io::stdout().is_terminal();
    let started_at_ms = now_ms();
    let ended = runtime.block_on(attend(&args, &loaded, &folder, live));
    if ended.is_err() {
        folder.keep();
    }
    let (outcome, proof) = ended?;
    let text = summary(&outcome, started_at_ms, proof.as_ref());
    if live {
        crate::say::print(&text)?;
    } else {
        eprint!("{text}");
    }
    conclude(&outcome, proof.as_ref(), &mut folder)
}

fn conclude(outcome: &Outcome, proof: Option<&Proof>, folder: &mut Folder) -> Result<()> {
    let logs = folder.workdir.path().join("logs");
    match outcome.state {
        Some(JobState::Failed) => {
            let ended: Option<workdir::Outcome> = workdir::read(&folder.workdir.outcome_file()).ok();
            let reason = outcome.error.clone().unwrap_or_else(|| "for an unknown reason".into());
            if ended.is_some_and(|ended| ended.user) {
                return Err(user(reason));
            }
            folder.keep();
            bail!("the job failed: {reason} (logs: {})", logs.display())
        }
        _ if proof.is_some_and(|proof| !proof.equal) => {
            folder.keep();
            bail!("the result is not that of a one-task run (logs: {})", logs.display())
        }
        _ => Ok(()),
    }
}

async fn attend(args: &UpArgs, loaded: &Loaded, folder: &Folder, live: bool) -> Result<(Outcome, Option<Proof>)> {
    let plan = Plan::of(&loaded.job, &loaded.settings);
    let (reports, mut shown) = mpsc::channel(REPORTS);
    let (stop, stopped) = watch::channel(false);
    let mode = format!("{:?}", plan.mode);
    let work = work(args, loaded, folder, &plan, reports, stopped);
    let show = async {
        if live {
            let model = Model::new(&loaded.spec.name, &mode);
            view::show(model, &mut shown, &stop).await.map(drop).context("cannot draw on the terminal")
        } else {
            let mut stdout = std::io::stdout();
            let written = headless::write_reports(&mut shown, &mut stdout);
            tokio::select! {
                written = written => written.context("cannot write to stdout"),
                interrupted = interrupted() => interrupted,
            }
        }
    };
    let show = async {
        let shown = show.await;
        stop.send_replace(true); // Whoever watched has left, or there is nothing more to see.
        shown
    };
    let (worked, shown) = tokio::join!(work, show);
    let outcome = worked?;
    shown?;
    Ok(outcome)
}

/// Returns on Ctrl-C or TERM.
async fn interrupted() -> Result<()> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
    Ok(())
}

async fn work(
    args: &UpArgs,
    loaded: &Loaded,
    folder: &Folder,
    plan: &Plan,
    reports: mpsc::Sender<Report>,
    mut stopped: watch::Receiver<bool>,
) -> Result<(Outcome, Option<Proof>)> {
    let launch = launch::launch(&folder.workdir, plan.slots_per_worker, false)?;
    let mut platform = LocalPlatform::start(launch, folder.workdir.path(), plan.initial_workers())?;
    let ran = control::run(&mut platform, plan, &reports, &mut stopped).await;
    platform.shutdown().await;
    let outcome = ran?;
    let verify = !args.no_verify && outcome.state == Some(JobState::Completed);
    let proof = if verify {
        // Ctrl-C during the comparison ends it.
        tokio::select! {
            proof = oracle::compare(loaded, folder) => proof?,
            _ = stopped.wait_for(|stop| *stop) => None,
        }
    } else {
        None
    };
    let equal = proof.as_ref().map(|proof| proof.equal);
    // Whoever watched may have left.
    let _ = reports.send(outcome.end(equal, now_ms())).await;
    Ok((outcome, proof))
}
