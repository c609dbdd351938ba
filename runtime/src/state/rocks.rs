//! Keyed state in RocksDB: a database per task, so that a cut flushes and pins only that task's files. The databases of a
//! backend share one block cache and one write-buffer budget. The write-ahead log is off: checkpoints are the durability.
//!
//! **Names of files.** A cut's SST files never change, and a store never gives one name to two contents: numbers only grow,
//! and a store opened from a cut goes on from the number the cut had reached. Two stores opened from *one* cut therefore
//! use the same new names for different contents. Whoever keeps files of several stores in one place (the checkpoint
//! store) must key them by an id drawn anew for each `create` and `open`: the store incarnation. Files that came with the cut
//! keep name and content, and need no second upload.
//!
//! Together with `rocks/` this is the only place that names the `rocksdb` crate.
use std::path::Path;
use std::sync::Arc;

use millstream_api::id::KeyGroup;
use rocksdb::{ColumnFamily, DB, ReadOptions, WriteBatch, WriteOptions, properties};

use super::parts::Urgency;
use super::tracking::Tracker;
use super::{
    Arrival, Backend, Changes, Cut, CutFile, Error, Files, KeyRange, Operations, Snapshot, Store, group_of,
    group_range, part,
};

mod bulk;
mod cut;
mod deferred;
mod drop;
mod files;
mod intake;
mod options;
mod sizes;
mod snapshot;
mod write;

use crate::exchange::Wake;
use bulk::Imports;
use cut::Cuts;
use deferred::{Deferred, Visit};
use drop::Drops;
use intake::Intake;
pub use options::RocksOptions;
use options::{Memtables, Shared};
use sizes::Unflushed;

/// Ranges of up to this many keys are removed key by key: every range tombstone in a memtable slows all later reads down.
const TOMBSTONE_ABOVE_KEYS: usize = 4096;

/// Makes stores in RocksDB.
pub struct RocksBackend {
    shared: Shared,
}

impl RocksBackend {
    /// One per worker: all its stores share these budgets.
    pub fn new(options: RocksOptions) -> Self {
        Self { shared: Shared::new(options) }
    }

    fn begin(&self, folder: &Path) -> Result<RocksStore, Error> {
        files::make_empty(folder)?;
        Ok(RocksStore::new(self.shared.open(folder)?, self.shared.memtables.clone()))
    }

    fn begin_from(&self, folder: &Path, cut: &Path) -> Result<RocksStore, Error> {
        files::check_cut(cut)?;
        files::make_empty(folder)?;
        files::link(cut, folder)?;
        Ok(RocksStore::new(self.shared.open(folder)?, self.shared.memtables.clone()))
    }
}

impl Backend for RocksBackend {
    fn name(&self) -> &'static str {
        "rocksdb"
    }

    fn create(&self, folder: &Path) -> Result<Box<dyn Store>, Error> {
        Ok(Box::new(self.begin(folder)?))
    }

    fn open(&self, folder: &Path, cut: &Path) -> Result<Box<dyn Store>, Error> {
        Ok(Box::new(self.begin_from(folder, cut)?))
    }

    fn read(&self, cut: &Path) -> Result<Box<dyn Snapshot>, Error> {
        files::check_cut(cut)?;
        Ok(Box::new(snapshot::CutSnapshot::new(self.shared.open_for_reading(cut)?)))
    }
}

struct RocksStore {
    db: Arc<DB>,
    cuts: Arc<Cuts>,
    memtables: Memtables,
    /// Bytes written to the memtable since it was begun for a cut, or to give memory back.
    written_bytes: usize,
    unlogged: WriteOptions,
    tracker: Tracker,
    operations: Operations,
    unflushed: Unflushed,
    /// Shared with every living snapshot: SST files must not be dropped from under them.
    snapshots: Arc<()>,
    imports: Imports,
    intake: Option<Intake>,
    deferred: Deferred,
    drops: Option<Drops>,
}

impl RocksStore {
    fn new(db: DB, memtables: Memtables) -> Self {
        let db = Arc::new(db);
        Self {
            cuts: Cuts::new(Arc::clone(&db), options::files_slowed()),
            db,
            memtables,
            written_bytes: 0,
            unlogged: options::unlogged(),
            tracker: Tracker::default(),
            operations: Operations::default(),
            unflushed: Unflushed::default(),
            snapshots: Arc::new(()),
            imports: Imports::default(),
            intake: None,
            deferred: Deferred::default(),
            drops: None,
        }
    }

    fn family(&self) -> Result<&ColumnFamily, Error> {
        family(&self.db)
    }

    fn bytes_in_memory(&self) -> u64 {
        let memtables = self.db.property_int_value(properties::CUR_SIZE_ALL_MEM_TABLES);
        memtables.ok().flatten().unwrap_or(0) + self.deferred.bytes() as u64
    }

    fn read(&self, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>, Error> {
        let (family, sorted) = (self.family()?, keys.is_sorted());
        let found = self.db.batched_multi_get_cf(family, keys.iter().copied(), sorted);
        let copied = found.into_iter().map(|value| value.map(|value| value.map(|value| value.to_vec())));
        copied.collect::<Result<_, _>>().map_err(backend("read keys"))
    }

    fn note_range(&mut self, from: &[u8], to: &[u8]) -> Result<(), Error> {
        for (from, to) in self.tracker.parts(from, to)? {
            let mut note = |key: &[u8], _: &[u8]| {
                self.tracker.note(key);
                true
            };
            scan(&self.db, ReadOptions::default(), &from, Some(&to), &mut note)?;
        }
        Ok(())
    }
}

impl Store for RocksStore {
    fn multi_get(&mut self, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>, Error> {
        self.operations.reads += keys.len() as u64;
        if self.deferred.is_empty() {
            return self.read(keys);
        }
        let below: Vec<&[u8]> = keys.iter().filter(|key| self.deferred.get(key).is_none()).copied().collect();
        let mut below = self.read(&below)?.into_iter();
        let value = |key: &&[u8]| self.deferred.get(key).cloned().unwrap_or_else(|| below.next().flatten());
        Ok(keys.iter().map(value).collect())
    }

    fn write(&mut self, changes: Changes) -> Result<(), Error> {
        if changes.is_empty() {
            return Ok(());
        }
        self.put_or_defer(changes)
    }

    fn scan(
        &mut self,
        from: &[u8],
        to: Option<&[u8]>,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), Error> {
        let below = |visit: &mut Visit<'_>| scan(&self.db, ReadOptions::default(), from, to, visit);
        self.deferred.over((from, to), below, visit)
    }

    fn delete_range(&mut self, from: &[u8], to: &[u8]) -> Result<(), Error> {
        let mut keys = Vec::new();
        let mut visit = |key: &[u8], _: &[u8]| {
            keys.push(key.to_vec());
            keys.len() <= TOMBSTONE_ABOVE_KEYS
        };
        self.scan(from, Some(to), &mut visit)?;
        if keys.len() <= TOMBSTONE_ABOVE_KEYS {
            return self.put_or_defer(keys.into_iter().map(|key| (key, None)).collect());
        }
        self.catch_up()?;
        self.note_range(from, to)?;
        self.operations.writes += keys.len() as u64;
        let mut batch = WriteBatch::default();
        batch.delete_range(from, to);
        self.apply(batch, "remove a range")
    }

    fn cut(&mut self, folder: &Path) -> Result<Cut, Error> {
        let state_bytes = self.bytes();
        if !self.cuts.is_pending() {
            self.unflushed.cut_is_linked();
        }
        // What waits stays, where it is read: it is written once more, with what comes. A range that goes has it written before.
        let files = self.cuts.begin(folder, write::batch(self.deferred.all()))?;
        self.written_bytes = 0;
        self.unflushed.cut();
        Ok(Cut { state_bytes, files })
    }

    fn snapshot(&mut self) -> Result<Box<dyn Snapshot>, Error> {
        self.catch_up()?;
        Ok(Box::new(snapshot::LiveSnapshot::new(self.db.clone(), self.snapshots.clone())?))
    }

    fn track(&mut self, group: KeyGroup) -> Result<(), Error> {
        self.tracker.start(group);
        Ok(())
    }

    fn take_changed_keys(&mut self, group: KeyGroup) -> Result<Vec<Vec<u8>>, Error> {
        self.tracker.take(group)
    }

    fn take_in(&mut self, from: u64, arrival: Arrival, urgency: Urgency, wake: &Arc<dyn Wake>) -> Result<(), Error> {
        if let Arrival::Entries(group, _) = &arrival {
            self.finish_drop_of(*group)?;
        }
        if let (None, Arrival::Changes(changes)) = (&self.intake, &arrival) {
            return self.write(part::decode(changes)?); // Rows wait for them, and nothing is before them.
        }
        let store = || (Arc::clone(&self.db), Arc::clone(&self.cuts));
        let begin = || Intake::begin(store(), self.imports.clone(), urgency, Arc::clone(wake));
        let intake = match self.intake.take() {
            Some(intake) => intake,
            None => begin()?,
        };
        self.intake.insert(intake).take(from, arrival)
    }

    fn waiting_bytes(&self) -> usize {
        self.intake.as_ref().map_or(0, Intake::waiting_bytes)
    }

    fn settle(&mut self) -> Result<bool, Error> {
        let Some(intake) = &mut self.intake else { return Ok(true) };
        let settled = intake.settle()?;
        if settled {
            self.operations.writes += intake.entries();
            intake.written().into_iter().for_each(|(group, bytes)| self.unflushed.add(group, bytes));
            self.intake = None;
        }
        Ok(settled)
    }

    fn forsake(&mut self) {
        self.intake = None;
    }

    fn drop_groups(&mut self, groups: &[KeyGroup]) -> Result<(), Error> {
        self.drop_now(groups)
    }

    fn let_go(&mut self, groups: &[KeyGroup], kept: &[KeyGroup], wake: &Arc<dyn Wake>) -> Result<(), Error> {
        self.begin_drop(groups, kept, Arc::clone(wake))
    }

    fn has_let_go(&mut self) -> Result<bool, Error> {
        let done = self.drops.as_ref().is_none_or(Drops::are_done);
        if done { self.finish_drop().map(|()| true) } else { Ok(false) }
    }

    fn group_bytes(&mut self, group: KeyGroup) -> Result<u64, Error> {
        if !self.cuts.is_pending() {
            self.unflushed.cut_is_linked();
        }
        Ok(sizes::on_disk(&self.db, group)? + self.unflushed.share(group, self.bytes_in_memory()))
    }

    fn bytes(&self) -> u64 {
        let on_disk = self.db.property_int_value(properties::LIVE_SST_FILES_SIZE);
        on_disk.ok().flatten().unwrap_or(0) + self.unflushed.total(self.bytes_in_memory())
    }

    fn operations(&self) -> Operations {
        self.operations
    }
}

impl Drop for RocksStore {
    /// A cut outlives its store.
    fn drop(&mut self) {
        // What cannot be dropped goes with the store.
        let _ = self.finish_drop();
        drop(self.cuts.settle());
    }
}

fn entry_bytes(key: &[u8], value: Option<&[u8]>) -> usize {
    // Ten bytes cover tag and lengths in a write batch.
    key.len() + value.map_or(0, <[u8]>::len) + 10
}

fn family(db: &DB) -> Result<&ColumnFamily, Error> {
    let missing = || Error::Backend { attempt: "find the column family", reason: "it was not opened".to_owned() };
    db.cf_handle(options::FAMILY).ok_or_else(missing)
}

/// Visits a range in order. A prefix extractor would not help: ranges are bounded, and keys of a group share only 4 bytes.
fn scan(
    db: &DB,
    mut options: ReadOptions,
    from: &[u8],
    to: Option<&[u8]>,
    visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
) -> Result<(), Error> {
    if to.is_some_and(|to| to <= from) {
        return Ok(());
    }
    if let Some(to) = to {
        options.set_iterate_upper_bound(to);
    }
    let mut iterator = db.raw_iterator_opt(options);
    iterator.seek(from);
    while let Some((key, value)) = iterator.item() {
        if !visit(key, value) {
            return Ok(());
        }
        iterator.next();
    }
    iterator.status().map_err(backend("scan a range"))
}

fn backend(attempt: &'static str) -> impl FnOnce(rocksdb::Error) -> Error {
    move |error| Error::Backend { attempt, reason: error.into_string() }
}

#[cfg(test)]
mod tests;
