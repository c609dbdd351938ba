//! Flink SQL's types and the Arrow types that stand for them.
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};
use datafusion::error::Result;
use datafusion::logical_expr::planner::TypePlanner;
use datafusion::sql::sqlparser::ast::{DataType as SqlType, ExactNumberInfo, TimezoneInfo};

use crate::error::Error;

/// The type of `TIMESTAMP(p)`: all event times have millisecond precision.
pub(crate) const TIMESTAMP: DataType = DataType::Timestamp(TimeUnit::Millisecond, None);

/// The type of `TIMESTAMP_LTZ(p)`.
pub(crate) fn timestamp_ltz() -> DataType {
    DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()))
}

/// The Arrow type of a declared type.
pub(crate) fn arrow_type(sql: &SqlType) -> Result<DataType, Error> {
    Ok(match sql {
        SqlType::Boolean | SqlType::Bool => DataType::Boolean,
        SqlType::TinyInt(_) => DataType::Int8,
        SqlType::SmallInt(_) => DataType::Int16,
        SqlType::Int(_) | SqlType::Integer(_) => DataType::Int32,
        SqlType::BigInt(_) => DataType::Int64,
        SqlType::Float(_) | SqlType::Real => DataType::Float32,
        SqlType::Double(_) | SqlType::DoublePrecision => DataType::Float64,
        SqlType::Decimal(info) | SqlType::Dec(info) | SqlType::Numeric(info) => decimal(sql, info)?,
        SqlType::String(_)
        | SqlType::Text
        | SqlType::Varchar(_)
        | SqlType::Char(_)
        | SqlType::Character(_)
        | SqlType::CharacterVarying(_) => DataType::Utf8,
        SqlType::Bytes(_) | SqlType::Binary(_) | SqlType::Varbinary(_) => DataType::Binary,
        SqlType::Date => DataType::Date32,
        SqlType::Timestamp(precision, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => {
            check_precision(sql, precision.unwrap_or(6))?;
            TIMESTAMP
        }
        SqlType::Custom(name, arguments) if name.to_string().eq_ignore_ascii_case("TIMESTAMP_LTZ") => {
            let precision = arguments.first().map_or(Ok(6), |argument| argument.parse());
            check_precision(sql, precision.unwrap_or(u64::MAX))?;
            timestamp_ltz()
        }
        other => {
            return Err(Error::somewhere(format!("type {other} is not supported")).help(
                "types: BOOLEAN, TINYINT, SMALLINT, INT, BIGINT, FLOAT, DOUBLE, DECIMAL(p, s), STRING, VARCHAR(n), CHAR(n), \
                 BYTES, DATE, TIMESTAMP(3), TIMESTAMP_LTZ(3)",
            ));
        }
    })
}

fn decimal(sql: &SqlType, info: &ExactNumberInfo) -> Result<DataType, Error> {
    let (precision, scale) = match *info {
        ExactNumberInfo::None => (10, 0),
        ExactNumberInfo::Precision(precision) => (precision, 0),
        ExactNumberInfo::PrecisionAndScale(precision, scale) => (precision, scale),
    };
    match (u8::try_from(precision), i8::try_from(scale)) {
        (Ok(p @ 1..=38), Ok(s @ 0..)) if i64::from(p) >= i64::from(s) => Ok(DataType::Decimal128(p, s)),
        _ => Err(Error::somewhere(format!("type {sql} is not possible"))
            .help("DECIMAL(p, s) has a precision from 1 to 38 and a scale from 0 to the precision")),
    }
}

fn check_precision(sql: &SqlType, precision: u64) -> Result<(), Error> {
    if precision <= 9 {
        return Ok(());
    }
    Err(Error::somewhere(format!("type {sql} is not possible")).help("the precision of a timestamp is from 0 to 9"))
}

/// Flink's name of a type, for messages.
pub(crate) fn sql_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Null => "NULL".to_owned(),
        DataType::Boolean => "BOOLEAN".to_owned(),
        DataType::Int8 => "TINYINT".to_owned(),
        DataType::Int16 => "SMALLINT".to_owned(),
        DataType::Int32 => "INT".to_owned(),
        DataType::Int64 => "BIGINT".to_owned(),
        DataType::Float32 => "FLOAT".to_owned(),
        DataType::Float64 => "DOUBLE".to_owned(),
        DataType::Decimal128(precision, scale) => format!("DECIMAL({precision}, {scale})"),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "STRING".to_owned(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "BYTES".to_owned(),
        DataType::Date32 => "DATE".to_owned(),
        DataType::Timestamp(unit, zone) => {
            let name = if zone.is_some() { "TIMESTAMP_LTZ" } else { "TIMESTAMP" };
            let precision = match unit {
                TimeUnit::Second => 0,
                TimeUnit::Millisecond => 3,
                TimeUnit::Microsecond => 6,
                TimeUnit::Nanosecond => 9,
            };
            format!("{name}({precision})")
        }
        other => other.to_string(),
    }
}

/// Whether a value of `from` may be written to a column of `to` without a CAST: as Flink, only where nothing is lost.
pub(crate) fn is_assignable(from: &DataType, to: &DataType) -> bool {
    use DataType::{
        Binary, Decimal128, Float32, Float64, Int8, Int16, Int32, Int64, LargeUtf8, Null, Timestamp, Utf8, Utf8View,
    };
    let digits = |integer: &DataType| match integer {
        Int8 => 3,
        Int16 => 5,
        Int32 => 10,
        _ => 19,
    };
    match (from, to) {
        (from, to) if from == to => true,
        (Null, _) | (Timestamp(..), Timestamp(..)) => true,
        (Int8, Int16 | Int32 | Int64 | Float32 | Float64) => true,
        (Int16, Int32 | Int64 | Float32 | Float64) => true,
        (Int32, Int64 | Float32 | Float64) => true,
        (Int64, Float32 | Float64) | (Float32, Float64) => true,
        (Int8 | Int16 | Int32 | Int64, Decimal128(p, s)) => i64::from(*p) - i64::from(*s) >= digits(from),
        // DataFusion counts a BIGINT as 20 digits and `0.9` as one more before the point than Flink does.
        (Decimal128(p1, s1), Decimal128(p2, s2)) => {
            s2 >= s1 && i64::from(*p2) - i64::from(*s2) + 2 >= i64::from(*p1) - i64::from(*s1)
        }
        (Decimal128(..), Float32 | Float64) => true,
        (LargeUtf8 | Utf8View, Utf8) => true,
        (DataType::LargeBinary | DataType::BinaryView, Binary) => true,
        _ => false,
    }
}

/// Gives CAST the same types as CREATE TABLE.
#[derive(Debug)]
pub(crate) struct FlinkTypes;

impl TypePlanner for FlinkTypes {
    fn plan_type_field(&self, sql_type: &SqlType) -> Result<Option<FieldRef>> {
        Ok(Some(Arc::new(Field::new("", arrow_type(sql_type)?, true))))
    }
}
