//! How long an object waits after it failed. Pure.
use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

/// After the first failure.
const FIRST: Duration = Duration::from_secs(1);
/// After many: long enough to cost nothing, short enough that a cured cause is noticed within a coffee.
const LONGEST: Duration = Duration::from_secs(300);

/// Delay after the n-th failure in a row: 1 s, doubling up to 5 min.
pub fn delay(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    FIRST.saturating_mul(1 << doublings).min(LONGEST)
}

/// Failures in a row by object. Only objects that fail have an entry.
#[derive(Debug)]
pub struct Failures<K>(HashMap<K, u32>);

impl<K: Eq + Hash> Default for Failures<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Eq + Hash> Failures<K> {
    /// It failed once more; how long it waits now.
    pub fn failed(&mut self, key: K) -> Duration {
        let count = self.0.entry(key).or_default();
        *count = count.saturating_add(1);
        delay(*count)
    }

    /// Failures in a row so far.
    pub fn count(&self, key: &K) -> u32 {
        self.0.get(key).copied().unwrap_or_default()
    }

    /// It succeeded, or is gone.
    pub fn forget(&mut self, key: &K) {
        self.0.remove(key);
    }

    /// Forgets those that are gone.
    pub fn retain(&mut self, is_there: impl Fn(&K) -> bool) {
        self.0.retain(|key, _| is_there(key));
    }

    /// Objects that failed the last time.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing fails.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_five_minutes_and_begin_again_after_success() {
        let mut failures = Failures::default();
        let delays: Vec<u64> = (0..11).map(|_| failures.failed("a").as_secs()).collect();
        assert_eq!(delays, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        assert_eq!((failures.count(&"a"), failures.count(&"b")), (11, 0));
        assert_eq!(failures.failed("b").as_secs(), 1, "each object has its own");
        failures.forget(&"a");
        assert_eq!((failures.failed("a").as_secs(), failures.len()), (1, 2));
        assert_eq!(delay(u32::MAX), LONGEST);
    }
}
