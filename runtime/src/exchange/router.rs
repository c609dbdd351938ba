//! Spreads the output of a task over the tasks of the next stage. One per output edge.
use std::sync::Arc;

use arrow::array::UInt32Array;
use millstream_api::id::KeyGroup;
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
    /// Key group -> lane.
    route: Vec<u16>,
    options: RouterOptions,
    /// Where the next batch of a rebalancing edge goes.
    turn: usize,
    records: u64,
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
            group_records: vec![0; route.len()],
            counters: Arc::new(EdgeCounters::new(route.len())),
            route,
            options,
            turn: 0,
            records: 0,
            unpublished: 0,
        })
    }

    /// Takes rows; sends what makes a good batch and has credit.
    pub fn push(&mut self, mut batch: Batch) -> Result<(), Error> {
        if batch.num_rows() == 0 || self.lanes.is_empty() {
            return Ok(());
        }
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
        for lane in &mut self.lanes {
            lane.push_control(element.clone())?;
            lane.pump()?;
        }
        self.publish();
        Ok(())
    }

    /// Input has run dry: sends what is held, as far as there is credit.
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
        self.lanes.iter().any(Lane::is_waiting)
    }

    /// Sends what waits, as far as there is credit; whether nothing waits any more.
    pub fn drain(&mut self) -> Result<bool, Error> {
        let was_pending = self.pending();
        let mut is_done = true;
        for lane in &mut self.lanes {
            is_done &= lane.pump()?;
        }
        if was_pending && is_done {
            self.publish();
        }
        Ok(is_done)
    }

    /// Routes by another version of the owner table from here on, and marks the place on every channel. Rows that wait
    /// for credit keep the owner they were routed to, and the marker waits behind them.
    pub fn switch(&mut self, table: &OwnerTable) -> Result<(), Error> {
        let outlets = self.lanes.iter().map(|lane| &lane.outlet);
        let route = route(outlets, table, self.key_groups)?;
        self.broadcast(&Element::Marker { version: table.version, watermark_ms: i64::MIN })?;
        self.route = route;
        Ok(())
    }

    /// What was sent, for metrics; published every few batches and when the router is flushed.
    pub fn counters(&self) -> Arc<EdgeCounters> {
        Arc::clone(&self.counters)
    }

    fn publish(&mut self) {
        self.unpublished = 0;
        let bytes = self.lanes.iter().map(|lane| lane.sent_bytes).sum();
        self.counters.publish(self.records, bytes, &self.group_records);
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
