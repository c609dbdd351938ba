//! Cuts that nobody waits for. What was written before a cut becomes an immutable memtable at once, and a file by and by. From then until
//! the next memtable becomes a file, the files of the database are the content of the cut: that is when they are linked.
//!
//! **No memtable but the cut's becomes a file before the cut is linked.** Whoever would bring that about, or would add or remove files,
//! settles the cut first: it links the files itself, or waits until they are. The task does so when it has written as much as fills
//! half a memtable; most cuts are linked long before, by the thread that uploads them.
//!
//! **A cut whose file cannot be begun at once is queued**, with what the task had not written yet: while files become part of the
//! database or leave it, the disk has yet to have its manifest; behind a cut that is not linked; and a database with so many recent
//! files that it slows writes down waits before it begins one more. Whoever next works with files begins it, or the task, when it next
//! writes and nobody does. Until then the task keeps its writes to itself (`deferred`).
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use rocksdb::checkpoint::Checkpoint;
use rocksdb::{DB, FlushOptions, WriteBatch, properties};

use super::{Error, backend, files, options};
use crate::clock::pause;
use crate::state::CutFile;

/// An entry takes no more in a memtable beside what it takes in a batch: its node in the list, and its sequence number.
const ENTRY_BYTES: usize = 64;
/// RocksDB tells nobody that a memtable has become a file. It takes some tens of milliseconds.
const ASK_AGAIN: Duration = Duration::from_millis(2);
/// So many memtables that are not files yet, and one more is not begun without a wait.
const MEMTABLES_MAX: u64 = 2;
/// So often it is asked: for a minute. A database that has stopped for an earlier failure writes no file and fails no more.
const ASKS_MAX: u32 = 30_000;

/// Bytes a batch takes in a memtable, at most.
pub(super) fn memtable_bytes_of(batch: &WriteBatch) -> usize {
    batch.size_in_bytes() + ENTRY_BYTES * batch.len()
}

/// The cuts of a database, one after the other.
pub(super) struct Cuts {
    db: Arc<DB>,
    /// Locked by whoever works with files.
    pending: Mutex<Option<Pending>>,
    /// The one behind it, which nobody has been able to begin.
    queued: Mutex<Option<Pending>>,
    is_pending: AtomicBool,
    holds_writes: AtomicBool,
    /// With so many recent files it would wait.
    files_max: u64,
}

/// A cut that is not linked yet.
struct Pending {
    folder: PathBuf,
    /// What has yet to be written before its file is begun, if that has not been.
    unwritten: Option<WriteBatch>,
    /// Failed writes of the database before it.
    failures: u64,
    outcome: SyncSender<Result<Vec<CutFile>, Error>>,
}

/// As long as it lives no cut is pending and none begins.
pub(super) struct Settled<'a> {
    _pending: MutexGuard<'a, Option<Pending>>,
}

impl Cuts {
    /// `files_max`: with so many recent files the database slows writes down.
    pub(super) fn new(db: Arc<DB>, files_max: u64) -> Arc<Self> {
        let (no, none) = (|| AtomicBool::new(false), Mutex::default);
        Arc::new(Self { db, pending: none(), queued: none(), is_pending: no(), holds_writes: no(), files_max })
    }

    /// Makes what has been written so far, and what is still `unwritten`, the content of a cut. The answer gives its files once they are
    /// in `folder`. For the one thread that makes cuts and writes.
    pub(super) fn begin(self: &Arc<Self>, folder: &Path, unwritten: WriteBatch) -> Result<super::Files, Error> {
        self.begin_queued()?;
        if lock(&self.queued).is_some() {
            drop(self.settle());
        }
        let (outcome, files) = sync_channel(1);
        let mut queued = lock(&self.queued);
        *queued = Some(Pending { folder: folder.to_path_buf(), unwritten: Some(unwritten), failures: 0, outcome });
        self.is_pending.store(true, Ordering::Release);
        self.holds_writes.store(true, Ordering::Release);
        drop(queued);
        self.begin_queued()?;
        let cuts = Arc::clone(self);
        Ok(Box::new(move || {
            // Those behind it, too: what is uploaded meanwhile would be uploaded anyway.
            drop(cuts.settle());
            let lost = |_| Error::Backend { attempt: "make a cut", reason: "it was never linked".to_owned() };
            files.recv().map_err(lost)?
        }))
    }

    /// Begins the queued cut if that waits for nothing any more.
    pub(super) fn begin_queued(&self) -> Result<(), Error> {
        let mut pending = match self.pending.try_lock() {
            Ok(pending) => pending,
            Err(TryLockError::Poisoned(pending)) => pending.into_inner(),
            Err(TryLockError::WouldBlock) => return Ok(()),
        };
        let waits =
            || Ok(number(&self.db, properties::NUM_IMMUTABLE_MEM_TABLE)? >= MEMTABLES_MAX || !self.can_begin_file()?);
        if pending.is_some() || waits()? {
            return Ok(());
        }
        let Some(mut cut) = self.take_queued() else { return Ok(()) };
        match self.begin_late(&mut cut) {
            Ok(()) => *pending = Some(cut),
            Err(error) => {
                self.is_pending.store(false, Ordering::Release);
                // Nobody wants it any more if nobody listens.
                let _ = cut.outcome.send(Err(error));
            }
        }
        Ok(())
    }

    /// Whether a file can be begun without a wait for others to be merged.
    pub(super) fn can_begin_file(&self) -> Result<bool, Error> {
        // One that is on its way, and this one.
        Ok(number(&self.db, &properties::num_files_at_level(0))? + 2 < self.files_max)
    }

    /// Whether nothing may be written yet: the content of a cut is still in the memtable that is written to.
    pub(super) fn hold_writes(&self) -> bool {
        self.holds_writes.load(Ordering::Acquire)
    }

    /// Whether a cut waits for its files.
    pub(super) fn is_pending(&self) -> bool {
        self.is_pending.load(Ordering::Acquire)
    }

    /// Has the pending cuts linked, if there are some. Whether that went well is for whoever wants them.
    pub(super) fn settle(&self) -> Settled<'_> {
        let mut pending = lock(&self.pending);
        while let Some(mut cut) = pending.take().or_else(|| self.take_queued()) {
            let linked = self.begin_late(&mut cut).and_then(|()| link(&self.db, &cut));
            // Nobody wants it any more if nobody listens.
            let _ = cut.outcome.send(linked);
        }
        Settled { _pending: pending }
    }

    /// The queued cut, or the end of all.
    fn take_queued(&self) -> Option<Pending> {
        let mut queued = lock(&self.queued);
        let cut = queued.take();
        if cut.is_none() {
            self.is_pending.store(false, Ordering::Release);
        }
        cut
    }

    /// Begins the file of a cut, if that has not been done.
    fn begin_late(&self, cut: &mut Pending) -> Result<(), Error> {
        let Some(unwritten) = cut.unwritten.take() else { return Ok(()) };
        let begun = self.write_and_begin(unwritten).map(|failures| cut.failures = failures);
        let queued = lock(&self.queued);
        self.holds_writes.store(queued.is_some(), Ordering::Release);
        begun
    }

    /// Answers the failed writes of the database before it.
    fn write_and_begin(&self, unwritten: WriteBatch) -> Result<u64, Error> {
        let failures = number(&self.db, properties::BACKGROUND_ERRORS)?;
        if !unwritten.is_empty() {
            self.db.write_opt(unwritten, &options::unlogged()).map_err(backend("write keys"))?;
        }
        begin_file(&self.db)?;
        Ok(failures)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has the memtable written to a file, and does not wait for that. Later writes go to another memtable.
pub(super) fn begin_file(db: &DB) -> Result<(), Error> {
    let mut options = FlushOptions::default();
    options.set_wait(false);
    db.flush_opt(&options).map_err(backend("begin a cut"))
}

fn link(db: &DB, cut: &Pending) -> Result<Vec<CutFile>, Error> {
    let mut asked = 0;
    while number(db, properties::NUM_IMMUTABLE_MEM_TABLE)? > 0 {
        if asked == ASKS_MAX || number(db, properties::BACKGROUND_ERRORS)? > cut.failures {
            let reason = "RocksDB could not write a file; its warnings say why".to_owned();
            return Err(Error::Backend { attempt: "make a cut", reason });
        }
        asked += 1;
        pause(ASK_AGAIN);
    }
    files::make_parent(&cut.folder)?;
    let checkpoint = Checkpoint::new(db).map_err(backend("make a cut"))?;
    // Links the files and copies the manifest. However much is in a log, which there is not, nothing is flushed before.
    checkpoint.create_checkpoint_with_log_size(&cut.folder, u64::MAX).map_err(backend("make a cut"))?;
    files::of_cut(&cut.folder)
}

fn number(db: &DB, property: &properties::PropName) -> Result<u64, Error> {
    Ok(db.property_int_value(property).map_err(backend("ask for a property"))?.unwrap_or(0))
}
