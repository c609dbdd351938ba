//! What every backend must do. Both backends' tests call [`check`] and [`check_random`].
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use millstream_api::id::KeyGroup;

use super::disk::Disk;
use super::{Backend, Changes, CutFile, Snapshot, Store, prefix};

mod moves;
mod random;

pub use moves::import;

pub use random::check_random;

/// Entries in order.
pub type Content = BTreeMap<Vec<u8>, Vec<u8>>;

/// A key of the state with ordinal 1.
pub fn key(group: KeyGroup, name: &str) -> Vec<u8> {
    [prefix(group, 1).as_slice(), name.as_bytes()].concat()
}

/// Puts values under keys of one group.
pub fn put(store: &mut dyn Store, group: KeyGroup, pairs: &[(&str, &str)]) {
    let change = |(name, value): &(&str, &str)| (key(group, name), Some(value.as_bytes().to_vec()));
    store.write(pairs.iter().map(change).collect()).unwrap();
}

/// All that a store holds.
pub fn content(store: &mut dyn Store) -> Content {
    let mut found = Content::new();
    let mut last = Vec::new();
    let mut visit = |key: &[u8], value: &[u8]| {
        assert!(last.as_slice() < key, "keys ascend");
        last = key.to_vec();
        found.insert(key.to_vec(), value.to_vec());
        true
    };
    store.scan(&[], None, &mut visit).unwrap();
    found
}

/// All that a snapshot has of a group.
pub fn exported(snapshot: &dyn Snapshot, group: KeyGroup) -> Content {
    let mut found = Content::new();
    let mut visit = |key: &[u8], value: &[u8]| found.insert(key.to_vec(), value.to_vec()).is_none();
    snapshot.export(group, None, &mut visit).unwrap();
    found
}

/// The entries of `content` that belong to a group.
pub fn of_group(content: &Content, group: KeyGroup) -> Content {
    let belongs = |(key, _): &(&Vec<u8>, &Vec<u8>)| key.starts_with(&group.to_be_bytes());
    content.iter().filter(belongs).map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn bytes_of(disk: &dyn Disk, path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    disk.reader(path).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

/// A cut, complete.
pub fn cut(store: &mut dyn Store, folder: &Path) -> Vec<CutFile> {
    store.cut(folder).unwrap().files().unwrap()
}

fn files_of(disk: &dyn Disk, cut: &[CutFile]) -> BTreeMap<String, Vec<u8>> {
    cut.iter().map(|file| (file.name.clone(), bytes_of(disk, &file.path))).collect()
}

/// Runs every fixed case below `folder`.
pub fn check(backend: &dyn Backend, disk: &dyn Disk, folder: &Path) {
    reads_see_writes(backend, &folder.join("reads"));
    scans_respect_bounds(backend, &folder.join("scans"));
    ranges_are_removed(backend, &folder.join("ranges"));
    cuts_stay_as_they_are(backend, disk, &folder.join("cuts"));
    cut_files_keep_name_and_content(backend, disk, &folder.join("names"));
    snapshots_do_not_change(backend, &folder.join("snapshots"));
    exports_pause_and_go_on(backend, &folder.join("pauses"));
    changes_complete_a_snapshot(backend, &folder.join("changes"));
    groups_move_and_come_back(backend, &folder.join("moves"));
    moves::groups_come_while_stores_are_used(backend, &folder.join("moves-live"));
    moves::groups_that_do_not_come_are_gone(backend, &folder.join("moves-given-up"));
    moves::groups_go_while_the_store_is_used(backend, &folder.join("moves-out"));
    sizes_follow_content(backend, &folder.join("sizes"));
    mistakes_are_refused(backend, &folder.join("mistakes"));
}

fn reads_see_writes(backend: &dyn Backend, folder: &Path) {
    let mut store = backend.create(folder).unwrap();
    put(&mut *store, 1, &[("a", "1"), ("b", ""), ("a", "2"), ("c", "3")]);
    store.write(vec![(key(1, "c"), None), (key(1, "d"), Some(b"4".to_vec())), (key(1, "none"), None)]).unwrap();
    let keys = ["d", "a", "none", "b", "a", "c"].map(|name| key(1, name));
    let keys: Vec<_> = keys.iter().map(Vec::as_slice).collect();
    let found = store.multi_get(&keys).unwrap();
    let expected = [Some("4"), Some("2"), None, Some(""), Some("2"), None];
    assert_eq!(found, expected.map(|value| value.map(|value| value.as_bytes().to_vec())));
    assert_eq!(store.get(&key(2, "a")).unwrap(), None);
    assert_eq!(store.multi_get(&[]).unwrap(), Vec::<Option<Vec<u8>>>::new());
    let operations = store.operations();
    assert_eq!((operations.reads, operations.writes), (7, 7));
}

fn scans_respect_bounds(backend: &dyn Backend, folder: &Path) {
    let mut store = backend.create(folder).unwrap();
    for group in [0, 1, 2, 255, 256, 32767] {
        put(&mut *store, group, &[("a", "1"), ("b", "2"), ("c", "3")]);
    }
    assert_eq!(content(&mut *store).len(), 18);
    let mut scan = |from: &[u8], to: Option<&[u8]>, stop_after: usize| {
        let mut found = Vec::new();
        let mut visit = |key: &[u8], _: &[u8]| {
            found.push(key.to_vec());
            found.len() < stop_after
        };
        store.scan(from, to, &mut visit).unwrap();
        found
    };
    assert_eq!(scan(&key(1, "b"), Some(&key(2, "b")), 99), [key(1, "b"), key(1, "c"), key(2, "a")]);
    assert_eq!(scan(&prefix(255, 1), Some(&prefix(256, 1)), 99).len(), 3);
    assert_eq!(scan(&prefix(255, 2), None, 4), [key(256, "a"), key(256, "b"), key(256, "c"), key(32767, "a")]);
    assert_eq!(scan(&key(2, "b"), Some(&key(2, "b")), 99), Vec::<Vec<u8>>::new());
    assert_eq!(scan(&key(2, "b"), Some(&key(1, "b")), 99), Vec::<Vec<u8>>::new());
    assert_eq!(scan(&key(2, "b"), None, 1), [key(2, "b")]);
}

fn ranges_are_removed(backend: &dyn Backend, folder: &Path) {
    let mut store = backend.create(folder).unwrap();
    // More than a backend might remove one by one.
    let names: Vec<String> = (0..6000).map(|number| format!("{number:06}")).collect();
    let pairs: Vec<_> = names.iter().map(|name| (name.as_str(), "value")).collect();
    put(&mut *store, 3, &pairs);
    put(&mut *store, 4, &pairs[..10]);
    store.delete_range(&key(3, "000005"), &key(3, "000005")).unwrap();
    store.delete_range(&key(3, "000009"), &key(3, "000002")).unwrap();
    assert_eq!(content(&mut *store).len(), 6010);
    store.delete_range(&key(3, "000002"), &key(3, "000004")).unwrap();
    assert_eq!(store.get(&key(3, "000001")).unwrap(), Some(b"value".to_vec()));
    assert_eq!(store.get(&key(3, "000003")).unwrap(), None);
    assert_eq!(store.get(&key(3, "000004")).unwrap(), Some(b"value".to_vec()));
    store.delete_range(&key(3, "000004"), &key(4, "000001")).unwrap();
    let left: Vec<_> = content(&mut *store).into_keys().collect();
    let expected: Vec<_> = pairs[..2].iter().map(|(name, _)| key(3, name)).collect();
    assert_eq!(left[..2], expected);
    assert_eq!((left.len(), left[2].clone()), (11, key(4, "000001")));
    put(&mut *store, 3, &[("000003", "again")]);
    assert_eq!(store.get(&key(3, "000003")).unwrap(), Some(b"again".to_vec()));
}

fn cuts_stay_as_they_are(backend: &dyn Backend, disk: &dyn Disk, folder: &Path) {
    let mut store = backend.create(&folder.join("store")).unwrap();
    put(&mut *store, 1, &[("a", "1"), ("b", "2")]);
    put(&mut *store, 2, &[("a", "3")]);
    let first = content(&mut *store);
    let cut_folder = folder.join("cut-1");
    let pinned = store.cut(&cut_folder).unwrap();
    put(&mut *store, 1, &[("a", "changed"), ("new", "9")]);
    store.drop_groups(&[2]).unwrap();
    let second = content(&mut *store);
    let last = store.cut(&folder.join("cut-2")).unwrap();
    drop(store);
    last.files().unwrap();
    let cut = pinned.files().unwrap();
    let files = files_of(disk, &cut);
    for file in &cut {
        assert_eq!(file.bytes, files[&file.name].len() as u64);
        assert_eq!(file.path, cut_folder.join(&file.name));
    }

    let mut opened = backend.open(&folder.join("opened"), &cut_folder).unwrap();
    assert_eq!(content(&mut *opened), first);
    put(&mut *opened, 1, &[("a", "other"), ("b", "other")]);
    self::cut(&mut *opened, &folder.join("cut-3"));
    drop(opened);
    let read = backend.read(&cut_folder).unwrap();
    assert_eq!(exported(&*read, 1), of_group(&first, 1));
    assert_eq!(exported(&*read, 2), of_group(&first, 2));
    drop(read);
    assert_eq!(files_of(disk, &cut), files, "neither opening nor reading a cut changes its files");
    let mut again = backend.open(&folder.join("again"), &folder.join("cut-2")).unwrap();
    assert_eq!(content(&mut *again), second);
    // An empty store has a cut, too.
    let mut empty = backend.create(&folder.join("empty")).unwrap();
    self::cut(&mut *empty, &folder.join("cut-empty"));
    let mut opened = backend.open(&folder.join("opened-empty"), &folder.join("cut-empty")).unwrap();
    assert!(content(&mut *opened).is_empty());
}

fn cut_files_keep_name_and_content(backend: &dyn Backend, disk: &dyn Disk, folder: &Path) {
    let mut store = backend.create(&folder.join("store")).unwrap();
    let mut seen: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for round in 0..12 {
        let name = format!("round {round}");
        put(&mut *store, round % 3, &[(&name, "value"), ("always", &name)]);
        let expected = content(&mut *store);
        let folder_of = |what: &str| folder.join(format!("{what}-{round}"));
        let files = cut(&mut *store, &folder_of("cut"));
        for file in files.iter().filter(|file| file.immutable) {
            let bytes = bytes_of(disk, &file.path);
            assert_eq!(seen.entry(file.name.clone()).or_insert_with(|| bytes.clone()), &bytes, "{}", file.name);
        }
        if round % 4 == 3 {
            store = backend.open(&folder_of("store"), &folder_of("cut")).unwrap();
        }
        assert_eq!(content(&mut *store), expected);
    }
}

fn snapshots_do_not_change(backend: &dyn Backend, folder: &Path) {
    let mut store = backend.create(folder).unwrap();
    for group in 1..5 {
        put(&mut *store, group, &[("a", "1"), ("b", "2")]);
    }
    let before = content(&mut *store);
    let snapshot = store.snapshot().unwrap();
    put(&mut *store, 1, &[("a", "changed"), ("c", "3")]);
    store.delete_range(&prefix(2, 0), &prefix(2, 9)).unwrap();
    store.drop_groups(&[3]).unwrap();
    import(&mut *store, 3, vec![(key(3, "imported"), b"5".to_vec())]);
    cut(&mut *store, &folder.with_extension("cut"));
    let later = store.snapshot().unwrap();
    for group in 1..5 {
        assert_eq!(exported(&*snapshot, group), of_group(&before, group), "group {group}");
        assert_eq!(exported(&*later, group), of_group(&content(&mut *store), group), "group {group}");
    }
    drop(store);
    assert_eq!(exported(&*snapshot, 1), of_group(&before, 1), "a snapshot may outlive its store");
}

fn exports_pause_and_go_on(backend: &dyn Backend, folder: &Path) {
    let mut store = backend.create(&folder.join("store")).unwrap();
    let names: Vec<String> = (0..5000).map(|number| format!("{number:05}")).collect();
    let pairs: Vec<_> = names.iter().map(|name| (name.as_str(), name.as_str())).collect();
    put(&mut *store, 7, &pairs);
    put(&mut *store, 6, &pairs[..1]);
    put(&mut *store, 8, &pairs[..1]);
    cut(&mut *store, &folder.join("cut"));
    for snapshot in [store.snapshot().unwrap(), backend.read(&folder.join("cut")).unwrap()] {
        let mut found: Vec<Vec<u8>> = Vec::new();
        loop {
            let (from, before) = (found.last().map(|last| [last.as_slice(), &[0]].concat()), found.len());
            let mut visit = |key: &[u8], _: &[u8]| {
                found.push(key.to_vec());
                found.len() < before + 999
            };
            snapshot.export(7, from.as_deref(), &mut visit).unwrap();
            if found.len() == before {
                break;
            }
        }
        assert_eq!(found, names.iter().map(|name| key(7, name)).collect::<Vec<_>>());
    }
}

/// What has changed of a tracked group.
pub fn changes(store: &mut dyn Store, group: KeyGroup) -> Changes {
    let keys = store.take_changed_keys(group).unwrap();
    let values = store.multi_get(&keys.iter().map(Vec::as_slice).collect::<Vec<_>>()).unwrap();
    keys.into_iter().zip(values).collect()
}

fn changes_complete_a_snapshot(backend: &dyn Backend, folder: &Path) {
    let mut store = backend.create(&folder.join("store")).unwrap();
    for group in 1..4 {
        put(&mut *store, group, &[("a", "1"), ("b", "2"), ("c", "3"), ("d", "4")]);
    }
    store.track(2).unwrap();
    let snapshot = store.snapshot().unwrap();
    put(&mut *store, 2, &[("a", "changed"), ("gone", "1"), ("new", "5")]);
    put(&mut *store, 1, &[("a", "not tracked")]);
    store.write(vec![(key(2, "gone"), None)]).unwrap();
    store.delete_range(&key(1, "c"), &key(2, "c")).unwrap();
    let changes = changes(&mut *store, 2);
    let changed: Vec<_> = changes.iter().map(|(key, _)| key.clone()).collect();
    assert_eq!(changed, ["a", "b", "gone", "new"].map(|name| key(2, name)));
    let mut copy = backend.create(&folder.join("copy")).unwrap();
    import(&mut *copy, 2, exported(&*snapshot, 2).into_iter().collect());
    copy.write(changes).unwrap();
    assert_eq!(content(&mut *copy), of_group(&content(&mut *store), 2));
    assert!(store.take_changed_keys(2).is_err(), "tracking has ended");
    store.track(3).unwrap();
    store.drop_groups(&[3]).unwrap();
    assert_eq!(store.take_changed_keys(3).unwrap().len(), 4, "what is dropped has changed");
}

fn groups_move_and_come_back(backend: &dyn Backend, folder: &Path) {
    let mut home = backend.create(&folder.join("home")).unwrap();
    let mut away = backend.create(&folder.join("away")).unwrap();
    // Large enough for a backend's bulk path.
    let value = "x".repeat(500);
    let names: Vec<String> = (0..9000).map(|number| format!("{number:05}")).collect();
    let pairs: Vec<_> = names.iter().map(|name| (name.as_str(), value.as_str())).collect();
    for group in 0..3 {
        put(&mut *home, group, &pairs);
    }
    let (original, mut moved) = (content(&mut *home), of_group(&content(&mut *home), 1));
    for round in 0..2 {
        let entries: Vec<_> = exported(&*home.snapshot().unwrap(), 1).into_iter().collect();
        home.drop_groups(&[1]).unwrap();
        assert_eq!(of_group(&content(&mut *home), 1), Content::new());
        import(&mut *away, 1, entries);
        assert_eq!(content(&mut *away), moved);
        put(&mut *away, 1, &[("back", &format!("{round}"))]);
        moved = content(&mut *away);
        home.cut(&folder.join(format!("cut-{round}"))).unwrap();
        away.drop_groups(&[1]).unwrap();
        import(&mut *home, 1, moved.clone().into_iter().collect());
        assert_eq!(of_group(&content(&mut *home), 1), moved);
    }
    for group in [0, 2] {
        assert_eq!(of_group(&content(&mut *home), group), of_group(&original, group));
    }
    cut(&mut *home, &folder.join("last"));
    let mut opened = backend.open(&folder.join("opened"), &folder.join("last")).unwrap();
    assert_eq!(content(&mut *opened), content(&mut *home));
    assert!(content(&mut *away).is_empty());
}

fn sizes_follow_content(backend: &dyn Backend, folder: &Path) {
    let mut store = backend.create(&folder.join("store")).unwrap();
    assert_eq!(store.group_bytes(1).unwrap(), 0);
    // Values that do not compress, 1 MB in group 1 and 3 MB in group 2.
    let mut noise = 1u64;
    let mut value = || {
        let word = |_| {
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            noise.to_be_bytes()
        };
        (0..125).flat_map(word).collect::<Vec<u8>>()
    };
    for number in 0..4000 {
        let group = if number % 4 == 0 { 1 } else { 2 };
        store.write(vec![(key(group, &format!("{number}")), Some(value()))]).unwrap();
    }
    let about = |bytes: u64, expected: u64| assert!(expected / 2 < bytes && bytes < expected * 2, "{bytes} {expected}");
    about(store.group_bytes(1).unwrap(), 1_000_000);
    about(store.group_bytes(2).unwrap(), 3_000_000);
    about(store.bytes(), 4_000_000);
    let cut = store.cut(&folder.join("cut")).unwrap();
    about(cut.state_bytes, 4_000_000);
    about(store.group_bytes(1).unwrap(), 1_000_000);
    about(store.group_bytes(2).unwrap(), 3_000_000);
    about(store.bytes(), 4_000_000);
    assert_eq!(store.group_bytes(3).unwrap(), 0);
}

fn mistakes_are_refused(backend: &dyn Backend, folder: &Path) {
    let mut store = backend.create(&folder.join("store")).unwrap();
    let error = store.write(vec![(vec![0, 1, 2], Some(Vec::new()))]).unwrap_err().to_string();
    assert!(error.contains("it has 3 bytes"), "{error}");
    assert!(content(&mut *store).is_empty());
    assert!(backend.open(&folder.join("opened"), &folder.join("no such cut")).is_err());
    assert!(backend.read(&folder.join("no such cut")).is_err());
}
