//! A rescale that another coordinator had begun: all workers are brought to where the one that has heard most of it is, then the step
//! under way is completed if its units are on their way, or dropped. What is reached then is what the rescale comes to.
use std::collections::{BTreeMap, BTreeSet};

use millstream_api::id::TaskId;
use millstream_api::wire::{Batching, RescaleStatus, RescaleStrategy};

use super::{Action, At, Coordinator, Plan, batch, reached};
use crate::coordinator::place;
use crate::coordinator::protocol::HISTORY;
use crate::message::live::{HandOver, Links, MovingSplit, Order, Step};
use crate::message::{Command, TaskSet};
use crate::rescale::plan::Batch;

const REASON: &str = "the coordinator that had begun it was lost; ask again for what is missing";

/// What workers run and have heard of, by their names.
type Told<'a> = BTreeMap<&'a str, &'a TaskSet>;

impl Coordinator {
    /// Takes up what was under way, if anything was. The deployment is that of `newest`, which of all `told` has heard most.
    pub(in crate::coordinator::protocol) fn resume(
        &mut self,
        now_ms: i64,
        newest: &TaskSet,
        told: &Told<'_>,
        out: &mut Vec<Action>,
    ) {
        self.orders = newest.progress.heard;
        for (index, stage) in self.deployment.iter_mut().enumerate() {
            // The name of a hand-over that was dropped is not used again: something of it may still be on its way.
            let used = told.values().filter_map(|set| set.progress.versions.get(&index)).copied();
            stage.table.version = used.fold(stage.table.version, u64::max);
        }
        if told.values().all(|set| !set.progress.under_way && set.progress.heard == self.orders) {
            return;
        }
        out.push(Action::Tell("a rescale was under way; it goes on until it can end".into()));
        self.begin_again(now_ms, newest);
        if !self.join_up(now_ms, newest, told, out) {
            self.catch_up(newest, told, out);
            self.take_up(now_ms, newest, told, out);
        }
    }

    fn begin_again(&mut self, now_ms: i64, newest: &TaskSet) {
        let closed = newest.closed();
        let stages = self.config.stages.iter().zip(&self.deployment);
        let target = stages.map(|(shape, current)| reached(shape, current, &closed)).collect();
        if !self.was_under_way() {
            let count = |stage: &crate::message::StageDeployment| (stage.name.clone(), stage.tasks.len() as u32);
            self.rescales.push_front(RescaleStatus {
                id: self.rescales.front().map_or(1, |last| last.id + 1),
                from: self.deployment.iter().map(count).collect(),
                to: self.deployment.iter().map(count).collect(),
                requested_at_ms: now_ms,
                ..RescaleStatus::default()
            });
            self.rescales.truncate(HISTORY);
        }
        let (strategy, batching) = (RescaleStrategy::Incremental, Batching::Auto);
        self.begin_live(now_ms, Plan { target, strategy, batching, load: BTreeMap::new() });
        self.want_less(REASON);
        let history = self.newest_rescale().into_iter().flat_map(|last| &last.history);
        let pauses_ms = history.flat_map(|batch| &batch.moves).map(|give| give.pause_ms).collect();
        if let Some(live) = &mut self.live {
            (live.closed, live.pauses_ms) = (closed, pauses_ms);
        }
    }

    /// If tasks join and are not linked: whoever has not heard of them does now. Says whether there are any.
    fn join_up(&mut self, now_ms: i64, newest: &TaskSet, told: &Told<'_>, out: &mut Vec<Action>) -> bool {
        let hosts = place::hosts(&self.deployment);
        let lacks = |host: &&String| told.get(host.as_str()).is_none_or(|set| !missing(newest, set).is_empty());
        let links = |host: &&String| told.get(host.as_str()).map_or(Links::Open, |set| set.progress.links);
        let late: BTreeSet<String> = hosts.iter().filter(lacks).cloned().collect();
        let mut waiting: BTreeSet<String> =
            hosts.iter().filter(|host| links(host) == Links::Extended { said: false }).cloned().collect();
        if !late.is_empty() || !waiting.is_empty() {
            let deploy = Box::new(self.describe(None));
            for worker in &late {
                let (number, join) = (self.orders, newest.progress.joining.clone());
                let command = Command::Extend { number, join, deploy: deploy.clone() };
                out.push(Action::Send { worker: worker.clone(), command });
            }
            waiting.extend(late);
            self.go(now_ms, At::Extending(waiting));
            return true;
        }
        for host in hosts.iter().filter(|host| links(host) != Links::Open) {
            if links(&host) != Links::Opening {
                let command = Command::Link { generation: self.generation };
                out.push(Action::Send { worker: host.clone(), command });
            }
            waiting.insert(host.clone());
        }
        if waiting.is_empty() {
            return false;
        }
        self.go(now_ms, At::Linking(waiting));
        true
    }

    /// Tells those that have heard less what they have missed.
    fn catch_up(&self, newest: &TaskSet, told: &Told<'_>, out: &mut Vec<Action>) {
        let generation = self.generation;
        let peers: Vec<String> = place::hosts(&self.deployment).into_iter().collect();
        for (worker, set) in told.iter().filter(|(_, set)| set.progress.heard < newest.progress.heard) {
            let mut say = |number: u64, order: Order| {
                let command = Command::Order { generation, number, order };
                out.push(Action::Send { worker: (*worker).to_owned(), command });
            };
            let heard = set.progress.heard;
            // What was before the step under way.
            let before = first(newest).map_or(newest.progress.heard, |first| first.saturating_sub(1));
            if first(set) != first(newest) {
                undone(set).into_iter().for_each(|order| say(before, order));
            }
            let tasks = missing(set, newest);
            if !tasks.is_empty() {
                say(before, Order::Remove { tasks, peers: peers.clone() });
            }
            for (number, order) in newest.progress.orders.iter().filter(|(number, _)| *number > heard) {
                say(*number, order.clone());
            }
        }
    }

    /// Goes on with the step under way.
    fn take_up(&mut self, now_ms: i64, newest: &TaskSet, told: &Told<'_>, out: &mut Vec<Action>) {
        let of_step = told.values().filter(|set| first(set) == first(newest));
        let done: Vec<(TaskId, Step)> =
            of_step.flat_map(|set| &set.progress.steps).map(|(task, _, step)| (*task, step.clone())).collect();
        let mut hand_over: Option<&HandOver> = None;
        let mut then = At::Next;
        for (_, order) in &newest.progress.orders {
            match order {
                Order::Await(order) => hand_over = Some(order),
                Order::Flip { stage, table } => {
                    let Some(order) = hand_over.take() else { continue };
                    let (moves, bytes) = (order.moves.clone(), order.bytes);
                    let batch =
                        Batch { version: order.version, moves, table: table.clone(), bytes, largest_bytes: bytes };
                    then = self.flipped(*stage, batch, &done);
                }
                Order::Expect { stage, tasks, .. } => {
                    // Without any, it has been said that none comes.
                    if !tasks.is_empty() {
                        then = At::Expecting { stage: *stage, splits: Vec::new(), waiting: BTreeSet::new() };
                    }
                }
                Order::Give { stage, version, splits } => then = self.giving((*stage, *version), splits, &done),
                Order::Take { splits, .. } => then = self.taking(then, splits, &done),
                Order::Copy(_) | Order::Drop { .. } | Order::Close { .. } | Order::Remove { .. } | Order::Settled => {}
            }
        }
        if let Some(order) = hand_over {
            self.order(&Order::Drop { version: order.version }, out);
        }
        self.enter(now_ms, then, &done, out);
    }

    /// Goes to a step that may be over already.
    fn enter(&mut self, now_ms: i64, at: At, done: &[(TaskId, Step)], out: &mut Vec<Action>) {
        match &at {
            At::Flipped { stage, batch, .. } => {
                let (stage, batch, bytes) = (*stage, batch.clone(), self.group_bytes(*stage));
                self.log_batch(now_ms, stage, &batch, &bytes);
            }
            At::Expecting { stage, .. } => {
                self.tell_readers(*stage, Vec::new(), out);
                return self.go(now_ms, At::Next);
            }
            At::Taking { stage, receivers, .. } => {
                self.tell_readers(*stage, Vec::new(), out);
                let declined = |(task, step): &&(TaskId, Step)| *step == Step::Declined && receivers.contains(task);
                if let Some((task, _)) = done.iter().find(declined) {
                    return self.recover(
                        now_ms,
                        format!("task {task} had ended before it could take splits over"),
                        out,
                    );
                }
            }
            _ => {}
        }
        self.go(now_ms, at);
        self.settle(now_ms);
        self.take_given(now_ms, out);
    }

    fn flipped(&self, stage: usize, batch: Batch, done: &[(TaskId, Step)]) -> At {
        let (mut donors, mut receivers) = (batch::donors(&batch), batch::receivers(&batch));
        let mut openings = self.openings(stage, &receivers);
        for (task, step) in done {
            match step {
                Step::HandedOver { .. } => drop(donors.remove(task)),
                Step::Adopted { .. } => drop(receivers.remove(task)),
                Step::Opened { edge, from } => drop(openings.remove(&(*edge, *from, *task))),
                _ => {}
            }
        }
        At::Flipped { stage, batch, donors, receivers, openings }
    }

    fn giving(
        &mut self,
        (stage, version): (usize, u64),
        splits: &[(TaskId, u32, TaskId)],
        done: &[(TaskId, Step)],
    ) -> At {
        self.deployment[stage].table.version = version.saturating_sub(1);
        let mut donors: BTreeSet<TaskId> = splits.iter().map(|(from, _, _)| *from).collect();
        let mut given = Vec::new();
        for (task, step) in done {
            match step {
                Step::Gave { splits } if donors.remove(task) => given.extend(splits.iter().cloned()),
                Step::Declined => drop(donors.remove(task)),
                _ => {}
            }
        }
        At::Giving { stage, donors, splits: given }
    }

    fn taking(&self, giving: At, splits: &[MovingSplit], done: &[(TaskId, Step)]) -> At {
        let At::Giving { stage, .. } = giving else { return giving };
        let mut receivers: BTreeSet<TaskId> = splits.iter().map(|moving| moving.to).collect();
        let mut openings = self.openings(stage, &receivers);
        for (task, step) in done {
            match step {
                Step::Adopted { .. } => drop(receivers.remove(task)),
                Step::Opened { edge, from } => drop(openings.remove(&(*edge, *from, *task))),
                _ => {}
            }
        }
        At::Taking { stage, splits: splits.to_vec(), receivers, openings }
    }
}

/// Number of the first order of the step under way.
fn first(set: &TaskSet) -> Option<u64> {
    set.progress.orders.first().map(|(number, _)| *number)
}

/// Tasks of `one` that `other` does not know.
fn missing(one: &TaskSet, other: &TaskSet) -> Vec<TaskId> {
    let tasks = |set: &TaskSet| -> BTreeSet<TaskId> {
        set.deploy.stages.iter().flat_map(|stage| &stage.tasks).map(|placed| placed.task).collect()
    };
    tasks(one).difference(&tasks(other)).copied().collect()
}

/// What a worker has missed of a step that is over: if it takes part and its routers have not switched, the step was dropped.
fn undone(set: &TaskSet) -> Vec<Order> {
    let orders = || set.progress.orders.iter().map(|(_, order)| order);
    if orders().any(|order| matches!(order, Order::Flip { .. })) {
        return Vec::new();
    }
    let undo = orders().filter_map(|order| match order {
        Order::Await(order) => Some(Order::Drop { version: order.version }),
        Order::Expect { stage, version, tasks } if !tasks.is_empty() => {
            Some(Order::Expect { stage: *stage, version: *version, tasks: Vec::new() })
        }
        _ => None,
    });
    undo.collect()
}
