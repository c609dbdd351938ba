//! The operator as a process: client, lease, controllers, admin port, and an end in order.
use std::net::SocketAddr;

use kube::{Client, Config, CustomResourceExt, Resource, discovery};
use millstream_api::crd::{GROUP, StreamJob};
use millstream_api::error::chain;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::admin::{self, Readiness};
use crate::clock::back_off;
use crate::context::Settings;
use crate::controller::{self, Parts};
use crate::event::Events;
use crate::lease::{Candidate, Claim, Election};
use crate::metrics::Metrics;
use crate::request;

/// How often a missing resource is looked for.
const MISSING: std::time::Duration = std::time::Duration::from_secs(5);

/// What the operator is told.
#[derive(Debug, Clone)]
pub struct Options {
    /// Namespaces to look after; empty: all.
    pub namespaces: Vec<String>,
    /// The lease to take part in; `None`: this is the only operator.
    pub lease: Option<Candidate>,
    /// Unique to this process; events name it.
    pub instance: String,
    /// Where the admin port is: the first of these that can be had.
    pub admin: Vec<SocketAddr>,
    /// What concerns jobs.
    pub settings: Settings,
}

/// Why the operator ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The admin port.
    #[error("cannot listen on {addresses:?}")]
    Listen {
        /// Where.
        addresses: Vec<SocketAddr>,
        /// Why.
        source: std::io::Error,
    },
    /// Neither a pod's account nor a kubeconfig.
    #[error("no configuration of a cluster is found; set KUBECONFIG, or run in a pod")]
    Config(#[source] kube::config::InferConfigError),
    /// The client.
    #[error("cannot make a client of the API server")]
    Client(#[source] kube::Error),
    /// The API server refuses this operator.
    #[error("the API server refuses the operator")]
    Refused(#[source] kube::Error),
    /// Metrics.
    #[error("cannot set up the metrics")]
    Metrics(#[source] prometheus::Error),
    /// The lease is lost.
    #[error("the lease is lost; another operator may act now")]
    LeaseLost,
}

/// A client of the cluster this runs in, or of the one that KUBECONFIG names.
pub async fn connect() -> Result<Client, Error> {
    let config = Config::infer().await.map_err(Error::Config)?;
    Client::try_from(config).map_err(Error::Client)
}

/// Runs until `stop`, or until the lease is lost.
pub async fn run(client: Client, options: Options, stop: watch::Receiver<bool>) -> Result<(), Error> {
    let addresses = options.admin.clone();
    let bound = TcpListener::bind(addresses.as_slice()).await;
    let listener = bound.map_err(|source| Error::Listen { addresses, source })?;
    let metrics = Metrics::new().map_err(Error::Metrics)?;
    let client = request::counted(client, metrics.clone());
    let readiness = Readiness::default();
    // Everything inside ends when either the process is told to, or the lease is lost.
    let (end, ending) = watch::channel(false);
    let served = tokio::spawn(admin::serve(listener, readiness.clone(), metrics.clone(), ending.clone()));
    let result = lead(client, options, Shared { metrics, readiness, end: ending }, stop, &end).await;
    end.send_replace(true);
    if let Ok(Err(error)) = served.await {
        tracing::warn!(%error, "the admin port failed");
    }
    result
}

struct Shared {
    metrics: Metrics,
    readiness: Readiness,
    end: watch::Receiver<bool>,
}

async fn lead(
    client: Client,
    options: Options,
    shared: Shared,
    mut stop: watch::Receiver<bool>,
    end: &watch::Sender<bool>,
) -> Result<(), Error> {
    let Shared { metrics, readiness, end: ending } = shared;
    tokio::select! {
        served = resource_served(&client, &readiness) => served?,
        () = told(&mut stop) => return Ok(()),
    }
    let (mut election, mut claim) = match options.lease {
        Some(candidate) => {
            let (election, claim) = Election::new(client.clone(), candidate);
            (Some(tokio::spawn(election.run(ending.clone()))), claim)
        }
        None => (None, Claim::always()),
    };
    tokio::select! {
        () = claim.acquired() => {}
        () = told(&mut stop) => {
            end.send_replace(true);
            join(&mut election).await;
            return Ok(());
        }
    }
    metrics.set_leader(claim.holds());
    let events = Events::new(client.clone(), options.instance);
    let parts = Parts { client, claim, settings: options.settings, events, metrics: metrics.clone(), readiness };
    let namespaces: Vec<Option<String>> = match options.namespaces {
        all if all.is_empty() => vec![None],
        some => some.into_iter().map(Some).collect(),
    };
    // The lease outlives the controllers: it is given back when nothing is written any more.
    let (halt, halted) = watch::channel(false);
    let controllers = namespaces.into_iter().map(|namespace| controller::run(parts.clone(), namespace, halted.clone()));
    let mut controllers = std::pin::pin!(futures::future::join_all(controllers));
    let (lost, finished) = tokio::select! {
        () = told(&mut stop) => (false, false),
        () = join(&mut election), if election.is_some() => (true, false),
        _ = &mut controllers => (false, true),
    };
    halt.send_replace(true);
    if !lost && !finished {
        tracing::info!("finishing what has begun");
        controllers.await;
    }
    metrics.set_leader(false);
    end.send_replace(true);
    join(&mut election).await;
    if lost { Err(Error::LeaseLost) } else { Ok(()) }
}

/// Waits until the process is told to end, or there is nobody left who could tell it.
async fn told(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn join(election: &mut Option<tokio::task::JoinHandle<()>>) {
    if let Some(running) = election {
        // A panic in it ends the process as well as its end does.
        let _ = running.await;
        *election = None;
    }
}

/// Waits until the API server serves our resource. Without rights there is no use in waiting.
async fn resource_served(client: &Client, readiness: &Readiness) -> Result<(), Error> {
    let waiting = format!("the resource {}", StreamJob::crd_name());
    readiness.wait_for(&waiting);
    loop {
        let version = kube::core::GroupVersion::gv(GROUP, StreamJob::version(&()).as_ref());
        match discovery::oneshot::pinned_group(client, &version).await {
            Ok(group) if group.recommended_kind("StreamJob").is_some() => {
                readiness.done(&waiting);
                return Ok(());
            }
            Ok(_) => tracing::warn!("the StreamJob resource is not installed; waiting for it"),
            Err(error) => match &error {
                kube::Error::Api(status) if status.code == 401 || status.code == 403 => {
                    return Err(Error::Refused(error));
                }
                _ => tracing::warn!(error = %chain(&error), "the StreamJob resource cannot be found; waiting for it"),
            },
        }
        back_off(MISSING).await;
    }
}
