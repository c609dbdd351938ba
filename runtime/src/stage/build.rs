//! From the plan's description of an op to the op.
use arrow::datatypes::{DataType, SchemaRef, TimeUnit};
use millstream_sql::graph::{OpKind, OpSpec, WindowTime};

use super::group_aggregate::GroupAggregate;
use super::join::Join;
use super::stateless::{AssignWindows, Filter, Project};
use super::watermark::Watermark;
use super::window_aggregate::WindowAggregate;
use super::window_join::{WindowJoin, WindowJoinPlan};
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
    check_times(&op.kind, input, input2).map_err(|what| unsupported(&what))?;
    Ok(match &op.kind {
        OpKind::Project { exprs } => Box::new(Project::new(op, exprs)),
        OpKind::Filter { predicate } => Box::new(Filter::new(op, predicate)),
        OpKind::Watermark { expr, idle_timeout_ms } => Box::new(Watermark::new(op, expr, *idle_timeout_ms)),
        OpKind::AssignWindows { window, rowtime } => Box::new(AssignWindows::new(op, *window, *rowtime)),
        OpKind::WindowAggregate { time, keys, aggregates } => {
            Box::new(WindowAggregate::new(op, input, (*time, keys, aggregates), settings)?)
        }
        OpKind::Source(_) | OpKind::Sink(_) => return Err(unsupported("sources and sinks are not ops of a chain")),
        OpKind::GroupAggregate { keys, aggregates } => {
            Box::new(GroupAggregate::new(op, input, (keys, aggregates, input_updating[0]), settings)?)
        }
        OpKind::WindowJoin { left_keys, right_keys, left_window, right_window, residual } => {
            let right = input2.ok_or_else(|| unsupported("a join has two inputs"))?;
            let keys = [left_keys.as_slice(), right_keys];
            let plan = WindowJoinPlan { keys, windows: [*left_window, *right_window], residual: residual.clone() };
            Box::new(WindowJoin::new(op, [input, right], plan, settings)?)
        }
        OpKind::Join { left_keys, right_keys, residual } => {
            let right = input2.ok_or_else(|| unsupported("a join has two inputs"))?;
            Box::new(Join::new(op, [input, right], ([left_keys, right_keys], residual.clone()), settings)?)
        }
    })
}

/// Event times and window bounds are timestamps in milliseconds; anything else would be misread.
fn check_times(kind: &OpKind, input: &SchemaRef, input2: Option<&SchemaRef>) -> Result<(), String> {
    let check = |schema: &SchemaRef, column: usize| match schema.field(column).data_type() {
        DataType::Timestamp(TimeUnit::Millisecond, _) => Ok(()),
        other => Err(format!("column {} is {other} and not a timestamp in milliseconds", schema.field(column).name())),
    };
    match kind {
        OpKind::AssignWindows { rowtime, .. } => check(input, *rowtime),
        OpKind::WindowAggregate { time: WindowTime::Assign { rowtime, .. }, .. } => check(input, *rowtime),
        OpKind::WindowAggregate { time: WindowTime::Attached { start, end }, .. } => {
            check(input, *start).and_then(|()| check(input, *end))
        }
        OpKind::WindowJoin { left_window, right_window, .. } => {
            let right = input2.unwrap_or(input);
            let left = check(input, left_window.0).and_then(|()| check(input, left_window.1));
            left.and_then(|()| check(right, right_window.0)).and_then(|()| check(right, right_window.1))
        }
        _ => Ok(()),
    }
}
