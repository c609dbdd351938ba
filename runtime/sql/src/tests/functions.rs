//! Values of functions, by evaluating the projection of a plan.
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::util::display::array_value_to_string;

use crate::graph::OpKind;
use crate::{PlanOptions, plan};

/// The value of an expression over one row: n = -7, x = 2.5, s = 'a,b,c', none = NULL.
fn value(expr: &str) -> String {
    let text = format!(
        "CREATE TABLE t (n BIGINT, x DOUBLE, s STRING, none STRING) WITH ('connector' = 'x');
         CREATE TABLE o (v STRING, n BIGINT, x DOUBLE, s STRING, none STRING) WITH ('connector' = 'x');
         INSERT INTO o SELECT CAST({expr} AS STRING), n, x, s, none FROM t"
    );
    let graph = plan(&text, &PlanOptions::default()).unwrap_or_else(|error| panic!("{expr}: {error}"));
    let ops = &graph.stages[0].ops;
    let exprs =
        ops.iter().find_map(|op| if let OpKind::Project { exprs } = &op.kind { Some(exprs) } else { None }).unwrap();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(vec![-7])),
        Arc::new(Float64Array::from(vec![2.5])),
        Arc::new(StringArray::from(vec!["a,b,c"])),
        Arc::new(StringArray::from(vec![None::<&str>])),
    ];
    let batch = RecordBatch::try_new(ops[0].output.clone(), columns).unwrap();
    let result = exprs[0].evaluate(&batch).unwrap_or_else(|error| panic!("{expr}: {error}"));
    if result.is_null(0) { "NULL".to_owned() } else { array_value_to_string(&result, 0).unwrap() }
}

#[test]
fn functions_give_flinks_values() {
    for (expr, expected) in [
        ("ABS(n)", "7"),
        ("ABS(-x)", "2.5"),
        ("MOD(n, 4)", "-3"),
        ("CEIL(x)", "3.0"),
        ("FLOOR(x)", "2.0"),
        ("FLOOR(n)", "-7"),
        ("ROUND(x * 1.11, 1)", "2.8"),
        ("POWER(x, 2)", "6.25"),
        ("SQRT(POWER(n, 2))", "7.0"),
        ("SPLIT_INDEX(s, ',', 1)", "b"),
        ("SPLIT_INDEX(s, ',', 3)", "NULL"),
        ("SPLIT_INDEX(none, ',', 0)", "NULL"),
        ("REGEXP_EXTRACT(s, '([a-z]),([a-z])', 2)", "b"),
        ("REGEXP_EXTRACT(s, 'b.*')", "b,c"),
        ("REGEXP_EXTRACT(s, 'x')", "NULL"),
        ("DATE_FORMAT(TIMESTAMP '2015-07-15 01:02:03', 'yyyy/MM/dd HH:mm')", "2015/07/15 01:02"),
        ("TO_TIMESTAMP('2015-07-15 01:02:03')", "2015-07-15T01:02:03"),
        ("TO_TIMESTAMP('15.07.2015 01:02:03', 'dd.MM.yyyy HH:mm:ss')", "2015-07-15T01:02:03"),
        ("TO_TIMESTAMP_LTZ(n + 1007, 3)", "1970-01-01T00:00:01Z"),
        ("TO_TIMESTAMP_LTZ(n + 8, 0)", "1970-01-01T00:00:01Z"),
        ("EXTRACT(YEAR FROM TIMESTAMP '2015-07-15 01:02:03')", "2015"),
        ("TIMESTAMP '2015-07-15 01:02:03' - INTERVAL '1' DAY", "2015-07-14T01:02:03"),
        ("CHAR_LENGTH(CONCAT(s, '!', UPPER(s)))", "11"),
        ("COALESCE(none, LPAD(CAST(n AS STRING), 4, '0'))", "00-7"),
        ("make_date(2013, 1, 2)", "2013-01-02"),
    ] {
        assert_eq!(value(expr), expected, "{expr}");
    }
}
