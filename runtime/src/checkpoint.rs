//! Checkpoints: how cuts of stores become something a job can start from again, at any parallelism.
//!
//! | part | does |
//! | --- | --- |
//! | [`store`] | the door to the checkpoint store: a local folder, an object store, or memory under simulation |
//! | [`paths`] | where everything is in the store |
//! | [`manifest`] | what a checkpoint is: one file per epoch that names all others |
//! | [`mapping`] | which state of a checkpoint is whose in a job that was planned anew |
//! | [`history`] | terms, which fence coordinators, and which manifests count |
//! | [`upload`], [`download`] | files of a cut to the store and back, only those that are not there yet |
//! | [`restore`] | the store of one task out of a manifest |
//! | [`garbage`] | what no restorable checkpoint needs any more |
//! | [`erase`] | the end of a savepoint, or of all that a job has |
//! | [`origin`] | what a job began with, noted with its terms |
//! | [`past`] | rescales that it has been through |
//!
//! All of it is synchronous and takes time, identity and disk as arguments.
use std::path::{Path, PathBuf};

use millstream_api::id::Term;

use crate::state;

pub mod download;
pub mod erase;
pub mod garbage;
pub mod history;
pub mod manifest;
pub mod mapping;
pub mod origin;
pub mod past;
pub mod paths;
pub mod restore;
pub mod store;
pub mod upload;

/// What can go wrong with a checkpoint.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The checkpoint store failed; `store::Error::transient` says whether trying again can help.
    #[error("cannot {} {}", .0.attempt, .0.path)]
    Store(#[from] store::Error),
    /// A task's store failed.
    #[error("cannot reach keyed state")]
    State(#[from] state::Error),
    /// The local file system refused.
    #[error("cannot {attempt} {path}")]
    Disk {
        /// What was attempted.
        attempt: &'static str,
        /// On which file.
        path: PathBuf,
        #[source]
        /// Why.
        source: std::io::Error,
    },
    /// A file is not what its manifest says, or a manifest is not one.
    #[error("{path} is corrupt: {reason}")]
    Corrupt {
        /// Which file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// There is nothing at this path.
    #[error("there is no checkpoint at {path}")]
    NotFound {
        /// Where it was looked for.
        path: String,
    },
    /// Written by a newer release.
    #[error("{path} has manifest format version {found}; this program reads up to {supported}: use a newer release")]
    NewerFormat {
        /// Which manifest.
        path: String,
        /// Its version.
        found: u32,
        /// Newest version that this program reads.
        supported: u32,
    },
    /// The checkpoint cannot be used for this job; says what differs.
    #[error("{0}")]
    OtherJob(String),
    /// State of the checkpoint has no place in the job.
    #[error("{0}")]
    StateMismatch(mapping::Mismatch),
    /// Another coordinator has taken over: this one must stop and must not act on what it just committed.
    #[error("term {term} of this coordinator has ended: term {by} was claimed")]
    Fenced {
        /// The term that has ended.
        term: Term,
        /// The highest term claimed.
        by: Term,
    },
    /// Something else is at a path that only this coordinator may write.
    #[error("{path} exists with other content: two coordinators share a term")]
    Conflict {
        /// Which path.
        path: String,
    },
}

impl Error {
    /// Whether trying again can help.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Store(error) if error.transient)
    }
}

fn disk_error(attempt: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path: PathBuf = path.to_path_buf();
    move |source| Error::Disk { attempt, path, source }
}

#[cfg(test)]
mod tests;
