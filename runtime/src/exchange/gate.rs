//! The input of a task: the receiving ends of all its channels.
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use arrow::datatypes::SchemaRef;
use millstream_api::id::TaskId;

use super::ports::Ports;
use super::{ChannelId, Error, Wake, lock};
use crate::batch::{Batch, Element};

/// One channel into a task: its name, the input port of the first op it feeds, the schema of its rows.
pub type Inlet = (ChannelId, usize, SchemaRef);

/// Takes credit back to the sender.
pub(super) trait Grant: Send + Sync {
    fn grant(&self, bytes: usize);
}

/// The input of a task. Elements of one channel are taken in the order they were sent; channels take turns, and may come
/// and go while others flow.
pub struct Gate {
    to: TaskId,
    window_bytes: usize,
    ports: Ports,
    wake: Arc<dyn Wake>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    channels: Vec<Channel>,
    index: BTreeMap<ChannelId, usize>,
    /// Channels that are no more, whose numbers are for others.
    free: Vec<usize>,
    /// Channels that are not blocked and hold something, in the order of their turns.
    turns: VecDeque<usize>,
    len: usize,
    taken_records: u64,
    taken_bytes: u64,
    /// Bytes of each channel's window that are not granted back for now.
    withheld_bytes: usize,
    closed: bool,
}

impl State {
    fn take_turn_of(&mut self, wanted: impl Fn(usize) -> bool) -> Option<usize> {
        self.turns.iter().position(|index| wanted(*index)).and_then(|at| self.turns.remove(at))
    }
}

struct Channel {
    inlet: Inlet,
    queue: VecDeque<(Element, usize)>,
    queued_bytes: usize,
    blocked: bool,
    has_turn: bool,
    /// Taken, but not granted back yet.
    owed_bytes: usize,
    /// Grants are sent when this much is owed.
    grant_bytes: usize,
    grant: Option<Arc<dyn Grant>>,
}

/// A channel is never narrower than this.
pub const OPEN_BYTES_MIN: usize = 2048;

impl Channel {
    fn new(inlet: Inlet) -> Self {
        Self {
            inlet,
            queue: VecDeque::new(),
            queued_bytes: 0,
            blocked: false,
            has_turn: false,
            owed_bytes: 0,
            grant_bytes: 0,
            grant: None,
        }
    }

    /// What is to be granted back now: all that is owed but for `withheld` bytes, if that is worth a grant. State that
    /// moves is awaited, so that nothing is withheld from its channels.
    fn due(&mut self, withheld: usize, window: usize) -> Option<(Arc<dyn Grant>, usize)> {
        let withheld = if self.inlet.0.is_transfer() { 0 } else { withheld };
        let window = self.inlet.0.window_bytes(window);
        let bytes = self.owed_bytes.saturating_sub(withheld);
        let worth = self.grant_bytes.min((window - withheld) / 4).max(1);
        let grant = self.grant.clone().filter(|_| bytes >= worth)?;
        self.owed_bytes -= bytes;
        Some((grant, bytes))
    }
}

impl Gate {
    /// A gate with these channels, which are numbered by their position. `wake` is told when `take` has something again.
    pub fn new(to: TaskId, channels: Vec<Inlet>, window_bytes: usize, wake: Arc<dyn Wake>) -> Arc<Self> {
        let index = channels.iter().enumerate().map(|(index, (id, _, _))| (*id, index)).collect();
        let ports = Ports::default();
        for (index, (_, port, _)) in channels.iter().enumerate() {
            ports.set(index, *port);
        }
        let state = State { channels: channels.into_iter().map(Channel::new).collect(), index, ..State::default() };
        Arc::new(Self { to, window_bytes, ports, wake, state: Mutex::new(state) })
    }

    /// One more channel, and its number: the one of a channel that was freed, if there is any.
    pub fn add(&self, inlet: Inlet) -> Result<usize, Error> {
        let mut state = lock(&self.state);
        if state.closed {
            return Err(Error::Closed);
        }
        let (id, port, _) = inlet;
        if state.index.contains_key(&id) {
            return Err(Error::DuplicateChannel(id));
        }
        let channel = Channel::new(inlet);
        let index = match state.free.pop() {
            Some(index) => {
                state.channels[index] = channel;
                index
            }
            None => {
                state.channels.push(channel);
                state.channels.len() - 1
            }
        };
        state.index.insert(id, index);
        self.ports.set(index, port);
        Ok(index)
    }

    /// Forgets a channel whose end has been taken; its number will be another's.
    pub fn free(&self, channel: usize) {
        let mut state = lock(&self.state);
        let State { channels, index, free, turns, len, .. } = &mut *state;
        let inlet = channels[channel].inlet.clone();
        if index.get(&inlet.0) != Some(&channel) {
            return;
        }
        index.remove(&inlet.0);
        free.push(channel);
        turns.retain(|turn| *turn != channel);
        // Nothing follows an end; were there something, it must not be taken for what another channel carries.
        *len -= channels[channel].queue.len();
        channels[channel] = Channel::new(inlet);
    }

    /// The task whose input this is.
    pub fn to(&self) -> TaskId {
        self.to
    }

    /// The channels that are there, with their numbers.
    pub fn inlets(&self) -> Vec<(usize, Inlet)> {
        let state = lock(&self.state);
        let inlets = state.channels.iter().map(|channel| channel.inlet.clone()).enumerate();
        inlets.filter(|(number, (id, ..))| state.index.get(id) == Some(number)).collect()
    }

    /// A channel by number; for one that was freed, what it was.
    pub fn inlet(&self, channel: usize) -> Inlet {
        lock(&self.state).channels[channel].inlet.clone()
    }

    /// Number of channels that `open` narrows: all but those on which state moves.
    pub fn paced_channels(&self) -> usize {
        lock(&self.state).index.keys().filter(|id| !id.is_transfer()).count()
    }

    /// Bytes that each channel may hold (and one batch more).
    pub fn window_bytes(&self) -> usize {
        self.window_bytes
    }

    /// The input port of the first op that a channel feeds.
    pub fn port(&self, channel: usize) -> usize {
        self.ports.get(channel)
    }

    /// Elements that are queued, blocked channels included.
    pub fn len(&self) -> usize {
        lock(&self.state).len
    }

    /// Whether nothing is queued.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of rows that are queued.
    pub fn queued_bytes(&self) -> usize {
        lock(&self.state).channels.iter().map(|channel| channel.queued_bytes).sum()
    }

    /// Rows and bytes taken so far.
    pub fn taken(&self) -> (u64, u64) {
        let state = lock(&self.state);
        (state.taken_records, state.taken_bytes)
    }

    /// The next element of a channel that is not blocked, with the channel's number; none: wait for the wake.
    pub fn take(&self) -> Option<(usize, Element)> {
        self.take_turn(|state| state.turns.pop_front())
    }

    /// The same, of these channels only.
    pub fn take_from(&self, wanted: impl Fn(usize) -> bool) -> Option<(usize, Element)> {
        self.take_turn(|state| state.take_turn_of(wanted))
    }

    /// The next element of this channel if it is rows, which then follow those that were taken from it last.
    pub fn take_rows(&self, channel: usize) -> Option<Batch> {
        let next = self.take_turn(|state| {
            let (first, _) = state.channels[channel].queue.front()?;
            if matches!(first, Element::Rows(_)) { state.take_turn_of(|index| index == channel) } else { None }
        });
        match next {
            Some((_, Element::Rows(batch))) => Some(batch),
            _ => None, // Nothing else is taken.
        }
    }

    fn take_turn(&self, next: impl FnOnce(&mut State) -> Option<usize>) -> Option<(usize, Element)> {
        let (index, element, grant) = {
            let mut state = lock(&self.state);
            let index = next(&mut state)?;
            let withheld = state.withheld_bytes;
            let channel = &mut state.channels[index];
            // Only channels that hold something have a turn.
            let (element, bytes) = channel.queue.pop_front()?;
            channel.queued_bytes -= bytes;
            channel.owed_bytes += bytes;
            let grant = channel.due(withheld, self.window_bytes);
            channel.has_turn = !channel.queue.is_empty();
            if channel.has_turn {
                state.turns.push_back(index);
            }
            state.len -= 1;
            if let Element::Rows(batch) = &element {
                state.taken_records += batch.num_rows() as u64;
                state.taken_bytes += bytes as u64;
            }
            (index, element, grant)
        };
        if let Some((grant, bytes)) = grant {
            grant.grant(bytes);
        }
        Some((index, element))
    }

    /// Narrows or widens what each channel may have in flight, within the window: a slow reader keeps little before it, since
    /// every barrier and marker has to pass what was sent before. At least `OPEN_BYTES_MIN` stay open, and transfer channels
    /// always wholly.
    pub fn open(&self, bytes: usize) {
        let withheld = self.window_bytes - bytes.max(OPEN_BYTES_MIN).min(self.window_bytes);
        let due: Vec<_> = {
            let mut state = lock(&self.state);
            state.withheld_bytes = withheld;
            state.channels.iter_mut().filter_map(|channel| channel.due(withheld, self.window_bytes)).collect()
        };
        for (grant, bytes) in due {
            grant.grant(bytes);
        }
    }

    /// Takes nothing more from a channel until `unblock_all`; it fills up to its window meanwhile.
    pub fn block(&self, channel: usize) {
        let mut state = lock(&self.state);
        state.channels[channel].blocked = true;
        state.channels[channel].has_turn = false;
        state.turns.retain(|turn| *turn != channel);
    }

    /// Ends every block.
    pub fn unblock_all(&self) {
        let mut state = lock(&self.state);
        let State { channels, turns, .. } = &mut *state;
        for (index, channel) in channels.iter_mut().enumerate().filter(|(_, channel)| channel.blocked) {
            channel.blocked = false;
            channel.has_turn = !channel.queue.is_empty();
            if channel.has_turn {
                turns.push_back(index);
            }
        }
    }

    /// Whether a channel is blocked.
    pub fn is_blocked(&self, channel: usize) -> bool {
        lock(&self.state).channels[channel].blocked
    }

    /// Drops what is queued and refuses what comes; the task is woken.
    pub fn close(&self) {
        let mut state = lock(&self.state);
        let State { channels, index, free, .. } = std::mem::take(&mut *state);
        let channels = channels.into_iter().map(|channel| Channel::new(channel.inlet)).collect();
        *state = State { channels, index, free, closed: true, ..State::default() };
        drop(state);
        self.wake.wake();
    }

    /// The number of a channel.
    pub fn channel(&self, id: ChannelId) -> Result<usize, Error> {
        lock(&self.state).index.get(&id).copied().ok_or(Error::NoSuchChannel(id))
    }

    /// Tells where credit of a channel goes back to, in grants of at least `grant_bytes`.
    pub(super) fn connect(&self, id: ChannelId, grant: Arc<dyn Grant>, grant_bytes: usize) -> Result<usize, Error> {
        let mut state = lock(&self.state);
        let index = state.index.get(&id).copied().ok_or(Error::NoSuchChannel(id))?;
        let channel = &mut state.channels[index];
        if channel.grant.is_some() {
            return Err(Error::DuplicateChannel(id));
        }
        channel.grant = Some(grant);
        channel.grant_bytes = grant_bytes;
        Ok(index)
    }

    /// Queues an element behind all that were delivered to the channel before; `bytes` is what the sender spent on it.
    pub(super) fn deliver(&self, channel: usize, element: Element, bytes: usize) -> Result<(), Error> {
        let became_ready = {
            let mut state = lock(&self.state);
            if state.closed {
                return Err(Error::Closed);
            }
            let State { channels, turns, len, .. } = &mut *state;
            let receiving = &mut channels[channel];
            let (id, queued) = (receiving.inlet.0, receiving.queued_bytes);
            let window = id.window_bytes(self.window_bytes);
            if bytes > 0 && queued >= window {
                return Err(Error::Overrun { channel: id, queued, window });
            }
            receiving.queue.push_back((element, bytes));
            receiving.queued_bytes += bytes;
            *len += 1;
            let (was_dry, gets_turn) = (turns.is_empty(), !receiving.blocked && !receiving.has_turn);
            if gets_turn {
                receiving.has_turn = true;
                turns.push_back(channel);
            }
            // A reader that takes no rows for now, though there are some, still waits for state.
            gets_turn && (was_dry || id.is_transfer())
        };
        if became_ready {
            self.wake.wake();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
