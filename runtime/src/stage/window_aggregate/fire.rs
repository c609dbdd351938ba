//! Firing: windows in order of their end, each in portions of bounded size.
use arrow::array::{ArrayRef, RecordBatch};

use super::super::group::{Absent, GroupSet};
use super::super::progress::time_bytes;
use super::super::row::fixed;
use super::super::table::Table;
use super::super::window::Slicing;
use super::super::{EMIT_ROWS, Error, Flow, OpContext};
use super::{Slice, WindowAggregate};
use crate::batch::Batch;
use crate::state::{prefix, prefix_end};
use millstream_api::id::KeyGroup;
use millstream_sql::graph::WindowTime;

/// A window that is being emitted.
pub(super) struct Firing {
    end: i64,
    /// Merged accumulators, and how many of them have been emitted.
    table: Table,
    emitted: usize,
    /// Groups that are read from the store, and how many of them have been.
    groups: Vec<KeyGroup>,
    read: usize,
}

impl WindowAggregate {
    pub(super) fn fire(&mut self, watermark_ms: i64, context: &mut OpContext<'_>) -> Result<Flow, Error> {
        let mut emitted = 0;
        loop {
            let Some(mut firing) = self.firing.take() else {
                match self.next_window(watermark_ms) {
                    Some(end) => self.firing = Some(self.begin(end, context)?),
                    None => return Ok(Flow::Done),
                }
                continue;
            };
            if firing.emitted == firing.table.len() {
                match firing.read < firing.groups.len() {
                    true => self.firing = Some(self.read_groups(firing, context)?),
                    false => self.finish(firing.end, context)?,
                }
                continue;
            }
            if emitted >= EMIT_ROWS {
                self.firing = Some(firing);
                return Ok(Flow::More);
            }
            let until = firing.table.len().min(firing.emitted + EMIT_ROWS - emitted);
            let batch = self.rows(&firing, until)?;
            context.output.push(batch);
            emitted += until - firing.emitted;
            firing.emitted = until;
            self.firing = Some(firing);
        }
    }

    /// End of the first window that is due.
    fn next_window(&self, watermark_ms: i64) -> Option<i64> {
        // The first slice is also in the first window: all slices that have passed share the next one.
        let (slice, _) = self.slices.first_key_value()?;
        Some(self.slicing.next(*slice, self.fired_ms)).filter(|end| *end - 1 <= watermark_ms)
    }

    fn begin(&mut self, end: i64, context: &mut OpContext<'_>) -> Result<Firing, Error> {
        let slices = self.slicing.first(end)..=end;
        let mut gaps = GroupSet::default();
        for (_, slice) in self.slices.range(slices.clone()) {
            match &slice.absent {
                Absent::Some(groups) => groups.iter().for_each(|group| gaps.insert(group)),
                Absent::All => {
                    self.write_back(|_| true, context)?;
                    let (table, groups) = (self.aggregation.table(), context.groups.to_vec());
                    return Ok(Firing { end, table, emitted: 0, groups, read: 0 });
                }
            }
        }
        if !gaps.is_empty() {
            self.write_back(|group| gaps.contains(group), context)?;
        }
        let stale = self.slices.get(&end).is_some_and(|slice| slice.table.has_stale());
        let whole = gaps.is_empty() && !stale && self.progress.is_even();
        let single = self.slices.range(slices.clone()).count() == 1;
        let mut table = self.aggregation.table();
        if single && self.slicing.last(end) == end && whole {
            // The only slice, and this its last window: its table can go as it is.
            self.remove_from_store(end, context)?;
            if let Some(slice) = self.slices.get_mut(&end) {
                slice.stored = false;
                std::mem::swap(&mut table, &mut slice.table);
            }
        } else {
            let keep = |group| self.progress.of(group) < end - 1 && !gaps.contains(group);
            for (_, slice) in self.slices.range(slices) {
                self.aggregation.merge(&mut table, &slice.table, keep);
            }
        }
        Ok(Firing { end, table, emitted: 0, groups: gaps.iter().collect(), read: 0 })
    }

    /// Merges a window's slices out of the store, for as many groups as make a good batch.
    fn read_groups(&self, firing: Firing, context: &mut OpContext<'_>) -> Result<Firing, Error> {
        let Firing { end, groups, mut read, .. } = firing;
        let mut table = self.aggregation.table();
        while read < groups.len() && table.len() < EMIT_ROWS {
            let group = groups[read];
            read += 1;
            if self.progress.of(group) >= end - 1 {
                continue;
            }
            for (slice, _) in self.slices.range(self.slicing.first(end)..=end) {
                let part = self.read_slice(*slice, group, context)?;
                self.aggregation.merge(&mut table, &part, |_| true);
            }
        }
        Ok(Firing { end, table, emitted: 0, groups, read })
    }

    fn read_slice(&self, slice: i64, group: KeyGroup, context: &mut OpContext<'_>) -> Result<Table, Error> {
        let mut table = self.aggregation.table();
        let from = [&prefix(group, self.aggregation.ordinal)[..], &time_bytes(slice)].concat();
        let mut outcome = Ok(());
        context.store.scan(&from, prefix_end(&from).as_deref(), &mut |key, value| {
            outcome = self.aggregation.insert(&mut table, group, &key[from.len()..], value);
            outcome.is_ok()
        })?;
        outcome.map(|()| table)
    }

    /// Forgets slices whose last window this was.
    fn finish(&mut self, end: i64, context: &mut OpContext<'_>) -> Result<(), Error> {
        self.fired_ms = end - 1;
        while let Some((slice, _)) =
            self.slices.first_key_value().filter(|(slice, _)| self.slicing.last(**slice) <= end)
        {
            let slice = *slice;
            self.remove_from_store(slice, context)?;
            self.slices.remove(&slice);
        }
        Ok(())
    }

    /// Key by key where that is less than a range per group, and the table has all keys of the group.
    fn remove_from_store(&self, end: i64, context: &mut OpContext<'_>) -> Result<(), Error> {
        let Some(Slice { table, absent, .. }) = self.slices.get(&end).filter(|slice| slice.stored) else {
            return Ok(());
        };
        let by_key = table.len() <= 8 * context.groups.len();
        if by_key && !matches!(absent, Absent::All) {
            let mut changes = Vec::new();
            self.aggregation.removals(table, &time_bytes(end), &mut changes);
            context.store.write(changes)?;
        }
        for group in context.groups.iter().filter(|group| !by_key || absent.contains(**group)) {
            let from = [&prefix(*group, self.aggregation.ordinal)[..], &time_bytes(end)].concat();
            if let Some(to) = prefix_end(&from) {
                context.store.delete_range(&from, &to)?;
            }
        }
        Ok(())
    }

    fn rows(&self, firing: &Firing, until: usize) -> Result<Batch, Error> {
        let slots: Vec<u32> = (firing.emitted as u32..until as u32).collect();
        let mut columns = self.aggregation.keys(&firing.table, &slots)?;
        let (start, window) = match (self.time, self.slicing) {
            (WindowTime::Attached { .. }, _) => (columns.pop(), 0),
            (_, Slicing::Assign(window)) => (None, window.size_ms),
            (WindowTime::Assign { window, .. }, Slicing::Attached) => (None, window.size_ms),
        };
        columns.extend(self.aggregation.results(&firing.table, &slots, 0)?);
        let bounds = columns.len();
        let constant = |column: usize, value: i64| -> Result<ArrayRef, Error> {
            let data_type = self.output.field(bounds + column).data_type();
            fixed::column(data_type, vec![value; slots.len()], None).map_err(self.aggregation.corrupt())
        };
        let start = match start {
            Some(start) => start,
            None => constant(0, firing.end - window)?,
        };
        columns.extend([start, constant(1, firing.end)?, constant(2, firing.end - 1)?]);
        let rows = RecordBatch::try_new(self.output.clone(), columns).map_err(self.aggregation.evaluate())?;
        Ok(Batch::inserts(rows))
    }
}
