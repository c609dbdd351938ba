//! What no restorable checkpoint needs any more.
//!
//! A file may go when no kept manifest refers to it and it was uploaded for the newest committed epoch or an earlier one. That is
//! safe while later epochs are being uploaded: a store's table is in every cut from its first to its last, so one that a
//! later cut has, and that was uploaded before, is in the newest manifest too.
use std::collections::BTreeSet;

use super::Error;
use super::history::{self, Chain};
use super::manifest::Manifest;
use super::paths::{self, ManifestId};
use super::store::{CheckpointStore, Object};

/// What to remove: manifests first, so that none is ever left without its files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Manifests.
    pub manifests: Vec<ManifestId>,
    /// Files that belong to no kept manifest.
    pub files: Vec<Object>,
}

/// A manifest as far as it could be read.
#[derive(Debug, Clone)]
pub struct Found {
    /// Its name.
    pub id: ManifestId,
    /// Its content; none if it is corrupt, in which case nothing can ever be restored from it.
    pub manifest: Option<Manifest>,
}

/// Which manifests stay: the newest `keep` (at least one) of the chain up to `newest`, savepoints, and what is pinned. Those
/// later than `newest` on the chain stay as well.
fn kept(
    found: &[Found],
    chain: &Chain,
    newest: ManifestId,
    keep: usize,
    pinned: &[ManifestId],
) -> BTreeSet<ManifestId> {
    let order = chain.order(found.iter().filter(|found| found.manifest.is_some()).map(|found| found.id));
    let savepoint = |found: &&Found| found.manifest.as_ref().is_some_and(|manifest| manifest.savepoint);
    let savepoints: BTreeSet<ManifestId> = found.iter().filter(savepoint).map(|found| found.id).collect();
    let at = order.iter().position(|id| *id == newest).unwrap_or(0);
    let automatic = order[at.min(order.len())..].iter().filter(|id| **id == newest || !savepoints.contains(id));
    let mut kept: BTreeSet<_> = automatic.take(keep.max(1)).chain(&order[..at]).chain(pinned).copied().collect();
    kept.extend(savepoints);
    kept
}

/// Plans what to remove after `newest` was committed. `files`: all below `paths::files`.
pub fn plan(
    prefix: &str,
    (found, files): (&[Found], &[Object]),
    chain: &Chain,
    newest: ManifestId,
    (keep, pinned): (usize, &[ManifestId]),
) -> Plan {
    if !chain.has(newest) || !found.iter().any(|found| found.id == newest && found.manifest.is_some()) {
        return Plan::default();
    }
    let kept = kept(found, chain, newest, keep, pinned);
    let manifests = found.iter().filter(|found| !kept.contains(&found.id) && found.id.term <= newest.term);
    let manifests: Vec<_> = manifests.map(|found| found.id).collect();
    let staying =
        found.iter().filter(|found| !manifests.contains(&found.id)).filter_map(|found| found.manifest.as_ref());
    let needed: BTreeSet<&str> = staying.flat_map(Manifest::files).map(|file| file.path.as_str()).collect();
    let unneeded = |object: &&Object| {
        let uploaded_for = paths::parse_file(prefix, &object.path);
        uploaded_for.is_some_and(|id| id.epoch <= newest.epoch && id.term <= newest.term)
            && !needed.contains(object.path.as_str())
    };
    Plan { manifests, files: files.iter().filter(unneeded).cloned().collect() }
}

/// Removes what is not needed after `newest` was committed by the caller, whose term it is. Keeps the newest `keep`
/// checkpoints and all savepoints. Does nothing once a higher term was claimed.
pub fn collect(
    store: &dyn CheckpointStore,
    prefix: &str,
    newest: ManifestId,
    keep: usize,
    pinned: &[ManifestId],
) -> Result<Plan, Error> {
    let terms = history::terms(store, prefix)?;
    if terms.highest > newest.term {
        return Err(Error::Fenced { term: newest.term, by: terms.highest });
    }
    // Files first: whatever is uploaded after this listing is not in it.
    let files = store.list(&paths::files(prefix))?;
    let mut found = Vec::new();
    for id in history::list(store, prefix)? {
        let manifest = match history::load(store, prefix, id) {
            Ok(manifest) => Some(manifest),
            Err(Error::Corrupt { .. }) => None,
            Err(Error::NotFound { .. }) => continue,
            Err(error) => return Err(error),
        };
        found.push(Found { id, manifest });
    }
    let plan = plan(prefix, (&found, &files), &Chain::new(&terms.starts), newest, (keep, pinned));
    for id in &plan.manifests {
        store.delete(&paths::manifest(prefix, *id))?;
    }
    for file in &plan.files {
        store.delete(&file.path)?;
    }
    Ok(plan)
}
