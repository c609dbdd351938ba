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

/// Its stores write nothing that need not be written yet.
struct Deferring(RocksBackend, Why);

#[derive(Clone, Copy)]
enum Why {
    /// As if files were taken in all the time.
    Imports,
    /// As if there were too many recent files to begin one more.
    Files,
}

impl Deferring {
    fn defer(&self, mut store: RocksStore) -> RocksStore {
        match self.1 {
            Why::Imports => store.imports = Imports::always_under_way(),
            Why::Files => store.cuts = Cuts::new(Arc::clone(&store.db), 0),
        }
        store
    }
}

impl Backend for Deferring {
    fn name(&self) -> &'static str {
        "rocksdb that defers writes"
    }

    fn create(&self, folder: &Path) -> Result<Box<dyn Store>, Error> {
        Ok(Box::new(self.defer(self.0.begin(folder)?)))
    }

    fn open(&self, folder: &Path, cut: &Path) -> Result<Box<dyn Store>, Error> {
        Ok(Box::new(self.defer(self.0.begin_from(folder, cut)?)))
    }

    fn read(&self, cut: &Path) -> Result<Box<dyn Snapshot>, Error> {
        self.0.read(cut)
    }
}

#[test]
fn stores_that_write_late_conform() {
    for why in [Why::Imports, Why::Files] {
        let folder = tempfile::tempdir().unwrap();
        let backend = Deferring(small(), why);
        conformance::check(&backend, &RealDisk, &folder.path().join("fixed"));
        conformance::check_random(&backend, &folder.path().join("random"), 24);
    }
}

#[test]
fn nothing_is_written_until_a_cut_whose_file_had_to_wait_has_begun_it() {
    let folder = tempfile::tempdir().unwrap();
    let backend = Deferring(small(), Why::Files);
    let mut store = backend.defer(backend.0.begin(&folder.path().join("store")).unwrap());
    put(&mut store, 1, &[("a", "before")]);
    let cut = store.cut(&folder.path().join("cut")).unwrap();
    put(&mut store, 1, &[("a", "behind"), ("b", "behind")]);
    assert_eq!(store.db.get(key(1, "a")).unwrap(), Some(b"before".to_vec()));
    assert_eq!(store.get(&key(1, "a")).unwrap(), Some(b"behind".to_vec()));
    cut.files().unwrap();
    put(&mut store, 1, &[("c", "behind")]);
    assert_eq!(store.db.get(key(1, "b")).unwrap(), Some(b"behind".to_vec()), "with the next write");
    // Half a memtable waits, and no more: then the task has the cut begun.
    let cut = store.cut(&folder.path().join("another")).unwrap();
    let value = "x".repeat(1000);
    (0..3000).for_each(|number| put(&mut store, 2, &[(&format!("{number:04}"), &value)]));
    assert!(store.deferred.is_empty() && !store.cuts.hold_writes());
    cut.files().unwrap();
    let mut at_cut = backend.open(&folder.path().join("again"), &folder.path().join("another")).unwrap();
    assert_eq!(content(&mut *at_cut).len(), 3);
}

#[test]
fn a_cut_waits_for_nobody_who_works_with_files_and_has_what_came_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let backend = small();
    let mut store = backend.begin(&folder.path().join("store")).unwrap();
    put(&mut store, 1, &[("a", "written")]);
    let (cuts, imports) = (Arc::clone(&store.cuts), std::mem::replace(&mut store.imports, Imports::always_under_way()));
    let working = cuts.settle();
    put(&mut store, 1, &[("b", "waits")]);
    let first = store.cut(&folder.path().join("first")).unwrap();
    store.imports = imports;
    put(&mut store, 1, &[("a", "behind"), ("c", "behind")]);
    assert_eq!(store.db.get(key(1, "b")).unwrap(), None);
    drop(working);
    put(&mut store, 1, &[("d", "behind")]);
    assert!(!store.cuts.hold_writes() && store.cuts.is_pending(), "begun by who writes, and linked by who wants it");
    // Behind one that is pending.
    let second = store.cut(&folder.path().join("second")).unwrap();
    put(&mut store, 1, &[("e", "behind both")]);
    // Only one waits: the third has those before it linked.
    let third = store.cut(&folder.path().join("third")).unwrap();
    [first, second, third].into_iter().for_each(|cut| drop(cut.files().unwrap()));
    assert!(!store.cuts.hold_writes() && !store.cuts.is_pending());
    let at = |name: &str| {
        let mut cut = backend.open(&folder.path().join("again").join(name), &folder.path().join(name)).unwrap();
        content(&mut *cut).into_values().map(|value| String::from_utf8(value).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(at("first"), ["written", "waits"]);
    assert_eq!(at("second"), ["behind", "waits", "behind", "behind"]);
    assert_eq!(at("third"), ["behind", "waits", "behind", "behind", "behind both"]);
    assert_eq!(content(&mut store).len(), 5);
}

#[test]
fn writes_that_wait_for_imports_are_there_for_whoever_reads() {
    let folder = tempfile::tempdir().unwrap();
    let backend = Deferring(small(), Why::Imports);
    // They are not in the database, as far as they may wait.
    let mut store = backend.defer(backend.0.begin(&folder.path().join("store")).unwrap());
    put(&mut store, 1, &[("a", "1")]);
    assert_eq!((store.db.get(key(1, "a")).unwrap(), store.get(&key(1, "a")).unwrap()), (None, Some(b"1".to_vec())));
    let value = "x".repeat(1000);
    (0..4000).for_each(|number| put(&mut store, 2, &[(&format!("{number:04}"), &value)]));
    assert_eq!(store.db.get(key(1, "a")).unwrap(), Some(b"1".to_vec()));
    assert!(store.deferred.bytes() <= 2 << 20, "{}", store.deferred.bytes());
    // A range of few keys is removed like them.
    store.delete_range(&key(1, "a"), &key(1, "b")).unwrap();
    assert_eq!(store.db.get(key(1, "a")).unwrap(), Some(b"1".to_vec()));
    assert_eq!(store.get(&key(1, "a")).unwrap(), None);
    store.imports = Imports::default();
    // Bit by bit.
    let mut writes = 0;
    while !store.deferred.is_empty() {
        put(&mut store, 1, &[("b", &writes.to_string())]);
        writes += 1;
    }
    assert!((2..=9).contains(&writes), "{writes}");
    assert_eq!(store.get(&key(1, "b")).unwrap(), Some((writes - 1).to_string().into_bytes()));
    assert_eq!(content(&mut store).len(), 4001);
}

#[test]
fn a_cut_needs_tables_manifest_and_current_only() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = small().create(&folder.path().join("store")).unwrap();
    put(&mut *store, 1, &[("a", "1")]);
    let cut = conformance::cut(&mut *store, &folder.path().join("cut"));
    let kind = |file: &CutFile| (file.name.split(['-', '.']).next_back().unwrap().to_owned(), file.immutable);
    let mut kinds: Vec<_> = cut.iter().map(kind).collect();
    kinds.sort();
    assert_eq!(kinds.len(), 3, "{kinds:?}");
    assert_eq!(kinds.iter().filter(|(_, immutable)| *immutable).count(), 1);
    assert_eq!(RealDisk.files(&folder.path().join("cut")).unwrap().len(), 3);
    // Nothing was written since: the next cut has the same table.
    let again = conformance::cut(&mut *store, &folder.path().join("again"));
    let tables =
        |cut: &[CutFile]| cut.iter().filter(|file| file.immutable).map(|file| file.name.clone()).collect::<Vec<_>>();
    assert_eq!(tables(&again), tables(&cut));
}

#[test]
fn large_imports_become_files_and_dropped_groups_give_them_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = small().create(&folder.path().join("store")).unwrap();
    let entries =
        |group| (0..2000).map(|number| (key(group, &format!("{number:05}")), vec![7; 1000])).collect::<Vec<_>>();
    for group in 1..4 {
        conformance::import(&mut *store, group, entries(group));
    }
    let tables =
        |folder: &Path| RealDisk.files(folder).unwrap().iter().filter(|(name, _)| name.ends_with("sst")).count();
    assert_eq!(tables(&folder.path().join("store")), 3);
    store.drop_groups(&[2]).unwrap();
    let cut = conformance::cut(&mut *store, &folder.path().join("cut"));
    // The file of group 2 is gone; the tombstone may take one more.
    assert!(cut.iter().filter(|file| file.immutable).count() <= 3);
    assert_eq!(content(&mut *store).len(), 4000);
    assert!(store.group_bytes(2).unwrap() < 1000);
    conformance::import(&mut *store, 2, entries(2));
    assert_eq!(content(&mut *store).len(), 6000);
}

#[test]
fn a_file_of_several_groups_goes_with_the_last_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let backend = small();
    let mut store = backend.begin(&folder.path().join("store")).unwrap();
    let values: Vec<(String, String)> = (0..1000).map(|number| (format!("{number:04}"), "v".repeat(100))).collect();
    let values: Vec<(&str, &str)> = values.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    [2, 3, 4].iter().for_each(|group| put(&mut store, *group, &values));
    conformance::cut(&mut store, &folder.path().join("cut"));
    store.db.compact_range(None::<&[u8]>, None::<&[u8]>);
    // Others are around it, in a file of their own.
    [1, 5].iter().for_each(|group| put(&mut store, *group, &values));
    let on_disk = |store: &RocksStore| store.db.property_int_value(properties::LIVE_SST_FILES_SIZE).unwrap().unwrap();
    let full = on_disk(&store);
    assert!(full > 10_000);
    for (group, left) in [(3, full), (2, full), (4, 0)] {
        store.drop_groups(&[group]).unwrap();
        assert_eq!(on_disk(&store), left, "group {group}");
    }
    assert_eq!(content(&mut store).len(), 2000);
    // What was below it does not come back.
    conformance::cut(&mut store, &folder.path().join("after"));
    assert_eq!(content(&mut store).len(), 2000);
    put(&mut store, 3, &values);
    assert_eq!(content(&mut store).len(), 3000);
}

#[test]
fn files_of_a_dropped_group_stay_while_a_snapshot_reads_them() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = small().create(&folder.path().join("store")).unwrap();
    let entries: Vec<_> = (0..2000).map(|number| (key(1, &format!("{number:05}")), vec![7; 1000])).collect();
    conformance::import(&mut *store, 1, entries.clone());
    let snapshot = store.snapshot().unwrap();
    store.drop_groups(&[1]).unwrap();
    assert_eq!(conformance::exported(&*snapshot, 1), entries.into_iter().collect());
    assert!(content(&mut *store).is_empty());
}

type Later<'a> = &'a dyn Fn(&mut dyn Store);

/// One after the other: each alone would be in the cut, or missing from it, if the cut were linked only when it is asked for.
#[test]
fn a_cut_that_is_not_linked_yet_is_before_whatever_changes_files() {
    let value = |number: usize| (number..number + 1000).map(|at| at as u8).collect::<Vec<u8>>();
    let entries = |group: KeyGroup, count: usize| -> Vec<(Vec<u8>, Vec<u8>)> {
        (0..count).map(|number| (key(group, &format!("{number:05}")), value(number))).collect()
    };
    let write = |store: &mut dyn Store, group: KeyGroup, count: usize| {
        let changes: Changes = entries(group, count).into_iter().map(|(key, value)| (key, Some(value))).collect();
        changes.chunks(100).for_each(|part| store.write(part.to_vec()).unwrap());
    };
    let later: [(&str, Later<'_>); 5] = [
        ("nothing", &|_| ()),
        ("more than a memtable", &|store| write(store, 1, 9000)),
        ("a table", &|store| conformance::import(store, 7, entries(7, 2000))),
        ("the end of a group", &|store| store.drop_groups(&[2]).unwrap()),
        ("the end of the store", &|_| ()),
    ];
    let folder = tempfile::tempdir().unwrap();
    let at = |what: &str, name: &str| folder.path().join(what).join(name);
    for (name, change) in later {
        let backend = small();
        let mut store = backend.create(&at(name, "store")).unwrap();
        conformance::import(&mut *store, 2, entries(2, 2000));
        write(&mut *store, 1, 1500);
        let (expected, cut) = (content(&mut *store), store.cut(&at(name, "cut")).unwrap());
        write(&mut *store, 3, 100);
        change(&mut *store);
        if name == "the end of the store" {
            drop(store);
        }
        cut.files().unwrap();
        let mut again = backend.open(&at(name, "again"), &at(name, "cut")).unwrap();
        assert_eq!(content(&mut *again).len(), expected.len(), "{name}");
        assert!(content(&mut *again) == expected, "{name}");
    }
}

#[test]
fn memory_is_given_back_by_whoever_writes() {
    let folder = tempfile::tempdir().unwrap();
    let backend = RocksBackend::new(RocksOptions { cache_bytes: 8 << 20, write_buffer_bytes: 3 << 20 });
    let mut stores: Vec<_> =
        (0..6).map(|number| backend.create(&folder.path().join(format!("{number}"))).unwrap()).collect();
    let mut most = 0;
    for number in 0..3000 {
        for store in &mut stores {
            store.write(vec![(key(1, &format!("{number:05}")), Some(vec![7; 1000]))]).unwrap();
        }
        most = most.max(backend.shared.memtables.bytes_used());
    }
    // Each may write a quarter of a memtable before it gives back, and what it gives back is in memory until it is on disk.
    assert!(most < 12 << 20, "{most}");
}

#[test]
fn two_stores_from_one_cut_go_apart() {
    let folder = tempfile::tempdir().unwrap();
    let (backend, at) = (small(), |name: &str| folder.path().join(name));
    let mut store = backend.create(&at("store")).unwrap();
    put(&mut *store, 1, &[("a", "1")]);
    conformance::cut(&mut *store, &at("cut"));
    let mut stores: Vec<_> = ["left", "right"].map(|name| backend.open(&at(name), &at("cut")).unwrap()).into();
    put(&mut *stores[0], 1, &[("b", "left")]);
    put(&mut *stores[1], 1, &[("b", "right")]);
    for store in &mut stores {
        let value = store.get(&key(1, "b")).unwrap().unwrap();
        let name = String::from_utf8(value).unwrap();
        conformance::cut(&mut **store, &at(&format!("cut-{name}")));
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
