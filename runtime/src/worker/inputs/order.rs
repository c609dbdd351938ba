//! Units (key groups, splits) that change their owner, as their receivers and the tasks downstream see it.
//!
//! **Downstream.** The old owner's last rows of the units are before its *closing*, the new owner's first rows behind its
//! *opening*. An opening is not passed before the closings it names have been read, so rows of a key stay in order. From a
//! closing until the opening the old owner's watermark bounds the combined one: what it had not fired yet, the new owner
//! will. An opening may set its channel's watermark back, never the combined one.
//!
//! **At the old owner.** Markers are counted. Until the last one, channels count with their watermark at the marker: rows
//! behind it may be at the new owner already, and groups that leave must not be fired past them here.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use millstream_api::id::{TableVersion, TaskId};

use super::{Channel, Inputs, Progress};

/// An opening that was read.
#[derive(Debug, Clone)]
pub(super) struct Opening {
    pub version: TableVersion,
    pub donors: Arc<[TaskId]>,
    pub watermark_ms: i64,
}

/// An opening that was passed: edge and task it came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opened {
    /// Index of its channel.
    pub channel: usize,
    /// Edge of the channel.
    pub edge: u16,
    /// Task that has taken units over.
    pub from: TaskId,
    /// Version of its stage's owner table.
    pub version: TableVersion,
}

/// Names a unit's way: edge, task, version.
type Way = (u16, TaskId, TableVersion);

/// Closings that were read and not yet answered by all their openings.
#[derive(Debug, Clone, Default)]
pub(super) struct Order {
    /// By donor: the receivers whose openings have yet to come, and the donor's watermark.
    closings: BTreeMap<Way, (BTreeSet<TaskId>, Option<i64>)>,
}

impl Order {
    /// What bounds the combined watermark.
    pub fn bounds(&self) -> impl Iterator<Item = i64> + '_ {
        self.closings.values().filter_map(|(_, watermark_ms)| *watermark_ms)
    }

    fn has_all(&self, edge: u16, opening: &Opening) -> bool {
        opening.donors.iter().all(|donor| self.closings.contains_key(&(edge, *donor, opening.version)))
    }

    fn opened(&mut self, edge: u16, receiver: TaskId, opening: &Opening) {
        for donor in opening.donors.iter() {
            let way = (edge, *donor, opening.version);
            if let Some((receivers, _)) = self.closings.get_mut(&way) {
                receivers.remove(&receiver);
                if receivers.is_empty() {
                    self.closings.remove(&way);
                }
            }
        }
    }
}

impl Inputs {
    /// A closing has arrived. Openings that waited for it are passed: their channels can be read again.
    pub fn closing(&mut self, channel: usize, version: TableVersion, receivers: &[TaskId]) -> (Vec<Opened>, Progress) {
        let Some(entry) = self.channels.get(&channel) else { return (Vec::new(), Progress::None) };
        let bound = (!entry.idle).then_some(entry.watermark_ms);
        let way = (entry.edge, entry.from, version);
        self.order.closings.insert(way, (receivers.iter().copied().collect(), bound));
        let waiting: Vec<usize> =
            self.channels.iter().filter(|(_, entry)| entry.opening.is_some()).map(|(index, _)| *index).collect();
        let passed = waiting.into_iter().filter_map(|index| self.pass(index)).collect();
        (passed, self.combine())
    }

    /// An opening has arrived; `None`: it waits for closings, and its channel must not be read.
    pub fn opening(
        &mut self,
        channel: usize,
        version: TableVersion,
        (donors, watermark_ms): (Arc<[TaskId]>, i64),
    ) -> (Option<Opened>, Progress) {
        if let Some(entry) = self.channels.get_mut(&channel) {
            entry.opening = Some(Opening { version, donors, watermark_ms });
        }
        (self.pass(channel), self.combine())
    }

    fn pass(&mut self, channel: usize) -> Option<Opened> {
        let entry = self.channels.get_mut(&channel)?;
        let opening = entry.opening.take_if(|opening| self.order.has_all(entry.edge, opening))?;
        self.order.opened(entry.edge, entry.from, &opening);
        entry.watermark_ms = opening.watermark_ms;
        entry.wake();
        Some(Opened { channel, edge: entry.edge, from: entry.from, version: opening.version })
    }

    /// A marker has arrived on a channel of a task that gives groups away.
    pub fn mark(&mut self, channel: usize) {
        if let Some(entry) = self.channels.get_mut(&channel) {
            (entry.marked_ms, entry.asleep) = (Some(entry.watermark_ms), entry.idle);
        }
    }

    /// Whether every channel that has not ended is marked.
    pub fn all_marked(&self) -> bool {
        self.channels.values().all(|channel| channel.ended || channel.marked_ms.is_some())
    }

    /// The groups are handed over: channels count with what they have said since.
    pub fn unmark(&mut self) -> Progress {
        for channel in self.channels.values_mut() {
            (channel.marked_ms, channel.asleep) = (None, false);
        }
        self.combine()
    }

    /// What is known of the channels for groups that arrive: nothing before a channel's marker, unless it has ended.
    pub fn for_arrivals(&self) -> Self {
        let mut inputs = Self::new(self.channels.iter().map(|(index, entry)| (*index, entry.edge, entry.from)));
        for (index, entry) in &self.channels {
            if let Some(own) = inputs.channels.get_mut(index) {
                own.ended = entry.ended;
            }
        }
        inputs
    }

    /// Goes as far as the other has come; says so if that is further.
    pub fn catch_up_with(&mut self, other: &Self) -> Progress {
        if other.watermark_ms <= self.watermark_ms {
            return Progress::None;
        }
        self.watermark_ms = other.watermark_ms;
        Progress::Watermark(self.watermark_ms)
    }

    /// Whether the channels have said the same about event time to both.
    pub fn is_level(&self, other: &Self) -> bool {
        let said = |inputs: &Self| -> Vec<_> {
            let channels = inputs.channels.iter();
            let event_time = |entry: &Channel| (!entry.ended).then_some((entry.watermark_ms, entry.idle));
            channels.map(|(index, entry)| (*index, event_time(entry))).collect()
        };
        said(self) == said(other)
    }
}
