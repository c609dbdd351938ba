//! Cells of a column as text.
use std::fmt::Write;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array,
    Int8Array, Int16Array, Int32Array, Int64Array, StringArray, TimestampMillisecondArray,
};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    TimeUnit, TimestampMillisecondType,
};

/// A column whose type is looked at once, not per cell.
pub enum Cells<'a> {
    Boolean(&'a BooleanArray),
    Int8(&'a Int8Array),
    Int16(&'a Int16Array),
    Int32(&'a Int32Array),
    Int64(&'a Int64Array),
    Float32(&'a Float32Array),
    Float64(&'a Float64Array),
    Text(&'a StringArray),
    Bytes(&'a BinaryArray),
    Date(&'a Date32Array),
    Timestamp(&'a TimestampMillisecondArray),
    Decimal(&'a Decimal128Array),
}

/// Whether cells of this type can be written as text.
pub fn is_writable(data_type: &DataType) -> bool {
    Cells::of(&arrow::array::new_empty_array(data_type)).is_some()
}

impl<'a> Cells<'a> {
    /// The cells of a column; none if its type cannot be written.
    pub fn of(column: &'a ArrayRef) -> Option<Self> {
        Some(match column.data_type() {
            DataType::Boolean => Self::Boolean(column.as_boolean_opt()?),
            DataType::Int8 => Self::Int8(column.as_primitive_opt::<Int8Type>()?),
            DataType::Int16 => Self::Int16(column.as_primitive_opt::<Int16Type>()?),
            DataType::Int32 => Self::Int32(column.as_primitive_opt::<Int32Type>()?),
            DataType::Int64 => Self::Int64(column.as_primitive_opt::<Int64Type>()?),
            DataType::Float32 => Self::Float32(column.as_primitive_opt::<Float32Type>()?),
            DataType::Float64 => Self::Float64(column.as_primitive_opt::<Float64Type>()?),
            DataType::Utf8 => Self::Text(column.as_string_opt()?),
            DataType::Binary => Self::Bytes(column.as_binary_opt()?),
            DataType::Date32 => Self::Date(column.as_primitive_opt::<Date32Type>()?),
            DataType::Timestamp(TimeUnit::Millisecond, None) => {
                Self::Timestamp(column.as_primitive_opt::<TimestampMillisecondType>()?)
            }
            DataType::Decimal128(..) => Self::Decimal(column.as_primitive_opt::<Decimal128Type>()?),
            _ => return None,
        })
    }

    /// The column itself.
    fn array(&self) -> &dyn Array {
        match self {
            Self::Boolean(column) => *column,
            Self::Int8(column) => *column,
            Self::Int16(column) => *column,
            Self::Int32(column) => *column,
            Self::Int64(column) => *column,
            Self::Float32(column) => *column,
            Self::Float64(column) => *column,
            Self::Text(column) => *column,
            Self::Bytes(column) => *column,
            Self::Date(column) => *column,
            Self::Timestamp(column) => *column,
            Self::Decimal(column) => *column,
        }
    }

    /// Whether the cell is null.
    pub fn is_null(&self, row: usize) -> bool {
        self.array().is_null(row)
    }

    /// Whether the cell is a bare word in JSON (a number or truth value).
    pub fn is_bare(&self, row: usize) -> bool {
        match self {
            Self::Text(_) | Self::Bytes(_) | Self::Date(_) | Self::Timestamp(_) => false,
            Self::Float32(column) => column.value(row).is_finite(),
            Self::Float64(column) => column.value(row).is_finite(),
            _ => true,
        }
    }

    /// Appends a cell that is not null.
    pub fn append(&self, row: usize, text: &mut String) {
        // Writing to a String cannot fail.
        let _ = match self {
            Self::Boolean(column) => write!(text, "{}", column.value(row)),
            Self::Int8(column) => write!(text, "{}", column.value(row)),
            Self::Int16(column) => write!(text, "{}", column.value(row)),
            Self::Int32(column) => write!(text, "{}", column.value(row)),
            Self::Int64(column) => write!(text, "{}", column.value(row)),
            // Debug keeps the fraction of whole numbers (1.0) and reads back as the same number.
            Self::Float32(column) => write!(text, "{:?}", column.value(row)),
            Self::Float64(column) => write!(text, "{:?}", column.value(row)),
            Self::Text(column) => write!(text, "{}", column.value(row)),
            Self::Bytes(column) => column.value(row).iter().try_for_each(|byte| write!(text, "{byte:02x}")),
            Self::Date(column) => {
                super::time::write_date(i64::from(column.value(row)), text);
                Ok(())
            }
            Self::Timestamp(column) => {
                super::time::write_timestamp(column.value(row), text);
                Ok(())
            }
            Self::Decimal(column) => write!(text, "{}", column.value_as_string(row)),
        };
    }
}
