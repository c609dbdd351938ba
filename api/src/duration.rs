//! Durations as people write them: `10s`, `5m`, `100ms`, `1h30m`, `2d`.
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A whole number of milliseconds, written with units.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration {
    /// Its length.
    pub ms: u64,
}

/// Units, longest first.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// Why a text is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a duration; write a number with a unit of d, h, m, s or ms, such as 10s, 100ms or 1h30m")]
pub struct Error {
    text: String,
}

impl Duration {
    /// `ms` milliseconds.
    pub const fn from_ms(ms: u64) -> Self {
        Self { ms }
    }

    /// As signed milliseconds, for arithmetic on times.
    pub fn as_ms(self) -> i64 {
        i64::try_from(self.ms).unwrap_or(i64::MAX)
    }

    /// As the standard library has it.
    pub const fn as_std(self) -> std::time::Duration {
        std::time::Duration::from_millis(self.ms)
    }
}

impl FromStr for Duration {
    type Err = Error;

    /// Numbers with units, each unit at most once and longest first. Fractions are allowed (`1.5s`).
    fn from_str(text: &str) -> Result<Self, Error> {
        let error = || Error { text: text.to_owned() };
        let (mut rest, mut ms, mut next_unit) = (text.trim(), 0u64, 0);
        while next_unit == 0 || !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(error)?;
            let (number, tail) = rest.split_at(digits);
            let letters = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(letters);
            let at =
                UNITS.iter().position(|(name, _)| *name == unit).filter(|at| *at >= next_unit).ok_or_else(error)?;
            let part = number.parse::<f64>().map_err(|_| error())? * UNITS[at].1 as f64;
            // Beyond 2^53 ms (285,000 years) the sum would lose milliseconds.
            if !part.is_finite() || part > 9e15 {
                return Err(error());
            }
            ms = ms.checked_add(part.round() as u64).ok_or_else(error)?;
            (rest, next_unit) = (tail, at + 1);
        }
        Ok(Self { ms })
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.ms == 0 {
            return f.write_str("0s");
        }
        let mut rest = self.ms;
        for (unit, size) in UNITS {
            if rest >= size {
                write!(f, "{}{unit}", rest / size)?;
                rest %= size;
            }
        }
        Ok(())
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(feature = "crd")]
impl schemars::JsonSchema for Duration {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "maxLength": crate::job::bound::AMOUNT_MAX,
            "x-kubernetes-validations": crate::crd::rule::duration(),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, ms) in [
            ("10s", 10_000),
            ("5m", 300_000),
            ("100ms", 100),
            ("1h30m", 5_400_000),
            ("2d", 172_800_000),
            ("1.5s", 1500),
            ("0s", 0),
            (" 1m30s ", 90_000),
        ] {
            assert_eq!(text.parse::<Duration>(), Ok(Duration { ms }), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused_with_an_example() {
        for text in
            ["", "10", "s", "10 s", "-1s", "1s1h", "1s1s", "1w", "1..5s", "NaNs", "1e3s", "99999999999999999d", "µs"]
        {
            let error = text.parse::<Duration>().unwrap_err();
            assert!(error.to_string().contains("such as 10s, 100ms or 1h30m"), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(ms in 0u64..10_000_000_000) {
            prop_assert_eq!(Duration { ms }.to_string().parse::<Duration>(), Ok(Duration { ms }));
        }
    }
}
