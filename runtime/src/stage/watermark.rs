//! Generates watermarks behind a source: per split the largest event time seen, over all splits the smallest of them.
use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef};
use arrow::compute::{cast, max};
use arrow::datatypes::{DataType, Int64Type, TimeUnit};
use arrow::error::ArrowError;
use millstream_sql::Expr;
use millstream_sql::graph::OpSpec;
use serde_json::{Value, json};

use super::row::fixed;
use super::{Error, Op, OpContext};
use crate::batch::Batch;

/// See the module. A split that has been read nothing of holds the watermark back until it is idle.
pub(crate) struct Watermark {
    op: String,
    expr: Expr,
    idle_timeout_ms: Option<u64>,
    splits: BTreeMap<u32, Split>,
    /// Largest event times of splits that this task does not have, from the checkpoint.
    restored: BTreeMap<u32, i64>,
    /// Largest event time of rows that name no split: they stand for all.
    unsplit_ms: Option<i64>,
    emitted_ms: Option<i64>,
    was_idle: bool,
    now_ms: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Split {
    max_ms: Option<i64>,
    read_at_ms: u64,
    idle: bool,
}

/// What the op has to say after an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    /// The watermark has grown to this.
    Watermark(i64),
    /// All splits are idle, or there is none.
    Idle,
}

impl Watermark {
    pub fn new(op: &OpSpec, expr: &Expr, idle_timeout_ms: Option<u64>) -> Self {
        Self {
            op: op.id.clone(),
            expr: expr.clone(),
            idle_timeout_ms,
            splits: BTreeMap::new(),
            restored: BTreeMap::new(),
            unsplit_ms: None,
            emitted_ms: None,
            was_idle: false,
            now_ms: 0,
        }
    }

    /// The splits that the task reads now, read or yet unread; those that are finished or given away are not among them.
    pub fn set_splits(&mut self, active: &[u32]) {
        let (before, now_ms) = (std::mem::take(&mut self.splits), self.now_ms);
        for split in active {
            let restored = self.restored.remove(split);
            let new = Split { max_ms: restored, read_at_ms: now_ms, idle: false };
            self.splits.insert(*split, before.get(split).copied().unwrap_or(new));
        }
    }

    /// Time passes: splits without rows for the timeout no longer hold the watermark.
    pub fn tick(&mut self, now_ms: u64) {
        if self.now_ms == 0 {
            self.splits.values_mut().for_each(|split| split.read_at_ms = now_ms);
        }
        self.now_ms = self.now_ms.max(now_ms);
        let Some(timeout) = self.idle_timeout_ms else { return };
        for split in self.splits.values_mut() {
            split.idle |= self.now_ms.saturating_sub(split.read_at_ms) >= timeout;
        }
    }

    /// What is new since the last call.
    pub fn signal(&mut self) -> Option<Signal> {
        let mut counted = self.splits.values().filter(|split| !split.idle).map(|split| split.max_ms).peekable();
        if counted.peek().is_none() && self.unsplit_ms.is_none() {
            return (!std::mem::replace(&mut self.was_idle, true)).then_some(Signal::Idle);
        }
        let smallest = counted.min();
        self.was_idle = false;
        let smallest = match (smallest, self.unsplit_ms) {
            (Some(split), Some(all)) => split.max(Some(all)),
            (Some(split), None) => split,
            (None, all) => all,
        };
        let grown = smallest.filter(|ms| self.emitted_ms.is_none_or(|emitted| *ms > emitted))?;
        self.emitted_ms = Some(grown);
        Some(Signal::Watermark(grown))
    }

    fn largest(&self, batch: &Batch) -> Result<Option<i64>, ArrowError> {
        let times = self.expr.evaluate(&batch.rows)?;
        let times: ArrayRef = match times.data_type() {
            DataType::Timestamp(TimeUnit::Millisecond, _) | DataType::Int64 => times,
            DataType::Timestamp(_, zone) => cast(&times, &DataType::Timestamp(TimeUnit::Millisecond, zone.clone()))?,
            other => return Err(ArrowError::CastError(format!("a watermark of type {other}"))),
        };
        let values = fixed::values::<i64>(&*times);
        Ok(max(&arrow::array::PrimitiveArray::<Int64Type>::new(values, times.nulls().cloned())))
    }
}

impl Op for Watermark {
    fn on_batch(&mut self, _port: usize, batch: Batch, context: &mut OpContext<'_>) -> Result<(), Error> {
        let largest = self.largest(&batch).map_err(|source| Error::Evaluate { op: self.op.clone(), source })?;
        let now_ms = self.now_ms;
        match batch.split {
            Some(split) => {
                let new = Split { max_ms: None, read_at_ms: now_ms, idle: false };
                let split = self.splits.entry(split).or_insert(new);
                *split = Split { max_ms: split.max_ms.max(largest), read_at_ms: now_ms, idle: false };
            }
            None => self.unsplit_ms = self.unsplit_ms.max(largest),
        }
        context.output.push(Batch { split: None, ..batch });
        Ok(())
    }

    fn operator_state(&self) -> Option<Value> {
        let known = self.splits.iter().filter_map(|(split, state)| Some((split.to_string(), state.max_ms?)));
        let splits: BTreeMap<String, i64> = known.collect();
        Some(json!({ "splits": splits, "unsplit_ms": self.unsplit_ms }))
    }

    fn restore(&mut self, parts: &[Value], _context: &mut OpContext<'_>) -> Result<(), Error> {
        let corrupt = |what: &str| Error::Corrupt { op: self.op.clone(), what: format!("watermarks {what}") };
        let mut unsplit = Vec::new();
        for part in parts {
            let splits = part.get("splits").and_then(Value::as_object).ok_or_else(|| corrupt("without `splits`"))?;
            for (split, max_ms) in splits {
                let split: u32 = split.parse().map_err(|_| corrupt("with a split that is no number"))?;
                let max_ms = max_ms.as_i64().ok_or_else(|| corrupt("with a time that is no number"))?;
                let entry = self.restored.entry(split).or_insert(max_ms);
                *entry = max_ms.max(*entry);
            }
            unsplit.push(part.get("unsplit_ms").and_then(Value::as_i64));
        }
        // Which of the tasks' rows come here is not known: only the smallest is safe.
        self.unsplit_ms = unsplit.into_iter().min().flatten();
        for (split, state) in &mut self.splits {
            state.max_ms = state.max_ms.max(self.restored.remove(split));
        }
        Ok(())
    }
}
