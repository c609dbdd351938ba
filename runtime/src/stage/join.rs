//! Regular inner join. State: `rows`: prefix | key | side (1 byte) | row -> how often the row is there (8 bytes).
//!
//! A row is joined with what the other side holds now, and is remembered for what is to come. Rows of a key are held decoded
//! from the store in a cache that is written back at barriers and dropped when it passes the bound.
use std::collections::BTreeMap;

use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use millstream_api::id::KeyGroup;
use millstream_sql::Expr;
use millstream_sql::graph::OpSpec;

use super::build::OpSettings;
use super::group::{Absent, GroupSet};
use super::key::{KeyCodec, KeyTable};
use super::matching::{Joiner, rows_with_keys};
use super::row::{self, RowCodec};
use super::{EMIT_ROWS, Error, Op, OpContext};
use crate::batch::Batch;
use crate::state::{Changes, StateOrdinal, own_key, prefix, prefix_end};

/// See the module.
pub(crate) struct Join {
    op: String,
    ordinal: StateOrdinal,
    cache_bytes: usize,
    joiner: Joiner,
    sides: [Side; 2],
    keys: KeyTable,
    entries: Vec<Entry>,
    /// Bytes of the entries, an estimate.
    held: usize,
    /// Groups of which the store may have keys that the cache has not.
    absent: Absent,
    /// Number of stale entries.
    stale: usize,
}

/// One input.
struct Side {
    schema: SchemaRef,
    keys: Vec<usize>,
    codec: KeyCodec,
    rows: RowCodec,
}

/// Rows of one key, encoded, in order, by side.
struct Entry {
    group: KeyGroup,
    rows: [BTreeMap<Box<[u8]>, Held>; 2],
    dirty: bool,
    /// The group has left since: the entry is empty, and looked up in the store should the key come back.
    stale: bool,
}

/// How often a row is there.
#[derive(Default)]
struct Held {
    count: i64,
    dirty: bool,
    stored: bool,
}

/// Bytes of memory that a row costs beyond its own.
const ROW_BYTES: usize = 48;
/// Bytes of memory that a key costs.
const ENTRY_BYTES: usize = 72;

impl Side {
    fn new(schema: &SchemaRef, keys: &[usize]) -> Result<Self, String> {
        let types: Vec<_> = keys.iter().map(|column| schema.field(*column).data_type().clone()).collect();
        let rows = RowCodec::new(schema.fields().iter().map(|field| field.data_type()))?;
        Ok(Self { schema: schema.clone(), keys: keys.to_vec(), codec: KeyCodec::new(&types)?, rows })
    }
}

impl Join {
    pub fn new(
        op: &OpSpec,
        inputs: [&SchemaRef; 2],
        (keys, residual): ([&[usize]; 2], Option<Expr>),
        settings: &OpSettings,
    ) -> Result<Self, Error> {
        let unsupported = |what| Error::Unsupported { op: op.id.clone(), what };
        let sides =
            [Side::new(inputs[0], keys[0]).map_err(unsupported)?, Side::new(inputs[1], keys[1]).map_err(unsupported)?];
        if !sides[0].codec.matches(&sides[1].codec) {
            return Err(unsupported("the keys of both sides are not of the same types".into()));
        }
        Ok(Self {
            op: op.id.clone(),
            ordinal: settings.ordinal,
            cache_bytes: settings.cache_bytes,
            joiner: Joiner { output: op.output.clone(), residual },
            keys: sides[0].codec.table(),
            sides,
            entries: Vec::new(),
            held: 0,
            absent: Absent::none(),
            stale: 0,
        })
    }

    fn evaluate(&self) -> impl Fn(ArrowError) -> Error + '_ {
        |source| Error::Evaluate { op: self.op.clone(), source }
    }

    fn corrupt(&self, what: &str) -> Error {
        Error::Corrupt { op: self.op.clone(), what: what.to_string() }
    }

    /// What the keys of a key's rows begin with in the store.
    fn key(&self, slot: u32) -> Vec<u8> {
        let mut key = prefix(self.entries[slot as usize].group, self.ordinal).to_vec();
        self.keys.write_key(slot, &mut key);
        key
    }

    /// Reads a key's rows from the store.
    fn load(&mut self, slot: u32, context: &mut OpContext<'_>) -> Result<(), Error> {
        let from = self.key(slot);
        let (entry, held, mut sound) = (&mut self.entries[slot as usize], &mut self.held, true);
        context.store.scan(&from, prefix_end(&from).as_deref(), &mut |key, value| {
            let (port, row) = key[from.len()..].split_first().unwrap_or((&u8::MAX, &[]));
            let (Some(rows), Ok(count)) = (entry.rows.get_mut(usize::from(*port)), value.try_into()) else {
                sound = false;
                return false;
            };
            *held += row.len() + ROW_BYTES;
            rows.insert(row.into(), Held { count: i64::from_be_bytes(count), dirty: false, stored: true });
            true
        })?;
        if sound { Ok(()) } else { Err(self.corrupt("a row of neither side or without a count")) }
    }

    /// The slots of rows, with what the store has of them.
    fn slots(
        &mut self,
        port: usize,
        rows: &[u32],
        batch: &Batch,
        context: &mut OpContext<'_>,
    ) -> Result<Vec<u32>, Error> {
        let Some(groups) = &batch.groups else { return Err(Error::Unrouted { op: self.op.clone() }) };
        let side = &self.sides[port];
        let columns: Vec<ArrayRef> = side.keys.iter().map(|column| batch.rows.column(*column).clone()).collect();
        let keys = side.codec.keys(&columns, batch.num_rows());
        let (mut slots, mut fresh) = (Vec::new(), Vec::new());
        self.keys.intern(&keys, rows, &mut slots, &mut fresh);
        for row in fresh {
            self.enter(groups[row as usize], context)?;
        }
        if self.stale > 0 {
            slots.iter().try_for_each(|slot| self.revive(*slot, context))?;
        }
        Ok(slots)
    }

    /// The entry of the next slot.
    fn enter(&mut self, group: KeyGroup, context: &mut OpContext<'_>) -> Result<(), Error> {
        self.entries.push(Entry { group, rows: Default::default(), dirty: false, stale: false });
        self.held += ENTRY_BYTES;
        if self.absent.contains(group) { self.load(self.entries.len() as u32 - 1, context) } else { Ok(()) }
    }

    /// The group of an entry may have come back.
    fn revive(&mut self, slot: u32, context: &mut OpContext<'_>) -> Result<(), Error> {
        if !std::mem::take(&mut self.entries[slot as usize].stale) {
            return Ok(());
        }
        self.stale -= 1;
        self.load(slot, context)
    }

    /// Emits rows joined with the other side's.
    fn probe(&self, port: usize, pairs: (&[u32], &[u32]), batch: &Batch, output: &mut Vec<Batch>) -> Result<(), Error> {
        let (mut own, mut other) = (Vec::new(), Vec::new());
        for (row, slot) in pairs.0.iter().zip(pairs.1) {
            for (bytes, held) in &self.entries[*slot as usize].rows[1 - port] {
                for _ in 0..held.count.max(0) {
                    own.push(*row);
                    other.push(&**bytes);
                    if own.len() == EMIT_ROWS {
                        output.extend(self.joined(port, std::mem::take(&mut own), &other, batch)?);
                        other.clear();
                    }
                }
            }
        }
        output.extend(self.joined(port, own, &other, batch)?);
        Ok(())
    }

    fn joined(&self, port: usize, own: Vec<u32>, other: &[&[u8]], batch: &Batch) -> Result<Option<Batch>, Error> {
        if own.is_empty() {
            return Ok(None);
        }
        let kinds = batch.kinds.as_ref().map(|kinds| own.iter().map(|row| kinds[*row as usize]).collect());
        let own = take_record_batch(&batch.rows, &UInt32Array::from(own)).map_err(self.evaluate())?;
        let side = &self.sides[1 - port];
        let other = side.rows.decode(other).map_err(|what| self.corrupt(&what))?;
        let other = RecordBatch::try_new(side.schema.clone(), other).map_err(self.evaluate())?;
        let (left, right) = if port == 0 { (&own, &other) } else { (&other, &own) };
        self.joiner.join(left, right, kinds).map_err(self.evaluate())
    }

    /// Remembers rows.
    fn remember(&mut self, port: usize, pairs: (&[u32], &[u32]), batch: &Batch) {
        let encoded = self.sides[port].rows.encode(batch.rows.columns(), batch.num_rows());
        for (row, slot) in pairs.0.iter().zip(pairs.1) {
            let entry = &mut self.entries[*slot as usize];
            let bytes = encoded.row(*row as usize);
            let sign = if batch.kind(*row as usize).is_retraction() { -1 } else { 1 };
            if !entry.rows[port].contains_key(bytes) {
                self.held += bytes.len() + ROW_BYTES;
                entry.rows[port].insert(bytes.into(), Held::default());
            }
            if let Some(held) = entry.rows[port].get_mut(bytes) {
                held.count += sign;
                held.dirty = true;
            }
            entry.dirty = true;
        }
    }

    fn write_back(&mut self, of: impl Fn(KeyGroup) -> bool, context: &mut OpContext<'_>) -> Result<(), Error> {
        let mut changes = Changes::new();
        let dirty = |(_, entry): &(usize, &mut Entry)| entry.dirty && of(entry.group);
        for (slot, entry) in self.entries.iter_mut().enumerate().filter(dirty) {
            entry.dirty = false;
            let mut start = prefix(entry.group, self.ordinal).to_vec();
            self.keys.write_key(slot as u32, &mut start);
            for (port, rows) in entry.rows.iter_mut().enumerate() {
                for (row, held) in rows.iter_mut().filter(|(_, held)| held.dirty) {
                    held.dirty = false;
                    let stored = std::mem::replace(&mut held.stored, held.count != 0);
                    if stored || held.stored {
                        let key = [&start[..], &[port as u8], row].concat();
                        changes.push((key, held.stored.then(|| held.count.to_be_bytes().to_vec())));
                    }
                }
                rows.retain(|row, held| {
                    self.held -= if held.count == 0 { row.len() + ROW_BYTES } else { 0 };
                    held.count != 0
                });
            }
        }
        if changes.is_empty() { Ok(()) } else { Ok(context.store.write(changes)?) }
    }
}

impl Op for Join {
    fn on_batch(&mut self, port: usize, batch: Batch, context: &mut OpContext<'_>) -> Result<(), Error> {
        let rows = rows_with_keys(&batch.rows, &self.sides[port].keys);
        let slots = self.slots(port, &rows, &batch, context)?;
        self.probe(port, (&rows, &slots), &batch, context.output)?;
        self.remember(port, (&rows, &slots), &batch);
        if self.held + self.keys.bytes() > self.cache_bytes {
            self.write_back(|_| true, context)?;
            self.keys = self.sides[0].codec.table();
            self.entries.clear();
            (self.held, self.stale, self.absent) = (0, 0, Absent::All);
        }
        Ok(())
    }

    fn on_barrier(&mut self, context: &mut OpContext<'_>) -> Result<(), Error> {
        self.write_back(|_| true, context)
    }

    fn flush_groups(&mut self, groups: &[KeyGroup], context: &mut OpContext<'_>) -> Result<(), Error> {
        let groups: GroupSet = groups.iter().copied().collect();
        self.write_back(|group| groups.contains(group), context)
    }

    fn disown(&mut self, groups: &[KeyGroup], context: &mut OpContext<'_>) -> Result<(), Error> {
        self.flush_groups(groups, context)?;
        let left: GroupSet = groups.iter().copied().collect();
        for entry in self.entries.iter_mut().filter(|entry| left.contains(entry.group)) {
            let rows = std::mem::take(&mut entry.rows);
            self.held -= rows.iter().flatten().map(|(row, _)| row.len() + ROW_BYTES).sum::<usize>();
            self.stale += usize::from(!std::mem::replace(&mut entry.stale, true));
        }
        self.absent.leave(groups);
        Ok(())
    }

    fn adopt(&mut self, groups: &[KeyGroup], context: &mut OpContext<'_>) -> Result<(), Error> {
        Ok(self.absent.arrive(groups, self.ordinal, context.store)?)
    }

    fn hot_keys(&self, groups: &[KeyGroup], limit: usize) -> Vec<Vec<u8>> {
        let groups: GroupSet = groups.iter().copied().collect();
        // Those that came last first.
        let newest = self.entries.iter().enumerate().rev();
        let here = newest.filter(|(_, entry)| !entry.stale && groups.contains(entry.group));
        here.take(limit).map(|(slot, _)| self.key(slot as u32)).collect()
    }

    fn warm(&mut self, keys: &[Vec<u8>], context: &mut OpContext<'_>) -> Result<(), Error> {
        let ordinal = self.ordinal;
        for (group, key) in keys.iter().filter_map(|key| own_key(key, ordinal)) {
            if self.held + self.keys.bytes() > self.cache_bytes / 2 {
                return Ok(()); // More would drive out what has been used here.
            }
            if !self.absent.contains(group) {
                continue;
            }
            let slot = self.keys.intern_bytes(key).map_err(|what| self.corrupt(&what))?;
            match slot as usize == self.entries.len() {
                true => self.enter(group, context)?,
                false => self.revive(slot, context)?,
            }
        }
        Ok(())
    }

    fn restore(&mut self, _parts: &[serde_json::Value], _context: &mut OpContext<'_>) -> Result<(), Error> {
        self.absent = Absent::All;
        Ok(())
    }

    fn states(&self) -> Vec<(&'static str, u32)> {
        vec![("rows", row::VERSION)]
    }
}

#[cfg(test)]
mod tests;
