//! The worker's shell: its logic on one thread, tasks and uploads on others, sockets on tokio.
mod control;
mod doors;
mod pulse;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use axum::http::StatusCode;
use axum::routing::get;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout_at};

use super::host::Threads;
use super::{Event, Worker};
use crate::checkpoint::store::Location;
use crate::clock::{Clock, SystemClock};
use crate::exchange::tcp::DataPort;
use crate::message::{Command, Register, Report};
use crate::net::handshake::{Identity, Secret};
use crate::net::{Network, TcpNetwork};
use crate::random::{Random, SystemRandom};
use crate::workdir::{JobFile, Workdir, read};
use control::Control;
pub use control::Coordinator;
use pulse::Pulse;

/// Reports that may wait for the control connection.
const REPORTS: usize = 1024;
/// A free port that only this machine reaches.
const LOOPBACK: &str = "127.0.0.1:0";

/// Why a worker does not serve, or does not end well.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The work folder, or a socket.
    #[error("cannot start the worker")]
    Io(#[from] std::io::Error),
    /// The checkpoint store.
    #[error("cannot open the checkpoint store")]
    Store(#[from] crate::checkpoint::store::Error),
    /// It had to end before others had taken over what it owned.
    #[error("the worker ends and still owns something: {0}")]
    NotDrained(&'static str),
}

/// How long a worker goes on in what situation.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Without its coordinator for longer than this, it stops its tasks: someone else may be in charge of the job by now.
    pub lease: Duration,
    /// What it owns must be elsewhere so long after TERM.
    pub drain: Duration,
    /// While it drains, it waits so long for a coordinator to come back.
    pub alone: Duration,
}

/// A worker to be.
pub struct Setup {
    /// Its name.
    pub name: String,
    /// Tasks of each stage it can host.
    pub slots: u32,
    /// Its own folder: state, and cuts for local recovery.
    pub folder: PathBuf,
    /// Number of its job.
    pub job_id: u64,
    /// Known to all processes of the job.
    pub secret: Secret,
    /// Where the job's checkpoints are.
    pub store: Location,
    /// To other workers.
    pub data_network: Arc<dyn Network>,
    /// To the coordinator.
    pub control_network: Arc<dyn Network>,
    /// Where its data port listens.
    pub data_address: String,
    /// Where `/metrics`, `/healthz` and `/readyz` are served.
    pub admin_address: String,
    /// The host others reach it at; none: the one it listens at.
    pub host: Option<String>,
    /// Where the coordinator is found.
    pub coordinator: Coordinator,
    /// See there.
    pub limits: Limits,
}

impl Setup {
    /// Of a job in a work folder.
    pub fn of_workdir(workdir: &Workdir, name: &str, slots: u32) -> Result<Self, Error> {
        let file: JobFile = read(&workdir.job_file())?;
        Ok(Self {
            name: name.to_owned(),
            slots,
            folder: workdir.worker(name),
            job_id: file.job_id,
            secret: Secret::new(file.secret.as_bytes()),
            store: Location::folder(&workdir.checkpoints()),
            data_network: Arc::new(TcpNetwork),
            control_network: Arc::new(TcpNetwork),
            data_address: LOOPBACK.into(),
            admin_address: LOOPBACK.into(),
            host: None,
            coordinator: Coordinator::Workdir(workdir.clone()),
            // The parent stops all processes at once, and gives them 5 s.
            limits: Limits { lease: Duration::from_secs(10), drain: Duration::from_secs(4), alone: Duration::ZERO },
        })
    }
}

/// Serves a job until it is over, or until what it owns has moved after TERM.
pub async fn serve(setup: Setup) -> Result<(), Error> {
    let terminate = signal(SignalKind::terminate())?;
    let random: Arc<dyn Random> = Arc::new(SystemRandom);
    let incarnation = random.next_u64();
    let identity = Identity { job: setup.job_id, generation: 0, term: 0, worker: setup.name.clone(), incarnation };
    let (secret, network) = (setup.secret.clone(), Arc::clone(&setup.data_network));
    let port = DataPort::open(network, &setup.data_address, identity.clone(), secret, Arc::clone(&random)).await?;
    let admin = tokio::net::TcpListener::bind(&setup.admin_address).await?;
    let reached = |address: std::net::SocketAddr| match &setup.host {
        Some(host) => format!("{host}:{}", address.port()),
        None => address.to_string(),
    };
    let register = Register {
        name: setup.name.clone(),
        incarnation,
        pid: std::process::id(),
        data_address: reached(port.address()),
        admin_address: reached(admin.local_addr()?),
        slots: setup.slots,
        draining_ms: None,
        released: false,
    };
    let (exported, metrics) = watch::channel(String::new());
    let (events, received) = channel();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let pulse = Pulse::new(Arc::clone(&clock));
    tokio::spawn(serve_admin(admin, metrics, pulse.clone()));
    let host = Threads::new(Arc::clone(&clock), events.clone());
    let doors = doors::open(&setup, (clock, Arc::clone(&random)), port, Box::new(host), events.clone())?;
    let (reports, outgoing) = mpsc::channel(REPORTS);
    let worker = Worker::new(setup.name.clone(), doors);
    let (ended, end) = tokio::sync::oneshot::channel();
    let (hosting, hosts) = watch::channel(false);
    std::thread::Builder::new().name("worker".into()).spawn(move || {
        think(worker, &received, (&reports, &exported, &hosting), &pulse);
        let _ = ended.send(()); // The shell may be gone first.
    })?;
    let (leave, leaving) = watch::channel(None);
    let (network, limits) = (Arc::clone(&setup.control_network), setup.limits);
    let mut control = Control {
        coordinator: setup.coordinator,
        network,
        identity,
        secret: setup.secret,
        random,
        register,
        events,
        limits,
        hosts,
        leaving,
    };
    tokio::select! {
        _ = end => Ok(()),
        ended = control.keep(outgoing) => ended,
        () = expire(terminate, &leave, limits.drain) => Err(Error::NotDrained("its time is over")),
    }
}

/// Waits for TERM, says so, and waits for the end of the time there is then.
async fn expire(mut terminate: Signal, leave: &watch::Sender<Option<Instant>>, time: Duration) {
    terminate.recv().await;
    let deadline = Instant::now() + time;
    tracing::info!("told to end: what this worker owns must be elsewhere within {time:?}");
    leave.send_replace(Some(deadline));
    // Nothing but the time ends it.
    let _ = timeout_at(deadline, std::future::pending::<()>()).await;
}

/// The worker's own thread.
fn think(
    mut worker: Worker,
    events: &Receiver<Event>,
    (reports, exported, hosting): (&mpsc::Sender<Report>, &watch::Sender<String>, &watch::Sender<bool>),
    pulse: &Pulse,
) {
    while let Ok(event) = events.recv() {
        // State is restored for as long as it takes: reads that get no answer fail by themselves.
        pulse.begin(matches!(event, Event::Command(Command::Deploy(_))));
        if matches!(event, Event::Measure) {
            exported.send_replace(worker.metrics());
        }
        let said = worker.on(event);
        pulse.end();
        hosting.send_if_modified(|known| std::mem::replace(known, worker.hosts()) != worker.hosts());
        for report in said {
            if reports.blocking_send(report).is_err() {
                return;
            }
        }
        if worker.is_finished() {
            return;
        }
    }
}

/// `/metrics`, `/healthz` and `/readyz`, plain HTTP. A worker is ready once its data port is open, which it is by now: not even a
/// coordinator that is away must make it evictable. It lives while its own thread does: tasks that are stuck fail their checkpoints.
async fn serve_admin(listener: tokio::net::TcpListener, metrics: watch::Receiver<String>, pulse: Pulse) {
    let healthz = move || async move {
        match pulse.stuck_s() {
            None => (StatusCode::OK, "ok\n".to_owned()),
            Some(time_s) => {
                (StatusCode::SERVICE_UNAVAILABLE, format!("the worker's thread has been at one thing for {time_s} s\n"))
            }
        }
    };
    let router = axum::Router::new()
        .route("/metrics", get(move || async move { metrics.borrow().clone() }))
        .route("/healthz", get(healthz))
        .route("/readyz", get(|| async { "ok\n" }));
    if let Err(error) = axum::serve(listener, router).await {
        tracing::warn!("the admin port is gone: {error}");
    }
}
