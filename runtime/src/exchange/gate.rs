//! The input of a task: the receiving ends of all its channels.
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use arrow::datatypes::SchemaRef;
use millstream_api::id::TaskId;

use super::{ChannelId, Error, Wake, lock};
use crate::batch::Element;

/// One channel into a task: its name, the input port of the first op it feeds, the schema of its rows.
pub type Inlet = (ChannelId, usize, SchemaRef);

/// Takes credit back to the sender.
pub(super) trait Grant: Send + Sync {
    fn grant(&self, bytes: usize);
}

/// The input of a task. Elements of one channel are taken in the order they were sent; channels take turns.
pub struct Gate {
    to: TaskId,
    window_bytes: usize,
    inlets: Vec<Inlet>,
    index: BTreeMap<ChannelId, usize>,
    wake: Arc<dyn Wake>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    channels: Vec<Channel>,
    /// Channels that are not blocked and hold something, in the order of their turns.
    turns: VecDeque<usize>,
    len: usize,
    taken_records: u64,
    taken_bytes: u64,
    /// Bytes of each channel's window that are not granted back for now.
    withheld_bytes: usize,
    closed: bool,
}

#[derive(Default)]
struct Channel {
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
    /// What is to be granted back now: all that is owed but for `withheld` bytes, if that is worth a grant.
    fn due(&mut self, withheld: usize, window: usize) -> Option<(Arc<dyn Grant>, usize)> {
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
        let state = State { channels: channels.iter().map(|_| Channel::default()).collect(), ..State::default() };
        Arc::new(Self { to, window_bytes, inlets: channels, index, wake, state: Mutex::new(state) })
    }

    /// The task whose input this is.
    pub fn to(&self) -> TaskId {
        self.to
    }

    /// The channels by number.
    pub fn inlets(&self) -> &[Inlet] {
        &self.inlets
    }

    /// Bytes that each channel may hold (and one batch more).
    pub fn window_bytes(&self) -> usize {
        self.window_bytes
    }

    /// The input port of the first op that a channel feeds.
    pub fn port(&self, channel: usize) -> usize {
        self.inlets[channel].1
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
        let (index, element, grant) = {
            let mut state = lock(&self.state);
            let index = state.turns.pop_front()?;
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
    /// every barrier and marker has to pass what was sent before. At least `OPEN_BYTES_MIN` stay open.
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
        let count = state.channels.len();
        *state = State { closed: true, ..State::default() };
        state.channels.resize_with(count, Channel::default);
        drop(state);
        self.wake.wake();
    }

    /// The number of a channel.
    pub fn channel(&self, id: ChannelId) -> Result<usize, Error> {
        self.index.get(&id).copied().ok_or(Error::NoSuchChannel(id))
    }

    /// Tells where credit of a channel goes back to, in grants of at least `grant_bytes`.
    pub(super) fn connect(&self, id: ChannelId, grant: Arc<dyn Grant>, grant_bytes: usize) -> Result<usize, Error> {
        let index = self.channel(id)?;
        let mut state = lock(&self.state);
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
            if bytes > 0 && receiving.queued_bytes >= self.window_bytes {
                let (channel, queued) = (self.inlets[channel].0, receiving.queued_bytes);
                return Err(Error::Overrun { channel, queued, window: self.window_bytes });
            }
            receiving.queue.push_back((element, bytes));
            receiving.queued_bytes += bytes;
            *len += 1;
            let was_dry = turns.is_empty();
            if !receiving.blocked && !receiving.has_turn {
                receiving.has_turn = true;
                turns.push_back(channel);
            }
            was_dry && !turns.is_empty()
        };
        if became_ready {
            self.wake.wake();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
