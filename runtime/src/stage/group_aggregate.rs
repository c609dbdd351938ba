//! Running aggregates per key, with a changelog. State: `accumulators`: prefix | key -> accumulators.
//!
//! Each batch changes a key once, however many rows it has of it: the first result of a key is an insert, a changed one an
//! update-before and an update-after, and a key whose rows have all been taken back is deleted.
use std::cmp::Reverse;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::kernels::cmp::distinct;
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::SchemaRef;
use millstream_api::id::KeyGroup;
use millstream_sql::graph::{Aggregate, OpSpec};

use super::accumulate::Call;
use super::build::OpSettings;
use super::group::{Absent, GroupSet};
use super::table::{Aggregation, Table};
use super::{Error, Op, OpContext, accumulate, row};
use crate::batch::{Batch, ChangeKind};
use crate::state::own_key;

/// See the module. The first call counts the key's rows and is not shown.
pub(crate) struct GroupAggregate {
    aggregation: Aggregation,
    output: SchemaRef,
    cache_bytes: usize,
    table: Table,
    /// Groups of which the store may have keys that the table has not.
    absent: Absent,
    /// The last batch that each slot was in.
    seen: Vec<u64>,
    batches: u64,
}

/// A key without rows has no entry.
fn is_gone(table: &Table, slot: u32) -> bool {
    table.count(slot) == 0
}

impl GroupAggregate {
    pub fn new(
        op: &OpSpec,
        input: &SchemaRef,
        (keys, aggregates, retracting): (&[usize], &[Aggregate], bool),
        settings: &OpSettings,
    ) -> Result<Self, Error> {
        let hidden = [Call::count_rows()];
        let input = (input, keys.to_vec());
        let aggregation = Aggregation::new(&op.id, settings.ordinal, input, &hidden, (aggregates, retracting))?;
        let table = aggregation.table();
        let (output, cache_bytes) = (op.output.clone(), settings.cache_bytes);
        Ok(Self { aggregation, output, cache_bytes, table, absent: Absent::none(), seen: Vec::new(), batches: 0 })
    }

    /// Present results of slots; `keys` are theirs.
    fn results(&self, keys: &[ArrayRef], slots: &[u32]) -> Result<RecordBatch, Error> {
        let columns = [keys, &self.aggregation.results(&self.table, slots, 1)?].concat();
        RecordBatch::try_new(self.output.clone(), columns).map_err(self.aggregation.evaluate())
    }

    /// What a batch has changed, as rows of the output.
    fn changes(&self, before: (&RecordBatch, &[i64]), after: &RecordBatch, slots: &[u32]) -> Result<Batch, Error> {
        let (old, counts) = before;
        let evaluate = self.aggregation.evaluate();
        let keys = old.num_columns() + 1 - self.aggregation.calls();
        let mut changed = vec![false; slots.len()];
        for (old, new) in old.columns().iter().zip(after.columns()).skip(keys) {
            let differs = distinct(old, new).map_err(&evaluate)?;
            differs.values().set_indices().for_each(|row| changed[row] = true);
        }
        let (mut rows, mut kinds) = (Vec::with_capacity(slots.len() * 2), Vec::with_capacity(slots.len() * 2));
        let mut emit = |row: usize, kind: ChangeKind| {
            rows.push(row as u32);
            kinds.push(kind as u8);
        };
        for (row, slot) in slots.iter().enumerate() {
            match (counts[row] != 0, self.table.count(*slot) != 0) {
                (false, true) => emit(slots.len() + row, ChangeKind::Insert),
                (true, false) => emit(row, ChangeKind::Delete),
                (true, true) if changed[row] => {
                    emit(row, ChangeKind::UpdateBefore);
                    emit(slots.len() + row, ChangeKind::UpdateAfter);
                }
                _ => {}
            }
        }
        let both = concat_batches(&self.output, [old, after]).map_err(&evaluate)?;
        let rows = take_record_batch(&both, &UInt32Array::from(rows)).map_err(&evaluate)?;
        let kinds = kinds.iter().any(|kind| *kind != 0).then(|| Arc::from(kinds));
        Ok(Batch { kinds, ..Batch::inserts(rows) })
    }

    fn write_back(&mut self, of: impl Fn(KeyGroup) -> bool, context: &mut OpContext<'_>) -> Result<(), Error> {
        let mut changes = Vec::new();
        let slots = 0..self.table.len();
        self.aggregation.write_back((&mut self.table, slots), (&[], of), is_gone, &mut changes);
        if changes.is_empty() { Ok(()) } else { Ok(context.store.write(changes)?) }
    }

    fn evict(&mut self, context: &mut OpContext<'_>) -> Result<(), Error> {
        if self.table.bytes() <= self.cache_bytes {
            return Ok(());
        }
        self.seen.clear();
        self.aggregation.rebuild(&mut self.table);
        if self.table.bytes() > self.cache_bytes {
            self.write_back(|_| true, context)?;
            (self.table, self.absent) = (self.aggregation.table(), Absent::All);
        }
        Ok(())
    }
}

impl Op for GroupAggregate {
    fn on_batch(&mut self, _port: usize, batch: Batch, context: &mut OpContext<'_>) -> Result<(), Error> {
        let Some(groups) = batch.groups.clone() else {
            return Err(Error::Unrouted { op: self.aggregation.op.clone() });
        };
        let (keys, prepared) = self.aggregation.prepare(&batch.rows)?;
        let rows: Vec<u32> = (0..batch.num_rows() as u32).collect();
        let mut slots = Vec::new();
        let fresh = self.aggregation.intern(&mut self.table, &keys, (&rows, &groups), &mut slots);
        self.aggregation.load(&mut self.table, (fresh, &slots), (&self.absent, &[]), context.store)?;
        self.batches += 1;
        self.seen.resize(self.table.len(), 0);
        let first = |slot: &u32| std::mem::replace(&mut self.seen[*slot as usize], self.batches) != self.batches;
        let touched: Vec<u32> = slots.iter().copied().filter(first).collect();
        let shown = self.aggregation.keys(&self.table, &touched)?;
        let before = self.results(&shown, &touched)?;
        let counts: Vec<i64> = touched.iter().map(|slot| self.table.count(*slot)).collect();
        let sign = |kind: &u8| if ChangeKind::from_u8(*kind).is_some_and(ChangeKind::is_retraction) { -1 } else { 1 };
        let signs: Option<Vec<i8>> = batch.kinds.as_ref().map(|kinds| kinds.iter().map(sign).collect());
        self.aggregation.update(&mut self.table, &prepared, (&rows, &slots), signs.as_deref());
        let gone: Vec<u32> = touched.iter().filter(|slot| is_gone(&self.table, **slot)).copied().collect();
        // Back to zero exactly: sums of floats need not be.
        gone.into_iter().for_each(|slot| self.table.reset(slot));
        let after = self.results(&shown, &touched)?;
        let changes = self.changes((&before, &counts), &after, &touched)?;
        if changes.num_rows() > 0 {
            context.output.push(changes);
        }
        self.evict(context)
    }

    fn on_barrier(&mut self, context: &mut OpContext<'_>) -> Result<(), Error> {
        self.write_back(|_| true, context)
    }

    fn write_ahead(&mut self, share: f64, context: &mut OpContext<'_>) -> Result<(), Error> {
        let (mut changes, slots) = (Vec::new(), self.table.take_turn(share));
        self.aggregation.write_back((&mut self.table, slots), (&[], |_| true), is_gone, &mut changes);
        if changes.is_empty() { Ok(()) } else { Ok(context.store.write(changes)?) }
    }

    fn flush_groups(&mut self, groups: &[KeyGroup], context: &mut OpContext<'_>) -> Result<(), Error> {
        let groups: GroupSet = groups.iter().copied().collect();
        self.write_back(|group| groups.contains(group), context)
    }

    fn disown(&mut self, groups: &[KeyGroup], context: &mut OpContext<'_>) -> Result<(), Error> {
        self.flush_groups(groups, context)?;
        self.table.leave(&groups.iter().copied().collect());
        self.absent.leave(groups);
        Ok(())
    }

    fn adopt(&mut self, groups: &[KeyGroup], context: &mut OpContext<'_>) -> Result<(), Error> {
        Ok(self.absent.arrive(groups, self.aggregation.ordinal, context.store)?)
    }

    fn hot_keys(&self, groups: &[KeyGroup], limit: usize) -> Vec<Vec<u8>> {
        let groups: GroupSet = groups.iter().copied().collect();
        let used = |slot: usize| self.seen.get(slot).copied().unwrap_or(0);
        let mut slots: Vec<usize> = self.table.slots_of(&groups).collect();
        slots.sort_unstable_by_key(|slot| Reverse(used(*slot)));
        slots.into_iter().take(limit).map(|slot| self.aggregation.key(&self.table, slot, &[])).collect()
    }

    fn warm(&mut self, keys: &[Vec<u8>], context: &mut OpContext<'_>) -> Result<(), Error> {
        if self.table.bytes() > self.cache_bytes / 2 {
            return Ok(()); // More would drive out what has been used here.
        }
        let own: Vec<_> = keys.iter().filter_map(|key| own_key(key, self.aggregation.ordinal)).collect();
        self.aggregation.warm(&mut self.table, &own, (&self.absent, &[]), context.store)
    }

    fn restore(&mut self, _parts: &[serde_json::Value], _context: &mut OpContext<'_>) -> Result<(), Error> {
        self.absent = Absent::All;
        Ok(())
    }

    fn states(&self) -> Vec<(&'static str, u32)> {
        vec![("accumulators", row::VERSION * 1000 + accumulate::VERSION)]
    }
}

#[cfg(test)]
mod tests;
