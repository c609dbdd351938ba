//! The row codec: columns of a record batch to one byte string per row and back. It serves keys, buffered rows and
//! smallest/largest values alike. Version 1:
//!
//! - columns in order; each begins with a flag, 0 = null (nothing follows), 1 = value;
//! - integers, dates, times, timestamps, decimals: big endian, sign bit flipped for signed ones; booleans: one byte;
//! - floats: big endian bits, all flipped if negative, else only the sign bit;
//! - text and bytes: the bytes with 0x00 written as 0x00 0xFF, ended by 0x00 0x00.
//!
//! For one list of types the encoding is injective, no encoding is a prefix of another, and byte order is the order of
//! the values, column by column, nulls first. A codec for keys makes every NaN one NaN and -0.0 equal to 0.0.
pub(crate) mod fixed;
mod varlen;

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::{DataType, Float32Type, Float64Type};

use fixed::{decode_fixed, encode_fixed};

/// Version of the encoding; part of the codec version of every state that holds rows or keys.
pub const VERSION: u32 = 1;

/// Encodings of many rows, back to back.
#[derive(Debug, Clone, Default)]
pub struct Encoded {
    data: Vec<u8>,
    /// Where each row ends, with a leading 0.
    offsets: Vec<usize>,
}

impl Encoded {
    /// Bytes of one row.
    pub fn row(&self, row: usize) -> &[u8] {
        &self.data[self.offsets[row]..self.offsets[row + 1]]
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// How a type lies in memory; types of one layout encode alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// One byte, 0 or 1.
    Boolean,
    /// Signed integers and what is stored as such.
    Int8,
    /// 16 bits.
    Int16,
    /// 32 bits: also dates and times.
    Int32,
    /// 64 bits: also times, dates and timestamps.
    Int64,
    /// Decimals.
    Int128,
    /// Unsigned integers.
    UInt8,
    /// 16 bits.
    UInt16,
    /// 32 bits.
    UInt32,
    /// 64 bits.
    UInt64,
    /// Single precision.
    Float32,
    /// Double precision.
    Float64,
    /// Text and bytes.
    Varlen,
    /// The type that has only null.
    Null,
}

impl Layout {
    /// The layout of a type; none if the codec does not know the type.
    pub fn of(data_type: &DataType) -> Option<Self> {
        Some(match data_type {
            DataType::Boolean => Self::Boolean,
            DataType::Int8 => Self::Int8,
            DataType::Int16 => Self::Int16,
            DataType::Int32 | DataType::Date32 | DataType::Time32(_) => Self::Int32,
            DataType::Int64 | DataType::Date64 | DataType::Time64(_) | DataType::Timestamp(_, _) => Self::Int64,
            DataType::Duration(_) => Self::Int64,
            DataType::Decimal128(_, _) => Self::Int128,
            DataType::UInt8 => Self::UInt8,
            DataType::UInt16 => Self::UInt16,
            DataType::UInt32 => Self::UInt32,
            DataType::UInt64 => Self::UInt64,
            DataType::Float32 => Self::Float32,
            DataType::Float64 => Self::Float64,
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Self::Varlen,
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView => Self::Varlen,
            DataType::Null => Self::Null,
            _ => return None,
        })
    }
}

/// Encodes and decodes rows of one list of types.
#[derive(Debug, Clone)]
pub struct RowCodec {
    columns: Vec<(DataType, Layout)>,
    canonical: bool,
}

impl RowCodec {
    /// A codec that gives back exactly what it took. The error says which type it does not know.
    pub fn new<'a>(types: impl IntoIterator<Item = &'a DataType>) -> Result<Self, String> {
        let column = |data_type: &DataType| match Layout::of(data_type) {
            Some(layout) => Ok((data_type.clone(), layout)),
            None => Err(format!("values of type {data_type} cannot be kept in state")),
        };
        Ok(Self { columns: types.into_iter().map(column).collect::<Result<_, _>>()?, canonical: false })
    }

    /// A codec for keys: values that are equal in SQL get equal bytes.
    pub fn for_keys<'a>(types: impl IntoIterator<Item = &'a DataType>) -> Result<Self, String> {
        Ok(Self { canonical: true, ..Self::new(types)? })
    }

    /// Layouts of the columns.
    pub fn layouts(&self) -> impl Iterator<Item = Layout> + '_ {
        self.columns.iter().map(|(_, layout)| *layout)
    }

    /// The bytes of every row. `columns` have the codec's types, `rows` values each.
    pub fn encode(&self, columns: &[ArrayRef], rows: usize) -> Encoded {
        let columns: Vec<ArrayRef> = columns.iter().zip(&self.columns).map(|(c, (_, l))| self.normal(c, *l)).collect();
        let mut offsets = vec![0usize; rows + 1];
        for (column, (_, layout)) in columns.iter().zip(&self.columns) {
            match fixed::width(*layout) {
                Some(width) if column.null_count() == 0 => offsets[1..].iter_mut().for_each(|len| *len += 1 + width),
                Some(width) => {
                    offsets[1..].iter_mut().enumerate().for_each(|(row, len)| {
                        *len += if column.is_null(row) { 1 } else { 1 + width };
                    });
                }
                None => varlen::add_lengths(column, &mut offsets[1..]),
            }
        }
        for row in 0..rows {
            offsets[row + 1] += offsets[row];
        }
        let mut data = vec![0u8; offsets[rows]];
        let mut at = offsets[..rows].to_vec();
        for (column, (_, layout)) in columns.iter().zip(&self.columns) {
            match layout {
                Layout::Varlen => varlen::encode(column, &mut data, &mut at),
                layout => encode_fixed(*layout, column, &mut data, &mut at),
            }
        }
        Encoded { data, offsets }
    }

    /// The columns of these rows. The error says what is wrong with the bytes.
    pub fn decode(&self, rows: &[&[u8]]) -> Result<Vec<ArrayRef>, String> {
        let mut rest = rows.to_vec();
        let mut columns = Vec::with_capacity(self.columns.len());
        for (data_type, layout) in &self.columns {
            columns.push(match layout {
                Layout::Varlen => varlen::decode(data_type, &mut rest)?,
                layout => decode_fixed(*layout, data_type, &mut rest)?,
            });
        }
        match rest.iter().find(|rest| !rest.is_empty()) {
            Some(rest) => Err(format!("{} bytes too many at the end of a row", rest.len())),
            None => Ok(columns),
        }
    }

    fn normal(&self, column: &ArrayRef, layout: Layout) -> ArrayRef {
        use arrow::array::AsArray;
        use std::sync::Arc;
        match layout {
            Layout::Float32 if self.canonical => Arc::new(
                column
                    .as_primitive::<Float32Type>()
                    .unary::<_, Float32Type>(|v| if v.is_nan() { f32::NAN } else { v + 0.0 }),
            ),
            Layout::Float64 if self.canonical => Arc::new(
                column
                    .as_primitive::<Float64Type>()
                    .unary::<_, Float64Type>(|v| if v.is_nan() { f64::NAN } else { v + 0.0 }),
            ),
            _ => column.clone(),
        }
    }
}

/// Takes the flag off the front of a row: whether a value follows.
fn take_flag(rest: &mut &[u8]) -> Result<bool, String> {
    match rest.split_first() {
        Some((flag @ (0 | 1), tail)) => {
            *rest = tail;
            Ok(*flag == 1)
        }
        Some((flag, _)) => Err(format!("{flag} where a null flag should be")),
        None => Err("a row ends too early".into()),
    }
}

#[cfg(test)]
mod tests;
