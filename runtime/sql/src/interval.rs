//! `INTERVAL '10' SECOND` as milliseconds.
use datafusion::sql::sqlparser::ast::{DateTimeField, Expr, Interval, Spanned, Value};

use crate::error::Error;

/// The length of an interval literal in an argument of a window function. May be negative or zero.
pub(crate) fn milliseconds(expr: &Expr) -> Result<i64, Error> {
    let position = expr.span().start.into();
    let Expr::Interval(interval) = expr else {
        let message = format!("expected an interval, found {}", crate::tokens::shorten(&expr.to_string()));
        return Err(Error::at(position, message).help("write for example INTERVAL '10' SECOND"));
    };
    parse(interval).map_err(|error| error.or_at(position))
}

fn parse(interval: &Interval) -> Result<i64, Error> {
    if interval.last_field.is_some() {
        return Err(Error::somewhere("intervals with a range of units are not supported")
            .help("write for example INTERVAL '90' SECOND"));
    }
    let (sign, value) = match interval.value.as_ref() {
        Expr::UnaryOp { op: datafusion::sql::sqlparser::ast::UnaryOperator::Minus, expr } => (-1, expr.as_ref()),
        other => (1, other),
    };
    let text = match value {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) | Value::Number(text, _) => text.trim().to_owned(),
            other => other.to_string(),
        },
        other => other.to_string(),
    };
    let invalid = || {
        Error::somewhere(format!("cannot read the interval '{text}'")).help("write for example INTERVAL '10' SECOND")
    };
    let (count, unit) = match &interval.leading_field {
        Some(field) => (text.as_str(), unit_ms(field)),
        None => {
            let (count, unit) = text.split_once(' ').ok_or_else(invalid)?;
            (count, unit_name_ms(unit.trim()))
        }
    };
    let unit = unit.ok_or_else(|| {
        Error::somewhere("this unit of time is not supported in a window").help("units: DAY, HOUR, MINUTE, SECOND")
    })?;
    scaled(count, unit).map(|ms| sign * ms).ok_or_else(invalid)
}

/// `count` units, which may have a fraction, exactly.
fn scaled(count: &str, unit_ms: i64) -> Option<i64> {
    let (whole, fraction) = count.split_once('.').unwrap_or((count, ""));
    let negative = whole.starts_with('-');
    let mut total = i128::from(whole.parse::<i64>().ok()?) * i128::from(unit_ms);
    if !fraction.is_empty() {
        if fraction.len() > 9 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let part = fraction.parse::<i128>().ok()? * i128::from(unit_ms);
        let divisor = 10_i128.pow(u32::try_from(fraction.len()).ok()?);
        if part % divisor != 0 {
            return None;
        }
        total += if negative { -(part / divisor) } else { part / divisor };
    }
    // A century is more than any window, and keeps all arithmetic far from overflow.
    i64::try_from(total).ok().filter(|ms| ms.abs() <= 100 * 366 * 86_400_000)
}

fn unit_ms(field: &DateTimeField) -> Option<i64> {
    unit_name_ms(&field.to_string())
}

fn unit_name_ms(name: &str) -> Option<i64> {
    Some(match name.to_uppercase().trim_end_matches('S') {
        "MILLISECOND" => 1,
        "SECOND" => 1000,
        "MINUTE" => 60_000,
        "HOUR" => 3_600_000,
        "DAY" => 86_400_000,
        "WEEK" => 7 * 86_400_000,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_are_exact_or_refused() {
        assert_eq!(scaled("10", 1000), Some(10_000));
        assert_eq!(scaled("-1.5", 1000), Some(-1500));
        assert_eq!(scaled("0.0001", 1000), None);
        assert_eq!(scaled("1e3", 1000), None);
        assert_eq!(scaled("99999999999999999999", 1000), None);
    }
}
