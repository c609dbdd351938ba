//! What has arrived on the channels of a task: watermarks, barriers, ends, and where units changed their owner. Pure.
//!
//! The combined watermark is the least of all channels that are neither idle nor ended. When the last of these becomes idle, it is as far
//! as any channel has come: the order in which they fell idle differs from task to task, and whoever follows on several tasks must
//! find none of them, once idle, behind the others with results to come. A cut is due when every channel has
//! delivered the barrier or has ended (an ended channel counts as having delivered every later barrier). What follows from
//! key groups and splits that move upstream or from here is in `order`.
mod order;

use std::collections::BTreeMap;

use millstream_api::id::{Epoch, TaskId};

pub use order::Opened;
use order::{Opening, Order};

#[derive(Debug, Clone)]
struct Channel {
    /// Edge and task it comes from.
    edge: u16,
    from: TaskId,
    watermark_ms: i64,
    idle: bool,
    ended: bool,
    barrier: Option<Epoch>,
    /// The watermark at the marker, which counts until groups are handed over.
    marked_ms: Option<i64>,
    /// It was idle at the marker and has been since.
    asleep: bool,
    /// Read, and waiting for the closings it names.
    opening: Option<Opening>,
}

impl Channel {
    fn new(edge: u16, from: TaskId) -> Self {
        Self {
            edge,
            from,
            watermark_ms: i64::MIN,
            idle: false,
            ended: false,
            barrier: None,
            marked_ms: None,
            asleep: false,
            opening: None,
        }
    }

    /// How far it has come, as far as that counts.
    fn reached_ms(&self) -> i64 {
        self.marked_ms.unwrap_or(self.watermark_ms)
    }

    /// What it adds to the combined watermark, if anything.
    fn bound(&self) -> Option<i64> {
        let counts = if self.marked_ms.is_some() { !self.asleep } else { !self.idle && !self.ended };
        counts.then(|| self.reached_ms())
    }

    fn wake(&mut self) {
        (self.idle, self.asleep) = (false, false);
    }
}

/// What a barrier means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alignment {
    /// Late, or of an epoch given up.
    Ignore,
    /// Read this channel no further until the others have delivered theirs.
    Block,
    /// All have: cut now, then read all channels again.
    Aligned(Epoch),
}

/// What has changed for the watermark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Nothing.
    None,
    /// It has grown to this.
    Watermark(i64),
    /// No channel has input for now.
    Idle,
}

/// The channels of one task, by their index in its gate.
#[derive(Debug, Clone)]
pub struct Inputs {
    channels: BTreeMap<usize, Channel>,
    order: Order,
    watermark_ms: i64,
    idle: bool,
    /// None has input for now, which is to be said behind the watermark that was given last.
    falls_idle: bool,
    /// How far channels that are gone had come.
    gone_ms: i64,
    triggered: Option<Epoch>,
    settled: Epoch,
}

impl Inputs {
    /// Channels (index, edge, task it comes from) that have delivered nothing yet.
    pub fn new(channels: impl IntoIterator<Item = (usize, u16, TaskId)>) -> Self {
        let channels = channels.into_iter().map(|(index, edge, from)| (index, Channel::new(edge, from))).collect();
        let order = Order::default();
        let (watermark_ms, gone_ms) = (i64::MIN, i64::MIN);
        Self { channels, order, watermark_ms, idle: false, falls_idle: false, gone_ms, triggered: None, settled: 0 }
    }

    /// A channel is there from now on, and waited for.
    pub fn open(&mut self, channel: usize, edge: u16, from: TaskId) {
        self.channels.insert(channel, Channel::new(edge, from));
        self.falls_idle = false;
    }

    /// A channel that has ended is gone.
    pub fn close(&mut self, channel: usize) {
        let gone = self.channels.remove(&channel);
        self.gone_ms = gone.map_or(self.gone_ms, |gone| self.gone_ms.max(gone.reached_ms()));
    }

    /// Rows end idleness.
    pub fn rows(&mut self, channel: usize) {
        if let Some(entry) = self.channels.get_mut(&channel) {
            entry.wake();
            (self.idle, self.falls_idle) = (false, false);
        }
    }

    /// A channel's watermark has grown.
    pub fn watermark(&mut self, channel: usize, watermark_ms: i64) -> Progress {
        if let Some(entry) = self.channels.get_mut(&channel) {
            entry.wake();
            entry.watermark_ms = entry.watermark_ms.max(watermark_ms);
        }
        self.combine()
    }

    /// A channel has no input for now.
    pub fn idle(&mut self, channel: usize) -> Progress {
        if let Some(entry) = self.channels.get_mut(&channel) {
            entry.idle = true;
        }
        self.combine()
    }

    /// A channel has ended.
    pub fn end(&mut self, channel: usize) -> Progress {
        if let Some(entry) = self.channels.get_mut(&channel) {
            entry.ended = true;
        }
        self.combine()
    }

    /// Whether all channels have.
    pub fn all_ended(&self) -> bool {
        self.channels.values().all(|channel| channel.ended)
    }

    /// Whether no channel has input for now.
    pub fn is_idle(&self) -> bool {
        self.idle
    }

    /// Channels that have not ended.
    pub fn live(&self) -> impl Iterator<Item = usize> + '_ {
        self.channels.iter().filter(|(_, channel)| !channel.ended).map(|(index, _)| *index)
    }

    /// What is to be said once all of the last watermark has been.
    pub fn fall_idle(&mut self) -> Progress {
        if !std::mem::take(&mut self.falls_idle) {
            return Progress::None;
        }
        self.idle = true;
        Progress::Idle
    }

    fn combine(&mut self) -> Progress {
        let bounds = self.channels.values().filter_map(Channel::bound).chain(self.order.bounds());
        let least = bounds.min();
        let is_bound = least.is_some() || self.all_ended();
        let reached = match least {
            Some(least) => least,
            None if is_bound => i64::MIN,
            None => self.channels.values().map(Channel::reached_ms).fold(self.gone_ms, i64::max),
        };
        self.falls_idle = !is_bound && (!self.idle || reached > self.watermark_ms);
        if reached > self.watermark_ms {
            (self.watermark_ms, self.idle) = (reached, false);
            return Progress::Watermark(reached);
        }
        self.fall_idle()
    }

    /// A barrier has arrived on a channel.
    pub fn barrier(&mut self, channel: usize, epoch: Epoch) -> Alignment {
        if epoch <= self.settled {
            return Alignment::Ignore;
        }
        let Some(entry) = self.channels.get_mut(&channel) else { return Alignment::Ignore };
        entry.barrier = Some(epoch);
        self.aligned().map_or(Alignment::Block, Alignment::Aligned)
    }

    /// The coordinator has asked for a cut; only matters once every channel has ended.
    pub fn trigger(&mut self, epoch: Epoch) {
        if epoch > self.settled {
            self.triggered = Some(epoch);
        }
    }

    /// The epoch to cut now, if every channel agrees. The caller then calls `settle`.
    pub fn aligned(&self) -> Option<Epoch> {
        let seen = self.channels.values().filter_map(|channel| channel.barrier).max();
        let epoch = if self.all_ended() { seen.or(self.triggered)? } else { seen? };
        let arrived = |channel: &Channel| channel.ended || channel.barrier == Some(epoch);
        (epoch > self.settled && self.channels.values().all(arrived)).then_some(epoch)
    }

    /// The cut of this epoch is taken, or it is given up: its barriers count no more.
    pub fn settle(&mut self, epoch: Epoch) {
        self.settled = self.settled.max(epoch);
        for channel in self.channels.values_mut() {
            channel.barrier = channel.barrier.filter(|barrier| *barrier > epoch);
        }
        self.triggered = self.triggered.filter(|triggered| *triggered > epoch);
    }

    /// Channels to leave unread: those that have delivered a barrier the others have not, and those whose units are still
    /// on their way from their former owners.
    pub fn blocked(&self) -> impl Iterator<Item = usize> + '_ {
        let is_blocked = |channel: &Channel| channel.barrier.is_some() || channel.opening.is_some();
        self.channels.iter().filter(move |(_, channel)| is_blocked(channel)).map(|(index, _)| *index)
    }
}

#[cfg(test)]
mod tests;
