//! Key groups of a whole batch, column by column. Equal to `millstream_api::keygroup` value by value.
use std::sync::Arc;

use arrow::array::cast::AsArray;
use arrow::array::types::{
    ArrowPrimitiveType, Date32Type, Date64Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type,
    Int32Type, Int64Type, Time32MillisecondType, Time32SecondType, Time64MicrosecondType, Time64NanosecondType,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type,
    UInt16Type, UInt32Type, UInt64Type,
};
use arrow::array::{Array, ArrayAccessor, RecordBatch};
use arrow::datatypes::{DataType, TimeUnit};
use millstream_api::id::KeyGroup;
use millstream_api::keygroup::{NULL_WORD, SEED, bytes_word, combine, decimal_word, float_word, group_of};

const DAY_MS: i64 = 86_400_000;

/// Why a batch cannot be hashed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The plan asks for a column that the batch does not have.
    #[error("there is no key column {column} in a batch of {columns} columns")]
    NoSuchColumn {
        /// Which was asked for.
        column: usize,
        /// How many there are.
        columns: usize,
    },
    /// Keys of this type have no coerced form.
    #[error("column {name} of type {data_type} cannot be a key; cast it to a number, text or a timestamp")]
    UnsupportedType {
        /// Name of the column.
        name: String,
        /// Its type.
        data_type: DataType,
    },
}

/// Whether a column of this type can be (part of) a key.
pub fn is_supported(data_type: &DataType) -> bool {
    use DataType as D;
    data_type.is_integer()
        || matches!(data_type, D::Null | D::Boolean | D::Float32 | D::Float64 | D::Decimal128(_, _))
        || matches!(data_type, D::Date32 | D::Date64 | D::Time32(_) | D::Time64(_) | D::Timestamp(_, _))
        || matches!(data_type, D::Utf8 | D::LargeUtf8 | D::Utf8View)
        || matches!(data_type, D::Binary | D::LargeBinary | D::BinaryView | D::FixedSizeBinary(_))
}

/// The key group of each row by the key in `columns`.
pub fn key_groups(batch: &RecordBatch, columns: &[usize], key_groups: u32) -> Result<Arc<[KeyGroup]>, Error> {
    let hashes = key_hashes(batch, columns)?;
    Ok(hashes.iter().map(|hash| group_of(*hash, key_groups)).collect())
}

/// The key hash of each row by the key in `columns`.
pub fn key_hashes(batch: &RecordBatch, columns: &[usize]) -> Result<Vec<u64>, Error> {
    let mut hashes = vec![SEED; batch.num_rows()];
    for &column in columns {
        let array = batch.columns().get(column).ok_or(Error::NoSuchColumn { column, columns: batch.num_columns() })?;
        if !hash_column(array.as_ref(), &mut hashes) {
            let name = batch.schema_ref().field(column).name().clone();
            return Err(Error::UnsupportedType { name, data_type: array.data_type().clone() });
        }
    }
    Ok(hashes)
}

/// Adds one column; false if its type is not supported.
fn hash_column(array: &dyn Array, hashes: &mut [u64]) -> bool {
    use DataType as D;
    match array.data_type() {
        D::Int8 => primitive::<Int8Type>(array, hashes, |value| value as u64),
        D::Int16 => primitive::<Int16Type>(array, hashes, |value| value as u64),
        D::Int32 => primitive::<Int32Type>(array, hashes, |value| value as u64),
        D::Int64 => primitive::<Int64Type>(array, hashes, |value| value as u64),
        D::UInt8 => primitive::<UInt8Type>(array, hashes, u64::from),
        D::UInt16 => primitive::<UInt16Type>(array, hashes, u64::from),
        D::UInt32 => primitive::<UInt32Type>(array, hashes, u64::from),
        D::UInt64 => primitive::<UInt64Type>(array, hashes, |value| value),
        D::Float32 => primitive::<Float32Type>(array, hashes, |value| float_word(f64::from(value))),
        D::Float64 => primitive::<Float64Type>(array, hashes, float_word),
        D::Date32 => primitive::<Date32Type>(array, hashes, |days| (i64::from(days) * DAY_MS) as u64),
        D::Date64 => primitive::<Date64Type>(array, hashes, |ms| ms as u64),
        D::Time32(TimeUnit::Second) => primitive::<Time32SecondType>(array, hashes, |s| (i64::from(s) * 1000) as u64),
        D::Time32(_) => primitive::<Time32MillisecondType>(array, hashes, |ms| ms as u64),
        D::Time64(TimeUnit::Microsecond) => primitive::<Time64MicrosecondType>(array, hashes, |us| floor_ms(us, 1000)),
        D::Time64(_) => primitive::<Time64NanosecondType>(array, hashes, |ns| floor_ms(ns, 1_000_000)),
        D::Timestamp(unit, _) => timestamp(*unit, array, hashes),
        D::Decimal128(_, scale) => {
            let scale = *scale;
            primitive::<Decimal128Type>(array, hashes, |unscaled| decimal_word(unscaled, scale));
        }
        D::Null => hashes.iter_mut().for_each(|hash| *hash = combine(*hash, NULL_WORD)),
        D::Boolean => each(array.as_boolean(), hashes, u64::from),
        D::Utf8 => each(array.as_string::<i32>(), hashes, |text| bytes_word(text.as_bytes())),
        D::LargeUtf8 => each(array.as_string::<i64>(), hashes, |text| bytes_word(text.as_bytes())),
        D::Utf8View => each(array.as_string_view(), hashes, |text| bytes_word(text.as_bytes())),
        D::Binary => each(array.as_binary::<i32>(), hashes, bytes_word),
        D::LargeBinary => each(array.as_binary::<i64>(), hashes, bytes_word),
        D::BinaryView => each(array.as_binary_view(), hashes, bytes_word),
        D::FixedSizeBinary(_) => each(array.as_fixed_size_binary(), hashes, bytes_word),
        _ => return false,
    }
    true
}

fn timestamp(unit: TimeUnit, array: &dyn Array, hashes: &mut [u64]) {
    match unit {
        TimeUnit::Second => primitive::<TimestampSecondType>(array, hashes, |s| s.wrapping_mul(1000) as u64),
        TimeUnit::Millisecond => primitive::<TimestampMillisecondType>(array, hashes, |ms| ms as u64),
        TimeUnit::Microsecond => primitive::<TimestampMicrosecondType>(array, hashes, |us| floor_ms(us, 1000)),
        TimeUnit::Nanosecond => primitive::<TimestampNanosecondType>(array, hashes, |ns| floor_ms(ns, 1_000_000)),
    }
}

fn floor_ms(time: i64, per_ms: i64) -> u64 {
    time.div_euclid(per_ms) as u64
}

/// The loop over values is branch-free when there are no nulls.
fn primitive<T: ArrowPrimitiveType>(array: &dyn Array, hashes: &mut [u64], word: impl Fn(T::Native) -> u64) {
    let array = array.as_primitive::<T>();
    if array.null_count() > 0 {
        return each(array, hashes, word);
    }
    for (hash, value) in hashes.iter_mut().zip(array.values().iter()) {
        *hash = combine(*hash, word(*value));
    }
}

fn each<A: ArrayAccessor>(array: A, hashes: &mut [u64], word: impl Fn(A::Item) -> u64) {
    if array.null_count() == 0 {
        for (row, hash) in hashes.iter_mut().enumerate() {
            *hash = combine(*hash, word(array.value(row)));
        }
    } else {
        for (row, hash) in hashes.iter_mut().enumerate() {
            *hash = combine(*hash, if array.is_null(row) { NULL_WORD } else { word(array.value(row)) });
        }
    }
}

#[cfg(test)]
mod tests;
