use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use millstream_api::id::KeyGroup;
use millstream_sql::Expr;
use millstream_sql::graph::{Aggregate, AggregateFunction, OpKind, OpSpec, TableSpec, WindowSpec, WindowTime};
use proptest::prelude::*;

use super::{Chain, ChainInput, Env, Item, Registration};
use crate::batch::Batch;
use crate::stage::testing::moving::{Event, World, event};
use crate::stage::testing::{GROUPS, entries, ints, op_spec, rows_of, schema, store, time, times};
use crate::stage::{Error, Flow};
use crate::state::Store;

mod splits;

fn input() -> SchemaRef {
    schema(&[("key", DataType::Int64), ("time", time())])
}

fn spec(id: &str, kind: OpKind, output: &SchemaRef) -> OpSpec {
    OpSpec { id: id.into(), ..op_spec(kind, output, false) }
}

fn count(argument: Option<usize>) -> Aggregate {
    let function = AggregateFunction::Count;
    Aggregate { function, distinct: false, argument, filter: None, output: DataType::Int64 }
}

/// Counts per key and window of 10 ms, then the number of keys per window.
fn two_aggregates() -> Vec<OpSpec> {
    let bounds = [("window_start", time()), ("window_end", time()), ("window_time", time())];
    let first = schema(&[&[("key", DataType::Int64), ("count", DataType::Int64)], &bounds[..]].concat());
    let time = WindowTime::Assign { window: WindowSpec { size_ms: 10, slide_ms: 10, offset_ms: 0 }, rowtime: 1 };
    let per_key = OpKind::WindowAggregate { time, keys: vec![0], aggregates: vec![count(None)] };
    let swapped = OpKind::Project { exprs: vec![Expr::column("count", 1), Expr::column("window_end", 3)] };
    vec![
        spec("count", per_key, &first),
        spec("swap", swapped, &schema(&[("count", DataType::Int64), bounds[1].clone()])),
    ]
}

struct Task {
    chain: Chain,
    store: Box<dyn Store>,
    output: Vec<Item>,
}

impl Task {
    fn new(ops: &[OpSpec]) -> Self {
        let input = ChainInput { schema: input(), schema2: None, updating: [false, false] };
        Self { chain: Chain::new(ops, &input, 1 << 20).unwrap(), store: store(), output: Vec::new() }
    }

    fn call<T>(&mut self, visit: impl FnOnce(&mut Chain, &mut Env<'_>) -> T) -> T {
        let groups: Vec<KeyGroup> = vec![0, 1];
        visit(&mut self.chain, &mut Env { store: &mut *self.store, groups: &groups, output: &mut self.output })
    }

    fn push(&mut self, rows: &[(i64, i64)], split: Option<u32>) -> Flow {
        let columns = vec![
            ints(rows.iter().map(|row| Some(row.0)).collect()),
            times(rows.iter().map(|row| Some(row.1)).collect()),
        ];
        let groups = rows.iter().map(|row| row.0 as KeyGroup % 2).collect();
        let rows = RecordBatch::try_new(input(), columns).unwrap();
        let batch = Batch { groups: Some(groups), split, ..Batch::inserts(rows) };
        self.call(|chain, env| chain.push(0, batch, env)).unwrap()
    }

    /// What came out since the last call, as text.
    fn drain(&mut self) -> Vec<String> {
        let show = |item: Item| match item {
            Item::Rows(batch) => rows_of(&[batch]).iter().map(|(_, row)| row.join(",")).collect::<Vec<_>>().join(" "),
            Item::Watermark(watermark_ms) => format!("watermark {watermark_ms}"),
            Item::Idle => "idle".into(),
        };
        self.output.drain(..).map(show).collect()
    }
}

#[test]
fn rows_a_watermark_calls_for_leave_before_it() {
    let mut task = Task::new(&two_aggregates());
    assert_eq!(task.push(&[(1, 3), (2, 4), (1, 5), (1, 12)], None), Flow::Done);
    assert!(task.drain().is_empty());
    assert_eq!(task.call(|chain, env| chain.watermark(9, env)).unwrap(), Flow::Done);
    assert_eq!(task.drain(), ["2,10 1,10", "watermark 9"]);
    task.push(&[(1, 9)], None);
    assert_eq!(task.chain.late_rows(), 1);
}

#[test]
fn a_watermark_goes_on_where_it_stopped() {
    let mut task = Task::new(&two_aggregates());
    let rows: Vec<(i64, i64)> = (0..20_000).map(|key| (key, 1)).collect();
    task.push(&rows, None);
    let mut flow = task.call(|chain, env| chain.watermark(50, env)).unwrap();
    let (mut calls, mut rows) = (1, 0);
    loop {
        let items = std::mem::take(&mut task.output);
        let last = items.len();
        for (at, item) in items.into_iter().enumerate() {
            match item {
                Item::Rows(batch) => rows += batch.num_rows(),
                Item::Watermark(50) if flow == Flow::Done && at + 1 == last => {}
                other => panic!("{other:?} out of turn"),
            }
        }
        if flow == Flow::Done {
            break;
        }
        flow = task.call(|chain, env| chain.resume(env)).unwrap();
        calls += 1;
    }
    assert_eq!((calls, rows), (3, 20_000));
}

#[test]
fn registrations_number_the_states_of_all_ops_and_no_two_ops_share_one() {
    let mut ops = two_aggregates();
    let group = schema(&[("count", DataType::Int64), ("keys", DataType::Int64)]);
    ops.push(spec("again", OpKind::GroupAggregate { keys: vec![0], aggregates: vec![count(None)] }, &group));
    let mut task = Task::new(&ops);
    let names: Vec<(&str, &str)> =
        task.chain.registrations().iter().map(|Registration { op, name, .. }| (op.as_str(), *name)).collect();
    assert_eq!(names, [("count", "accumulators"), ("count", "progress"), ("again", "accumulators")]);
    task.push(&[(1, 3)], None);
    assert!(matches!(task.call(|chain, env| chain.watermark(9, env)), Err(Error::Unrouted { op }) if op == "again"));
    task.call(|chain, env| chain.barrier(env)).unwrap();
    assert!(entries(&mut *task.store).iter().all(|(key, _)| key[3] < 2), "an op wrote to the state of another");
}

/// The chain of a source: generates watermarks of the time minus nothing, behind a filter that keeps all rows.
fn source(idle_timeout_ms: Option<u64>) -> Task {
    let watermark = OpKind::Watermark { expr: Expr::column("time", 1), idle_timeout_ms };
    let table = TableSpec {
        name: "t".into(),
        connector: "datagen".into(),
        options: BTreeMap::new(),
        schema: input(),
        line: 1,
        column: 1,
    };
    Task::new(&[
        spec("source", OpKind::Source(table), &input()),
        spec("watermark", watermark, &input()),
        two_aggregates().remove(0),
    ])
}

#[test]
fn the_slowest_split_holds_the_watermark() {
    let mut task = source(None);
    assert!(task.chain.generates_watermarks());
    task.call(|chain, env| chain.splits(&[0, 7], env)).unwrap();
    task.push(&[(1, 30)], Some(0));
    assert!(task.drain().is_empty(), "split 7 is unread");
    task.push(&[(1, 12)], Some(7));
    assert_eq!(task.drain(), ["watermark 12"]);
    task.push(&[(1, 11)], Some(7));
    assert!(task.drain().is_empty(), "nothing has grown");
    task.call(|chain, env| chain.splits(&[0], env)).unwrap();
    assert_eq!(task.drain(), ["2,1,10,20,19".replace("2,1", "1,2"), "watermark 30".to_string()]);
    task.call(|chain, env| chain.splits(&[], env)).unwrap();
    assert_eq!(task.drain(), ["idle"]);
    task.call(|chain, env| chain.watermark(i64::MAX, env)).unwrap();
    assert_eq!(task.drain(), ["1,1,30,40,39".to_string(), format!("watermark {}", i64::MAX)]);
}

#[test]
fn an_idle_split_lets_go_until_it_has_rows_again() {
    let mut task = source(Some(1000));
    task.call(|chain, env| chain.tick(5_000, env)).unwrap();
    task.call(|chain, env| chain.splits(&[0, 1], env)).unwrap();
    task.drain();
    task.call(|chain, env| chain.tick(5_900, env)).unwrap();
    task.push(&[(1, 30)], Some(0));
    assert!(task.drain().is_empty());
    task.call(|chain, env| chain.tick(6_000, env)).unwrap();
    assert_eq!(task.drain(), ["watermark 30"]);
    task.push(&[(1, 35)], Some(1));
    task.push(&[(1, 50)], Some(1));
    assert!(task.drain().is_empty(), "split 0 is at 30");
    task.call(|chain, env| chain.tick(6_100, env)).unwrap();
    task.call(|chain, env| chain.tick(9_000, env)).unwrap();
    assert_eq!(task.drain(), ["idle"]);
    task.push(&[(1, 60)], Some(0));
    assert_eq!(task.drain(), ["1,2,30,40,39".to_string(), "1,1,50,60,59".to_string(), "watermark 60".to_string()]);
}

#[test]
fn restored_splits_go_on_from_where_they_were() {
    let mut first = source(None);
    first.call(|chain, env| chain.splits(&[0, 1], env)).unwrap();
    first.push(&[(1, 30)], Some(0));
    first.push(&[(1, 20)], Some(1));
    let parts: BTreeMap<_, _> =
        first.chain.operator_states().into_iter().map(|(op, state)| (op, vec![state])).collect();
    assert_eq!(parts.keys().collect::<Vec<_>>(), ["watermark"]);
    let mut second = source(None);
    second.call(|chain, env| chain.restore(&parts, env)).unwrap();
    second.call(|chain, env| chain.splits(&[1], env)).unwrap();
    assert_eq!(second.drain(), ["watermark 20"]);
    second.call(|chain, env| chain.splits(&[0, 1], env)).unwrap();
    second.push(&[(1, 25)], Some(1));
    assert_eq!(second.drain(), ["watermark 25"]);
    let broken = BTreeMap::from([("watermark".to_string(), vec![serde_json::json!({"splits": {"x": 1}})])]);
    let refused = source(None).call(|chain, env| chain.restore(&broken, env));
    assert!(matches!(refused, Err(Error::Corrupt { .. })));
}

#[test]
fn rows_without_a_split_count_for_all() {
    let mut task = source(None);
    task.call(|chain, env| chain.splits(&[0, 1], env)).unwrap();
    task.push(&[(1, 8)], None);
    assert_eq!(task.drain(), ["watermark 8"]);
}

#[test]
fn groups_pass_projections_and_filters() {
    let flag = schema(&[("keep", DataType::Boolean), ("key", DataType::Int64)]);
    let swap = OpKind::Project { exprs: vec![Expr::column("key", 1), Expr::column("keep", 0)] };
    let swapped = schema(&[("key", DataType::Int64), ("keep", DataType::Boolean)]);
    let ops =
        [spec("filter", OpKind::Filter { predicate: Expr::column("keep", 0) }, &flag), spec("swap", swap, &swapped)];
    let input = ChainInput { schema: flag.clone(), schema2: None, updating: [true, false] };
    let mut chain = Chain::new(&ops, &input, 0).unwrap();
    let keep = crate::stage::testing::bools(vec![Some(true), None, Some(false), Some(true)]);
    let rows = RecordBatch::try_new(flag, vec![keep, ints(vec![Some(1), Some(2), Some(3), Some(4)])]).unwrap();
    let batch =
        Batch { rows, kinds: Some(Arc::from([0, 0, 3, 3])), groups: Some(Arc::from([5, 6, 7, 8])), split: None };
    let (mut store, mut output) = (store(), Vec::new());
    chain.push(0, batch, &mut Env { store: &mut *store, groups: &[], output: &mut output }).unwrap();
    let [Item::Rows(batch)] = &output[..] else { panic!("{output:?}") };
    assert_eq!(batch.groups.as_deref(), Some(&[5, 8][..]));
    assert_eq!(batch.kinds.as_deref(), Some(&[0, 3][..]));
    assert_eq!(batch.rows.column(0), &ints(vec![Some(1), Some(4)]));
}

/// Windows assigned by one op and counted by the next, whose results a third one filters.
fn assign_and_count() -> Vec<OpSpec> {
    let bounds = [("window_start", time()), ("window_end", time()), ("window_time", time())];
    let assigned = schema(&[&[("key", DataType::Int64), ("time", time())], &bounds[..]].concat());
    let counted = schema(&[&[("key", DataType::Int64), ("count", DataType::Int64)], &bounds[..]].concat());
    let window = WindowSpec { size_ms: 12, slide_ms: 4, offset_ms: 0 };
    let attached = WindowTime::Attached { start: 2, end: 3 };
    let columns = ["count", "window_end", "key"].map(|name| (name, counted.index_of(name).unwrap()));
    let exprs = columns.iter().map(|(name, column)| Expr::column(name, *column)).collect();
    let shown = schema(&[("count", DataType::Int64), ("window_end", time()), ("key", DataType::Int64)]);
    vec![
        spec("assign", OpKind::AssignWindows { window, rowtime: 1 }, &assigned),
        spec(
            "count",
            OpKind::WindowAggregate { time: attached, keys: vec![0], aggregates: vec![count(None)] },
            &counted,
        ),
        spec("show", OpKind::Project { exprs }, &shown),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 160, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn groups_move_through_all_ops(
        events in prop::collection::vec(event(prop::collection::vec((0i64..9, 0i64..50), 1..12)), 1..40),
        cache_bytes in prop::sample::select(vec![0, 600, 1 << 20]),
    ) {
        let chain_input = ChainInput { schema: input(), schema2: None, updating: [false, false] };
        let mut world = World::new(assign_and_count(), chain_input, cache_bytes);
        for event in &events {
            let Event::Rows(rows) = event else {
                world.step(event);
                continue;
            };
            let columns = vec![
                ints(rows.iter().map(|row| Some(row.0)).collect()),
                times(rows.iter().map(|row| Some(row.1)).collect()),
            ];
            let groups = Some(rows.iter().map(|row| row.0 as KeyGroup % GROUPS).collect());
            world.push(0, &Batch { groups, ..Batch::inserts(RecordBatch::try_new(input(), columns).unwrap()) });
        }
        let [moved, rested] = world.end().map(|said| said.sorted());
        prop_assert_eq!(moved, rested);
    }
}

#[cfg(debug_assertions)]
#[test]
#[should_panic(expected = "groups that have left before")]
fn a_group_cannot_leave_twice() {
    let mut task = Task::new(&two_aggregates());
    task.call(|chain, env| chain.disown(&[1], env)).unwrap();
    task.call(|chain, env| chain.adopt(&[1], env)).unwrap();
    task.call(|chain, env| chain.disown(&[1], env)).unwrap();
    _ = task.call(|chain, env| chain.disown(&[1], env));
}
