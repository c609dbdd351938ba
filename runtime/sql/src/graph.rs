//! The stage graph: what a job is once planned. Planning the same text with the same options gives the same graph on
//! every process, so text is shipped and graphs are not; `fingerprint` proves it.
use std::collections::BTreeMap;

use arrow::datatypes::{DataType, SchemaRef};

use crate::expr::Expr;

/// The physical dataflow: stages in topological order, and the edges between them.
#[derive(Debug, Clone)]
pub struct StageGraph {
    /// Topological order: an edge goes from a lower index to a higher one.
    pub stages: Vec<Stage>,
    /// Every exchange. The index of an edge is its id.
    pub edges: Vec<Edge>,
    /// The optimised logical plans, indented text, one per INSERT, for `explain`.
    pub logical: String,
    /// What the text SETs, overridden by `PlanOptions::settings`.
    pub settings: BTreeMap<String, String>,
    /// Hash of the whole graph (display form): equal on all processes of a job, and part of every manifest.
    pub fingerprint: u64,
}

/// Ops fused into one loop. A stage either begins with a source or has input edges.
#[derive(Debug, Clone)]
pub struct Stage {
    /// Stable name, unique in the job, a DNS label: `bid`, `window-1`, `join-1`, ...
    pub name: String,
    /// In order of application; the output of one is the input of the next.
    pub ops: Vec<OpSpec>,
}

/// One step inside a stage.
#[derive(Debug, Clone)]
pub struct OpSpec {
    /// Stable id from the plan, unique in the job; names the op's state in manifests.
    pub id: String,
    /// What it does.
    pub kind: OpKind,
    /// Schema of what it emits (of what it takes, for a sink).
    pub output: SchemaRef,
    /// Whether what it emits can retract (carries change kinds other than insert).
    pub updating: bool,
    /// Column of `output` that carries event time, if one does.
    pub rowtime: Option<usize>,
}

/// The kinds of ops. Column numbers refer to the schema of the op's input.
#[allow(missing_docs, reason = "fields are named after what the variants say")]
#[derive(Debug, Clone)]
pub enum OpKind {
    /// Reads a table. Emits `SourceSpec::schema`.
    Source(TableSpec),
    /// One output column per expression.
    Project { exprs: Vec<Expr> },
    /// Keeps rows whose predicate is true.
    Filter { predicate: Expr },
    /// Generates watermarks: the largest value of `expr` seen (a timestamp in ms), per source split, minimum of all.
    Watermark { expr: Expr, idle_timeout_ms: Option<u64> },
    /// A window table function that no aggregate absorbs: each row once per window it is in, with `window_start`,
    /// `window_end` and `window_time` (= end - 1 ms) appended.
    AssignWindows { window: WindowSpec, rowtime: usize },
    /// Aggregates per window and key; emits when the watermark reaches window_end - 1.
    /// Output columns: keys, aggregates, then window_start, window_end, window_time.
    WindowAggregate { time: WindowTime, keys: Vec<usize>, aggregates: Vec<Aggregate> },
    /// Running aggregate per key; output: keys, then aggregates; updating. Input may be updating.
    GroupAggregate { keys: Vec<usize>, aggregates: Vec<Aggregate> },
    /// Inner join of two windowed, append-only inputs (ports 0 and 1), per window; emits when the watermark reaches the
    /// window's end. Output: left columns, right columns.
    WindowJoin {
        left_keys: Vec<usize>,
        right_keys: Vec<usize>,
        /// `window_start` and `window_end` columns of each side.
        left_window: (usize, usize),
        right_window: (usize, usize),
        /// Over left columns ++ right columns.
        residual: Option<Expr>,
    },
    /// Regular inner join of two inputs (ports 0 and 1), either of which may be updating. Output: left, right columns.
    Join { left_keys: Vec<usize>, right_keys: Vec<usize>, residual: Option<Expr> },
    /// Writes a table. Always last.
    Sink(TableSpec),
}

/// Key in the metadata of a source table's schema: a JSON array of the names of all declared physical columns, also of
/// those that projection push-down has taken out. Formats that find columns by position (csv without header) need it.
pub const DECLARED_COLUMNS: &str = "declared_columns";

/// A table as declared: what a connector needs to read or write it.
#[derive(Debug, Clone, PartialEq)]
pub struct TableSpec {
    /// Name of the table.
    pub name: String,
    /// Value of `'connector'`.
    pub connector: String,
    /// All WITH options, `connector` included, keys lower-case.
    pub options: BTreeMap<String, String>,
    /// Physical columns in declared order; for a source only those that are read (projection pushed down).
    pub schema: SchemaRef,
    /// Where the text declares the table, so that a connector's complaint can say so: line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

/// TUMBLE is `slide_ms == size_ms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowSpec {
    /// Length.
    pub size_ms: i64,
    /// Distance between starts; at most the size, and divides it.
    pub slide_ms: i64,
    /// Shift of all starts against 1970-01-01T00:00:00Z.
    pub offset_ms: i64,
}

/// Where a windowed op finds the window of a row.
#[allow(missing_docs, reason = "fields are named after what the variants say")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WindowTime {
    /// Assigned here, from the event time in `rowtime`; by slices.
    Assign { window: WindowSpec, rowtime: usize },
    /// Rows already carry their window, in these columns.
    Attached { start: usize, end: usize },
}

/// One aggregate call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aggregate {
    /// Which function.
    pub function: AggregateFunction,
    /// `count(DISTINCT x)`; only with `Count`.
    pub distinct: bool,
    /// Column of the argument; none for `count(*)`.
    pub argument: Option<usize>,
    /// Boolean column of `FILTER (WHERE ...)`.
    pub filter: Option<usize>,
    /// Type of the result: Int64 for counts; Int64, Float64 or Decimal128 for sums; the argument's for min and max;
    /// Flink's rule for avg (integer division for integers, truncating).
    pub output: DataType,
}

/// The aggregate functions there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AggregateFunction {
    /// `count(*)` and `count(x)`.
    Count,
    /// Null if no value.
    Sum,
    /// Smallest value; any ordered type.
    Min,
    /// Largest value; any ordered type.
    Max,
    /// Mean; null if no value.
    Avg,
}

/// An exchange between two stages. Several edges may lead to one port: UNION ALL is nothing else.
#[derive(Debug, Clone)]
pub struct Edge {
    /// Index of the stage the rows come from.
    pub from: usize,
    /// Index of the stage they go to.
    pub to: usize,
    /// Input of the first op of `to`: 0, or 1 for the right side of a join.
    pub port: usize,
    /// How rows find their task.
    pub partition: Partition,
}

/// How rows find their task.
#[allow(missing_docs, reason = "fields are named after what the variants say")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Partition {
    /// By the key group of these columns and the owner table of the stage.
    Hash { columns: Vec<usize> },
    /// Batches go round-robin to all tasks of the stage.
    Rebalance,
}
