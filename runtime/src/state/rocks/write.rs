//! Writes: at once, or as soon as they wait for nothing.
use rocksdb::WriteBatch;

use super::{Changes, Error, RocksStore, backend, cut, entry_bytes, group_of};

impl RocksStore {
    /// Makes changes readable. They are written unless imports are under way.
    pub(super) fn put_or_defer(&mut self, changes: Changes) -> Result<(), Error> {
        for (key, value) in &changes {
            self.unflushed.add(group_of(key)?, entry_bytes(key, value.as_deref()));
            if self.tracker.is_active() {
                self.tracker.note(key);
            }
        }
        self.operations.writes += changes.len() as u64;
        if self.imports.are_under_way() && self.deferred.bytes() < self.memtables.bytes / 4 {
            self.deferred.add(changes);
            return Ok(());
        }
        self.catch_up()?;
        self.put(&changes)
    }

    /// Writes what waited.
    pub(super) fn catch_up(&mut self) -> Result<(), Error> {
        match self.deferred.take() {
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
        self.written_bytes += cut::memtable_bytes_of(&batch);
        if self.cuts.is_pending() && self.written_bytes > self.memtables.bytes / 2 {
            // Its memtable has to become a file before this one is full.
            drop(self.cuts.settle());
        }
        if !self.cuts.is_pending() {
            self.unflushed.cut_is_linked();
            if self.written_bytes > self.memtables.bytes / 4 && self.memtables.are_over_budget() {
                cut::begin_file(&self.db)?;
                self.written_bytes = 0;
            }
        }
        self.db.write_opt(batch, &self.unlogged).map_err(backend(attempt))
    }
}
