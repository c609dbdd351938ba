use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int8Array, Int64Array, RecordBatch,
    StringArray, TimestampMillisecondArray,
};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Schema};
use arrow::util::display::array_value_to_string;
use proptest::prelude::*;

use super::*;
use crate::source::{DECLARED_COLUMNS, Poll, Source, testing};

fn table(path: &Path, schema: SchemaRef, more: &[(&str, &str)]) -> TableSpec {
    let mut options: BTreeMap<String, String> = more.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    options.insert("connector".into(), "filesystem".into());
    options.insert("path".into(), path.to_str().unwrap().into());
    options.entry("format".into()).or_insert("csv".into());
    TableSpec { name: "t".into(), connector: "filesystem".into(), options, schema, line: 1, column: 1 }
}

fn id_and_name() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, true), Field::new("name", DataType::Utf8, true)]))
}

fn open(table: &TableSpec, splits: Vec<Split>, batch_rows: usize) -> Box<dyn Source> {
    Filesystem.open(table, splits, &Context { job_started_at_ms: 0, batch_rows }).unwrap()
}

fn drain(source: &mut dyn Source) -> Result<Vec<RecordBatch>, Error> {
    let mut batches = vec![];
    loop {
        match source.poll(0)? {
            Poll::Rows { rows, split } => {
                assert!(rows.num_rows() > 0);
                assert!(source.active_splits().contains(&split.unwrap()));
                batches.push(rows);
            }
            Poll::Finished { split } => assert!(!source.active_splits().contains(&split)),
            Poll::Pending { .. } => panic!("a file is never pending"),
            Poll::End => return Ok(batches),
        }
    }
}

fn read(table: &TableSpec, batch_rows: usize) -> Result<RecordBatch, Error> {
    Filesystem.validate(table)?;
    let batches = drain(open(table, Filesystem.splits(table)?, batch_rows).as_mut())?;
    Ok(concat_batches(&table.schema, &batches).unwrap())
}

fn lines(rows: &RecordBatch) -> Vec<String> {
    let cell = |column: &ArrayRef, row| {
        if column.is_null(row) { "NULL".into() } else { array_value_to_string(column, row).unwrap() }
    };
    let line = |row| rows.columns().iter().map(|column| cell(column, row)).collect::<Vec<_>>().join("|");
    (0..rows.num_rows()).map(line).collect()
}

fn every_type(texts: Vec<Option<String>>) -> RecordBatch {
    let n = texts.len() as i64;
    let some = |n: i64| (n % 3 != 2).then_some(n);
    let longs: Vec<Option<i64>> = (0..n).map(some).collect();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("b", Arc::new((0..n).map(|n| some(n).map(|n| n % 2 == 0)).collect::<BooleanArray>())),
        ("i", Arc::new((0..n).map(|n| some(n).map(|n| (n % 100) as i8 - 50)).collect::<Int8Array>())),
        ("l", Arc::new(Int64Array::from(longs.clone()))),
        ("f", Arc::new((0..n).map(|n| some(n).map(|n| n as f64 / 7.0)).collect::<Float64Array>())),
        ("d", Arc::new((0..n).map(|n| some(n).map(|n| n as i32 * 1000 - 5000)).collect::<Date32Array>())),
        ("t", Arc::new(longs.iter().map(|n| n.map(|n| n * 1_234_567_891)).collect::<TimestampMillisecondArray>())),
        (
            "m",
            Arc::new(
                longs
                    .iter()
                    .map(|n| n.map(|n| i128::from(n) * 10i128.pow(30) - 7))
                    .collect::<Decimal128Array>()
                    .with_precision_and_scale(38, 5)
                    .unwrap(),
            ),
        ),
        ("s", Arc::new(StringArray::from(texts))),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true))).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Written and read again is the same, whatever is in the text.
    #[test]
    fn round_trip(texts in prop::collection::vec(prop::option::of("(?s).{0,12}|[a\",\r\n;\\\\ ]{0,6}|NA|null"), 1..20), is_json in any::<bool>()) {
        let rows = every_type(texts);
        let format = if is_json { "json" } else { "csv" };
        let folder = tempfile::tempdir().unwrap();
        let mut more = vec![("format", format), ("csv.null-literal", "NA"), ("csv.header", "true")];
        more.push(("csv.allow-multiline", "true"));
        let table = table(&folder.path().join("file"), rows.schema(), &more);
        let written = Format::of(&Options::read(&table, options()).unwrap()).unwrap();
        let mut text = String::new();
        written.append_head(&rows.schema(), &mut text);
        written.append_rows(&rows, &mut text);
        fs::write(folder.path().join("file"), text).unwrap();
        prop_assert_eq!(read(&table, 3).unwrap(), rows);
    }

    /// Any split size, number of tasks and batch size gives every record once.
    #[test]
    fn split_boundaries(names in prop::collection::vec("[a-zé\",]{0,9}", 0..30), split_size in 1u64..80, tasks in 1usize..4,
                        batch_rows in 1usize..9, header in any::<bool>(), crlf in any::<bool>(), last_break in any::<bool>()) {
        let folder = tempfile::tempdir().unwrap();
        for file in ["one.csv", "two.csv", ".hidden", "_also"] {
            let mut text = String::from(if header { "\u{feff}name;id" } else { "" });
            for (id, name) in names.iter().enumerate() {
                let line_break = if crlf { "\r\n" } else { "\n" };
                let blank = if id % 4 == 3 { line_break } else { "" };
                text += &format!("{}{blank}\"{}\";{id}", if text.is_empty() { "" } else { line_break }, name.replace('"', "\"\""));
            }
            fs::write(folder.path().join(file), text + if last_break { "\n" } else { "" }).unwrap();
        }
        let fields = vec![Field::new("name", DataType::Utf8, true), Field::new("id", DataType::Int64, true)];
        let size = split_size.to_string();
        let more = [("csv.field-delimiter", ";"), ("csv.header", if header { "true" } else { "false" }), ("split-size", &size)];
        let table = table(folder.path(), Arc::new(Schema::new(fields)), &more);
        let mut all = vec![];
        let splits = Filesystem.splits(&table).unwrap();
        for task in 0..tasks {
            let mine = splits.iter().filter(|split| split.id as usize % tasks == task).cloned().collect();
            drain(open(&table, mine, batch_rows).as_mut()).unwrap().iter().for_each(|rows| all.extend(lines(rows)));
        }
        let mut expected: Vec<String> = names.iter().enumerate().map(|(id, name)| format!("{name}|{id}")).collect();
        expected.extend(expected.clone());
        all.sort();
        expected.sort();
        prop_assert_eq!(all, expected);
    }

    /// A reader that starts at the positions of another goes on where that one was.
    #[test]
    fn positions_resume(split_size in 1u64..200, polls in 0usize..30, batch_rows in 1usize..5) {
        let folder = tempfile::tempdir().unwrap();
        let text: String = (0..40).map(|id| format!("{{\"id\": {id}, \"name\": \"n{id}\", \"x\": [{{}}]}}\n")).collect();
        fs::write(folder.path().join("a.json"), text).unwrap();
        let size = split_size.to_string();
        let table = table(folder.path(), id_and_name(), &[("format", "json"), ("split-size", &size)]);
        let mut first = open(&table, Filesystem.splits(&table).unwrap(), batch_rows);
        let mut seen = vec![];
        for _ in 0..polls {
            if let Poll::Rows { rows, .. } = first.poll(0).unwrap() {
                seen.extend(lines(&rows));
            }
        }
        let rest = drain(open(&table, first.splits(), batch_rows).as_mut()).unwrap();
        rest.iter().for_each(|rows| seen.extend(lines(rows)));
        prop_assert_eq!(seen, (0..40).map(|id| format!("{id}|n{id}")).collect::<Vec<_>>());
    }
}

#[test]
fn headers_nulls_and_pruned_columns() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.csv");
    fs::write(&path, "origin,ID,skip,name\nEWR, 7 ,x,\"NA\"\nJFK,NA,y,NA\nLGA,,z,\n").unwrap();
    let with_header = [("csv.header", "true"), ("csv.null-literal", "NA")];
    assert_eq!(lines(&read(&table(&path, id_and_name(), &with_header), 10).unwrap()), ["7|NA", "NULL|NULL", "NULL|"]);
    fs::write(&path, "EWR,7,x,a\nJFK,8,y,b\n").unwrap();
    let declared = r#"["origin", "id", "skip", "name"]"#.to_string();
    let metadata = [(DECLARED_COLUMNS.to_string(), declared)].into();
    let pruned = Arc::new(Schema::clone(&id_and_name()).with_metadata(metadata));
    assert_eq!(lines(&read(&table(&path, pruned, &[]), 10).unwrap()), ["7|a", "8|b"]);
    // A query that reads no column still counts.
    let none =
        Arc::new(Schema::empty().with_metadata([(DECLARED_COLUMNS.into(), r#"["a","b","c","d"]"#.into())].into()));
    let table = table(&path, none, &[]);
    let mut source = open(&table, Filesystem.splits(&table).unwrap(), 10);
    assert!(matches!(source.poll(0).unwrap(), Poll::Rows { rows, .. } if rows.num_rows() == 2));
}

const MIXED: &str = "1,a\nx,b\n\n3,c\n4\n5,\"e\n6,f\n";

#[test]
fn malformed_records_fail_by_default() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    let not_null =
        Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, false), Field::new("name", DataType::Utf8, true)]));
    let cases: Vec<(&str, &[u8], SchemaRef, &str)> = vec![
        ("csv", MIXED.as_bytes(), id_and_name(), "line 2: column \"id\": 'x' is not a BIGINT"),
        ("csv", b"1,a\r\n\r\n2", id_and_name(), "line 3: 1 fields where 2 are expected"),
        ("csv", b"1,a,b\n", id_and_name(), "line 1: 3 fields where 2 are expected"),
        ("csv", b"1,\"a\n", id_and_name(), "line 1: field 2: no closing quote"),
        ("csv", b"1,\"a\"b\n", id_and_name(), "line 1: field 2: text after the closing quote"),
        ("csv", b"1,\xff\n", id_and_name(), "line 1: column \"name\": '\u{fffd}' is not a STRING"),
        ("csv", b"1,a\n,b\n", not_null, "line 2: column \"id\" is NULL, and it is declared NOT NULL"),
        ("json", b"{}\n{\"id\": 1.5}", id_and_name(), "line 2: column \"id\": '1.5' is not a BIGINT"),
        ("json", b"[1]", id_and_name(), "line 1: not a JSON object: expected '{' at character 1"),
        ("json", b"{\"id\": 1", id_and_name(), "line 1: not a JSON object: expected ',' or '}' at character 9"),
        ("json", b"{\"id\": tru}", id_and_name(), "line 1: not a JSON object: expected a value at character 8"),
        (
            "json",
            b"{\"id\": 1} x",
            id_and_name(),
            "line 1: not a JSON object: expected the end of the line at character 11",
        ),
        (
            "json",
            b"{\"name\": \"\\q\"}",
            id_and_name(),
            "line 1: not a JSON object: expected a string with valid escapes at character 14",
        ),
    ];
    for (format, text, schema, expected) in cases {
        fs::write(&path, text).unwrap();
        // Any split size names the same line.
        for size in ["1", "5", "1000"] {
            let error =
                read(&table(&path, schema.clone(), &[("format", format), ("split-size", size)]), 10).unwrap_err();
            let (start, end) = ("table \"t\": ", "(mend the record, or set 'on-error' to 'skip' or 'dead-letter')");
            assert!(matches!(error, Error::Record(_)));
            assert_eq!(error.to_string(), format!("{start}{}, {expected} {end}", path.display()));
        }
    }
}

#[test]
fn malformed_records_are_skipped_or_put_aside() {
    let folder = tempfile::tempdir().unwrap();
    let (path, aside) = (folder.path().join("x.csv"), folder.path().join("aside"));
    fs::write(&path, MIXED).unwrap();
    for size in ["3", "1000"] {
        let policies = [
            vec![("on-error", "skip")],
            vec![("on-error", "dead-letter"), ("dead-letter.path", aside.to_str().unwrap())],
        ];
        for mut policy in policies {
            policy.push(("split-size", size));
            let table = table(&path, id_and_name(), &policy);
            let mut source = open(&table, Filesystem.splits(&table).unwrap(), 2);
            let rows = drain(source.as_mut()).unwrap();
            assert_eq!(rows.iter().flat_map(lines).collect::<Vec<_>>(), ["1|a", "3|c", "6|f"]);
            assert_eq!(source.bad_records(), 3);
        }
        let letters = fs::read_to_string(aside.join("dead-letter-t-0.json")).unwrap();
        let letters: Vec<serde_json::Value> = letters.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let brief: Vec<_> =
            letters.iter().map(|it| (it["line"].as_u64().unwrap(), it["record"].as_str().unwrap())).collect();
        assert_eq!(brief, [(2, "x,b"), (5, "4"), (6, "5,\"e")]);
        assert_eq!(letters[1]["reason"], "1 fields where 2 are expected");
        fs::remove_dir_all(&aside).unwrap();
    }
}

#[test]
fn error_texts() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("x.csv"), "a,b\n1,2\n").unwrap();
    let shown = |name: &str| at(name).display().to_string();
    type Case<'c> = (&'c str, Vec<(&'c str, &'c str)>, String);
    let cases: Vec<Case> = vec![
        ("none", vec![], format!("option 'path': cannot read '{}': no such file or folder", shown("none"))),
        ("x.csv", vec![("format", "xml")], "option 'format' = 'xml': expected 'csv' or 'json'".into()),
        (
            "x.csv",
            vec![("csv.field-delimiter", "ab")],
            "option 'csv.field-delimiter' = 'ab': expected one character".into(),
        ),
        (
            "x.csv",
            vec![("csv.field-delimiter", "é")],
            "option 'csv.field-delimiter' = 'é': expected one ASCII character, not a quote or line break".into(),
        ),
        (
            "x.csv",
            vec![("csv.header", "true")],
            format!("column \"id\" is not in the header of {} (it has a, b)", shown("x.csv")),
        ),
        (
            "x.csv",
            vec![("on-error", "dead-letter")],
            "option 'dead-letter.path' is missing: 'on-error' = 'dead-letter' needs a folder".into(),
        ),
        (
            "x.csv",
            vec![("dead-letter.path", "/tmp/d")],
            "option 'dead-letter.path' has no effect without 'on-error' = 'dead-letter'".into(),
        ),
    ];
    for (name, more, expected) in cases {
        let error = Filesystem.validate(&table(&at(name), id_and_name(), &more)).unwrap_err();
        assert!(matches!(error, Error::User(_)));
        assert_eq!(error.to_string(), format!("table \"t\": {expected}"));
    }
}

fn by_split(read: impl IntoIterator<Item = (u32, RecordBatch)>) -> BTreeMap<u32, Vec<String>> {
    let mut splits: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    for (split, rows) in read {
        splits.entry(split).or_default().extend(lines(&rows));
    }
    splits
}

/// Lines of malformed records put aside, from all files of the folder, sorted; and the number of files.
fn put_aside(folder: &Path) -> (Vec<u64>, usize) {
    let files: Vec<_> = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    let mut lines: Vec<u64> = vec![];
    for file in &files {
        let letter = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["line"].as_u64().unwrap();
        lines.extend(fs::read_to_string(file).unwrap().lines().map(letter));
    }
    lines.sort_unstable();
    (lines, files.len())
}

#[test]
fn splits_move_between_tasks_without_loss() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("in")).unwrap();
    let line = |id: usize| if id % 9 == 4 { format!("{id}?,bad\n") } else { format!("{id},name {id}\n") };
    for (file, ids) in [("a", 0..150), ("b", 150..151), ("c", 151..400)] {
        fs::write(at("in").join(file), format!("id,name\n{}", ids.map(line).collect::<String>())).unwrap();
    }
    let aside = at("aside");
    let more = [("csv.header", "true"), ("on-error", "dead-letter"), ("dead-letter.path", aside.to_str().unwrap())];
    let mut files_seen = 0;
    for seed in 0..20 {
        let size = if seed % 2 == 0 { "300" } else { "700" };
        let table = table(&at("in"), id_and_name(), &[&more[..], &[("split-size", size)]].concat());
        let splits = Filesystem.splits(&table).unwrap();
        let mut one = open(&table, splits.clone(), 7);
        let mut expected = vec![];
        loop {
            match one.poll(0).unwrap() {
                Poll::Rows { rows, split } => expected.push((split.unwrap(), rows)),
                Poll::Finished { .. } => {}
                Poll::Pending { .. } | Poll::End => break,
            }
        }
        let (bad_lines, _) = put_aside(&aside);
        fs::remove_dir_all(&aside).unwrap();
        let (read, tasks) = testing::read_by_two(&|splits| open(&table, splits, 3), splits, seed, 0);
        assert!(read.iter().any(|read| read.task == 1), "seed {seed}: nothing has moved");
        let read = read.into_iter().map(|read| (read.split.unwrap(), read.rows));
        assert_eq!(by_split(read), by_split(expected), "seed {seed}");
        let bad = tasks.iter().map(|task| task.bad_records()).sum::<u64>();
        assert_eq!(bad, one.bad_records());
        let (lines, files) = put_aside(&aside);
        assert_eq!(lines, bad_lines, "seed {seed}: dead letters are lost or written twice");
        files_seen = files_seen.max(files);
        fs::remove_dir_all(&aside).unwrap();
    }
    assert!(files_seen > 1, "both tasks put records aside");
}

#[test]
fn a_task_without_splits_reads_none_and_gets_some_later() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.csv");
    fs::write(&path, "1,a\n2,b\nx\n3,c\n4,d\n").unwrap();
    let aside = folder.path().join("aside");
    let more = [("split-size", "8"), ("on-error", "dead-letter"), ("dead-letter.path", aside.to_str().unwrap())];
    let table = table(&path, id_and_name(), &more);
    let (mut first, mut second) = (open(&table, Filesystem.splits(&table).unwrap(), 1), open(&table, vec![], 10));
    assert!(matches!(second.poll(0).unwrap(), Poll::End));
    assert!(matches!(first.poll(0).unwrap(), Poll::Rows { rows, .. } if lines(&rows) == ["1|a"]));
    let given = first.give(&[0, 1, 2, 7]);
    assert_eq!(given.iter().map(|split| split.position.as_u64()).collect::<Vec<_>>(), [Some(4), None, None]);
    assert!(matches!(first.poll(0).unwrap(), Poll::End));
    assert!(first.splits().is_empty() && first.active_splits().is_empty());
    second.take(given).unwrap();
    let again = second.splits();
    let rest = drain(second.as_mut()).unwrap();
    assert_eq!(rest.iter().flat_map(lines).collect::<Vec<_>>(), ["2|b", "3|c", "4|d"]);
    assert_eq!(put_aside(&aside).0, [3], "a task that began without splits has somewhere to put dead letters");
    assert!(second.splits().iter().all(|split| split.finished));
    first.take(second.give(&[0, 1])).unwrap();
    assert!(matches!(first.poll(0).unwrap(), Poll::End), "finished splits travel as finished");
    assert!(second.take(again).unwrap_err().to_string().contains("split 2 is read by this task already"));
}
