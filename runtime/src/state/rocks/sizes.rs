//! Estimates of how many bytes a group holds. RocksDB knows how many bytes of its files lie in a key range, but not how many
//! of its memtables, which it flushes when it likes: those are shared out by what each group has written since the last cut.
use millstream_api::id::KeyGroup;
use rocksdb::{DB, Range};

use super::{Error, group_range};

/// A memtable that is empty, or nearly so, takes this much all the same.
const EMPTY_MEMTABLE_BYTES: u64 = 4096;

/// Bytes of a group in files.
pub(super) fn on_disk(db: &DB, group: KeyGroup) -> Result<u64, Error> {
    let (from, to) = group_range(group)?;
    Ok(db.get_approximate_sizes(&[Range::new(&from, &to)]).into_iter().sum())
}

/// Bytes written per group.
#[derive(Debug, Default)]
struct Written {
    by_group: Vec<u64>,
    total: u64,
}

impl Written {
    fn add(&mut self, at: usize, bytes: u64) {
        if at >= self.by_group.len() {
            self.by_group.resize(at + 1, 0);
        }
        self.by_group[at] += bytes;
        self.total += bytes;
    }

    fn of(&self, group: KeyGroup) -> u64 {
        self.by_group.get(usize::from(group)).copied().unwrap_or(0)
    }

    fn forget(&mut self, group: KeyGroup) {
        if let Some(bytes) = self.by_group.get_mut(usize::from(group)) {
            self.total -= std::mem::take(bytes);
        }
    }
}

/// Bytes written per group since the last cut, and those of cuts for as long as they may not be in files yet.
#[derive(Debug, Default)]
pub(super) struct Unflushed {
    later: Written,
    cut: Written,
}

impl Unflushed {
    pub(super) fn add(&mut self, group: KeyGroup, bytes: usize) {
        self.later.add(usize::from(group), bytes as u64);
    }

    /// What has been written so far is on its way into files.
    pub(super) fn cut(&mut self) {
        let later = std::mem::take(&mut self.later);
        later.by_group.into_iter().enumerate().for_each(|(at, bytes)| self.cut.add(at, bytes));
    }

    /// And has got there, that of all cuts.
    pub(super) fn cut_is_linked(&mut self) {
        self.cut = Written::default();
    }

    pub(super) fn forget(&mut self, group: KeyGroup) {
        self.later.forget(group);
        self.cut.forget(group);
    }

    /// Bytes of all groups that are in memtables of this size: no more than were written.
    pub(super) fn total(&self, memtable_bytes: u64) -> u64 {
        memtable_bytes.saturating_sub(EMPTY_MEMTABLE_BYTES).min(self.later.total + self.cut.total)
    }

    /// Bytes of one group in memtables of this size.
    pub(super) fn share(&self, group: KeyGroup, memtable_bytes: u64) -> u64 {
        let part = u128::from(self.later.of(group) + self.cut.of(group));
        let whole = u128::from((self.later.total + self.cut.total).max(1));
        u64::try_from(u128::from(self.total(memtable_bytes)) * part / whole).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memtables_are_shared_out_by_bytes_written() {
        let mut unflushed = Unflushed::default();
        unflushed.add(1, 3000);
        unflushed.add(300, 1000);
        let full = EMPTY_MEMTABLE_BYTES + 9000;
        assert_eq!((unflushed.share(1, full), unflushed.share(300, full), unflushed.share(2, full)), (3000, 1000, 0));
        // Half of it was flushed meanwhile.
        let half = EMPTY_MEMTABLE_BYTES + 2000;
        assert_eq!((unflushed.share(1, half), unflushed.share(300, half)), (1500, 500));
        unflushed.forget(1);
        assert_eq!((unflushed.share(1, full), unflushed.share(300, full)), (0, 1000));
        unflushed.cut();
        unflushed.add(2, 1000);
        assert_eq!((unflushed.share(300, full), unflushed.share(2, full)), (1000, 1000));
        unflushed.cut();
        assert_eq!((unflushed.share(300, full), unflushed.share(2, full)), (1000, 1000));
        unflushed.add(2, 1000);
        unflushed.cut_is_linked();
        assert_eq!((unflushed.share(300, full), unflushed.share(2, full), unflushed.total(full)), (0, 1000, 1000));
    }
}
