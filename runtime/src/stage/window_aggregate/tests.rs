use std::collections::{BTreeMap, BTreeSet};

use arrow::array::{ArrayRef, BooleanArray, RecordBatch};
use arrow::datatypes::{DataType, SchemaRef};
use millstream_api::id::KeyGroup;
use millstream_sql::graph::{Aggregate, AggregateFunction, OpKind, WindowSpec, WindowTime};
use proptest::prelude::*;
use std::sync::Arc;

use crate::batch::Batch;
use crate::stage::testing::moving::{Event, World, event};
use crate::stage::testing::{GROUPS, Plan, Stage, entries, ints, op_spec, rows_of, schema, texts, time, times};

#[derive(Debug, Clone)]
struct Row {
    key: Option<i64>,
    time: i64,
    value: Option<i64>,
    keep: Option<bool>,
}

#[derive(Debug, Clone)]
enum Step {
    Rows(Vec<Row>),
    Watermark(usize, i64),
    Barrier,
    Rescale(usize),
}

fn group(key: Option<i64>) -> KeyGroup {
    key.map_or(0, |key| key.rem_euclid(i64::from(GROUPS)) as KeyGroup)
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let row =
        (prop::option::weighted(0.9, -6i64..6), 0i64..60, prop::option::weighted(0.8, -5i64..5), any::<Option<bool>>());
    let row = row.prop_map(|(key, time, value, keep)| Row { key, time, value, keep });
    prop::collection::vec(row, 1..20)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => rows().prop_map(Step::Rows),
        4 => (0usize..4, 0i64..15).prop_map(|(task, by)| Step::Watermark(task, by)),
        1 => Just(Step::Barrier),
        1 => (1usize..4).prop_map(Step::Rescale),
    ]
}

fn input() -> SchemaRef {
    let columns = [("key", DataType::Int64), ("name", DataType::Utf8), ("time", time()), ("value", DataType::Int64)];
    schema(&[&columns[..], &[("text", DataType::Utf8), ("keep", DataType::Boolean)]].concat())
}

fn name(value: Option<i64>) -> Option<String> {
    value.map(|value| format!("n\0{value}"))
}

fn batch(rows: &[Row]) -> RecordBatch {
    let columns: Vec<ArrayRef> = vec![
        ints(rows.iter().map(|row| row.key).collect()),
        texts(rows.iter().map(|row| name(row.key)).collect()),
        times(rows.iter().map(|row| Some(row.time)).collect()),
        ints(rows.iter().map(|row| row.value).collect()),
        texts(rows.iter().map(|row| name(row.value)).collect()),
        Arc::new(BooleanArray::from(rows.iter().map(|row| row.keep).collect::<Vec<_>>())),
    ];
    RecordBatch::try_new(input(), columns).unwrap()
}

fn call(function: AggregateFunction, argument: Option<usize>, output: DataType) -> Aggregate {
    Aggregate { function, distinct: false, argument, filter: None, output }
}

fn aggregates() -> Vec<Aggregate> {
    use AggregateFunction::{Avg, Count, Max, Min, Sum};
    vec![
        call(Count, None, DataType::Int64),
        call(Sum, Some(3), DataType::Int64),
        call(Min, Some(3), DataType::Int64),
        call(Max, Some(4), DataType::Utf8),
        call(Avg, Some(3), DataType::Int64),
        Aggregate { distinct: true, ..call(Count, Some(4), DataType::Int64) },
        Aggregate { filter: Some(5), ..call(Count, Some(3), DataType::Int64) },
    ]
}

/// By one 64-bit key or by one text key.
fn plan(size_ms: i64, slide_ms: i64, by_text: bool, cache_bytes: usize) -> Plan {
    let key = if by_text { DataType::Utf8 } else { DataType::Int64 };
    let mut columns = vec![("key", key)];
    let results = aggregates();
    columns.extend(results.iter().map(|aggregate| ("result", aggregate.output.clone())));
    columns.extend([("window_start", time()), ("window_end", time()), ("window_time", time())]);
    let window = WindowSpec { size_ms, slide_ms, offset_ms: 1 };
    let time = WindowTime::Assign { window, rowtime: 2 };
    let kind = OpKind::WindowAggregate { time, keys: vec![usize::from(by_text)], aggregates: results };
    let spec = op_spec(kind, &schema(&columns), false);
    Plan { spec, input: input(), input2: None, updating: [false, false], cache_bytes }
}

/// What a window of a key holds, computed the slow way.
fn expected(rows: &[&Row], by_text: bool) -> Vec<String> {
    let text = |value: Option<String>| value.unwrap_or("null".into());
    let number = |value: Option<i64>| text(value.map(|value| value.to_string()));
    let values: Vec<i64> = rows.iter().filter_map(|row| row.value).collect();
    let sum = (!values.is_empty()).then(|| values.iter().sum::<i64>());
    let key = rows[0].key;
    vec![
        if by_text { text(name(key)) } else { number(key) },
        rows.len().to_string(),
        number(sum),
        number(values.iter().min().copied()),
        text(values.iter().map(|value| name(Some(*value))).max().flatten()),
        number(sum.map(|sum| sum / values.len() as i64)),
        values.iter().collect::<BTreeSet<_>>().len().to_string(),
        rows.iter().filter(|row| row.value.is_some() && row.keep == Some(true)).count().to_string(),
    ]
}

/// Runs the steps; gives the rows and the number of late ones, of the op and of the oracle.
fn run(steps: &[Step], plan: Plan, (size, slide): (i64, i64), by_text: bool) -> [(Vec<Vec<String>>, u64); 2] {
    let mut stage = Stage::new(plan, 2);
    let mut reached = vec![i64::MIN / 2; usize::from(GROUPS)];
    let mut watermarks = vec![i64::MIN / 2; 2];
    let mut windows: BTreeMap<(i64, Option<i64>), Vec<&Row>> = BTreeMap::new();
    let mut late = 0;
    for step in steps {
        match step {
            Step::Rows(rows) => {
                let groups: Vec<KeyGroup> = rows.iter().map(|row| group(row.key)).collect();
                stage.push(0, &batch(rows), None, &groups);
                for row in rows {
                    let first = row.time - (row.time - 1).rem_euclid(slide) + slide;
                    let ends = (0..size / slide).map(|window| first + window * slide);
                    let open: Vec<i64> = ends.filter(|end| end - 1 > reached[usize::from(group(row.key))]).collect();
                    late += u64::from(open.is_empty());
                    open.iter().for_each(|end| windows.entry((*end, row.key)).or_default().push(row));
                }
            }
            Step::Watermark(task, by) => {
                let task = task % stage.tasks.len();
                watermarks[task] = watermarks[task].max(0) + by;
                stage.tasks[task].watermark(watermarks[task]);
                for group in stage.tasks[task].groups.clone() {
                    reached[usize::from(group)] = reached[usize::from(group)].max(watermarks[task]);
                }
            }
            Step::Barrier => stage.finish(),
            Step::Rescale(tasks) => {
                stage.rescale(*tasks);
                watermarks = vec![*watermarks.iter().min().unwrap(); *tasks];
            }
        }
    }
    stage.tasks.iter_mut().for_each(|task| task.watermark(i64::MAX));
    stage.finish();
    assert!(
        stage.tasks.iter_mut().all(|task| entries(&mut *task.store).len() == task.groups.len()),
        "state is left behind"
    );
    let mut got: Vec<Vec<String>> = rows_of(&stage.output).into_iter().map(|(_, row)| row).collect();
    let window = |((end, _), rows): (&(i64, _), &Vec<&Row>)| {
        let bounds = [end - size, *end, end - 1].map(|bound| bound.to_string());
        [expected(rows, by_text), bounds.to_vec()].concat()
    };
    let mut want: Vec<Vec<String>> = windows.iter().map(window).collect();
    got.sort();
    want.sort();
    [(got, stage.late_rows), (want, late)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn windows_hold_what_a_naive_oracle_says(
        steps in prop::collection::vec(step(), 1..40),
        (size, slide) in prop::sample::select(vec![(10, 10), (10, 5), (12, 3), (1, 1)]),
        by_text in any::<bool>(),
        cache_bytes in prop::sample::select(vec![0, 600, 1 << 20]),
    ) {
        let [got, want] = run(&steps, plan(size, slide, by_text, cache_bytes), (size, slide), by_text);
        prop_assert_eq!(got, want);
    }

    #[test]
    fn groups_that_move_have_the_windows_of_those_that_stay(
        events in prop::collection::vec(event(rows()), 1..40),
        (size, slide) in prop::sample::select(vec![(10, 10), (10, 5), (12, 3), (1, 1)]),
        by_text in any::<bool>(),
        cache_bytes in prop::sample::select(vec![0, 2000, 1 << 20]),
    ) {
        let mut world = World::of(plan(size, slide, by_text, cache_bytes));
        for event in &events {
            match event {
                Event::Rows(rows) => {
                    let groups = Some(rows.iter().map(|row| group(row.key)).collect());
                    world.push(0, &Batch { groups, ..Batch::inserts(batch(rows)) });
                }
                other => world.step(other),
            }
        }
        let [moved, rested] = world.end().map(|said| said.sorted());
        prop_assert_eq!(moved, rested);
    }
}

#[test]
fn firing_stops_after_a_bounded_number_of_rows() {
    let mut stage = Stage::new(plan(10, 5, false, 1 << 20), 1);
    let rows: Vec<Row> = (0..20_000).map(|key| Row { key: Some(key), time: 3, value: None, keep: None }).collect();
    stage.push(0, &batch(&rows), None, &rows.iter().map(|row| group(row.key)).collect::<Vec<_>>());
    let task = &mut stage.tasks[0];
    let mut calls = Vec::new();
    loop {
        let flow = task.call(|op, context| op.on_watermark(i64::MAX, context)).unwrap();
        calls.push(task.output.drain(..).map(|batch| batch.num_rows()).sum::<usize>());
        if flow == crate::stage::Flow::Done {
            break;
        }
    }
    assert_eq!(calls.iter().sum::<usize>(), 40_000);
    assert!(calls.iter().all(|rows| *rows <= crate::stage::EMIT_ROWS), "{calls:?}");
}

#[test]
fn windows_that_rows_bring_along_are_keyed_by_both_bounds() {
    let input = schema(&[("start", time()), ("end", time()), ("value", DataType::Int64)]);
    let output = [("max", DataType::Int64), ("window_start", time()), ("window_end", time()), ("window_time", time())];
    let aggregates = vec![call(AggregateFunction::Max, Some(2), DataType::Int64)];
    let kind = OpKind::WindowAggregate { time: WindowTime::Attached { start: 0, end: 1 }, keys: vec![], aggregates };
    let spec = op_spec(kind, &schema(&output), false);
    let plan = Plan { spec, input: input.clone(), input2: None, updating: [false, false], cache_bytes: 0 };
    let mut stage = Stage::new(plan, 1);
    let starts = times(vec![Some(0), Some(5), Some(0), Some(0)]);
    let ends = times(vec![Some(10), Some(10), Some(10), Some(20)]);
    let values = ints(vec![Some(1), Some(2), Some(3), Some(4)]);
    stage.push(0, &RecordBatch::try_new(input, vec![starts, ends, values]).unwrap(), None, &[1, 1, 1, 1]);
    stage.tasks[0].watermark(8);
    assert!(stage.tasks[0].output.is_empty());
    stage.rescale(1);
    stage.tasks[0].watermark(9);
    stage.finish();
    let mut rows: Vec<Vec<String>> = rows_of(&stage.output).into_iter().map(|(_, row)| row).collect();
    rows.sort();
    assert_eq!(rows, [["2", "5", "10", "9"], ["3", "0", "10", "9"]]);
}

fn counted(task: &mut crate::stage::testing::Task) -> Vec<(String, String)> {
    let rows = rows_of(&std::mem::take(&mut task.output));
    let mut counted: Vec<_> = rows.into_iter().map(|(_, row)| (row[0].clone(), row[1].clone())).collect();
    counted.sort();
    counted
}

#[test]
fn a_window_fires_for_the_groups_that_are_here() {
    // Tumbling windows go as they are, sliding ones are merged.
    for slide in [10, 5] {
        let mut stage = Stage::new(plan(10, slide, false, 1 << 20), 1);
        let push = |stage: &mut Stage, keys: &[i64]| {
            let rows: Vec<Row> =
                keys.iter().map(|key| Row { key: Some(*key), time: 3, value: None, keep: None }).collect();
            let groups: Vec<KeyGroup> = rows.iter().map(|row| group(row.key)).collect();
            stage.push(0, &batch(&rows), None, &groups);
        };
        push(&mut stage, &[1, 2, 3, 3]);
        stage.finish();
        let away = stage.tasks[0].disown(&[1, 3]);
        assert_eq!(away.len(), 4, "an entry per key, and progress that has not changed since the barrier");
        let (first, third): (Vec<_>, Vec<_>) = away.into_iter().partition(|(key, _)| key[1] == 1);
        stage.tasks[0].adopt(&[3], third);
        push(&mut stage, &[2, 3, 4]);
        let before = stage.tasks[0].reads();
        stage.tasks[0].watermark(5);
        let want = if slide == 5 { vec![("2", "2"), ("3", "3"), ("4", "1")] } else { vec![] };
        let shown = |pairs: Vec<(&str, &str)>| pairs.into_iter().map(|(a, b)| (a.into(), b.into())).collect::<Vec<_>>();
        assert_eq!(counted(&mut stage.tasks[0]), shown(want));
        // Group 1 comes back from where nothing has been fired.
        stage.tasks[0].adopt(&[1], first);
        stage.tasks[0].watermark(10);
        let mut want = vec![("1", "1"), ("2", "2"), ("3", "3"), ("4", "1")];
        if slide == 5 {
            want.insert(0, ("1", "1"));
        }
        assert_eq!(counted(&mut stage.tasks[0]), shown(want));
        assert_eq!(stage.tasks[0].reads(), before + 1, "only progress is looked up key by key");
        stage.finish();
        assert_eq!(entries(&mut *stage.tasks[0].store).len(), usize::from(GROUPS), "state is left behind");
    }
}

#[test]
fn the_newest_slices_are_in_memory_at_the_next_owner() {
    let mut stage = Stage::new(plan(10, 10, false, 1 << 20), 1);
    let push = |stage: &mut Stage, time: i64| {
        let row = Row { key: Some(1), time, value: None, keep: None };
        stage.push(0, &batch(&[row]), None, &[1]);
    };
    push(&mut stage, 3);
    push(&mut stage, 13);
    stage.tasks[0].come_back_warm(&[1], 1);
    push(&mut stage, 3);
    push(&mut stage, 13);
    // Writes both back: what was not read anew began from nothing.
    stage.finish();
    for (watermark_ms, count) in [(10, "1"), (20, "2")] {
        stage.tasks[0].watermark(watermark_ms);
        assert_eq!(counted(&mut stage.tasks[0]), [("1".into(), count.into())], "at {watermark_ms}");
    }
}

#[test]
fn entries_of_a_group_on_its_way_back_are_not_removed() {
    let mut stage = Stage::new(plan(10, 10, false, 1 << 20), 1);
    let rows = [1, 2].map(|key| Row { key: Some(key), time: 3, value: None, keep: None });
    stage.push(0, &batch(&rows), None, &[1, 2]);
    stage.finish();
    let away = stage.tasks[0].disown(&[1]);
    // The group is here, but not yet the task's.
    let changes = away.iter().map(|(key, value)| (key.clone(), Some(value.clone()))).collect();
    stage.tasks[0].store.write(changes).unwrap();
    stage.tasks[0].watermark(10);
    assert_eq!(counted(&mut stage.tasks[0]), [("2".into(), "1".into())]);
    stage.tasks[0].adopt(&[1], Vec::new());
    stage.tasks[0].watermark(11);
    assert_eq!(counted(&mut stage.tasks[0]), [("1".into(), "1".into())]);
}

#[test]
fn slices_are_written_ahead_once_they_have_lived_for_some_rounds() {
    let mut stage = Stage::new(plan(10, 10, false, 1 << 20), 1);
    let rows: Vec<Row> = (0..6).map(|key| Row { key: Some(key), time: 5, value: Some(1), keep: None }).collect();
    stage.push(0, &batch(&rows), None, &rows.iter().map(|row| group(row.key)).collect::<Vec<_>>());
    (0..9).for_each(|_| stage.tasks[0].write_ahead(1.0));
    assert_eq!(stage.tasks[0].writes(), 0, "too young");
    (0..3).for_each(|_| stage.tasks[0].write_ahead(1.0));
    assert_eq!(stage.tasks[0].writes(), 6);
    stage.tasks[0].watermark(30);
    let fired = rows_of(&std::mem::take(&mut stage.tasks[0].output)).len();
    assert_eq!(fired, 6, "and they fire as ever");
}
