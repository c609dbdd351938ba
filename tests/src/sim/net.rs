//! Data connections: a FIFO queue of frames in each direction.
use std::collections::{BTreeMap, VecDeque};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};

use millstream_api::id::Generation;
use millstream_runtime::exchange::{Bytes, Hub, Link};
use millstream_runtime::message::Deploy;
use millstream_runtime::worker::Event;
use millstream_runtime::worker::build::Hubs;

use super::doors::lock;
use super::{Plant, bugs};

/// Names a connection.
pub type LinkId = u64;

struct End {
    worker: String,
    hub: Arc<Hub>,
    /// Frames on their way to the other end.
    outbox: VecDeque<Bytes>,
    /// Hung up, or its process is gone.
    closed: bool,
}

#[derive(Default)]
struct State {
    served: BTreeMap<(String, Generation), (u64, Arc<Hub>)>,
    links: BTreeMap<LinkId, [End; 2]>,
    next: LinkId,
    lost_rows: bool,
}

/// All data connections between all workers.
pub struct Net {
    state: Mutex<State>,
    plant: Option<Plant>,
}

/// What can arrive at one end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// The next frame.
    Frame,
    /// The news that the other end is gone.
    Loss,
}

impl Net {
    pub fn new(plant: Option<Plant>) -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), plant })
    }

    /// Everything that can arrive: connection, receiving end, what.
    pub fn arrivals(&self) -> Vec<(LinkId, usize, Arrival)> {
        let mut state = lock(&self.state);
        state.links.retain(|_, ends| !(ends[0].closed && ends[1].closed));
        let mut found = Vec::new();
        for (id, ends) in &state.links {
            for to in [0, 1].into_iter().filter(|to| !ends[*to].closed) {
                let from = &ends[1 - to];
                if !from.outbox.is_empty() {
                    found.push((*id, to, Arrival::Frame));
                } else if from.closed {
                    found.push((*id, to, Arrival::Loss));
                }
            }
        }
        found
    }

    /// Takes the next frame to this end: (sender, receiver, hub of the receiver, frame).
    pub fn take(&self, id: LinkId, to: usize) -> Option<(String, String, Arc<Hub>, Bytes)> {
        let mut state = lock(&self.state);
        let ends = state.links.get_mut(&id)?;
        let frame = ends[1 - to].outbox.pop_front()?;
        Some((ends[1 - to].worker.clone(), ends[to].worker.clone(), Arc::clone(&ends[to].hub), frame))
    }

    /// Who learns that whom is lost.
    pub fn loss(&self, id: LinkId, to: usize) -> Option<(String, String, Arc<Hub>)> {
        let state = lock(&self.state);
        let ends = state.links.get(&id)?;
        Some((ends[1 - to].worker.clone(), ends[to].worker.clone(), Arc::clone(&ends[to].hub)))
    }

    /// Connections that live.
    pub fn live(&self) -> Vec<LinkId> {
        let state = lock(&self.state);
        state.links.iter().filter(|(_, ends)| !ends[0].closed && !ends[1].closed).map(|(id, _)| *id).collect()
    }

    /// Breaks a connection: both ends find out.
    pub fn cut(&self, id: LinkId) {
        let hubs = lock(&self.state).links.get(&id).map(|ends| {
            [(Arc::clone(&ends[0].hub), ends[1].worker.clone()), (Arc::clone(&ends[1].hub), ends[0].worker.clone())]
        });
        for (hub, peer) in hubs.into_iter().flatten() {
            hub.lost(&peer, "the connection broke");
        }
    }

    /// The process of a worker is gone. What it had sent may still arrive, `kept` of 4 parts of it.
    pub fn gone(&self, worker: &str, kept: usize) {
        let mut state = lock(&self.state);
        state.served.retain(|(name, _), _| name != worker);
        for end in state.links.values_mut().flatten().filter(|end| end.worker == worker) {
            end.closed = true;
            end.outbox.truncate(end.outbox.len() * kept / 4);
        }
    }

    fn send(&self, id: LinkId, side: usize, frame: Bytes) {
        let mut state = lock(&self.state);
        let State { links, lost_rows, .. } = &mut *state;
        let Some(end) = links.get_mut(&id).map(|ends| &mut ends[side]).filter(|end| !end.closed) else { return };
        bugs::send(self.plant, lost_rows, &mut end.outbox, frame);
    }

    fn close(&self, id: LinkId, side: usize) {
        if let Some(ends) = lock(&self.state).links.get_mut(&id) {
            ends[side].closed = true;
            // A part has left the machine already.
            let kept = ends[side].outbox.len() * (id % 4) as usize / 3;
            ends[side].outbox.truncate(kept);
        }
    }
}

struct SimLink {
    net: Arc<Net>,
    id: LinkId,
    side: usize,
}

impl Link for SimLink {
    fn send(&self, frame: Bytes) {
        self.net.send(self.id, self.side, frame);
    }

    fn close(&self) {
        self.net.close(self.id, self.side);
    }
}

/// Connections of one worker.
pub struct SimHubs {
    pub net: Arc<Net>,
    pub own: String,
    pub incarnation: u64,
    pub events: Sender<Event>,
}

impl Hubs for SimHubs {
    fn create(&self, deploy: &Deploy) -> Arc<Hub> {
        let (events, generation) = (self.events.clone(), deploy.generation);
        let lost = move |peer: &str, reason: &str| {
            let (peer, reason) = (peer.to_owned(), reason.to_owned());
            let _ = events.send(Event::PeerLost { generation, peer, reason }); // The worker may be gone.
        };
        Hub::new(generation, deploy.job.tuning.window_bytes, Box::new(lost))
    }

    fn serve(&self, hub: &Arc<Hub>, deploy: &Deploy) {
        let key = (self.own.clone(), deploy.generation);
        lock(&self.net.state).served.insert(key, (self.incarnation, Arc::clone(hub)));
    }

    fn connect(&self, hub: &Arc<Hub>, deploy: &Deploy) -> Result<(), String> {
        for peer in deploy.peers.iter().filter(|peer| peer.name != self.own && !hub.is_attached(&peer.name)) {
            let (id, theirs) = {
                let mut state = lock(&self.net.state);
                let served = state.served.get(&(peer.name.clone(), deploy.generation));
                let served = served.filter(|(incarnation, _)| *incarnation == peer.incarnation);
                let theirs = served.map(|(_, hub)| Arc::clone(hub));
                let theirs = theirs.ok_or_else(|| format!("worker {} does not answer", peer.name))?;
                let id = state.next;
                state.next += 1;
                let end = |worker: &str, hub: &Arc<Hub>| End {
                    worker: worker.to_owned(),
                    hub: Arc::clone(hub),
                    outbox: VecDeque::new(),
                    closed: false,
                };
                state.links.insert(id, [end(&self.own, hub), end(&peer.name, &theirs)]);
                (id, theirs)
            };
            let link = |side| Arc::new(SimLink { net: Arc::clone(&self.net), id, side }) as Arc<dyn Link>;
            theirs.attach(&self.own, link(1)).map_err(|error| error.to_string())?;
            hub.attach(&peer.name, link(0)).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    fn retire(&self, generation: Generation) {
        lock(&self.net.state).served.remove(&(self.own.clone(), generation));
    }
}
