//! Tables that are written beside the database and then become part of it, as files.
use std::fs::File;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use rocksdb::{DB, IngestExternalFileOptions, Options, SstFileWriter};
use rustix::fs::{Advice, fadvise};

use super::cut::Settled;
use super::{Error, backend};

/// Fewer bytes of a group are written like any other change.
pub(super) const TABLE_FROM_BYTES: usize = 1 << 20;
/// The kernel begins to read no more than a disk reads ahead, whatever it is asked for: no disk is set to less than this.
const FETCH_BYTES: u64 = 128 << 10;

/// The imports of one database.
#[derive(Debug, Clone, Default)]
pub(super) struct Imports {
    /// Number of the next file.
    next: Arc<AtomicU64>,
    under_way: Arc<AtomicUsize>,
}

impl Imports {
    /// Whether files become part of the database at this moment: whoever writes waits.
    pub(super) fn are_under_way(&self) -> bool {
        self.under_way.load(Ordering::Acquire) > 0
    }

    /// Makes complete tables part of the database; their ranges do not overlap. A pending cut would have them too, and what is in memory.
    pub(super) fn ingest(&self, db: &DB, _settled: &Settled<'_>, files: Vec<PathBuf>) -> Result<(), Error> {
        let mut how = IngestExternalFileOptions::default();
        how.set_move_files(true);
        self.under_way.fetch_add(1, Ordering::AcqRel);
        let ingested = db.ingest_external_file_opts(&how, files).map_err(backend("take in an import"));
        self.under_way.fetch_sub(1, Ordering::AcqRel);
        ingested
    }

    /// As if some were.
    #[cfg(test)]
    pub(super) fn always_under_way() -> Self {
        Self { under_way: Arc::new(AtomicUsize::new(1)), ..Self::default() }
    }
}

/// A table that is being written, in the folder of its database.
pub(super) struct Table<'a> {
    writer: SstFileWriter<'a>,
    path: PathBuf,
}

impl<'a> Table<'a> {
    /// An empty one.
    pub(super) fn begin(db: &DB, imports: &Imports, options: &'a Options) -> Result<Self, Error> {
        let path = db.path().join(format!("import-{}.tmp", imports.next.fetch_add(1, Ordering::Relaxed)));
        let writer = SstFileWriter::create(options);
        writer.open(&path).map_err(backend("begin an import"))?;
        Ok(Self { writer, path })
    }

    /// Adds an entry; keys ascend.
    pub(super) fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        self.writer.put(key, value).map_err(backend("write an import"))
    }

    /// The file, complete.
    pub(super) fn finish(mut self) -> Result<PathBuf, Error> {
        self.writer.finish().map_err(backend("end an import"))?;
        fetch(&self.path);
        Ok(self.path)
    }

    /// The file, which is not wanted.
    pub(super) fn forsake(self) -> PathBuf {
        self.path
    }
}

/// Has a file in memory. Its writer has told the kernel, bit by bit, that nobody wants it soon; but rows of its groups do, and each would
/// wait for the disk. What cannot be had now is read when a row asks for it.
fn fetch(path: &Path) {
    let Ok(file) = File::open(path) else { return };
    let bytes = file.metadata().map_or(0, |metadata| metadata.len());
    for at in (0..bytes).step_by(FETCH_BYTES as usize) {
        if fadvise(&file, at, NonZeroU64::new(FETCH_BYTES), Advice::WillNeed).is_err() {
            return;
        }
    }
}
