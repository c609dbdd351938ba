use proptest::prelude::*;

use super::*;

fn assert_balanced(table: &OwnerTable, tasks: &[TaskId]) {
    let tasks = distinct(tasks);
    let (groups, count) = (table.owners.len(), tasks.len());
    let sizes: Vec<_> = tasks.iter().map(|task| table.groups_of(*task).len()).collect();
    assert!(sizes.iter().all(|size| (groups / count..=groups.div_ceil(count)).contains(size)), "{sizes:?}");
    assert_eq!(sizes.iter().sum::<usize>(), groups);
}

#[test]
fn published_movement_arithmetic_is_reproduced() {
    let cases = [
        (128, 8, 12, 40),
        (128, 10, 12, 20),
        (128, 25, 30, 20),
        (128, 2, 3, 42),
        (128, 3, 2, 42),
        (256, 4, 5, 51),
        (256, 8, 10, 50),
        (256, 8, 12, 84),
        (256, 25, 30, 40),
        (1024, 8, 12, 340),
    ];
    for (groups, from, to, least) in cases {
        let table = OwnerTable::initial(&(0..from).collect::<Vec<_>>(), groups);
        let tasks: Vec<_> = (0..to).collect();
        let next = table.rebalance_sticky(&tasks);
        assert_eq!(table.moved(&next), least, "{groups}: {from} -> {to}");
        assert_eq!(table.minimum_moves(&tasks), least, "{groups}: {from} -> {to}");
        assert_balanced(&next, &tasks);
        assert_eq!(next.version, 2);
    }
}

#[test]
fn no_balanced_table_moves_fewer_by_exhaustion() {
    // All tables of 6 groups over tasks 0..3 as a start, all balanced tables over three sets of tasks as an end.
    let all = |tasks: &[TaskId]| -> Vec<Vec<TaskId>> {
        (0..6).fold(vec![vec![]], |tables, _| {
            tables.iter().flat_map(|table| tasks.iter().map(|task| [table.clone(), vec![*task]].concat())).collect()
        })
    };
    for tasks in [vec![0, 1, 2, 3], vec![1, 2], vec![0, 2, 5, 6]] {
        let balanced: Vec<_> = all(&tasks)
            .into_iter()
            .filter(|owners| {
                let sizes = tasks.iter().map(|task| owners.iter().filter(|owner| *owner == task).count());
                sizes.clone().all(|size| (6 / tasks.len()..=6usize.div_ceil(tasks.len())).contains(&size))
            })
            .map(|owners| OwnerTable { version: 2, owners })
            .collect();
        for owners in all(&[0, 1, 2]) {
            let table = OwnerTable { version: 1, owners };
            let least = balanced.iter().map(|end| table.moved(end)).min();
            assert_eq!(least, Some(table.moved(&table.rebalance_sticky(&tasks))), "{table:?} -> {tasks:?}");
            assert_eq!(least, Some(table.minimum_moves(&tasks)), "{table:?} -> {tasks:?}");
        }
    }
}

#[test]
fn splits_stay_where_they_are_and_spread_evenly() {
    let first = assign_splits_sticky(&BTreeMap::new(), 5, &[7, 3]);
    assert_eq!(first, BTreeMap::from([(0, 3), (1, 3), (2, 3), (3, 7), (4, 7)]));
    let grown = assign_splits_sticky(&first, 6, &[3, 7, 9]);
    assert_eq!(grown, BTreeMap::from([(0, 3), (1, 3), (2, 9), (3, 7), (4, 7), (5, 9)]));
    assert_eq!(assign_splits_sticky(&grown, 6, &[]), BTreeMap::new());
    assert_eq!(assign_splits_sticky(&BTreeMap::new(), 1, &[4, 5]), BTreeMap::from([(0, 4)]));
}

#[test]
fn without_tasks_a_table_is_empty() {
    assert_eq!(OwnerTable::initial(&[], 8).owners, Vec::<TaskId>::new());
    assert_eq!(OwnerTable::initial(&[1], 8).rebalance_sticky(&[]).owners, Vec::<TaskId>::new());
}

#[test]
fn a_written_table_is_taken_or_refused_with_what_is_wrong() {
    let table = OwnerTable::initial(&[1, 2], 4);
    assert_eq!(table.explicit(&[2, 1, 2, 2], &[1, 2, 3]).unwrap(), OwnerTable { version: 2, owners: vec![2, 1, 2, 2] });
    let short = table.explicit(&[1], &[1, 2]).unwrap_err().to_string();
    assert_eq!(short, "the table names 1 owners and the job has 4 key groups; name one task for each key group");
    let unknown = table.explicit(&[1, 9, 9, 7], &[2, 1]).unwrap_err().to_string();
    assert_eq!(unknown, "the table gives key groups to tasks 7, 9, but the stage has tasks 1, 2");
}

proptest! {
    #[test]
    fn chains_of_rescales_stay_balanced_and_minimal(
        groups in 1u32..600,
        sets in prop::collection::vec(prop::collection::vec(0u32..40, 1..30), 1..6),
    ) {
        let mut table = OwnerTable::initial(&sets[0], groups);
        assert_balanced(&table, &sets[0]);
        for tasks in &sets {
            let next = table.rebalance_sticky(tasks);
            assert_balanced(&next, tasks);
            prop_assert_eq!(table.moved(&next), table.minimum_moves(tasks));
            prop_assert_eq!(&next, &table.rebalance_sticky(&distinct(tasks)));
            table = next;
        }
    }
}
