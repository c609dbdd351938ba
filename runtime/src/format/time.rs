//! Dates and timestamps as text. Proleptic Gregorian calendar, no time zones (`Z` is accepted on input and means none).
use std::fmt::Write;

const DAY_MS: i64 = 86_400_000;

/// Appends `yyyy-MM-dd`.
pub fn write_date(days: i64, text: &mut String) {
    let (year, month, day) = civil(days);
    // Writing to a String cannot fail.
    let _ = write!(text, "{year:04}-{month:02}-{day:02}");
}

/// Appends `yyyy-MM-dd HH:mm:ss.SSS`.
pub fn write_timestamp(ms: i64, text: &mut String) {
    write_date(ms.div_euclid(DAY_MS), text);
    let of_day = ms.rem_euclid(DAY_MS);
    let (hour, minute, second) = (of_day / 3_600_000, of_day / 60_000 % 60, of_day / 1000 % 60);
    let _ = write!(text, " {hour:02}:{minute:02}:{second:02}.{:03}", of_day % 1000);
}

/// Days since 1970 of `yyyy-MM-dd`.
pub fn parse_date(text: &[u8]) -> Option<i64> {
    let (year, rest) = number(text, 4)?;
    let (month, rest) = number(rest.strip_prefix(b"-")?, 2)?;
    let (day, rest) = number(rest.strip_prefix(b"-")?, 2)?;
    let is_there = (1..=12).contains(&month) && day >= 1 && day <= days_of_month(year, month);
    (is_there && rest.is_empty()).then(|| days_from_civil(year, month, day))
}

/// Ms since 1970 of `yyyy-MM-dd[( |T)HH:mm[:ss[.fraction]][Z]]`. Digits after the third of the fraction are dropped.
pub fn parse_timestamp(text: &[u8]) -> Option<i64> {
    let (date, clock) = text.split_at_checked(10)?;
    let days = parse_date(date)?;
    if clock.is_empty() {
        return Some(days * DAY_MS);
    }
    let clock = clock.strip_suffix(b"Z").or_else(|| clock.strip_suffix(b"z")).unwrap_or(clock);
    let clock = clock.strip_prefix(b" ").or_else(|| clock.strip_prefix(b"T")).or_else(|| clock.strip_prefix(b"t"))?;
    let (hour, rest) = number(clock, 2)?;
    let (minute, rest) = number(rest.strip_prefix(b":")?, 2)?;
    let (second, rest) = if rest.is_empty() { (0, rest) } else { number(rest.strip_prefix(b":")?, 2)? };
    let ms = if rest.is_empty() { 0 } else { fraction_ms(rest.strip_prefix(b".")?)? };
    let is_there = hour < 24 && minute < 60 && second < 60;
    is_there.then_some(days * DAY_MS + hour * 3_600_000 + minute * 60_000 + second * 1000 + ms)
}

fn fraction_ms(digits: &[u8]) -> Option<i64> {
    if digits.is_empty() || digits.len() > 9 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digit = |index: usize| digits.get(index).map_or(0, |byte| i64::from(byte - b'0'));
    Some(digit(0) * 100 + digit(1) * 10 + digit(2))
}

fn number(text: &[u8], digits: usize) -> Option<(i64, &[u8])> {
    let (head, rest) = text.split_at_checked(digits)?;
    let value = |value: i64, byte: &u8| byte.is_ascii_digit().then(|| value * 10 + i64::from(byte - b'0'));
    Some((head.iter().try_fold(0, value)?, rest))
}

fn days_of_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970 of a date. Years begin in March here, so that the leap day is the last of its year.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn accepted_and_refused() {
        let ms = 1_436_918_400_000;
        let cases = [
            ("2015-07-15 00:00:00", Some(ms)),
            ("2015-07-15T00:00:01.5Z", Some(ms + 1500)),
            ("2015-07-15 10:20:30.123456", Some(ms + 37_230_123)),
            ("2015-07-15", Some(ms)),
            ("2015-07-15T23:59", Some(ms + 86_340_000)),
            ("2016-02-29 00:00:00", Some(1_456_704_000_000)),
            ("2015-02-29 00:00:00", None),
            ("2015-13-01 00:00:00", None),
            ("2015-07-15 24:00:00", None),
            ("2015-07-15 10:20:30.", None),
            ("2015-07-15Z", None),
            ("2015-07-15 10", None),
            ("15/07/2015", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_timestamp(text.as_bytes()), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn written_is_read_back_and_agrees_with_chrono(ms in -62_135_596_800_000i64..253_402_300_799_999) {
            let mut text = String::new();
            write_timestamp(ms, &mut text);
            let theirs = DateTime::from_timestamp_millis(ms).unwrap().format("%Y-%m-%d %H:%M:%S%.3f").to_string();
            prop_assert_eq!(&text, &theirs);
            prop_assert_eq!(parse_timestamp(text.as_bytes()), Some(ms));
        }
    }
}
