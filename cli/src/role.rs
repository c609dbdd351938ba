//! The roles a platform starts: coordinator and worker.
use anyhow::{Context, Result};
use millstream_operator::platform::local::bind_to_parent_of_env;
use millstream_runtime::workdir::Workdir;
use millstream_runtime::{coordinator, worker};
use tracing_subscriber::EnvFilter;

use crate::args::{CoordinatorArgs, WorkerArgs};

/// Serves a job until it is over.
pub fn coordinator(args: CoordinatorArgs) -> Result<()> {
    begin()?;
    let workdir = Workdir::new(args.workdir);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let state = runtime.block_on(coordinator::run::serve(&workdir)).context("the coordinator cannot go on")?;
    tracing::info!("the job is over: {state:?}");
    Ok(())
}

/// Hosts tasks until the job is over.
pub fn worker(args: WorkerArgs) -> Result<()> {
    begin()?;
    let workdir = Workdir::new(args.workdir);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let served = runtime.block_on(worker::run::serve(&workdir, &args.name, args.slots));
    // Uploads of a cancelled generation must not hold the process.
    runtime.shutdown_background();
    served.context("the worker cannot go on")
}

/// Logs go to stderr, which the parent sends to a file.
fn begin() -> Result<()> {
    let filter = EnvFilter::try_from_env("MILLSTREAM_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    // Spans say how long they took when they close; those of rescales are on the level debug.
    let spans = tracing_subscriber::fmt::format::FmtSpan::CLOSE;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_span_events(spans)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    bind_to_parent_of_env()?;
    Ok(())
}
