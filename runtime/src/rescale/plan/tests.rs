use proptest::prelude::*;

use super::*;

const AUTO: Limits = Limits { batching: Batching::Auto, budget_bytes: 100 };

fn limits(batching: Batching) -> Limits {
    Limits { batching, ..AUTO }
}

fn scaled(groups: u32, from: u32, to: u32) -> (OwnerTable, OwnerTable) {
    let current = OwnerTable::initial(&(0..from).collect::<Vec<_>>(), groups);
    let target = current.rebalance_sticky(&(0..to).collect::<Vec<_>>());
    (current, target)
}

/// All batches, each planned from the table the one before left.
fn walk(current: &OwnerTable, target: &OwnerTable, bytes: &[u64], load: &[f64], limits: &Limits) -> Vec<Batch> {
    let mut table = current.clone();
    let mut batches = Vec::new();
    while let Some(batch) = next_batch(&table, target, bytes, load, limits) {
        table = batch.table.clone();
        batches.push(batch);
        assert!(batches.len() <= current.owners.len(), "it does not end");
    }
    assert_eq!(table.owners, target.owners);
    batches
}

#[test]
fn published_movement_arithmetic_takes_as_few_batches_as_the_busiest_task_has_groups() {
    for (groups, from, to, least) in [
        (128u32, 8, 12, 40),
        (128, 10, 12, 20),
        (128, 25, 30, 20),
        (128, 2, 3, 42),
        (128, 3, 2, 42),
        (256, 4, 5, 51),
        (256, 8, 10, 50),
        (256, 8, 12, 84),
        (256, 25, 30, 40),
        (1024, 8, 12, 340),
    ] {
        let (current, target) = scaled(groups, from, to);
        let moved = |batches: &[Batch]| batches.iter().flat_map(|batch| &batch.moves).map(|one| one.groups.len()).sum();
        let fluid = walk(&current, &target, &[], &[], &limits(Batching::Fluid));
        assert_eq!((fluid.len(), moved(&fluid)), (least, least), "{groups}: {from} -> {to}");
        let batched = walk(&current, &target, &[], &[], &limits(Batching::Batched));
        let pairs: Vec<_> =
            current.owners.iter().zip(&target.owners).filter(|(before, after)| before != after).collect();
        let part = |task: u32| {
            let gives = pairs.iter().filter(|(before, _)| **before == task).count();
            gives.max(pairs.iter().filter(|(_, after)| **after == task).count())
        };
        let busiest = (0..from.max(to)).map(part).max();
        assert_eq!((Some(batched.len()), moved(&batched)), (busiest, least), "{groups}: {from} -> {to}");
    }
}

#[test]
fn a_transfer_is_filled_up_to_the_budget_smallest_first() {
    let current = OwnerTable { version: 5, owners: vec![0; 5] };
    let target = OwnerTable { version: 9, owners: vec![1; 5] };
    let bytes = [500, 60, 30, 80, 10];
    let groups = |batch: &Batch| batch.moves[0].groups.clone();
    let batches = walk(&current, &target, &bytes, &[], &AUTO);
    assert_eq!(batches.iter().map(groups).collect::<Vec<_>>(), [vec![1, 2, 4], vec![3], vec![0]]);
    assert_eq!(
        batches.iter().map(|batch| (batch.version, batch.bytes)).collect::<Vec<_>>(),
        [(6, 100), (7, 80), (8, 500)]
    );
    assert_eq!(batches[0].table.owners, [0, 1, 1, 0, 1]);
    assert_eq!(batches[0].largest_bytes, 100);
    assert_eq!(batches_left(&current, &target, &bytes, &[], &AUTO), [100, 80, 500]);
    // For load: the hottest, and beside it what fits.
    let load = [1.0, f64::NAN, 2.0, 9.0, 3.0];
    let batches = walk(&current, &target, &bytes, &load, &AUTO);
    assert_eq!(batches.iter().map(groups).collect::<Vec<_>>(), [vec![3, 4], vec![1, 2], vec![0]]);
}

#[test]
fn neighbours_of_about_one_size_go_together() {
    let current = OwnerTable { version: 1, owners: vec![0; 6] };
    let target = OwnerTable { version: 2, owners: vec![1; 6] };
    let batches = walk(&current, &target, &[33, 70, 31, 34, 30, 60], &[], &AUTO);
    let groups: Vec<_> = batches.iter().map(|batch| batch.moves[0].groups.clone()).collect();
    assert_eq!(groups, [vec![0, 2, 3], vec![1, 4], vec![5]]);
}

#[test]
fn the_hottest_group_of_all_goes_first_whatever_else_there_is() {
    let current = OwnerTable { version: 1, owners: vec![0, 0, 0, 1] };
    let target = OwnerTable { version: 2, owners: vec![2, 2, 2, 3] };
    let first = next_batch(&current, &target, &[], &[1.0, 1.0, 1.0, 5.0], &limits(Batching::Fluid)).unwrap();
    assert_eq!(first.moves, [Move { from: 1, to: 3, groups: vec![3] }]);
    let first = next_batch(&current, &target, &[], &[], &limits(Batching::Fluid)).unwrap();
    assert_eq!(first.moves, [Move { from: 0, to: 2, groups: vec![0] }], "the busiest pair");
}

#[test]
fn all_at_once_is_one_batch() {
    let (current, target) = scaled(256, 8, 12);
    let batch = whole_batch(&current, &target, &[1; 256]).unwrap();
    assert_eq!((batch.table.owners, batch.bytes, batch.version), (target.owners.clone(), 84, 2));
    assert_eq!(whole_batch(&target, &target, &[]), None);
}

#[test]
fn what_is_known_per_task_is_spread_over_its_groups() {
    let table = OwnerTable { version: 1, owners: vec![0, 0, 1, 2] };
    assert_eq!(even_bytes(&table, &[(0, 10), (1, 7)].into()), [5, 5, 7, 0]);
    assert_eq!(even_load(&table, &[(0, 1.0), (2, 3.0)].into()), [0.5, 0.5, 0.0, 3.0]);
}

proptest! {
    #[test]
    fn batches_reach_the_target_and_keep_the_rules(
        groups in prop::collection::vec((0u32..8, 0u32..8, 0u64..200, 0u32..50), 1..200),
        mode in 0usize..3,
        by_load in any::<bool>(),
    ) {
        let current = OwnerTable { version: 3, owners: groups.iter().map(|group| group.0).collect() };
        let target = OwnerTable { version: 4, owners: groups.iter().map(|group| group.1).collect() };
        let bytes: Vec<_> = groups.iter().map(|group| group.2).collect();
        let load: Vec<_> = groups.iter().filter(|_| by_load).map(|group| f64::from(group.3)).collect();
        let limits = limits([Batching::Auto, Batching::Fluid, Batching::Batched][mode]);
        let batches = walk(&current, &target, &bytes, &load, &limits);
        let mut moved = BTreeSet::new();
        let mut table = current.clone();
        for batch in &batches {
            let mut busy = BTreeSet::new();
            prop_assert_eq!(batch.version, table.version + 1);
            for one in &batch.moves {
                prop_assert!(busy.insert(one.from) && busy.insert(one.to), "one transfer a task");
                prop_assert!(one.groups.is_sorted() && !one.groups.is_empty());
                let sum: u64 = one.groups.iter().map(|group| bytes[usize::from(*group)]).sum();
                prop_assert!(sum <= limits.budget_bytes || one.groups.len() == 1);
                for group in &one.groups {
                    prop_assert!(moved.insert(*group), "each group moves once");
                    prop_assert_eq!(table.owners[usize::from(*group)], one.from);
                    prop_assert_eq!(batch.table.owners[usize::from(*group)], one.to);
                }
            }
            let single = batch.moves.len() == 1 && batch.moves[0].groups.len() == 1;
            prop_assert!(limits.batching != Batching::Fluid || single);
            table = batch.table.clone();
        }
        prop_assert_eq!(moved.len(), current.moved(&target));
        let sizes: Vec<_> = batches.iter().map(|batch| batch.largest_bytes).collect();
        prop_assert_eq!(sizes, batches_left(&current, &target, &bytes, &load, &limits));
    }
}
