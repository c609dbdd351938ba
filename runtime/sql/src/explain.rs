//! Stage graphs as text: for people, and for the fingerprint.
use std::collections::BTreeMap;
use std::fmt::Write;

use arrow::datatypes::Schema;

use crate::graph::{
    Aggregate, AggregateFunction, Edge, OpKind, OpSpec, Partition, Stage, StageGraph, TableSpec, WindowTime,
};
use crate::types::sql_name;

/// The logical plans and the stage graph: stages with their ops, exchanges with their keys, change kinds.
pub fn explain(graph: &StageGraph) -> String {
    let mut text = String::from("== Logical plan ==\n");
    text.push_str(readable(&graph.logical).trim_end());
    text.push_str("\n\n== Stages ==\n");
    text.push_str(&stages(graph));
    let _ = writeln!(text, "fingerprint {:016x}", graph.fingerprint);
    text
}

/// Intervals as SQL writes them, instead of the names of their parts.
fn readable(logical: &str) -> String {
    const BEFORE: &str = "IntervalMonthDayNano(\"IntervalMonthDayNano { months: 0, days: ";
    let (mut text, mut rest) = (String::with_capacity(logical.len()), logical);
    while let Some((before, after)) = rest.split_once(BEFORE) {
        text.push_str(before);
        let parts = after.split_once(" }\")").and_then(|(parts, after)| {
            let (days, nanoseconds) = parts.split_once(", nanoseconds: ")?;
            Some((days.parse::<i64>().ok()?, nanoseconds.parse::<i64>().ok()?, after))
        });
        rest = match parts {
            Some((days, 0, after)) => {
                let _ = write!(text, "INTERVAL '{days}' DAY");
                after
            }
            Some((0, nanoseconds, after)) => {
                let _ = write!(text, "INTERVAL '{}' SECOND", nanoseconds as f64 / 1e9);
                after
            }
            _ => {
                text.push_str(BEFORE);
                after
            }
        };
    }
    text + rest
}

/// FNV-1a, 64 bits: stable across versions and machines. Options of tables that are read count, since positions in one input
/// mean nothing in another; options of tables that are written do not: a restored job may write elsewhere.
pub(crate) fn fingerprint(graph: &StageGraph) -> u64 {
    let mut text = stages(graph);
    for op in graph.stages.iter().flat_map(|stage| &stage.ops) {
        if let OpKind::Source(table) = &op.kind {
            let _ = write!(text, "{:?}", read(table));
        }
    }
    hash(&text)
}

/// Options of a table that say which records there are and where. What is done about those that cannot be read is none of them:
/// a job that failed of one goes on from where it was once that is changed.
fn read(table: &TableSpec) -> BTreeMap<&str, &str> {
    let options = table.options.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    options.filter(|(name, _)| !["on-error", "dead-letter.path"].contains(name)).collect()
}

fn hash(text: &str) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    text.bytes().fold(0xcbf2_9ce4_8422_2325, step)
}

impl StageGraph {
    /// Hash of an op and of all that its rows come through, ids, tables and their options included: the state of an op means the
    /// same in two graphs in which this is the same. 0 if there is no such op.
    pub fn lineage(&self, op: &str) -> u64 {
        let has = |stage: &Stage| stage.ops.iter().any(|one| one.id == op);
        let Some(at) = self.stages.iter().position(has) else { return 0 };
        // Edges go upwards: those into stages that are known to be in front are met on the way down.
        let mut in_front = vec![false; self.stages.len()];
        for index in (0..at).rev() {
            in_front[index] = self.edges.iter().any(|edge| edge.from == index && (edge.to == at || in_front[edge.to]));
        }
        let mut text = String::new();
        for (index, stage) in self.stages.iter().enumerate().filter(|(index, _)| *index == at || in_front[*index]) {
            let last = if index == at { stage.ops.iter().position(|one| one.id == op) } else { None };
            let ops = last.map_or(stage.ops.len(), |last| last + 1);
            stage_text(self, index, ops, &mut text);
            for one in &stage.ops {
                if let OpKind::Source(table) = &one.kind {
                    let _ = writeln!(text, "{:?}", read(table));
                }
            }
        }
        hash(&text)
    }

    /// Hash of the table that a stage reads: positions in one input mean nothing in another. 0 if it reads none.
    pub fn input(&self, stage: usize) -> u64 {
        match self.stages.get(stage).and_then(|stage| stage.ops.first()) {
            Some(OpSpec { id, kind: OpKind::Source(table), .. }) => {
                hash(&format!("{id}: {} {:?}", describe_table(table), read(table)))
            }
            _ => 0,
        }
    }
}

fn stages(graph: &StageGraph) -> String {
    let mut text = String::new();
    for (index, stage) in graph.stages.iter().enumerate() {
        stage_text(graph, index, stage.ops.len(), &mut text);
    }
    text
}

/// A stage with the first `ops` of its ops.
fn stage_text(graph: &StageGraph, index: usize, ops: usize, text: &mut String) {
    let Some(stage) = graph.stages.get(index) else { return };
    // Writing to a string does not fail.
    let _ = writeln!(text, "stage {}", stage.name);
    for edge in graph.edges.iter().filter(|edge| edge.to == index) {
        let _ = writeln!(text, "  <- {}", describe_edge(graph, edge));
    }
    let mut input: Option<&Schema> = first_input(graph, index, 0);
    for op in stage.ops.iter().take(ops) {
        let right = first_input(graph, index, 1);
        let _ = writeln!(text, "  {}: {}", op.id, describe(&op.kind, input, right));
        let _ = writeln!(text, "      -> {}", describe_output(op));
        input = Some(&op.output);
    }
}

fn first_input(graph: &StageGraph, stage: usize, port: usize) -> Option<&Schema> {
    let edge = graph.edges.iter().find(|edge| edge.to == stage && edge.port == port)?;
    Some(output_of(graph, edge.from)?.output.as_ref())
}

fn output_of(graph: &StageGraph, stage: usize) -> Option<&OpSpec> {
    graph.stages.get(stage)?.ops.last()
}

fn describe_edge(graph: &StageGraph, edge: &Edge) -> String {
    let from = graph.stages.get(edge.from).map_or("?", |stage| stage.name.as_str());
    let port = match (edge.port, graph.edges.iter().any(|other| other.to == edge.to && other.port == 1)) {
        (_, false) => "",
        (0, true) => " (left)",
        (_, true) => " (right)",
    };
    let schema = output_of(graph, edge.from).map(|op| op.output.as_ref());
    match &edge.partition {
        Partition::Hash { columns } if columns.is_empty() => format!("{from}{port}, all to one task"),
        Partition::Hash { columns } => format!("{from}{port}, hash by {}", names(schema, columns)),
        Partition::Rebalance => format!("{from}{port}, rebalance"),
    }
}

fn describe_output(op: &OpSpec) -> String {
    let columns: Vec<String> = op
        .output
        .fields()
        .iter()
        .enumerate()
        .map(|(index, field)| {
            let time = if op.rowtime == Some(index) { " *event time*" } else { "" };
            format!("{} {}{time}", field.name(), sql_name(field.data_type()))
        })
        .collect();
    let changes = if op.updating { "updating" } else { "append-only" };
    format!("[{}] {changes}", columns.join(", "))
}

fn name(schema: Option<&Schema>, column: usize) -> String {
    schema
        .and_then(|schema| schema.fields().get(column))
        .map_or_else(|| format!("#{column}"), |field| field.name().clone())
}

fn names(schema: Option<&Schema>, columns: &[usize]) -> String {
    columns.iter().map(|column| name(schema, *column)).collect::<Vec<_>>().join(", ")
}

fn describe(kind: &OpKind, input: Option<&Schema>, right: Option<&Schema>) -> String {
    match kind {
        OpKind::Source(table) => format!("read {}", describe_table(table)),
        OpKind::Sink(table) => format!("write {}", describe_table(table)),
        OpKind::Project { exprs } => {
            let exprs: Vec<String> = exprs.iter().map(ToString::to_string).collect();
            format!("project {}", exprs.join(", "))
        }
        OpKind::Filter { predicate } => format!("filter {predicate}"),
        OpKind::Watermark { expr, idle_timeout_ms } => {
            let idle = idle_timeout_ms.map(|timeout| format!(", idle after {timeout} ms")).unwrap_or_default();
            format!("watermark {expr}{idle}")
        }
        OpKind::AssignWindows { window, rowtime } => format!("assign windows {window} of {}", name(input, *rowtime)),
        OpKind::WindowAggregate { time, keys, aggregates } => {
            let window = match time {
                WindowTime::Assign { window, rowtime } => format!("{window} of {}", name(input, *rowtime)),
                WindowTime::Attached { start, end } => format!("window {}", names(input, &[*start, *end])),
            };
            format!("aggregate per {window}{}", describe_groups(input, keys, aggregates))
        }
        OpKind::GroupAggregate { keys, aggregates } => {
            format!("aggregate running{}", describe_groups(input, keys, aggregates))
        }
        OpKind::WindowJoin { left_keys, right_keys, left_window, right_window, residual } => format!(
            "join per window {} = {}{}{}",
            names(input, &[left_window.0, left_window.1]),
            names(right, &[right_window.0, right_window.1]),
            describe_keys(input, left_keys, right, right_keys),
            residual.as_ref().map(|residual| format!(" where {residual}")).unwrap_or_default(),
        ),
        OpKind::Join { left_keys, right_keys, residual } => format!(
            "join{}{}",
            describe_keys(input, left_keys, right, right_keys),
            residual.as_ref().map(|residual| format!(" where {residual}")).unwrap_or_default(),
        ),
    }
}

fn describe_table(table: &TableSpec) -> String {
    format!("{} ({})", table.name, table.connector)
}

fn describe_keys(left: Option<&Schema>, left_keys: &[usize], right: Option<&Schema>, right_keys: &[usize]) -> String {
    if left_keys.is_empty() {
        return String::new();
    }
    format!(" by {} = {}", names(left, left_keys), names(right, right_keys))
}

fn describe_groups(input: Option<&Schema>, keys: &[usize], aggregates: &[Aggregate]) -> String {
    let keys = if keys.is_empty() { String::new() } else { format!(" by {}", names(input, keys)) };
    let calls: Vec<String> = aggregates.iter().map(|aggregate| describe_call(input, aggregate)).collect();
    if calls.is_empty() { keys } else { format!("{keys}: {}", calls.join(", ")) }
}

fn describe_call(input: Option<&Schema>, aggregate: &Aggregate) -> String {
    let function = match aggregate.function {
        AggregateFunction::Count => "count",
        AggregateFunction::Sum => "sum",
        AggregateFunction::Min => "min",
        AggregateFunction::Max => "max",
        AggregateFunction::Avg => "avg",
    };
    let distinct = if aggregate.distinct { "distinct " } else { "" };
    let argument = aggregate.argument.map_or_else(|| "*".to_owned(), |argument| name(input, argument));
    let filter = aggregate.filter.map(|filter| format!(" filter {}", name(input, filter))).unwrap_or_default();
    format!("{function}({distinct}{argument}){filter}")
}

impl OpKind {
    /// Short name of the kind, part of op ids.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Source(_) => "source",
            Self::Project { .. } => "project",
            Self::Filter { .. } => "filter",
            Self::Watermark { .. } => "watermark",
            Self::AssignWindows { .. } => "assign-windows",
            Self::WindowAggregate { .. } => "window-aggregate",
            Self::GroupAggregate { .. } => "group-aggregate",
            Self::WindowJoin { .. } => "window-join",
            Self::Join { .. } => "join",
            Self::Sink(_) => "sink",
        }
    }
}
