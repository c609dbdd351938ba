use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use millstream_api::id::KeyGroup;
use millstream_sql::Expr;
use millstream_sql::graph::OpKind;
use proptest::prelude::*;

use crate::batch::Batch;
use crate::stage::testing::moving::{Event, World, event};
use crate::stage::testing::{GROUPS, Plan, Stage, bools, entries, ints, op_spec, rows_of, schema, time, times};
use crate::stage::{EMIT_ROWS, Flow};

#[derive(Debug, Clone, Copy, PartialEq)]
struct Row {
    key: Option<i64>,
    start: i64,
    end: i64,
    keep: bool,
}

#[derive(Debug, Clone)]
enum Step {
    Rows(usize, Vec<Row>),
    Watermark(usize, i64),
    Barrier,
    Rescale(usize),
}

/// A port and rows.
fn arrivals() -> impl Strategy<Value = (usize, Vec<Row>)> {
    let row = (prop::option::weighted(0.9, 0i64..5), 0i64..4, 1i64..3, prop::bool::weighted(0.8));
    let row = row.prop_map(|(key, at, size, keep)| Row { key, start: at * 5, end: (at + size) * 5, keep });
    (0usize..2, prop::collection::vec(row, 1..10))
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => arrivals().prop_map(|(port, rows)| Step::Rows(port, rows)),
        4 => (0usize..4, 0i64..5).prop_map(|(task, by)| Step::Watermark(task, by)),
        1 => Just(Step::Barrier),
        1 => (1usize..4).prop_map(Step::Rescale),
    ]
}

fn side() -> [(&'static str, DataType); 4] {
    [("window_start", time()), ("window_end", time()), ("key", DataType::Int64), ("keep", DataType::Boolean)]
}

fn input() -> SchemaRef {
    schema(&side())
}

fn batch(rows: &[Row]) -> RecordBatch {
    let columns = vec![
        times(rows.iter().map(|row| Some(row.start)).collect()),
        times(rows.iter().map(|row| Some(row.end)).collect()),
        ints(rows.iter().map(|row| row.key).collect()),
        bools(rows.iter().map(|row| Some(row.keep)).collect()),
    ];
    RecordBatch::try_new(input(), columns).unwrap()
}

fn plan(residual: bool, cache_bytes: usize) -> Plan {
    let (keys, window) = (vec![2], (0, 1));
    let kind = OpKind::WindowJoin {
        left_keys: keys.clone(),
        right_keys: keys,
        left_window: window,
        right_window: window,
        residual: residual.then(|| Expr::column("keep", 7)),
    };
    let spec = op_spec(kind, &schema(&[side(), side()].concat()), false);
    Plan { spec, input: input(), input2: Some(input()), updating: [false, false], cache_bytes }
}

fn group(row: &Row) -> KeyGroup {
    row.key.map_or(0, |key| key as KeyGroup % GROUPS)
}

fn shown(row: &Row) -> Vec<String> {
    let key = row.key.map_or("null".into(), |key| key.to_string());
    vec![row.start.to_string(), row.end.to_string(), key, row.keep.to_string()]
}

/// Pairs and the number of late rows.
type Outcome = (Vec<Vec<String>>, u64);

fn run(steps: &[Step], residual: bool, cache_bytes: usize) -> [Outcome; 2] {
    let mut stage = Stage::new(plan(residual, cache_bytes), 2);
    let mut reached = vec![-1; usize::from(GROUPS)];
    let mut watermarks = vec![-1; 2];
    let (mut live, mut late): ([Vec<Row>; 2], u64) = (Default::default(), 0);
    for step in steps {
        match step {
            Step::Rows(port, rows) => {
                stage.push(*port, &batch(rows), None, &rows.iter().map(group).collect::<Vec<_>>());
                for row in rows.iter().filter(|row| row.key.is_some()) {
                    if row.end - 1 > reached[usize::from(group(row))] {
                        live[*port].push(*row);
                    } else {
                        late += 1;
                    }
                }
            }
            Step::Watermark(task, by) => {
                let task = task % stage.tasks.len();
                watermarks[task] += by;
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
    let mut want = Vec::new();
    for left in &live[0] {
        let same = |right: &&Row| (right.key, right.start, right.end) == (left.key, left.start, left.end);
        for right in live[1].iter().filter(same).filter(|right| right.keep || !residual) {
            want.push([shown(left), shown(right)].concat());
        }
    }
    got.sort();
    want.sort();
    [(got, stage.late_rows), (want, late)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 160, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn pairs_are_what_a_nested_loop_finds(
        steps in prop::collection::vec(step(), 1..30),
        residual in any::<bool>(),
        cache_bytes in prop::sample::select(vec![0, 4000, 1 << 20]),
    ) {
        let [got, want] = run(&steps, residual, cache_bytes);
        prop_assert_eq!(got, want);
    }

    #[test]
    fn groups_that_move_are_joined_like_those_that_stay(
        events in prop::collection::vec(event(arrivals()), 1..40),
        cache_bytes in prop::sample::select(vec![0, 4000, 1 << 20]),
    ) {
        let mut world = World::of(plan(false, cache_bytes));
        for event in &events {
            match event {
                Event::Rows((port, rows)) => {
                    let groups = Some(rows.iter().map(group).collect());
                    world.push(*port, &Batch { groups, ..Batch::inserts(batch(rows)) });
                }
                other => world.step(other),
            }
        }
        let [moved, rested] = world.end().map(|said| said.sorted());
        prop_assert_eq!(moved, rested);
    }
}

#[test]
fn a_join_of_many_with_many_stops_after_a_bounded_number_of_rows() {
    for cache_bytes in [0, 1 << 20] {
        let mut stage = Stage::new(plan(false, cache_bytes), 1);
        let rows = vec![Row { key: Some(1), start: 0, end: 5, keep: true }; 200];
        stage.push(0, &batch(&rows), None, &[1; 200]);
        stage.push(1, &batch(&rows), None, &[1; 200]);
        let mut calls = Vec::new();
        loop {
            let flow = stage.tasks[0].call(|op, context| op.on_watermark(4, context)).unwrap();
            calls.push(stage.tasks[0].output.drain(..).map(|batch| batch.num_rows()).sum::<usize>());
            if flow == Flow::Done {
                break;
            }
        }
        assert_eq!(calls.iter().sum::<usize>(), 40_000);
        assert!(calls.iter().all(|rows| *rows <= EMIT_ROWS), "{calls:?}");
    }
}

#[test]
fn rows_of_a_group_on_its_way_back_are_not_removed() {
    for cache_bytes in [0, 1 << 20] {
        let mut stage = Stage::new(plan(false, cache_bytes), 1);
        let rows = [1, 2].map(|key| Row { key: Some(key), start: 0, end: 5, keep: true });
        let groups = rows.each_ref().map(group);
        stage.push(0, &batch(&rows), None, &groups);
        stage.finish();
        stage.push(1, &batch(&rows), None, &groups);
        stage.tasks[0].call(|op, context| op.flush_groups(&[1], context)).unwrap();
        let away = stage.tasks[0].disown(&[1]);
        assert_eq!(away.len(), 3, "a row per side, and progress that has not changed since the barrier");
        // The group is here, but not yet the task's.
        let changes = away.iter().map(|(key, value)| (key.clone(), Some(value.clone()))).collect();
        stage.tasks[0].store.write(changes).unwrap();
        stage.tasks[0].watermark(4);
        assert_eq!(stage.tasks[0].drain(), ["Insert 0,5,2,true,0,5,2,true"]);
        stage.tasks[0].adopt(&[1], Vec::new());
        stage.tasks[0].watermark(5);
        assert_eq!(stage.tasks[0].drain(), ["Insert 0,5,1,true,0,5,1,true"]);
        stage.finish();
        assert_eq!(entries(&mut *stage.tasks[0].store).len(), usize::from(GROUPS), "state is left behind");
    }
}
