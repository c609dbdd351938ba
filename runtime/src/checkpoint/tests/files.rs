use std::os::unix::fs::MetadataExt;

use super::super::Error;
use super::super::download::{Fetched, fetch, local_cut, prune_local};
use super::super::store::{Failure, ObjectCheckpoints, Operation};
use super::*;
use crate::state::conformance::{self, content, key, put};
use crate::state::disk::RealDisk;
use crate::state::rocks::{RocksBackend, RocksOptions};

#[test]
fn a_cut_goes_up_and_comes_down() {
    let simulated = Simulated::new();
    let world = simulated.world();
    let mut store = world.backend.create(&world.at("a")).unwrap();
    put(&mut *store, 1, &[("a", "1"), ("b", "2")]);
    let mut uploader = Uploader::new(77);
    let uploaded = world.checkpoint(&mut *store, &mut uploader, id(1, 1));
    assert_eq!(uploaded.files[0].path, format!("job/files/{:016x}/{}/entries", 77, id(1, 1)));
    assert_eq!(uploaded.uploaded_bytes, uploaded.files[0].bytes);
    let manifest = task(1, vec![1], 77, uploaded.files.clone());
    let fetch =
        |local: Option<&Path>, to: &str| fetch(world.store, world.disk, local, (&manifest, id(1, 1)), &world.at(to));
    let (bytes, none) = (uploaded.uploaded_bytes, Fetched::default());
    assert_eq!(fetch(None, "down").unwrap(), Fetched { bytes_read: bytes, ..none });
    assert_eq!(fetch(Some(&world.local()), "near").unwrap(), Fetched { bytes_local: bytes, ..none });
    for folder in ["down", "near"] {
        let mut opened = world.backend.open(&world.at("b"), &world.at(folder)).unwrap();
        assert_eq!(content(&mut *opened), content(&mut *store));
    }
    // A local file with other content is not taken.
    let local = local_cut(&world.local(), 77, id(1, 1)).join("entries");
    world.disk.writer(&local).unwrap().write_all(&vec![0; usize::try_from(bytes).unwrap()]).unwrap();
    assert_eq!(fetch(Some(&world.local()), "again").unwrap(), Fetched { bytes_read: bytes, ..none });
    // Nor is one in the checkpoint store.
    world.store.put(&uploaded.files[0].path, "other".into()).unwrap();
    assert!(matches!(fetch(None, "bad"), Err(Error::Corrupt { .. })));
    world.store.delete(&uploaded.files[0].path).unwrap();
    let error = fetch(None, "gone").unwrap_err().to_string();
    assert!(error.ends_with("/entries is corrupt: it is missing"), "{error}");
}

#[test]
fn only_new_tables_are_uploaded_also_after_a_restore() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let store = ObjectCheckpoints::local(&folder.path().join("cp"), runtime.handle().clone()).unwrap();
    let backend = RocksBackend::new(RocksOptions { cache_bytes: 1 << 20, write_buffer_bytes: 8 << 20 });
    let world = World { backend: &backend, disk: &RealDisk, store: &store, folder: folder.path().to_path_buf() };
    let mut home = backend.create(&world.at("a")).unwrap();
    let names: Vec<String> = (0..2000).map(|number| format!("{number}")).collect();
    let pairs: Vec<_> = names.iter().map(|name| (name.as_str(), name.as_str())).collect();
    put(&mut *home, 1, &pairs);
    let mut uploader = Uploader::new(1);
    let first = world.checkpoint(&mut *home, &mut uploader, id(1, 1));
    put(&mut *home, 2, &[("a", "1")]);
    let second = world.checkpoint(&mut *home, &mut uploader, id(2, 1));
    let tables = |uploaded: &Uploaded| -> Vec<String> {
        uploaded.files.iter().filter(|file| file.immutable).map(|file| file.path.clone()).collect()
    };
    assert_eq!((tables(&first).len(), tables(&second).len()), (1, 2));
    assert_eq!(tables(&second)[0], tables(&first)[0], "the first table is referred to, not uploaded again");
    assert!(second.uploaded_bytes < first.uploaded_bytes / 2, "{second:?} {first:?}");

    // A new worker, without local files, goes on from the second checkpoint with a new incarnation.
    let base = task(1, vec![1, 2], 1, second.files.clone());
    fetch(&store, &RealDisk, None, (&base, id(2, 1)), &world.at("down")).unwrap();
    let mut away = backend.open(&world.at("b"), &world.at("down")).unwrap();
    assert_eq!(content(&mut *away), content(&mut *home));
    put(&mut *away, 2, &[("a", "2")]);
    put(&mut *home, 2, &[("a", "zombie")]);
    let mut restored = Uploader::restored(2, &base);
    let third = world.checkpoint(&mut *away, &mut restored, id(3, 2));
    let zombie = world.checkpoint(&mut *home, &mut uploader, id(3, 1));
    assert_eq!(tables(&third)[..2], tables(&second)[..]);
    assert!(tables(&third)[2].contains("/0000000000000002/"), "{third:?}");
    // Both gave one name to different tables; the incarnation keeps them apart.
    assert_eq!(third.files.last().unwrap().immutable, zombie.files.last().unwrap().immutable);
    let third = task(1, vec![1, 2], 2, third.files);
    fetch(&store, &RealDisk, Some(&world.local()), (&third, id(3, 2)), &world.at("third")).unwrap();
    let mut opened = backend.open(&world.at("c"), &world.at("third")).unwrap();
    assert_eq!(opened.get(&key(2, "a")).unwrap(), Some(b"2".to_vec()));

    // The store is on the disk of the worker: its tables are linked there, and what is not theirs any more is found out.
    let path = &third.files[0].path;
    let object = folder.path().join("cp").join(path);
    assert!(std::fs::metadata(&object).unwrap().nlink() > 1);
    let wrong = vec![0; usize::try_from(third.files[0].bytes).unwrap()];
    store.put(path, wrong.into()).unwrap();
    assert!(matches!(fetch(&store, &RealDisk, None, (&third, id(3, 2)), &world.at("bad")), Err(Error::Corrupt { .. })));
}

#[test]
fn an_upload_that_failed_goes_on() {
    let simulated = Simulated::new();
    let world = simulated.world();
    let mut store = world.backend.create(&world.at("a")).unwrap();
    put(&mut *store, 1, &[("a", "1")]);
    let cut = conformance::cut(&mut *store, &world.at("cut"));
    let mut uploader = Uploader::new(1);
    for failure in [Failure::Before, Failure::After] {
        simulated.store.set_fault(Some(Arc::new(move |call| (call.operation == Operation::Put).then_some(failure))));
        let error = uploader.upload(world.store, world.disk, "job", id(1, 1), &cut).unwrap_err();
        assert!(error.is_transient(), "{error}");
    }
    simulated.store.set_fault(None);
    assert_eq!(uploader.upload(world.store, world.disk, "job", id(1, 1), &cut).unwrap().files.len(), 1);
}

#[test]
fn old_local_cuts_are_removed() {
    let simulated = Simulated::new();
    let world = simulated.world();
    for (incarnation, epoch) in [(1, 1), (1, 2), (2, 1), (2, 2), (3, 2)] {
        let folder = local_cut(&world.local(), incarnation, id(epoch, 1));
        world.disk.create_folder(&folder).unwrap();
        world.disk.writer(&folder.join("entries")).unwrap();
    }
    prune_local(world.disk, &world.local(), &[(1, id(2, 1)), (3, id(2, 1))]).unwrap();
    let left = |incarnation| world.disk.folders(&world.local().join(format!("{incarnation:016x}"))).unwrap();
    assert_eq!((left(1), left(2), left(3)), (vec![id(2, 1).to_string()], vec![], vec![id(2, 1).to_string()]));
    prune_local(world.disk, &world.at("never made"), &[]).unwrap();
}
