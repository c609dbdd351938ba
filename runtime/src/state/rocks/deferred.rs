//! Writes that wait: while imported files become part of the database, which lets nobody write until the disk has its manifest, and
//! while it waits before it begins the file of a cut. Whoever reads sees them.
use std::collections::BTreeMap;
use std::ops::Bound;

use super::{Changes, Error, entry_bytes};

/// What is visited of an entry: key and value. False ends the visit.
pub(super) type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> bool + 'a;

/// The last of each key.
#[derive(Debug, Default)]
pub(super) struct Deferred {
    changes: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    bytes: usize,
}

impl Deferred {
    pub(super) fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Bytes of all that wait.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn add(&mut self, changes: Changes) {
        for (key, value) in changes {
            self.bytes += entry_bytes(&key, value.as_deref());
            let key_bytes = key.len();
            if let Some(before) = self.changes.insert(key, value) {
                self.bytes -= entry_bytes(&[], before.as_deref()) + key_bytes;
            }
        }
    }

    /// All, by key.
    pub(super) fn all(&self) -> impl Iterator<Item = (&Vec<u8>, &Option<Vec<u8>>)> + Clone {
        self.changes.iter()
    }

    /// Some that can be written now: this many entries, or as few as have this many bytes together, or all.
    pub(super) fn take(&mut self, bytes: usize, entries: usize) -> Changes {
        let (mut taken, mut taken_bytes) = (Changes::new(), 0);
        while taken_bytes < bytes
            && taken.len() < entries
            && let Some((key, value)) = self.changes.pop_first()
        {
            taken_bytes += entry_bytes(&key, value.as_deref());
            taken.push((key, value));
        }
        self.bytes -= taken_bytes;
        taken
    }

    /// What became of a key, if it waits: its value, or nothing.
    pub(super) fn get(&self, key: &[u8]) -> Option<&Option<Vec<u8>>> {
        self.changes.get(key)
    }

    /// Visits a range in order: what waits covers what `scan` visits of it.
    pub(super) fn over(
        &self,
        (from, to): (&[u8], Option<&[u8]>),
        scan: impl FnOnce(&mut Visit<'_>) -> Result<(), Error>,
        visit: &mut Visit<'_>,
    ) -> Result<(), Error> {
        if to.is_some_and(|to| to <= from) {
            return Ok(());
        }
        if self.is_empty() {
            return scan(visit);
        }
        let range = (Bound::Included(from), to.map_or(Bound::Unbounded, Bound::Excluded));
        let mut waiting = self.changes.range::<[u8], _>(range).peekable();
        let mut goes_on = true;
        scan(&mut |key, value| {
            while let Some((before, waits)) = waiting.next_if(|(before, _)| before.as_slice() < key) {
                goes_on = waits.as_ref().is_none_or(|value| visit(before, value));
                if !goes_on {
                    return false;
                }
            }
            goes_on = match waiting.next_if(|(same, _)| same.as_slice() == key) {
                Some((_, waits)) => waits.as_ref().is_none_or(|value| visit(key, value)),
                None => visit(key, value),
            };
            goes_on
        })?;
        let mut rest = waiting.filter_map(|(key, waits)| waits.as_ref().map(|value| (key, value)));
        if goes_on {
            rest.all(|(key, value)| visit(key, value));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: u8) -> Vec<u8> {
        vec![name]
    }

    /// Every way in which four keys can be below, wait, and be removed, visited whole and with every end.
    #[test]
    fn what_waits_covers_what_is_below() {
        for case in 0..4u32.pow(4) {
            let of = |name: u8| case / 4u32.pow(name.into()) % 4;
            let below: Vec<(Vec<u8>, Vec<u8>)> =
                (0..4).filter(|name| of(*name) & 1 == 1).map(|name| (key(name), b"below".to_vec())).collect();
            let mut deferred = Deferred::default();
            // Odd keys that wait are removed.
            let waits = |name: &u8| of(*name) & 2 == 2;
            let change = |name: u8| (key(name), name.is_multiple_of(2).then(|| b"waits".to_vec()));
            deferred.add((0..4).filter(waits).map(change).collect());
            let mut expected: BTreeMap<Vec<u8>, Vec<u8>> = below.iter().cloned().collect();
            for (key, value) in (0..4).filter(waits).map(change) {
                match value {
                    Some(value) => expected.insert(key, value),
                    None => expected.remove(&key),
                };
            }
            let expected: Vec<_> = expected.into_iter().collect();
            for stop_after in 1..=5 {
                let mut found = Vec::new();
                let scan = |visit: &mut Visit<'_>| {
                    below.iter().all(|(key, value)| visit(key, value));
                    Ok(())
                };
                let mut visit = |key: &[u8], value: &[u8]| {
                    found.push((key.to_vec(), value.to_vec()));
                    found.len() < stop_after
                };
                deferred.over((&[], None), scan, &mut visit).unwrap();
                assert_eq!(found, expected[..stop_after.min(expected.len())], "case {case}, {stop_after}");
            }
        }
    }

    #[test]
    fn the_last_write_counts_and_taking_empties() {
        let mut deferred = Deferred::default();
        deferred.add(vec![(key(1), Some(vec![1; 50])), (key(2), None), (key(1), Some(vec![2; 70]))]);
        assert_eq!((deferred.get(&key(1)), deferred.get(&key(2))), (Some(&Some(vec![2; 70])), Some(&None)));
        assert_eq!((deferred.get(&key(3)), deferred.bytes()), (None, 11 + 81));
        assert_eq!(deferred.take(1, 9), [(key(1), Some(vec![2; 70]))]);
        assert_eq!((deferred.get(&key(1)), deferred.bytes()), (None, 11));
        deferred.add(vec![(key(3), Some(vec![]))]);
        assert_eq!(deferred.take(usize::MAX, 1), [(key(2), None)]);
        assert_eq!(deferred.take(usize::MAX, 2), [(key(3), Some(vec![]))]);
        assert_eq!((deferred.is_empty(), deferred.bytes()), (true, 0));
    }
}
