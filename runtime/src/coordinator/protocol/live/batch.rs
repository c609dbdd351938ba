//! One batch: key groups of one stage that change their owners together, as one version of its owner table.
use std::collections::BTreeSet;

use millstream_api::id::TaskId;
use millstream_api::wire::RescaleStrategy;

use super::{At, Coordinator, Opening};
use crate::coordinator::protocol::Action;
use crate::message::live::{HandOver, Order};
use crate::rescale::plan::{self, Batch, Limits};

pub(super) fn donors(batch: &Batch) -> BTreeSet<TaskId> {
    batch.moves.iter().map(|give| give.from).collect()
}

pub(super) fn receivers(batch: &Batch) -> BTreeSet<TaskId> {
    batch.moves.iter().map(|give| give.to).collect()
}

impl Coordinator {
    /// Plans the next batch of a stage and tells its receivers.
    pub(super) fn next_batch(&mut self, now_ms: i64, stage: usize, out: &mut Vec<Action>) -> bool {
        let bytes = self.group_bytes(stage);
        let Some(live) = &self.live else { return false };
        let (current, target) = (&self.deployment[stage].table, &live.plan.target[stage].table);
        let batch = match live.plan.strategy {
            RescaleStrategy::AllAtOnce => plan::whole_batch(current, target, &bytes),
            _ => {
                let limits = Limits { batching: live.plan.batching, budget_bytes: live.budget.bytes() };
                plan::next_batch(current, target, &bytes, live.plan.load(stage), &limits)
            }
        };
        // The tables differ, so there is one.
        let Some(batch) = batch else { return false };
        self.log_batch(now_ms, stage, &batch, &bytes);
        let order = self.hand_over(stage, &batch);
        self.order(&Order::Await(order), out);
        let waiting = receivers(&batch);
        self.go(now_ms, At::Awaiting { stage, batch, waiting });
        true
    }

    fn hand_over(&self, stage: usize, batch: &Batch) -> HandOver {
        let ahead = self.live.as_ref().is_some_and(|live| live.plan.strategy != RescaleStrategy::AllAtOnce);
        HandOver { stage, version: batch.table.version, moves: batch.moves.clone(), ahead, bytes: batch.bytes }
    }

    pub(super) fn awaiting(&mut self, now_ms: i64, task: TaskId, version: u64, out: &mut Vec<Action>) {
        self.expecting(now_ms, task, version, out);
        let Some(At::Awaiting { stage, batch, waiting }) = self.live.as_mut().map(|live| &mut live.at) else { return };
        if batch.table.version != version || !waiting.remove(&task) || !waiting.is_empty() {
            return;
        }
        let (stage, batch) = (*stage, batch.clone());
        let order = self.hand_over(stage, &batch);
        let receivers = if order.ahead { receivers(&batch) } else { BTreeSet::new() };
        self.order(&Order::Copy(order), out);
        let donors = donors(&batch);
        self.go(now_ms, At::Copying { stage, batch, donors, receivers });
    }

    /// A donor has sent all that goes ahead.
    pub(super) fn copied(&mut self, now_ms: i64, task: TaskId, version: u64) {
        self.prepared(now_ms, version, |donors, _| donors.remove(&task));
    }

    /// A receiver has it in its store.
    pub(super) fn stored_by(&mut self, now_ms: i64, task: TaskId, version: u64) {
        self.prepared(now_ms, version, |_, receivers| receivers.remove(&task));
    }

    /// Somebody is ready for the flip: `who` takes them from those who are waited for.
    fn prepared(
        &mut self,
        now_ms: i64,
        version: u64,
        who: impl FnOnce(&mut BTreeSet<TaskId>, &mut BTreeSet<TaskId>) -> bool,
    ) {
        let Some(At::Copying { stage, batch, donors, receivers }) = self.live.as_mut().map(|live| &mut live.at) else {
            return;
        };
        if batch.table.version != version || !who(donors, receivers) || !(donors.is_empty() && receivers.is_empty()) {
            return;
        }
        let (stage, batch) = (*stage, batch.clone());
        self.log_copied(now_ms);
        self.go(now_ms, At::Ready { stage, batch });
    }

    /// A task is at its end: the batch is dropped, and its stage moves nothing more.
    pub(super) fn declined(&mut self, now_ms: i64, (task, version): (TaskId, u64), out: &mut Vec<Action>) {
        let Some(live) = &mut self.live else { return };
        match &live.at {
            At::Awaiting { batch, .. } | At::Copying { batch, .. } | At::Ready { batch, .. }
                if batch.table.version != version => {} // Of a batch that was dropped for another who declined.
            At::Awaiting { stage, .. } | At::Copying { stage, .. } | At::Ready { stage, .. } => {
                let stage = *stage;
                live.over.insert(stage);
                self.drop_batch(now_ms, out);
            }
            At::Expecting { stage, .. } => {
                let stage = *stage;
                live.over.insert(stage);
                self.tell_readers(stage, Vec::new(), out);
                self.go(now_ms, At::Next);
            }
            At::Giving { stage, .. } => {
                let stage = *stage;
                live.over.insert(stage);
                self.gave(now_ms, task, Vec::new(), out);
            }
            At::Taking { stage, .. } if self.deployment[*stage].table.version + 1 == version => {
                self.recover(now_ms, format!("task {task} had ended before it could take splits over"), out);
            }
            _ => {}
        }
    }

    /// Forgets a batch whose routers have not switched.
    pub(in crate::coordinator::protocol) fn drop_batch(&mut self, now_ms: i64, out: &mut Vec<Action>) {
        let Some(live) = &self.live else { return };
        let (At::Awaiting { stage, batch, .. } | At::Copying { stage, batch, .. } | At::Ready { stage, batch }) =
            &live.at
        else {
            return;
        };
        let (stage, version) = (*stage, batch.table.version);
        self.order(&Order::Drop { version }, out);
        // No two batches have the same version.
        self.deployment[stage].table.version = version;
        self.go(now_ms, At::Next);
    }

    /// Has all routers switch, once no barrier is on its way.
    pub(super) fn flip(&mut self, now_ms: i64, out: &mut Vec<Action>) -> bool {
        if self.is_stopping() || !self.clear_of_barriers(now_ms, out) {
            return false;
        }
        let Some(At::Ready { stage, batch }) = self.live.as_ref().map(|live| &live.at) else { return false };
        let (stage, batch) = (*stage, batch.clone());
        self.order(&Order::Flip { stage, table: batch.table.clone() }, out);
        let (donors, receivers) = (donors(&batch), receivers(&batch));
        let openings = self.openings(stage, &receivers);
        self.go(now_ms, At::Flipped { stage, batch, donors, receivers, openings });
        true
    }

    pub(super) fn handed_over(&mut self, now_ms: i64, task: TaskId, bytes: u64) {
        self.log_bytes(bytes);
        if let Some(At::Flipped { donors, .. }) = self.live.as_mut().map(|live| &mut live.at) {
            donors.remove(&task);
        }
        self.settle(now_ms);
    }

    pub(super) fn adopted(&mut self, now_ms: i64, task: TaskId, pause_us: u64) {
        let Some(live) = &mut self.live else { return };
        match &mut live.at {
            At::Flipped { receivers, .. } => {
                receivers.remove(&task);
                self.log_pause(task, pause_us.div_ceil(1000));
            }
            At::Taking { receivers, .. } => drop(receivers.remove(&task)),
            _ => return,
        }
        self.settle(now_ms);
    }

    pub(super) fn opened(&mut self, now_ms: i64, opening: Opening) {
        match self.live.as_mut().map(|live| &mut live.at) {
            Some(At::Flipped { openings, .. } | At::Taking { openings, .. }) => drop(openings.remove(&opening)),
            _ => return,
        }
        self.settle(now_ms);
    }

    /// The batch is over when its groups are owned, and everyone downstream has read on from the new owners.
    pub(super) fn settle(&mut self, now_ms: i64) {
        let Some(live) = &mut self.live else { return };
        match &live.at {
            At::Flipped { stage, batch, donors, receivers, openings }
                if donors.is_empty() && receivers.is_empty() && openings.is_empty() =>
            {
                self.deployment[*stage].table = batch.table.clone();
                let pause_ms = live.entry.moves.iter().map(|one| one.pause_ms).max().unwrap_or(0);
                live.budget.observe(pause_ms, batch.largest_bytes);
                self.log_settled(now_ms);
            }
            At::Taking { stage, splits, receivers, openings } if receivers.is_empty() && openings.is_empty() => {
                let stage = &mut self.deployment[*stage];
                stage.table.version += 1;
                for moving in splits {
                    for (reader, split) in &mut stage.splits {
                        if split.id == moving.split.id {
                            *reader = moving.to;
                        }
                    }
                }
                self.log_splits();
            }
            _ => return,
        }
        self.go(now_ms, At::Next);
    }
}
