//! Data connections: one per pair of workers and generation, dialed by the worker whose name is the lesser.
//!
//! A worker opens one `DataPort` for its life. For every generation it registers its gates with a [`Hub`], calls `serve`
//! (from then on peers are let in), then `connect`, then opens outlets. Needs a tokio runtime.
//!
//! Peers must agree on job, secret, generation and incarnation. Their terms may differ: a coordinator that comes back
//! re-adopts running tasks one worker after the other.
mod link;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use millstream_api::id::Generation;
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, watch};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::Hub;
use crate::clock::back_off;
use crate::net::handshake::{self, Identity, Purpose, Secret};
use crate::net::{Connection, Listener, Network};
use crate::random::Random;

/// Time for one handshake, and for a peer to set up its generation.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause after a failed accept, so that a lack of descriptors does not spin.
const ACCEPT_BACK_OFF: Duration = Duration::from_millis(50);
/// Dialers that may be in their handshake at once; others wait in the listener's queue.
const HANDSHAKES_MAX: usize = 64;

/// Why a worker is not connected to its peers.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection to the address.
    #[error("cannot connect to worker {peer} at {address}")]
    Connect {
        /// Name of the peer.
        peer: String,
        /// Where it should listen.
        address: String,
        #[source]
        /// Why.
        source: io::Error,
    },
    /// Connected, but not to the right side, or not let in.
    #[error("cannot open the data connection to worker {peer}")]
    Handshake {
        /// Name of the peer.
        peer: String,
        #[source]
        /// Why.
        source: handshake::Error,
    },
    /// Somebody else answers at the peer's address.
    #[error("at the address of worker {expected} answers {found}")]
    WrongPeer {
        /// Name and incarnation that were expected.
        expected: String,
        /// Name and incarnation that answered.
        found: String,
    },
    /// Nothing happened in time.
    #[error("worker {0} was not connected within {CONNECT_TIMEOUT:?}")]
    Timeout(String),
    /// The generation has ended meanwhile, or the peer is connected twice.
    #[error("the connection to worker {peer} is of no use")]
    Attach {
        /// Name of the peer.
        peer: String,
        #[source]
        /// Why.
        source: super::Error,
    },
}

/// Another worker of a generation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Its name.
    pub name: String,
    /// Its incarnation: another process of the same name is refused.
    pub incarnation: u64,
    /// Where its data port listens, `host:port`.
    pub address: String,
}

/// The data port of a worker: lets peers in and connects to them.
pub struct DataPort {
    shared: Arc<Shared>,
    network: Arc<dyn Network>,
    address: SocketAddr,
    accepting: AbortHandle,
}

struct Shared {
    identity: Identity,
    secret: Secret,
    random: Arc<dyn Random>,
    served: watch::Sender<Served>,
    /// Counts connections that came in.
    attached: watch::Sender<u64>,
}

#[derive(Default)]
struct Served {
    newest: Generation,
    generations: BTreeMap<Generation, (Arc<Hub>, BTreeMap<String, u64>)>,
}

impl DataPort {
    /// Listens at `address` (`host:port`; port 0 takes a free one). The generation in `identity` does not count.
    pub async fn open(
        network: Arc<dyn Network>,
        address: &str,
        identity: Identity,
        secret: Secret,
        random: Arc<dyn Random>,
    ) -> io::Result<Self> {
        let listener = network.listen(address).await?;
        let (served, attached) = (watch::Sender::default(), watch::Sender::default());
        let shared = Arc::new(Shared { identity, secret, random, served, attached });
        let address = listener.address();
        let accepting = tokio::spawn(accept(Arc::clone(&shared), listener)).abort_handle();
        Ok(Self { shared, network, address, accepting })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets the peers of the hub's generation in, and refuses those of earlier ones. The hub's gates are registered.
    pub fn serve(&self, hub: &Arc<Hub>, peers: &[Peer]) {
        let expected = peers.iter().map(|peer| (peer.name.clone(), peer.incarnation)).collect();
        self.shared.served.send_modify(|served| {
            served.newest = served.newest.max(hub.generation());
            served.generations.insert(hub.generation(), (Arc::clone(hub), expected));
        });
    }

    /// Forgets a generation; close its hub as well.
    pub fn retire(&self, generation: Generation) {
        self.shared.served.send_modify(|served| drop(served.generations.remove(&generation)));
    }

    /// Connects the hub to all peers: dials those with a greater name, awaits the others.
    pub async fn connect(&self, hub: &Arc<Hub>, peers: &[Peer]) -> Result<(), Error> {
        let ours = &self.shared.identity.worker;
        let dialed = peers.iter().filter(|peer| peer.name > *ours).map(|peer| self.dial(hub, peer));
        let missing = || peers.iter().find(|peer| !hub.is_attached(&peer.name));
        let mut attached = self.shared.attached.subscribe();
        let connected = timeout(CONNECT_TIMEOUT, async {
            futures::future::try_join_all(dialed).await?;
            // Fails only if the sender is gone, which lives as long as this port.
            while missing().is_some() && attached.changed().await.is_ok() {}
            Ok(())
        });
        let late = |_| Err(Error::Timeout(missing().map_or_else(String::new, |peer| peer.name.clone())));
        connected.await.unwrap_or_else(late)
    }

    async fn dial(&self, hub: &Arc<Hub>, peer: &Peer) -> Result<(), Error> {
        let Shared { identity, secret, random, .. } = &*self.shared;
        let connected = self.network.connect(&peer.address).await;
        let failed = |source| Error::Connect { peer: peer.name.clone(), address: peer.address.clone(), source };
        let mut connection = connected.map_err(failed)?;
        let identity = Identity { generation: hub.generation(), ..identity.clone() };
        let met = handshake::dial(&mut connection, Purpose::Data, &identity, secret, &**random).await;
        let met = met.map_err(|source| Error::Handshake { peer: peer.name.clone(), source })?;
        if (&met.worker, met.incarnation) != (&peer.name, peer.incarnation) {
            let show = |name: &str, incarnation: u64| format!("{name} (incarnation {incarnation:016x})");
            let expected = show(&peer.name, peer.incarnation);
            return Err(Error::WrongPeer { expected, found: show(&met.worker, met.incarnation) });
        }
        link::start(hub, &peer.name, connection).map_err(|source| Error::Attach { peer: peer.name.clone(), source })
    }
}

impl Drop for DataPort {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(shared: Arc<Shared>, listener: Arc<dyn Listener>) {
    let places = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    loop {
        // The semaphore is never closed.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok(connection) => {
                let shared = Arc::clone(&shared);
                tokio::spawn(async move {
                    let peer = connection.peer.clone();
                    if let Err(error) = admit(&shared, connection).await {
                        tracing::warn!(%peer, %error, "data connection refused");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                // Out of descriptors, or a connection that is gone already; others must still be served.
                tracing::warn!(%error, "cannot accept a data connection");
                back_off(ACCEPT_BACK_OFF).await;
            }
        }
    }
}

async fn admit(shared: &Shared, connection: Connection) -> Result<(), handshake::Error> {
    let met =
        timeout(CONNECT_TIMEOUT, handshake::listen(connection, &shared.identity, &shared.secret, &*shared.random));
    let dialer = met.await.map_err(|_| handshake::Error::Declined("it did not end its handshake in time".into()))??;
    let hub = match find_hub(shared, dialer.purpose, &dialer.identity).await {
        Ok(hub) => hub,
        Err(reason) => return Err(dialer.refuse(&reason).await),
    };
    let peer = dialer.identity.worker.clone();
    let connection = dialer.accept().await?;
    link::start(&hub, &peer, connection).map_err(|error| handshake::Error::Declined(error.to_string()))?;
    shared.attached.send_modify(|count| *count += 1);
    Ok(())
}

/// The hub a dialer asks for, once there is one; or why it cannot have it.
async fn find_hub(shared: &Shared, purpose: Purpose, dialer: &Identity) -> Result<Arc<Hub>, String> {
    let Identity { generation, worker, incarnation, .. } = dialer;
    if purpose != Purpose::Data {
        return Err("this is a data port".into());
    }
    let mut served = shared.served.subscribe();
    let is_settled = |served: &Served| served.newest >= *generation;
    if !matches!(timeout(CONNECT_TIMEOUT, served.wait_for(is_settled)).await, Ok(Ok(_))) {
        return Err(format!("generation {generation} has not been set up here within {CONNECT_TIMEOUT:?}"));
    }
    let served = shared.served.borrow();
    let Some((hub, peers)) = served.generations.get(generation) else {
        return Err(format!("generation {generation} has ended; this worker is at {}", served.newest));
    };
    if peers.get(worker) != Some(incarnation) {
        return Err(format!(
            "worker {worker} with incarnation {incarnation:016x} is not part of generation {generation}"
        ));
    }
    if hub.is_attached(worker) {
        return Err(format!("worker {worker} is connected already"));
    }
    Ok(Arc::clone(hub))
}

#[cfg(test)]
mod tests;
