//! Splits of a source that change their reader.
use std::collections::{BTreeMap, BTreeSet};

use millstream_api::id::TaskId;

use super::{At, Coordinator};
use crate::coordinator::protocol::Action;
use crate::message::live::{MovingSplit, Order};

impl Coordinator {
    /// Has the next readers wait, once no barrier is on its way.
    pub(super) fn give(&mut self, now_ms: i64, out: &mut Vec<Action>) -> bool {
        if !self.clear_of_barriers(now_ms, out) {
            return false;
        }
        let Some(live) = &self.live else { return false };
        let At::ToGive { stage } = live.at else { return false };
        let current = &self.deployment[stage];
        let next: BTreeMap<u32, TaskId> =
            live.plan.target[stage].splits.iter().map(|(task, split)| (split.id, *task)).collect();
        let mut splits = Vec::new();
        for (from, split) in &current.splits {
            if let Some(to) = next.get(&split.id).filter(|to| *to != from) {
                splits.push((*from, split.id, *to));
            }
        }
        let waiting: BTreeSet<TaskId> = splits.iter().map(|(_, _, to)| *to).collect();
        self.say_step(&format!("{} splits of {} change their reader", splits.len(), self.deployment[stage].name));
        self.tell_readers(stage, waiting.iter().copied().collect(), out);
        self.go(now_ms, At::Expecting { stage, splits, waiting });
        true
    }

    /// These tasks of a source will be given splits; without any, nobody will any more.
    pub(super) fn tell_readers(&mut self, stage: usize, tasks: Vec<TaskId>, out: &mut Vec<Action>) {
        let version = self.deployment[stage].table.version + 1;
        self.order(&Order::Expect { stage, version, tasks }, out);
    }

    /// A next reader will not end; once none will, the present ones stop.
    pub(super) fn expecting(&mut self, now_ms: i64, task: TaskId, version: u64, out: &mut Vec<Action>) {
        let Some(At::Expecting { stage, splits, waiting }) = self.live.as_mut().map(|live| &mut live.at) else {
            return;
        };
        let stage = *stage;
        if self.deployment[stage].table.version + 1 != version || !waiting.remove(&task) || !waiting.is_empty() {
            return;
        }
        let splits = std::mem::take(splits);
        let donors: BTreeSet<TaskId> = splits.iter().map(|(from, _, _)| *from).collect();
        self.order(&Order::Give { stage, version, splits }, out);
        self.go(now_ms, At::Giving { stage, donors, splits: Vec::new() });
    }

    /// A task reads these splits no longer.
    pub(super) fn gave(&mut self, now_ms: i64, task: TaskId, given: Vec<MovingSplit>, out: &mut Vec<Action>) {
        let Some(At::Giving { donors, splits, .. }) = self.live.as_mut().map(|live| &mut live.at) else { return };
        if donors.remove(&task) {
            splits.extend(given);
            self.take_given(now_ms, out);
        }
    }

    /// Lets the next readers go on, once all donors have stopped.
    pub(super) fn take_given(&mut self, now_ms: i64, out: &mut Vec<Action>) {
        let Some(At::Giving { stage, donors, splits }) = self.live.as_mut().map(|live| &mut live.at) else { return };
        if !donors.is_empty() {
            return;
        }
        let (stage, splits) = (*stage, std::mem::take(splits));
        if splits.is_empty() {
            self.tell_readers(stage, Vec::new(), out);
            self.go(now_ms, At::Next);
            return;
        }
        let version = self.deployment[stage].table.version + 1;
        let receivers: BTreeSet<TaskId> = splits.iter().map(|moving| moving.to).collect();
        let openings = self.openings(stage, &receivers);
        self.order(&Order::Take { version, splits: splits.clone() }, out);
        self.tell_readers(stage, Vec::new(), out); // Who was to be given some may have been given none.
        self.go(now_ms, At::Taking { stage, splits, receivers, openings });
    }
}
