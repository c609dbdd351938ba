//! The fused loop: all ops of a stage between its source or inputs and its sink or outputs, run synchronously. Rows go
//! through all ops before the next element; rows that op i emits for a watermark go through ops i+1.. before the watermark.
use std::collections::{BTreeMap, BTreeSet};

use arrow::datatypes::SchemaRef;
use millstream_api::id::KeyGroup;
use millstream_sql::graph::{OpKind, OpSpec};
use serde_json::Value;

use super::build::{OpSettings, build};
use super::watermark::{Signal, Watermark};
use super::{Error, Flow, Op, OpContext};
use crate::batch::Batch;
use crate::state::{StateOrdinal, Store, group_of};

/// What leaves the chain, in order.
#[derive(Debug, Clone)]
pub enum Item {
    /// Rows.
    Rows(Batch),
    /// No row at or below this many ms will follow.
    Watermark(i64),
    /// The source has no input for now.
    Idle,
}

/// What the task lends to its chain for one call.
pub struct Env<'a> {
    /// The task's keyed state.
    pub store: &'a mut dyn Store,
    /// Key groups the task owns, ascending.
    pub groups: &'a [KeyGroup],
    /// Where output goes; the caller drains it.
    pub output: &'a mut Vec<Item>,
}

/// Inputs of a chain's first op.
#[derive(Debug, Clone)]
pub struct ChainInput {
    /// Schema of the rows on port 0 (the source's, or the edges').
    pub schema: SchemaRef,
    /// Schema of port 1, for joins.
    pub schema2: Option<SchemaRef>,
    /// Whether the ports can retract.
    pub updating: [bool; 2],
}

enum Step {
    Plain(Box<dyn Op>),
    Watermark(Box<Watermark>),
}

impl Step {
    fn op(&mut self) -> &mut dyn Op {
        match self {
            Self::Plain(op) => &mut **op,
            Self::Watermark(op) => &mut **op,
        }
    }

    fn op_ref(&self) -> &dyn Op {
        match self {
            Self::Plain(op) => &**op,
            Self::Watermark(op) => &**op,
        }
    }
}

/// A watermark on its way: the op it has to reach next.
#[derive(Debug, Clone, Copy)]
struct Passing {
    watermark_ms: i64,
    next: usize,
}

/// A state of a chain, as manifests name it. Its position in `Chain::registrations` is its ordinal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// Id of the op.
    pub op: String,
    /// Name within the op.
    pub name: &'static str,
    /// Version of the entries' encoding.
    pub version: u32,
}

/// See the module.
///
/// `push`, `watermark`, `splits` and `tick` answer `Flow::More` when a watermark is still on its way through the ops: the
/// caller sends off the output and calls `resume` until it answers `Done`, before it gives the chain anything else.
pub struct Chain {
    ids: Vec<String>,
    steps: Vec<Step>,
    registrations: Vec<Registration>,
    generator: Option<usize>,
    passing: Option<Passing>,
    /// Groups that have left and not come back.
    left: BTreeSet<KeyGroup>,
    late_rows: u64,
}

impl Chain {
    /// Builds the ops of a stage; source and sink specs at the ends are skipped. `cache_bytes`: bound per op.
    pub fn new(ops: &[OpSpec], input: &ChainInput, cache_bytes: usize) -> Result<Self, Error> {
        let mut chain = Self {
            ids: Vec::new(),
            steps: Vec::new(),
            registrations: Vec::new(),
            generator: None,
            passing: None,
            left: BTreeSet::new(),
            late_rows: 0,
        };
        let mut input = input.clone();
        for op in ops {
            if matches!(op.kind, OpKind::Source(_) | OpKind::Sink(_)) {
                continue;
            }
            let settings = OpSettings { cache_bytes, ordinal: chain.registrations.len() as StateOrdinal };
            let step = match &op.kind {
                OpKind::Watermark { expr, idle_timeout_ms } => {
                    chain.generator = Some(chain.steps.len());
                    Step::Watermark(Box::new(Watermark::new(op, expr, *idle_timeout_ms)))
                }
                _ => Step::Plain(build(op, &input.schema, input.schema2.as_ref(), input.updating, &settings)?),
            };
            let states = step.op_ref().states().into_iter();
            let register = |(name, version)| Registration { op: op.id.clone(), name, version };
            chain.registrations.extend(states.map(register));
            chain.ids.push(op.id.clone());
            chain.steps.push(step);
            input = ChainInput { schema: op.output.clone(), schema2: None, updating: [op.updating, false] };
        }
        Ok(chain)
    }

    /// Every keyed state of the chain; the position is the ordinal.
    pub fn registrations(&self) -> &[Registration] {
        &self.registrations
    }

    /// Rows dropped so far because they were late.
    pub fn late_rows(&self) -> u64 {
        self.late_rows
    }

    /// Whether the chain makes watermarks itself, from the rows of its source.
    pub fn generates_watermarks(&self) -> bool {
        self.generator.is_some()
    }

    /// Rows on a port of the first op.
    pub fn push(&mut self, port: usize, batch: Batch, env: &mut Env<'_>) -> Result<Flow, Error> {
        self.run(0, port, vec![batch], env)?;
        self.signal(env)
    }

    /// Event time has reached `watermark_ms` on all inputs. May be called again with the same value instead of `resume`.
    pub fn watermark(&mut self, watermark_ms: i64, env: &mut Env<'_>) -> Result<Flow, Error> {
        if self.passing.is_none() {
            self.passing = Some(Passing { watermark_ms, next: 0 });
        }
        self.resume(env)
    }

    /// Goes on with a watermark that is on its way.
    pub fn resume(&mut self, env: &mut Env<'_>) -> Result<Flow, Error> {
        while let Some(Passing { watermark_ms, next }) = self.passing {
            if next == self.steps.len() {
                self.passing = None;
                env.output.push(Item::Watermark(watermark_ms));
                break;
            }
            let (flow, rows) = self.call(next, env, |op, context| op.on_watermark(watermark_ms, context))?;
            self.run(next + 1, 0, rows, env)?;
            match flow {
                Flow::More => return Ok(Flow::More),
                Flow::Done => self.passing = Some(Passing { watermark_ms, next: next + 1 }),
            }
        }
        Ok(Flow::Done)
    }

    /// The source's splits: all that this task reads now or will read without being asked again. An empty list makes the
    /// task idle; a chain that makes no watermarks ignores it.
    pub fn splits(&mut self, active: &[u32], env: &mut Env<'_>) -> Result<Flow, Error> {
        if let Some(generator) = self.generator() {
            generator.set_splits(active);
        }
        self.signal(env)
    }

    /// The source has given these splits away and still reads `active`: their event time, for whoever takes them over (none
    /// where nothing has been read, or the chain makes no watermarks). What that changes for the watermark comes out of the next
    /// `splits`, `push` or `tick`.
    pub fn give_splits(&mut self, splits: &[u32], active: &[u32]) -> BTreeMap<u32, Option<i64>> {
        match self.generator() {
            Some(generator) => generator.give(splits, active),
            None => splits.iter().map(|split| (*split, None)).collect(),
        }
    }

    /// The source has taken these splits over, with this event time, and now reads `active`. Gives the watermark the task stands at
    /// from now on, lower than what it said before if a split is behind; `i64::MIN` if it has none.
    pub fn take_splits(&mut self, splits: &BTreeMap<u32, Option<i64>>, active: &[u32]) -> i64 {
        self.generator().map_or(i64::MIN, |generator| generator.take(splits, active))
    }

    /// Time passes (any clock that does not go back), for idle splits.
    pub fn tick(&mut self, now_ms: u64, env: &mut Env<'_>) -> Result<Flow, Error> {
        if let Some(generator) = self.generator() {
            generator.tick(now_ms);
        }
        self.signal(env)
    }

    /// A cut follows: each op in order writes its state and emits what it holds, which flows down before the next op's turn.
    pub fn barrier(&mut self, env: &mut Env<'_>) -> Result<(), Error> {
        self.each(env, |op, context| op.on_barrier(context))
    }

    /// Writes a share (0 to 1) of what is held back to the store, in turn.
    pub fn write_ahead(&mut self, share: f64, env: &mut Env<'_>) -> Result<(), Error> {
        self.each(env, |op, context| op.write_ahead(share, context))
    }

    /// Writes what is held of these groups to the store and goes on as before; a snapshot of it follows. Like `disown` and
    /// `adopt` only while no watermark is on its way.
    pub fn flush_groups(&mut self, groups: &[KeyGroup], env: &mut Env<'_>) -> Result<(), Error> {
        debug_assert!(self.passing.is_none(), "a watermark is on its way");
        self.each(env, |op, context| op.flush_groups(groups, context))
    }

    /// The task gives these groups away, which are still among `env.groups`: all that is held of them is in the store
    /// afterwards, and none of it is touched again. Each op in order, and what it emits flows down before the next op's turn.
    pub fn disown(&mut self, groups: &[KeyGroup], env: &mut Env<'_>) -> Result<(), Error> {
        debug_assert!(self.passing.is_none(), "a watermark is on its way");
        let leaving: Vec<KeyGroup> = groups.iter().copied().filter(|group| self.left.insert(*group)).collect();
        debug_assert_eq!(leaving, groups, "groups that have left before");
        self.each(env, |op, context| op.disown(&leaving, context))
    }

    /// The task has taken these groups over: their entries are in the store and they are among `env.groups`. Rows that came
    /// before go through a chain of their own over the same store, which is restored without operator states, with these
    /// groups alone, and ends with a barrier at the watermark that this chain is at.
    pub fn adopt(&mut self, groups: &[KeyGroup], env: &mut Env<'_>) -> Result<(), Error> {
        debug_assert!(self.passing.is_none(), "a watermark is on its way");
        groups.iter().for_each(|group| _ = self.left.remove(group));
        self.each(env, |op, context| op.adopt(groups, context))
    }

    /// Store keys of these groups that ops have in memory, at most `limit` of each op.
    pub fn hot_keys(&self, groups: &[KeyGroup], limit: usize) -> Vec<Vec<u8>> {
        self.steps.iter().flat_map(|step| step.op_ref().hot_keys(groups, limit)).collect()
    }

    /// Has ops read the entries of such keys, as far as their groups are among `env.groups`. Only while no watermark is on its way.
    pub fn warm(&mut self, mut keys: Vec<Vec<u8>>, env: &mut Env<'_>) -> Result<(), Error> {
        debug_assert!(self.passing.is_none(), "a watermark is on its way");
        keys.retain(|key| group_of(key).is_ok_and(|group| env.groups.binary_search(&group).is_ok()));
        self.each(env, |op, context| op.warm(&keys, context))
    }

    /// State of the task rather than of keys, by op id.
    pub fn operator_states(&self) -> BTreeMap<String, Value> {
        let state = |(id, step): (&String, &Step)| Some((id.clone(), step.op_ref().operator_state()?));
        self.ids.iter().zip(&self.steps).filter_map(state).collect()
    }

    /// Call once before the first element when the task starts from a checkpoint: its store has the content of its groups,
    /// `parts` has the operator states of all tasks of the stage.
    pub fn restore(&mut self, parts: &BTreeMap<String, Vec<Value>>, env: &mut Env<'_>) -> Result<(), Error> {
        for index in 0..self.steps.len() {
            let parts = parts.get(&self.ids[index]).map(Vec::as_slice).unwrap_or_default();
            self.call(index, env, |op, context| op.restore(parts, context))?;
        }
        Ok(())
    }

    fn generator(&mut self) -> Option<&mut Watermark> {
        match self.steps.get_mut(self.generator?) {
            Some(Step::Watermark(generator)) => Some(generator),
            _ => None,
        }
    }

    /// Passes on what the watermark op has to say.
    fn signal(&mut self, env: &mut Env<'_>) -> Result<Flow, Error> {
        match self.generator().and_then(Watermark::signal) {
            Some(Signal::Watermark(watermark_ms)) => {
                let next = self.generator.map_or(0, |generator| generator + 1);
                self.passing = Some(Passing { watermark_ms, next });
                self.resume(env)
            }
            Some(Signal::Idle) => {
                env.output.push(Item::Idle);
                Ok(Flow::Done)
            }
            None => Ok(Flow::Done),
        }
    }

    fn each(
        &mut self,
        env: &mut Env<'_>,
        mut visit: impl FnMut(&mut dyn Op, &mut OpContext<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        for index in 0..self.steps.len() {
            let ((), rows) = self.call(index, env, &mut visit)?;
            self.run(index + 1, 0, rows, env)?;
        }
        Ok(())
    }

    /// Calls one op; gives its answer and the rows it emitted.
    fn call<T>(
        &mut self,
        index: usize,
        env: &mut Env<'_>,
        visit: impl FnOnce(&mut dyn Op, &mut OpContext<'_>) -> Result<T, Error>,
    ) -> Result<(T, Vec<Batch>), Error> {
        let mut output = Vec::new();
        let late_rows = &mut self.late_rows;
        let mut context = OpContext { store: &mut *env.store, output: &mut output, groups: env.groups, late_rows };
        let answer = visit(self.steps[index].op(), &mut context)?;
        Ok((answer, output))
    }

    /// Rows through the ops from `from` on and out.
    fn run(&mut self, from: usize, port: usize, mut rows: Vec<Batch>, env: &mut Env<'_>) -> Result<(), Error> {
        for index in from..self.steps.len() {
            let port = if index == from { port } else { 0 };
            let input = std::mem::take(&mut rows).into_iter().filter(|batch| batch.num_rows() > 0);
            for batch in input {
                rows.append(&mut self.call(index, env, |op, context| op.on_batch(port, batch, context))?.1);
            }
        }
        env.output.extend(rows.into_iter().filter(|batch| batch.num_rows() > 0).map(Item::Rows));
        Ok(())
    }
}

#[cfg(test)]
mod tests;
