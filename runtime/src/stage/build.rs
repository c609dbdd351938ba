//! From the plan's description of an op to the op.
use arrow::datatypes::SchemaRef;
use millstream_sql::graph::{OpKind, OpSpec};

use super::stateless::{AssignWindows, Filter, Project};
use super::watermark::Watermark;
use super::window_aggregate::WindowAggregate;
use super::{Error, Op};
use crate::state::StateOrdinal;

/// Settings of one op of one task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpSettings {
    /// Bound on decoded entries held in memory.
    pub cache_bytes: usize,
    /// Ordinal of the first state that the op registers; the others follow.
    pub ordinal: StateOrdinal,
}

impl Default for OpSettings {
    fn default() -> Self {
        Self { cache_bytes: 32 << 20, ordinal: 0 }
    }
}

/// Builds an op. `input`: schemas of its inputs, the second of a join only; `input_updating`: whether they can retract.
pub fn build(
    op: &OpSpec,
    input: &SchemaRef,
    input2: Option<&SchemaRef>,
    input_updating: [bool; 2],
    settings: &OpSettings,
) -> Result<Box<dyn Op>, Error> {
    let unsupported = |what: &str| Error::Unsupported { op: op.id.clone(), what: what.to_string() };
    let windowed = matches!(op.kind, OpKind::WindowAggregate { .. } | OpKind::WindowJoin { .. });
    if windowed && input_updating.contains(&true) {
        return Err(unsupported("a windowed op cannot take input that retracts"));
    }
    Ok(match &op.kind {
        OpKind::Project { exprs } => Box::new(Project::new(op, exprs)),
        OpKind::Filter { predicate } => Box::new(Filter::new(op, predicate)),
        OpKind::Watermark { expr, idle_timeout_ms } => Box::new(Watermark::new(op, expr, *idle_timeout_ms)),
        OpKind::AssignWindows { window, rowtime } => Box::new(AssignWindows::new(op, *window, *rowtime)),
        OpKind::WindowAggregate { time, keys, aggregates } => {
            Box::new(WindowAggregate::new(op, input, (*time, keys, aggregates), settings)?)
        }
        OpKind::Source(_) | OpKind::Sink(_) => return Err(unsupported("sources and sinks are not ops of a chain")),
        _ => return Err(unsupported("not yet")),
    })
}
