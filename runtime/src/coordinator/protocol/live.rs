//! A rescale of a running generation: tasks join, units move in batches, tasks that own nothing leave.
//!
//! ```text
//! Begin -> Extending -> Linking -> Next -> Awaiting -> Copying -> Ready -> Flipped --+
//!                                   ^  \-> Ready to give -> Giving -> Taking --------+
//!                                   |                                                |
//!                                   +-- Closing (once nothing is left to move) <-----+-> done
//! ```
//!
//! No barrier travels while channels open, routers switch or splits change their reader (`is_in_flux`): a cut has each unit
//! exactly once, and nothing in flight. A barrier that is in the way of a flip for longer than `PATIENCE_MS` is given up.
//! Every step ends whole: before a flip it can be dropped without a trace, after a flip it is completed.
mod at;
mod batch;
mod drain;
mod log;
mod resume;
mod split;
mod topology;

use std::collections::{BTreeMap, BTreeSet};

use millstream_api::id::{Epoch, TaskId};
use millstream_api::wire::{Batching, RescaleBatch, RescaleState, RescaleStrategy};

use at::{At, Opening};
pub(in crate::coordinator) use drain::Drain;

use super::{Action, Coordinator, Intent, Phase};
use crate::coordinator::place::{self, HASH, StageShape};
use crate::coordinator::round::Purpose;
use crate::message::live::{Order, Step};
use crate::message::{Command, StageDeployment};
use crate::rescale::budget::Budget;

/// How long a flip waits for a barrier on its way before the barrier is given up.
const PATIENCE_MS: i64 = 1_000;
/// The barrier after one that was given up has this long: checkpoints go on.
const PATIENCE_AGAIN_MS: i64 = 10_000;
/// A step that every worker takes by itself within milliseconds is given up, with the generation, after this long.
const STUCK_MS: i64 = 30_000;
/// And as much longer as the state of the batch needs at worst. 1 MB/s.
const STUCK_BYTES_PER_MS: u64 = 1_000;

/// What is asked of a live rescale.
#[derive(Debug)]
pub(super) struct Plan {
    /// What each stage is to come to, in the order of the stage graph.
    pub target: Vec<StageDeployment>,
    /// Incremental or all at once.
    pub strategy: RescaleStrategy,
    /// How many groups move at a time.
    pub batching: Batching,
    /// Of each stage whose groups move because of it: the load of each group, when it was asked for.
    pub load: BTreeMap<usize, Vec<f64>>,
}

impl Plan {
    /// Load of the groups of a stage, empty if they do not move because of it.
    fn load(&self, stage: usize) -> &[f64] {
        self.load.get(&stage).map_or(&[], Vec::as_slice)
    }
}

/// A live rescale under way.
#[derive(Debug)]
pub(super) struct Live {
    plan: Plan,
    at: At,
    /// Since when.
    since_ms: i64,
    budget: Budget,
    /// Of the batch under way.
    entry: RescaleBatch,
    /// By receiver and batch: how long rows were held.
    pauses_ms: Vec<u64>,
    /// Why it ends before what was asked for is reached.
    less: Option<String>,
    /// The newest checkpoint when a barrier was last given up.
    gave_up_after: Option<Epoch>,
    /// Stages with tasks that have read all their input: they give and take nothing any more.
    over: BTreeSet<usize>,
    /// Tasks that have been told to come to their end.
    closed: BTreeSet<TaskId>,
}

impl Live {
    fn stuck_after_ms(&self) -> i64 {
        let bytes = if let At::Flipped { batch, .. } = &self.at { batch.bytes } else { 0 };
        STUCK_MS.saturating_add_unsigned(bytes / STUCK_BYTES_PER_MS)
    }

    fn go(&mut self, now_ms: i64, at: At) {
        let (stage, version) = (self.entry.stage.as_str(), self.entry.version);
        let ms = now_ms.saturating_sub(self.since_ms);
        tracing::debug_span!("rescale step", step = self.at.name(), stage, version, ms)
            .in_scope(|| tracing::debug!("over"));
        (self.at, self.since_ms) = (at, now_ms);
    }
}

impl Coordinator {
    /// Begins a live rescale; its status is the newest.
    pub(super) fn begin_live(&mut self, now_ms: i64, plan: Plan) {
        self.live = Some(Live {
            plan,
            at: At::Begin,
            since_ms: now_ms,
            budget: Budget::default(),
            entry: RescaleBatch::default(),
            pauses_ms: Vec::new(),
            less: None,
            gave_up_after: None,
            over: BTreeSet::new(),
            closed: BTreeSet::new(),
        });
    }

    /// Whether barriers must not travel.
    pub(super) fn is_in_flux(&self) -> bool {
        let steps = |live: &Live| {
            matches!(
                live.at,
                At::Extending(_)
                    | At::Linking(_)
                    | At::Flipped { .. }
                    | At::Expecting { .. }
                    | At::Giving { .. }
                    | At::Taking { .. }
            )
        };
        self.live.as_ref().is_some_and(steps)
    }

    /// Goes on with the rescale as far as the facts allow.
    pub(super) fn drive(&mut self, now_ms: i64, out: &mut Vec<Action>) {
        while self.live.is_some() && matches!(self.phase, Phase::Running) {
            let Some(live) = &self.live else { return };
            let went = match &live.at {
                At::Begin => self.extend(now_ms, out),
                At::Next => self.choose(now_ms, out),
                At::Ready { .. } => self.flip(now_ms, out),
                At::ToGive { .. } => self.give(now_ms, out),
                At::Closing { .. } => self.remove_closed(now_ms, out),
                _ if self.is_in_flux() && now_ms.saturating_sub(live.since_ms) > live.stuck_after_ms() => {
                    self.recover(now_ms, format!("a rescale got stuck at {:?}", live.at), out);
                    return;
                }
                _ => return,
            };
            if !went {
                return;
            }
        }
    }

    /// A task has done something.
    pub(super) fn moved(&mut self, now_ms: i64, (task, version): (TaskId, u64), step: Step, out: &mut Vec<Action>) {
        match step {
            Step::Awaiting => self.awaiting(now_ms, task, version, out),
            Step::Copied { .. } => self.copied(now_ms, task, version),
            Step::Stored => self.stored_by(now_ms, task, version),
            Step::Declined => self.declined(now_ms, (task, version), out),
            Step::HandedOver { bytes } => self.handed_over(now_ms, task, bytes),
            Step::Gave { splits } => self.gave(now_ms, task, splits, out),
            Step::Adopted { pause_us } => self.adopted(now_ms, task, pause_us),
            Step::Opened { edge, from } => self.opened(now_ms, (edge, from, task)),
        }
    }

    /// Whether no barrier is on its way; if one is for too long, it is given up.
    fn clear_of_barriers(&mut self, now_ms: i64, out: &mut Vec<Action>) -> bool {
        let Some(round) = self.round.as_ref().filter(|round| round.is_travelling()) else { return true };
        let epoch = round.epoch;
        let since_ms = self.live.as_ref().map_or(now_ms, |live| live.since_ms.max(round.started_at_ms));
        let last = self.last.as_ref().map_or(0, |(manifest, _)| manifest.epoch);
        let is_second = self.live.as_ref().is_some_and(|live| live.gave_up_after == Some(last));
        if now_ms.saturating_sub(since_ms) < if is_second { PATIENCE_AGAIN_MS } else { PATIENCE_MS } {
            return false;
        }
        if let Some(live) = &mut self.live {
            live.gave_up_after = Some(last);
        }
        if let Some(round) = &mut self.round
            && let Some(asked) = round.purpose.asked().cloned()
        {
            round.purpose = Purpose::Periodic;
            self.savepoints_wanted.push_back(asked); // Begun anew between two batches.
        }
        self.give_up_round(epoch, "a rescale does not wait longer for its barrier", out);
        true
    }

    /// Chooses what to do between two batches.
    fn choose(&mut self, now_ms: i64, out: &mut Vec<Action>) -> bool {
        if self.is_stopping() {
            return false;
        }
        self.settle_for_less();
        let Some(live) = &self.live else { return false };
        let current = self.deployment.iter().zip(&live.plan.target).enumerate();
        let differs = |index: usize, one: &StageDeployment, two: &StageDeployment| {
            self.is_keyed(index) && one.table.owners != two.table.owners
        };
        if let Some(stage) =
            current.clone().find(|(index, (one, two))| differs(*index, one, two)).map(|(index, _)| index)
        {
            return self.next_batch(now_ms, stage, out);
        }
        let readers = |stage: &StageDeployment| -> BTreeSet<(TaskId, u32)> {
            stage.splits.iter().map(|(task, split)| (*task, split.id)).collect()
        };
        if let Some((stage, _)) = current.clone().find(|(_, (one, two))| readers(one) != readers(two)) {
            self.go(now_ms, At::ToGive { stage });
            return true;
        }
        self.close(now_ms, out)
    }

    /// Who hosts tasks, or will when the rescale under way is done.
    pub(super) fn present_and_future_hosts(&self) -> BTreeSet<String> {
        let target = self.live.as_ref().map(|live| place::hosts(&live.plan.target));
        place::hosts(&self.deployment).into_iter().chain(target.unwrap_or_default()).collect()
    }

    fn go(&mut self, now_ms: i64, at: At) {
        if let Some(live) = &mut self.live {
            live.go(now_ms, at);
        }
    }

    /// The rescale is to end as soon as it can.
    pub(super) fn want_less(&mut self, reason: &str) {
        if let Some(live) = &mut self.live {
            live.less.get_or_insert_with(|| reason.to_owned());
        }
    }

    /// A rescale under way ends as soon as it can: what is on the move would wait for the next coordinator.
    pub(super) fn retire(&mut self, now_ms: i64, out: &mut Vec<Action>) {
        self.intent.get_or_insert(Intent::Retire);
        self.want_less("the coordinator ends; the next one may go on");
        self.drop_batch(now_ms, out);
    }

    /// Where a live rescale is, in a word, if one is under way: `extend`, `link`, `await`, `copy`, `ready`, `flip`, ...
    pub fn rescale_step(&self) -> Option<&'static str> {
        self.live.as_ref().map(|live| live.at.name())
    }

    /// Whether a live rescale is under way.
    pub(in crate::coordinator) fn is_moving(&self) -> bool {
        self.live.is_some()
    }

    pub(super) fn is_stopping(&self) -> bool {
        matches!(self.intent, Some(Intent::Stop(_)))
    }

    /// If less is wanted, or a stage has read all its input, what is reached by now is what the rescale comes to.
    fn settle_for_less(&mut self) {
        let Some(live) = &mut self.live else { return };
        for (index, (target, current)) in live.plan.target.iter_mut().zip(&self.deployment).enumerate() {
            if target == current {
                continue;
            }
            if current.tasks.iter().any(|placed| self.ended.contains(&placed.task)) {
                live.over.insert(index);
            }
            if live.less.is_none() && !live.over.contains(&index) {
                continue;
            }
            *target = reached(&self.config.stages[index], current, &live.closed);
        }
    }

    /// Nothing is left to do.
    fn finish_live(&mut self, now_ms: i64, out: &mut Vec<Action>) {
        let Some(mut live) = self.live.take() else { return };
        self.order(&Order::Settled, out);
        live.less.take_if(|_| self.has_reached());
        self.parallelism = self.deployment.iter().map(|stage| stage.tasks.len() as u32).collect();
        self.totals.rescales += 1;
        if let Some(status) = self.rescales.front_mut() {
            status.state = if live.less.is_some() { RescaleState::Cancelled } else { RescaleState::Done };
            let names: Vec<&str> = live.over.iter().map(|stage| self.config.stages[*stage].name.as_str()).collect();
            let stayed =
                (!names.is_empty()).then(|| format!("{} had read all input and changed no further", names.join(", ")));
            status.reason = live.less.or(stayed);
            status.step.clear();
            status.duration_ms = u64::try_from(now_ms.saturating_sub(status.requested_at_ms)).ok();
            status.batches = Some(status.batches_done);
            self.totals.groups_moved += u64::from(status.groups_moved);
        }
    }

    /// The generation is over, and the rescale with it. The checkpoint the job goes back to knows what had moved by then.
    pub(super) fn end_live(&mut self, state: RescaleState) {
        let Some(live) = self.live.take() else { return };
        let why = self.error.as_deref().filter(|_| state == RescaleState::Failed).map(|why| format!(": {why}"));
        let why = why.unwrap_or_default();
        if let Some(status) = self.rescales.front_mut() {
            let reason = || format!("its tasks were stopped{why}; the job goes on with as many as before");
            (status.state, status.reason) = (state, Some(live.less.unwrap_or_else(reason)));
        }
    }

    /// Whether the stage's units are key groups.
    pub(super) fn is_keyed(&self, stage: usize) -> bool {
        self.config.stages[stage].inputs.iter().any(|(_, _, partition)| *partition == HASH)
    }

    /// All who have to hear of units that these tasks of a stage have taken over.
    fn openings(&self, stage: usize, receivers: &BTreeSet<TaskId>) -> BTreeSet<Opening> {
        let mut openings = BTreeSet::new();
        for (shape, deployed) in self.config.stages.iter().zip(&self.deployment) {
            for (edge, _, _) in shape.inputs.iter().filter(|(_, from, _)| *from == stage) {
                for receiver in receivers {
                    openings.extend(deployed.tasks.iter().map(|placed| (*edge, *receiver, placed.task)));
                }
            }
        }
        openings
    }

    fn order(&mut self, order: &Order, out: &mut Vec<Action>) {
        self.orders += 1;
        let number = self.orders;
        self.send_all(|generation| Command::Order { generation, number, order: order.clone() }, out);
    }
}

/// What a stage comes to if nothing more moves: without tasks that own nothing. A stage without units has whom it has; of a source,
/// the table says nothing.
fn reached(shape: &StageShape, current: &StageDeployment, closed: &BTreeSet<TaskId>) -> StageDeployment {
    let is_keyed = shape.inputs.iter().any(|(_, _, partition)| *partition == HASH);
    let stays = |task: TaskId| match (is_keyed, &shape.splits) {
        (true, _) => current.table.owners.contains(&task),
        (false, Some(_)) => current.splits.iter().any(|(reader, _)| *reader == task),
        (false, None) => !closed.contains(&task),
    };
    let tasks = current.tasks.iter().filter(|placed| stays(placed.task)).cloned().collect();
    StageDeployment { tasks, ..current.clone() }
}
