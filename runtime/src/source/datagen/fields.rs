//! How each column of a datagen table is made.
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int64Array, StringArray,
    TimestampMillisecondArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, FieldRef, TimeUnit};
use arrow::error::ArrowError;
use millstream_sql::graph::TableSpec;

use crate::connector::options::Options;
use crate::connector::sql_type;
use crate::source::schedule::Schedule;
use crate::source::{Error, declared_columns};

const DAY_MS: i64 = 86_400_000;

/// Makes one column.
pub struct Generator {
    data_type: DataType,
    values: Values,
    /// Differs from column to column.
    salt: u64,
}

enum Values {
    /// `start + row number`.
    Sequence(i64),
    Boolean,
    /// Both ends included.
    Integer(i64, i64),
    Float(f64, f64),
    /// Unscaled, both ends included.
    Decimal(i128, i128),
    Text(usize),
    /// When the row is due, less a random time of at most this.
    Time {
        schedule: Schedule,
        started_at_ms: i64,
        max_past_ms: u64,
    },
}

/// Rows of the table: the least of what is asked for and what its sequences give. None = endless. Sequences count also
/// if nobody reads their column, so they are taken from the options and not from the schema.
pub fn rows(table: &TableSpec, options: &Options) -> Result<Option<u64>, Error> {
    let mut rows = options.count("number-of-rows");
    let kinds = table.options.iter().filter(|(_, kind)| kind.as_str() == "sequence");
    for (name, _) in kinds {
        let Some(prefix) = name.strip_suffix("kind").filter(|prefix| prefix.starts_with("fields.")) else { continue };
        let (start, end) = (format!("{prefix}start"), format!("{prefix}end"));
        let (Some(first), Some(last)) = (options.integer(&start), options.integer(&end)) else {
            return Err(options.user(&format!("option '{name}' = 'sequence' needs '{start}' and '{end}'")));
        };
        let length = u64::try_from(i128::from(last) - i128::from(first) + 1);
        let length = length.map_err(|_| options.wrong(&end, &format!("at least '{start}' = '{first}'")))?;
        rows = Some(rows.map_or(length, |rows| rows.min(length)));
    }
    Ok(rows)
}

/// Refuses options about columns the table has not, if all its columns are known.
pub fn check_names(table: &TableSpec, options: &Options) -> Result<(), Error> {
    let Some(declared) = declared_columns(&table.schema) else { return Ok(()) };
    for name in table.options.keys() {
        let column = name.strip_prefix("fields.").and_then(|rest| rest.rsplit_once('.')).map(|(column, _)| column);
        let Some(column) = column else { continue };
        if !declared.iter().any(|known| known.eq_ignore_ascii_case(column)) {
            let there = declared.join(", ");
            return Err(options.user(&format!("option '{name}': there is no column \"{column}\" (there are {there})")));
        }
    }
    Ok(())
}

/// A generator per column.
pub fn generators(table: &TableSpec, options: &Options, started_at_ms: i64) -> Result<Vec<Generator>, Error> {
    let seed = options.count("seed").unwrap_or(0);
    let one = |field: &FieldRef| {
        // The salt depends on the name, not on the position: which other columns are read does not matter.
        let salt = field.name().to_lowercase().bytes().fold(seed, |salt, byte| mix(salt ^ u64::from(byte)));
        let values = values(field, options, started_at_ms)?;
        Ok(Generator { data_type: field.data_type().clone(), values, salt })
    };
    table.schema.fields().iter().map(one).collect()
}

fn values(field: &FieldRef, options: &Options, started_at_ms: i64) -> Result<Values, Error> {
    let column = field.name().to_lowercase();
    let option = |what: &str| format!("fields.{column}.{what}");
    let declared = field.data_type();
    if options.text(&option("kind")) == Some("sequence") {
        return sequence(field, options, &column);
    }
    let integer = |what: &str, least: i64, most: i64| match options.text(&option(what)) {
        None => Ok(if what == "min" { least } else { most }),
        Some(text) => text
            .parse()
            .ok()
            .filter(|value| (least..=most).contains(value))
            .ok_or_else(|| options.wrong(&option(what), &format!("a whole number from {least} to {most}"))),
    };
    let number = |what: &str| options.number(&option(what));
    let range = match declared {
        DataType::Boolean => return Ok(Values::Boolean),
        integer_type if integer_range(integer_type).is_some() => {
            let (least, most) = integer_range(integer_type).unwrap_or_default();
            (integer("min", least, most)?, integer("max", least, most)?)
        }
        DataType::Float32 | DataType::Float64 => {
            let most = if *declared == DataType::Float32 { f64::from(f32::MAX) } else { f64::MAX };
            let (least, most) = (number("min").unwrap_or(-most), number("max").unwrap_or(most));
            return ordered(least, most, options, &column).map(|(least, most)| Values::Float(least, most));
        }
        DataType::Decimal128(precision, scale) => {
            let largest = 10_i128.pow(u32::from(*precision)) - 1;
            #[allow(clippy::cast_possible_truncation, reason = "saturates, and is then held to the precision")]
            let unscaled = |value: f64| ((value * 10_f64.powi(i32::from(*scale))) as i128).clamp(-largest, largest);
            let (least, most) = (number("min").map_or(-largest, unscaled), number("max").map_or(largest, unscaled));
            return ordered(least, most, options, &column).map(|(least, most)| Values::Decimal(least, most));
        }
        DataType::Utf8 => {
            let length = options.count(&option("length")).unwrap_or(100);
            let length = usize::try_from(length).ok().filter(|length| *length <= 1 << 14);
            let wrong = || options.wrong(&option("length"), "a whole number from 0 to 16384");
            return Ok(Values::Text(length.ok_or_else(wrong)?));
        }
        DataType::Date32 | DataType::Timestamp(TimeUnit::Millisecond, None) => {
            // Invariant: the option has been checked and has a default.
            let schedule = options.text("rows-per-second").and_then(Schedule::parse);
            let schedule = schedule.ok_or_else(|| options.wrong("rows-per-second", "a rate"))?;
            let max_past_ms = options.duration_ms(&option("max-past")).unwrap_or(0);
            return Ok(Values::Time { schedule, started_at_ms, max_past_ms });
        }
        other => {
            let (name, is) = (field.name(), sql_type(other));
            return Err(options.user(&format!("column \"{name}\" is {is}, which connector 'datagen' cannot make")));
        }
    };
    ordered(range.0, range.1, options, &column).map(|(least, most)| Values::Integer(least, most))
}

fn integer_range(data_type: &DataType) -> Option<(i64, i64)> {
    match data_type {
        DataType::Int8 => Some((i64::from(i8::MIN), i64::from(i8::MAX))),
        DataType::Int16 => Some((i64::from(i16::MIN), i64::from(i16::MAX))),
        DataType::Int32 => Some((i64::from(i32::MIN), i64::from(i32::MAX))),
        DataType::Int64 => Some((i64::MIN, i64::MAX)),
        _ => None,
    }
}

fn sequence(field: &FieldRef, options: &Options, column: &str) -> Result<Values, Error> {
    let declared = field.data_type();
    let is_able = match declared {
        DataType::Utf8 => true,
        other => other.is_integer() || other.is_floating(),
    };
    // `rows` has seen to it that both are there.
    let (start, end) = (format!("fields.{column}.start"), format!("fields.{column}.end"));
    let (first, last) = (options.integer(&start).unwrap_or(0), options.integer(&end).unwrap_or(0));
    if !is_able {
        let (name, is) = (field.name(), sql_type(declared));
        return Err(options.user(&format!("column \"{name}\" is {is}, which has no sequences")));
    }
    let (least, most) = integer_range(declared).unwrap_or((i64::MIN, i64::MAX));
    for (option, value) in [(start, first), (end, last)] {
        if !(least..=most).contains(&value) {
            return Err(options.wrong(&option, &format!("a whole number from {least} to {most}")));
        }
    }
    Ok(Values::Sequence(first))
}

fn ordered<T: PartialOrd>(least: T, most: T, options: &Options, column: &str) -> Result<(T, T), Error> {
    if least <= most {
        return Ok((least, most));
    }
    let (min, max) = (format!("fields.{column}.min"), format!("fields.{column}.max"));
    let given = options.text(&max).unwrap_or("the type's largest").to_owned();
    Err(options.wrong(&min, &format!("at most '{max}' = '{given}'")))
}

impl Generator {
    /// The column of these rows.
    #[allow(clippy::cast_precision_loss, reason = "floats are asked for")]
    pub fn make(&self, numbers: &[u64]) -> Result<ArrayRef, ArrowError> {
        let bits = numbers.iter().map(|number| mix(number.wrapping_mul(0xD1B5_4A32_D192_ED03) ^ self.salt));
        let made: ArrayRef = match &self.values {
            Values::Sequence(start) => {
                Arc::new(Int64Array::from_iter_values(numbers.iter().map(|n| start.wrapping_add_unsigned(*n))))
            }
            Values::Boolean => Arc::new(bits.map(|bits| Some(bits >> 63 > 0)).collect::<BooleanArray>()),
            Values::Integer(least, most) => {
                let span = i128::from(*most) - i128::from(*least) + 1;
                let value = |bits: u64| least.wrapping_add_unsigned(scaled(bits, span.unsigned_abs()));
                Arc::new(Int64Array::from_iter_values(bits.map(value)))
            }
            Values::Float(least, most) => {
                let value = |bits: u64| {
                    let share = (bits >> 11) as f64 / (1_u64 << 53) as f64;
                    least * (1.0 - share) + most * share
                };
                Arc::new(Float64Array::from_iter_values(bits.map(value)))
            }
            Values::Decimal(least, most) => {
                let span = most.abs_diff(*least) + 1;
                let value = |bits: u64| {
                    let wide = (u128::from(bits) << 64) | u128::from(mix(bits));
                    least.wrapping_add_unsigned(wide % span)
                };
                Arc::new(Decimal128Array::from_iter_values(bits.map(value)).with_data_type(self.data_type.clone()))
            }
            Values::Text(length) => {
                Arc::new(StringArray::from_iter_values(bits.map(|bits| hexadecimal(bits, *length))))
            }
            Values::Time { schedule, started_at_ms, max_past_ms } => {
                let times = numbers.iter().zip(bits).map(|(number, bits)| {
                    let due_ms = started_at_ms.saturating_add(schedule.due_at_ms(*number).unwrap_or(0));
                    due_ms.saturating_sub_unsigned(scaled(bits, u128::from(*max_past_ms) + 1))
                });
                if self.data_type == DataType::Date32 {
                    let days = times.map(|ms| i32::try_from(ms.div_euclid(DAY_MS)).unwrap_or_default());
                    return Ok(Arc::new(Date32Array::from_iter_values(days)));
                }
                return Ok(Arc::new(TimestampMillisecondArray::from_iter_values(times)));
            }
        };
        if made.data_type() == &self.data_type { Ok(made) } else { cast(&made, &self.data_type) }
    }
}

/// A number below `span` (at most 2^64).
fn scaled(bits: u64, span: u128) -> u64 {
    // Invariant: the product is below span * 2^64, so its upper half is below span.
    u64::try_from(mul_high(bits, span)).unwrap_or(u64::MAX)
}

fn mul_high(bits: u64, span: u128) -> u128 {
    if span > u128::from(u64::MAX) { u128::from(bits) } else { (u128::from(bits) * span) >> 64 }
}

fn hexadecimal(seed: u64, length: usize) -> String {
    let mut bits = seed;
    let digit = |index: usize| {
        if index.is_multiple_of(16) {
            bits = mix(seed.wrapping_add(index as u64));
        }
        let digit = char::from(b"0123456789abcdef"[usize::from((bits & 15) as u8)]);
        bits >>= 4;
        digit
    };
    (0..length).map(digit).collect()
}

/// The finaliser of SplitMix64.
fn mix(seed: u64) -> u64 {
    let mut bits = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}
