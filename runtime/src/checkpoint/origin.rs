//! What a job begins with, noted with the term in which it does: so that it begins with it once, whoever starts it again.
use serde::{Deserialize, Serialize};

use super::Error;
use super::history;
use super::paths::{self, ManifestId};
use super::store::CheckpointStore;

/// What a term began with that did not go on from where its job was.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begun {
    /// Name of the wish to go back to something, if the job had begun before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore: Option<String>,
    /// Path of the checkpoint; none: with nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
}

/// What is known of a job's beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Beginning {
    /// It is to begin now, for the first time.
    First,
    /// It is to go back to something, which it has not done yet.
    Again,
    /// It has begun, with this if that is known.
    Past(Option<Begun>),
}

/// What is known of the beginning of the job with this folder, of which somebody wishes that it goes back to something.
pub fn beginning(store: &dyn CheckpointStore, prefix: &str, restore: Option<&str>) -> Result<Beginning, Error> {
    let mut begun = history::terms(store, prefix)?.begun;
    let is_done = |wish: &str| begun.values().any(|begun| begun.restore.as_deref() == Some(wish));
    if restore.is_some_and(|wish| !is_done(wish)) {
        return Ok(Beginning::Again);
    }
    match begun.pop_last() {
        Some((_, begun)) => Ok(Beginning::Past(Some(begun))),
        None if history::list(store, prefix)?.is_empty() => Ok(Beginning::First),
        None => Ok(Beginning::Past(None)),
    }
}

/// Path of a manifest in the store at `root`.
pub fn path(root: &str, prefix: &str, id: ManifestId) -> String {
    format!("{}/{}", root.trim_end_matches('/'), paths::manifest(prefix, id))
}
