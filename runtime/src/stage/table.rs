//! Keys with their accumulators: the write-back cache of the aggregating ops.
use std::ops::Range;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::SchemaRef;
use millstream_api::id::KeyGroup;
use millstream_sql::graph::Aggregate;

use super::Error;
use super::accumulate::{Accumulators, Call, argument::Prepared};
use super::group::{Absent, GroupSet};
use super::key::{KeyCodec, KeyTable, Keys};
use crate::state::{Changes, StateOrdinal, Store, prefix};

mod hot;

/// What an aggregating op computes: key columns and calls, bound to the input.
pub(crate) struct Aggregation {
    /// Id of the op, for errors.
    pub op: String,
    /// State that holds the accumulators.
    pub ordinal: StateOrdinal,
    columns: Vec<usize>,
    codec: KeyCodec,
    calls: Vec<Call>,
}

/// Accumulators of many keys. Slots are numbered in order of appearance.
pub(crate) struct Table {
    keys: KeyTable,
    groups: Vec<KeyGroup>,
    accumulators: Vec<Accumulators>,
    /// Slots that differ from the store, and slots the store has an entry of.
    dirty: Vec<bool>,
    stored: Vec<bool>,
    /// Dirty slots whose turn to be written ahead has come once: with the next one they are. What lives no longer is not worth it. And
    /// slots that the store had and nobody had asked for: they will hardly be asked for again before their first turn.
    aged: Vec<bool>,
    /// Slots of groups that have left, and how many these are. They hold nothing and count as not there, but keep their
    /// number: to rebuild the table costs more than they do. A key that comes back is looked up in the store.
    stale: Vec<bool>,
    stale_slots: usize,
    /// Bytes behind pointers.
    held: usize,
    /// Where writing ahead goes on.
    turn: Turn,
}

/// Goes round over numbered things, a share at a time.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Turn {
    next: usize,
}

impl Turn {
    /// The next share (0 to 1) of `len` things, each at most once. Behind the last comes the first, also while there are more and more.
    pub fn take(&mut self, share: f64, len: usize) -> impl Iterator<Item = usize> + use<> {
        let count = ((len as f64 * share.clamp(0.0, 1.0)).ceil() as usize).min(len);
        let from = self.next.min(len);
        let to = (from + count).min(len);
        let rest = count - (to - from);
        self.next = if rest > 0 { rest } else { to };
        (from..to).chain(0..rest)
    }
}

/// A table that has outgrown its bound is rebuilt without its stale slots, instead of being dropped as a whole, if they are
/// at least one in so many.
const WORTH_REBUILDING: usize = 4;

impl Table {
    pub fn len(&self) -> usize {
        self.groups.len()
    }

    /// The slots whose turn it is to be written ahead. Those that are dirty and have had no turn yet are passed over.
    pub fn take_turn(&mut self, share: f64) -> Vec<usize> {
        let slots = self.turn.take(share, self.groups.len());
        slots.filter(|slot| self.dirty[*slot] && std::mem::replace(&mut self.aged[*slot], true)).collect()
    }

    /// Bytes in memory, an estimate.
    pub fn bytes(&self) -> usize {
        let slot: usize = self.accumulators.iter().map(Accumulators::slot_bytes).sum();
        self.keys.bytes() + self.len() * (slot + 5) + self.held
    }

    fn grow(&mut self, group_of: impl Iterator<Item = KeyGroup>) {
        self.groups.extend(group_of);
        let slots = self.keys.len();
        self.accumulators.iter_mut().for_each(|accumulators| accumulators.resize(slots));
        self.dirty.resize(slots, false);
        self.stored.resize(slots, false);
        self.aged.resize(slots, false);
        self.stale.resize(slots, false);
    }

    /// Whether there are slots of groups that have left.
    pub fn has_stale(&self) -> bool {
        self.stale_slots > 0
    }

    /// Groups have left, and what is dirty of them has been written.
    pub fn leave(&mut self, groups: &GroupSet) {
        for slot in (0..self.len()).filter(|slot| groups.contains(self.groups[*slot])) {
            self.accumulators.iter_mut().for_each(|accumulators| accumulators.reset(slot));
            (self.dirty[slot], self.stored[slot]) = (false, false);
            self.stale_slots += usize::from(!std::mem::replace(&mut self.stale[slot], true));
        }
    }

    /// The count in a slot of the first call, which must be a count.
    pub fn count(&self, slot: u32) -> i64 {
        match self.accumulators.first() {
            Some(Accumulators::Counts(counts)) => counts[slot as usize],
            _ => 0,
        }
    }

    /// Makes a slot as new, and have it removed from the store at the next write-back.
    pub fn reset(&mut self, slot: u32) {
        self.accumulators.iter_mut().for_each(|accumulators| accumulators.reset(slot as usize));
        self.dirty[slot as usize] = true;
    }
}

impl Aggregation {
    /// Binds keys and calls to the input; `leading` calls come before those of the plan.
    pub fn new(
        op: &str,
        ordinal: StateOrdinal,
        (input, columns): (&SchemaRef, Vec<usize>),
        leading: &[Call],
        (aggregates, retracting): (&[Aggregate], bool),
    ) -> Result<Self, Error> {
        let unsupported = |what| Error::Unsupported { op: op.to_string(), what };
        let types: Vec<_> = columns.iter().map(|column| input.field(*column).data_type().clone()).collect();
        let codec = KeyCodec::new(&types).map_err(unsupported)?;
        let mut calls = leading.to_vec();
        for aggregate in aggregates {
            calls.push(Call::new(aggregate, input, retracting).map_err(unsupported)?);
        }
        Ok(Self { op: op.to_string(), ordinal, columns, codec, calls })
    }

    /// Number of calls, leading ones included.
    pub fn calls(&self) -> usize {
        self.calls.len()
    }

    pub fn corrupt(&self) -> impl Fn(String) -> Error + '_ {
        |what| Error::Corrupt { op: self.op.clone(), what }
    }

    pub fn evaluate(&self) -> impl Fn(arrow::error::ArrowError) -> Error + '_ {
        |source| Error::Evaluate { op: self.op.clone(), source }
    }

    pub fn table(&self) -> Table {
        Table {
            keys: self.codec.table(),
            groups: Vec::new(),
            accumulators: self.calls.iter().map(Call::empty).collect(),
            dirty: Vec::new(),
            stored: Vec::new(),
            aged: Vec::new(),
            stale: Vec::new(),
            stale_slots: 0,
            held: 0,
            turn: Turn::default(),
        }
    }

    /// Keys and arguments of a batch.
    pub fn prepare(&self, rows: &RecordBatch) -> Result<(Keys, Vec<Prepared>), Error> {
        let columns: Vec<ArrayRef> = self.columns.iter().map(|column| rows.column(*column).clone()).collect();
        let prepared = self.calls.iter().map(|call| call.prepare(rows)).collect::<Result<_, _>>();
        Ok((self.codec.keys(&columns, rows.num_rows()), prepared.map_err(self.evaluate())?))
    }

    /// Finds or makes the slots of rows; gives the range of new slots.
    pub fn intern(
        &self,
        table: &mut Table,
        keys: &Keys,
        (rows, groups): (&[u32], &[KeyGroup]),
        slots: &mut Vec<u32>,
    ) -> Range<usize> {
        let (before, mut fresh) = (table.len(), Vec::new());
        table.keys.intern(keys, rows, slots, &mut fresh);
        if !fresh.is_empty() {
            table.grow(fresh.iter().map(|row| groups[*row as usize]));
        }
        before..table.len()
    }

    /// Adds rows to their slots.
    pub fn update(
        &self,
        table: &mut Table,
        prepared: &[Prepared],
        (rows, slots): (&[u32], &[u32]),
        signs: Option<&[i8]>,
    ) {
        for ((call, prepared), into) in self.calls.iter().zip(prepared).zip(&mut table.accumulators) {
            table.held += call.update(into, prepared, (rows, slots), signs);
        }
        slots.iter().for_each(|slot| table.dirty[*slot as usize] = true);
    }

    /// The key of a slot in the store.
    pub fn key(&self, table: &Table, slot: usize, middle: &[u8]) -> Vec<u8> {
        let mut key = Vec::with_capacity(4 + middle.len() + 10);
        key.extend_from_slice(&prefix(table.groups[slot], self.ordinal));
        key.extend_from_slice(middle);
        table.keys.write_key(slot as u32, &mut key);
        key
    }

    /// Fills slots from the store before rows are added to `slots`: fresh ones of absent groups, and stale ones.
    pub fn load(
        &self,
        table: &mut Table,
        (fresh, slots): (Range<usize>, &[u32]),
        (absent, middle): (&Absent, &[u8]),
        store: &mut dyn Store,
    ) -> Result<(), Error> {
        if absent.is_none() && !table.has_stale() {
            return Ok(());
        }
        let mut wanted: Vec<usize> = fresh.filter(|slot| absent.contains(table.groups[*slot])).collect();
        if table.has_stale() {
            let new = wanted.len();
            wanted
                .extend(slots.iter().map(|slot| *slot as usize).filter(|slot| std::mem::take(&mut table.stale[*slot])));
            table.stale_slots -= wanted.len() - new;
        }
        let keys: Vec<Vec<u8>> = wanted.iter().map(|slot| self.key(table, *slot, middle)).collect();
        let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
        if keys.is_empty() {
            return Ok(());
        }
        for (slot, value) in wanted.into_iter().zip(store.multi_get(&keys)?) {
            if let Some(value) = value {
                self.decode(table, slot, &value)?;
                (table.stored[slot], table.aged[slot]) = (true, true);
            }
        }
        Ok(())
    }

    fn decode(&self, table: &mut Table, slot: usize, mut value: &[u8]) -> Result<(), Error> {
        for accumulators in &mut table.accumulators {
            table.held += accumulators.decode(slot, &mut value).map_err(self.corrupt())?;
        }
        Ok(())
    }

    /// Adds an entry as read from the store; `key` without prefix and middle.
    pub fn insert(&self, table: &mut Table, group: KeyGroup, key: &[u8], value: &[u8]) -> Result<(), Error> {
        let slot = table.keys.intern_bytes(key).map_err(self.corrupt())? as usize;
        if slot == table.len() {
            table.grow(std::iter::once(group));
        }
        table.stored[slot] = true;
        self.decode(table, slot, value)
    }

    /// Adds all slots of `other` for whose group `keep` holds, and which are not stale, to `into`.
    pub fn merge(&self, into: &mut Table, other: &Table, keep: impl Fn(KeyGroup) -> bool) {
        let before = into.len();
        let slots = into.keys.intern_table(&other.keys, |slot| !other.stale[slot] && keep(other.groups[slot]));
        let fresh = slots.iter().enumerate().filter(|(_, slot)| slot.is_some_and(|slot| slot as usize >= before));
        let groups: Vec<KeyGroup> = fresh.map(|(of, _)| other.groups[of]).collect();
        into.grow(groups.into_iter());
        for (call, (into_column, column)) in
            self.calls.iter().zip(into.accumulators.iter_mut().zip(&other.accumulators))
        {
            for (of, slot) in slots.iter().enumerate() {
                if let Some(slot) = slot {
                    into.held += call.merge(into_column, *slot as usize, column, of);
                }
            }
        }
    }

    /// Rebuilds a table without its stale slots if they are many; slots get other numbers.
    pub fn rebuild(&self, table: &mut Table) {
        if !table.has_stale() || table.stale_slots * WORTH_REBUILDING < table.len() {
            return;
        }
        let mut kept = self.table();
        self.merge(&mut kept, table, |_| true);
        for (new, old) in (0..table.len()).filter(|slot| !table.stale[*slot]).enumerate() {
            (kept.dirty[new], kept.stored[new]) = (table.dirty[old], table.stored[old]);
        }
        *table = kept;
    }

    /// Writes dirty ones of these slots, of the groups for which `of` holds, to `changes`: removed if `gone` says so.
    pub fn write_back(
        &self,
        (table, slots): (&mut Table, impl IntoIterator<Item = usize>),
        (middle, of): (&[u8], impl Fn(KeyGroup) -> bool),
        gone: impl Fn(&Table, u32) -> bool,
        changes: &mut Changes,
    ) {
        for slot in slots {
            if !table.dirty[slot] || !of(table.groups[slot]) {
                continue;
            }
            (table.dirty[slot], table.aged[slot]) = (false, false);
            let gone = gone(table, slot as u32);
            if gone && !table.stored[slot] {
                continue;
            }
            let key = self.key(table, slot, middle);
            let value = (!gone).then(|| {
                let mut value = Vec::with_capacity(8);
                table.accumulators.iter().for_each(|accumulators| accumulators.encode(slot, &mut value));
                value
            });
            table.stored[slot] = !gone;
            changes.push((key, value));
        }
    }

    /// Removals of all slots that the store has.
    pub fn removals(&self, table: &Table, middle: &[u8], changes: &mut Changes) {
        for slot in (0..table.len()).filter(|slot| table.stored[*slot]) {
            changes.push((self.key(table, slot, middle), None));
        }
    }

    /// Key columns of slots.
    pub fn keys(&self, table: &Table, slots: &[u32]) -> Result<Vec<ArrayRef>, Error> {
        self.codec.columns(&table.keys, slots).map_err(self.corrupt())
    }

    /// Results of the calls from number `from` on.
    pub fn results(&self, table: &Table, slots: &[u32], from: usize) -> Result<Vec<ArrayRef>, Error> {
        let columns = self.calls.iter().zip(&table.accumulators).skip(from);
        columns
            .map(|(call, accumulators)| call.result(accumulators, slots))
            .collect::<Result<_, _>>()
            .map_err(self.corrupt())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_has_its_turn_in_a_round_also_while_it_grows() {
        let mut turn = Turn::default();
        let mut take = |share, len| turn.take(share, len).collect::<Vec<_>>();
        assert_eq!((take(0.5, 4), take(0.5, 4), take(0.5, 4)), (vec![0, 1], vec![2, 3], vec![0, 1]));
        assert_eq!((take(0.5, 6), take(0.5, 7)), (vec![2, 3, 4], vec![5, 6, 0, 1]));
        assert_eq!((take(1.0, 3), take(0.1, 0)), (vec![2, 0, 1], vec![]));
        assert_eq!(take(2.0, 2), [0, 1]);
    }
}
