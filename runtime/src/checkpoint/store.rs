//! The door to the checkpoint store. Calls block; uploads run on threads of their own.
//!
//! Objects appear whole or not at all. Local objects survive a kill of every process, since the kernel has them; a crash of
//! the machine may lose the youngest, because nothing is forced to the disk.
use std::io::{Read, Write};
use std::path::Path;

use bytes::Bytes;

mod location;
mod memory;
mod object;

pub use location::Location;
pub use memory::{Call, Failure, Fault, MemoryCheckpoints, Operation};
pub use object::ObjectCheckpoints;

/// Blobs by path. Paths are relative, with `/` between their parts.
pub trait CheckpointStore: Send + Sync {
    /// Writes an object, replacing what is there.
    fn put(&self, path: &str, bytes: Bytes) -> Result<(), Error>;
    /// Writes an object unless there is one: of several callers, one gets true.
    fn put_if_absent(&self, path: &str, bytes: Bytes) -> Result<bool, Error>;
    /// Reads an object; none if there is none.
    fn get(&self, path: &str) -> Result<Option<Bytes>, Error>;
    /// Writes an object of any size from a reader, without holding it in memory.
    fn put_file(&self, path: &str, from: &mut dyn Read) -> Result<(), Error>;
    /// Reads an object of any size into a writer; false if there is none.
    fn get_file(&self, path: &str, to: &mut dyn Write) -> Result<bool, Error>;
    /// Makes `file`, which nobody will change any more, an object without copying it. False if that cannot be: the store is
    /// not on the file's file system, or the object is there.
    fn link_in(&self, _path: &str, _file: &Path) -> bool {
        false
    }
    /// Gives an object, which nobody will change any more, a name outside the store: `to`. False if that cannot be.
    fn link_out(&self, _path: &str, _to: &Path) -> bool {
        false
    }
    /// All objects below a folder, by path.
    fn list(&self, folder: &str) -> Result<Vec<Object>, Error>;
    /// Removes an object; fine if there is none.
    fn delete(&self, path: &str) -> Result<(), Error>;
}

/// An object as listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its path.
    pub path: String,
    /// Its size.
    pub bytes: u64,
}

/// The checkpoint store failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {attempt} {path}")]
pub struct Error {
    /// What was attempted.
    pub attempt: &'static str,
    /// On which path.
    pub path: String,
    /// Whether trying again can help. The call may have had its effect all the same.
    pub transient: bool,
    #[source]
    /// Why.
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

impl Error {
    /// A local reader or writer failed: trying again is no help.
    fn local(attempt: &'static str, path: &str, source: std::io::Error) -> Self {
        Self { attempt, path: path.to_owned(), transient: false, source: Box::new(source) }
    }
}

#[cfg(test)]
mod tests;
