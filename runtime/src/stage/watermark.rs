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
///
/// Rows that name no split come from a source that merges its splits in order of event time: with them every split has got as
/// far as they are, and those that were further have only waited.
pub(crate) struct Watermark {
    op: String,
    expr: Expr,
    idle_timeout_ms: Option<u64>,
    splits: BTreeMap<u32, Split>,
    /// Largest event times of splits that this task does not have, from the checkpoint.
    restored: BTreeMap<u32, i64>,
    emitted_ms: Option<i64>,
    was_idle: bool,
    now_ms: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Split {
    max_ms: Option<i64>,
    /// None: since time last passed.
    read_at_ms: Option<u64>,
    idle: bool,
}

impl Split {
    fn read(&mut self, largest_ms: Option<i64>) {
        *self = Self { max_ms: self.max_ms.max(largest_ms), read_at_ms: None, idle: false };
    }
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
            emitted_ms: None,
            was_idle: false,
            now_ms: 0,
        }
    }

    /// The splits that the task reads now, read or yet unread; those that are finished or given away are not among them.
    pub fn set_splits(&mut self, active: &[u32]) {
        let before = std::mem::take(&mut self.splits);
        for split in active {
            let restored = self.restored.remove(split);
            let new = Split { max_ms: restored, read_at_ms: Some(self.now_ms).filter(|now| *now > 0), idle: false };
            self.splits.insert(*split, before.get(split).copied().unwrap_or(new));
        }
    }

    /// Gives the event time of these splits away; `active` are those the task still reads.
    pub fn give(&mut self, splits: &[u32], active: &[u32]) -> BTreeMap<u32, Option<i64>> {
        let mut one = |split: &u32| {
            let restored = self.restored.remove(split);
            let known = self.splits.get(split).and_then(|split| split.max_ms);
            (*split, known.max(restored))
        };
        let given = splits.iter().map(&mut one).collect();
        self.set_splits(active);
        given
    }

    /// Takes splits over with their event time; `active` are those the task reads now. Gives the watermark it stands at, which
    /// may be lower than before and grows again from there.
    pub fn take(&mut self, splits: &BTreeMap<u32, Option<i64>>, active: &[u32]) -> i64 {
        for (split, max_ms) in splits {
            // What the checkpoint says is older than what its reader says.
            match max_ms {
                Some(max_ms) => self.restored.insert(*split, *max_ms),
                None => self.restored.remove(split),
            };
        }
        self.set_splits(active);
        let was_idle = std::mem::replace(&mut self.was_idle, false);
        let Some(standing_ms) = self.smallest() else { return self.emitted_ms.unwrap_or(i64::MIN) };
        // Who was told that the task is idle has to be told that it is not.
        self.emitted_ms = if was_idle { None } else { standing_ms };
        standing_ms.unwrap_or(i64::MIN)
    }

    /// Time passes: splits without rows for the timeout no longer hold the watermark.
    pub fn tick(&mut self, now_ms: u64) {
        self.now_ms = self.now_ms.max(now_ms);
        let now_ms = self.now_ms;
        for split in self.splits.values_mut() {
            let read_at_ms = *split.read_at_ms.get_or_insert(now_ms);
            split.idle |= self.idle_timeout_ms.is_some_and(|timeout| now_ms.saturating_sub(read_at_ms) >= timeout);
        }
    }

    /// What is new since the last call.
    pub fn signal(&mut self) -> Option<Signal> {
        let Some(smallest) = self.smallest() else {
            return (!std::mem::replace(&mut self.was_idle, true)).then_some(Signal::Idle);
        };
        self.was_idle = false;
        let grown = smallest.filter(|ms| self.emitted_ms.is_none_or(|emitted| *ms > emitted))?;
        self.emitted_ms = Some(grown);
        Some(Signal::Watermark(grown))
    }

    /// Over all splits that are not idle. Outer none: there is none; inner none: one is unread.
    fn smallest(&self) -> Option<Option<i64>> {
        self.splits.values().filter(|split| !split.idle).map(|split| split.max_ms).min()
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
        match batch.split {
            Some(split) => {
                let new = Split { max_ms: None, read_at_ms: None, idle: false };
                self.splits.entry(split).or_insert(new).read(largest);
            }
            None => self.splits.values_mut().for_each(|split| split.read(largest)),
        }
        context.output.push(Batch { split: None, ..batch });
        Ok(())
    }

    fn operator_state(&self) -> Option<Value> {
        let known = self.splits.iter().filter_map(|(split, state)| Some((split.to_string(), state.max_ms?)));
        let splits: BTreeMap<String, i64> = known.collect();
        Some(json!({ "splits": splits }))
    }

    fn restore(&mut self, parts: &[Value], _context: &mut OpContext<'_>) -> Result<(), Error> {
        let corrupt = |what: &str| Error::Corrupt { op: self.op.clone(), what: format!("watermarks {what}") };
        for part in parts {
            let splits = part.get("splits").and_then(Value::as_object).ok_or_else(|| corrupt("without `splits`"))?;
            for (split, max_ms) in splits {
                let split: u32 = split.parse().map_err(|_| corrupt("with a split that is no number"))?;
                let max_ms = max_ms.as_i64().ok_or_else(|| corrupt("with a time that is no number"))?;
                let entry = self.restored.entry(split).or_insert(max_ms);
                *entry = max_ms.max(*entry);
            }
        }
        for (split, state) in &mut self.splits {
            state.max_ms = state.max_ms.max(self.restored.remove(split));
        }
        Ok(())
    }
}
