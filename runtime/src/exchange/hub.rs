//! The exchange of one generation on one worker. No threads and no I/O: links bring frames and take them away.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use millstream_api::id::{Generation, TaskId};

use super::frame::{self, HEADER_BYTES, Header, Kind};
use super::gate::{Gate, Grant, Inlet};
use super::{ChannelId, Credit, Error, Link, Outlet, Wake, lock};

/// Told once per lost peer: its name and why.
pub type LostPeer = Box<dyn Fn(&str, &str) + Send + Sync>;

/// Credit of a remote channel goes back when this part of the window has been taken.
const GRANT_PART: usize = 8;

/// The exchange of one generation on one worker: its gates, the outlets of its tasks, the links to its peers.
pub struct Hub {
    generation: Generation,
    window_bytes: usize,
    on_lost: LostPeer,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    closed: bool,
    links: BTreeMap<String, Arc<dyn Link>>,
    inlets: BTreeMap<ChannelId, Receiving>,
    credits: BTreeMap<ChannelId, Arc<Credit>>,
    /// Tasks that were forgotten: of what they sent last, nobody waits for anything.
    gone: BTreeSet<TaskId>,
}

struct Receiving {
    gate: Arc<Gate>,
    channel: usize,
    schema: SchemaRef,
    /// Worker at the other end, once it has sent something.
    from: Option<String>,
}

/// Sends grants over a link.
struct RemoteGrant {
    channel: ChannelId,
    link: Arc<dyn Link>,
}

impl Grant for RemoteGrant {
    fn grant(&self, bytes: usize) {
        self.link.send(frame::encode_credit(self.channel, bytes as u64));
    }
}

impl Hub {
    /// A hub whose channels all have this window. `on_lost` is told once when the connection to a peer breaks.
    pub fn new(generation: Generation, window_bytes: usize, on_lost: LostPeer) -> Arc<Self> {
        Arc::new(Self { generation, window_bytes, on_lost, state: Mutex::default() })
    }

    /// The generation it serves.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// Bytes that each channel may hold.
    pub fn window_bytes(&self) -> usize {
        self.window_bytes
    }

    /// Makes a gate known: its channels may be connected locally and from peers.
    pub fn register(&self, gate: &Arc<Gate>) -> Result<(), Error> {
        let mut state = lock(&self.state);
        if state.closed {
            return Err(Error::Closed);
        }
        for (channel, (id, _, schema)) in gate.inlets() {
            frame::check_schema(&schema)?;
            if state.inlets.contains_key(&id) {
                return Err(Error::DuplicateChannel(id));
            }
            state.inlets.insert(id, Receiving { gate: Arc::clone(gate), channel, schema, from: None });
        }
        Ok(())
    }

    /// Adds a channel to a gate, which may be connected then, and answers its number. What may be sent has to wait for that.
    pub fn add_inlet(&self, gate: &Arc<Gate>, inlet: Inlet) -> Result<usize, Error> {
        let (id, schema) = (inlet.0, Arc::clone(&inlet.2));
        frame::check_schema(&schema)?;
        let mut state = lock(&self.state);
        if state.closed {
            return Err(Error::Closed);
        }
        if state.inlets.contains_key(&id) {
            return Err(Error::DuplicateChannel(id));
        }
        let channel = gate.add(inlet)?;
        state.inlets.insert(id, Receiving { gate: Arc::clone(gate), channel, schema, from: None });
        Ok(channel)
    }

    /// Forgets a channel, at either end. Only once its end has been taken: what still came would be an error. Grants may come.
    pub fn forget_channel(&self, id: ChannelId) {
        let mut state = lock(&self.state);
        state.inlets.remove(&id);
        state.credits.remove(&id);
    }

    /// Forgets all channels from and to a task, as `forget_channel` does.
    pub fn forget_task(&self, task: TaskId) {
        let mut state = lock(&self.state);
        state.inlets.retain(|id, _| id.from != task && id.to != task);
        state.credits.retain(|id, _| id.from != task && id.to != task);
        state.gone.insert(task);
    }

    /// The sending end of a channel to the worker `peer`; none: to a gate that is registered here. `wake` is the sending
    /// task's, told when credit comes back.
    pub fn outlet(&self, id: ChannelId, peer: Option<&str>, wake: Arc<dyn Wake>) -> Result<Outlet, Error> {
        let mut state = lock(&self.state);
        if state.closed {
            return Err(Error::Closed);
        }
        let Some(peer) = peer else {
            let gate = state.inlets.get(&id).map(|receiving| Arc::clone(&receiving.gate));
            return Outlet::local(id, gate.ok_or(Error::NoSuchChannel(id))?, wake);
        };
        let link = state.links.get(peer).cloned().ok_or_else(|| Error::NoSuchPeer(peer.to_owned()))?;
        if state.credits.contains_key(&id) {
            return Err(Error::DuplicateChannel(id));
        }
        let credit = Credit::new(id.window_bytes(self.window_bytes), wake);
        state.credits.insert(id, Arc::clone(&credit));
        Ok(Outlet::remote(id, link, credit))
    }

    /// Makes the link to a peer known. A second link to the same peer is refused and closed.
    pub fn attach(&self, peer: &str, link: Arc<dyn Link>) -> Result<(), Error> {
        let mut state = lock(&self.state);
        let refused = if state.closed {
            Some(Error::Closed)
        } else {
            state.links.contains_key(peer).then(|| Error::AlreadyConnected(peer.to_owned()))
        };
        if let Some(error) = refused {
            link.close();
            return Err(error);
        }
        state.links.insert(peer.to_owned(), link);
        Ok(())
    }

    /// Whether there is a link to the peer.
    pub fn is_attached(&self, peer: &str) -> bool {
        lock(&self.state).links.contains_key(peer)
    }

    /// Takes a whole frame from a peer, in the order it sent them.
    pub fn receive(&self, from: &str, frame: Bytes) -> Result<(), Error> {
        let header = frame.first_chunk::<HEADER_BYTES>().ok_or(frame::Error::Malformed("shorter than a header"))?;
        let header = Header::parse(header)?;
        if header.payload_bytes != frame.len() - HEADER_BYTES {
            return Err(frame::Error::Malformed("not as long as its header says").into());
        }
        self.receive_parts(from, &header, frame.slice(HEADER_BYTES..))
    }

    /// Takes a frame whose header has been read already.
    pub fn receive_parts(&self, from: &str, header: &Header, payload: Bytes) -> Result<(), Error> {
        let id = header.channel;
        if header.kind == Kind::Credit {
            let granted = usize::try_from(frame::decode_credit(&payload)?).unwrap_or(usize::MAX);
            // The last grants of a channel may come when it has gone.
            let credit = lock(&self.state).credits.get(&id).cloned();
            if let Some(credit) = credit {
                credit.grant(granted);
            }
            return Ok(());
        }
        let Some((gate, channel, schema)) = self.receiving(from, id)? else { return Ok(()) };
        let bytes = if header.kind.needs_credit() { HEADER_BYTES + payload.len() } else { 0 };
        let element = frame::decode(header, payload, &schema)?;
        gate.deliver(channel, element, bytes)
    }

    /// Finds the gate of a channel; the first frame fixes the peer that its credit goes back to.
    /// None: sender or receiver has been forgotten.
    fn receiving(&self, from: &str, id: ChannelId) -> Result<Option<(Arc<Gate>, usize, SchemaRef)>, Error> {
        let mut state = lock(&self.state);
        if state.closed {
            return Err(Error::Closed);
        }
        if state.gone.contains(&id.from) || state.gone.contains(&id.to) {
            return Ok(None);
        }
        let State { inlets, links, .. } = &mut *state;
        let receiving = inlets.get_mut(&id).ok_or(Error::NoSuchChannel(id))?;
        match &receiving.from {
            Some(known) if known == from => {}
            Some(_) => return Err(Error::DuplicateChannel(id)),
            None => {
                let link = links.get(from).cloned().ok_or_else(|| Error::NoSuchPeer(from.to_owned()))?;
                let grant = Arc::new(RemoteGrant { channel: id, link });
                receiving.gate.connect(id, grant, id.window_bytes(self.window_bytes) / GRANT_PART)?;
                receiving.from = Some(from.to_owned());
            }
        }
        Ok(Some((Arc::clone(&receiving.gate), receiving.channel, Arc::clone(&receiving.schema))))
    }

    /// The peer is not needed any more: ends the connection to it, which is then not reported as lost. Only once all that its
    /// channels carried has been taken.
    pub fn detach(&self, peer: &str) {
        let link = lock(&self.state).links.remove(peer);
        if let Some(link) = link {
            link.close();
        }
    }

    /// The connection to a peer has broken: everything it has to do with is lost. Reported once, and not after `close`.
    pub fn lost(&self, peer: &str, reason: &str) {
        let link = {
            let mut state = lock(&self.state);
            if state.closed { None } else { state.links.remove(peer) }
        };
        if let Some(link) = link {
            link.close();
            (self.on_lost)(peer, reason);
        }
    }

    /// Ends the generation here: links are closed with what they have not sent, gates drop what they hold, tasks are woken.
    pub fn close(&self) {
        let state = std::mem::replace(&mut *lock(&self.state), State { closed: true, ..State::default() });
        for link in state.links.values() {
            link.close();
        }
        for credit in state.credits.values() {
            credit.wake();
        }
        let mut closed = None;
        for receiving in state.inlets.values() {
            // Channels are ordered by edge first, so a gate may be closed twice, which does no harm.
            if closed != Some(Arc::as_ptr(&receiving.gate)) {
                receiving.gate.close();
                closed = Some(Arc::as_ptr(&receiving.gate));
            }
        }
    }
}

#[cfg(test)]
mod tests;
