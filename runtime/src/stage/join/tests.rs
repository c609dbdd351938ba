use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use millstream_api::id::KeyGroup;
use millstream_sql::Expr;
use millstream_sql::graph::OpKind;
use proptest::prelude::*;

use crate::batch::{Batch, ChangeKind};
use crate::stage::testing::moving::{Event, World, event};
use crate::stage::testing::{GROUPS, Plan, Stage, bools, entries, ints, op_spec, rows_of, schema, texts};

/// Key, payload, and what the residual predicate looks at on the left side.
type Row = (Option<i64>, i64, bool);

#[derive(Debug, Clone)]
enum Step {
    Rows(usize, Vec<Row>, Vec<usize>),
    Barrier,
    Rescale(usize),
}

/// A port, rows added there, and which of those that are there are taken back.
fn changes() -> impl Strategy<Value = (usize, Vec<Row>, Vec<usize>)> {
    let row = (prop::option::weighted(0.9, 0i64..5), 0i64..3, prop::bool::weighted(0.8));
    (0usize..2, prop::collection::vec(row, 1..8), prop::collection::vec(0usize..100, 0..6))
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => changes().prop_map(|(port, added, taken)| Step::Rows(port, added, taken)),
        1 => Just(Step::Barrier),
        1 => (1usize..4).prop_map(Step::Rescale),
    ]
}

fn input() -> SchemaRef {
    schema(&[("payload", DataType::Utf8), ("key", DataType::Int64), ("keep", DataType::Boolean)])
}

/// Adds rows to those that are there, and takes some back.
fn batch(live: &mut Vec<Row>, added: &[Row], taken: &[usize]) -> Batch {
    let mut rows = added.to_vec();
    let mut kinds = vec![ChangeKind::Insert as u8; rows.len()];
    live.extend(added);
    for which in taken {
        if !live.is_empty() {
            rows.push(live.swap_remove(which % live.len()));
            kinds.push(ChangeKind::Delete as u8);
        }
    }
    let columns = vec![
        texts(rows.iter().map(|row| Some(row.1.to_string())).collect()),
        ints(rows.iter().map(|row| row.0).collect()),
        bools(rows.iter().map(|row| Some(row.2)).collect()),
    ];
    let group = |row: &Row| row.0.map_or(0, |key| key as KeyGroup % GROUPS);
    let groups = Some(rows.iter().map(group).collect());
    Batch { kinds: Some(kinds.into()), groups, ..Batch::inserts(RecordBatch::try_new(input(), columns).unwrap()) }
}

fn plan(residual: bool, cache_bytes: usize) -> Plan {
    let side = [("payload", DataType::Utf8), ("key", DataType::Int64), ("keep", DataType::Boolean)];
    let residual = residual.then(|| Expr::column("keep", 2));
    let kind = OpKind::Join { left_keys: vec![1], right_keys: vec![1], residual };
    let spec = op_spec(kind, &schema(&[side.clone(), side].concat()), true);
    Plan { spec, input: input(), input2: Some(input()), updating: [true, true], cache_bytes }
}

fn shown(row: &Row) -> Vec<String> {
    vec![row.1.to_string(), row.0.map_or("null".into(), |key| key.to_string()), row.2.to_string()]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_changelog_folds_to_the_join_of_what_is_there(
        steps in prop::collection::vec(step(), 1..20),
        residual in any::<bool>(),
        cache_bytes in prop::sample::select(vec![0, 900, 1 << 20]),
    ) {
        let mut stage = Stage::new(plan(residual, cache_bytes), 2);
        let mut live: [Vec<Row>; 2] = Default::default();
        let mut table: BTreeMap<Vec<String>, i64> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Rows(port, added, taken) => {
                    let Batch { rows, kinds, groups, .. } = batch(&mut live[port], &added, &taken);
                    stage.push(port, &rows, kinds.as_deref(), &groups.unwrap());
                }
                Step::Barrier => stage.finish(),
                Step::Rescale(tasks) => stage.rescale(tasks),
            }
            let output = stage.tasks.iter_mut().flat_map(|task| std::mem::take(&mut task.output));
            for (kind, row) in rows_of(&stage.output.drain(..).chain(output).collect::<Vec<_>>()) {
                *table.entry(row).or_default() += if kind.is_retraction() { -1 } else { 1 };
            }
            table.retain(|_, count| *count != 0);
            let mut want: BTreeMap<Vec<String>, i64> = BTreeMap::new();
            for left in live[0].iter().filter(|left| left.0.is_some() && (left.2 || !residual)) {
                for right in live[1].iter().filter(|right| right.0 == left.0) {
                    *want.entry([shown(left), shown(right)].concat()).or_default() += 1;
                }
            }
            prop_assert_eq!(&table, &want);
        }
        stage.finish();
        let stored: usize = stage.tasks.iter_mut().map(|task| entries(&mut *task.store).len()).sum();
        let kept = |side: &Vec<Row>| side.iter().filter(|row| row.0.is_some()).collect::<std::collections::BTreeSet<_>>().len();
        prop_assert_eq!(stored, live.iter().map(kept).sum::<usize>(), "one entry per distinct row that is there");
    }

    #[test]
    fn groups_that_move_leave_no_trace_in_the_changelog(
        events in prop::collection::vec(event(changes()), 1..40),
        residual in any::<bool>(),
        cache_bytes in prop::sample::select(vec![0, 900, 1 << 20]),
    ) {
        let mut world = World::of(plan(residual, cache_bytes));
        let mut live: [Vec<Row>; 2] = Default::default();
        for event in &events {
            match event {
                Event::Rows((port, added, taken)) => world.push(*port, &batch(&mut live[*port], added, taken)),
                other => world.step(other),
            }
        }
        let [moved, rested] = world.end().map(|said| said.by_key(1));
        prop_assert_eq!(moved, rested);
    }
}

/// How many rows one task makes of a row on a port.
fn push(stage: &mut Stage, port: usize, row: Row) -> usize {
    let Batch { rows, kinds, groups, .. } = batch(&mut Vec::new(), &[row], &[]);
    stage.push(port, &rows, kinds.as_deref(), &groups.unwrap());
    stage.tasks[0].drain().len()
}

#[test]
fn a_group_that_comes_back_has_the_rows_of_both_tasks() {
    let mut stage = Stage::new(plan(false, 1 << 20), 1);
    push(&mut stage, 0, (Some(1), 7, true));
    push(&mut stage, 0, (Some(2), 7, true));
    let mut entries = stage.tasks[0].disown(&[1]);
    assert_eq!(entries.len(), 1);
    stage.finish();
    assert_eq!(stage.tasks[0].store.group_bytes(1).unwrap(), 0, "what has left is not written again");
    // Elsewhere the row came once more.
    entries[0].1 = 2i64.to_be_bytes().to_vec();
    stage.tasks[0].adopt(&[1], entries);
    assert_eq!(push(&mut stage, 1, (Some(1), 8, true)), 2);
    assert_eq!(push(&mut stage, 1, (Some(2), 8, true)), 1);
}

#[test]
fn rows_of_keys_that_came_last_are_in_memory_at_the_next_owner() {
    let mut stage = Stage::new(plan(false, 1 << 20), 1);
    for key in [1, 3, 9] {
        push(&mut stage, 0, (Some(key), 7, true));
    }
    stage.tasks[0].come_back_warm(&[1, 3], 2);
    let joined = [1, 3, 9].map(|key| push(&mut stage, 1, (Some(key), 8, true)));
    assert_eq!(joined, [0, 1, 1]);
}
