//! Arguments of aggregate calls, brought into the form that the accumulators take.
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::buffer::{BooleanBuffer, NullBuffer, ScalarBuffer};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use arrow::error::ArrowError;

use super::{Call, Kind};
use crate::stage::row::{Encoded, Layout, fixed};

/// What an accumulator keeps of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Only that there is one.
    Nothing,
    /// Added as a 64-bit integer.
    Int64,
    /// Added as a double.
    Float64,
    /// Added as a decimal.
    Int128,
    /// Compared as a 64-bit integer whose order is that of the values.
    Ordered,
    /// Compared as row-codec bytes.
    Bytes,
    /// Every value kept, as row-codec bytes.
    AllBytes,
}

impl Shape {
    pub(super) fn of_sum(argument: &DataType, output: &DataType) -> Result<Self, String> {
        match output {
            DataType::Float32 | DataType::Float64 => Ok(Self::Float64),
            DataType::Decimal128(_, _) => Ok(Self::Int128),
            output if output.is_integer() && argument.is_integer() => Ok(Self::Int64),
            _ => Err(format!("values of type {argument} cannot be summed to {output}")),
        }
    }

    pub(super) fn of_extreme(argument: &DataType) -> Result<Self, String> {
        match Layout::of(argument) {
            Some(Layout::Int128 | Layout::Varlen | Layout::Null) => Ok(Self::Bytes),
            Some(_) => Ok(Self::Ordered),
            None => Err(format!("values of type {argument} have no smallest or largest")),
        }
    }

    pub(super) fn keep_all(self) -> Self {
        if self == Self::Bytes { Self::AllBytes } else { self }
    }
}

enum Values {
    Nothing,
    Int64(ScalarBuffer<i64>),
    Float64(ScalarBuffer<f64>),
    Int128(ScalarBuffer<i128>),
    Bytes(Encoded),
}

/// Argument and filter of one call over one batch.
pub struct Prepared {
    values: Values,
    /// Rows that count; none = all.
    mask: Option<BooleanBuffer>,
}

impl Prepared {
    /// Calls `visit(row, slot)` for rows that are neither null nor filtered out.
    #[inline]
    pub(super) fn each(&self, rows: &[u32], slots: &[u32], mut visit: impl FnMut(usize, usize)) {
        let pairs = rows.iter().zip(slots).map(|(row, slot)| (*row as usize, *slot as usize));
        match &self.mask {
            None => pairs.for_each(|(row, slot)| visit(row, slot)),
            Some(mask) => pairs.filter(|(row, _)| mask.value(*row)).for_each(|(row, slot)| visit(row, slot)),
        }
    }

    #[inline]
    pub(super) fn int64(&self, row: usize) -> i64 {
        if let Values::Int64(values) = &self.values { values[row] } else { 0 }
    }

    #[inline]
    pub(super) fn float64(&self, row: usize) -> f64 {
        if let Values::Float64(values) = &self.values { values[row] } else { 0.0 }
    }

    #[inline]
    pub(super) fn int128(&self, row: usize) -> i128 {
        if let Values::Int128(values) = &self.values { values[row] } else { 0 }
    }

    #[inline]
    pub(super) fn bytes(&self, row: usize) -> &[u8] {
        if let Values::Bytes(values) = &self.values { values.row(row) } else { &[] }
    }
}

pub(super) fn prepare(call: &Call, batch: &RecordBatch) -> Result<Prepared, ArrowError> {
    let argument = call.argument.as_ref().map(|(column, _)| batch.column(*column));
    let filter = call.filter.map(|column| batch.column(column).as_boolean());
    let filter = filter.map(|filter| match filter.nulls() {
        Some(nulls) => filter.values() & nulls.inner(),
        None => filter.values().clone(),
    });
    let present = argument.filter(|argument| argument.logical_null_count() > 0);
    let present = present.and_then(|argument| argument.logical_nulls()).map(NullBuffer::into_inner);
    let mask = match (filter, present) {
        (Some(filter), Some(present)) => Some(&filter & &present),
        (filter, present) => filter.or(present),
    };
    let values = match argument {
        None => Values::Nothing,
        Some(argument) => values(call, argument)?,
    };
    Ok(Prepared { values, mask })
}

fn values(call: &Call, argument: &ArrayRef) -> Result<Values, ArrowError> {
    let target = if call.kind == Kind::Avg { argument.data_type() } else { &call.output };
    Ok(match call.shape {
        Shape::Nothing => Values::Nothing,
        Shape::Int64 => Values::Int64(fixed::values(&*cast(argument, &DataType::Int64)?)),
        Shape::Float64 => Values::Float64(fixed::values(&*cast(argument, &DataType::Float64)?)),
        Shape::Int128 => Values::Int128(fixed::values(&*cast(argument, target)?)),
        Shape::Ordered => Values::Int64(to_ordered(argument)?),
        Shape::Bytes | Shape::AllBytes => match &call.codec {
            Some(codec) => Values::Bytes(codec.encode(std::slice::from_ref(argument), argument.len())),
            None => Values::Nothing,
        },
    })
}

fn total_order(value: f64) -> i64 {
    let bits = value.to_bits().cast_signed();
    bits ^ ((bits >> 63).cast_unsigned() >> 1).cast_signed()
}

/// Values as 64-bit integers of the same order.
fn to_ordered(column: &ArrayRef) -> Result<ScalarBuffer<i64>, ArrowError> {
    macro_rules! widen {
        ($native:ty) => {
            fixed::values::<$native>(&**column).iter().map(|value| i64::from(*value)).collect()
        };
    }
    Ok(match Layout::of(column.data_type()) {
        Some(Layout::Int64) => fixed::values(&**column),
        Some(Layout::Int32) => widen!(i32),
        Some(Layout::Int16) => widen!(i16),
        Some(Layout::Int8) => widen!(i8),
        Some(Layout::UInt8) => widen!(u8),
        Some(Layout::UInt16) => widen!(u16),
        Some(Layout::UInt32) => widen!(u32),
        Some(Layout::UInt64) => {
            fixed::values::<u64>(&**column).iter().map(|value| value.cast_signed() ^ i64::MIN).collect()
        }
        Some(Layout::Float64) => fixed::values::<f64>(&**column).iter().map(|value| total_order(*value)).collect(),
        Some(Layout::Float32) => {
            fixed::values::<f32>(&**column).iter().map(|value| total_order(f64::from(*value))).collect()
        }
        Some(Layout::Boolean) => column.as_boolean().values().iter().map(i64::from).collect(),
        _ => return Err(ArrowError::NotYetImplemented(format!("order of {}", column.data_type()))),
    })
}

/// The way back from `to_ordered`.
pub(super) fn from_ordered(
    data_type: &DataType,
    values: Vec<i64>,
    nulls: Option<NullBuffer>,
) -> Result<ArrayRef, String> {
    // Invariant of the narrowing casts: the values come from `to_ordered` of the same type.
    macro_rules! narrow {
        ($native:ty) => {
            fixed::column(data_type, values.iter().map(|value| *value as $native).collect::<Vec<$native>>(), nulls)
        };
    }
    let float =
        |value: &i64| f64::from_bits((*value ^ ((*value >> 63).cast_unsigned() >> 1).cast_signed()).cast_unsigned());
    match Layout::of(data_type) {
        Some(Layout::Int64) => fixed::column(data_type, values, nulls),
        Some(Layout::Int32) => narrow!(i32),
        Some(Layout::Int16) => narrow!(i16),
        Some(Layout::Int8) => narrow!(i8),
        Some(Layout::UInt8) => narrow!(u8),
        Some(Layout::UInt16) => narrow!(u16),
        Some(Layout::UInt32) => narrow!(u32),
        Some(Layout::UInt64) => {
            let values: Vec<u64> = values.iter().map(|value| (*value ^ i64::MIN).cast_unsigned()).collect();
            fixed::column(data_type, values, nulls)
        }
        Some(Layout::Float64) => fixed::column(data_type, values.iter().map(float).collect::<Vec<f64>>(), nulls),
        Some(Layout::Float32) => {
            fixed::column(data_type, values.iter().map(|value| float(value) as f32).collect::<Vec<f32>>(), nulls)
        }
        Some(Layout::Boolean) => {
            let values = values.iter().map(|value| *value != 0).collect();
            Ok(std::sync::Arc::new(arrow::array::BooleanArray::new(values, nulls)))
        }
        _ => Err(format!("no order of {data_type}")),
    }
}
