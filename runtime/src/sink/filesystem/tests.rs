use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray};

use super::*;

const JOB: u64 = 0xabc;

fn rows(ids: &[i64]) -> Batch {
    let names = ids.iter().map(|id| (id % 2 == 0).then(|| format!("n\"{id}")));
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(Int64Array::from(ids.to_vec()))),
        ("name", Arc::new(names.collect::<StringArray>())),
        ("at", Arc::new(TimestampMillisecondArray::from(ids.to_vec()))),
    ];
    Batch::inserts(RecordBatch::try_from_iter(columns).unwrap())
}

fn table(folder: &Path, more: &[(&str, &str)]) -> TableSpec {
    let mut options: BTreeMap<String, String> = more.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    options.insert("connector".into(), "filesystem".into());
    options.insert("path".into(), folder.to_str().unwrap().into());
    options.entry("format".into()).or_insert("json".into());
    TableSpec {
        name: "out".into(),
        connector: "filesystem".into(),
        options,
        schema: rows(&[]).rows.schema(),
        line: 1,
        column: 1,
    }
}

fn open(table: &TableSpec, generation: u64, task: u32) -> Box<dyn Sink> {
    Filesystem.open(table, &Context { task, generation, job_id: JOB }).unwrap()
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn both_formats() {
    let csv = [("format", "csv"), ("csv.header", "true"), ("csv.null-literal", "NA")];
    type Case<'c> = (&'c [(&'c str, &'c str)], &'c str, &'c str);
    let cases: [Case; 2] = [
        (
            &[],
            "json",
            "{\"id\":1,\"name\":null,\"at\":\"1970-01-01 00:00:00.001\"}\n\
             {\"id\":2,\"name\":\"n\\\"2\",\"at\":\"1970-01-01 00:00:00.002\"}\n",
        ),
        (&csv, "csv", "id,name,at\n1,NA,1970-01-01 00:00:00.001\n2,\"n\"\"2\",1970-01-01 00:00:00.002\n"),
    ];
    for (options, extension, expected) in cases {
        let folder = tempfile::tempdir().unwrap();
        let mut sink = open(&table(&folder.path().join("a/b"), options), 1, 7);
        sink.write(&rows(&[1])).unwrap();
        sink.write(&rows(&[2])).unwrap();
        let prepared = sink.prepare(5).unwrap();
        sink.commit(&prepared).unwrap();
        let name = format!("part-0000000000000abc-1-7-5-0.{extension}");
        assert_eq!(names(&folder.path().join("a/b")), [name.as_str()]);
        assert_eq!(fs::read_to_string(folder.path().join("a/b").join(name)).unwrap(), expected);
    }
}

#[test]
fn nothing_written_makes_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let table = table(folder.path(), &[("format", "csv"), ("csv.header", "true")]);
    let mut sink = open(&table, 1, 0);
    sink.write(&rows(&[])).unwrap();
    assert!(sink.prepare(1).unwrap().is_empty());
    sink.commit(&[]).unwrap();
    assert!(names(folder.path()).is_empty());
}

/// A crash at every point of two epochs: what a restart keeps and commits is what the manifest says, and no more.
#[test]
fn crash_points() {
    for crash_after in 0..7 {
        let folder = tempfile::tempdir().unwrap();
        let table = table(folder.path(), &[]);
        let mut manifest: Vec<Committable> = vec![];
        let mut committed_epochs = 0;
        {
            let mut sink = open(&table, 1, 0);
            let mut steps = 0..crash_after;
            for epoch in 1..=2 {
                if steps.next().is_none() {
                    break;
                }
                sink.write(&rows(&[epoch])).unwrap();
                if steps.next().is_none() {
                    break;
                }
                let prepared = sink.prepare(epoch.unsigned_abs()).unwrap();
                // The manifest of an epoch is committed here, before the sink hears of it.
                manifest = prepared;
                committed_epochs = epoch;
                if steps.next().is_none() {
                    break;
                }
                sink.commit(&manifest).unwrap();
            }
        }
        Filesystem.clean(&table, (JOB, 2), &manifest).unwrap();
        let mut sink = open(&table, 2, 1);
        for _ in 0..2 {
            sink.commit(&manifest).unwrap();
        }
        // Replayed from the manifest.
        for id in committed_epochs + 1..=2 {
            sink.write(&rows(&[id])).unwrap();
        }
        let last = sink.prepare(9).unwrap();
        sink.commit(&last).unwrap();
        Filesystem.clean(&table, (JOB, 2), &[]).unwrap();
        let mut lines: Vec<String> = vec![];
        for name in names(folder.path()) {
            assert!(!name.starts_with('.'), "{name} after crash {crash_after}");
            lines.extend(
                fs::read_to_string(folder.path().join(name)).unwrap().lines().map(|line| line[..8].to_string()),
            );
        }
        lines.sort();
        assert_eq!(lines, ["{\"id\":1,", "{\"id\":2,"], "crash after step {crash_after}");
    }
}

#[test]
fn clean_leaves_what_is_not_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let table = table(folder.path(), &[]);
    let mut sink = open(&table, 1, 0);
    sink.write(&rows(&[1])).unwrap();
    let keep = sink.prepare(1).unwrap();
    sink.write(&rows(&[2])).unwrap();
    sink.prepare(2).unwrap();
    let mut later = open(&table, 2, 0);
    later.write(&rows(&[3])).unwrap();
    later.prepare(1).unwrap();
    for other in ["mine.txt", ".part-0000000000000def-1-0-0.json", "part-0000000000000abc-1-0-1-0.json"] {
        fs::write(folder.path().join(other), "").unwrap();
    }
    Filesystem.clean(&table, (JOB, 1), &keep).unwrap();
    assert_eq!(
        names(folder.path()),
        [
            ".part-0000000000000abc-1-0-0.json",
            ".part-0000000000000abc-2-0-0.json",
            ".part-0000000000000def-1-0-0.json",
            "mine.txt",
            "part-0000000000000abc-1-0-1-0.json"
        ]
    );
}

#[test]
fn a_lost_file_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let mut sink = open(&table(folder.path(), &[]), 1, 0);
    sink.write(&rows(&[1])).unwrap();
    let prepared = sink.prepare(1).unwrap();
    fs::remove_file(folder.path().join(".part-0000000000000abc-1-0-0.json")).unwrap();
    let error = sink.commit(&prepared).unwrap_err().to_string();
    assert!(error.starts_with("cannot write '") && error.ends_with("part-0000000000000abc-1-0-1-0.json'"), "{error}");
}

#[test]
fn a_file_that_a_reader_moved_away_stays_committed() {
    let folder = tempfile::tempdir().unwrap();
    let mut sink = open(&table(folder.path(), &[]), 1, 0);
    sink.write(&rows(&[1])).unwrap();
    let prepared = sink.prepare(1).unwrap();
    sink.commit(&prepared).unwrap();
    fs::rename(folder.path().join("part-0000000000000abc-1-0-1-0.json"), folder.path().join("taken.json")).unwrap();
    // A recovery commits again what the checkpoint names, from another incarnation.
    open(&table(folder.path(), &[]), 2, 0).commit(&prepared).unwrap();
    assert_eq!(names(folder.path()), ["taken.json"]);
}

#[test]
fn a_file_is_no_folder() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let path = file.join("deeper");
    let error = Filesystem.validate(&table(&path, &[])).unwrap_err().to_string();
    let (path, file) = (path.display(), file.display());
    assert_eq!(error, format!("table \"out\": option 'path' = '{path}': expected a folder, but '{file}' is a file"));
    Filesystem.validate(&table(&folder.path().join("new/one"), &[])).unwrap();
    assert!(!folder.path().join("new").exists(), "validate makes nothing");
}
