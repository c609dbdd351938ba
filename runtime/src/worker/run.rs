//! The worker's shell on a machine: its logic on one thread, tasks and uploads on others, sockets on tokio.
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use axum::routing::get;
use millstream_api::id::Generation;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::build::Hubs;
use super::host::Threads;
use super::{Background, Doors, Event, Worker, chain};
use crate::checkpoint::store::CheckpointStore;
use crate::checkpoint::store::ObjectCheckpoints;
use crate::clock::{Clock, SystemClock};
use crate::exchange::Hub;
use crate::exchange::tcp::{DataPort, Peer};
use crate::job::JobSpec;
use crate::message::{Command, Deploy, Register, Report};
use crate::net::control::ControlStream;
use crate::net::handshake::{self, Identity, Purpose, Secret};
use crate::net::{Network, TcpNetwork};
use crate::random::{Random, SystemRandom};
use crate::state::Backend;
use crate::state::disk::{Disk, RealDisk};
use crate::state::memory::MemoryBackend;
use crate::state::rocks::{RocksBackend, RocksOptions};
use crate::workdir::{CoordinatorFile, JobFile, Workdir, read};

/// Time between two reports of counters.
const MEASURE: Duration = Duration::from_millis(500);
/// Without its coordinator for longer than this, a worker stops its tasks.
const LEASE: Duration = Duration::from_secs(10);
/// Pause before the coordinator is looked for again.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// Reports that may wait for the control connection.
const REPORTS: usize = 1024;

/// Why a worker cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The work folder, or a socket.
    #[error("cannot start the worker")]
    Io(#[from] std::io::Error),
    /// The checkpoint store.
    #[error("cannot open the checkpoint store")]
    Store(#[from] crate::checkpoint::store::Error),
}

/// Serves a job of a work folder until it is over.
pub async fn serve(workdir: &Workdir, name: &str, slots: u32) -> Result<(), Error> {
    let file: JobFile = read(&workdir.job_file())?;
    let random: Arc<dyn Random> = Arc::new(SystemRandom);
    let secret = Secret::new(file.secret.as_bytes());
    let incarnation = random.next_u64();
    let identity = Identity { job: file.job_id, generation: 0, term: 0, worker: name.to_owned(), incarnation };
    let network: Arc<dyn Network> = Arc::new(TcpNetwork);
    let port = DataPort::open(network, "127.0.0.1:0", identity.clone(), secret.clone(), Arc::clone(&random)).await?;
    let admin = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let register = Register {
        name: name.to_owned(),
        incarnation,
        pid: std::process::id(),
        data_address: port.address().to_string(),
        admin_address: admin.local_addr()?.to_string(),
        slots,
    };
    let (exported, metrics) = watch::channel(String::new());
    tokio::spawn(serve_admin(admin, metrics));
    let (events, received) = channel();
    let store = Arc::new(ObjectCheckpoints::local(&workdir.checkpoints(), Handle::current())?);
    let folder = workdir.worker(name);
    // State of an earlier start of this worker is of no use; its cuts are.
    RealDisk.remove_folder(&folder.join("state"))?;
    RealDisk.create_folder(&folder)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let handle = Handle::current();
    let doors = Doors {
        clock: Arc::clone(&clock),
        random: Arc::clone(&random),
        disk: Arc::new(RealDisk),
        store,
        other_store: Box::new(move |root| {
            let store = ObjectCheckpoints::local(root.as_ref(), handle.clone()).map_err(|error| chain(&error))?;
            Ok(Arc::new(store) as Arc<dyn CheckpointStore>)
        }),
        backend: Box::new(backend),
        hubs: Box::new(TcpHubs { port, handle: Handle::current(), own: name.to_owned(), events: events.clone() }),
        host: Box::new(Threads::new(clock, events.clone())),
        background: Arc::new(Pool(Handle::current())),
        folder,
        events: events.clone(),
    };
    let (reports, outgoing) = mpsc::channel(REPORTS);
    let worker = Worker::new(name.to_owned(), doors);
    let (ended, end) = tokio::sync::oneshot::channel();
    std::thread::Builder::new().name("worker".into()).spawn(move || {
        think(worker, &received, &reports, &exported);
        let _ = ended.send(()); // The shell may be gone first.
    })?;
    let control = Control { workdir: workdir.clone(), identity, secret, random, register, events };
    tokio::select! {
        _ = end => {}
        () = control.keep(outgoing) => {}
    }
    Ok(())
}

fn backend(job: &JobSpec) -> Result<Arc<dyn Backend>, String> {
    if job.state_backend == "memory" {
        return Ok(Arc::new(MemoryBackend::new(Arc::new(RealDisk))));
    }
    // Half for reads, half for writes not flushed yet.
    let half = usize::try_from(job.state_memory_bytes / 2).unwrap_or(usize::MAX);
    Ok(Arc::new(RocksBackend::new(RocksOptions { cache_bytes: half, write_buffer_bytes: half })))
}

/// The worker's own thread.
fn think(
    mut worker: Worker,
    events: &Receiver<Event>,
    reports: &mpsc::Sender<Report>,
    exported: &watch::Sender<String>,
) {
    while let Ok(event) = events.recv() {
        if matches!(event, Event::Measure) {
            exported.send_replace(worker.metrics());
        }
        for report in worker.on(event) {
            if reports.blocking_send(report).is_err() {
                return;
            }
        }
        if worker.is_finished() {
            return;
        }
    }
}

/// `/metrics` and `/healthz`, plain HTTP.
async fn serve_admin(listener: tokio::net::TcpListener, metrics: watch::Receiver<String>) {
    let router = axum::Router::new()
        .route("/metrics", get(move || async move { metrics.borrow().clone() }))
        .route("/healthz", get(|| async { "ok\n" }));
    if let Err(error) = axum::serve(listener, router).await {
        tracing::warn!("the admin port is gone: {error}");
    }
}

/// Uploads on tokio's blocking threads.
struct Pool(Handle);

impl Background for Pool {
    fn run(&self, job: Box<dyn FnOnce() + Send>) {
        self.0.spawn_blocking(job);
    }
}

struct TcpHubs {
    port: DataPort,
    handle: Handle,
    own: String,
    events: Sender<Event>,
}

impl TcpHubs {
    fn peers(&self, deploy: &Deploy) -> Vec<Peer> {
        let others = deploy.peers.iter().filter(|peer| peer.name != self.own);
        let peer = |peer: &crate::message::Peer| Peer {
            name: peer.name.clone(),
            incarnation: peer.incarnation,
            address: peer.data_address.clone(),
        };
        others.map(peer).collect()
    }
}

impl Hubs for TcpHubs {
    fn create(&self, deploy: &Deploy) -> Arc<Hub> {
        let (events, generation) = (self.events.clone(), deploy.generation);
        let lost = move |peer: &str, reason: &str| {
            let (peer, reason) = (peer.to_owned(), reason.to_owned());
            let _ = events.send(Event::PeerLost { generation, peer, reason }); // The worker may be gone.
        };
        Hub::new(generation, deploy.job.tuning.window_bytes, Box::new(lost))
    }

    fn serve(&self, hub: &Arc<Hub>, deploy: &Deploy) {
        self.port.serve(hub, &self.peers(deploy));
    }

    fn connect(&self, hub: &Arc<Hub>, deploy: &Deploy) -> Result<(), String> {
        let new = self.peers(deploy).into_iter().filter(|peer| !hub.is_attached(&peer.name)).collect::<Vec<_>>();
        self.handle.block_on(self.port.connect(hub, &new)).map_err(|error| chain(&error))
    }

    fn retire(&self, generation: Generation) {
        self.port.retire(generation);
    }
}

/// The connection to the coordinator, found again whenever it is lost.
struct Control {
    workdir: Workdir,
    identity: Identity,
    secret: Secret,
    random: Arc<dyn Random>,
    register: Register,
    events: Sender<Event>,
}

impl Control {
    async fn keep(&self, mut outgoing: mpsc::Receiver<Report>) {
        let mut alone_since = Instant::now();
        loop {
            match self.open().await {
                Ok(stream) => {
                    while outgoing.try_recv().is_ok() {} // Said to a coordinator that is gone.
                    self.talk(stream, &mut outgoing).await;
                    alone_since = Instant::now();
                }
                Err(reason) => tracing::debug!("no coordinator yet: {reason}"),
            }
            if alone_since.elapsed() > LEASE {
                // Someone else may be in charge of the job by now.
                let _ = self.events.send(Event::Command(Command::Cancel { generation: Generation::MAX }));
            }
            pause().await;
        }
    }

    async fn open(&self) -> Result<ControlStream, String> {
        let file: CoordinatorFile = read(&self.workdir.coordinator_file()).map_err(|error| error.to_string())?;
        let connect = async {
            let mut connection = TcpNetwork.connect(&file.control_address).await.map_err(|error| error.to_string())?;
            let dialed =
                handshake::dial(&mut connection, Purpose::Control, &self.identity, &self.secret, self.random.as_ref());
            dialed.await.map_err(|error| chain(&error))?;
            let mut stream = ControlStream::new(connection);
            stream.send(&Report::Register(self.register.clone())).await.map_err(|error| chain(&error))?;
            Ok(stream)
        };
        timeout(LEASE, connect).await.unwrap_or_else(|_| Err("it does not answer".into()))
    }

    async fn talk(&self, stream: ControlStream, outgoing: &mut mpsc::Receiver<Report>) {
        let (mut sender, mut receiver) = stream.split();
        let mut measure = interval(MEASURE);
        measure.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                command = receiver.recv::<Command>() => match command {
                    Ok(command) => drop(self.events.send(Event::Command(command))),
                    Err(error) => {
                        tracing::warn!("the coordinator is gone: {}", chain(&error));
                        return;
                    }
                },
                report = outgoing.recv() => match report {
                    Some(report) if sender.send(&report).await.is_ok() => {}
                    _ => return,
                },
                _ = measure.tick() => drop(self.events.send(Event::Measure)),
            }
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "no event tells that a coordinator has come back")]
async fn pause() {
    tokio::time::sleep(LOOK_AGAIN).await;
}
