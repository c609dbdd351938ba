//! A coordinator that came back takes over the tasks that run: they do not restart.
//!
//! It asks every worker that registers what runs there. Once all hosts of one generation have answered, it goes on with their tasks
//! under its own term. A checkpoint that the last coordinator had begun is taken anew; a rescale is brought to its next settled version
//! (`live::resume`). A task that failed, or a host that does not come back, mean the last checkpoint instead.
use std::collections::{BTreeMap, BTreeSet};

use millstream_api::id::{Generation, TaskId};

use super::{Action, Coordinator, Phase};
use crate::coordinator::place;
use crate::message::live::{Links, Order};
use crate::message::{Command, Report, TaskSet};

/// Tasks go on without their coordinator, so waiting for a host costs nothing but a checkpoint; a host that is gone
/// must not keep the job from going back for long.
const PATIENCE_MS: i64 = 1_500;

/// What workers have said of the tasks on them.
#[derive(Debug)]
pub(super) struct Adoption {
    /// Whose tasks may go on: an older generation's, on a worker that was cut off, have lost their output to it.
    generation: Generation,
    since_ms: Option<i64>,
    told: BTreeMap<String, Option<TaskSet>>,
}

/// What is to be done.
enum Verdict {
    Wait,
    Adopt,
    GoBack(&'static str),
}

impl Adoption {
    pub(super) fn of(generation: Generation) -> Self {
        Self { generation, since_ms: None, told: BTreeMap::new() }
    }

    /// `hosts`: of the last checkpoint, who may have tasks.
    fn verdict(&self, hosts: &[String]) -> Verdict {
        let Some(newest) = self.newest() else {
            return match hosts.iter().all(|host| self.told.contains_key(host)) {
                true => Verdict::GoBack("no task runs"),
                false => Verdict::Wait,
            };
        };
        let mut is_complete = true;
        for host in place::hosts(&newest.deploy.stages) {
            match self.told.get(&host) {
                None => is_complete = false,
                // It may not have heard yet of tasks that join there.
                Some(None) if newest.joins(&host) => {}
                Some(None) => return Verdict::GoBack("tasks are missing"),
                Some(Some(told)) if !told.is_whole => return Verdict::GoBack("tasks failed, or had not begun"),
                Some(Some(told)) if !agree(told, &newest) => return Verdict::GoBack("workers disagree on the tasks"),
                Some(Some(_)) => {}
            }
        }
        if is_complete { Verdict::Adopt } else { Verdict::Wait }
    }

    /// Of the generation that counts, the one that has heard most.
    fn newest(&self) -> Option<TaskSet> {
        let sets = self.told.values().flatten().filter(|told| told.deploy.generation == self.generation);
        let mut newest = sets.max_by_key(|told| told.progress.heard)?.clone();
        let closed = newest.closed();
        let hosts = place::hosts(&newest.deploy.stages);
        let has_left = |host: &String| {
            matches!(self.told.get(host), Some(None)) && newest.tasks_on(host).all(|task| closed.contains(&task))
        };
        // It has heard more than all others: that what has come to its end is removed.
        if hosts.iter().any(has_left) {
            newest.deploy.stages.iter_mut().for_each(|stage| stage.tasks.retain(|at| !closed.contains(&at.task)));
            newest.progress.orders.clear();
            newest.progress.heard += 1;
        }
        Some(newest)
    }
}

/// Whether two that have heard the same say the same. One that has heard less is told.
fn agree(one: &TaskSet, other: &TaskSet) -> bool {
    let stages = one.deploy.stages.iter().zip(&other.deploy.stages);
    let is_late = one.progress.heard < other.progress.heard;
    one.deploy.generation == other.deploy.generation
        && one.deploy.stages.len() == other.deploy.stages.len()
        && (is_late || stages.into_iter().all(|(one, other)| one.tasks == other.tasks && one.table == other.table))
}

impl TaskSet {
    /// Whether all tasks that this worker is to host join.
    fn joins(&self, worker: &str) -> bool {
        self.tasks_on(worker).all(|task| self.progress.joining.contains(&task))
    }

    fn tasks_on(&self, worker: &str) -> impl Iterator<Item = TaskId> {
        let tasks = self.deploy.stages.iter().flat_map(|stage| &stage.tasks);
        tasks.filter(move |placed| placed.worker == worker).map(|placed| placed.task)
    }

    /// Tasks that have been told to come to their end.
    pub(super) fn closed(&self) -> BTreeSet<TaskId> {
        let closed = self.progress.orders.iter().filter_map(|(_, order)| match order {
            Order::Close { tasks, .. } => Some(tasks.iter().copied()),
            _ => None,
        });
        closed.flatten().collect()
    }
}

impl Coordinator {
    /// What a worker that registers is asked: what runs there, and to end it if nothing is taken over any more.
    pub(super) fn ask_for_tasks(&self, worker: &str, out: &mut Vec<Action>) {
        let is_undecided = self.adoption.is_some();
        let mut send = |command| out.push(Action::Send { worker: worker.to_owned(), command });
        if is_undecided || self.is_back() {
            send(Command::Describe);
        }
        if !is_undecided {
            // Whatever still runs there is older than anything this coordinator will start.
            send(Command::Cancel { generation: self.generation });
        }
    }

    /// Whether the job has run before, and nothing yet under this coordinator.
    fn is_back(&self) -> bool {
        self.last.is_some() && self.deployment.is_empty()
    }

    /// Tasks of the last coordinator's are on a worker: whoever is missing is lost, and does not just take its time to start.
    pub(super) fn has_run_until_now(&mut self, now_ms: i64) {
        if !self.is_back() {
            return;
        }
        if let Some(patience) = &mut self.config.patience
            && patience.start_ms != patience.lost_ms
        {
            patience.start_ms = patience.lost_ms;
            self.phase_since_ms = Some(now_ms);
        }
    }

    /// What a worker says before it is decided whose tasks run.
    pub(super) fn heard_of_tasks(&mut self, worker: &str, report: Report) {
        let Some(adoption) = &mut self.adoption else { return };
        let is_of = |told: &&mut TaskSet, generation: Generation| told.deploy.generation == generation;
        let told = adoption.told.get_mut(worker).and_then(Option::as_mut);
        match report {
            Report::Described(told) => drop(adoption.told.insert(worker.to_owned(), told.map(|told| *told))),
            Report::TaskEnded { generation, task } => {
                told.filter(|told| is_of(told, generation)).into_iter().for_each(|told| told.ended.push(task));
            }
            Report::TaskFailed { generation, .. }
            | Report::PeerLost { generation, .. }
            | Report::DeployFailed { generation, .. } => {
                told.filter(|told| is_of(told, generation)).into_iter().for_each(|told| told.is_whole = false);
            }
            Report::Extended { generation } => {
                let links = Links::Extended { said: true };
                told.filter(|told| is_of(told, generation)).into_iter().for_each(|told| told.progress.links = links);
            }
            Report::Linked { generation } => {
                let links = Links::Open;
                told.filter(|told| is_of(told, generation)).into_iter().for_each(|told| told.progress.links = links);
            }
            Report::Moved { generation, task, version, step } => {
                let told = told.filter(|told| is_of(told, generation));
                told.into_iter().for_each(|told| told.progress.did(task, version, step.clone()));
            }
            _ => {}
        }
    }

    /// Whether it is still open, or decided that, the tasks there are go on.
    pub(super) fn is_adopting(&mut self, now_ms: i64, out: &mut Vec<Action>) -> bool {
        let Some(adoption) = &mut self.adoption else { return false };
        adoption.told.retain(|worker, _| self.workers.contains_key(worker));
        let since_ms = *adoption.since_ms.get_or_insert(now_ms);
        let manifest = self.last.as_ref().map(|(manifest, _)| manifest);
        let tasks = manifest.iter().flat_map(|manifest| &manifest.stages).flat_map(|stage| &stage.tasks);
        let hosts: Vec<String> = tasks.map(|task| task.worker.clone()).collect();
        let patience_ms = self.config.patience.map_or(PATIENCE_MS, |wait| wait.adopt_ms);
        let reason = match adoption.verdict(&hosts) {
            Verdict::Adopt => {
                self.adopt(now_ms, out);
                return true;
            }
            Verdict::Wait if now_ms.saturating_sub(since_ms) < patience_ms => return true,
            Verdict::Wait => "not all workers came back",
            Verdict::GoBack(reason) => reason,
        };
        out.push(Action::Tell(format!("the tasks that ran are not taken over: {reason}")));
        let has_run = adoption.told.values().any(Option::is_some);
        self.adoption = None;
        if has_run {
            self.has_run_until_now(now_ms);
        }
        for worker in self.workers.keys() {
            let command = Command::Cancel { generation: self.generation };
            out.push(Action::Send { worker: worker.clone(), command });
        }
        false
    }

    fn adopt(&mut self, now_ms: i64, out: &mut Vec<Action>) {
        let Some(adoption) = self.adoption.take() else { return };
        let Some(newest) = adoption.newest() else { return };
        let generation = newest.deploy.generation;
        let hosts = place::hosts(&newest.deploy.stages);
        let told = || adoption.told.values().flatten().filter(|told| told.deploy.generation == generation);
        self.generation = generation;
        self.deployment.clone_from(&newest.deploy.stages);
        self.settle_tables();
        self.parallelism = self.deployment.iter().map(|stage| stage.tasks.len() as u32).collect();
        let tasks = self.tasks();
        self.ended = told().flat_map(|told| &told.ended).filter(|task| tasks.contains(task)).copied().collect();
        let stages = told().flat_map(|told| &told.deploy.stages);
        let highest: Option<TaskId> = stages.flat_map(|stage| &stage.tasks).map(|placed| placed.task).max();
        self.next_task = self.next_task.max(highest.map_or(0, |task| task + 1));
        let through = told().map(|told| told.epoch).max().unwrap_or(0).max(self.next_epoch - 1);
        self.next_epoch = through + 1;
        self.last_round_at_ms = now_ms;
        self.phase = Phase::Running;
        let (term, stored) = (self.config.term, self.last.as_ref().map(|(manifest, _)| manifest.epoch));
        for worker in self.workers.keys() {
            let command = match hosts.contains(worker) {
                true => Command::Adopt { generation, term, stored, through },
                false => Command::Cancel { generation },
            };
            out.push(Action::Send { worker: worker.clone(), command });
        }
        let count = tasks.len();
        out.push(Action::Tell(format!("{count} tasks on {} workers go on under term {term}", hosts.len())));
        let sets = adoption.told.iter().filter_map(|(worker, told)| Some((worker.as_str(), told.as_ref()?)));
        let sets = sets.filter(|(worker, told)| told.deploy.generation == generation && hosts.contains(*worker));
        self.resume(now_ms, &newest, &sets.collect(), out);
    }
}
