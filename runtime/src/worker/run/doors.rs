//! What a worker on a machine has of the world.
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};

use millstream_api::error::chain;
use millstream_api::id::Generation;
use tokio::runtime::Handle;

use super::{Error, Setup};
use crate::clock::Clock;
use crate::exchange::Hub;
use crate::exchange::tcp::{DataPort, Peer};
use crate::job::JobSpec;
use crate::message::Deploy;
use crate::priority::background;
use crate::random::Random;
use crate::state::Backend;
use crate::state::disk::{Disk, RealDisk};
use crate::state::memory::MemoryBackend;
use crate::state::rocks::{RocksBackend, RocksOptions};
use crate::worker::build::Hubs;
use crate::worker::{Background, Doors, Event, Host};

/// Opens them. State of an earlier start of this worker is of no use; its cuts are.
pub fn open(
    setup: &Setup,
    (clock, random): (Arc<dyn Clock>, Arc<dyn Random>),
    port: DataPort,
    host: Box<dyn Host>,
    events: Sender<Event>,
) -> Result<Doors, Error> {
    let (location, handle) = (setup.store.clone(), Handle::current());
    RealDisk.remove_folder(&setup.folder.join("state"))?;
    RealDisk.create_folder(&setup.folder)?;
    Ok(Doors {
        clock,
        random,
        disk: Arc::new(RealDisk),
        store: setup.store.open(Handle::current())?,
        other_store: Box::new(move |root| location.at(root).open(handle.clone()).map_err(|error| chain(&error))),
        backend: Box::new(backend),
        hubs: Box::new(TcpHubs { port, handle: Handle::current(), own: setup.name.clone(), events: events.clone() }),
        host,
        background: Arc::new(Pool(Handle::current())),
        folder: setup.folder.clone(),
        events,
    })
}

fn backend(job: &JobSpec) -> Result<Arc<dyn Backend>, String> {
    if job.state_backend == "memory" {
        return Ok(Arc::new(MemoryBackend::new(Arc::new(RealDisk))));
    }
    // Half for reads, half for writes not flushed yet.
    let half = usize::try_from(job.state_memory_bytes / 2).unwrap_or(usize::MAX);
    Ok(Arc::new(RocksBackend::new(RocksOptions { cache_bytes: half, write_buffer_bytes: half })))
}

/// Uploads, each on a thread of its own that yields to tasks; where there is no such thread, on one of tokio's.
struct Pool(Handle);

impl Background for Pool {
    fn run(&self, job: Box<dyn FnOnce() + Send>) {
        let (hand, take) = channel::<Box<dyn FnOnce() + Send>>();
        let run = move || {
            background();
            if let Ok(job) = take.recv() {
                job();
            }
        };
        match std::thread::Builder::new().name("upload".into()).spawn(run) {
            Ok(_) => {
                let _ = hand.send(job); // It waits for it.
            }
            Err(_) => {
                self.0.spawn_blocking(job);
            }
        }
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
