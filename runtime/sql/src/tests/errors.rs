//! What a user is told, and where.
use super::TABLES;
use crate::{Error, PlanOptions, plan};

fn error_of(text: &str) -> Error {
    match plan(text, &PlanOptions::default()) {
        Ok(_) => panic!("this is not an error: {text}"),
        Err(error) => error,
    }
}

/// Text after the tables (its first line is line 1), line, column, part of the message, part of the help.
const CASES: &[(&str, u32, u32, &str, &str)] = &[
    ("INSERT INTO q2 SELECT auction, pric FROM bid", 1, 32, "unknown column \"pric\"", "did you mean \"price\"?"),
    ("INSERT INTO q2\nSELECT auction,\n  b.pricee FROM bid b", 3, 3, "unknown column \"b.pricee\"", "\"price\""),
    ("INSERT INTO q2 SELECT auction, price FROM bid WHERE Price > 1", 1, 53, "unknown column \"Price\"", "\"price\""),
    ("INSERT INTO q2 SELECT auction, price FROM bids", 1, 43, "unknown table \"bids\"", "did you mean \"bid\"?"),
    ("INSERT INTO q22 SELECT auction, price FROM bid", 1, 13, "unknown table \"q22\"", "\"q2\""),
    ("INSERT INTO q2 SELECT auction, uper(url) FROM bid", 1, 32, "unknown function \"uper\"", "\"upper\""),
    ("INSERT INTO q2 SELECT auction FROM bid", 1, 13, "the query has 1 column, table \"q2\" takes 2", "auction BIGINT"),
    ("INSERT INTO q2 SELECT auction, url FROM bid", 1, 13, "is of type BIGINT, but the query gives STRING", "CAST"),
    ("INSERT INTO q2 (auction, prize) SELECT auction, price FROM bid", 1, 26, "no column \"prize\"", "\"price\""),
    ("INSERT INTO q2 SELEC auction FROM bid", 1, 16, "expected SELECT", ""),
    ("INSERT INTO q2 SELECT auction,, price FROM bid", 1, 31, "expected", ""),
    ("INSERT INTO q2 SELECT auction price FROM bid GROUP", 1, 46, "expected", ""),
    ("INSERT INTO q2 SELECT (auction, price FROM bid", 1, 39, "expected", ""),
    ("DROP TABLE bid", 1, 1, "unknown statement \"DROP\"", "CREATE TABLE"),
    ("CREATE TABLE bid (a INT) WITH ('connector' = 'print')", 1, 14, "\"bid\" is declared twice", "line 11"),
    ("CREATE TABLE t (a INT, b INT, a INT) WITH ('connector' = 'print')", 1, 31, "column \"a\" is declared twice", ""),
    ("CREATE TABLE t (a INT)", 1, 14, "table \"t\" has no 'connector'", "WITH"),
    ("CREATE TABLE t (a JSON) WITH ('connector' = 'print')", 1, 19, "type JSON is not supported", "BIGINT"),
    ("CREATE TABLE t (a DECIMAL(50, 2)) WITH ('connector' = 'print')", 1, 19, "not possible", "1 to 38"),
    ("CREATE TABLE t (a INT, WATERMARK FOR a AS a) WITH ('connector' = 'x')", 1, 38, "is of type INT", "TIMESTAMP(3)"),
    ("CREATE TABLE t (a INT, WATERMARK FOR b AS b) WITH ('connector' = 'x')", 1, 38, "unknown column \"b\"", "a"),
    ("CREATE TABLE t (a INT, b AS a + c) WITH ('connector' = 'x')", 1, 33, "unknown column \"c\"", ""),
    ("CREATE TABLE t (a INT) WITH ('connector' = 'x', 'connector' = 'y')", 1, 49, "given twice", ""),
    (
        "CREATE TABLE t (a INT) WITH ('connector' = 'x', 'scan.watermark.idle-timeout' = 'soon')",
        1,
        49,
        "duration",
        "10 s",
    ),
    ("INSERT INTO q2 SELECT auction, price FROM bid ORDER BY price", 1, 47, "ORDER BY is not supported yet", ""),
    ("INSERT INTO q2 SELECT auction, price FROM bid LIMIT 5", 1, 47, "LIMIT is not supported yet", ""),
    (
        "INSERT INTO q2 SELECT auction, SUM(price) OVER (PARTITION BY auction) FROM bid",
        1,
        43,
        "OVER is not supported",
        "",
    ),
    (
        "INSERT INTO q2 SELECT b.auction, a.id FROM bid b LEFT JOIN auction a ON b.auction = a.id",
        1,
        50,
        "LEFT JOIN",
        "inner",
    ),
    ("INSERT INTO q2 SELECT b.auction, a.id FROM bid b, auction a", 1, 1, "without an equality", "inner joins"),
    (
        "INSERT INTO q2 SELECT b.auction, a.id FROM bid b JOIN auction a ON b.auction > a.id",
        1,
        1,
        "without an equality",
        "",
    ),
    (
        "INSERT INTO q2 SELECT auction, price FROM bid WHERE auction IN (SELECT id FROM auction)",
        1,
        61,
        "IN is not",
        "join",
    ),
    (
        "INSERT INTO q2 SELECT auction, (SELECT MAX(id) FROM auction) FROM bid",
        1,
        1,
        "subqueries in expressions",
        "FROM",
    ),
    ("INSERT INTO q8 SELECT auction, extra, now() FROM bid", 1, 39, "now is not deterministic", "event time"),
    ("INSERT INTO q3 SELECT uuid(), extra, extra, auction FROM bid", 1, 23, "uuid is not deterministic", ""),
    ("CREATE VIEW v AS SELECT auction, auction FROM bid", 1, 1, "same name", "AS"),
    ("INSERT INTO q2 SELECT auction, price FROM bid GROUP BY auction", 1, 32, "neither grouped by nor aggregated", ""),
    ("INSERT INTO q2 SELECT auction, MEDIAN(price) FROM bid GROUP BY auction", 1, 32, "unknown function", ""),
    ("INSERT INTO q4 SELECT auction, SUM(DISTINCT price) FROM bid GROUP BY auction", 1, 1, "DISTINCT", "COUNT"),
    ("INSERT INTO q2 VALUES (1, 2)", 1, 1, "VALUES is not supported yet", "datagen"),
    ("INSERT INTO q2 SELECT 1, 2", 1, 1, "without FROM", ""),
    ("CREATE VIEW v AS SELECT auction FROM bid; INSERT INTO v SELECT auction FROM bid", 1, 55, "is a view", ""),
    ("CREATE VIEW v (a, b) AS SELECT auction FROM bid", 1, 16, "names 2 columns, its query has 1", ""),
    (
        "INSERT INTO q2 SELECT b.id, c.id FROM auction b JOIN auction c ON b.id = c.id WHERE id > 1",
        1,
        85,
        "ambiguous",
        "t.column",
    ),
    // Windows.
    (
        "INSERT INTO q4 SELECT COUNT(*), 1 FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(dateTime), INTERVAL '0' SECOND)) GROUP BY window_start, window_end",
        1,
        95,
        "must be positive, not 0 ms",
        "",
    ),
    (
        "INSERT INTO q4 SELECT COUNT(*), 1 FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(dateTime), INTERVAL '-5' SECOND)) GROUP BY window_start, window_end",
        1,
        95,
        "must be positive, not -5000 ms",
        "",
    ),
    (
        "INSERT INTO q4 SELECT COUNT(*), 1 FROM TABLE(HOP(TABLE bid, DESCRIPTOR(dateTime), INTERVAL '3' SECOND, INTERVAL '10' SECOND)) GROUP BY window_start, window_end",
        1,
        113,
        "multiple of its slide",
        "slide first",
    ),
    (
        "INSERT INTO q4 SELECT COUNT(*), 1 FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(price), INTERVAL '1' SECOND)) GROUP BY window_start, window_end",
        1,
        75,
        "not an event time column",
        "WATERMARK FOR",
    ),
    (
        "INSERT INTO q4 SELECT COUNT(*), 1 FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(datetime), INTERVAL '1' SECOND)) GROUP BY window_start, window_end",
        1,
        75,
        "unknown column \"datetime\"",
        "\"dateTime\"",
    ),
    (
        "INSERT INTO q4 SELECT COUNT(*), 1 FROM TABLE(TUMBLE(TABLE bids, DESCRIPTOR(dateTime), INTERVAL '1' SECOND)) GROUP BY window_start, window_end",
        1,
        59,
        "unknown table \"bids\"",
        "\"bid\"",
    ),
    (
        "INSERT INTO q4 SELECT COUNT(*), 1 FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(dateTime))) GROUP BY window_start, window_end",
        1,
        46,
        "wrong arguments for TUMBLE",
        "INTERVAL",
    ),
    (
        "INSERT INTO q4 SELECT COUNT(*), 1 FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(dateTime), 10)) GROUP BY window_start, window_end",
        1,
        86,
        "expected an interval",
        "INTERVAL '10' SECOND",
    ),
    (
        "INSERT INTO q4 SELECT COUNT(*), 1 FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(dateTime), INTERVAL '1' MONTH)) GROUP BY window_start, window_end",
        1,
        95,
        "unit of time",
        "DAY",
    ),
    (
        "INSERT INTO q4 SELECT COUNT(*), 1 FROM TABLE(CUMULATE(TABLE bid, DESCRIPTOR(dateTime), INTERVAL '1' SECOND, INTERVAL '2' SECOND)) GROUP BY window_start, window_end",
        1,
        46,
        "CUMULATE windows are not supported yet",
        "HOP",
    ),
    (
        "INSERT INTO q4 SELECT COUNT(*), 1 FROM bid GROUP BY TUMBLE(dateTime, INTERVAL '1' SECOND)",
        1,
        53,
        "unknown function",
        "TABLE(TUMBLE",
    ),
];

#[test]
fn mistakes_are_told_by_place_and_with_advice() {
    let tables_lines = u32::try_from(TABLES.lines().count()).unwrap();
    let mut wrong = Vec::new();
    for (text, line, column, message, help) in CASES {
        let error = error_of(&format!("{TABLES}{text}"));
        let place = (error.line.saturating_sub(tables_lines), error.column);
        if place != (*line, *column) || !error.message.contains(message) || !error.help.contains(help) {
            wrong.push(format!(
                "{text}\n  expected {line}:{column} {message} | {help}\n  got {}:{} {} | {}",
                place.0, place.1, error.message, error.help
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_text_without_anything_to_do_is_refused() {
    for text in ["", " \n\t", "-- nothing", "/* nothing */ ; ;"] {
        assert_eq!(error_of(text).message, "the text holds no statement");
    }
    let error = error_of(TABLES);
    assert!(error.message.contains("no INSERT INTO"), "{error}");
    assert!(error.line > 0);
}

#[test]
fn bytes_that_are_no_text_are_refused() {
    let error = error_of("INSERT INTO\n a\0b");
    assert_eq!((error.line, error.column), (2, 3));
    assert!(error_of(&"x".repeat(2 << 20)).message.contains("bytes"));
    assert!(error_of("SELECT 'open").message.contains("cannot read"));
}

#[test]
fn nesting_too_deep_is_an_error_and_not_a_crash() {
    let select = |expr: String| format!("{TABLES}INSERT INTO q2 SELECT auction, {expr} FROM bid");
    let many = |open: &str, close: &str, count| format!("{}price{}", open.repeat(count), close.repeat(count));
    for text in [
        select(many("(", ")", 100_000)),
        select(many("(", "", 100_000)),
        select(many("abs(", ")", 10_000)),
        select(many("- ", "", 50_000)),
        select(many("", " + 1", 50_000)),
        select(format!("CASE WHEN {} THEN 1 END", many("", " > 1 AND price", 50_000))),
        select(many("CASE WHEN price > 1 THEN ", " END", 20_000)),
        select(many("(SELECT ", ")", 10_000)),
        format!("{TABLES}INSERT INTO q2 {}auction, price FROM bid{}", "SELECT * FROM (".repeat(5000), ")".repeat(5000)),
        format!(
            "{TABLES}INSERT INTO q2 SELECT auction, price FROM bid{}",
            " UNION ALL SELECT auction, price FROM bid".repeat(20_000)
        ),
    ] {
        let error = error_of(&text);
        assert!(error.line > 0 && (error.message.contains("deep") || error.message.contains("levels")), "{error}");
    }
}

#[test]
fn what_is_just_not_too_deep_plans() {
    let plans = |text: &str| plan(text, &PlanOptions::default()).map(|_| ());
    let chain = format!("{TABLES}INSERT INTO q2 SELECT auction, price{} FROM bid", " + auction".repeat(550));
    assert_eq!(plans(&chain), Ok(()));
    let nested =
        format!("{TABLES}INSERT INTO q2 SELECT auction, {}price{} FROM bid", "abs(1 + ".repeat(55), ")".repeat(55));
    assert_eq!(plans(&nested), Ok(()));
    let any = format!(
        "{TABLES}INSERT INTO q2 SELECT auction, price FROM bid WHERE auction = 1{}",
        " OR auction = 7 * price".repeat(190)
    );
    assert_eq!(plans(&any), Ok(()));
}

#[test]
fn views_that_multiply_are_refused_before_they_do() {
    let mut text = format!("{TABLES}CREATE VIEW v0 AS SELECT auction, price FROM bid;");
    for index in 1..40 {
        let last = index - 1;
        text += &format!("CREATE VIEW v{index} AS SELECT * FROM v{last} UNION ALL SELECT * FROM v{last};");
    }
    let error = error_of(&format!("{text}INSERT INTO q2 SELECT * FROM v39"));
    assert!(error.message.contains("more than 2000 steps"), "{error}");
}
