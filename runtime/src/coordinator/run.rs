//! The coordinator's shell: control connections, the API, the checkpoint store, and one loop that feeds the state machine and does
//! what it says. On the local platform it finds and leaves files in a work folder; in a pod its ports and its store are told.
mod admin;
mod erase;
mod open;
mod past;
mod savepoint;
mod turns;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use millstream_api::wire::JobState;
use tokio::sync::mpsc;

use super::api::{self, Call};
use super::control;
use super::protocol::{Coordinator, Patience};
use crate::checkpoint;
use crate::checkpoint::store::Location;
use crate::clock::{Clock, SystemClock};
use crate::job::JobSpec;
use crate::message::RestoreFrom;
use crate::net::handshake::{Identity, Secret};
use crate::net::tls::{self, ApiListener, Certificates};
use crate::net::{Network, TcpNetwork};
use crate::random::{Random, SystemRandom};
use crate::redact::Redaction;
use crate::workdir::{ApiFile, CoordinatorFile, JobFile, Workdir, read, write_private};
use past::Past;
use turns::Loop;

/// Why a coordinator cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// All it had in the store was removed, and nothing is to be written there any more.
    #[error("the job was erased from the store; nothing of it runs any more")]
    Erased,
    /// The work folder.
    #[error("cannot use the work folder")]
    Workdir(#[source] std::io::Error),
    /// A port.
    #[error("cannot listen at {address}")]
    Port {
        /// Which.
        address: String,
        #[source]
        /// Why.
        source: std::io::Error,
    },
    /// Certificates.
    #[error("there is no TLS")]
    Tls(#[from] tls::Error),
    /// The job cannot be planned any more.
    #[error("cannot plan the job: {0}")]
    Plan(String),
    /// The checkpoint store.
    #[error("cannot use the checkpoint store")]
    Checkpoint(#[from] checkpoint::Error),
    /// The checkpoint store cannot even be opened.
    #[error("cannot open the checkpoint store")]
    Store(#[from] checkpoint::store::Error),
    /// The loop was closed from outside.
    #[error("the coordinator's queues are closed")]
    Closed,
}

impl Error {
    /// Whether it is state that has no place in the job.
    pub fn is_mismatch(&self) -> bool {
        matches!(self, Self::Checkpoint(checkpoint::Error::StateMismatch(_)))
    }

    /// Whether it is the checkpoint store that stands in the way.
    pub fn is_store(&self) -> bool {
        matches!(self, Self::Store(_) | Self::Checkpoint(checkpoint::Error::Store(_)))
    }
}

/// What a job begins with that has no checkpoint of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nothing.
    Empty,
    /// A checkpoint.
    From(RestoreFrom),
    /// The newest checkpoint of any job in folders beside its own.
    Latest,
}

/// Where the coordinator listens for requests.
pub enum ApiPort {
    /// HTTP at this address.
    Plain(String),
    /// HTTPS at this address, and probes and metrics in plain HTTP at another one.
    Tls {
        /// Who it is.
        certificates: Arc<Certificates>,
        /// Of the API.
        address: String,
        /// Of `/metrics`, `/healthz` and `/readyz`.
        admin: String,
    },
}

/// Is told how the job has ended, and why.
pub type Ended = Box<dyn Fn(JobState, Option<&str>) + Send + Sync>;

/// Where it leaves word of itself.
pub enum Home {
    /// Files, for processes on the same machine. The coordinator ends with its job.
    Workdir(Workdir),
    /// Nowhere: its addresses are known. It stays when its job is over.
    Pod {
        /// Told how the job has ended, and why.
        ended: Ended,
        /// Folder for what lives as long as the pod.
        data: PathBuf,
    },
}

/// A coordinator to be.
pub struct Setup {
    /// The job.
    pub job: JobSpec,
    /// Its number.
    pub job_id: u64,
    /// First start, ms since 1970; none: when its first term was claimed.
    pub started_at_ms: Option<i64>,
    /// What it begins with.
    pub origin: Origin,
    /// Names the wish that it begins with that, though it has begun before: such a wish is granted once.
    pub restore: Option<String>,
    /// Where its checkpoints are.
    pub store: Location,
    /// Its folder in there.
    pub prefix: String,
    /// Known to all processes of the job.
    pub secret: Secret,
    /// Of the API.
    pub token: String,
    /// To the workers.
    pub network: Arc<dyn Network>,
    /// Where it listens for workers.
    pub control_address: String,
    /// Where it listens for requests.
    pub api: ApiPort,
    /// See there.
    pub home: Home,
    /// How long missing slots are waited for.
    pub patience: Option<Patience>,
    /// What is not to be seen in the API.
    pub redaction: Redaction,
}

impl Setup {
    /// Of the job in a work folder.
    pub fn of_workdir(workdir: &Workdir) -> Result<Self, Error> {
        let file: JobFile = read(&workdir.job_file()).map_err(Error::Workdir)?;
        Ok(Self {
            job: file.job,
            job_id: file.job_id,
            started_at_ms: Some(file.started_at_ms),
            origin: file.restore.map_or(Origin::Empty, Origin::From),
            restore: None,
            store: Location::folder(&workdir.checkpoints()),
            prefix: file.prefix,
            secret: Secret::new(file.secret.as_bytes()),
            token: file.token,
            network: Arc::new(TcpNetwork),
            control_address: LOOPBACK.into(),
            api: ApiPort::Plain(LOOPBACK.into()),
            home: Home::Workdir(workdir.clone()),
            patience: None,
            redaction: Redaction::default(),
        })
    }
}

/// A free port that only this machine reaches.
const LOOPBACK: &str = "127.0.0.1:0";
/// Requests that may wait for the loop.
const CALLS: usize = 64;

/// Serves a job until it is over; in a pod, for ever. None: it was told to `retire`, and the next coordinator can take over.
pub async fn serve(setup: Setup, retire: impl Future<Output = ()>) -> Result<Option<JobState>, Error> {
    let mut retire = std::pin::pin!(retire);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let random: Arc<dyn Random> = Arc::new(SystemRandom);
    let (calls, mut from_api) = mpsc::channel(CALLS);
    if let Home::Pod { data, .. } = &setup.home
        && erase::is_erased(data)
    {
        return Err(Error::Erased);
    }
    let api_address = listen_api(&setup, calls).await?;
    let opened = tokio::select! {
        opened = open::insist(&setup, clock.as_ref(), &mut from_api) => opened?,
        () = &mut retire => return Ok(None),
    };
    let identity = Identity {
        job: setup.job_id,
        generation: 0,
        term: opened.config.term,
        worker: "coordinator".into(),
        incarnation: random.next_u64(),
    };
    let (erasing, prefix) = (Arc::default(), opened.config.prefix.clone());
    let past = Past::begin(Arc::clone(&opened.store), prefix, opened.config.term, Arc::clone(&erasing));
    let coordinator = Coordinator::new(opened.config, opened.start, opened.came_back);
    let (events, from_workers) = mpsc::channel(1024);
    let at = |address: &str, source| Error::Port { address: address.to_owned(), source };
    let listener = setup.network.listen(&setup.control_address).await;
    let listener = listener.map_err(|error| at(&setup.control_address, error))?;
    let control_address = listener.address().to_string();
    tokio::spawn(control::serve(listener, identity, setup.secret.clone(), random, events));
    if let Home::Workdir(workdir) = &setup.home {
        let api = ApiFile { address: api_address, token: setup.token.clone() };
        write_private(&workdir.coordinator_file(), &CoordinatorFile { control_address }).map_err(Error::Workdir)?;
        write_private(&workdir.api_file(), &api).map_err(Error::Workdir)?;
    }
    Loop {
        coordinator,
        store: opened.store,
        location: setup.store,
        clock,
        home: setup.home,
        commands: HashMap::new(),
        replies: HashMap::new(),
        watchers: Vec::new(),
        next: 0,
        trouble: Arc::default(),
        erasing,
        redaction: setup.redaction,
        past,
    }
    .run(from_workers, from_api, retire)
    .await
}

/// Opens the ports for requests.
async fn listen_api(setup: &Setup, calls: mpsc::Sender<Call>) -> Result<String, Error> {
    let failed = |address: &str, source| Error::Port { address: address.to_owned(), source };
    match &setup.api {
        ApiPort::Plain(address) => {
            let listener = tokio::net::TcpListener::bind(address).await.map_err(|error| failed(address, error))?;
            let bound = listener.local_addr().map_err(|error| failed(address, error))?;
            let server = axum::serve(listener, api::router(calls.clone(), &setup.token).merge(admin::router(calls)));
            tokio::spawn(async move { server.await });
            Ok(bound.to_string())
        }
        ApiPort::Tls { certificates, address, admin } => {
            let listener = ApiListener::bind(Arc::clone(certificates), address).await;
            let listener = listener.map_err(|error| failed(address, error))?;
            let bound = listener.address().to_string();
            let plain = tokio::net::TcpListener::bind(admin).await.map_err(|error| failed(admin, error))?;
            let server = axum::serve(listener, api::router(calls.clone(), &setup.token));
            tokio::spawn(async move { server.await });
            let server = axum::serve(plain, admin::router(calls));
            tokio::spawn(async move { server.await });
            Ok(bound)
        }
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Error::Closed)
}
