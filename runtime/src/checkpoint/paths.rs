//! Where everything is in the checkpoint store. `PREFIX` is the job's own folder in it.
//!
//! ```text
//! PREFIX/terms/TERM.json                            claim of a term (create-if-absent)
//! PREFIX/terms/TERM-start.json                      the manifest that term starts from (create-if-absent)
//! PREFIX/manifests/EPOCH-TERM.json                  a complete checkpoint (create-if-absent)
//! PREFIX/generations/GENERATION                     note of the generation deployed last
//! PREFIX/rescales/TERM.json                         rescales of this term and those before
//! PREFIX/files/INCARNATION/EPOCH-TERM/NAME          files of cuts, by the store they are from and the epoch of upload
//! ```
//!
//! Terms have 10 digits, epochs 20, so that names sort like numbers; incarnations are 16 hexadecimal digits.
//!
//! A store incarnation is a random number drawn anew whenever a task's store is made or opened. Within one, an SST name means
//! one content for ever; across two it does not (see `state::rocks`). A manifest may refer to files of several incarnations:
//! those that came with the cut a store was opened from stay where they are.
use std::fmt;

use millstream_api::id::{Epoch, Generation, Term};
use serde::{Deserialize, Serialize};

/// Names a manifest of a job: the epoch, and the term of the coordinator that committed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ManifestId {
    /// Number of the barrier.
    pub epoch: Epoch,
    /// Incarnation of the coordinator.
    pub term: Term,
}

impl fmt::Display for ManifestId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:020}-{:010}", self.epoch, self.term)
    }
}

impl ManifestId {
    /// Reads what `Display` writes.
    pub fn parse(text: &str) -> Option<Self> {
        let (epoch, term) = text.split_once('-')?;
        let id = Self { epoch: epoch.parse().ok()?, term: term.parse().ok()? };
        (id.to_string() == text).then_some(id)
    }
}

/// Folder of the manifests.
pub fn manifests(prefix: &str) -> String {
    format!("{prefix}/manifests")
}

/// Path of a manifest.
pub fn manifest(prefix: &str, id: ManifestId) -> String {
    format!("{prefix}/manifests/{id}.json")
}

/// Which manifest a path names.
pub fn parse_manifest(prefix: &str, path: &str) -> Option<ManifestId> {
    ManifestId::parse(path.strip_prefix(prefix)?.strip_prefix("/manifests/")?.strip_suffix(".json")?)
}

/// Splits a path such as `ROOT/PREFIX/manifests/EPOCH-TERM.json` (what a person gives to `--restore`) into the root of the
/// checkpoint store, the job's prefix and the manifest.
pub fn locate(path: &str) -> Option<(String, String, ManifestId)> {
    let (folder, file) = path.rsplit_once("/manifests/")?;
    let id = ManifestId::parse(file.strip_suffix(".json")?)?;
    let (root, prefix) = folder.rsplit_once('/').unwrap_or((".", folder));
    let root = if root.is_empty() { "/" } else { root };
    (!prefix.is_empty()).then(|| (root.to_owned(), prefix.to_owned(), id))
}

/// Folder of the terms.
pub fn terms(prefix: &str) -> String {
    format!("{prefix}/terms")
}

/// Path of the claim of a term.
pub fn claim(prefix: &str, term: Term) -> String {
    format!("{prefix}/terms/{term:010}.json")
}

/// Path of what a term starts from.
pub fn start(prefix: &str, term: Term) -> String {
    format!("{prefix}/terms/{term:010}-start.json")
}

/// The term a path in the folder of terms is about, and whether it is its start rather than its claim.
pub fn parse_term(prefix: &str, path: &str) -> Option<(Term, bool)> {
    let name = path.strip_prefix(prefix)?.strip_prefix("/terms/")?.strip_suffix(".json")?;
    match name.strip_suffix("-start") {
        Some(term) => Some((term.parse().ok()?, true)),
        None => Some((name.parse().ok()?, false)),
    }
}

/// Folder with a note of the generation deployed last.
pub fn generations(prefix: &str) -> String {
    format!("{prefix}/generations")
}

/// Note of a generation.
pub fn generation(prefix: &str, generation: Generation) -> String {
    format!("{}/{generation:016x}", generations(prefix))
}

/// The generation of a note.
pub fn parse_generation(prefix: &str, path: &str) -> Option<Generation> {
    let name = path.strip_prefix(&generations(prefix))?.strip_prefix('/')?;
    Generation::from_str_radix(name, 16).ok().filter(|generation| path == self::generation(prefix, *generation))
}

/// Folder with a list of the rescales so far.
pub fn rescales(prefix: &str) -> String {
    format!("{prefix}/rescales")
}

/// The list as a term has it.
pub fn rescales_of(prefix: &str, term: Term) -> String {
    format!("{}/{term:010}.json", rescales(prefix))
}

/// The term of a list.
pub fn parse_rescales(prefix: &str, path: &str) -> Option<Term> {
    path.strip_prefix(&rescales(prefix))?.strip_prefix('/')?.strip_suffix(".json")?.parse().ok()
}

/// Folder of all files.
pub fn files(prefix: &str) -> String {
    format!("{prefix}/files")
}

/// Path of a file of a cut.
pub fn file(prefix: &str, incarnation: u64, uploaded_for: ManifestId, name: &str) -> String {
    format!("{prefix}/files/{incarnation:016x}/{uploaded_for}/{name}")
}

/// The manifest a file was uploaded for.
pub fn parse_file(prefix: &str, path: &str) -> Option<ManifestId> {
    let (_incarnation, rest) = path.strip_prefix(prefix)?.strip_prefix("/files/")?.split_once('/')?;
    ManifestId::parse(rest.split_once('/')?.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_back() {
        let id = ManifestId { epoch: 12, term: 3 };
        let path = manifest("job", id);
        assert_eq!(path, "job/manifests/00000000000000000012-0000000003.json");
        assert_eq!(parse_manifest("job", &path), Some(id));
        assert_eq!(parse_manifest("other", &path), None);
        assert_eq!(parse_manifest("job", "job/manifests/12-3.json"), None);
        let path = file("job", 0xab, id, "000007.sst");
        assert_eq!(path, "job/files/00000000000000ab/00000000000000000012-0000000003/000007.sst");
        assert_eq!(parse_file("job", &path), Some(id));
        assert_eq!(parse_term("job", &claim("job", 7)), Some((7, false)));
        assert_eq!(parse_term("job", &start("job", 7)), Some((7, true)));
        assert_eq!(parse_rescales("job", &rescales_of("job", 7)), Some(7));
    }

    #[test]
    fn a_path_to_restore_is_taken_apart() {
        let name = "00000000000000000012-0000000003.json";
        let id = ManifestId { epoch: 12, term: 3 };
        let parts = |root: &str| Some((root.to_owned(), "job".to_owned(), id));
        assert_eq!(locate(&format!("/data/cp/job/manifests/{name}")), parts("/data/cp"));
        assert_eq!(locate(&format!("/job/manifests/{name}")), parts("/"));
        assert_eq!(locate(&format!("job/manifests/{name}")), parts("."));
        assert_eq!(locate("/data/cp/job/manifests/latest.json"), None);
        assert_eq!(locate("/data/cp/job"), None);
    }
}
