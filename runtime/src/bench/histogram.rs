//! Latencies in buckets: exact below 128 ms, then 64 buckets an octave, so that no value is off by more than 1.6 %.
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Buckets an octave, as a power of two.
const BITS: u32 = 6;
/// Values below this have a bucket of their own.
const EXACT: u64 = 2 << BITS;

/// How often each latency was seen.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Histogram {
    /// Values by bucket.
    counts: BTreeMap<u32, u64>,
    /// The largest value, exactly.
    max_ms: u64,
}

impl Histogram {
    /// Adds a value.
    pub fn add(&mut self, latency_ms: u64) {
        *self.counts.entry(bucket(latency_ms)).or_default() += 1;
        self.max_ms = self.max_ms.max(latency_ms);
    }

    /// Adds all values of another one.
    pub fn merge(&mut self, other: &Self) {
        for (bucket, count) in &other.counts {
            *self.counts.entry(*bucket).or_default() += count;
        }
        self.max_ms = self.max_ms.max(other.max_ms);
    }

    /// Number of values.
    pub fn count(&self) -> u64 {
        self.counts.values().sum()
    }

    /// The largest value.
    pub fn max_ms(&self) -> u64 {
        self.max_ms
    }

    /// The least value that at least `per_mille` thousandths of all values do not exceed; 0 without values.
    pub fn quantile_ms(&self, per_mille: u64) -> u64 {
        let rank = (u128::from(self.count()) * u128::from(per_mille)).div_ceil(1000).max(1);
        let mut seen: u128 = 0;
        for (bucket, count) in &self.counts {
            seen += u128::from(*count);
            if seen >= rank {
                return highest(*bucket).min(self.max_ms);
            }
        }
        self.max_ms
    }
}

fn bucket(value: u64) -> u32 {
    if value < EXACT {
        return u32::try_from(value).unwrap_or(0);
    }
    let shift = value.ilog2() - BITS;
    // Invariant: 2^BITS <= value >> shift < 2^(BITS + 1).
    ((shift + 1) << BITS) + u32::try_from(value >> shift).unwrap_or(0) - (1 << BITS)
}

/// The largest value of a bucket.
fn highest(bucket: u32) -> u64 {
    if u64::from(bucket) < EXACT {
        return u64::from(bucket);
    }
    let shift = (bucket >> BITS) - 1;
    let lowest = u64::from((bucket & ((1 << BITS) - 1)) + (1 << BITS)) << shift;
    lowest + ((1 << shift) - 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn quantiles_of_known_values() {
        let mut histogram = Histogram::default();
        assert_eq!((histogram.quantile_ms(500), histogram.max_ms(), histogram.count()), (0, 0, 0));
        (1..=100).for_each(|value| histogram.add(value));
        let quantiles = [1, 10, 500, 501, 990, 999, 1000].map(|share| histogram.quantile_ms(share));
        assert_eq!(quantiles, [1, 1, 50, 51, 99, 100, 100]);
        histogram.add(10_000);
        assert_eq!((histogram.quantile_ms(999), histogram.max_ms()), (10_000, 10_000));
    }

    #[test]
    fn merged_is_as_if_added() {
        let (mut one, mut two, mut both) = (Histogram::default(), Histogram::default(), Histogram::default());
        for value in 0..5_000 {
            if value % 3 == 0 {
                one.add(value)
            } else {
                two.add(value * 7)
            }
            both.add(if value % 3 == 0 { value } else { value * 7 });
        }
        one.merge(&two);
        assert_eq!(one, both);
        let text = serde_json::to_string(&both).unwrap();
        assert_eq!(serde_json::from_str::<Histogram>(&text).unwrap(), both);
    }

    proptest! {
        #[test]
        fn a_bucket_is_narrow_and_holds_its_values(value in 0u64..(1 << 40)) {
            let high = highest(bucket(value));
            prop_assert!(high >= value && (high - value) as f64 <= value as f64 / 64.0, "{value} {high}");
            prop_assert!(bucket(high) == bucket(value) && bucket(high + 1) == bucket(value) + 1);
        }
    }
}
