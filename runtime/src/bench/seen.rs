//! Whether every record arrives once and in the order of its key. The sink sees, for every record of a key, how many records of the
//! key have been counted and the highest of their numbers; without fault the first is the second and one.
use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::stream::Stream;

/// Words of the bit map at most, 64 records each. A record that is missing for longer than the rest of the map never arrives.
const WORDS: usize = 1 << 22;

/// What was wrong so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Faults {
    /// Results whose state was not what it had been.
    pub damaged: u64,
    /// Records that arrived or were counted twice.
    pub duplicated: u64,
    /// Records that arrived or were counted after a later one of their key.
    pub reordered: u64,
}

/// The records that have arrived: a bit each, behind a mark below which all have.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Words before the map: all their records have arrived, or never will.
    settled: u64,
    map: VecDeque<u64>,
    /// Different records that have arrived.
    arrived: u64,
    faults: Faults,
    /// Records of a key that are missing among those counted (above 0), or counted without being there (below).
    missing: BTreeMap<u64, i64>,
}

impl Seen {
    /// A result has arrived: of `key`, so many records are counted, and the last has `before` records of its key before it. Answers the
    /// number of the record it stands for; none if there can be no such result.
    pub fn see(&mut self, stream: &Stream, key: u64, (counted, before): (u64, u64)) -> Option<u64> {
        let number = stream.number(key, counted.checked_sub(1)?)?;
        self.compare(key, (before + 1).cast_signed() - counted.cast_signed());
        if self.has(number) {
            self.faults.duplicated += 1;
            return Some(number);
        }
        self.mark(number);
        self.arrived += 1;
        if self.has(number.saturating_add(stream.keys())) {
            self.faults.reordered += 1;
        }
        Some(number)
    }

    /// The state of the key is not what it was.
    pub fn damaged(&mut self) {
        self.faults.damaged += 1;
    }

    /// Different records that have arrived.
    pub fn arrived(&self) -> u64 {
        self.arrived
    }

    /// What is known to be wrong.
    pub fn faults(&self) -> Faults {
        self.faults
    }

    /// What is missing is counted: it may still come (then too late), or never.
    fn compare(&mut self, key: u64, missing: i64) {
        if missing == 0 && self.missing.is_empty() {
            return;
        }
        let old = self.missing.remove(&key).unwrap_or(0);
        if missing != 0 {
            self.missing.insert(key, missing);
        }
        self.faults.reordered += (old.max(0) - missing.max(0)).max(0).unsigned_abs();
        self.faults.duplicated += (old.min(0) - missing.min(0)).max(0).unsigned_abs();
    }

    fn has(&self, number: u64) -> bool {
        match (number / 64).checked_sub(self.settled).and_then(|word| usize::try_from(word).ok()) {
            None => true,
            Some(word) => self.map.get(word).is_some_and(|bits| bits >> (number % 64) & 1 == 1),
        }
    }

    fn mark(&mut self, number: u64) {
        // Records that fall out of the map are not among those that have arrived; should they come after all, they pass for
        // duplicates.
        let excess = (number / 64 - self.settled).saturating_sub(WORDS as u64 - 1);
        self.map.drain(..usize::try_from(excess).unwrap_or(usize::MAX).min(self.map.len()));
        self.settled += excess;
        // Invariant: below WORDS now.
        let word = usize::try_from(number / 64 - self.settled).unwrap_or(0);
        if word >= self.map.len() {
            self.map.resize(word + 1, 0);
        }
        self.map[word] |= 1 << (number % 64);
        while self.map.front() == Some(&u64::MAX) {
            self.map.pop_front();
            self.settled += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: u64 = 100;

    /// What a keyed count makes of records in the order in which it gets them.
    fn count(numbers: impl IntoIterator<Item = u64>) -> Vec<(u64, u64, u64)> {
        let stream = Stream::new(KEYS);
        let mut keys: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
        let mut one = |number| {
            let (key, before) = stream.record(number);
            let (counted, last) = keys.entry(key).or_default();
            *counted += 1;
            *last = before.max(*last);
            (key, *counted, *last)
        };
        numbers.into_iter().map(&mut one).collect()
    }

    fn see(results: &[(u64, u64, u64)]) -> (u64, Faults) {
        let stream = Stream::new(KEYS);
        let mut seen = Seen::default();
        for (key, counted, last) in results {
            assert!(seen.see(&stream, *key, (*counted, *last)).is_some());
        }
        (seen.arrived(), seen.faults())
    }

    fn faults(damaged: u64, duplicated: u64, reordered: u64) -> Faults {
        Faults { damaged, duplicated, reordered }
    }

    #[test]
    fn without_fault_all_arrive() {
        assert_eq!(see(&count(0..10_000)), (10_000, faults(0, 0, 0)));
        // Records of different keys may overtake each other.
        let swapped = (0..5_000).flat_map(|pair| [2 * pair + 1, 2 * pair]);
        assert_eq!(see(&count(swapped)), (10_000, faults(0, 0, 0)));
    }

    #[test]
    fn a_record_lost_before_the_count_is_missed() {
        let (arrived, found) = see(&count((0..10_000).filter(|number| *number != 4_321)));
        assert_eq!((arrived, found), (9_999, faults(0, 0, 0)), "one less than were sent");
    }

    #[test]
    fn a_result_lost_is_missed() {
        let mut results = count(0..10_000);
        results.remove(4_321);
        assert_eq!(see(&results), (9_999, faults(0, 0, 0)));
    }

    #[test]
    fn a_record_counted_twice_is_found() {
        let twice = (0..10_000).flat_map(|number| vec![number; if number == 4_321 { 2 } else { 1 }]);
        let (_, found) = see(&count(twice));
        assert!(found.duplicated > 0, "{found:?}");
    }

    #[test]
    fn a_result_that_comes_twice_is_found() {
        let mut results = count(0..10_000);
        results.insert(5_000, results[4_321]);
        assert_eq!(see(&results), (10_000, faults(0, 1, 0)));
    }

    #[test]
    fn records_of_a_key_that_overtake_each_other_are_found() {
        let mut numbers: Vec<u64> = (0..10_000).collect();
        numbers.swap(4_321, 4_421);
        assert_eq!(see(&count(numbers.iter().copied())), (10_000, faults(0, 0, 1)), "before the count");
        let mut results = count(0..10_000);
        results.swap(4_321, 4_421);
        assert_eq!(see(&results), (10_000, faults(0, 0, 1)), "after the count");
    }

    #[test]
    fn a_key_whose_state_is_gone_is_found() {
        let mut results = count(0..5_000);
        results.extend(count((0..5_000).filter(|number| number % KEYS == 7)));
        assert!(see(&results).1.duplicated > 0);
        let stream = Stream::new(KEYS);
        assert_eq!(Seen::default().see(&stream, KEYS, (1, 0)), None);
        assert_eq!(Seen::default().see(&stream, 0, (0, 0)), None);
    }

    #[test]
    fn the_map_is_bounded() {
        let stream = Stream::new(KEYS);
        let mut seen = Seen::default();
        let far = (WORDS as u64 + 1) * 64;
        let (key, before) = stream.record(far);
        assert_eq!(seen.see(&stream, key, (before + 1, before)), Some(far));
        assert_eq!((seen.arrived(), seen.map.len(), seen.settled), (1, WORDS, 2));
    }

    #[test]
    fn it_goes_on_where_it_was_written_down() {
        let results = count(0..1_000);
        let stream = Stream::new(KEYS);
        let mut seen = Seen::default();
        for (key, counted, last) in &results[..500] {
            seen.see(&stream, *key, (*counted, *last));
        }
        let mut seen: Seen = serde_json::from_str(&serde_json::to_string(&seen).unwrap()).unwrap();
        for (key, counted, last) in &results[500..] {
            seen.see(&stream, *key, (*counted, *last));
        }
        assert_eq!((seen.arrived(), seen.faults()), (1_000, Faults::default()));
    }
}
