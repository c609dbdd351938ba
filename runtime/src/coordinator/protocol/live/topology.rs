//! Tasks that join and leave.
use std::collections::BTreeSet;

use millstream_api::id::TaskId;

use super::{At, Coordinator, Intent};
use crate::coordinator::place;
use crate::coordinator::protocol::Action;
use crate::coordinator::round::Purpose;
use crate::message::Command;
use crate::message::live::Order;

/// A job without periodic checkpoints tries again after this long to take the one that tasks wait for to leave.
const SHOWN_AGAIN_MS: u64 = 10_000;

impl Coordinator {
    /// Has the tasks that join built, and room made for their channels.
    pub(super) fn extend(&mut self, now_ms: i64, out: &mut Vec<Action>) -> bool {
        let Some(live) = &self.live else { return false };
        if live.less.is_some() {
            self.linked_all(now_ms); // Nothing has begun, and nothing will.
            return true;
        }
        let placed = live.plan.target.iter().flat_map(|stage| &stage.tasks);
        let joins = |placed: &&crate::job::Placement| !self.tasks().contains(&placed.task);
        let able: BTreeSet<String> = self.placeable().into_iter().map(|worker| worker.name).collect();
        let missing = placed.filter(joins).map(|placed| &placed.worker).find(|worker| !able.contains(*worker)).cloned();
        if let Some(worker) = missing {
            self.want_less(&format!("worker {worker}, which was to host new tasks, is gone or about to go; ask again"));
            self.linked_all(now_ms);
            return true;
        }
        let mut join = Vec::new();
        let mut extended = self.deployment.clone();
        for (stage, target) in extended.iter_mut().zip(&live.plan.target) {
            for placed in &target.tasks {
                if !stage.tasks.iter().any(|known| known.task == placed.task) {
                    stage.tasks.push(placed.clone());
                    join.push(placed.task);
                }
            }
        }
        if join.is_empty() {
            self.linked_all(now_ms);
            return true;
        }
        if !self.clear_of_barriers(now_ms, out) {
            return false;
        }
        self.deployment = extended;
        let hosts = place::hosts(&self.deployment);
        let deploy = Box::new(self.describe(None));
        self.orders += 1;
        for worker in &hosts {
            let command = Command::Extend { number: self.orders, join: join.clone(), deploy: deploy.clone() };
            out.push(Action::Send { worker: worker.clone(), command });
        }
        self.say_step("new tasks start");
        self.go(now_ms, At::Extending(hosts));
        true
    }

    pub(in crate::coordinator::protocol) fn extended(&mut self, now_ms: i64, worker: &str, out: &mut Vec<Action>) {
        let Some(At::Extending(waiting)) = self.live.as_mut().map(|live| &mut live.at) else { return };
        if waiting.remove(worker) && waiting.is_empty() {
            self.send_all(|generation| Command::Link { generation }, out);
            self.go(now_ms, At::Linking(place::hosts(&self.deployment)));
        }
    }

    pub(in crate::coordinator::protocol) fn linked(&mut self, now_ms: i64, worker: &str) {
        let Some(At::Linking(waiting)) = self.live.as_mut().map(|live| &mut live.at) else { return };
        if waiting.remove(worker) && waiting.is_empty() {
            self.linked_all(now_ms);
        }
    }

    /// All tasks run. Stages without units have reached what they are to come to, but for tasks that leave.
    fn linked_all(&mut self, now_ms: i64) {
        self.go(now_ms, At::Next);
    }

    /// Tells the tasks that own nothing any more to come to their end, all others not to send to them. Without such tasks the
    /// rescale is done.
    pub(super) fn close(&mut self, now_ms: i64, out: &mut Vec<Action>) -> bool {
        let Some(live) = &mut self.live else { return false };
        let (mut all, mut orders) = (BTreeSet::new(), Vec::new());
        for (stage, (current, target)) in self.deployment.iter().zip(&live.plan.target).enumerate() {
            let stays = |task: TaskId| target.tasks.iter().any(|placed| placed.task == task);
            let leave = current.tasks.iter().map(|placed| placed.task).filter(|task| !stays(*task));
            let (known, tasks): (Vec<TaskId>, Vec<TaskId>) = leave.partition(|task| live.closed.contains(task));
            all.extend(known.iter().chain(&tasks).copied());
            live.closed.extend(tasks.iter().copied());
            if !tasks.is_empty() {
                orders.push(Order::Close { stage, tasks });
            }
        }
        for order in orders {
            self.order(&order, out);
        }
        if all.is_empty() {
            self.settle_tables();
            self.finish_live(now_ms, out);
            return false;
        }
        self.say_step("tasks that own nothing leave");
        self.go(now_ms, At::Closing { tasks: all, shown_by: None });
        true
    }

    /// Once all that leave have ended, a checkpoint shows what sinks among them wrote. Its barrier has come to every task behind the
    /// last rows of those that leave, so that they can be forgotten.
    pub(super) fn remove_closed(&mut self, now_ms: i64, out: &mut Vec<Action>) -> bool {
        let Some(At::Closing { tasks, shown_by }) = self.live.as_mut().map(|live| &mut live.at) else { return false };
        let waits = self.intent.as_ref().is_some_and(|intent| !matches!(intent, Intent::Retire));
        if !tasks.is_subset(&self.ended) || self.round.is_some() || waits {
            return false;
        }
        let is_first = shown_by.is_none();
        let epoch = *shown_by.get_or_insert(self.next_epoch);
        if self.last.as_ref().is_none_or(|(manifest, _)| manifest.epoch < epoch) {
            // After one that failed the next comes in its time.
            let wait_ms = self.config.job.checkpoint_interval_ms.unwrap_or(SHOWN_AGAIN_MS);
            let passed_ms = u64::try_from(now_ms.saturating_sub(self.last_round_at_ms)).unwrap_or(0);
            if is_first || passed_ms >= wait_ms {
                self.trigger(now_ms, Purpose::Periodic, out);
            }
            return false;
        }
        let gone = tasks.clone();
        let mut left = self.deployment.clone();
        for stage in &mut left {
            stage.tasks.retain(|placed| !gone.contains(&placed.task));
        }
        let peers = place::hosts(&left).into_iter().collect();
        self.order(&Order::Remove { tasks: gone.iter().copied().collect(), peers }, out);
        self.deployment = left;
        self.ended.retain(|task| !gone.contains(task));
        self.settle_tables();
        self.finish_live(now_ms, out);
        false
    }

    /// Tables of stages without key groups name tasks that there are.
    pub(in crate::coordinator::protocol) fn settle_tables(&mut self) {
        for index in 0..self.deployment.len() {
            if !self.is_keyed(index) {
                let stage = &mut self.deployment[index];
                let tasks: Vec<TaskId> = stage.tasks.iter().map(|placed| placed.task).collect();
                if stage.table.owners.iter().any(|owner| !tasks.contains(owner)) {
                    stage.table = stage.table.rebalance_sticky(&tasks);
                }
            }
        }
    }

    pub(super) fn say_step(&mut self, step: &str) {
        if let Some(status) = self.rescales.front_mut() {
            status.step = step.to_owned();
        }
    }
}
