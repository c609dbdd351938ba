//! The operator with many jobs: a process of its own, on the API server that KUBECONFIG names. What makes pods and runs them is played
//! here, so that the jobs of a hundred nodes fit on one machine: each has a coordinator that answers over TLS, with the certificates
//! the operator made for it and the API that real ones have, and whose counters move.
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use millstream_operator::run::connect;
use millstream_runtime::clock::{Clock, SystemClock};
use millstream_runtime::net::tls;

use crate::args::OperatorBenchArgs;
use crate::fail;

mod change;
mod follow;
mod place;
mod player;
mod process;
mod report;
mod stub;

use follow::Follow;
use place::Place;
use player::Player;
use process::Operator;
use report::{Creation, Report};

/// How long jobs may take to run, and how much longer each of them may make it.
const LIMIT: Duration = Duration::from_secs(60);
const LIMIT_A_JOB: Duration = Duration::from_millis(1000);

/// Measures.
pub fn bench(args: &OperatorBenchArgs) -> Result<()> {
    if cfg!(debug_assertions) {
        eprintln!("note: this is not a release build; its figures are higher than those of the product");
    }
    if args.jobs == 0 || args.jobs > player::JOBS_MAX || args.seconds == 0 || args.changes == 0 {
        let most = player::JOBS_MAX;
        return Err(fail::user(format!("--jobs is 1 to {most}; --seconds and --changes are at least 1")));
    }
    tls::install_provider();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let report = runtime.block_on(measure(args))?;
    runtime.shutdown_background();
    crate::say::line(&if args.json { serde_json::to_string(&report)? } else { report.text() })
}

async fn measure(args: &OperatorBenchArgs) -> Result<Report> {
    let client = connect().await.context("the bench needs an API server (make bench-operator starts one)")?;
    let place = Place::make(client).await?;
    let measured = phases(args, &place).await;
    // What it made goes, whatever came of it.
    place.remove().await;
    measured
}

async fn phases(args: &OperatorBenchArgs, place: &Place) -> Result<Report> {
    let clock = SystemClock::default();
    let folder = tempfile::tempdir()?;
    let follow = Follow::start(place.client.clone(), &place.namespace);
    let player = Player::start(place, folder.path());
    let mut operator = Operator::start(&place.namespace, folder.path()).await?;
    let jobs = args.jobs;
    let limit = LIMIT + LIMIT_A_JOB * jobs;

    let before = operator.sample(clock.now_us()).await?;
    place.create(jobs).await?;
    let created_us = clock.now_us();
    eprintln!("{jobs} jobs are created; waiting until they run");
    let all_run = follow.until(|rows| rows.values().filter(|row| row.is_running).count() == jobs as usize);
    operator.during(limit, all_run).await.with_context(|| follow.text())?;
    let after = operator.sample(clock.now_us()).await?;
    let creation = Creation::of(&before, &after, created_us);

    eprintln!("all run; watching them");
    operator.during(Duration::from_secs(args.quiet), std::future::pending::<()>()).await?;
    let (from, polls, writes) = (operator.sample(clock.now_us()).await?, player.polls(), follow.writes());
    operator.during(Duration::from_secs(args.seconds), std::future::pending::<()>()).await?;
    let (to, polls, writes) = (operator.sample(clock.now_us()).await?, player.polls() - polls, follow.since(&writes));
    ensure!(follow.running() == jobs as usize, "not all jobs ran to the end: {}", follow.text());

    eprintln!("changing {} jobs", args.changes);
    let changes = change::time(place, &follow, args.changes, jobs, &clock);
    let latencies = operator.during(limit, changes).await?.context("changes take too long")??;
    Ok(Report::new(jobs, creation, report::steady(&from, &to, polls, &writes), &latencies))
}
