//! Workers that are about to end: what they own moves to tasks of the same stages on other workers, and they are told to go once
//! they own nothing. No free slot is needed; parallelism drops until somebody asks for more.
//!
//! If there is nobody to move to, or not the time, one checkpoint is taken instead, and the job goes on from it without them.
use std::collections::{BTreeMap, BTreeSet};

use millstream_api::wire::{RescaleRequest, RescaleStatus};

use super::{At, Coordinator, Intent, Phase, Plan};
use crate::coordinator::place;
use crate::coordinator::protocol::target::Target;
use crate::coordinator::protocol::{Action, HISTORY};
use crate::coordinator::round::{Purpose, Step};
use crate::message::{Command, Register};

/// The checkpoint that is taken when a move does not come to its end has at least this long.
const CHECKPOINT_MIN_MS: i64 = 1_000;

/// A worker is to end.
#[derive(Debug)]
pub(in crate::coordinator) struct Drain {
    since_ms: i64,
    deadline_ms: i64,
    /// A live rescale that empties it has begun.
    tried: bool,
    /// It was told to go.
    told: bool,
}

impl Drain {
    /// From now on, with so much time left.
    pub(in crate::coordinator::protocol) fn new(now_ms: i64, left_ms: u64) -> Self {
        Self { since_ms: now_ms, deadline_ms: now_ms.saturating_add_unsigned(left_ms), tried: false, told: false }
    }
}

impl Coordinator {
    /// A worker says that it is about to end.
    pub(in crate::coordinator::protocol) fn drains(
        &mut self,
        now_ms: i64,
        worker: &str,
        left_ms: u64,
        out: &mut Vec<Action>,
    ) {
        if let Some(known) = self.workers.get_mut(worker).filter(|known| known.drain.is_none()) {
            known.drain = Some(Drain::new(now_ms, left_ms));
            out.push(Action::Tell(format!("worker {worker} drains and has {left_ms} ms for it")));
        }
    }

    /// Workers on which tasks may be placed.
    pub(in crate::coordinator::protocol) fn placeable(&self) -> Vec<Register> {
        let fit = self.workers.values().filter(|worker| worker.drain.is_none() && !worker.released);
        fit.map(|worker| worker.register.clone()).collect()
    }

    /// Tells workers that drain and own nothing to go.
    pub(in crate::coordinator::protocol) fn dismiss(&mut self, out: &mut Vec<Action>) {
        let hosts = match &self.phase {
            Phase::Waiting if self.adoption.is_some() => return,
            Phase::Waiting | Phase::Ended(_) => BTreeSet::new(),
            Phase::Deploying(_) | Phase::Running => place::hosts(&self.deployment),
            Phase::Cancelling { .. } | Phase::Finishing { .. } => return,
        };
        for (name, worker) in &mut self.workers {
            let Some(drain) = worker.drain.as_mut().filter(|drain| !drain.told && !hosts.contains(name)) else {
                continue;
            };
            drain.told = true;
            out.push(Action::Tell(format!("worker {name} owns nothing and goes")));
            out.push(Action::Send { worker: name.clone(), command: Command::Finish { clean: false } });
        }
    }

    /// Draining workers that host tasks.
    fn leaving(&self) -> BTreeSet<String> {
        let drains = |name: &String| self.workers.get(name).is_some_and(|worker| worker.drain.is_some());
        place::hosts(&self.deployment).into_iter().filter(drains).collect()
    }

    /// Goes on with emptying workers of a running job.
    pub(in crate::coordinator::protocol) fn tend_drains(&mut self, now_ms: i64, out: &mut Vec<Action>) {
        let leaving = self.leaving();
        // A stop or a restart ends all tasks anyway, and so does the end of the input.
        if leaving.is_empty() || self.intent.is_some() || self.ended == self.tasks() {
            return;
        }
        if let Some(live) = &self.live {
            let targets = place::hosts(&live.plan.target);
            let is_in_the_way = leaving.iter().any(|worker| targets.contains(worker));
            let is_closing = matches!(live.at, At::Closing { .. });
            if live.less.is_none() && !is_closing && (is_in_the_way || self.is_late(now_ms)) {
                let names: Vec<&str> = leaving.iter().map(String::as_str).collect();
                self.want_less(&format!("worker {} drains", names.join(", ")));
                self.drop_batch(now_ms, out);
                if is_in_the_way {
                    // Another worker began to drain meanwhile: the next plan is for all of them.
                    self.drain_of(&leaving).for_each(|drain| drain.tried = false);
                }
            }
            return;
        }
        let is_new = self.drain_of(&leaving).all(|drain| !drain.tried);
        if !is_new || self.is_late(now_ms) || !self.begin_drain(now_ms, &leaving, out) {
            self.checkpoint_and_leave(out);
        }
    }

    fn drain_of(&mut self, names: &BTreeSet<String>) -> impl Iterator<Item = &mut Drain> {
        let named = self.workers.iter_mut().filter(|(name, _)| names.contains(*name));
        named.filter_map(|(_, worker)| worker.drain.as_mut())
    }

    /// Time that must be left for a checkpoint, of a worker with so much time for all.
    fn reserve_ms(&self, drain: &Drain) -> i64 {
        let last = self.checkpoints.front().map_or(0, |last| last.duration_ms);
        let wanted = i64::try_from(last.saturating_mul(2)).unwrap_or(i64::MAX).max(CHECKPOINT_MIN_MS);
        wanted.min(drain.deadline_ms.saturating_sub(drain.since_ms) / 2)
    }

    /// Time left for moves.
    fn left_ms(&self, now_ms: i64) -> i64 {
        let drains = self.workers.values().filter_map(|worker| worker.drain.as_ref()).filter(|drain| !drain.told);
        let left = drains.map(|drain| drain.deadline_ms.saturating_sub(now_ms).saturating_sub(self.reserve_ms(drain)));
        left.min().unwrap_or(i64::MAX)
    }

    fn is_late(&self, now_ms: i64) -> bool {
        self.left_ms(now_ms) <= 0
    }

    /// Begins to move what these workers own; false if that cannot be done, or not in time.
    fn begin_drain(&mut self, now_ms: i64, leaving: &BTreeSet<String>, out: &mut Vec<Action>) -> bool {
        let target = match self.without(leaving) {
            Ok(target) => target,
            Err(reason) => {
                out.push(Action::Tell(format!("nothing can move to other workers: {reason}")));
                return false;
            }
        };
        let request = RescaleRequest::default();
        let estimate = self.estimate(&request, &target);
        if i64::try_from(estimate.duration_ms).unwrap_or(i64::MAX) > self.left_ms(now_ms) {
            out.push(Action::Tell(format!("moving takes about {} ms, which is too long", estimate.duration_ms)));
            return false;
        }
        let names = self.config.stages.iter().map(|stage| stage.name.clone());
        let count = |stages: &[crate::message::StageDeployment]| -> BTreeMap<String, u32> {
            names.clone().zip(stages.iter().map(|stage| stage.tasks.len() as u32)).collect()
        };
        self.rescales.push_front(RescaleStatus {
            id: self.rescales.front().map_or(1, |last| last.id + 1),
            from: count(&self.deployment),
            to: count(&target.stages),
            requested_at_ms: now_ms,
            estimate: Some(estimate),
            groups_moved_min: estimate.groups_min,
            drains: leaving.iter().cloned().collect(),
            ..RescaleStatus::default()
        });
        self.rescales.truncate(HISTORY);
        self.drain_of(leaving).for_each(|drain| drain.tried = true);
        self.next_task = target.next_task;
        let (strategy, batching) = (request.strategy, request.batch);
        self.begin_live(now_ms, Plan { target: target.stages, strategy, batching, load: BTreeMap::new() });
        true
    }

    /// All stages without tasks on these workers. A stage that has no others gets new ones.
    fn without(&self, leaving: &BTreeSet<String>) -> Result<Target, String> {
        let workers = self.placeable();
        let slots: u32 = workers.iter().map(|worker| worker.slots).sum();
        if slots == 0 {
            return Err("there is no other worker".into());
        }
        let stays = |placed: &&crate::job::Placement| !leaving.contains(&placed.worker);
        let mut load: BTreeMap<String, u32> = BTreeMap::new();
        let mut target = Target { stages: self.deployment.clone(), next_task: self.next_task };
        let is_kept = |stage: &&crate::message::StageDeployment| stage.tasks.iter().all(|placed| stays(&placed));
        for placed in self.deployment.iter().filter(is_kept).flat_map(|stage| &stage.tasks) {
            *load.entry(placed.worker.clone()).or_default() += 1;
        }
        for (index, stage) in self.deployment.iter().enumerate() {
            let (all, left) = (stage.tasks.len() as u32, stage.tasks.iter().filter(stays).count() as u32);
            if left < all {
                let parallelism = if left > 0 { left } else { all.min(slots) };
                let placed = self.placed((index, parallelism), &workers, &mut load, &mut target.next_task);
                target.stages[index] = placed.map_err(|(_, reason)| reason)?;
            }
        }
        Ok(target)
    }

    /// The checkpoint under way is as good as one that begins now.
    fn checkpoint_and_leave(&mut self, out: &mut Vec<Action>) {
        out.push(Action::Tell("a checkpoint is taken, then the tasks go on elsewhere".into()));
        self.intent = Some(Intent::Leave);
        if let Some(round) = &mut self.round
            && round.purpose == Purpose::Periodic
            && matches!(round.step, Step::Cutting(_))
        {
            round.purpose = Purpose::Leave;
        }
    }
}
