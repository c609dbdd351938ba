//! Accumulators of aggregate functions: struct of arrays, one position ("slot") per key, updated column by column.
pub(crate) mod argument;
mod codec;
mod result;

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Schema};
use arrow::error::ArrowError;
use millstream_sql::graph::{Aggregate, AggregateFunction};

use super::row::RowCodec;
use argument::{Prepared, Shape};

/// Version of the accumulators' encoding.
pub const VERSION: u32 = 1;

/// One aggregate call bound to its input.
#[derive(Debug, Clone)]
pub struct Call {
    kind: Kind,
    shape: Shape,
    argument: Option<(usize, DataType)>,
    filter: Option<usize>,
    output: DataType,
    codec: Option<RowCodec>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Count,
    Sum,
    Avg,
    Min,
    Max,
    Distinct,
}

/// Values and how often each is there; ordered, as row-codec bytes are.
pub(crate) type Multiset = BTreeMap<Box<[u8]>, i64>;

/// The accumulators of one call for all slots.
#[derive(Debug)]
pub enum Accumulators {
    /// Rows counted.
    Counts(Vec<i64>),
    /// Sums modulo 2^64, and how many values are in them.
    Int64(Vec<i64>, Vec<i64>),
    /// Sums of floats.
    Float64(Vec<f64>, Vec<i64>),
    /// Sums of decimals.
    Int128(Vec<i128>, Vec<i64>),
    /// Smallest or largest value in an order-preserving 64-bit form, and whether there is one.
    Extreme(Vec<i64>, Vec<bool>),
    /// Smallest or largest value of other types.
    ExtremeBytes(Vec<Option<Box<[u8]>>>),
    /// All values: for distinct counts, and for min and max of input that retracts.
    Multisets(Vec<Multiset>),
}

impl Call {
    /// `count(*)`.
    pub fn count_rows() -> Self {
        let (kind, shape) = (Kind::Count, Shape::Nothing);
        Self { kind, shape, argument: None, filter: None, output: DataType::Int64, codec: None }
    }

    /// Binds a call to its input. The error says which argument type it cannot take.
    pub fn new(call: &Aggregate, input: &Schema, retracting: bool) -> Result<Self, String> {
        let argument = call.argument.map(|column| (column, input.field(column).data_type().clone()));
        let kind = match call.function {
            AggregateFunction::Count if call.distinct => Kind::Distinct,
            AggregateFunction::Count => Kind::Count,
            AggregateFunction::Sum => Kind::Sum,
            AggregateFunction::Avg => Kind::Avg,
            AggregateFunction::Min => Kind::Min,
            AggregateFunction::Max => Kind::Max,
        };
        let shape = match (&argument, kind) {
            (_, Kind::Count) => Shape::Nothing,
            (None, _) => return Err(format!("{:?} needs an argument", call.function)),
            (Some((_, data_type)), Kind::Sum) => Shape::of_sum(data_type, &call.output)?,
            (Some((_, data_type)), Kind::Avg) => Shape::of_sum(data_type, data_type)?,
            (Some((_, data_type)), Kind::Min | Kind::Max) if !retracting => Shape::of_extreme(data_type)?,
            (Some(_), _) => Shape::Bytes,
        };
        let codec = match (&argument, shape) {
            (Some((_, data_type)), Shape::Bytes) if kind == Kind::Distinct => Some(RowCodec::for_keys([data_type])?),
            (Some((_, data_type)), Shape::Bytes) => Some(RowCodec::new([data_type])?),
            _ => None,
        };
        // Values that can be taken back have to be kept one by one.
        let shape = if retracting || kind == Kind::Distinct { shape.keep_all() } else { shape };
        Ok(Self { kind, shape, argument, filter: call.filter, output: call.output.clone(), codec })
    }

    /// Accumulators without slots.
    pub fn empty(&self) -> Accumulators {
        match self.shape {
            Shape::Nothing => Accumulators::Counts(Vec::new()),
            Shape::Int64 => Accumulators::Int64(Vec::new(), Vec::new()),
            Shape::Float64 => Accumulators::Float64(Vec::new(), Vec::new()),
            Shape::Int128 => Accumulators::Int128(Vec::new(), Vec::new()),
            Shape::Ordered => Accumulators::Extreme(Vec::new(), Vec::new()),
            Shape::Bytes => Accumulators::ExtremeBytes(Vec::new()),
            Shape::AllBytes => Accumulators::Multisets(Vec::new()),
        }
    }

    /// The call's argument and filter over a batch.
    pub fn prepare(&self, batch: &RecordBatch) -> Result<Prepared, ArrowError> {
        argument::prepare(self, batch)
    }

    fn is_max(&self) -> bool {
        self.kind == Kind::Max
    }

    /// Adds rows (`signs[row]` = -1 takes one back) to slots; returns bytes of memory gained.
    pub fn update(
        &self,
        into: &mut Accumulators,
        prepared: &Prepared,
        (rows, slots): (&[u32], &[u32]),
        signs: Option<&[i8]>,
    ) -> usize {
        let sign = |row: usize| signs.map_or(1, |signs| i64::from(signs[row]));
        let mut gained = 0;
        match into {
            Accumulators::Counts(counts) => prepared.each(rows, slots, |row, slot| counts[slot] += sign(row)),
            Accumulators::Int64(sums, counts) => prepared.each(rows, slots, |row, slot| {
                sums[slot] = sums[slot].wrapping_add(prepared.int64(row).wrapping_mul(sign(row)));
                counts[slot] += sign(row);
            }),
            Accumulators::Float64(sums, counts) => prepared.each(rows, slots, |row, slot| {
                sums[slot] += prepared.float64(row) * sign(row) as f64;
                counts[slot] += sign(row);
            }),
            Accumulators::Int128(sums, counts) => prepared.each(rows, slots, |row, slot| {
                sums[slot] = sums[slot].wrapping_add(prepared.int128(row).wrapping_mul(i128::from(sign(row))));
                counts[slot] += sign(row);
            }),
            Accumulators::Extreme(values, seen) => {
                let max = self.is_max();
                prepared.each(rows, slots, |row, slot| {
                    let value = prepared.int64(row);
                    if !seen[slot] || (value > values[slot]) == max {
                        values[slot] = value;
                        seen[slot] = true;
                    }
                });
            }
            Accumulators::ExtremeBytes(values) => prepared.each(rows, slots, |row, slot| {
                gained += replace(&mut values[slot], prepared.bytes(row), self.is_max());
            }),
            Accumulators::Multisets(sets) => prepared.each(rows, slots, |row, slot| {
                gained += add(&mut sets[slot], prepared.bytes(row), sign(row));
            }),
        }
        gained
    }

    /// Adds slot `of` of `other` to slot `slot` of `into`; returns bytes of memory gained.
    pub fn merge(&self, into: &mut Accumulators, slot: usize, other: &Accumulators, of: usize) -> usize {
        match (into, other) {
            (Accumulators::Counts(counts), Accumulators::Counts(other)) => counts[slot] += other[of],
            (Accumulators::Int64(sums, counts), Accumulators::Int64(other, number)) => {
                sums[slot] = sums[slot].wrapping_add(other[of]);
                counts[slot] += number[of];
            }
            (Accumulators::Float64(sums, counts), Accumulators::Float64(other, number)) => {
                sums[slot] += other[of];
                counts[slot] += number[of];
            }
            (Accumulators::Int128(sums, counts), Accumulators::Int128(other, number)) => {
                sums[slot] = sums[slot].wrapping_add(other[of]);
                counts[slot] += number[of];
            }
            (Accumulators::Extreme(values, seen), Accumulators::Extreme(other, has)) => {
                if has[of] && (!seen[slot] || (other[of] > values[slot]) == self.is_max()) {
                    values[slot] = other[of];
                    seen[slot] = true;
                }
            }
            (Accumulators::ExtremeBytes(values), Accumulators::ExtremeBytes(other)) => {
                if let Some(value) = &other[of] {
                    return replace(&mut values[slot], value, self.is_max());
                }
            }
            (Accumulators::Multisets(sets), Accumulators::Multisets(other)) => {
                return other[of].iter().map(|(value, count)| add(&mut sets[slot], value, *count)).sum();
            }
            // Invariant: accumulators of one call are of one variant.
            _ => unreachable!("accumulators of two calls"),
        }
        0
    }
}

fn replace(slot: &mut Option<Box<[u8]>>, value: &[u8], max: bool) -> usize {
    match slot {
        Some(present) if (value > &**present) != max || value == &**present => 0,
        _ => {
            *slot = Some(value.into());
            value.len()
        }
    }
}

/// Bytes of memory that a value in a multiset costs beyond its own.
const MULTISET_ENTRY: usize = 48;

fn add(set: &mut Multiset, value: &[u8], count: i64) -> usize {
    if let Some(present) = set.get_mut(value) {
        *present += count;
        if *present == 0 {
            set.remove(value);
        }
        return 0;
    }
    set.insert(value.into(), count);
    value.len() + MULTISET_ENTRY
}

impl Accumulators {
    /// Grows to `slots` slots.
    pub fn resize(&mut self, slots: usize) {
        match self {
            Self::Counts(counts) => counts.resize(slots, 0),
            Self::Int64(sums, counts) => {
                sums.resize(slots, 0);
                counts.resize(slots, 0);
            }
            Self::Float64(sums, counts) => {
                sums.resize(slots, 0.0);
                counts.resize(slots, 0);
            }
            Self::Int128(sums, counts) => {
                sums.resize(slots, 0);
                counts.resize(slots, 0);
            }
            Self::Extreme(values, seen) => {
                values.resize(slots, 0);
                seen.resize(slots, false);
            }
            Self::ExtremeBytes(values) => values.resize(slots, None),
            Self::Multisets(sets) => sets.resize(slots, Multiset::new()),
        }
    }

    /// Makes a slot as new.
    pub fn reset(&mut self, slot: usize) {
        match self {
            Self::Counts(counts) => counts[slot] = 0,
            Self::Int64(sums, counts) => (sums[slot], counts[slot]) = (0, 0),
            Self::Float64(sums, counts) => (sums[slot], counts[slot]) = (0.0, 0),
            Self::Int128(sums, counts) => (sums[slot], counts[slot]) = (0, 0),
            Self::Extreme(values, seen) => (values[slot], seen[slot]) = (0, false),
            Self::ExtremeBytes(values) => values[slot] = None,
            Self::Multisets(sets) => sets[slot].clear(),
        }
    }

    /// Bytes of memory per slot, what is behind pointers not counted.
    pub fn slot_bytes(&self) -> usize {
        match self {
            Self::Counts(_) => 8,
            Self::Int64(..) | Self::Float64(..) | Self::ExtremeBytes(_) => 16,
            Self::Int128(..) | Self::Multisets(_) => 24,
            Self::Extreme(..) => 9,
        }
    }
}
