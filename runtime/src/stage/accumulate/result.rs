//! Results of accumulators as columns.
use arrow::array::{Array, ArrayRef};
use arrow::buffer::NullBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, DecimalType};

use super::argument::from_ordered;
use super::{Accumulators, Call, Kind, Multiset};
use crate::stage::row::fixed;

fn nulls(valid: Vec<bool>) -> Option<NullBuffer> {
    valid.contains(&false).then(|| NullBuffer::from(valid))
}

impl Call {
    /// The results of slots, as a column of the call's output type.
    pub fn result(&self, of: &Accumulators, slots: &[u32]) -> Result<ArrayRef, String> {
        let at = |slot: &u32| *slot as usize;
        let avg = self.kind == Kind::Avg;
        match of {
            Accumulators::Counts(counts) => {
                self.cast(DataType::Int64, slots.iter().map(|s| counts[at(s)]).collect(), None)
            }
            Accumulators::Int64(sums, counts) if avg && self.output.is_floating() => {
                let quotient = |s: &u32| sums[at(s)] as f64 / counts[at(s)] as f64;
                self.cast(DataType::Float64, slots.iter().map(quotient).collect(), present(counts, slots))
            }
            Accumulators::Int64(sums, counts) => {
                let value =
                    |s: &u32| if avg { sums[at(s)].checked_div(counts[at(s)]).unwrap_or(0) } else { sums[at(s)] };
                self.cast(DataType::Int64, slots.iter().map(value).collect(), present(counts, slots))
            }
            Accumulators::Float64(sums, counts) => {
                let value = |s: &u32| if avg { sums[at(s)] / counts[at(s)] as f64 } else { sums[at(s)] };
                self.cast(DataType::Float64, slots.iter().map(value).collect(), present(counts, slots))
            }
            Accumulators::Int128(sums, counts) => self.decimals(sums, counts, slots),
            Accumulators::Extreme(values, seen) => {
                let valid = nulls(slots.iter().map(|s| seen[at(s)]).collect());
                from_ordered(&self.output, slots.iter().map(|s| values[at(s)]).collect(), valid)
            }
            Accumulators::ExtremeBytes(values) => self.decode(slots.iter().map(|s| values[at(s)].as_deref())),
            Accumulators::Multisets(sets) if self.kind == Kind::Distinct => {
                self.cast(DataType::Int64, slots.iter().map(|s| distinct(&sets[at(s)])).collect(), None)
            }
            Accumulators::Multisets(sets) => {
                let pick = |s: &u32| {
                    let mut values = sets[at(s)].iter().filter(|(_, count)| **count > 0).map(|(value, _)| &**value);
                    if self.is_max() { values.next_back() } else { values.next() }
                };
                self.decode(slots.iter().map(pick))
            }
        }
    }

    fn cast<T: arrow::datatypes::ArrowNativeType>(
        &self,
        from: DataType,
        values: Vec<T>,
        nulls: Option<NullBuffer>,
    ) -> Result<ArrayRef, String> {
        let column = fixed::column(&from, values, nulls)?;
        if from == self.output { Ok(column) } else { cast(&column, &self.output).map_err(|error| error.to_string()) }
    }

    fn decode<'a>(&self, values: impl Iterator<Item = Option<&'a [u8]>>) -> Result<ArrayRef, String> {
        let Some(codec) = &self.codec else { return Err("an aggregate without a codec".into()) };
        let rows: Vec<&[u8]> = values.map(|value| value.unwrap_or(&[0])).collect();
        let column = codec.decode(&rows)?.pop().ok_or("an aggregate without a column")?;
        if *column.data_type() == self.output {
            return Ok(column);
        }
        cast(&column, &self.output).map_err(|error| error.to_string())
    }

    /// Sums and means of decimals: a mean is rounded half up at the output's scale; what does not fit is null.
    fn decimals(&self, sums: &[i128], counts: &[i64], slots: &[u32]) -> Result<ArrayRef, String> {
        let DataType::Decimal128(precision, scale) = self.output else {
            return Err(format!("decimals summed to {}", self.output));
        };
        let from = match &self.argument {
            Some((_, DataType::Decimal128(_, from))) if self.kind == Kind::Avg => *from,
            _ => scale,
        };
        let shift = 10i128.checked_pow(u32::from(scale.abs_diff(from)));
        let value = |slot: &u32| -> Option<i128> {
            let (sum, count) = (sums[*slot as usize], i128::from(counts[*slot as usize]));
            let value = match self.kind == Kind::Avg {
                false => sum,
                true if scale >= from => divide(sum.checked_mul(shift?)?, count)?,
                true => divide(sum, count.checked_mul(shift?)?)?,
            };
            (count != 0 && Decimal128Type::is_valid_decimal_precision(value, precision)).then_some(value)
        };
        let values: Vec<Option<i128>> = slots.iter().map(value).collect();
        let valid = nulls(values.iter().map(Option::is_some).collect());
        fixed::column(&self.output, values.into_iter().map(Option::unwrap_or_default).collect(), valid)
    }
}

fn present(counts: &[i64], slots: &[u32]) -> Option<NullBuffer> {
    nulls(slots.iter().map(|slot| counts[*slot as usize] != 0).collect())
}

fn distinct(set: &Multiset) -> i64 {
    set.values().filter(|count| **count > 0).count() as i64
}

fn divide(sum: i128, count: i128) -> Option<i128> {
    let (quotient, rest) = (sum.checked_div(count)?, sum.checked_rem(count)?);
    let away = rest.unsigned_abs() * 2 >= count.unsigned_abs();
    Some(quotient + if away { sum.signum() * count.signum() } else { 0 })
}
