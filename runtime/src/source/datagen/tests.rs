use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{
    DataType, Decimal128Type, Field, Float64Type, Int8Type, Int32Type, Schema, TimeUnit, TimestampMillisecondType,
};
use arrow::util::display::array_value_to_string;

use super::*;
use crate::source::testing;

const START_MS: i64 = 1_000_000;

fn table(columns: &[(&str, DataType)], more: &[(&str, &str)]) -> TableSpec {
    let mut options: BTreeMap<String, String> = more.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    options.insert("connector".into(), "datagen".into());
    let fields = columns.iter().map(|(name, data_type)| Field::new(*name, data_type.clone(), true)).collect::<Vec<_>>();
    TableSpec {
        name: "t".into(),
        connector: "datagen".into(),
        options,
        schema: Arc::new(Schema::new(fields)),
        line: 1,
        column: 1,
    }
}

fn read(table: &TableSpec, splits: Vec<Split>) -> RecordBatch {
    let mut source = Datagen.open(table, splits, &Context { job_started_at_ms: START_MS, batch_rows: 100 }).unwrap();
    let mut batches = vec![];
    loop {
        match source.poll(START_MS + 3_600_000).unwrap() {
            Poll::Rows { rows, .. } => batches.push(rows),
            Poll::Finished { .. } => {}
            Poll::Pending { .. } => panic!("all is due"),
            Poll::End => return concat_batches(&table.schema, &batches).unwrap(),
        }
    }
}

fn all_types() -> TableSpec {
    let columns = [
        ("Id", DataType::Int32),
        ("small", DataType::Int8),
        ("any", DataType::Int64),
        ("share", DataType::Float64),
        ("sum", DataType::Decimal128(10, 2)),
        ("name", DataType::Utf8),
        ("ok", DataType::Boolean),
        ("at", DataType::Timestamp(TimeUnit::Millisecond, None)),
        ("day", DataType::Date32),
        ("wide", DataType::Decimal128(38, 0)),
        ("f", DataType::Float32),
    ];
    let options = [
        ("fields.id.kind", "sequence"),
        ("fields.id.start", "-5"),
        ("fields.id.end", "994"),
        ("fields.small.min", "3"),
        ("fields.small.max", "5"),
        ("fields.share.min", "-1.5"),
        ("fields.share.max", "2"),
        ("fields.sum.min", "10"),
        ("fields.sum.max", "10.05"),
        ("fields.name.length", "20"),
        ("fields.at.max-past", "10 ms"),
        ("rows-per-second", "1000"),
    ];
    table(&columns, &options)
}

#[test]
fn values_are_in_their_ranges() {
    let table = all_types();
    Datagen.validate(&table).unwrap();
    let rows = read(&table, Datagen.splits(&table).unwrap());
    assert_eq!(rows.num_rows(), 1000, "the sequence ends the table");
    let ids: Vec<String> = (0..1000).map(|row| array_value_to_string(rows.column(0), row).unwrap()).collect();
    assert_eq!(ids, (-5..995).map(|id| id.to_string()).collect::<Vec<_>>());
    let small: HashSet<i8> = rows.column(1).as_primitive::<Int8Type>().values().iter().copied().collect();
    assert_eq!(small, [3, 4, 5].into());
    let share = rows.column(3).as_primitive::<Float64Type>().values();
    assert!(share.iter().all(|share| (-1.5..2.0).contains(share)) && share.iter().any(|share| *share < -1.4));
    let sums: HashSet<i128> = rows.column(4).as_primitive::<Decimal128Type>().values().iter().copied().collect();
    assert_eq!(sums, (1000..=1005).collect());
    let names: HashSet<&str> = rows.column(5).as_string::<i32>().iter().flatten().collect();
    assert!(names.len() == 1000 && names.iter().all(|name| name.len() == 20));
    assert!((400..600).contains(&rows.column(6).as_boolean().true_count()));
    let times = rows.column(7).as_primitive::<TimestampMillisecondType>().values();
    for (row, at_ms) in times.iter().enumerate() {
        let due_ms = START_MS + row as i64 + 1;
        assert!((due_ms - 10..=due_ms).contains(at_ms), "{row}: {at_ms}");
    }
    let wide = rows.column(9).as_primitive::<Decimal128Type>().values();
    assert!(wide.iter().all(|value| value.unsigned_abs() < 10u128.pow(38)));
}

#[test]
fn the_rows_are_the_same_for_every_assignment_and_projection() {
    let table = all_types();
    let lines = |rows: RecordBatch| {
        let cell = |column: usize, row| array_value_to_string(rows.column(column), row).unwrap();
        (0..rows.num_rows()).map(|row| (cell(0, row), cell(5, row), cell(3, row))).collect::<Vec<_>>()
    };
    let mut one = lines(read(&table, Datagen.splits(&table).unwrap()));
    one.sort();
    let mut union = vec![];
    for task in 0..3 {
        let mine = Datagen.splits(&table).unwrap().into_iter().filter(|split| split.id % 3 == task).collect();
        union.extend(lines(read(&table, mine)));
    }
    union.sort();
    assert_eq!(one, union);
    let names = read(
        &TableSpec { schema: Arc::new(table.schema.project(&[5]).unwrap()), ..table.clone() },
        strides::splits(257),
    );
    let mut names: Vec<String> = names.column(0).as_string::<i32>().iter().map(|it| it.unwrap().to_string()).collect();
    names.sort();
    let mut expected: Vec<String> = one.into_iter().map(|line| line.1).collect();
    expected.sort();
    assert_eq!(names, expected, "without the sequence column too");
}

#[test]
fn error_texts() {
    type Case<'c> = (DataType, &'c [(&'c str, &'c str)], &'c str);
    let cases: [Case; 9] = [
        (
            DataType::Int8,
            &[("fields.x.max", "200")],
            "option 'fields.x.max' = '200': expected a whole number from -128 to 127",
        ),
        (
            DataType::Int32,
            &[("fields.x.min", "5"), ("fields.x.max", "4")],
            "option 'fields.x.min' = '5': expected at most 'fields.x.max' = '4'",
        ),
        (
            DataType::Int32,
            &[("fields.x.kind", "sequence"), ("fields.x.start", "1")],
            "option 'fields.x.kind' = 'sequence' needs 'fields.x.start' and 'fields.x.end'",
        ),
        (
            DataType::Int32,
            &[("fields.x.kind", "sequence"), ("fields.x.start", "1"), ("fields.x.end", "-1")],
            "option 'fields.x.end' = '-1': expected at least 'fields.x.start' = '1'",
        ),
        (
            DataType::Boolean,
            &[("fields.x.kind", "sequence"), ("fields.x.start", "1"), ("fields.x.end", "2")],
            "column \"x\" is BOOLEAN, which has no sequences",
        ),
        (
            DataType::Int8,
            &[("fields.x.kind", "sequence"), ("fields.x.start", "1"), ("fields.x.end", "200")],
            "option 'fields.x.end' = '200': expected a whole number from -128 to 127",
        ),
        (DataType::Int8, &[("fields.y.min", "1")], "option 'fields.y.min': there is no column \"y\" (there are x, z)"),
        (DataType::Binary, &[], "column \"x\" is BYTES, which connector 'datagen' cannot make"),
        (
            DataType::Utf8,
            &[("fields.x.kind", "serial")],
            "option 'fields.x.kind' = 'serial': expected 'random' or 'sequence'",
        ),
    ];
    for (data_type, options, expected) in cases {
        let mut table = table(&[("x", data_type)], options);
        let declared = [(crate::source::DECLARED_COLUMNS.to_string(), r#"["x", "z"]"#.to_string())];
        table.schema = Arc::new(Schema::clone(&table.schema).with_metadata(declared.into()));
        let error = Datagen.validate(&table).unwrap_err();
        assert_eq!(error.to_string(), format!("table \"t\": {expected}"));
    }
}

#[test]
fn splits_move_between_tasks_without_loss() {
    let table = all_types();
    let line = |rows: &RecordBatch, row| {
        rows.columns().iter().map(|column| array_value_to_string(column, row).unwrap()).collect::<Vec<_>>().join("|")
    };
    let one = read(&table, Datagen.splits(&table).unwrap());
    for seed in 0..20 {
        let open =
            |splits| Datagen.open(&table, splits, &Context { job_started_at_ms: START_MS, batch_rows: 40 }).unwrap();
        let (read, _) = testing::read_by_two(&open, Datagen.splits(&table).unwrap(), seed, START_MS);
        let mut next: Vec<usize> = (0..257).collect();
        for read in &read {
            for row in 0..read.rows.num_rows() {
                let number = (read.rows.column(0).as_primitive::<Int32Type>().value(row) + 5) as usize;
                assert_eq!(number, next[number % 257], "seed {seed}");
                next[number % 257] += 257;
                assert_eq!(line(&read.rows, row), line(&one, number), "seed {seed}");
            }
        }
        assert!(next.iter().all(|next| *next >= 1000), "seed {seed}: rows are lost");
        assert!(read.iter().any(|read| read.task == 1), "seed {seed}: nothing has moved");
    }
}
