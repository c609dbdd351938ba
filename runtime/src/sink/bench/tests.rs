use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::datatypes::{Field, Schema};

use super::*;
use crate::batch::ChangeKind;
use crate::bench::line;

#[derive(Clone, Default)]
struct Hand(Arc<AtomicI64>);

impl Clock for Hand {
    fn now_ms(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }

    fn now_us(&self) -> u64 {
        0
    }
}

const KEYS: u64 = 10;

fn table(folder: &Path, columns: &[&str]) -> TableSpec {
    let path = folder.display().to_string();
    let options = [("path", path.as_str()), ("bench.keys", "10"), ("bench.untimed", "20"), ("bench.value-bytes", "8")];
    let options: BTreeMap<_, _> = options.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    let fields: Vec<Field> = columns.iter().map(|name| Field::new(*name, DataType::Int64, true)).collect();
    let schema = Arc::new(Schema::new(fields));
    TableSpec { name: "arrivals".into(), connector: "bench".into(), options, schema, line: 1, column: 1 }
}

fn open(folder: &Path, generation: u64, clock: &Hand) -> Writer {
    let options = Options::read(&table(folder, &COLUMNS), options()).unwrap();
    Writer {
        folder: super::folder(&options),
        stream: Stream::new(KEYS),
        untimed: 20,
        value_bytes: 8,
        clock: Box::new(clock.clone()),
        context: Context { task: 1, generation, job_id: 5 },
        due: None,
        open: None,
    }
}

/// What a faultless count gives for these records: an update each.
fn results(numbers: impl IntoIterator<Item = u64>) -> Batch {
    let rows: Vec<[i64; 4]> = numbers
        .into_iter()
        .flat_map(|number| {
            let (key, before) = Stream::new(KEYS).record(number);
            let row = |counted: i64| [key.cast_signed(), counted, counted - 1, 8];
            [row(before.cast_signed()), row(before.cast_signed() + 1)]
        })
        .collect();
    let column = |at: usize| -> ArrayRef { Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row[at]))) };
    let schema = table(Path::new("x"), &COLUMNS).schema;
    let kinds = [ChangeKind::UpdateBefore as u8, ChangeKind::UpdateAfter as u8];
    let kinds: Vec<u8> = kinds.into_iter().cycle().take(rows.len()).collect();
    let rows = RecordBatch::try_new(schema, (0..4).map(column).collect()).unwrap();
    Batch { kinds: Some(kinds.into()), ..Batch::inserts(rows) }
}

#[test]
fn latency_is_from_due_to_arrival_per_window() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Hand::default();
    let mut sink = open(folder.path(), 1, &clock);
    clock.0.store(1_010, Ordering::Relaxed);
    sink.write(&results(0..20)).unwrap();
    // Written at once, so that the driver learns that the preload is over.
    let read = line::read(folder.path()).unwrap();
    assert_eq!((read.len(), read[0].untimed, read[0].arrived, read[0].latency.count()), (1, 20, 20, 0));
    Offer { first: 20, at_ms: 2_000, per_s: 1_000, records: None }.write(folder.path()).unwrap();
    clock.0.store(2_010, Ordering::Relaxed);
    sink.write(&results(20..25)).unwrap();
    clock.0.store(2_400, Ordering::Relaxed);
    sink.write(&results(25..26)).unwrap();
    assert_eq!(line::read(folder.path()).unwrap().len(), 2, "the last window goes on");
    sink.prepare(1).unwrap();
    let read = line::read(folder.path()).unwrap();
    let (second, third) = (&read[1], &read[2]);
    assert_eq!((second.at_ms, second.gap_ms, second.latency.count(), second.latency.max_ms()), (2_000, 1_000, 5, 9));
    assert_eq!((third.at_ms, third.gap_ms, third.latency.quantile_ms(500), third.arrived), (2_250, 390, 394, 26));
    assert_eq!(third.faults, crate::bench::seen::Faults::default());
}

#[test]
fn the_next_generation_goes_on_from_the_committed_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Hand::default();
    let mut first = open(folder.path(), 1, &clock);
    first.write(&results(0..15)).unwrap();
    let prepared = first.prepare(7).unwrap();
    // After the checkpoint: will come again.
    first.write(&results(15..19)).unwrap();
    let given_up = first.prepare(8).unwrap();
    let keep = Bench.clean(&table(folder.path(), &COLUMNS), (5, 1), &prepared);
    keep.unwrap();
    assert!(!token(&given_up[0]).unwrap().from.exists());
    let mut settling = open(folder.path(), 2, &clock);
    settling.commit(&prepared).unwrap();
    settling.commit(&prepared).unwrap();
    let mut second = open(folder.path(), 2, &clock);
    second.write(&results(15..20)).unwrap();
    let read = line::read(folder.path()).unwrap();
    let last = read.last().unwrap();
    assert_eq!((last.arrived, last.faults, last.untimed), (20, crate::bench::seen::Faults::default(), 20));
}

#[test]
fn a_value_that_is_not_as_long_as_it_was_is_damage() {
    let folder = tempfile::tempdir().unwrap();
    let mut sink = open(folder.path(), 1, &Hand::default());
    sink.value_bytes = 9;
    sink.write(&results(0..20)).unwrap();
    assert_eq!(line::read(folder.path()).unwrap()[0].faults.damaged, 20);
}

#[test]
fn what_is_no_bench_table() {
    let folder = tempfile::tempdir().unwrap();
    assert!(Bench.validate(&table(folder.path(), &COLUMNS)).is_ok());
    let error = Bench.validate(&table(folder.path(), &["k", "n"])).unwrap_err().to_string();
    assert_eq!(error, "table \"arrivals\": a bench table has the columns k, counted, n, bytes, all BIGINT");
}
