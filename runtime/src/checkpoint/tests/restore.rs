use proptest::prelude::*;

use super::super::Error;
use super::super::restore::{Restore, RestoreStats, choose_base, restore_task};
use super::*;
use crate::state::conformance::{Content, content, import, key, of_group, put};
use crate::state::disk::RealDisk;
use crate::state::rocks::{RocksBackend, RocksOptions};

const GROUPS: usize = 8;

fn groups_of(owners: &[TaskId], task: TaskId) -> Vec<KeyGroup> {
    OwnerTable { version: 1, owners: owners.to_vec() }.groups_of(task)
}

/// Fills, cuts and uploads a store per task of `before`, restores one per task of `after`, and compares.
fn check(world: &World<'_>, before: &[TaskId], after: &[TaskId], entries: &Content, local: bool) -> RestoreStats {
    let tasks_of = |owners: &[TaskId]| owners.iter().copied().collect::<std::collections::BTreeSet<_>>();
    let mut tasks = Vec::new();
    for id_of in tasks_of(before) {
        let groups = groups_of(before, id_of);
        let mut store = world.backend.create(&world.at(&format!("before-{id_of}"))).unwrap();
        for group in &groups {
            import(&mut *store, *group, of_group(entries, *group).into_iter().collect());
        }
        let mut uploader = Uploader::new(u64::from(id_of) + 100);
        let uploaded = world.checkpoint(&mut *store, &mut uploader, id(1, 1));
        tasks.push(task(id_of, groups, uploader.incarnation(), uploaded.files));
    }
    let manifest = manifest(id(1, 1), tasks);
    let (mut sum, mut found) = (RestoreStats::default(), Content::new());
    for id_of in tasks_of(after) {
        let (groups, cuts) = (groups_of(after, id_of), world.local());
        let stage = &manifest.stages[0];
        let (mut store, stats) = restore_task(&Restore {
            backend: world.backend,
            store: world.store,
            disk: world.disk,
            stage,
            id: manifest.id(),
            groups: &groups,
            base: choose_base(stage, &groups),
            local: local.then_some(cuts.as_path()),
            folder: &world.at(&format!("after-{id_of}")),
        })
        .unwrap();
        assert_eq!(stats.groups_kept + stats.groups_read, u32::try_from(groups.len()).unwrap());
        assert!(if local { stats.bytes_read == 0 } else { stats.bytes_local == 0 }, "{stats:?}");
        let restored = content(&mut *store);
        let own: Content = groups.iter().flat_map(|group| of_group(entries, *group)).collect();
        assert_eq!(restored, own, "its own groups, whole, and none that went elsewhere");
        found.extend(restored);
        sum.groups_kept += stats.groups_kept;
        sum.groups_read += stats.groups_read;
        assert!(!world.disk.folders(&world.folder).unwrap().iter().any(|name| name.ends_with(".restore")));
    }
    assert_eq!(&found, entries, "the stores together have what was saved, and nothing else");
    sum
}

fn any_owners() -> impl Strategy<Value = Vec<TaskId>> {
    proptest::collection::vec(0u32..6, GROUPS)
}

fn any_entries() -> impl Strategy<Value = Content> {
    let group = 0u16..u16::try_from(GROUPS).unwrap();
    let entry = (group, "[a-z]{0,3}").prop_map(|(group, name)| key(group, &name));
    proptest::collection::btree_map(entry, proptest::collection::vec(any::<u8>(), 0..20), 0..60)
}

proptest! {
    #[test]
    fn any_parallelism_restores_at_any_other(
        before in any_owners(), after in any_owners(), entries in any_entries(), local in any::<bool>(),
    ) {
        check(&Simulated::new().world(), &before, &after, &entries, local);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]
    #[test]
    fn any_parallelism_restores_at_any_other_with_rocksdb(
        before in any_owners(), after in any_owners(), entries in any_entries(), local in any::<bool>(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let backend = RocksBackend::new(RocksOptions { cache_bytes: 1 << 20, write_buffer_bytes: 8 << 20 });
        let store = MemoryCheckpoints::default();
        let folder = folder.path().to_path_buf();
        check(&World { backend: &backend, disk: &RealDisk, store: &store, folder }, &before, &after, &entries, local);
    }
}

/// Large enough for tables of their own, and for more parts than may wait.
#[test]
fn large_groups_are_read_out_of_several_cuts_with_rocksdb() {
    let folder = tempfile::tempdir().unwrap();
    let backend = RocksBackend::new(RocksOptions { cache_bytes: 8 << 20, write_buffer_bytes: 8 << 20 });
    let (store, folder) = (MemoryCheckpoints::default(), folder.path().to_path_buf());
    let groups = 0u16..u16::try_from(GROUPS).unwrap();
    let keys = groups.flat_map(|group| (0..2000).map(move |number| key(group, &format!("{number:05}"))));
    let entries: Content = keys.zip((0u8..=255).cycle()).map(|(key, byte)| (key, vec![byte; 1200])).collect();
    let (before, after) = ([1, 1, 1, 1, 2, 2, 2, 2], [3, 3, 3, 1, 3, 3, 3, 2]);
    let world = World { backend: &backend, disk: &RealDisk, store: &store, folder };
    let stats = check(&world, &before, &after, &entries, true);
    assert_eq!((stats.groups_kept, stats.groups_read), (3, 5));
}

#[test]
fn groups_that_stay_are_not_read() {
    let (before, after) = ([1, 1, 1, 1, 2, 2, 2, 2], [1, 1, 1, 3, 2, 2, 2, 3]);
    let entries = (0..8).map(|group| (key(group, "a"), vec![1])).collect();
    let stats = check(&Simulated::new().world(), &before, &after, &entries, true);
    assert_eq!((stats.groups_kept, stats.groups_read), (6, 2));
}

#[test]
fn a_base_must_be_worth_it() {
    let tasks = vec![task(1, (0..6).collect(), 1, vec![]), task(2, vec![6, 7], 2, vec![])];
    let stage = manifest(id(1, 1), tasks).stages.remove(0);
    assert_eq!(choose_base(&stage, &[0, 1, 2]), Some(1));
    assert_eq!(choose_base(&stage, &[0, 1]), None);
    assert_eq!(choose_base(&stage, &[0, 1, 7]), Some(2));
    assert_eq!(choose_base(&stage, &[]), None);
}

#[test]
fn a_manifest_that_misses_or_doubles_a_group_is_refused() {
    let simulated = Simulated::new();
    let world = simulated.world();
    let restore = |tasks: Vec<TaskManifest>, base: Option<TaskId>| {
        let stage = manifest(id(1, 1), tasks).stages.remove(0);
        let (backend, store, disk, folder) = (world.backend, world.store, world.disk, &world.at("x"));
        let groups = &[0, 1];
        let restore = Restore { backend, store, disk, stage: &stage, id: id(1, 1), groups, base, local: None, folder };
        match restore_task(&restore).err().unwrap() {
            Error::Corrupt { reason, .. } => reason,
            other => panic!("{other}"),
        }
    };
    assert_eq!(restore(vec![task(1, vec![0], 1, vec![])], None), "in stage 'window-1' no task holds key group 1");
    let doubled = vec![task(1, vec![0, 1], 1, vec![]), task(2, vec![1], 2, vec![])];
    assert_eq!(restore(doubled, None), "in stage 'window-1' tasks 1 and 2 both hold key group 1");
    assert_eq!(restore(vec![task(1, vec![0, 1], 1, vec![])], Some(9)), "there is no task 9");
}

#[test]
fn a_store_restored_beside_another_from_the_same_cut_is_its_own() {
    let simulated = Simulated::new();
    let world = simulated.world();
    let mut store = world.backend.create(&world.at("a")).unwrap();
    put(&mut *store, 1, &[("a", "1")]);
    let uploaded = world.checkpoint(&mut *store, &mut Uploader::new(5), id(1, 1));
    let stage = manifest(id(1, 1), vec![task(1, vec![1], 5, uploaded.files)]).stages.remove(0);
    let restored: Vec<_> = ["x", "y"]
        .iter()
        .map(|name| {
            let (backend, store, disk) = (world.backend, world.store, world.disk);
            let (groups, base, folder) = (&[1], Some(1), &world.at(name));
            let restore =
                Restore { backend, store, disk, stage: &stage, id: id(1, 1), groups, base, local: None, folder };
            let (mut store, _) = restore_task(&restore).unwrap();
            put(&mut *store, 1, &[(name, "new")]);
            content(&mut *store)
        })
        .collect();
    assert_ne!(restored[0], restored[1]);
    assert_eq!(restored[0].len(), 2);
}
