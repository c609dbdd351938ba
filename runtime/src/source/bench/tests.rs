use std::collections::BTreeMap;
use std::path::Path;

use arrow::array::AsArray;
use arrow::datatypes::{Field, Int64Type, Schema};

use super::*;

fn table(folder: &Path, columns: &[(&str, DataType)]) -> TableSpec {
    let path = folder.display().to_string();
    let options = [("path", path.as_str()), ("bench.keys", "10"), ("bench.untimed", "25"), ("bench.value-bytes", "9")];
    let options: BTreeMap<_, _> = options.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    let fields: Vec<Field> = columns.iter().map(|(name, kind)| Field::new(*name, kind.clone(), true)).collect();
    let schema = Arc::new(Schema::new(fields));
    TableSpec { name: "records".into(), connector: "bench".into(), options, schema, line: 1, column: 1 }
}

fn all(folder: &Path) -> TableSpec {
    table(folder, &[("n", DataType::Int64), ("k", DataType::Int64), ("payload", DataType::Binary)])
}

fn open(folder: &Path, splits: Vec<Split>) -> Box<dyn Source> {
    let context = Context { job_started_at_ms: 0, batch_rows: 20 };
    Bench.open(&all(folder), splits, &context).unwrap()
}

/// Numbers of the records a poll gives.
fn numbers(source: &mut dyn Source, now_ms: i64) -> Vec<u64> {
    let Poll::Rows { rows, .. } = source.poll(now_ms).unwrap() else { return vec![] };
    let column = |index: usize| rows.column(index).as_primitive::<Int64Type>().values().to_vec();
    let stream = Stream::new(10);
    let of = |(n, k): (i64, i64)| stream.number(k.cast_unsigned(), n.cast_unsigned()).unwrap();
    column(0).into_iter().zip(column(1)).map(of).collect()
}

#[test]
fn records_come_at_once_then_on_schedule_and_then_end() {
    let folder = tempfile::tempdir().unwrap();
    let mut source = open(folder.path(), Bench.splits(&all(folder.path())).unwrap());
    assert_eq!(numbers(&mut *source, 1_000), (0..20).collect::<Vec<_>>());
    // Full batches are not held back, the rest is.
    assert_eq!(numbers(&mut *source, 1_000), Vec::<u64>::new());
    assert_eq!(numbers(&mut *source, 1_002), (20..25).collect::<Vec<_>>());
    assert_eq!(numbers(&mut *source, 1_500), Vec::<u64>::new());
    assert_eq!(source.offered_per_s(1_500), None);
    let offer = Offer { first: 25, at_ms: 2_000, per_s: 1_000, records: None };
    offer.write(folder.path()).unwrap();
    assert_eq!(numbers(&mut *source, 2_000), Vec::<u64>::new());
    assert_eq!(numbers(&mut *source, 2_003), [25, 26, 27]);
    assert_eq!((source.lag_records(2_013), source.offered_per_s(2_013)), (Some(10), Some(1_000.0)));
    assert_eq!(numbers(&mut *source, 2_013), (28..38).collect::<Vec<_>>());
    // Moved to another task meanwhile: it goes on where this one was.
    let mut source = open(folder.path(), source.splits());
    Offer { records: Some(40), ..offer }.write(folder.path()).unwrap();
    assert_eq!(numbers(&mut *source, 3_000), [38, 39]);
    assert!(matches!(source.poll(3_000).unwrap(), Poll::Finished { split: 0 }));
    assert_eq!((source.active_splits(), source.offered_per_s(3_000)), (vec![], Some(0.0)));
    assert!(matches!(source.poll(3_000).unwrap(), Poll::End));
    let mut ended = open(folder.path(), source.splits());
    assert!(matches!(ended.poll(3_000).unwrap(), Poll::End));
    assert!(matches!(open(folder.path(), vec![]).poll(3_000).unwrap(), Poll::End));
}

#[test]
fn payloads_are_as_long_as_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let mut source = open(folder.path(), Bench.splits(&all(folder.path())).unwrap());
    let Poll::Rows { rows, .. } = source.poll(0).unwrap() else { panic!("no rows") };
    let payload = rows.column(2).as_binary::<i32>();
    assert!(payload.iter().all(|value| value.unwrap().len() == 9) && payload.value(0) != payload.value(1));
}

#[test]
fn what_is_no_bench_table() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |name: &str, kind: DataType| {
        Bench.validate(&table(folder.path(), &[(name, kind)])).map_err(|error| error.to_string())
    };
    assert_eq!(refused("k", DataType::Int64), Ok(()));
    assert_eq!(
        refused("key", DataType::Int64),
        Err("table \"records\": column \"key\": a bench table has only k, n, payload".into())
    );
    assert_eq!(refused("n", DataType::Utf8), Err("table \"records\": column \"n\" is STRING: expected BIGINT".into()));
}
