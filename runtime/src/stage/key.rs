//! Keys of a batch, and the table that numbers distinct keys. Keys are encoded with the row codec; a single 64-bit
//! integer key is kept as a number and encoded only on its way to the store.
use std::hash::BuildHasher;

use arrow::array::{Array, ArrayRef};
use arrow::buffer::{NullBuffer, ScalarBuffer};
use arrow::datatypes::DataType;
use hashbrown::hash_table::Entry;
use hashbrown::{DefaultHashBuilder, HashTable};

use super::row::{Encoded, Layout, RowCodec, fixed};

/// Turns key columns into keys and back.
#[derive(Debug, Clone)]
pub struct KeyCodec {
    types: Vec<DataType>,
    rows: RowCodec,
    number: bool,
}

/// The keys of a batch's rows.
pub enum Keys {
    /// One 64-bit column.
    Numbers(ScalarBuffer<i64>, Option<NullBuffer>),
    /// Anything else, encoded.
    Bytes(Encoded),
}

impl KeyCodec {
    /// A codec for key columns of these types; the error says which type cannot be a key.
    pub fn new(types: &[DataType]) -> Result<Self, String> {
        let rows = RowCodec::for_keys(types)?;
        let number = types.len() == 1 && rows.layouts().all(|layout| layout == Layout::Int64);
        Ok(Self { types: types.to_vec(), rows, number })
    }

    /// Whether keys of both codecs can be compared byte by byte.
    pub fn matches(&self, other: &Self) -> bool {
        self.rows.layouts().eq(other.rows.layouts())
    }

    /// The keys of `rows` rows.
    pub fn keys(&self, columns: &[ArrayRef], rows: usize) -> Keys {
        match columns {
            [column] if self.number => Keys::Numbers(fixed::values(column), column.nulls().cloned()),
            _ => Keys::Bytes(self.rows.encode(columns, rows)),
        }
    }

    /// The bytes of all keys, also of a single number.
    pub fn encode(&self, columns: &[ArrayRef], rows: usize) -> Encoded {
        self.rows.encode(columns, rows)
    }

    /// An empty table for such keys.
    pub fn table(&self) -> KeyTable {
        let stored = match self.number {
            true => Stored::Numbers { values: Vec::new(), null: None },
            false => Stored::Bytes { data: Vec::new(), ends: Vec::new() },
        };
        KeyTable { index: HashTable::new(), hasher: DefaultHashBuilder::default(), stored }
    }

    /// The key columns of slots of a table.
    pub fn columns(&self, table: &KeyTable, slots: &[u32]) -> Result<Vec<ArrayRef>, String> {
        match &table.stored {
            Stored::Numbers { values, null } => {
                let nulls = null.filter(|null| slots.contains(null));
                let nulls = nulls.map(|null| slots.iter().map(|slot| *slot != null).collect::<NullBuffer>());
                let values: Vec<i64> = slots.iter().map(|slot| values[*slot as usize]).collect();
                Ok(vec![fixed::column(&self.types[0], values, nulls)?])
            }
            Stored::Bytes { .. } => {
                let rows: Vec<&[u8]> = slots.iter().map(|slot| table.bytes_of(*slot)).collect();
                self.rows.decode(&rows)
            }
        }
    }
}

/// Numbers distinct keys 0, 1, 2, ... ("slots") in order of appearance, so that results never depend on a hash.
pub struct KeyTable {
    index: HashTable<u32>,
    hasher: DefaultHashBuilder,
    stored: Stored,
}

enum Stored {
    /// The value of every slot; the slot of the null key, if it is there, is not in the index.
    Numbers { values: Vec<i64>, null: Option<u32> },
    /// Encoded keys back to back, and where each ends.
    Bytes { data: Vec<u8>, ends: Vec<usize> },
}

fn slice<'a>(data: &'a [u8], ends: &[usize], slot: usize) -> &'a [u8] {
    &data[slot.checked_sub(1).map_or(0, |before| ends[before])..ends[slot]]
}

impl KeyTable {
    /// Number of slots.
    pub fn len(&self) -> usize {
        match &self.stored {
            Stored::Numbers { values, .. } => values.len(),
            Stored::Bytes { ends, .. } => ends.len(),
        }
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes in memory, an estimate.
    pub fn bytes(&self) -> usize {
        let stored = match &self.stored {
            Stored::Numbers { values, .. } => values.capacity() * 8,
            Stored::Bytes { data, ends } => data.capacity() + ends.capacity() * 8,
        };
        stored + self.index.capacity() * 6
    }

    /// Numbers the keys of `rows`: their slots are appended to `slots`, rows that brought a new key to `fresh`.
    pub fn intern(&mut self, keys: &Keys, rows: &[u32], slots: &mut Vec<u32>, fresh: &mut Vec<u32>) {
        slots.reserve(rows.len());
        for row in rows {
            let before = self.len();
            let slot = match keys {
                Keys::Numbers(values, nulls) => {
                    let null = nulls.as_ref().is_some_and(|nulls| nulls.is_null(*row as usize));
                    self.number(if null { None } else { Some(values[*row as usize]) })
                }
                Keys::Bytes(encoded) => self.encoded(encoded.row(*row as usize)),
            };
            if slot as usize == before {
                fresh.push(*row);
            }
            slots.push(slot);
        }
    }

    /// Numbers the keys of all slots of another table of the same codec for which `keep` holds; none for the others.
    pub fn intern_table(&mut self, other: &Self, keep: impl Fn(usize) -> bool) -> Vec<Option<u32>> {
        let slot = |slot: usize| match &other.stored {
            Stored::Numbers { values, null } => {
                self.number(if *null == Some(slot as u32) { None } else { Some(values[slot]) })
            }
            Stored::Bytes { data, ends } => self.encoded(slice(data, ends, slot)),
        };
        let mut slot = slot;
        (0..other.len()).map(|other| keep(other).then(|| slot(other))).collect()
    }

    /// Slot of an encoded key.
    pub fn intern_bytes(&mut self, key: &[u8]) -> Result<u32, String> {
        if let Stored::Bytes { .. } = self.stored {
            return Ok(self.encoded(key));
        }
        match key {
            [0] => Ok(self.number(None)),
            [1, a, b, c, d, e, f, g, h] => {
                Ok(self.number(Some(i64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]) ^ i64::MIN)))
            }
            _ => Err(format!("a key of {} bytes where a number should be", key.len())),
        }
    }

    /// The slot of row `row`'s key, if the table has it.
    pub fn find(&self, keys: &Keys, row: usize) -> Option<u32> {
        match (keys, &self.stored) {
            (Keys::Numbers(_, Some(nulls)), Stored::Numbers { null, .. }) if nulls.is_null(row) => *null,
            (Keys::Numbers(numbers, _), Stored::Numbers { values, .. }) => {
                let key = numbers[row];
                self.index.find(self.hasher.hash_one(key), |slot| values[*slot as usize] == key).copied()
            }
            (Keys::Bytes(encoded), Stored::Bytes { data, ends }) => {
                let key = encoded.row(row);
                self.index.find(self.hasher.hash_one(key), |slot| slice(data, ends, *slot as usize) == key).copied()
            }
            _ => None,
        }
    }

    /// Appends the encoded key of a slot.
    pub fn write_key(&self, slot: u32, out: &mut Vec<u8>) {
        match &self.stored {
            Stored::Numbers { null, .. } if *null == Some(slot) => out.push(0),
            Stored::Numbers { values, .. } => {
                out.push(1);
                out.extend_from_slice(&(values[slot as usize] ^ i64::MIN).to_be_bytes());
            }
            Stored::Bytes { data, ends } => out.extend_from_slice(slice(data, ends, slot as usize)),
        }
    }

    fn bytes_of(&self, slot: u32) -> &[u8] {
        match &self.stored {
            Stored::Numbers { .. } => &[],
            Stored::Bytes { data, ends } => slice(data, ends, slot as usize),
        }
    }

    fn number(&mut self, key: Option<i64>) -> u32 {
        let Stored::Numbers { values, null } = &mut self.stored else { return 0 };
        let next = values.len() as u32;
        let Some(key) = key else {
            return *null.get_or_insert_with(|| {
                values.push(0);
                next
            });
        };
        let hasher = &self.hasher;
        let hash = hasher.hash_one(key);
        match self.index.entry(
            hash,
            |slot| values[*slot as usize] == key,
            |slot| hasher.hash_one(values[*slot as usize]),
        ) {
            Entry::Occupied(entry) => *entry.get(),
            Entry::Vacant(entry) => {
                entry.insert(next);
                values.push(key);
                next
            }
        }
    }

    fn encoded(&mut self, key: &[u8]) -> u32 {
        let Stored::Bytes { data, ends } = &mut self.stored else { return 0 };
        let hasher = &self.hasher;
        let hash = hasher.hash_one(key);
        let equal = |slot: &u32| slice(data, ends, *slot as usize) == key;
        match self.index.entry(hash, equal, |slot| hasher.hash_one(slice(data, ends, *slot as usize))) {
            Entry::Occupied(entry) => *entry.get(),
            Entry::Vacant(entry) => {
                let next = ends.len() as u32;
                entry.insert(next);
                data.extend_from_slice(key);
                ends.push(data.len());
                next
            }
        }
    }
}
