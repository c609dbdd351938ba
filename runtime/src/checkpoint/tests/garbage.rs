use std::collections::BTreeSet;

use proptest::prelude::*;

use super::super::Error;
use super::super::garbage::collect;
use super::super::history::{StartFrom, claim_term, commit, list};
use super::super::paths;
use super::*;

/// A file in the checkpoint store as an upload leaves it there.
fn file(
    store: &MemoryCheckpoints,
    incarnation: u64,
    uploaded_for: ManifestId,
    name: &str,
    immutable: bool,
) -> FileEntry {
    let path = paths::file("job", incarnation, uploaded_for, name);
    store.put(&path, "x".into()).unwrap();
    FileEntry { name: name.to_owned(), path, bytes: 1, crc32: 0, immutable }
}

fn exists(store: &MemoryCheckpoints, file: &FileEntry) -> bool {
    store.get(&file.path).unwrap().is_some()
}

#[test]
fn the_newest_and_savepoints_stay() {
    let store = MemoryCheckpoints::default();
    claim_term(&store, "job", StartFrom::Newest, "", 0).unwrap();
    let mut files = Vec::new();
    for epoch in 1..=5 {
        let own = file(&store, 1, id(epoch, 1), "CURRENT", false);
        let mut checkpoint = manifest(id(epoch, 1), vec![task(1, vec![0], 1, vec![own.clone()])]);
        checkpoint.savepoint = epoch == 2;
        commit(&store, "job", &checkpoint).unwrap();
        files.push(own);
    }
    let orphan = file(&store, 9, id(4, 1), "000004.sst", true);
    let travelling = file(&store, 1, id(6, 1), "000009.sst", true);
    collect(&store, "job", id(5, 1), 2, &[id(1, 1)]).unwrap();
    assert_eq!(list(&store, "job").unwrap(), [id(1, 1), id(2, 1), id(4, 1), id(5, 1)]);
    assert_eq!(files.iter().map(|file| exists(&store, file)).collect::<Vec<_>>(), [true, true, false, true, true]);
    assert!(!exists(&store, &orphan), "left behind by an upload that was given up");
    assert!(exists(&store, &travelling), "of an epoch that is not committed yet");
    let again = collect(&store, "job", id(5, 1), 2, &[id(1, 1)]).unwrap();
    assert_eq!((again.manifests.len(), again.files.len()), (0, 0));
}

#[test]
fn a_fenced_coordinator_removes_nothing() {
    let store = MemoryCheckpoints::default();
    claim_term(&store, "job", StartFrom::Newest, "", 0).unwrap();
    (1..4).for_each(|epoch| drop(commit(&store, "job", &manifest(id(epoch, 1), vec![])).unwrap()));
    claim_term(&store, "job", StartFrom::Exactly(id(1, 1)), "", 0).unwrap();
    assert!(matches!(collect(&store, "job", id(3, 1), 1, &[]), Err(Error::Fenced { .. })));
    assert_eq!(list(&store, "job").unwrap().len(), 3);
    // The new one removes what it went back behind, once it has a checkpoint of its own.
    assert_eq!(collect(&store, "job", id(4, 2), 1, &[]).unwrap(), Default::default());
    commit(&store, "job", &manifest(id(4, 2), vec![])).unwrap();
    collect(&store, "job", id(4, 2), 1, &[]).unwrap();
    assert_eq!(list(&store, "job").unwrap(), [id(4, 2)]);
}

/// One epoch of a store: tables made since the last, tables compacted away, whether the upload and the commit succeed.
#[derive(Debug, Clone)]
struct Round {
    made: usize,
    gone: usize,
    uploaded: bool,
    committed: bool,
    restart: bool,
    savepoint: bool,
}

fn any_round() -> impl Strategy<Value = Round> {
    let chance = |share: f64| proptest::bool::weighted(share);
    (0usize..4, 0usize..3, chance(0.9), chance(0.7), chance(0.2), chance(0.1)).prop_map(
        |(made, gone, uploaded, committed, restart, savepoint)| Round {
            made,
            gone,
            uploaded,
            committed,
            restart,
            savepoint,
        },
    )
}

proptest! {
    /// Tables come and go, uploads and commits fail, the job goes back to its newest checkpoint; after every collection every
    /// manifest has all its files, and the store knows no table that is gone.
    #[test]
    fn no_manifest_ever_misses_a_file(rounds in proptest::collection::vec(any_round(), 1..40), keep in 1usize..4) {
        let store = MemoryCheckpoints::default();
        let mut term = claim_term(&store, "job", StartFrom::Newest, "", 0).unwrap().term;
        let (mut incarnation, mut next_table, mut newest) = (1, 0, None);
        let mut tables: Vec<String> = Vec::new();
        let mut known: BTreeMap<String, FileEntry> = BTreeMap::new();
        for (epoch, round) in (1u64..).zip(rounds) {
            for _ in 0..round.made {
                next_table += 1;
                tables.push(format!("{next_table:06}.sst"));
            }
            tables.drain(..round.gone.min(tables.len()));
            // As `Uploader` does it; an upload that fails has put the first half.
            let uploads = if round.uploaded { tables.len() } else { tables.len() / 2 };
            for table in &tables[..uploads] {
                let upload = || file(&store, incarnation, id(epoch, term), table, true);
                known.entry(table.clone()).or_insert_with(upload);
            }
            if round.uploaded {
                known.retain(|name, _| tables.contains(name));
            }
            if round.uploaded && round.committed {
                let mut files: Vec<_> = tables.iter().map(|table| known[table].clone()).collect();
                files.push(file(&store, incarnation, id(epoch, term), "CURRENT", false));
                let mut checkpoint = manifest(id(epoch, term), vec![task(1, vec![0], incarnation, files)]);
                checkpoint.savepoint = round.savepoint;
                commit(&store, "job", &checkpoint).unwrap();
                collect(&store, "job", checkpoint.id(), keep, &[]).unwrap();
                newest = Some(checkpoint);
            }
            if round.restart {
                let claimed = claim_term(&store, "job", StartFrom::Newest, "", 0).unwrap();
                prop_assert_eq!(&claimed.start, &newest);
                (term, incarnation) = (claimed.term, incarnation + 1);
                let files = newest.iter().flat_map(Manifest::files).filter(|file| file.immutable);
                known = files.map(|file| (file.name.clone(), file.clone())).collect();
                tables = known.keys().cloned().collect();
                next_table = tables.last().map_or(0, |last| last[..6].parse().unwrap());
            }
            let there: BTreeSet<String> = store.list("job/files").unwrap().into_iter().map(|object| object.path).collect();
            for id in list(&store, "job").unwrap() {
                let checkpoint = super::super::history::load(&store, "job", id).unwrap();
                prop_assert!(checkpoint.files().all(|file| there.contains(&file.path)), "{} misses a file", id);
            }
            prop_assert!(known.values().all(|file| there.contains(&file.path)), "the uploader relies on a file that is gone");
        }
    }
}
