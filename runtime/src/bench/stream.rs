//! The records of a benchmark by number: every round visits each key once, in an order that looks random and is fixed, so that
//! a key does not come twice in as many successive records as there are keys.

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stream {
    keys: u64,
    /// From a place in a round to its key: times this, modulo the number of keys.
    step: u64,
    /// From a key to its place.
    back: u64,
}

impl Stream {
    /// A stream over this many keys, at least one.
    pub fn new(keys: u64) -> Self {
        let keys = keys.max(1);
        // Near the golden ratio of the number of keys neighbours end up far from each other.
        let golden = u64::try_from(u128::from(keys) * 618 / 1000).unwrap_or(1);
        // Of any two numbers of keys and step some step above is coprime: one less than `keys` is.
        let candidates = (golden.max(1)..=keys).chain(std::iter::once(1));
        let found = candidates.filter_map(|step| Some((step, inverse(step, keys)?))).next();
        let (step, back) = found.unwrap_or((1, 1));
        Self { keys, step, back }
    }

    /// Number of keys.
    pub fn keys(&self) -> u64 {
        self.keys
    }

    /// Key of a record, and how many records of that key come before it.
    pub fn record(&self, number: u64) -> (u64, u64) {
        (times(number % self.keys, self.step, self.keys), number / self.keys)
    }

    /// The record of a key with so many of that key before it; none if there is no such key.
    pub fn number(&self, key: u64, before: u64) -> Option<u64> {
        let place = (key < self.keys).then(|| times(key, self.back, self.keys))?;
        before.checked_mul(self.keys)?.checked_add(place)
    }
}

fn times(left: u64, right: u64, modulus: u64) -> u64 {
    u64::try_from(u128::from(left) * u128::from(right) % u128::from(modulus)).unwrap_or(0)
}

/// What undoes a multiplication modulo `modulus`, if anything does: Euclid's algorithm.
fn inverse(number: u64, modulus: u64) -> Option<u64> {
    let wide = i128::from(modulus);
    let (mut rest, mut next) = (wide, i128::from(number) % wide);
    let (mut sum, mut next_sum) = (0_i128, 1_i128);
    while next != 0 {
        let times = rest / next;
        (rest, next) = (next, rest - times * next);
        (sum, next_sum) = (next_sum, sum - times * next_sum);
    }
    (rest == 1).then(|| u64::try_from(sum.rem_euclid(wide)).ok()).flatten()
}

/// Fills with bytes that no compressor makes shorter; the same for the same record.
pub fn fill(number: u64, into: &mut [u8]) {
    for (at, word) in into.chunks_mut(8).enumerate() {
        let bits = mix(number.wrapping_mul(0xD1B5_4A32_D192_ED03).wrapping_add(at as u64));
        word.copy_from_slice(&bits.to_le_bytes()[..word.len()]);
    }
}

/// The finaliser of SplitMix64.
fn mix(seed: u64) -> u64 {
    let mut bits = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_round_has_every_key_once_and_records_are_found_by_key() {
        for keys in [1, 2, 3, 6, 30, 1_000, 4_097] {
            let stream = Stream::new(keys);
            let round: BTreeSet<u64> = (keys..2 * keys).map(|number| stream.record(number).0).collect();
            assert_eq!(round, (0..keys).collect(), "{keys} keys");
            for number in [0, keys - 1, keys, 5 * keys + keys / 2] {
                let (key, before) = stream.record(number);
                assert_eq!(before, number / keys);
                assert_eq!(stream.number(key, before), Some(number));
            }
            assert_eq!(stream.number(keys, 0), None);
        }
        let large = Stream::new(64_000_000);
        assert!(large.step > 30_000_000 && large.record(1).0.abs_diff(large.record(2).0) > 1_000_000);
    }

    #[test]
    fn values_are_random_and_repeatable() {
        let value = |number| {
            let mut bytes = [0; 77];
            fill(number, &mut bytes);
            bytes
        };
        assert_eq!(value(5), value(5));
        let distinct: BTreeSet<u8> = (0..20).flat_map(value).collect();
        assert_eq!(distinct.len(), 256);
    }
}
