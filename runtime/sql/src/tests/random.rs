//! No text makes the planner panic.
use proptest::prelude::*;

use super::TABLES;
use crate::{PlanOptions, plan};

const WORDS: &[&str] = &[
    "SELECT",
    "FROM",
    "WHERE",
    "GROUP BY",
    "HAVING",
    "JOIN",
    "ON",
    "UNION ALL",
    "DISTINCT",
    "INSERT INTO",
    "q2",
    "bid",
    "auction",
    "price",
    "dateTime",
    "window_start",
    "window_end",
    "TABLE",
    "TUMBLE",
    "HOP",
    "DESCRIPTOR",
    "INTERVAL",
    "'1'",
    "SECOND",
    "(",
    ")",
    ",",
    "*",
    "+",
    "-",
    "=",
    ">",
    ".",
    ";",
    "COUNT",
    "SUM",
    "CASE",
    "WHEN",
    "THEN",
    "ELSE",
    "END",
    "AS",
    "CREATE TABLE",
    "CREATE VIEW",
    "WATERMARK FOR",
    "WITH",
    "BIGINT",
    "STRING",
    "TIMESTAMP(3)",
    "CAST",
    "NULL",
    "NOT",
    "IN",
    "BETWEEN",
    "AND",
    "OR",
    "1",
    "0.5",
    "'text'",
    "`q`",
    "\"q\"",
    "SET",
    "TIMESTAMP '2020-01-01'",
    "LIKE",
    "IS",
    "EXTRACT",
    "FILTER",
    "=>",
    "DECIMAL(38, 38)",
    "x",
];

fn never_panics(text: &str) {
    if let Err(error) = plan(text, &PlanOptions::default()) {
        assert!(!error.message.contains("the planner failed"), "{text}: {error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn random_text_never_panics(text in "\\PC{0,80}") {
        never_panics(&text);
    }

    #[test]
    fn random_words_never_panic(words in proptest::collection::vec(proptest::sample::select(WORDS), 0..40)) {
        never_panics(&format!("{TABLES}{}", words.join(" ")));
    }

    #[test]
    fn random_queries_never_panic(words in proptest::collection::vec(proptest::sample::select(WORDS), 0..12)) {
        never_panics(&format!("{TABLES}INSERT INTO q2 SELECT auction, price FROM bid WHERE {}", words.join(" ")));
        never_panics(&format!("{TABLES}INSERT INTO q2 SELECT auction, {} FROM bid", words.join(" ")));
    }
}
