//! Keyed state. A task has one [`Store`] of its own; all its ops share it. Keys are bytes, ordered:
//!
//! ```text
//! key group (u16 big endian) | state ordinal (u16 big endian) | the op's own key bytes
//! ```
//!
//! so that a key group, and a state within it, is one contiguous range. The state ordinal is the position of the state
//! in the task's list of registrations (all ops of a stage in order, each with its `states()` in order).
//!
//! Ops touch the store once per distinct key per batch and keep decoded hot entries in a cache of their own, which they
//! write back at barriers and when it is full.
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[cfg(test)]
pub mod conformance;
pub mod disk;
pub mod memory;
pub mod part;
pub mod parts;
pub mod rocks;
mod tracking;

use bytes::Bytes;
use millstream_api::id::KeyGroup;
use serde::{Deserialize, Serialize};

use crate::exchange::Wake;
use parts::{Parts, Urgency, Wanted};

/// Puts (some) and deletes (none), applied in order.
pub type Changes = Vec<(Vec<u8>, Option<Vec<u8>>)>;

/// Position of a state in the task's list of registrations.
pub type StateOrdinal = u16;

/// The first four bytes of every key.
pub fn prefix(group: KeyGroup, ordinal: StateOrdinal) -> [u8; 4] {
    let (group, ordinal) = (group.to_be_bytes(), ordinal.to_be_bytes());
    [group[0], group[1], ordinal[0], ordinal[1]]
}

/// The op's own part of a key of this state, and its group; none if it belongs to another state.
pub fn own_key(key: &[u8], ordinal: StateOrdinal) -> Option<(KeyGroup, &[u8])> {
    let (prefix, own) = key.split_first_chunk::<4>()?;
    let [high, low, of @ ..] = *prefix;
    (StateOrdinal::from_be_bytes(of) == ordinal).then_some((KeyGroup::from_be_bytes([high, low]), own))
}

/// The least key that is greater than every key with this prefix; none if there is none.
pub fn prefix_end(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

/// First key, and the end, which is not in it.
type KeyRange = (Vec<u8>, Vec<u8>);

/// The keys of a group. Refuses the one number that no group has.
fn group_range(group: KeyGroup) -> Result<KeyRange, Error> {
    let next = group.checked_add(1).ok_or_else(|| Error::Backend {
        attempt: "address a key group",
        reason: format!("there is no key group {group}: a job has at most 32768"),
    })?;
    Ok((group.to_be_bytes().to_vec(), next.to_be_bytes().to_vec()))
}

/// The group a key belongs to. Refuses one that is too short.
pub fn group_of(key: &[u8]) -> Result<KeyGroup, Error> {
    match key {
        [high, low, _, _, ..] => Ok(KeyGroup::from_be_bytes([*high, *low])),
        _ => Err(Error::Backend {
            attempt: "address a key",
            reason: format!("it has {} bytes; key group and state ordinal alone take 4", key.len()),
        }),
    }
}

/// Refuses a key that does not belong to the group it is imported into.
fn check_group(group: KeyGroup, key: &[u8]) -> Result<(), Error> {
    match group_of(key)? {
        found if found == group => Ok(()),
        found => Err(Error::Backend {
            attempt: "import a key group",
            reason: format!("an entry belongs to group {found}, not to {group}"),
        }),
    }
}

/// Keyed state of one task. Two implementations (memory, RocksDB) pass one conformance suite.
///
/// Reads see every write made before, at once. Nothing is durable before a cut's files have been uploaded.
pub trait Store: Send {
    /// The values at these keys, in order; none where there is no entry.
    fn multi_get(&mut self, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>, Error>;

    /// The value at one key.
    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.multi_get(&[key])?.pop().flatten())
    }

    /// Applies puts and deletes, in order.
    fn write(&mut self, changes: Changes) -> Result<(), Error>;

    /// Visits entries with `from <= key < to` (`to` none = to the end) in order until `visit` answers false.
    fn scan(
        &mut self,
        from: &[u8],
        to: Option<&[u8]>,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), Error>;

    /// Removes entries with `from <= key < to`.
    fn delete_range(&mut self, from: &[u8], to: &[u8]) -> Result<(), Error>;

    /// Pins the present content, for upload: later writes do not change it. Quick: the files, in the folder `folder` (which is made
    /// for them), are there when the cut is asked for them. Files that have been in an earlier cut keep their name and are hard links.
    fn cut(&mut self, folder: &Path) -> Result<Cut, Error>;

    /// A view of the present content that later writes do not change, for pre-copying a group while it goes on changing.
    fn snapshot(&mut self) -> Result<Box<dyn Snapshot>, Error>;

    /// Starts recording every key of the group that is written or removed (range removals included) from now on.
    fn track(&mut self, group: KeyGroup) -> Result<(), Error>;

    /// Ends recording and gives the keys, ascending: applying their present values to a copy of a snapshot taken right after `track`
    /// gives the present content of the group.
    fn take_changed_keys(&mut self, group: KeyGroup) -> Result<Vec<Vec<u8>>, Error>;

    /// Takes in a part of a key group that comes from elsewhere, while everything else goes on: `wake` is told when there is less to
    /// be taken in than before. Of each place (`from`), the entries of a group come in order and one group after the other, and
    /// changes to them behind all of them. A group has nothing before. What has been given can be read once `settle` says so, and
    /// nothing else is said of it before.
    fn take_in(&mut self, from: u64, arrival: Arrival, urgency: Urgency, wake: &Arc<dyn Wake>) -> Result<(), Error>;

    /// Bytes given to `take_in` that wait.
    fn waiting_bytes(&self) -> usize;

    /// Everything has been given, but for changes that come later. Whether all of it can be read; if not, the wake will tell.
    fn settle(&mut self) -> Result<bool, Error>;

    /// Nothing more is taken in. What has been is removed by `drop_groups`.
    fn forsake(&mut self);

    /// Removes groups, given in ascending order. When it returns, they can be imported again.
    fn drop_groups(&mut self, groups: &[KeyGroup]) -> Result<(), Error>;

    /// Removes groups, given in ascending order, while everything else goes on, and whatever is not of those that are `kept`, ascending.
    /// `wake` is told when that is done. Until then none but those that are kept may be written; one that comes again is waited for.
    fn let_go(&mut self, groups: &[KeyGroup], kept: &[KeyGroup], wake: &Arc<dyn Wake>) -> Result<(), Error>;

    /// Whether what was let go is gone.
    fn has_let_go(&mut self) -> Result<bool, Error>;

    /// Bytes a group holds, keys and values, an estimate.
    fn group_bytes(&mut self, group: KeyGroup) -> Result<u64, Error>;

    /// Bytes of all groups, an estimate that costs nothing.
    fn bytes(&self) -> u64;

    /// Reads and writes so far (keys asked for, keys written).
    fn operations(&self) -> Operations;
}

/// What is taken in, as [`part`] writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arrival {
    /// Entries of a group.
    Entries(KeyGroup, Bytes),
    /// Changes to groups whose entries have all been given.
    Changes(Bytes),
}

impl Arrival {
    fn bytes(&self) -> usize {
        let (Self::Entries(_, bytes) | Self::Changes(bytes)) = self;
        bytes.len()
    }
}

/// Counts of keys, for metrics and benchmarks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operations {
    /// Keys asked for.
    pub reads: u64,
    /// Keys written or removed.
    pub writes: u64,
}

/// Content of a store at one moment.
pub trait Snapshot: Send {
    /// Visits the entries of a group in order until `visit` answers false. `from`: first key, to go on after a pause.
    fn export(
        &self,
        group: KeyGroup,
        from: Option<&[u8]>,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), Error>;

    /// The content of some groups as parts, read ahead where that costs the caller nothing. `wake` is told when a part is there after
    /// there was none.
    fn into_parts(self: Box<Self>, wanted: Wanted, wake: Arc<dyn Wake>) -> Result<Box<dyn Parts>, Error>;
}

/// Waits until the files of a cut are there, and gives them.
type Files = Box<dyn FnOnce() -> Result<Vec<CutFile>, Error> + Send>;

/// The content of a store at one moment, pinned.
pub struct Cut {
    /// Bytes of state, keys and values, an estimate.
    pub state_bytes: u64,
    files: Files,
}

impl Cut {
    /// Every file that the content needs. Waits until they are there, on a thread other than the store's: that one goes on.
    pub fn files(self) -> Result<Vec<CutFile>, Error> {
        (self.files)()
    }
}

impl fmt::Debug for Cut {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Cut").field("state_bytes", &self.state_bytes).finish_non_exhaustive()
    }
}

/// One file of a cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CutFile {
    /// Its name within the cut, as `Backend::open` wants to find it.
    pub name: String,
    /// Where it is on disk now.
    pub path: PathBuf,
    /// Size.
    pub bytes: u64,
    /// Whether equal names of one store incarnation mean equal content for ever, so that one upload is enough (SST files).
    pub immutable: bool,
}

/// Makes stores. One per worker; holds what its stores share (block cache, write-buffer budget).
pub trait Backend: Send + Sync {
    /// `memory` or `rocksdb`.
    fn name(&self) -> &'static str;
    /// An empty store in the empty folder `folder` (created by the call).
    fn create(&self, folder: &Path) -> Result<Box<dyn Store>, Error>;
    /// A store with the content of a cut, whose files are in `cut`, in the empty folder `folder` (created by the call). The files
    /// of the cut stay as they are (hard links or copies are made). Files already in a cut of the old store keep their names.
    fn open(&self, folder: &Path, cut: &Path) -> Result<Box<dyn Store>, Error>;
    /// Reads the content of a cut without opening it for writing, to import some of its groups elsewhere.
    fn read(&self, cut: &Path) -> Result<Box<dyn Snapshot>, Error>;
}

/// What can go wrong with state.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The backend refused.
    #[error("cannot {attempt}: {reason}")]
    Backend {
        /// What was attempted.
        attempt: &'static str,
        /// What the backend said.
        reason: String,
    },
    /// The file system refused.
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
    /// A cut's files are not what they should be.
    #[error("cut is corrupt: {0}")]
    Corrupt(String),
}
