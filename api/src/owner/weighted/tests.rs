use proptest::prelude::*;

use super::*;

fn loads(table: &OwnerTable, tasks: &[TaskId], weights: &[f64]) -> Vec<f64> {
    let load = |task: &TaskId| table.groups_of(*task).iter().map(|group| weights[usize::from(*group)]).sum();
    tasks.iter().map(load).collect()
}

fn heaviest(table: &OwnerTable, tasks: &[TaskId], weights: &[f64]) -> f64 {
    loads(table, tasks, weights).into_iter().fold(0.0, f64::max)
}

#[test]
fn one_hot_group_moves_away_from_its_neighbours_or_they_from_it() {
    // Task 0 owns groups 0 and 1, which are hot; one of them goes.
    let table = OwnerTable::initial(&[0, 1], 8);
    let weights = [10.0, 9.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0];
    let next = table.rebalance_weighted(&[0, 1], &weights);
    assert_eq!((next.owners.clone(), next.version), (vec![0, 1, 0, 0, 1, 1, 1, 1], 2));
    assert_eq!(table.moved(&next), 1);
    assert_eq!(next.rebalance_weighted(&[0, 1], &weights).owners, next.owners);
}

#[test]
fn equal_loads_scale_like_counts() {
    for (groups, from, to) in [(128u32, 8, 12), (128, 2, 3), (128, 3, 2), (256, 4, 5), (256, 8, 12), (1024, 8, 12)] {
        let table = OwnerTable::initial(&(0..from).collect::<Vec<_>>(), groups);
        let tasks: Vec<_> = (0..to).collect();
        let weights = vec![1.0; groups as usize];
        let next = table.rebalance_weighted(&tasks, &weights);
        let best = f64::from(groups.div_ceil(to));
        assert!(heaviest(&next, &tasks, &weights) <= best * TOLERANCE_SCALING, "{groups}: {from} -> {to}");
        assert!(table.moved(&next) <= table.minimum_moves(&tasks), "{groups}: {from} -> {to}");
    }
}

#[test]
fn without_load_nothing_moves_at_the_same_tasks_and_groups_are_counted_at_others() {
    let table = OwnerTable { version: 4, owners: vec![0, 0, 0, 1] };
    for none in [vec![], vec![0.0; 4], vec![f64::NAN, f64::INFINITY, -1.0, 0.0]] {
        assert_eq!(table.rebalance_weighted(&[0, 1], &none).owners, table.owners);
        assert_eq!(table.rebalance_weighted(&[0, 1, 2], &none), table.rebalance_sticky(&[0, 1, 2]));
        assert!(table.rebalance_weighted(&[], &none).owners.is_empty());
    }
}

#[test]
fn exchanges_are_made_when_no_single_move_helps() {
    // 5 + 5 against 3 + 3: to move a 5 gives 5 against 11, an exchange 8 against 8.
    let table = OwnerTable { version: 1, owners: vec![0, 0, 1, 1] };
    let weights = [5.0, 5.0, 3.0, 3.0];
    let next = table.rebalance_weighted(&[0, 1], &weights);
    assert_eq!((heaviest(&next, &[0, 1], &weights), table.moved(&next)), (8.0, 2));
}

#[test]
fn a_group_that_is_too_much_for_a_task_is_named() {
    assert_eq!(unsplittable(&[1.0, 5.0, 1.0, 1.0], 2), Some(1));
    assert_eq!(unsplittable(&[1.0, 3.0, 1.0, 1.0], 2), None, "exactly a fair share");
    assert_eq!(unsplittable(&[0.1; 3], 3), None);
    assert_eq!(unsplittable(&[5.0], 1), None);
    assert_eq!(unsplittable(&[], 4), None);
    assert_eq!(unsplittable(&[0.0, f64::NAN], 4), None);
}

proptest! {
    #[test]
    fn the_heaviest_task_comes_within_tolerance_and_never_gets_heavier(
        seed in prop::collection::vec((0u32..12, 0u32..1000), 1..300),
        tasks in prop::collection::btree_set(0u32..16, 1..12),
    ) {
        // Skewed: squares of the draws.
        let weights: Vec<f64> = seed.iter().map(|(_, weight)| f64::from(*weight).powi(2)).collect();
        let table = OwnerTable { version: 1, owners: seed.iter().map(|(owner, _)| *owner).collect() };
        let tasks: Vec<_> = tasks.into_iter().collect();
        let next = table.rebalance_weighted(&tasks, &weights);
        prop_assert!(next.owners.iter().all(|owner| tasks.contains(owner)));
        prop_assert_eq!(&next, &table.rebalance_weighted(&tasks, &weights));
        let best = pack(&tasks, &weights).heaviest().1;
        prop_assert!(heaviest(&next, &tasks, &weights) <= best * TOLERANCE + 1e-3);
        // Again at the same tasks: no worse, and nothing moves when it is good enough.
        let used = distinct(&next.owners);
        let again = next.rebalance_weighted(&used, &weights);
        prop_assert!(heaviest(&again, &used, &weights) <= heaviest(&next, &used, &weights) + 1e-3);
        let settled = again.rebalance_weighted(&used, &weights);
        prop_assert_eq!(&settled.owners, &again.owners);
    }
}
