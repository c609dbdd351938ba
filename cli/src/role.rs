//! The roles a platform starts: coordinator and worker, with a work folder on this machine or in a pod.
use anyhow::{Context, Result};
use millstream_operator::platform::local::bind_to_parent_of_env;
use millstream_runtime::priority;
use millstream_runtime::redact::Redaction;
use millstream_runtime::workdir::Workdir;
use millstream_runtime::{coordinator, worker};
use tracing_subscriber::EnvFilter;

use crate::args::{CoordinatorArgs, WorkerArgs};
use crate::pod;

mod log;

/// Serves a job until it is over.
pub fn coordinator(args: CoordinatorArgs) -> Result<()> {
    let Some(workdir) = args.workdir else { return pod::coordinator(&args.pod) };
    begin(Redaction::default())?;
    let workdir = Workdir::new(workdir);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let serve = async {
        // Whoever ends it ends the workers too.
        coordinator::run::serve(coordinator::run::Setup::of_workdir(&workdir)?, std::future::pending()).await
    };
    if let Some(state) = runtime.block_on(serve).context("the coordinator cannot go on")? {
        tracing::info!("the job is over: {state:?}");
    }
    Ok(())
}

/// Hosts tasks until the job is over.
pub fn worker(args: WorkerArgs) -> Result<()> {
    let (Some(workdir), Some(name), Some(slots)) = (args.workdir, args.name, args.slots) else {
        return pod::worker(&args.pod);
    };
    begin(Redaction::default())?;
    let setup = worker::run::Setup::of_workdir(&Workdir::new(workdir), &name, slots);
    serve_worker(setup.context("the worker cannot start")?).context("the worker cannot go on")
}

/// Runs a worker on threads of its own.
pub fn serve_worker(setup: worker::run::Setup) -> Result<()> {
    priority::prompt();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let served = runtime.block_on(worker::run::serve(setup));
    // Uploads of a cancelled generation must not hold the process.
    runtime.shutdown_background();
    Ok(served?)
}

/// Logs go to stderr, which the parent sends to a file.
pub fn begin(redaction: Redaction) -> Result<()> {
    let filter = EnvFilter::try_from_env("MILLSTREAM_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    // Spans say how long they took when they close; those of rescales are on the level debug.
    let spans = tracing_subscriber::fmt::format::FmtSpan::CLOSE;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_span_events(spans)
        .with_writer(log::Redacted::new(redaction))
        .with_ansi(false)
        .init();
    bind_to_parent_of_env()?;
    Ok(())
}
