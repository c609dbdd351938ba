//! Rows being read from text: typed column builders, filled cell by cell. A record that turns out bad is marked and
//! taken out when the batch is finished, so that good ones cost nothing extra.
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanBuilder, Decimal128Builder, PrimitiveBuilder, RecordBatch, RecordBatchOptions,
    StringBuilder,
};
use arrow::compute::filter;
use arrow::compute::kernels::cast_utils::parse_decimal;
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, SchemaRef, TimeUnit, TimestampMillisecondType,
};
use arrow::error::ArrowError;

use super::time;
use crate::connector::sql_type;

enum Builder {
    Boolean(BooleanBuilder),
    Int8(PrimitiveBuilder<Int8Type>),
    Int16(PrimitiveBuilder<Int16Type>),
    Int32(PrimitiveBuilder<Int32Type>),
    Int64(PrimitiveBuilder<Int64Type>),
    Float32(PrimitiveBuilder<Float32Type>),
    Float64(PrimitiveBuilder<Float64Type>),
    Text(StringBuilder),
    Date(PrimitiveBuilder<Date32Type>),
    Timestamp(PrimitiveBuilder<TimestampMillisecondType>),
    Decimal(Decimal128Builder, u8, i8),
}

/// Whether columns of this type can be read from text.
pub fn is_readable(data_type: &DataType) -> bool {
    Builder::of(data_type).is_some()
}

/// Rows being built.
pub struct Rows {
    schema: SchemaRef,
    builders: Vec<Builder>,
    /// Finished rows, bad ones included.
    rows: usize,
    bad: Vec<usize>,
}

impl Rows {
    /// No rows yet. None if a column has a type that cannot be read from text.
    pub fn new(schema: SchemaRef) -> Option<Self> {
        let builders = schema.fields().iter().map(|field| Builder::of(field.data_type())).collect::<Option<_>>()?;
        Some(Self { schema, builders, rows: 0, bad: vec![] })
    }

    /// Rows so far, bad ones included.
    pub fn len_with_bad(&self) -> usize {
        self.rows
    }

    /// Whether a column is TEXT, where an empty cell is a value.
    pub fn is_text(&self, column: usize) -> bool {
        matches!(self.builders[column], Builder::Text(_))
    }

    /// Gives a column its cell in the present row (none = null). A second cell of the same row is ignored.
    pub fn set(&mut self, column: usize, cell: Option<&[u8]>) -> Result<(), String> {
        let builder = &mut self.builders[column];
        if builder.len() > self.rows {
            return Ok(());
        }
        let field = self.schema.field(column);
        match cell {
            Some(cell) if builder.append(cell) => Ok(()),
            Some(cell) => {
                let shown: String = String::from_utf8_lossy(cell).chars().take(40).collect();
                Err(format!("column \"{}\": '{shown}' is not a {}", field.name(), sql_type(field.data_type())))
            }
            None if field.is_nullable() => {
                builder.append_null();
                Ok(())
            }
            None => Err(format!("column \"{}\" is NULL, and it is declared NOT NULL", field.name())),
        }
    }

    /// Ends the present row; columns without a cell become null.
    pub fn end_row(&mut self) -> Result<(), String> {
        for column in 0..self.builders.len() {
            self.set(column, None)?;
        }
        self.rows += 1;
        Ok(())
    }

    /// Drops the present row.
    pub fn reject_row(&mut self) {
        let unfilled = self.builders.iter_mut().filter(|builder| builder.len() <= self.rows);
        unfilled.for_each(Builder::append_null);
        self.bad.push(self.rows);
        self.rows += 1;
    }

    /// All good rows since the last call.
    pub fn finish(&mut self) -> Result<RecordBatch, ArrowError> {
        let mut columns: Vec<ArrayRef> = self.builders.iter_mut().map(Builder::finish).collect();
        if !self.bad.is_empty() {
            let mut good = vec![true; self.rows];
            self.bad.iter().for_each(|row| good[*row] = false);
            let good = good.into();
            columns = columns.iter().map(|column| filter(column, &good)).collect::<Result<_, _>>()?;
        }
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows - self.bad.len()));
        (self.rows, self.bad) = (0, vec![]);
        RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)
    }
}

fn parsed<T: ArrowPrimitiveType>(builder: &mut PrimitiveBuilder<T>, cell: &[u8]) -> bool
where
    T::Native: std::str::FromStr,
{
    let value = std::str::from_utf8(cell.trim_ascii()).ok().and_then(|text| text.parse().ok());
    value.map(|value| builder.append_value(value)).is_some()
}

impl Builder {
    fn of(data_type: &DataType) -> Option<Self> {
        Some(match data_type {
            DataType::Boolean => Self::Boolean(BooleanBuilder::new()),
            DataType::Int8 => Self::Int8(PrimitiveBuilder::new()),
            DataType::Int16 => Self::Int16(PrimitiveBuilder::new()),
            DataType::Int32 => Self::Int32(PrimitiveBuilder::new()),
            DataType::Int64 => Self::Int64(PrimitiveBuilder::new()),
            DataType::Float32 => Self::Float32(PrimitiveBuilder::new()),
            DataType::Float64 => Self::Float64(PrimitiveBuilder::new()),
            DataType::Utf8 => Self::Text(StringBuilder::new()),
            DataType::Date32 => Self::Date(PrimitiveBuilder::new()),
            DataType::Timestamp(TimeUnit::Millisecond, None) => Self::Timestamp(PrimitiveBuilder::new()),
            DataType::Decimal128(precision, scale) => {
                let builder = Decimal128Builder::new().with_data_type(data_type.clone());
                Self::Decimal(builder, *precision, *scale)
            }
            _ => return None,
        })
    }

    /// Appends a cell; false if it is not of this type.
    fn append(&mut self, cell: &[u8]) -> bool {
        match self {
            Self::Boolean(builder) => match cell.trim_ascii().to_ascii_lowercase().as_slice() {
                b"true" => builder.append_value(true),
                b"false" => builder.append_value(false),
                _ => return false,
            },
            Self::Int8(builder) => return parsed(builder, cell),
            Self::Int16(builder) => return parsed(builder, cell),
            Self::Int32(builder) => return parsed(builder, cell),
            Self::Int64(builder) => return parsed(builder, cell),
            Self::Float32(builder) => return parsed(builder, cell),
            Self::Float64(builder) => return parsed(builder, cell),
            Self::Text(builder) => match std::str::from_utf8(cell) {
                Ok(text) => builder.append_value(text),
                Err(_) => return false,
            },
            Self::Date(builder) => {
                let days = time::parse_date(cell.trim_ascii()).and_then(|days| i32::try_from(days).ok());
                return days.map(|days| builder.append_value(days)).is_some();
            }
            Self::Timestamp(builder) => {
                return time::parse_timestamp(cell.trim_ascii()).map(|ms| builder.append_value(ms)).is_some();
            }
            Self::Decimal(builder, precision, scale) => {
                let text = std::str::from_utf8(cell.trim_ascii()).ok();
                let value = text.and_then(|text| parse_decimal::<Decimal128Type>(text, *precision, *scale).ok());
                return value.map(|value| builder.append_value(value)).is_some();
            }
        }
        true
    }
}

macro_rules! each_builder {
    ($self:expr, $builder:ident => $do:expr) => {
        match $self {
            Builder::Boolean($builder) => $do,
            Builder::Int8($builder) => $do,
            Builder::Int16($builder) => $do,
            Builder::Int32($builder) => $do,
            Builder::Int64($builder) => $do,
            Builder::Float32($builder) => $do,
            Builder::Float64($builder) => $do,
            Builder::Text($builder) => $do,
            Builder::Date($builder) => $do,
            Builder::Timestamp($builder) => $do,
            Builder::Decimal($builder, ..) => $do,
        }
    };
}

impl Builder {
    fn append_null(&mut self) {
        each_builder!(self, builder => builder.append_null());
    }

    fn len(&self) -> usize {
        use arrow::array::ArrayBuilder;
        each_builder!(self, builder => builder.len())
    }

    fn finish(&mut self) -> ArrayRef {
        each_builder!(self, builder => Arc::new(builder.finish()) as Arc<dyn Array>)
    }
}
