use std::collections::{BTreeMap, BTreeSet};

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use millstream_api::id::KeyGroup;
use millstream_sql::graph::{Aggregate, AggregateFunction, OpKind};
use proptest::prelude::*;

use crate::batch::{Batch, ChangeKind};
use crate::stage::testing::moving::{Event, World, event};
use crate::stage::testing::{GROUPS, Plan, Stage, entries, ints, op_spec, rows_of, schema, texts};

type Row = (Option<i64>, Option<i64>);

#[derive(Debug, Clone)]
enum Step {
    /// Rows added, and which of the rows that are there (modulo their number) are taken back.
    Rows(Vec<Row>, Vec<usize>),
    Barrier,
    Rescale(usize),
}

/// Rows added, and which of those that are there are taken back.
fn changes() -> impl Strategy<Value = (Vec<Row>, Vec<usize>)> {
    let row = (prop::option::weighted(0.9, 0i64..6), prop::option::weighted(0.8, -4i64..4));
    (prop::collection::vec(row, 1..12), prop::collection::vec(0usize..100, 0..12))
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => changes().prop_map(|(added, taken)| Step::Rows(added, taken)),
        1 => Just(Step::Barrier),
        1 => (1usize..4).prop_map(Step::Rescale),
    ]
}

fn input() -> SchemaRef {
    schema(&[("key", DataType::Int64), ("value", DataType::Int64), ("text", DataType::Utf8)])
}

fn plan(retracting: bool, cache_bytes: usize) -> Plan {
    use AggregateFunction::{Avg, Count, Max, Min, Sum};
    let call = |function, argument, output| Aggregate { function, distinct: false, argument, filter: None, output };
    let aggregates = vec![
        call(Count, Some(1), DataType::Int64),
        call(Sum, Some(1), DataType::Int64),
        call(Min, Some(1), DataType::Int64),
        call(Max, Some(2), DataType::Utf8),
        call(Avg, Some(1), DataType::Int64),
        Aggregate { distinct: true, ..call(Count, Some(2), DataType::Int64) },
    ];
    let mut columns = vec![("key", DataType::Int64)];
    columns.extend(aggregates.iter().map(|aggregate| ("result", aggregate.output.clone())));
    let spec = op_spec(OpKind::GroupAggregate { keys: vec![0], aggregates }, &schema(&columns), true);
    Plan { spec, input: input(), input2: None, updating: [retracting, false], cache_bytes }
}

fn text(value: Option<i64>) -> Option<String> {
    value.map(|value| format!("t{value}"))
}

fn expected(key: Option<i64>, rows: &[Option<i64>]) -> Vec<String> {
    let number = |value: Option<i64>| value.map_or("null".to_string(), |value| value.to_string());
    let values: Vec<i64> = rows.iter().flatten().copied().collect();
    let sum = (!values.is_empty()).then(|| values.iter().sum::<i64>());
    vec![
        number(key),
        values.len().to_string(),
        number(sum),
        number(values.iter().min().copied()),
        values.iter().filter_map(|value| text(Some(*value))).max().unwrap_or("null".into()),
        number(sum.map(|sum| sum / values.len() as i64)),
        values.iter().collect::<BTreeSet<_>>().len().to_string(),
    ]
}

/// Applies a changelog to a table by key; says what is wrong with it.
fn fold(table: &mut BTreeMap<String, Vec<String>>, output: &[Batch]) -> Result<(), String> {
    let mut rows = rows_of(output).into_iter();
    while let Some((kind, row)) = rows.next() {
        let before = match kind {
            ChangeKind::Insert => table.insert(row[0].clone(), row.clone()).map_or(Ok(()), Err),
            ChangeKind::Delete => table.remove(&row[0]).filter(|old| *old == row).map(|_| ()).ok_or(row.clone()),
            ChangeKind::UpdateBefore => {
                let (next, new) = rows.next().ok_or("an update without its end")?;
                let old = table.insert(new[0].clone(), new.clone());
                let sound =
                    next == ChangeKind::UpdateAfter && old.as_ref() == Some(&row) && row[0] == new[0] && row != new;
                if sound { Ok(()) } else { Err(row.clone()) }
            }
            ChangeKind::UpdateAfter => Err(row.clone()),
        };
        before.map_err(|other| format!("{kind:?} {row:?} over {other:?}"))?;
    }
    Ok(())
}

/// Adds rows to those that are there, and takes some back.
fn batch(live: &mut Vec<Row>, added: &[Row], taken: &[usize], retracting: bool) -> Batch {
    let mut rows: Vec<(Row, ChangeKind)> = added.iter().map(|row| (*row, ChangeKind::Insert)).collect();
    live.extend(added);
    for which in taken.iter().filter(|_| retracting) {
        if !live.is_empty() {
            let kind = if which % 2 == 0 { ChangeKind::Delete } else { ChangeKind::UpdateBefore };
            rows.push((live.swap_remove(which % live.len()), kind));
        }
    }
    let columns = vec![
        ints(rows.iter().map(|row| row.0.0).collect()),
        ints(rows.iter().map(|row| row.0.1).collect()),
        texts(rows.iter().map(|row| text(row.0.1)).collect()),
    ];
    let kinds = retracting.then(|| rows.iter().map(|row| row.1 as u8).collect());
    let group = |row: &(Row, _)| row.0.0.map_or(0, |key| key as KeyGroup % GROUPS);
    let groups = Some(rows.iter().map(group).collect());
    Batch { kinds, groups, ..Batch::inserts(RecordBatch::try_new(input(), columns).unwrap()) }
}

fn check(steps: &[Step], retracting: bool, cache_bytes: usize) -> Result<(), TestCaseError> {
    let mut stage = Stage::new(plan(retracting, cache_bytes), 2);
    let (mut live, mut table) = (Vec::<Row>::new(), BTreeMap::new());
    for step in steps {
        match step {
            Step::Rows(added, taken) => {
                let Batch { rows, kinds, groups, .. } = batch(&mut live, added, taken, retracting);
                stage.push(0, &rows, kinds.as_deref(), &groups.unwrap());
            }
            Step::Barrier => stage.finish(),
            Step::Rescale(tasks) => stage.rescale(*tasks),
        }
        let output = stage.tasks.iter_mut().flat_map(|task| std::mem::take(&mut task.output));
        let output: Vec<Batch> = stage.output.drain(..).chain(output).collect();
        fold(&mut table, &output).map_err(TestCaseError::fail)?;
        let mut by_key: BTreeMap<Option<i64>, Vec<Option<i64>>> = BTreeMap::new();
        live.iter().for_each(|(key, value)| by_key.entry(*key).or_default().push(*value));
        let want: BTreeSet<Vec<String>> = by_key.iter().map(|(key, rows)| expected(*key, rows)).collect();
        prop_assert_eq!(&table.values().cloned().collect::<BTreeSet<_>>(), &want);
    }
    stage.finish();
    let kept: usize = stage.tasks.iter_mut().map(|task| entries(&mut *task.store).len()).sum();
    prop_assert_eq!(kept, table.len(), "one entry per key that has rows");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_changelog_folds_to_what_a_naive_oracle_says(
        steps in prop::collection::vec(step(), 1..20),
        retracting in any::<bool>(),
        cache_bytes in prop::sample::select(vec![0, 700, 1 << 20]),
    ) {
        check(&steps, retracting, cache_bytes)?;
    }

    #[test]
    fn groups_that_move_leave_no_trace_in_the_changelog(
        events in prop::collection::vec(event(changes()), 1..40),
        retracting in any::<bool>(),
        cache_bytes in prop::sample::select(vec![0, 1200, 1 << 20]),
    ) {
        let mut world = World::of(plan(retracting, cache_bytes));
        let mut live = Vec::new();
        for event in &events {
            match event {
                Event::Rows((added, taken)) => world.push(0, &batch(&mut live, added, taken, retracting)),
                other => world.step(other),
            }
        }
        let [moved, rested] = world.end().map(|said| said.by_key(0));
        prop_assert_eq!(moved, rested);
    }
}

/// What one task that takes retractions says of rows that are added.
fn said_of(stage: &mut Stage, live: &mut Vec<Row>, rows: &[Row]) -> Vec<String> {
    let Batch { rows, kinds, groups, .. } = batch(live, rows, &[], true);
    stage.push(0, &rows, kinds.as_deref(), &groups.unwrap());
    stage.tasks[0].drain()
}

#[test]
fn a_group_that_comes_back_is_looked_up_and_no_other_is() {
    let mut stage = Stage::new(plan(true, 1 << 20), 1);
    let mut live = Vec::new();
    let mut push = |stage: &mut Stage, rows: &[Row]| said_of(stage, &mut live, rows);
    push(&mut stage, &[(Some(1), Some(5)), (Some(2), Some(6)), (Some(3), Some(7))]);
    let entries = stage.tasks[0].disown(&[1, 3]);
    assert_eq!(entries.len(), 2, "all that was dirty has been written");
    assert!(stage.tasks[0].drain().is_empty());
    stage.finish();
    assert_eq!(stage.tasks[0].store.group_bytes(1).unwrap(), 0, "what has left is not written again");
    stage.tasks[0].adopt(&[1, 3], entries);
    let before = stage.tasks[0].reads();
    push(&mut stage, &[(Some(2), Some(8)), (Some(4), Some(9))]);
    assert_eq!(stage.tasks[0].reads(), before, "the store is asked about groups that stayed");
    assert_eq!(push(&mut stage, &[(Some(1), Some(1))])[0], "UpdateBefore 1,1,5,5,t5,5,1");
    assert_eq!(stage.tasks[0].reads(), before + 1);
    push(&mut stage, &[(Some(1), Some(1))]);
    assert_eq!(stage.tasks[0].reads(), before + 1, "a key is looked up once");
}

#[test]
fn what_was_used_last_is_in_memory_at_the_next_owner() {
    let mut stage = Stage::new(plan(true, 1 << 20), 1);
    let mut live = Vec::new();
    let mut push = |stage: &mut Stage, rows: &[Row]| said_of(stage, &mut live, rows);
    push(&mut stage, &[(Some(1), Some(5)), (Some(3), Some(7)), (Some(9), Some(7))]);
    push(&mut stage, &[(Some(1), Some(5)), (Some(9), Some(7))]);
    stage.tasks[0].come_back_warm(&[1, 3], 2);
    let writes = stage.tasks[0].writes();
    let said = push(&mut stage, &[(Some(1), Some(1)), (Some(3), Some(1)), (Some(9), Some(1))]);
    let kinds: Vec<&str> = said.iter().map(|row| row.split(' ').next().unwrap()).collect();
    assert_eq!(kinds, ["UpdateBefore", "UpdateAfter", "Insert", "UpdateBefore", "UpdateAfter"], "{said:?}");
    assert_eq!(stage.tasks[0].writes(), writes, "and is hot: not written with its first turn");
}

#[test]
fn what_groups_left_behind_goes_before_the_cache_does() {
    // A key takes about 180 bytes: 300 fit, 400 do not, 250 do.
    let mut stage = Stage::new(plan(false, 60_000), 1);
    let push = |stage: &mut Stage, keys: Vec<i64>| {
        let rows: Vec<Row> = keys.into_iter().map(|key| (Some(key), Some(1))).collect();
        let Batch { rows, groups, .. } = batch(&mut Vec::new(), &rows, &[], false);
        stage.push(0, &rows, None, &groups.unwrap());
    };
    push(&mut stage, (0..300).collect());
    stage.tasks[0].disown(&[1, 3, 5, 7]);
    push(&mut stage, (300..500).step_by(2).collect());
    push(&mut stage, (0..500).step_by(2).collect());
    assert_eq!(stage.tasks[0].reads(), 0, "the cache has been dropped");
    push(&mut stage, (500..900).step_by(2).collect());
    push(&mut stage, vec![0]);
    assert_eq!(stage.tasks[0].reads(), 1, "what is too much without garbage has to go");
}

#[test]
fn what_stays_dirty_is_written_ahead_and_leaves_little_for_a_barrier() {
    let mut stage = Stage::new(plan(false, 1 << 20), 1);
    let push = |stage: &mut Stage, keys: std::ops::Range<i64>| {
        let rows: Vec<Row> = keys.map(|key| (Some(key), Some(1))).collect();
        let Batch { rows, groups, .. } = batch(&mut Vec::new(), &rows, &[], false);
        stage.push(0, &rows, None, &groups.unwrap());
    };
    push(&mut stage, 0..100);
    assert_eq!(stage.tasks[0].writes(), 0, "everything has had one turn at most");
    (0..4).for_each(|_| stage.tasks[0].write_ahead(0.5));
    assert_eq!(stage.tasks[0].writes(), 100);
    push(&mut stage, 0..3);
    stage.finish();
    assert_eq!(stage.tasks[0].writes(), 103, "a barrier writes what has changed since");
}

#[test]
fn what_the_store_had_is_written_with_its_first_turn_and_what_is_hot_with_its_second() {
    // A key takes about 180 bytes: 300 fit, 400 do not.
    let mut stage = Stage::new(plan(false, 60_000), 1);
    let push = |stage: &mut Stage, keys: std::ops::Range<i64>| {
        let rows: Vec<Row> = keys.map(|key| (Some(key), Some(1))).collect();
        let Batch { rows, groups, .. } = batch(&mut Vec::new(), &rows, &[], false);
        stage.push(0, &rows, None, &groups.unwrap());
    };
    push(&mut stage, 0..400);
    // Each push is followed by the turn of 0.6 of all keys.
    let written = |stage: &mut Stage, keys| {
        let before = stage.tasks[0].writes();
        push(stage, keys);
        stage.tasks[0].writes() - before
    };
    assert_eq!(written(&mut stage, 0..10), 6, "they were in the store alone");
    stage.finish();
    assert_eq!(written(&mut stage, 0..10), 0, "they were in memory");
}
