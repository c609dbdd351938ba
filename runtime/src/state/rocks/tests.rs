use super::super::conformance::{self, content, key, put};
use super::super::disk::{Disk, RealDisk};
use super::*;

fn small() -> RocksBackend {
    RocksBackend::new(RocksOptions { cache_bytes: 8 << 20, write_buffer_bytes: 8 << 20 })
}

#[test]
fn conforms() {
    let folder = tempfile::tempdir().unwrap();
    conformance::check(&small(), &RealDisk, folder.path());
}

#[test]
fn random_operations_agree_with_a_map() {
    let folder = tempfile::tempdir().unwrap();
    conformance::check_random(&small(), folder.path(), 24);
}

#[test]
fn a_cut_needs_tables_manifest_and_current_only() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = small().create(&folder.path().join("store")).unwrap();
    put(&mut *store, 1, &[("a", "1")]);
    let cut = store.cut(&folder.path().join("cut")).unwrap();
    let kind = |file: &CutFile| (file.name.split(['-', '.']).next_back().unwrap().to_owned(), file.immutable);
    let mut kinds: Vec<_> = cut.files.iter().map(kind).collect();
    kinds.sort();
    assert_eq!(kinds.len(), 3, "{kinds:?}");
    assert_eq!(kinds.iter().filter(|(_, immutable)| *immutable).count(), 1);
    assert_eq!(RealDisk.files(&folder.path().join("cut")).unwrap().len(), 3);
    // Nothing was written since: the next cut has the same table.
    let again = store.cut(&folder.path().join("again")).unwrap();
    let tables =
        |cut: &Cut| cut.files.iter().filter(|file| file.immutable).map(|file| file.name.clone()).collect::<Vec<_>>();
    assert_eq!(tables(&again), tables(&cut));
}

#[test]
fn large_imports_become_files_and_dropped_groups_give_them_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = small().create(&folder.path().join("store")).unwrap();
    let entries =
        |group| (0..2000).map(|number| (key(group, &format!("{number:05}")), vec![7; 1000])).collect::<Vec<_>>();
    for group in 1..4 {
        store.import(group, entries(group)).unwrap();
    }
    let tables =
        |folder: &Path| RealDisk.files(folder).unwrap().iter().filter(|(name, _)| name.ends_with("sst")).count();
    assert_eq!(tables(&folder.path().join("store")), 3);
    store.drop_group(2).unwrap();
    let cut = store.cut(&folder.path().join("cut")).unwrap();
    // The file of group 2 is gone; the tombstone may take one more.
    assert!(cut.files.iter().filter(|file| file.immutable).count() <= 3);
    assert_eq!(content(&mut *store).len(), 4000);
    assert!(store.group_bytes(2).unwrap() < 1000);
    store.import(2, entries(2)).unwrap();
    assert_eq!(content(&mut *store).len(), 6000);
}

#[test]
fn a_file_of_several_groups_goes_with_the_last_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = RocksStore::new(small().shared.open(&folder.path().join("store")).unwrap());
    let values: Vec<(String, String)> = (0..1000).map(|number| (format!("{number:04}"), "v".repeat(100))).collect();
    let values: Vec<(&str, &str)> = values.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    [2, 3, 4].iter().for_each(|group| put(&mut store, *group, &values));
    store.cut(&folder.path().join("cut")).unwrap();
    store.db.compact_range(None::<&[u8]>, None::<&[u8]>);
    // Others are around it, in a file of their own.
    [1, 5].iter().for_each(|group| put(&mut store, *group, &values));
    let on_disk = |store: &RocksStore| store.db.property_int_value(properties::LIVE_SST_FILES_SIZE).unwrap().unwrap();
    let full = on_disk(&store);
    assert!(full > 10_000);
    for (group, left) in [(3, full), (2, full), (4, 0)] {
        store.drop_group(group).unwrap();
        assert_eq!(on_disk(&store), left, "group {group}");
    }
    assert_eq!(content(&mut store).len(), 2000);
    // What was below it does not come back.
    store.cut(&folder.path().join("after")).unwrap();
    assert_eq!(content(&mut store).len(), 2000);
    put(&mut store, 3, &values);
    assert_eq!(content(&mut store).len(), 3000);
}

#[test]
fn files_of_a_dropped_group_stay_while_a_snapshot_reads_them() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = small().create(&folder.path().join("store")).unwrap();
    let entries: Vec<_> = (0..2000).map(|number| (key(1, &format!("{number:05}")), vec![7; 1000])).collect();
    store.import(1, entries.clone()).unwrap();
    let snapshot = store.snapshot().unwrap();
    store.drop_group(1).unwrap();
    assert_eq!(conformance::exported(&*snapshot, 1), entries.into_iter().collect());
    assert!(content(&mut *store).is_empty());
}

#[test]
fn two_stores_from_one_cut_go_apart() {
    let folder = tempfile::tempdir().unwrap();
    let (backend, at) = (small(), |name: &str| folder.path().join(name));
    let mut store = backend.create(&at("store")).unwrap();
    put(&mut *store, 1, &[("a", "1")]);
    store.cut(&at("cut")).unwrap();
    let mut stores: Vec<_> = ["left", "right"].map(|name| backend.open(&at(name), &at("cut")).unwrap()).into();
    put(&mut *stores[0], 1, &[("b", "left")]);
    put(&mut *stores[1], 1, &[("b", "right")]);
    for store in &mut stores {
        let value = store.get(&key(1, "b")).unwrap().unwrap();
        let name = String::from_utf8(value).unwrap();
        store.cut(&at(&format!("cut-{name}"))).unwrap();
        // The shared cache must not mix up files of equal names.
        let mut again = backend.open(&at(&format!("again-{name}")), &at(&format!("cut-{name}"))).unwrap();
        assert_eq!(again.get(&key(1, "b")).unwrap(), Some(name.into_bytes()));
    }
}

#[test]
fn a_folder_in_use_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = small().create(folder.path()).unwrap();
    let error = small().create(folder.path()).err().unwrap().to_string();
    assert!(error.contains("is not empty"), "{error}");
    drop(store);
}
