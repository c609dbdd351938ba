//! A worker's part of what changes in a running generation: tasks that come and go, groups and splits that move.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use millstream_api::id::{Generation, TaskId};

use super::task::Change;
use super::{Failed, Worker, build};
use crate::message::live::{Links, MovingSplit, Order};
use crate::message::{Deploy, Failure, Report};

/// Tasks that have been told of new channels and have not answered; what the worker says when all have.
pub(super) struct Linking {
    waiting: BTreeSet<TaskId>,
    then: Report,
}

impl Worker {
    /// Tasks join the running generation, or this worker joins it with its first tasks.
    pub(super) fn extend(&mut self, (number, join): (u64, Vec<TaskId>), deploy: &Deploy) -> Vec<Report> {
        let generation = deploy.generation;
        if self.current.as_ref().is_some_and(|current| current.generation > generation) {
            return Vec::new();
        }
        if !self.runs(generation) {
            self.cancel();
        }
        let extended = self.backend_of(&deploy.job).and_then(|backend| {
            let done = match &mut self.current {
                Some(current) => current.extend(&self.name, deploy, (&backend, &mut self.doors, &mut self.uploads)),
                None => {
                    let parts = (deploy, true);
                    let made = build::prepare(&self.name, parts, &backend, &mut self.doors, &mut self.uploads);
                    made.map(|made| {
                        self.current = Some(made);
                        BTreeSet::new()
                    })
                }
            };
            done.map_err(|Failed(failure)| failure)
        });
        match extended {
            Ok(waiting) => {
                self.note(|standing| standing.progress.extended(number, join));
                self.wait_for_links(waiting, Report::Extended { generation })
            }
            Err(failure) => self.cannot(generation, failure),
        }
    }

    pub(super) fn link(&mut self, generation: Generation) -> Vec<Report> {
        let Some(current) = &mut self.current else { return Vec::new() };
        match current.link(&mut self.doors) {
            Ok((tasks, waiting)) => {
                current.standing.started = true;
                for task in tasks {
                    self.doors.host.start(generation, task);
                }
                self.wait_for_links(waiting, Report::Linked { generation })
            }
            Err(Failed(failure)) => self.cannot(generation, failure),
        }
    }

    /// What was begun cannot be brought to an end here.
    fn cannot(&mut self, generation: Generation, failure: Failure) -> Vec<Report> {
        self.note(|standing| standing.broken = true);
        vec![Report::DeployFailed { generation, failure }]
    }

    fn wait_for_links(&mut self, waiting: BTreeSet<TaskId>, then: Report) -> Vec<Report> {
        let said = waiting.is_empty();
        if matches!(then, Report::Linked { .. }) {
            self.note(|standing| standing.progress.joining.clear());
        }
        let links = match (&then, said) {
            (Report::Extended { .. }, said) => Links::Extended { said },
            (_, true) => Links::Open,
            (_, false) => Links::Opening,
        };
        self.note(|standing| standing.progress.links = links);
        if said {
            return vec![then];
        }
        self.linking = Some(Linking { waiting, then });
        Vec::new()
    }

    pub(super) fn linked(&mut self, task: TaskId) -> Vec<Report> {
        let done = self.linking.take_if(|linking| linking.waiting.remove(&task) && linking.waiting.is_empty());
        let Some(Linking { then, .. }) = done else { return Vec::new() };
        self.wait_for_links(BTreeSet::new(), then)
    }

    pub(super) fn order(&mut self, generation: Generation, number: u64, order: Order) -> Vec<Report> {
        let Some(current) = &mut self.current else { return Vec::new() };
        current.standing.progress.ordered(number, &order);
        let done = match order {
            Order::Await(order) => current.await_groups(&Arc::new(order)),
            Order::Copy(order) => current.copy(&Arc::new(order)),
            Order::Drop { version } => {
                current.change(|| Change::Drop(version));
                Ok(())
            }
            Order::Flip { stage, table } => {
                let table = Arc::new(table);
                current.deploy.stages[stage].table = (*table).clone();
                current.change(|| Change::Flip(stage, Arc::clone(&table)));
                Ok(())
            }
            Order::Expect { stage, version, tasks } => {
                let here = current.tasks.iter().filter(|(_, running)| running.stage == stage).map(|(task, _)| *task);
                for task in here.collect::<Vec<_>>() {
                    current.change_one(task, Change::Expect(version, tasks.contains(&task)));
                }
                Ok(())
            }
            Order::Give { version, splits, .. } => {
                let mut gifts: BTreeMap<TaskId, BTreeMap<u32, TaskId>> = BTreeMap::new();
                for (from, split, to) in splits {
                    gifts.entry(from).or_default().insert(split, to);
                }
                for (from, gifts) in gifts {
                    current.change_one(from, Change::Give(version, gifts));
                }
                Ok(())
            }
            Order::Take { version, splits } => {
                let mut taken: BTreeMap<TaskId, Vec<MovingSplit>> = BTreeMap::new();
                current.note_readers(version, &splits);
                for moving in splits {
                    taken.entry(moving.to).or_default().push(moving);
                }
                for (to, splits) in taken {
                    current.change_one(to, Change::Take(version, splits));
                }
                Ok(())
            }
            Order::Close { stage, tasks } => {
                let tasks: Arc<[TaskId]> = tasks.into();
                current.change(|| Change::Close(stage, Arc::clone(&tasks)));
                Ok(())
            }
            Order::Remove { tasks, peers } => {
                if peers.contains(&self.name) {
                    current.remove(&tasks, &peers, &mut self.uploads);
                } else {
                    self.cancel();
                }
                Ok(())
            }
            Order::Settled => Ok(()),
        };
        match done {
            Ok(()) => Vec::new(),
            Err(Failed(failure)) => self.cannot(generation, failure),
        }
    }
}
