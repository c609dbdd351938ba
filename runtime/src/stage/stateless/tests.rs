use arrow::array::RecordBatch;
use arrow::datatypes::DataType;
use millstream_sql::Expr;
use millstream_sql::graph::{OpKind, WindowSpec};

use crate::batch::Batch;
use crate::stage::testing::{ints, op_spec, rows_of, schema, store, time, times};
use crate::stage::{Error, OpContext, OpSettings, build};

fn run(
    kind: OpKind,
    output: &[(&str, DataType)],
    times_ms: Vec<Option<i64>>,
) -> Result<(Vec<Vec<String>>, u64), Error> {
    let input = schema(&[("time", time()), ("value", DataType::Int64)]);
    let values = ints((0..times_ms.len() as i64).map(Some).collect());
    let rows = RecordBatch::try_new(input.clone(), vec![times(times_ms), values]).unwrap();
    let spec = op_spec(kind, &schema(output), false);
    let mut op = build(&spec, &input, None, [false, false], &OpSettings::default())?;
    let (mut store, mut output, mut late_rows) = (store(), Vec::new(), 0);
    let mut context = OpContext { store: &mut *store, output: &mut output, groups: &[], late_rows: &mut late_rows };
    op.on_batch(0, Batch::inserts(rows), &mut context)?;
    Ok((rows_of(&output).into_iter().map(|(_, row)| row).collect(), late_rows))
}

fn windowed() -> [(&'static str, DataType); 5] {
    let bounds = [("window_start", time()), ("window_end", time()), ("window_time", time())];
    let [start, end, last] = bounds;
    [("time", time()), ("value", DataType::Int64), start, end, last]
}

#[test]
fn a_row_is_once_in_each_of_its_windows() {
    let window = WindowSpec { size_ms: 10, slide_ms: 5, offset_ms: 2 };
    let kind = OpKind::AssignWindows { window, rowtime: 0 };
    let (rows, late_rows) = run(kind, &windowed(), vec![Some(6), None, Some(-4), Some(i64::MAX)]).unwrap();
    let want = [["6", "0", "-3", "7", "6"], ["6", "0", "2", "12", "11"], ["-4", "2", "-13", "-3", "-4"]];
    assert_eq!(rows[..3], want);
    assert_eq!((rows.len(), late_rows), (4, 2), "rows without a sensible time are in no window and counted");
}

#[test]
fn tumbling_windows_meet_without_overlap() {
    let window = WindowSpec { size_ms: 10, slide_ms: 10, offset_ms: 0 };
    let (rows, _) =
        run(OpKind::AssignWindows { window, rowtime: 0 }, &windowed(), vec![Some(9), Some(10), Some(-1)]).unwrap();
    let starts: Vec<&str> = rows.iter().map(|row| row[2].as_str()).collect();
    assert_eq!(starts, ["0", "10", "-10"]);
}

#[test]
fn a_predicate_that_is_no_boolean_is_an_error_that_names_the_op() {
    let kind = OpKind::Filter { predicate: Expr::column("value", 1) };
    let error = run(kind, &[("time", time()), ("value", DataType::Int64)], vec![Some(1)]).unwrap_err();
    assert!(matches!(&error, Error::Evaluate { op, .. } if op == "op"), "{error:?}");
}

#[test]
fn an_event_time_that_is_no_timestamp_is_refused() {
    let window = WindowSpec { size_ms: 10, slide_ms: 5, offset_ms: 0 };
    let refused = run(OpKind::AssignWindows { window, rowtime: 1 }, &windowed(), vec![Some(1)]);
    assert!(matches!(&refused, Err(Error::Unsupported { what, .. }) if what.contains("column value is Int64")));
}

#[test]
fn windowed_ops_refuse_input_that_retracts() {
    use millstream_sql::graph::WindowTime;
    let input = schema(&[("start", time()), ("end", time())]);
    let kind =
        OpKind::WindowAggregate { time: WindowTime::Attached { start: 0, end: 1 }, keys: vec![], aggregates: vec![] };
    let refused = build(&op_spec(kind, &input, false), &input, None, [true, false], &OpSettings::default());
    assert!(matches!(refused, Err(Error::Unsupported { .. })));
}
