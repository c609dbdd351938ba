//! Spreads the output of a task over the tasks of the next stage. One per output edge.
use std::sync::Arc;

use arrow::array::UInt32Array;
use millstream_api::id::{KeyGroup, TaskId};
use millstream_api::owner::OwnerTable;
use millstream_sql::graph::Partition;

use super::lane::Lane;
use super::{EdgeCounters, Error, Outlet};
use crate::batch::hash::key_groups;
use crate::batch::{Batch, Element};

/// Batches between two publications of the counters.
const PUBLISH_BATCHES: u32 = 32;

/// How a router gathers rows.
#[derive(Debug, Clone, Copy)]
pub struct RouterOptions {
    /// Pieces for one channel are gathered until they have about this many rows.
    pub batch_rows: usize,
}

impl Default for RouterOptions {
    fn default() -> Self {
        Self { batch_rows: 4096 }
    }
}

/// Spreads batches over channels. Holds rows for two reasons: to gather a good batch (until `flush`), and for want of
/// credit (`pending`); a stage takes no input while its router is pending.
pub struct Router {
    partition: Partition,
    key_groups: u32,
    lanes: Vec<Lane>,
    /// Removed, but something still waits there.
    leaving: Vec<Lane>,
    /// Key group -> lane.
    route: Vec<u16>,
    options: RouterOptions,
    /// Where the next batch of a rebalancing edge goes.
    turn: usize,
    /// The last watermark that was broadcast, or what an opening has lowered it to; `i64::MIN`: none.
    watermark_ms: i64,
    /// Idle was broadcast since the last rows and the last watermark.
    idle: bool,
    /// The end was broadcast.
    ended: bool,
    records: u64,
    /// Bytes sent on channels that are gone.
    gone_bytes: u64,
    group_records: Vec<u64>,
    unpublished: u32,
    counters: Arc<EdgeCounters>,
}

impl Router {
    /// A router over these channels. `table` is the owner table of the receiving stage; it counts only with `Hash`.
    pub fn new(
        partition: Partition,
        outlets: Vec<Outlet>,
        table: &OwnerTable,
        key_groups: u32,
        options: RouterOptions,
    ) -> Result<Self, Error> {
        let keyed = matches!(partition, Partition::Hash { .. });
        let route = if keyed { route(&outlets, table, key_groups)? } else { Vec::new() };
        Ok(Self {
            partition,
            key_groups,
            lanes: outlets.into_iter().map(Lane::new).collect(),
            leaving: Vec::new(),
            group_records: vec![0; route.len()],
            counters: Arc::new(EdgeCounters::new(route.len())),
            route,
            options,
            turn: 0,
            watermark_ms: i64::MIN,
            idle: false,
            ended: false,
            records: 0,
            gone_bytes: 0,
            unpublished: 0,
        })
    }

    /// Takes rows; sends what makes a good batch and has credit.
    pub fn push(&mut self, mut batch: Batch) -> Result<(), Error> {
        if batch.num_rows() == 0 || self.lanes.is_empty() {
            return Ok(());
        }
        self.idle = false;
        self.records += batch.num_rows() as u64;
        batch.split = None;
        match &self.partition {
            Partition::Rebalance => {
                batch.groups = None;
                let lane = self.next_lane();
                self.push_to(lane, batch)?;
            }
            Partition::Hash { columns } => {
                let groups = key_groups(&batch.rows, columns, self.key_groups)?;
                batch.groups = Some(Arc::clone(&groups));
                self.split(batch, &groups)?;
            }
        }
        self.unpublished += 1;
        if self.unpublished >= PUBLISH_BATCHES {
            self.publish();
        }
        Ok(())
    }

    /// Sends a control element to every channel, behind all rows pushed before. It waits only behind rows that wait.
    pub fn broadcast(&mut self, element: &Element) -> Result<(), Error> {
        match element {
            Element::Watermark(watermark_ms) => (self.watermark_ms, self.idle) = (*watermark_ms, false),
            Element::Opening { watermark_ms, .. } => self.watermark_ms = self.watermark_ms.min(*watermark_ms),
            Element::Idle => self.idle = true,
            Element::End => self.ended = true,
            _ => {}
        }
        for lane in &mut self.lanes {
            lane.push_control(element.clone())?;
            lane.pump()?;
        }
        self.publish();
        Ok(())
    }

    /// Sends what is held back for batching, as far as there is credit.
    pub fn flush(&mut self) -> Result<(), Error> {
        for lane in &mut self.lanes {
            lane.seal()?;
            lane.pump()?;
        }
        self.publish();
        Ok(())
    }

    /// Whether something waits for credit: the stage is back-pressured.
    pub fn pending(&self) -> bool {
        self.lanes.iter().chain(&self.leaving).any(Lane::is_waiting)
    }

    /// Sends what waits, as far as there is credit; whether nothing waits any more.
    pub fn drain(&mut self) -> Result<bool, Error> {
        let was_pending = self.pending();
        let mut is_done = true;
        for lane in self.lanes.iter_mut().chain(&mut self.leaving) {
            is_done &= lane.pump()?;
        }
        if !self.leaving.is_empty() {
            self.part();
        }
        if was_pending && is_done {
            self.publish();
        }
        Ok(is_done)
    }

    /// Routes by another version of the owner table from here on, rows that are not sent yet included, and marks the place on
    /// every channel at once. After the end nothing is sent: a channel that ends counts as marked.
    pub fn switch(&mut self, table: &OwnerTable) -> Result<(), Error> {
        if self.ended {
            // What has yet to be sent goes to the old owners, who read to the end. Nobody counts on markers here.
            if let Partition::Hash { .. } = self.partition {
                let outlets = self.lanes.iter().map(|lane| &lane.outlet);
                self.route = route(outlets, table, self.key_groups)?;
            }
            return Ok(());
        }
        let mut moved = vec![Vec::new(); self.lanes.len()];
        let mut gains = vec![false; self.lanes.len()];
        // Rows that move are not below this: on its lane, each is behind the last watermark that was sent there.
        let watermark_ms = self.lanes.iter().map(Lane::least_ms).min().unwrap_or(i64::MIN);
        if let Partition::Hash { .. } = self.partition {
            let outlets = self.lanes.iter().map(|lane| &lane.outlet);
            let route = route(outlets, table, self.key_groups)?;
            for (_, to) in self.route.iter().zip(&route).filter(|(from, to)| from != to) {
                gains[usize::from(*to)] = true;
            }
            for (own, lane) in self.lanes.iter_mut().enumerate() {
                lane.give(own, &route, &mut moved)?;
            }
            self.route = route;
        }
        let standing = self.standing();
        for ((lane, moved), gains) in self.lanes.iter_mut().zip(moved).zip(gains) {
            lane.mark(table.version, watermark_ms, moved)?;
            // Lifts the groups that came to where the others are.
            for element in standing.iter().filter(|_| gains) {
                lane.push_control(element.clone())?;
            }
            lane.pump()?;
        }
        self.publish();
        Ok(())
    }

    /// One more channel. Keyed rows go there only after a switch to a table that says so.
    pub fn add(&mut self, outlet: Outlet) -> Result<(), Error> {
        let id = outlet.id();
        if self.lanes.iter().chain(&self.leaving).any(|lane| lane.outlet.id().to == id.to) {
            return Err(Error::DuplicateChannel(id));
        }
        let mut lane = Lane::new(outlet);
        for element in if self.ended { vec![Element::End] } else { self.standing() } {
            lane.push_control(element)?;
        }
        lane.pump()?;
        self.lanes.push(lane);
        Ok(())
    }

    /// Ends the channel to a task that owns nothing any more; it is gone when all that waits there is sent.
    pub fn remove(&mut self, task: TaskId) -> Result<(), Error> {
        let at = self.lanes.iter().position(|lane| lane.outlet.id().to == task).ok_or(Error::NoChannelTo(task))?;
        if let Some(group) = self.route.iter().position(|lane| usize::from(*lane) == at) {
            return Err(Error::StillOwner { group, task });
        }
        let mut lane = self.lanes.remove(at);
        for lane in self.route.iter_mut().filter(|lane| usize::from(**lane) > at) {
            *lane -= 1;
        }
        self.turn = (self.turn - usize::from(self.turn > at)) % self.lanes.len().max(1);
        if !self.ended {
            lane.push_control(Element::End)?;
        }
        lane.pump()?;
        self.leaving.push(lane);
        self.part();
        Ok(())
    }

    /// Lets go of the channels that were removed and have sent all.
    fn part(&mut self) {
        let (waiting, gone): (Vec<_>, Vec<_>) = self.leaving.drain(..).partition(Lane::is_waiting);
        self.leaving = waiting;
        self.gone_bytes += gone.iter().map(|lane| lane.sent_bytes).sum::<u64>();
    }

    /// Where event time stands, for a channel that may not know.
    fn standing(&self) -> Vec<Element> {
        let watermark = (self.watermark_ms > i64::MIN).then_some(Element::Watermark(self.watermark_ms));
        watermark.into_iter().chain(self.idle.then_some(Element::Idle)).collect()
    }

    /// What was sent, for metrics; published every few batches and when the router is flushed.
    pub fn counters(&self) -> Arc<EdgeCounters> {
        Arc::clone(&self.counters)
    }

    fn publish(&mut self) {
        self.unpublished = 0;
        let bytes = self.lanes.iter().chain(&self.leaving).map(|lane| lane.sent_bytes).sum::<u64>();
        self.counters.publish(self.records, self.gone_bytes + bytes, &self.group_records);
    }

    /// In turn, but not to a channel that waits while another does not.
    fn next_lane(&mut self) -> usize {
        let count = self.lanes.len();
        let free = (0..count).map(|step| (self.turn + step) % count).find(|lane| {
            let lane = &self.lanes[*lane];
            !lane.is_waiting() && lane.outlet.credit() > 0
        });
        let lane = free.unwrap_or(self.turn);
        self.turn = (lane + 1) % count;
        lane
    }

    fn push_to(&mut self, lane: usize, piece: Batch) -> Result<(), Error> {
        let lane = &mut self.lanes[lane];
        lane.push(piece, self.options.batch_rows)?;
        lane.pump()?;
        Ok(())
    }

    /// Counting sort by channel: one gather for the whole batch, of which every channel gets a range.
    fn split(&mut self, batch: Batch, groups: &[KeyGroup]) -> Result<(), Error> {
        let mut ends = vec![0; self.lanes.len()];
        for group in groups {
            let group = usize::from(*group);
            self.group_records[group] += 1;
            ends[usize::from(self.route[group])] += 1;
        }
        if let Some(only) = ends.iter().position(|count| *count == groups.len()) {
            return self.push_to(only, batch);
        }
        let mut sum = 0;
        for end in &mut ends {
            (*end, sum) = (sum, sum + *end);
        }
        let mut rows = vec![0; groups.len()];
        for (row, group) in (0u32..).zip(groups) {
            let place = &mut ends[usize::from(self.route[usize::from(*group)])];
            rows[*place] = row;
            *place += 1;
        }
        // Each start has moved to its end.
        let sorted = batch.take(&UInt32Array::from(rows))?;
        let mut start = 0;
        for (lane, end) in ends.into_iter().enumerate() {
            if end > start {
                self.push_to(lane, range(&sorted, start, end))?;
            }
            start = end;
        }
        Ok(())
    }
}

fn range(batch: &Batch, start: usize, end: usize) -> Batch {
    Batch {
        rows: batch.rows.slice(start, end - start),
        kinds: batch.kinds.as_ref().map(|kinds| Arc::from(&kinds[start..end])),
        groups: batch.groups.as_ref().map(|groups| Arc::from(&groups[start..end])),
        split: None,
    }
}

/// Key group -> position of the channel to its owner.
fn route<'a>(
    outlets: impl IntoIterator<Item = &'a Outlet>,
    table: &OwnerTable,
    key_groups: u32,
) -> Result<Vec<u16>, Error> {
    let tasks: std::collections::BTreeMap<_, _> =
        outlets.into_iter().map(|outlet| outlet.id().to).zip(0u16..).collect();
    if table.owners.len() != key_groups as usize {
        return Err(Error::KeyGroups { found: table.owners.len(), expected: key_groups });
    }
    let lane_of = |(group, task)| tasks.get(task).copied().ok_or(Error::NoSuchTask { group, task: *task });
    table.owners.iter().enumerate().map(lane_of).collect()
}

#[cfg(test)]
mod tests;
