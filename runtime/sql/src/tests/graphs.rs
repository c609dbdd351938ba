//! What graphs hold beyond what `explain` shows.
use super::TABLES;
use crate::graph::{OpKind, Partition};
use crate::{PlanOptions, StageGraph, plan, sink_tables, source_tables};

fn planned(query: &str) -> StageGraph {
    plan(&format!("{TABLES}{query}"), &PlanOptions::default()).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn edges_lead_forward_and_ids_are_unique() {
    for query in [include_str!("../../tests-data/plans/q5.sql"), include_str!("../../tests-data/plans/union_sink.sql")]
    {
        let graph = planned(query);
        assert!(graph.edges.iter().all(|edge| edge.from < edge.to && edge.to < graph.stages.len()));
        let mut ids: Vec<&str> = graph.stages.iter().flat_map(|stage| &stage.ops).map(|op| op.id.as_str()).collect();
        let count = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), count);
    }
}

#[test]
fn equal_aggregates_of_q5_are_one_stage() {
    let graph = planned(include_str!("../../tests-data/plans/q5.sql"));
    let names: Vec<&str> = graph.stages.iter().map(|stage| stage.name.as_str()).collect();
    assert_eq!(names, ["bid", "window-1", "window-2", "window-join-1"]);
    assert!(
        graph.edges.iter().all(|edge| !matches!(&edge.partition, Partition::Hash { columns } if columns.is_empty()))
    );
}

#[test]
fn sources_read_what_is_needed_and_know_their_place() {
    let graph = planned("INSERT INTO q2 SELECT price, auction FROM bid");
    let source = source_tables(&graph).next().unwrap();
    let names: Vec<&str> = source.schema.fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(names, ["auction", "price", "dateTime"]);
    assert_eq!((source.line, source.column), (11, 14));
    assert_eq!(source.options["nexmark.table"], "bid");
}

#[test]
fn running_aggregates_update_and_windows_do_not() {
    let updating = |query| sink_tables(&planned(query)).map(|(_, updating)| updating).collect::<Vec<_>>();
    assert_eq!(updating("INSERT INTO q4 SELECT auction, COUNT(*) FROM bid GROUP BY auction"), [true]);
    assert_eq!(updating(include_str!("../../tests-data/plans/q5.sql")), [false]);
    assert_eq!(updating(include_str!("../../tests-data/plans/q3.sql")), [false]);
}

#[test]
fn text_settings_give_way_to_options() {
    let mut options = PlanOptions::default();
    options.settings.insert("a".to_owned(), "option".to_owned());
    let text = format!("{TABLES}SET 'a' = 'text'; SET 'b' = 'text'; INSERT INTO q2 SELECT auction, price FROM bid");
    let graph = plan(&text, &options).unwrap();
    assert_eq!(graph.settings["a"], "option");
    assert_eq!(graph.settings["b"], "text");
}

#[test]
fn the_fingerprint_depends_on_what_runs_and_not_on_how_it_is_written() {
    let of = |query| planned(query).fingerprint;
    let base = of("INSERT INTO q2 SELECT auction, price FROM bid WHERE price > 5");
    assert_eq!(base, of("-- note\nINSERT INTO q2\n  SELECT auction, price FROM bid WHERE price > 5;"));
    assert_ne!(base, of("INSERT INTO q2 SELECT auction, price FROM bid WHERE price > 6"));
    let with = |path: &str, events: &str| {
        planned(&format!(
            "CREATE TABLE a (price BIGINT) WITH ('connector' = 'nexmark', 'nexmark.events' = '{events}');
             CREATE TABLE b (price BIGINT) WITH ('connector' = 'filesystem', 'path' = '{path}', 'format' = 'csv');
             INSERT INTO b SELECT price FROM a"
        ))
        .fingerprint
    };
    assert_eq!(with("here", "1"), with("there", "1"), "a restored job may write elsewhere");
    assert_ne!(with("here", "1"), with("here", "2"), "positions in one input mean nothing in another");
    let read = |path: &str, more: &str| {
        let graph = planned(&format!(
            "CREATE TABLE a (price BIGINT) WITH ('connector' = 'filesystem', 'path' = '{path}', 'format' = 'csv'{more});
             CREATE TABLE b (price BIGINT) WITH ('connector' = 'print');
             INSERT INTO b SELECT price FROM a"
        ));
        (graph.fingerprint, graph.input(0), graph.lineage(&graph.stages[0].ops[0].id))
    };
    assert_eq!(read("here", ""), read("here", ", 'on-error' = 'skip'"), "what it failed of can be passed over");
    assert_ne!(read("here", ""), read("there", ""));
}

#[test]
fn every_batch_column_may_be_null() {
    let graph = planned(include_str!("../../tests-data/plans/q8.sql"));
    let ops = graph.stages.iter().flat_map(|stage| &stage.ops);
    assert!(ops.clone().all(|op| op.output.fields().iter().all(|field| field.is_nullable())));
    assert!(ops.clone().any(|op| matches!(op.kind, OpKind::WindowJoin { .. })));
}

#[test]
fn expressions_give_the_type_the_schema_says() {
    use arrow::array::RecordBatch;
    for query in ["expressions", "computed", "q1", "q4", "q7"] {
        let path = format!("{}/tests-data/plans/{query}.sql", env!("CARGO_MANIFEST_DIR"));
        let graph = planned(&std::fs::read_to_string(path).unwrap());
        for (index, stage) in graph.stages.iter().enumerate() {
            let edge = graph.edges.iter().find(|edge| edge.to == index && edge.port == 0);
            let mut input = edge.map(|edge| graph.stages[edge.from].ops.last().unwrap().output.clone());
            for op in &stage.ops {
                if let (OpKind::Project { exprs }, Some(input)) = (&op.kind, &input) {
                    let batch = RecordBatch::new_empty(input.clone());
                    for (expr, field) in exprs.iter().zip(op.output.fields()) {
                        assert_eq!(expr.evaluate(&batch).unwrap().data_type(), field.data_type(), "{expr}");
                    }
                }
                input = Some(op.output.clone());
            }
        }
    }
}

#[test]
fn columns_of_an_insert_may_repeat() {
    let graph =
        planned("INSERT INTO q3 SELECT extra, extra, 'x', auction FROM bid UNION ALL SELECT 'x', 'x', 'x', 1 FROM bid");
    assert_eq!(sink_tables(&graph).count(), 1);
}

#[test]
fn rows_that_are_only_counted_still_have_a_column() {
    let text =
        "CREATE TABLE plain (a INT, b INT) WITH ('connector' = 'x'); INSERT INTO q4 SELECT COUNT(*), COUNT(*) FROM";
    for from in ["plain", "(SELECT a FROM plain WHERE b > 1)", "(SELECT a FROM plain UNION ALL SELECT b FROM plain)"] {
        let graph = planned(&format!("{text} {from}"));
        assert!(graph.stages.iter().flat_map(|stage| &stage.ops).all(|op| !op.output.fields().is_empty()), "{from}");
    }
}
