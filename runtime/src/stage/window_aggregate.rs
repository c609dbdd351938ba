//! Aggregates per window and key. State: `accumulators`: prefix | slice end | key -> accumulators; `progress`.
//!
//! A slice lives in a table in memory, written back at barriers and when all tables together pass the bound. As long as a
//! slice has not been evicted nor restored its table is complete, and firing does not touch the store. Of groups that have
//! arrived with the slice in the store the table does not have all: firing reads these groups, and these alone, from there.
mod fire;

use std::collections::BTreeMap;

use arrow::array::Array;
use arrow::datatypes::SchemaRef;
use millstream_api::id::KeyGroup;
use millstream_sql::graph::{Aggregate, OpSpec, WindowTime};

use super::group::{Absent, GroupSet};
use super::progress::{self, Progress, time_bytes, time_of};
use super::row::{self, fixed};
use super::table::{Aggregation, Table};
use super::window::{Slicer, Slicing, is_sane};
use super::{Error, Flow, Op, OpContext, accumulate, build::OpSettings};
use crate::batch::Batch;
use crate::state::{Changes, own_key};
use fire::Firing;

/// See the module.
pub(crate) struct WindowAggregate {
    aggregation: Aggregation,
    output: SchemaRef,
    time: WindowTime,
    slicing: Slicing,
    cache_bytes: usize,
    slices: BTreeMap<i64, Slice>,
    progress: Progress,
    /// Windows that end at or before this have fired (for groups that are not ahead).
    fired_ms: i64,
    firing: Option<Firing>,
}

struct Slice {
    table: Table,
    /// Groups of which the store may have keys that the table has not.
    absent: Absent,
    /// The store may have keys of the slice.
    stored: bool,
    /// Rounds of writing ahead it has lived through.
    rounds: f64,
}

/// A slice that has lived through fewer rounds, about a second, is not written ahead: where event time runs faster than the clock, as in
/// a replay, it will have fired and be gone before the next barrier.
const ROUNDS_MIN: f64 = 10.0;

impl Slice {
    fn new(table: Table) -> Self {
        Self { table, absent: Absent::none(), stored: false, rounds: 0.0 }
    }

    /// Writes dirty ones of these slots to `changes`.
    fn write(
        &mut self,
        aggregation: &Aggregation,
        (end, slots): (i64, impl IntoIterator<Item = usize>),
        of: impl Fn(KeyGroup) -> bool,
        changes: &mut Changes,
    ) {
        let before = changes.len();
        aggregation.write_back((&mut self.table, slots), (&time_bytes(end), of), |_, _| false, changes);
        self.stored |= changes.len() > before;
    }
}

/// Rows of one slice in a batch.
struct Portion {
    slice: i64,
    rows: Vec<u32>,
}

impl WindowAggregate {
    pub fn new(
        op: &OpSpec,
        input: &SchemaRef,
        (time, keys, aggregates): (WindowTime, &[usize], &[Aggregate]),
        settings: &OpSettings,
    ) -> Result<Self, Error> {
        let mut columns = keys.to_vec();
        if let WindowTime::Attached { start, .. } = time {
            columns.push(start);
        }
        let aggregation = Aggregation::new(&op.id, settings.ordinal, (input, columns), &[], (aggregates, false))?;
        Ok(Self {
            aggregation,
            output: op.output.clone(),
            time,
            slicing: Slicing::new(time),
            cache_bytes: settings.cache_bytes,
            slices: BTreeMap::new(),
            progress: Progress::new(settings.ordinal + 1),
            fired_ms: i64::MIN,
            firing: None,
        })
    }

    /// Rows by slice, without late ones.
    fn portions(&self, batch: &Batch, groups: &[KeyGroup], late_rows: &mut u64) -> Vec<Portion> {
        let (column, mut slicer) = match self.time {
            WindowTime::Assign { window, rowtime } => (rowtime, Some(Slicer::new(window))),
            WindowTime::Attached { end, .. } => (end, None),
        };
        let column = batch.rows.column(column);
        let times = fixed::values::<i64>(&**column);
        let nulls = column.nulls();
        let mut portions: Vec<Portion> = Vec::new();
        let (mut current, mut current_slice, mut deadline) = (0, None, i64::MIN);
        for (row, time) in times.iter().enumerate() {
            let slice = match &mut slicer {
                Some(slicer) => slicer.end_of(*time),
                None => Some(*time).filter(|time| is_sane(*time)),
            };
            let Some(slice) = slice.filter(|_| !nulls.is_some_and(|nulls| nulls.is_null(row))) else {
                *late_rows += 1;
                continue;
            };
            if current_slice != Some(slice) {
                current = portions.iter().position(|portion| portion.slice == slice).unwrap_or_else(|| {
                    portions.push(Portion { slice, rows: Vec::with_capacity(times.len()) });
                    portions.len() - 1
                });
                current_slice = Some(slice);
                deadline = self.slicing.last(slice) - 1;
            }
            if deadline <= self.progress.of(groups[row]) {
                *late_rows += 1;
                continue;
            }
            portions[current].rows.push(row as u32);
        }
        portions.retain(|portion| !portion.rows.is_empty());
        portions
    }

    fn write_back(&mut self, of: impl Fn(KeyGroup) -> bool, context: &mut OpContext<'_>) -> Result<(), Error> {
        let mut changes = Vec::new();
        for (end, slice) in &mut self.slices {
            let slots = 0..slice.table.len();
            slice.write(&self.aggregation, (*end, slots), &of, &mut changes);
        }
        if changes.is_empty() { Ok(()) } else { Ok(context.store.write(changes)?) }
    }

    fn evict(&mut self, context: &mut OpContext<'_>) -> Result<(), Error> {
        if self.cached_bytes() <= self.cache_bytes {
            return Ok(());
        }
        self.slices.values_mut().for_each(|slice| self.aggregation.rebuild(&mut slice.table));
        if self.cached_bytes() <= self.cache_bytes {
            return Ok(());
        }
        self.write_back(|_| true, context)?;
        for slice in self.slices.values_mut() {
            slice.table = self.aggregation.table();
            slice.absent = Absent::All;
        }
        Ok(())
    }

    fn cached_bytes(&self) -> usize {
        self.slices.values().map(|slice| slice.table.bytes()).sum()
    }
}

impl Op for WindowAggregate {
    fn on_batch(&mut self, _port: usize, batch: Batch, context: &mut OpContext<'_>) -> Result<(), Error> {
        let Some(groups) = batch.groups.clone() else {
            return Err(Error::Unrouted { op: self.aggregation.op.clone() });
        };
        let portions = self.portions(&batch, &groups, context.late_rows);
        let (keys, prepared) = self.aggregation.prepare(&batch.rows)?;
        let mut slots = Vec::new();
        for portion in portions {
            let slice = self.slices.entry(portion.slice).or_insert_with(|| Slice::new(self.aggregation.table()));
            slots.clear();
            let fresh = self.aggregation.intern(&mut slice.table, &keys, (&portion.rows, &groups), &mut slots);
            let lookup = (&slice.absent, &time_bytes(portion.slice)[..]);
            self.aggregation.load(&mut slice.table, (fresh, &slots), lookup, context.store)?;
            self.aggregation.update(&mut slice.table, &prepared, (&portion.rows, &slots), None);
        }
        self.evict(context)
    }

    fn on_watermark(&mut self, watermark_ms: i64, context: &mut OpContext<'_>) -> Result<Flow, Error> {
        let flow = self.fire(watermark_ms, context)?;
        if flow == Flow::Done {
            self.progress.advance(watermark_ms);
            self.fired_ms = self.fired_ms.max(watermark_ms);
        }
        Ok(flow)
    }

    fn on_barrier(&mut self, context: &mut OpContext<'_>) -> Result<(), Error> {
        self.write_back(|_| true, context)?;
        let mut changes = Vec::new();
        self.progress.write(context.groups, &mut changes);
        if !changes.is_empty() {
            context.store.write(changes)?;
        }
        Ok(())
    }

    fn write_ahead(&mut self, share: f64, context: &mut OpContext<'_>) -> Result<(), Error> {
        let mut changes = Vec::new();
        for (end, slice) in &mut self.slices {
            slice.rounds += share;
            if slice.rounds >= ROUNDS_MIN {
                let slots = slice.table.take_turn(share);
                slice.write(&self.aggregation, (*end, slots), |_| true, &mut changes);
            }
        }
        if changes.is_empty() { Ok(()) } else { Ok(context.store.write(changes)?) }
    }

    fn flush_groups(&mut self, groups: &[KeyGroup], context: &mut OpContext<'_>) -> Result<(), Error> {
        let groups: GroupSet = groups.iter().copied().collect();
        self.write_back(|group| groups.contains(group), context)
    }

    fn disown(&mut self, groups: &[KeyGroup], context: &mut OpContext<'_>) -> Result<(), Error> {
        self.flush_groups(groups, context)?;
        let left = groups.iter().copied().collect();
        for slice in self.slices.values_mut() {
            slice.table.leave(&left);
            slice.absent.leave(groups);
        }
        let mut changes = Vec::new();
        self.progress.leave(groups, &mut changes);
        Ok(context.store.write(changes)?)
    }

    fn adopt(&mut self, groups: &[KeyGroup], context: &mut OpContext<'_>) -> Result<(), Error> {
        self.progress.arrive(&self.aggregation.op, groups, context)?;
        self.fired_ms = self.fired_ms.min(self.progress.watermark_ms());
        let pending = progress::pending(&self.aggregation.op, self.aggregation.ordinal, groups, context.store)?;
        for (end, groups) in pending {
            let slice = self.slices.entry(end).or_insert_with(|| Slice::new(self.aggregation.table()));
            slice.stored = true;
            groups.into_iter().for_each(|group| slice.absent.insert(group));
        }
        Ok(())
    }

    fn hot_keys(&self, groups: &[KeyGroup], limit: usize) -> Vec<Vec<u8>> {
        let groups: GroupSet = groups.iter().copied().collect();
        let newest = self.slices.iter().rev();
        let keys = newest.flat_map(|(end, slice)| {
            let slots = slice.table.slots_of(&groups);
            slots.map(|slot| self.aggregation.key(&slice.table, slot, &time_bytes(*end)))
        });
        keys.take(limit).collect()
    }

    fn warm(&mut self, keys: &[Vec<u8>], context: &mut OpContext<'_>) -> Result<(), Error> {
        if self.cached_bytes() > self.cache_bytes / 2 {
            return Ok(()); // More would drive out what has been used here.
        }
        let mut by_slice: BTreeMap<i64, Vec<(KeyGroup, &[u8])>> = BTreeMap::new();
        for (group, own) in keys.iter().filter_map(|key| own_key(key, self.aggregation.ordinal)) {
            if let (Some(end), Some(key)) = (time_of(own), own.get(8..)) {
                by_slice.entry(end).or_default().push((group, key));
            }
        }
        for (end, keys) in by_slice {
            // One that is gone has fired.
            let Some(slice) = self.slices.get_mut(&end) else { continue };
            let lookup = (&slice.absent, &time_bytes(end)[..]);
            self.aggregation.warm(&mut slice.table, &keys, lookup, context.store)?;
        }
        Ok(())
    }

    fn restore(&mut self, _parts: &[serde_json::Value], context: &mut OpContext<'_>) -> Result<(), Error> {
        self.progress.restore(&self.aggregation.op, context.groups, context.store)?;
        self.fired_ms = self.progress.watermark_ms();
        let pending = progress::pending(&self.aggregation.op, self.aggregation.ordinal, context.groups, context.store)?;
        for end in pending.into_keys() {
            let slice = Slice { absent: Absent::All, stored: true, ..Slice::new(self.aggregation.table()) };
            self.slices.insert(end, slice);
        }
        Ok(())
    }

    fn states(&self) -> Vec<(&'static str, u32)> {
        vec![("accumulators", row::VERSION * 1000 + accumulate::VERSION), ("progress", progress::VERSION)]
    }
}

#[cfg(test)]
mod tests;
