//! Writes: at once, or as soon as they wait for nothing.
use rocksdb::WriteBatch;

use super::{Changes, Error, RocksStore, backend, cut, entry_bytes, group_of};

/// What waited is written bit by bit, with what comes: all of it at once would take as long as a row is to take.
const CATCH_UP_BYTES: usize = 256 << 10;

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
        let waits = self.imports.are_under_way() || self.cuts.hold_writes();
        if self.deferred.is_empty() && !waits {
            return self.put(&changes);
        }
        self.deferred.add(changes);
        if self.deferred.bytes() > self.memtables.bytes / 2 {
            return self.catch_up();
        }
        if waits {
            return Ok(());
        }
        let some = self.deferred.take(CATCH_UP_BYTES);
        self.put(&some)
    }

    /// Writes what waited.
    pub(super) fn catch_up(&mut self) -> Result<(), Error> {
        match self.deferred.take(usize::MAX) {
            changes if changes.is_empty() => Ok(()),
            changes => self.put(&changes),
        }
    }

    fn put(&mut self, changes: &Changes) -> Result<(), Error> {
        let bytes: usize = changes.iter().map(|(key, value)| entry_bytes(key, value.as_deref())).sum();
        let mut batch = WriteBatch::with_capacity_bytes(bytes + 16);
        for (key, value) in changes {
            match value {
                Some(value) => batch.put(key, value),
                None => batch.delete(key),
            }
        }
        self.apply(batch, "write keys")
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
