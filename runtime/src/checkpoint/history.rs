//! Terms, and which manifests count.
//!
//! A coordinator begins by claiming a term: the next number, by create-if-absent. *After* that it looks for the newest
//! manifest, and records it as the start of its term. A coordinator that commits a manifest looks *afterwards* whether a
//! higher term was claimed; if so it is fenced and must not act on the commit. Of the two one always sees the other: either
//! the new coordinator starts from the old one's last manifest (and completes what it promises), or the old one learns that it has
//! ended. The store must show a write to every later read and listing, as local folders and S3 do.
//!
//! So manifests form a chain: those of the highest term that has started; up to its start, those of the term it started
//! from; and so on. Manifests of fenced coordinators that nobody started from are off the chain, and ignored.
use std::collections::{BTreeMap, BTreeSet};

use millstream_api::id::{Epoch, Generation, Term};
use serde::{Deserialize, Serialize};

use super::Error;
use super::manifest::Manifest;
use super::origin::Begun;
use super::paths::{self, ManifestId};
use super::store::CheckpointStore;

/// What a claimed term goes on from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartFrom {
    /// The newest manifest that counts, if there is one.
    Newest,
    /// This manifest of the same job folder.
    Exactly(ManifestId),
    /// Nothing, or a manifest from elsewhere: earlier manifests here count no more.
    Nothing,
}

/// A claimed term.
#[derive(Debug)]
pub struct Claimed {
    /// The term.
    pub term: Term,
    /// Where to go on.
    pub start: Option<Manifest>,
    /// Manifests that were newer and could not be used.
    pub skipped: Vec<Skipped>,
}

/// A manifest that could not be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// Which.
    pub id: ManifestId,
    /// Why.
    pub reason: String,
}

/// The newest manifest that counts.
#[derive(Debug)]
pub struct Newest {
    /// None if the job has none.
    pub manifest: Option<Manifest>,
    /// Manifests that were newer and could not be used.
    pub skipped: Vec<Skipped>,
}

#[derive(Serialize, Deserialize)]
struct Claim {
    term: Term,
    claimed_at_ms: i64,
    by: String,
}

#[derive(Serialize, Deserialize)]
struct Start {
    term: Term,
    starts_from: Option<ManifestId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    begun: Option<Begun>,
}

/// Which manifests count, newest first: of each term on the chain, those up to an epoch (none = all).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chain {
    links: Vec<(Term, Option<Epoch>)>,
}

impl Chain {
    /// From what each term started from; terms that have not started are not in it.
    pub fn new(starts: &BTreeMap<Term, Option<ManifestId>>) -> Self {
        let mut links: Vec<(Term, Option<Epoch>)> = Vec::new();
        let mut next = starts.keys().next_back().map(|term| (*term, None));
        while let Some((term, up_to)) = next {
            links.push((term, up_to));
            let from = starts.get(&term).copied().flatten();
            next = from.filter(|from| from.term < term).map(|from| (from.term, Some(from.epoch)));
        }
        Self { links }
    }

    /// Position on the chain, newest term first; none if the manifest does not count.
    fn position(&self, id: ManifestId) -> Option<usize> {
        let counts =
            |(term, up_to): &(Term, Option<Epoch>)| *term == id.term && up_to.is_none_or(|last| id.epoch <= last);
        self.links.iter().position(counts)
    }

    /// Whether the manifest counts.
    pub fn has(&self, id: ManifestId) -> bool {
        self.position(id).is_some()
    }

    /// Those that count, newest first.
    pub fn order(&self, ids: impl IntoIterator<Item = ManifestId>) -> Vec<ManifestId> {
        let mut placed: Vec<_> = ids.into_iter().filter_map(|id| Some((self.position(id)?, id))).collect();
        placed.sort_by_key(|(position, id)| (*position, std::cmp::Reverse(id.epoch)));
        placed.into_iter().map(|(_, id)| id).collect()
    }
}

/// Terms of a job as the store has them.
#[derive(Debug, Default)]
pub struct Terms {
    /// Highest term claimed, 0 if none.
    pub highest: Term,
    /// What each term that has started did start from.
    pub starts: BTreeMap<Term, Option<ManifestId>>,
    /// What those terms began with that did not go on from where the job was.
    pub begun: BTreeMap<Term, Begun>,
}

fn highest_term(store: &dyn CheckpointStore, prefix: &str) -> Result<Term, Error> {
    let listed = store.list(&paths::terms(prefix))?;
    let terms = listed.iter().filter_map(|object| paths::parse_term(prefix, &object.path));
    Ok(terms.map(|(term, _)| term).max().unwrap_or(0))
}

/// Reads the terms of a job.
pub fn terms(store: &dyn CheckpointStore, prefix: &str) -> Result<Terms, Error> {
    let mut terms = Terms::default();
    for object in store.list(&paths::terms(prefix))? {
        let Some((term, is_start)) = paths::parse_term(prefix, &object.path) else { continue };
        terms.highest = terms.highest.max(term);
        if is_start && let Some(bytes) = store.get(&object.path)? {
            let corrupt =
                |error: serde_json::Error| Error::Corrupt { path: object.path.clone(), reason: error.to_string() };
            let start = serde_json::from_slice::<Start>(&bytes).map_err(corrupt)?;
            terms.starts.insert(term, start.starts_from);
            terms.begun.extend(start.begun.map(|begun| (term, begun)));
        }
    }
    Ok(terms)
}

/// Claims the next term and finds out where it goes on. `by`: who claims, for people who look.
pub fn claim_term(
    store: &dyn CheckpointStore,
    prefix: &str,
    from: StartFrom,
    by: &str,
    now_ms: i64,
) -> Result<Claimed, Error> {
    begin_term(store, prefix, (from, None), by, now_ms)
}

/// The same for a term in which the job begins, or begins anew: with what is noted in the claim.
pub fn begin_term(
    store: &dyn CheckpointStore,
    prefix: &str,
    (from, begun): (StartFrom, Option<Begun>),
    by: &str,
    now_ms: i64,
) -> Result<Claimed, Error> {
    let term = loop {
        let term = highest_term(store, prefix)? + 1;
        let claim = Claim { term, claimed_at_ms: now_ms, by: by.to_owned() };
        if store.put_if_absent(&paths::claim(prefix, term), json("a term", &claim)?)? {
            break term;
        }
    };
    let newest = match from {
        StartFrom::Newest => newest(store, prefix)?,
        StartFrom::Exactly(id) => Newest { manifest: Some(load(store, prefix, id)?), skipped: Vec::new() },
        StartFrom::Nothing => Newest { manifest: None, skipped: Vec::new() },
    };
    let start = Start { term, starts_from: newest.manifest.as_ref().map(Manifest::id), begun };
    create(store, &paths::start(prefix, term), json("a term", &start)?)?;
    let by = highest_term(store, prefix)?;
    if by > term {
        return Err(Error::Fenced { term, by });
    }
    Ok(Claimed { term, start: newest.manifest, skipped: newest.skipped })
}

/// When the first term of a job was claimed, ms since 1970.
pub fn first_claimed_at_ms(store: &dyn CheckpointStore, prefix: &str) -> Result<Option<i64>, Error> {
    let path = paths::claim(prefix, 1);
    let corrupt = |error: serde_json::Error| Error::Corrupt { path: path.clone(), reason: error.to_string() };
    let claim = store.get(&path)?.map(|bytes| serde_json::from_slice::<Claim>(&bytes)).transpose().map_err(corrupt)?;
    Ok(claim.map(|claim| claim.claimed_at_ms))
}

/// The newest checkpoint of the jobs whose folders are beside this one's, which are those that had its name, and of this one if
/// `own` is to be counted: prefix and manifest.
pub fn latest_beside(
    store: &dyn CheckpointStore,
    prefix: &str,
    own: bool,
) -> Result<Option<(String, ManifestId)>, Error> {
    let Some((folder, _)) = prefix.rsplit_once('/') else { return Ok(None) };
    let listed = store.list(folder)?;
    let manifests = listed.iter().filter_map(|object| object.path.split_once("/manifests/"));
    let others: BTreeSet<&str> = manifests.map(|(other, _)| other).filter(|other| own || *other != prefix).collect();
    let mut latest: Option<(i64, String, ManifestId)> = None;
    for other in others {
        let Some(manifest) = newest(store, other)?.manifest else { continue };
        if latest.as_ref().is_none_or(|(at_ms, ..)| manifest.created_at_ms > *at_ms) {
            latest = Some((manifest.created_at_ms, other.to_owned(), manifest.id()));
        }
    }
    Ok(latest.map(|(_, other, id)| (other, id)))
}

/// Notes that a generation is about to be deployed: whoever comes back takes over tasks of no other, since those of an older one have
/// lost their output to it. Older notes go.
pub fn note_generation(store: &dyn CheckpointStore, prefix: &str, generation: Generation) -> Result<(), Error> {
    let older = generations(store, prefix)?;
    create(store, &paths::generation(prefix, generation), json("a generation", &generation)?)?;
    for old in older.into_iter().filter(|old| *old < generation) {
        store.delete(&paths::generation(prefix, old))?;
    }
    Ok(())
}

/// The generation noted last.
pub fn newest_generation(store: &dyn CheckpointStore, prefix: &str) -> Result<Option<Generation>, Error> {
    Ok(generations(store, prefix)?.into_iter().max())
}

fn generations(store: &dyn CheckpointStore, prefix: &str) -> Result<Vec<Generation>, Error> {
    let listed = store.list(&paths::generations(prefix))?;
    Ok(listed.iter().filter_map(|object| paths::parse_generation(prefix, &object.path)).collect())
}

pub(super) fn json(what: &str, value: &impl Serialize) -> Result<bytes::Bytes, Error> {
    let failed = |error: serde_json::Error| Error::Corrupt { path: what.to_owned(), reason: error.to_string() };
    Ok(serde_json::to_vec(value).map_err(failed)?.into())
}

/// Writes what only this coordinator may write. An earlier call whose answer was lost does no harm.
fn create(store: &dyn CheckpointStore, path: &str, bytes: bytes::Bytes) -> Result<(), Error> {
    if store.put_if_absent(path, bytes.clone())? || store.get(path)?.is_some_and(|found| found == bytes) {
        return Ok(());
    }
    Err(Error::Conflict { path: path.to_owned() })
}

/// Names of all manifests that are there, whether they count or not.
pub fn list(store: &dyn CheckpointStore, prefix: &str) -> Result<Vec<ManifestId>, Error> {
    let listed = store.list(&paths::manifests(prefix))?;
    Ok(listed.iter().filter_map(|object| paths::parse_manifest(prefix, &object.path)).collect())
}

/// Reads a manifest.
pub fn load(store: &dyn CheckpointStore, prefix: &str, id: ManifestId) -> Result<Manifest, Error> {
    let path = paths::manifest(prefix, id);
    let Some(file) = store.get(&path)? else { return Err(Error::NotFound { path }) };
    let manifest = Manifest::decode(&path, &file)?;
    if manifest.id() != id {
        return Err(Error::Corrupt { path, reason: format!("it is manifest {}", manifest.id()) });
    }
    Ok(manifest)
}

/// The savepoint that was taken for the request with this name, if it counts.
pub fn savepoint(store: &dyn CheckpointStore, prefix: &str, name: &str) -> Result<Option<Manifest>, Error> {
    let chain = Chain::new(&terms(store, prefix)?.starts);
    for id in chain.order(list(store, prefix)?) {
        match load(store, prefix, id) {
            Ok(manifest) if manifest.asked.as_deref() == Some(name) => return Ok(Some(manifest)),
            Ok(_) | Err(Error::Corrupt { .. } | Error::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// The newest manifest that counts and can be read. One of a newer format version is not passed over: what it says has happened.
pub fn newest(store: &dyn CheckpointStore, prefix: &str) -> Result<Newest, Error> {
    let chain = Chain::new(&terms(store, prefix)?.starts);
    let mut skipped = Vec::new();
    for id in chain.order(list(store, prefix)?) {
        match load(store, prefix, id) {
            Ok(manifest) => return Ok(Newest { manifest: Some(manifest), skipped }),
            Err(Error::Corrupt { reason, .. }) => skipped.push(Skipped { id, reason }),
            // Removed between the listing and the reading.
            Err(Error::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Newest { manifest: None, skipped })
}

/// Makes a checkpoint count, and gives the path of its manifest. On `Fenced` the manifest may or may not count: the coordinator
/// of the higher term knows. May be called again after a transient error.
pub fn commit(store: &dyn CheckpointStore, prefix: &str, manifest: &Manifest) -> Result<String, Error> {
    let path = paths::manifest(prefix, manifest.id());
    create(store, &path, manifest.encode()?)?;
    let (term, by) = (manifest.term, highest_term(store, prefix)?);
    if by > term { Err(Error::Fenced { term, by }) } else { Ok(path) }
}
