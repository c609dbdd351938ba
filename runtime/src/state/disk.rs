//! The disk door: the few file operations that cuts and checkpoints need. Production uses [`RealDisk`]; simulation a
//! [`MemoryDisk`], so that a whole cluster runs without touching the machine. (RocksDB does its own I/O, always on the
//! real disk.)
//!
//! Nothing here calls fsync: a killed process loses nothing that it has written, since the page cache is the kernel's. Only a
//! crash of the machine can; what is read back is checked by size and checksum.
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::priority::Patient;

/// File operations. Paths are absolute or relative to the working folder, as the caller likes.
pub trait Disk: Send + Sync {
    /// Makes a folder and those above it; fine if it is there.
    fn create_folder(&self, folder: &Path) -> io::Result<()>;
    /// Removes a folder with all that is in it; fine if it is not there.
    fn remove_folder(&self, folder: &Path) -> io::Result<()>;
    /// Names and sizes of the files in a folder (not of those below), by name; nothing if there is no such folder.
    fn files(&self, folder: &Path) -> io::Result<Vec<(String, u64)>>;
    /// Names of the folders in a folder, ascending; nothing if there is no such folder.
    fn folders(&self, folder: &Path) -> io::Result<Vec<String>>;
    /// Gives a file a second name: a hard link, or a copy where links are impossible.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Renames a file, replacing what has that name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Opens a file.
    fn reader(&self, path: &Path) -> io::Result<Box<dyn Read + Send>>;
    /// Opens a file for what no row waits for, on the thread that opens it: it rests while others want processors, and between reads.
    fn patient_reader(&self, path: &Path) -> io::Result<Box<dyn Read + Send>> {
        self.reader(path)
    }
    /// Makes a file, emptying it if it is there. It is complete once the writer was flushed and dropped.
    fn writer(&self, path: &Path) -> io::Result<Box<dyn Write + Send>>;
}

/// The machine's disk.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

/// The entries of a folder of the kind asked for: files with their sizes, or folders.
fn entries(folder: &Path, want_folders: bool) -> io::Result<Vec<(String, u64)>> {
    let listing = match std::fs::read_dir(folder) {
        Ok(listing) => listing,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in listing {
        let entry = entry?;
        let metadata = match entry.metadata() {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue, // Removed since it was listed.
            Err(error) => return Err(error),
        };
        if metadata.is_dir() == want_folders {
            found.push((entry.file_name().to_string_lossy().into_owned(), metadata.len()));
        }
    }
    found.sort();
    Ok(found)
}

impl Disk for RealDisk {
    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        std::fs::create_dir_all(folder)
    }

    fn remove_folder(&self, folder: &Path) -> io::Result<()> {
        match std::fs::remove_dir_all(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done,
        }
    }

    fn files(&self, folder: &Path) -> io::Result<Vec<(String, u64)>> {
        entries(folder, false)
    }

    fn folders(&self, folder: &Path) -> io::Result<Vec<String>> {
        Ok(entries(folder, true)?.into_iter().map(|(name, _)| name).collect())
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        match std::fs::hard_link(from, to) {
            Ok(()) => Ok(()),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::AlreadyExists) => Err(error),
            // Another file system, or one without links.
            Err(_) => std::fs::copy(from, to).map(|_| ()),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn reader(&self, path: &Path) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(std::fs::File::open(path)?))
    }

    fn patient_reader(&self, path: &Path) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(Patient::new(std::fs::File::open(path)?)))
    }

    fn writer(&self, path: &Path) -> io::Result<Box<dyn Write + Send>> {
        Ok(Box::new(std::fs::File::create(path)?))
    }
}

/// Files in memory. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct MemoryDisk {
    content: Arc<Mutex<Content>>,
}

#[derive(Debug, Default)]
struct Content {
    folders: BTreeSet<PathBuf>,
    files: BTreeMap<PathBuf, Arc<Vec<u8>>>,
}

impl MemoryDisk {
    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn file(&self, path: &Path) -> io::Result<Arc<Vec<u8>>> {
        self.content().files.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

fn name_in(folder: &Path, path: &Path) -> Option<String> {
    (path.parent() == Some(folder)).then(|| path.file_name().map(|name| name.to_string_lossy().into_owned()))?
}

impl Disk for MemoryDisk {
    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        let above = folder.ancestors().map(Path::to_path_buf);
        self.content().folders.extend(above);
        Ok(())
    }

    fn remove_folder(&self, folder: &Path) -> io::Result<()> {
        let mut content = self.content();
        content.folders.retain(|path| !path.starts_with(folder));
        content.files.retain(|path, _| !path.starts_with(folder));
        Ok(())
    }

    fn files(&self, folder: &Path) -> io::Result<Vec<(String, u64)>> {
        let content = self.content();
        let sized = content.files.iter().map(|(path, bytes)| (name_in(folder, path), bytes.len() as u64));
        Ok(sized.filter_map(|(name, bytes)| Some((name?, bytes))).collect())
    }

    fn folders(&self, folder: &Path) -> io::Result<Vec<String>> {
        Ok(self.content().folders.iter().filter_map(|path| name_in(folder, path)).collect())
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let bytes = self.file(from)?;
        match self.content().files.insert(to.to_path_buf(), bytes) {
            None => Ok(()),
            Some(_) => Err(io::ErrorKind::AlreadyExists.into()),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut content = self.content();
        let bytes = content.files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        content.files.insert(to.to_path_buf(), bytes);
        Ok(())
    }

    fn reader(&self, path: &Path) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(MemoryReader { bytes: self.file(path)?, at: 0 }))
    }

    fn writer(&self, path: &Path) -> io::Result<Box<dyn Write + Send>> {
        if !path.parent().is_some_and(|folder| self.content().folders.contains(folder)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(Box::new(MemoryWriter { disk: self.clone(), path: path.to_path_buf(), bytes: Vec::new() }))
    }
}

struct MemoryReader {
    bytes: Arc<Vec<u8>>,
    at: usize,
}

impl Read for MemoryReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.bytes.get(self.at..).unwrap_or_default().read(buffer)?;
        self.at += read;
        Ok(read)
    }
}

struct MemoryWriter {
    disk: MemoryDisk,
    path: PathBuf,
    bytes: Vec<u8>,
}

impl Write for MemoryWriter {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.bytes.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for MemoryWriter {
    fn drop(&mut self) {
        let bytes = Arc::new(std::mem::take(&mut self.bytes));
        self.disk.content().files.insert(self.path.clone(), bytes);
    }
}
