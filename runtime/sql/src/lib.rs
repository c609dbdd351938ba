//! Streaming SQL: text to stage graph. The only crate of the product that names DataFusion.
//!
//! `plan(text, options)` parses the dialect of Flink SQL, resolves and optimises with DataFusion, and cuts the logical
//! plan into stages of fused ops joined by edges. Nothing here runs: the runtime builds its loops from [`StageGraph`].
//!
//! The way of a text: `tokens` (statements), `depth` and `unsupported` (what is refused unread), `lift` (Flink forms),
//! `statement` (what it declares), `planner` (logical plans), `lower` (streaming ops), `cut` (stages).
use std::collections::BTreeMap;
use std::fmt::Write;

mod catalog;
mod cut;
mod dataflow;
mod depth;
mod diagnose;
pub mod error;
mod explain;
pub mod expr;
mod functions;
pub mod graph;
mod interval;
mod lift;
mod lower;
mod naming;
mod node;
mod planner;
mod statement;
mod suggest;
mod tokens;
mod types;
mod unsupported;
mod windowing;

#[cfg(test)]
mod tests;

pub use arrow;
pub use error::Error;
pub use explain::explain;
pub use expr::Expr;
pub use graph::{Edge, OpKind, OpSpec, Partition, Stage, StageGraph, TableSpec};

/// Stack of the thread that plans: enough for the deepest statement `depth` lets through, in a build without
/// optimisation. It is reserved, not used, until something is that deep.
const STACK_BYTES: usize = 256 << 20;

/// What planning depends on besides the text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlanOptions {
    /// Settings that take precedence over those the text SETs.
    pub settings: BTreeMap<String, String>,
}

/// Plans a job. The same text and options give the same graph on every process.
pub fn plan(text: &str, options: &PlanOptions) -> Result<StageGraph, Error> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("plan".to_owned()).stack_size(STACK_BYTES);
        let planning = thread
            .spawn_scoped(scope, || plan_here(text, options))
            .map_err(|error| Error::somewhere(format!("cannot start a thread to plan on: {error}")))?;
        planning.join().unwrap_or_else(|_| {
            Err(Error::somewhere("the planner failed on this text")
                .help("this is a bug: please report it with the text"))
        })
    })
}

fn plan_here(text: &str, options: &PlanOptions) -> Result<StageGraph, Error> {
    let statements = tokens::statements(text)?;
    if statements.is_empty() {
        return Err(Error::somewhere("the text holds no statement").help("a job needs CREATE TABLE and INSERT INTO"));
    }
    let last = statements.last().map(tokens::Tokens::start).unwrap_or_default();
    let planned = planner::plan(statements)?;
    if planned.inserts.is_empty() {
        return Err(Error::at(last, "the text has no INSERT INTO, so there is nothing to run")
            .help("end it with INSERT INTO table SELECT ..."));
    }
    let sinks = lower::lower(&planned.inserts)?;
    let (stages, edges) = cut::cut(&sinks);
    let mut logical = String::new();
    for insert in &planned.inserts {
        // Writing to a string does not fail.
        let _ = writeln!(logical, "INSERT INTO {}\n{}", insert.sink.name, insert.plan.display_indent());
    }
    let mut settings = planned.settings;
    settings.extend(options.settings.clone());
    let mut graph = StageGraph { stages, edges, logical, settings, fingerprint: 0 };
    graph.fingerprint = explain::fingerprint(&graph);
    Ok(graph)
}

/// The tables a graph reads, in the order of its stages.
pub fn source_tables(graph: &StageGraph) -> impl Iterator<Item = &TableSpec> {
    tables(graph).filter_map(|kind| if let OpKind::Source(table) = kind { Some(table) } else { None })
}

/// The tables a graph writes, with whether they are given an updating stream.
pub fn sink_tables(graph: &StageGraph) -> impl Iterator<Item = (&TableSpec, bool)> {
    let ops = graph.stages.iter().flat_map(|stage| &stage.ops);
    ops.filter_map(|op| if let OpKind::Sink(table) = &op.kind { Some((table, op.updating)) } else { None })
}

fn tables(graph: &StageGraph) -> impl Iterator<Item = &OpKind> {
    graph.stages.iter().flat_map(|stage| &stage.ops).map(|op| &op.kind)
}
