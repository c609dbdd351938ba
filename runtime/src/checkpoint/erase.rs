//! What is removed because a person wants it: a savepoint, or all that a job has. Interrupted anywhere, it can be done again.
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::Error;
use super::history::{self, Chain};
use super::manifest::Manifest;
use super::paths::{self, ManifestId};
use super::store::{self, CheckpointStore};

/// Objects removed at a time: a request takes some milliseconds, of which all but one are spent waiting.
const AT_A_TIME: usize = 16;
/// Listings after which what is still there is somebody else's to explain.
const PASSES_MAX: usize = 5;

/// Removes all of a job, but for the savepoints `kept` and what they need. Only when nobody writes there any more. How many
/// objects went.
pub fn job(store: &dyn CheckpointStore, prefix: &str, kept: &[ManifestId]) -> Result<u64, Error> {
    let mut stays = BTreeSet::new();
    for id in kept {
        match history::load(store, prefix, *id) {
            Ok(manifest) => stays.extend(manifest.files().map(|file| file.path.clone())),
            Err(Error::NotFound { .. }) => continue,
            Err(error) => return Err(error),
        }
        stays.insert(paths::manifest(prefix, *id));
    }
    let mut erased = 0;
    for _ in 0..PASSES_MAX {
        let listed = store.list(prefix)?.into_iter().map(|object| object.path);
        let (manifests, others): (Vec<_>, Vec<_>) =
            listed.filter(|path| !stays.contains(path)).partition(|path| paths::parse_manifest(prefix, path).is_some());
        if manifests.is_empty() && others.is_empty() {
            break;
        }
        // No manifest is left without its files.
        for gone in [manifests, others] {
            erased += gone.len() as u64;
            remove(store, &gone)?;
        }
    }
    Ok(erased)
}

/// Removes a savepoint and the files that no other checkpoint needs. The one that the job would go back to stays, as an ordinary
/// checkpoint, which goes when there are newer ones. How many objects went.
pub fn savepoint(store: &dyn CheckpointStore, prefix: &str, id: ManifestId) -> Result<u64, Error> {
    // Files first: whatever is uploaded after this listing is not in it.
    let files = store.list(&paths::files(prefix))?;
    let (mut found, mut needed) = (None, BTreeSet::new());
    for other in history::list(store, prefix)? {
        match history::load(store, prefix, other) {
            Ok(manifest) if other == id => found = Some(manifest),
            Ok(manifest) => needed.extend(manifest.files().map(|file| file.path.clone())),
            Err(Error::Corrupt { .. } | Error::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    let chain = Chain::new(&history::terms(store, prefix)?.starts);
    let newest = chain.order(history::list(store, prefix)?).first().copied();
    let manifest = paths::manifest(prefix, id);
    if let Some(found) = found.filter(|_| newest == Some(id)) {
        if found.savepoint {
            store.put(&manifest, Manifest { savepoint: false, ..found }.encode()?)?;
        }
        return Ok(0);
    }
    let is_there = store.get(&manifest)?.is_some();
    store.delete(&manifest)?;
    // As with garbage: a file of this epoch or an earlier one that a later checkpoint has is in all between them.
    let unneeded = files.into_iter().map(|object| object.path).filter(|path| {
        let uploaded_for = paths::parse_file(prefix, path);
        uploaded_for.is_some_and(|other| other.epoch <= id.epoch && other.term <= id.term) && !needed.contains(path)
    });
    let unneeded: Vec<String> = unneeded.collect();
    remove(store, &unneeded)?;
    Ok(unneeded.len() as u64 + u64::from(is_there))
}

/// The manifest of a path, if it is one of the job with this folder.
pub fn of_job(prefix: &str, path: &str) -> Option<ManifestId> {
    let (folder, _) = path.rsplit_once("/manifests/")?;
    let is_own = folder == prefix || folder.strip_suffix(prefix).is_some_and(|root| root.ends_with('/'));
    paths::locate(path).map(|(_, _, id)| id).filter(|_| is_own)
}

/// Removes these objects, several at a time.
fn remove(store: &dyn CheckpointStore, paths: &[String]) -> Result<(), Error> {
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(None::<store::Error>));
    let work = || {
        while let Some(path) = paths.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Err(error) = store.delete(path) {
                *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                return;
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..AT_A_TIME.min(paths.len()) {
            scope.spawn(work);
        }
    });
    failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), |error| Err(error.into()))
}
