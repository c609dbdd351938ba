//! Files of a cut to the checkpoint store: only those that are not there yet.
use std::collections::BTreeMap;
use std::io::{self, BufReader, Read};

use super::manifest::{FileEntry, TaskManifest};
use super::paths::{self, ManifestId};
use super::store::CheckpointStore;
use super::{Error, disk_error};
use crate::state::CutFile;
use crate::state::disk::Disk;

/// A file is read in pieces of this size.
const PIECE_BYTES: usize = 64 << 10;

/// Uploads the cuts of one store, one after the other, and knows which of its files are in the checkpoint store already.
#[derive(Debug)]
pub struct Uploader {
    incarnation: u64,
    known: BTreeMap<String, FileEntry>,
}

/// An uploaded cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uploaded {
    /// All files of the cut.
    pub files: Vec<FileEntry>,
    /// Bytes that were not there yet.
    pub uploaded_bytes: u64,
}

impl Uploader {
    /// For a store that was made empty, or opened from a cut that is in another checkpoint store.
    pub fn new(incarnation: u64) -> Self {
        Self { incarnation, known: BTreeMap::new() }
    }

    /// For a store opened from the cut of `base`, whose files are in the same checkpoint store. `incarnation` is a new one.
    pub fn restored(incarnation: u64, base: &TaskManifest) -> Self {
        let known = base.files.iter().filter(|file| file.immutable).map(|file| (file.name.clone(), file.clone()));
        Self { incarnation, known: known.collect() }
    }

    /// The store's incarnation, for the task's manifest.
    pub fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// Uploads what is missing. After an error, calling again goes on where it failed.
    pub fn upload(
        &mut self,
        store: &dyn CheckpointStore,
        disk: &dyn Disk,
        prefix: &str,
        id: ManifestId,
        cut: &[CutFile],
    ) -> Result<Uploaded, Error> {
        let mut uploaded = Uploaded { files: Vec::with_capacity(cut.len()), uploaded_bytes: 0 };
        for file in cut {
            let known = self.known.get(&file.name).filter(|known| file.immutable && known.bytes == file.bytes);
            if let Some(known) = known {
                uploaded.files.push(known.clone());
                continue;
            }
            let path = paths::file(prefix, self.incarnation, id, &file.name);
            let entry = upload_file(store, disk, path, file)?;
            uploaded.uploaded_bytes += entry.bytes;
            if entry.immutable {
                self.known.insert(entry.name.clone(), entry.clone());
            }
            uploaded.files.push(entry);
        }
        // A file that a cut does not have never comes back.
        self.known.retain(|name, _| uploaded.files.iter().any(|file| file.name == *name));
        Ok(uploaded)
    }
}

fn upload_file(store: &dyn CheckpointStore, disk: &dyn Disk, path: String, file: &CutFile) -> Result<FileEntry, Error> {
    let inner = disk.patient_reader(&file.path).map_err(disk_error("read", &file.path))?;
    let mut reader = Summed { inner, hasher: crc32fast::Hasher::new(), bytes: 0 };
    // A store on the same file system needs the bytes only for their checksum.
    if file.immutable && store.link_in(&path, &file.path) {
        let mut pieces = BufReader::with_capacity(PIECE_BYTES, &mut reader);
        io::copy(&mut pieces, &mut io::sink()).map_err(disk_error("read", &file.path))?;
    } else {
        store.put_file(&path, &mut reader)?;
    }
    if reader.bytes != file.bytes {
        let reason = format!("it has {} bytes; its cut has {}", reader.bytes, file.bytes);
        return Err(Error::Corrupt { path: file.path.display().to_string(), reason });
    }
    let (name, immutable) = (file.name.clone(), file.immutable);
    Ok(FileEntry { name, path, bytes: file.bytes, crc32: reader.hasher.finalize(), immutable })
}

/// Counts and sums up what is read.
struct Summed<R> {
    inner: R,
    hasher: crc32fast::Hasher,
    bytes: u64,
}

impl<R: Read> Read for Summed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        self.bytes += read as u64;
        Ok(read)
    }
}
