//! Writes: at once, or as soon as they wait for nothing.
use rocksdb::WriteBatch;

use super::{Changes, Error, RocksStore, backend, cut, entry_bytes, group_of};

/// What waited is written bit by bit, with what comes: all of it at once would take as long as a row is to take. So many bytes
const CATCH_UP_BYTES: usize = 256 << 10;
/// and entries more than came, so that it ends.
const CATCH_UP_ENTRIES: usize = 1024;

impl RocksStore {
    /// Makes changes readable. They are written unless that would have to wait.
    pub(super) fn put_or_defer(&mut self, changes: Changes) -> Result<(), Error> {
        for (key, value) in &changes {
            self.unflushed.add(group_of(key)?, entry_bytes(key, value.as_deref()));
            if self.tracker.is_active() {
                self.tracker.note(key);
            }
        }
        self.operations.writes += changes.len() as u64;
        if self.cuts.hold_writes() {
            self.cuts.begin_queued()?;
        }
        let waits = self.imports.are_under_way() || self.cuts.hold_writes();
        if self.deferred.is_empty() && !waits {
            return self.put(&changes);
        }
        let (before, entries) = (self.deferred.bytes(), changes.len() + CATCH_UP_ENTRIES);
        self.deferred.add(changes);
        let bytes = self.deferred.bytes().saturating_sub(before) + CATCH_UP_BYTES;
        if self.deferred.bytes() > self.memtables.bytes / 2 {
            return self.catch_up();
        }
        if waits {
            return Ok(());
        }
        let some = self.deferred.take(bytes, entries);
        self.put(&some)
    }

    /// Writes what waited.
    pub(super) fn catch_up(&mut self) -> Result<(), Error> {
        match self.deferred.take(usize::MAX, usize::MAX) {
            changes if changes.is_empty() => Ok(()),
            changes => self.put(&changes),
        }
    }

    fn put(&mut self, changes: &Changes) -> Result<(), Error> {
        self.apply(batch(changes.iter().map(|(key, value)| (key, value))), "write keys")
    }

    pub(super) fn apply(&mut self, batch: WriteBatch, attempt: &'static str) -> Result<(), Error> {
        if self.cuts.hold_writes() {
            drop(self.cuts.settle());
        }
        self.written_bytes += cut::memtable_bytes_of(&batch);
        if self.cuts.is_pending() && self.written_bytes > self.memtables.bytes / 2 {
            // Its memtable has to become a file before this one is full.
            drop(self.cuts.settle());
        }
        if !self.cuts.is_pending() {
            self.unflushed.cut_is_linked();
            let wants_file = self.written_bytes > self.memtables.bytes / 4 && self.memtables.are_over_budget();
            if wants_file && self.cuts.can_begin_file()? {
                cut::begin_file(&self.db)?;
                self.written_bytes = 0;
            }
        }
        self.db.write_opt(batch, &self.unlogged).map_err(backend(attempt))
    }
}

/// Changes for the database.
pub(super) fn batch<'a>(changes: impl Iterator<Item = (&'a Vec<u8>, &'a Option<Vec<u8>>)> + Clone) -> WriteBatch {
    let bytes: usize = changes.clone().map(|(key, value)| entry_bytes(key, value.as_deref())).sum();
    let mut batch = WriteBatch::with_capacity_bytes(bytes + 16);
    for (key, value) in changes {
        match value {
            Some(value) => batch.put(key, value),
            None => batch.delete(key),
        }
    }
    batch
}
