//! Files of a cut out of the checkpoint store, or out of the cuts that this worker still has.
//!
//! A worker keeps its newest cuts in `LOCAL/INCARNATION/EPOCH-TERM/` ([`local_cut`]). Within a store incarnation a table's
//! name stands for one content, so equal name and size are enough to take it from any of them (its blocks have checksums of
//! their own); other files are taken from the very cut only, and checked.
use std::collections::BTreeMap;
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use super::manifest::{FileEntry, TaskManifest};
use super::paths::ManifestId;
use super::store::CheckpointStore;
use super::{Error, disk_error};
use crate::state::disk::Disk;

/// Where files came from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fetched {
    /// Bytes read from the checkpoint store.
    pub bytes_read: u64,
    /// Bytes that were on this worker.
    pub bytes_local: u64,
}

/// Folder for the cut of a store, given the folder of a worker's cuts.
pub fn local_cut(local: &Path, incarnation: u64, id: ManifestId) -> PathBuf {
    local.join(format!("{incarnation:016x}")).join(id.to_string())
}

/// Removes all local cuts but those to keep: (store incarnation, manifest).
pub fn prune_local(disk: &dyn Disk, local: &Path, keep: &[(u64, ManifestId)]) -> Result<(), Error> {
    let kept: Vec<PathBuf> = keep.iter().map(|(incarnation, id)| local_cut(local, *incarnation, *id)).collect();
    for incarnation in disk.folders(local).map_err(disk_error("list", local))? {
        let of_store = local.join(incarnation);
        let cuts = disk.folders(&of_store).map_err(disk_error("list", &of_store))?;
        let unwanted = cuts.iter().map(|cut| of_store.join(cut)).filter(|cut| !kept.contains(cut));
        let whole = !kept.iter().any(|cut| cut.starts_with(&of_store));
        for folder in if whole { vec![of_store] } else { unwanted.collect() } {
            disk.remove_folder(&folder).map_err(disk_error("remove", &folder))?;
        }
    }
    Ok(())
}

/// Assembles the cut of a task at checkpoint `id` in the folder `to`.
pub fn fetch(
    store: &dyn CheckpointStore,
    disk: &dyn Disk,
    local: Option<&Path>,
    (task, id): (&TaskManifest, ManifestId),
    to: &Path,
) -> Result<Fetched, Error> {
    disk.create_folder(to).map_err(disk_error("make the folder", to))?;
    let tables = match local {
        Some(local) => local_tables(disk, local, task.store_incarnation)?,
        None => BTreeMap::new(),
    };
    let mut fetched = Fetched::default();
    for file in &task.files {
        let target = to.join(&file.name);
        let found = if file.immutable {
            tables.get(&(file.name.as_str().to_owned(), file.bytes)).cloned()
        } else {
            local.map(|local| local_cut(local, task.store_incarnation, id).join(&file.name))
        };
        let linked = match found {
            Some(found) => take_local(disk, file, &found, &target)?,
            None => false,
        };
        if linked {
            fetched.bytes_local += file.bytes;
        } else {
            download(store, disk, file, &target)?;
            fetched.bytes_read += file.bytes;
        }
    }
    Ok(fetched)
}

/// Files of all local cuts of a store, by name and size.
fn local_tables(disk: &dyn Disk, local: &Path, incarnation: u64) -> Result<BTreeMap<(String, u64), PathBuf>, Error> {
    let of_store = local.join(format!("{incarnation:016x}"));
    let mut found = BTreeMap::new();
    for cut in disk.folders(&of_store).map_err(disk_error("list", &of_store))? {
        let folder = of_store.join(cut);
        let files = disk.files(&folder).map_err(disk_error("list", &folder))?;
        found.extend(files.into_iter().map(|(name, bytes)| ((name.clone(), bytes), folder.join(name))));
    }
    Ok(found)
}

/// Links a local file if it is the one; false if it is not there or is another.
fn take_local(disk: &dyn Disk, file: &FileEntry, found: &Path, target: &Path) -> Result<bool, Error> {
    if !file.immutable {
        match disk.reader(found).and_then(sum) {
            Ok(sum) if sum == (file.bytes, file.crc32) => {}
            Ok(_) => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(disk_error("read", found)(error)),
        }
    }
    match disk.link(found, target) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(disk_error("link", found)(error)),
    }
}

fn sum(mut reader: Box<dyn Read + Send>) -> io::Result<(u64, u32)> {
    let (mut hasher, mut bytes, mut buffer) = (crc32fast::Hasher::new(), 0, vec![0; 1 << 16]);
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok((bytes, hasher.finalize())),
            read => {
                hasher.update(&buffer[..read]);
                bytes += read as u64;
            }
        }
    }
}

fn download(store: &dyn CheckpointStore, disk: &dyn Disk, file: &FileEntry, target: &Path) -> Result<(), Error> {
    let wrong = || Error::Corrupt { path: file.path.clone(), reason: "its size or checksum is wrong".to_owned() };
    if file.immutable && store.link_out(&file.path, target) {
        let found = disk.reader(target).and_then(sum).map_err(disk_error("read", target))?;
        return if found == (file.bytes, file.crc32) { Ok(()) } else { Err(wrong()) };
    }
    let inner = disk.writer(target).map_err(disk_error("make", target))?;
    let mut writer = Summed { inner: BufWriter::new(inner), hasher: crc32fast::Hasher::new(), bytes: 0 };
    if !store.get_file(&file.path, &mut writer)? {
        return Err(Error::Corrupt { path: file.path.clone(), reason: "it is missing".to_owned() });
    }
    writer.flush().map_err(disk_error("write", target))?;
    if writer.bytes != file.bytes || writer.hasher.finalize() != file.crc32 {
        return Err(wrong());
    }
    Ok(())
}

/// Counts and sums up what is written.
struct Summed<W> {
    inner: W,
    hasher: crc32fast::Hasher,
    bytes: u64,
}

impl<W: Write> Write for Summed<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(buffer)?;
        self.hasher.update(&buffer[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
