//! The end of a savepoint and of all that a job has.
use super::super::erase;
use super::super::history::{StartFrom, claim_term, commit, list, newest};
use super::super::paths;
use super::super::store::{Failure, Operation};
use super::*;

/// A file in the checkpoint store as an upload leaves it there.
fn file(store: &MemoryCheckpoints, uploaded_for: ManifestId, name: &str) -> FileEntry {
    let path = paths::file("job", 1, uploaded_for, name);
    store.put(&path, "x".into()).unwrap();
    FileEntry { name: name.to_owned(), path, bytes: 1, crc32: 0, immutable: true }
}

/// Three checkpoints that share a file; the second is a savepoint with one of its own, which the third has, too, and another one.
fn job() -> (MemoryCheckpoints, Vec<FileEntry>) {
    let store = MemoryCheckpoints::default();
    claim_term(&store, "job", StartFrom::Newest, "", 0).unwrap();
    let shared = file(&store, id(1, 1), "1.sst");
    let (handed_on, own) = (file(&store, id(2, 1), "2.sst"), file(&store, id(2, 1), "CURRENT"));
    let files = [
        vec![shared.clone()],
        vec![shared.clone(), handed_on.clone(), own.clone()],
        vec![shared.clone(), handed_on.clone()],
    ];
    for (epoch, files) in (1..).zip(files) {
        let mut one = manifest(id(epoch, 1), vec![task(1, vec![0], 1, files)]);
        one.savepoint = epoch == 2;
        one.asked = one.savepoint.then(|| "s".to_owned());
        commit(&store, "job", &one).unwrap();
    }
    store.put("job-2/manifests/x", "x".into()).unwrap();
    (store, vec![shared, handed_on, own])
}

fn there(store: &MemoryCheckpoints, files: &[FileEntry]) -> Vec<bool> {
    files.iter().map(|file| store.get(&file.path).unwrap().is_some()).collect()
}

#[test]
fn a_savepoint_takes_along_what_it_alone_has() {
    let (store, files) = job();
    let travelling = file(&store, id(4, 1), "4.sst");
    assert_eq!(super::super::history::savepoint(&store, "job", "s").unwrap().map(|found| found.epoch), Some(2));
    assert_eq!(erase::savepoint(&store, "job", id(2, 1)).unwrap(), 2);
    assert_eq!(there(&store, &files), [true, true, false]);
    assert_eq!(there(&store, &[travelling]), [true], "of an epoch that is not committed yet");
    assert_eq!(list(&store, "job").unwrap(), [id(1, 1), id(3, 1)]);
    assert_eq!(erase::savepoint(&store, "job", id(2, 1)).unwrap(), 0, "again");
    assert_eq!(super::super::history::savepoint(&store, "job", "s").unwrap(), None);
}

#[test]
fn what_the_job_would_go_back_to_becomes_an_ordinary_checkpoint() {
    let (store, files) = job();
    let mut last = manifest(id(4, 1), vec![task(1, vec![0], 1, vec![files[0].clone()])]);
    last.savepoint = true;
    commit(&store, "job", &last).unwrap();
    assert_eq!(erase::savepoint(&store, "job", id(4, 1)).unwrap(), 0);
    let found = newest(&store, "job").unwrap().manifest.unwrap();
    assert_eq!((found.id(), found.savepoint), (id(4, 1), false));
}

#[test]
fn all_goes_but_for_what_is_held_and_what_is_interrupted_is_done_again() {
    let (store, files) = job();
    let calls = std::sync::Mutex::new(0);
    store.set_fault(Some(Arc::new(move |call| {
        if call.operation != Operation::Delete {
            return None;
        }
        let mut calls = calls.lock().unwrap();
        *calls += 1;
        (*calls == 3).then_some(Failure::Before)
    })));
    assert!(erase::job(&store, "job", &[id(2, 1), id(9, 9)]).is_err());
    store.set_fault(None);
    erase::job(&store, "job", &[id(2, 1), id(9, 9)]).unwrap();
    assert_eq!(there(&store, &files), [true, true, true]);
    assert_eq!(list(&store, "job").unwrap(), [id(2, 1)]);
    assert_eq!(store.list("job").unwrap().len(), 4);
    // Nobody would go back to it any more.
    assert_eq!(erase::savepoint(&store, "job", id(2, 1)).unwrap(), 4);
    assert!(store.list("job").unwrap().is_empty());
    assert_eq!(store.list("job-2").unwrap().len(), 1);
}

#[test]
fn paths_of_other_jobs_are_none_of_its_own() {
    let name = "00000000000000000012-0000000003.json";
    let own = |path: &str| erase::of_job("n/orders/u", &format!("{path}/manifests/{name}"));
    assert_eq!(own("s3://b/jobs/n/orders/u"), Some(id(12, 3)));
    assert_eq!(own("n/orders/u"), Some(id(12, 3)));
    for other in ["s3://b/n/orders/v", "s3://b/jobs/n/other-n/orders/u2", "s3://b/xn/orders/u"] {
        assert_eq!(own(other), None, "{other}");
    }
    assert_eq!(erase::of_job("n/orders/u", "s3://b/n/orders/u"), None);
}
