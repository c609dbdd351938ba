//! Columns of fixed width, through their buffers, so that all types of one layout share one loop.
use arrow::array::{Array, ArrayData, ArrayRef, AsArray, BooleanArray, NullArray, make_array};
use arrow::buffer::{Buffer, NullBuffer, ScalarBuffer};
use arrow::datatypes::{ArrowNativeType, DataType};
use std::sync::Arc;

use super::{Layout, take_flag};

/// A native value that has an order-preserving byte form.
pub(super) trait Ordered: ArrowNativeType {
    const WIDTH: usize;
    fn put(self, out: &mut [u8]);
    fn get(bytes: &[u8]) -> Self;
}

macro_rules! ordered {
    ($native:ty, $bits:ty, $to:expr, $from:expr) => {
        impl Ordered for $native {
            const WIDTH: usize = size_of::<$bits>();
            fn put(self, out: &mut [u8]) {
                let to: fn($native) -> $bits = $to;
                out.copy_from_slice(&to(self).to_be_bytes());
            }
            fn get(bytes: &[u8]) -> Self {
                let mut array = [0; size_of::<$bits>()];
                array.copy_from_slice(bytes);
                let from: fn($bits) -> $native = $from;
                from(<$bits>::from_be_bytes(array))
            }
        }
    };
}

ordered!(i8, u8, |v| (v ^ i8::MIN).cast_unsigned(), |b| b.cast_signed() ^ i8::MIN);
ordered!(i16, u16, |v| (v ^ i16::MIN).cast_unsigned(), |b| b.cast_signed() ^ i16::MIN);
ordered!(i32, u32, |v| (v ^ i32::MIN).cast_unsigned(), |b| b.cast_signed() ^ i32::MIN);
ordered!(i64, u64, |v| (v ^ i64::MIN).cast_unsigned(), |b| b.cast_signed() ^ i64::MIN);
ordered!(i128, u128, |v| (v ^ i128::MIN).cast_unsigned(), |b| b.cast_signed() ^ i128::MIN);
ordered!(u8, u8, |v| v, |b| b);
ordered!(u16, u16, |v| v, |b| b);
ordered!(u32, u32, |v| v, |b| b);
ordered!(u64, u64, |v| v, |b| b);
ordered!(
    f32,
    u32,
    |v| if v.to_bits() >> 31 == 1 { !v.to_bits() } else { v.to_bits() ^ (1 << 31) },
    |b| f32::from_bits(if b >> 31 == 1 { b ^ (1 << 31) } else { !b })
);
ordered!(
    f64,
    u64,
    |v| if v.to_bits() >> 63 == 1 { !v.to_bits() } else { v.to_bits() ^ (1 << 63) },
    |b| f64::from_bits(if b >> 63 == 1 { b ^ (1 << 63) } else { !b })
);

/// Bytes of a value after its flag; none for layouts without a fixed width.
pub(super) fn width(layout: Layout) -> Option<usize> {
    Some(match layout {
        Layout::Boolean | Layout::Int8 | Layout::UInt8 => 1,
        Layout::Int16 | Layout::UInt16 => 2,
        Layout::Int32 | Layout::UInt32 | Layout::Float32 => 4,
        Layout::Int64 | Layout::UInt64 | Layout::Float64 => 8,
        Layout::Int128 => 16,
        Layout::Null => 0,
        Layout::Varlen => return None,
    })
}

/// The values of a fixed-width column, whatever its logical type; `T` is the native type of its layout.
pub(crate) fn values<T: ArrowNativeType>(column: &dyn Array) -> ScalarBuffer<T> {
    let data = column.to_data();
    ScalarBuffer::new(data.buffers()[0].clone(), data.offset(), data.len())
}

/// A column of `data_type` from values of its layout's native type.
pub(crate) fn column<T: ArrowNativeType>(
    data_type: &DataType,
    values: Vec<T>,
    nulls: Option<NullBuffer>,
) -> Result<ArrayRef, String> {
    let builder =
        ArrayData::builder(data_type.clone()).len(values.len()).add_buffer(Buffer::from_vec(values)).nulls(nulls);
    Ok(make_array(builder.build().map_err(|error| error.to_string())?))
}

pub(super) fn encode_fixed(layout: Layout, column: &ArrayRef, data: &mut [u8], at: &mut [usize]) {
    match layout {
        Layout::Boolean => {
            let values = column.as_boolean().values().clone();
            write::<u8>(column.nulls(), |row| u8::from(values.value(row)), data, at);
        }
        Layout::Int8 => put::<i8>(column, data, at),
        Layout::Int16 => put::<i16>(column, data, at),
        Layout::Int32 => put::<i32>(column, data, at),
        Layout::Int64 => put::<i64>(column, data, at),
        Layout::Int128 => put::<i128>(column, data, at),
        Layout::UInt8 => put::<u8>(column, data, at),
        Layout::UInt16 => put::<u16>(column, data, at),
        Layout::UInt32 => put::<u32>(column, data, at),
        Layout::UInt64 => put::<u64>(column, data, at),
        Layout::Float32 => put::<f32>(column, data, at),
        Layout::Float64 => put::<f64>(column, data, at),
        // A flag that says null and nothing else: the buffer is already zero.
        Layout::Null | Layout::Varlen => at.iter_mut().for_each(|at| *at += 1),
    }
}

fn put<T: Ordered>(column: &ArrayRef, data: &mut [u8], at: &mut [usize]) {
    let values = values::<T>(column);
    write::<T>(column.nulls(), |row| values[row], data, at);
}

fn write<T: Ordered>(nulls: Option<&NullBuffer>, value: impl Fn(usize) -> T, data: &mut [u8], at: &mut [usize]) {
    for (row, at) in at.iter_mut().enumerate() {
        if nulls.is_some_and(|nulls| nulls.is_null(row)) {
            *at += 1;
            continue;
        }
        data[*at] = 1;
        value(row).put(&mut data[*at + 1..*at + 1 + T::WIDTH]);
        *at += 1 + T::WIDTH;
    }
}

pub(super) fn decode_fixed(layout: Layout, data_type: &DataType, rest: &mut [&[u8]]) -> Result<ArrayRef, String> {
    match layout {
        Layout::Boolean => {
            let (values, nulls) = read::<u8>(rest)?;
            Ok(Arc::new(BooleanArray::new(values.iter().map(|value| *value != 0).collect(), nulls)))
        }
        Layout::Int8 => get::<i8>(data_type, rest),
        Layout::Int16 => get::<i16>(data_type, rest),
        Layout::Int32 => get::<i32>(data_type, rest),
        Layout::Int64 => get::<i64>(data_type, rest),
        Layout::Int128 => get::<i128>(data_type, rest),
        Layout::UInt8 => get::<u8>(data_type, rest),
        Layout::UInt16 => get::<u16>(data_type, rest),
        Layout::UInt32 => get::<u32>(data_type, rest),
        Layout::UInt64 => get::<u64>(data_type, rest),
        Layout::Float32 => get::<f32>(data_type, rest),
        Layout::Float64 => get::<f64>(data_type, rest),
        Layout::Null | Layout::Varlen => {
            rest.iter_mut().try_for_each(|rest| take_flag(rest).map(|_| ()))?;
            Ok(Arc::new(NullArray::new(rest.len())))
        }
    }
}

fn get<T: Ordered>(data_type: &DataType, rest: &mut [&[u8]]) -> Result<ArrayRef, String> {
    let (values, nulls) = read::<T>(rest)?;
    column(data_type, values, nulls)
}

fn read<T: Ordered>(rest: &mut [&[u8]]) -> Result<(Vec<T>, Option<NullBuffer>), String> {
    let mut values = Vec::with_capacity(rest.len());
    let mut valid = Vec::with_capacity(rest.len());
    for rest in rest.iter_mut() {
        let present = take_flag(rest)?;
        valid.push(present);
        if !present {
            values.push(T::default());
            continue;
        }
        let Some((head, tail)) = rest.split_at_checked(T::WIDTH) else {
            return Err("a row ends within a value".into());
        };
        values.push(T::get(head));
        *rest = tail;
    }
    let nulls = valid.contains(&false).then(|| NullBuffer::from(valid));
    Ok((values, nulls))
}
