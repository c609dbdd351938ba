//! `explain` of each file in tests-data/plans against the .txt beside it. To write what is there now, run the tests with
//! MILLSTREAM_BLESS=1 and read the difference.
use std::path::PathBuf;

use super::TABLES;
use crate::{PlanOptions, explain, plan};

fn check(name: &str) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests-data/plans");
    let query = std::fs::read_to_string(folder.join(format!("{name}.sql"))).unwrap();
    let text = format!("{TABLES}{query}");
    let graph = plan(&text, &PlanOptions::default()).unwrap_or_else(|error| panic!("{name}: {error}"));
    let actual = explain(&graph);
    assert_eq!(explain(&plan(&text, &PlanOptions::default()).unwrap()), actual, "planning is deterministic");
    let path = folder.join(format!("{name}.txt"));
    if std::env::var_os("MILLSTREAM_BLESS").is_some() {
        std::fs::write(&path, &actual).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(actual == expected, "{name}: the plan changed; it is now\n{actual}");
}

macro_rules! snapshots {
    ($($name:ident),* $(,)?) => { $(#[test] fn $name() { check(stringify!($name)); })* };
}

snapshots!(
    q0,
    q1,
    q2,
    q3,
    q4,
    q5,
    q7,
    q8,
    computed,
    distinct,
    hop,
    nested,
    rowwise_window,
    statement_set,
    union_aggregate,
    union_sink,
    filtered_window,
    expressions
);
