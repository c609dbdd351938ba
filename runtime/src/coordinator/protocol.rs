//! The coordinator's life as a pure state machine: facts in ([`Event`]), actions out ([`Action`]). No clock, no I/O.
//!
//! ```text
//! Waiting -> Deploying -> Running -> Finishing -> Ended
//!    ^                       |
//!    +------ Cancelling <----+   (a task or worker lost, a rescale, a stop, a failure)
//! ```
//!
//! Invariants: a generation starts only when every worker that hosts one of its tasks has deployed it and every older
//! generation is cancelled there; a manifest is stored only when every task's cut is in it; output is made visible only
//! after its manifest is stored.
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::mem::discriminant;

use millstream_api::id::{Epoch, Generation, TaskId, Term};
use millstream_api::wire::{CheckpointStatus, JobState, RescaleStatus};

use super::load::Loads;
use super::place::StageShape;
use super::round::{Asked, Round};
use crate::checkpoint::manifest::{Manifest, StateRegistration};
use crate::job::JobSpec;
use crate::message::{Failure, Register, Report, RestoreFrom, StageDeployment, TaskReport};

mod adopt;
mod checkpoint;
mod deploy;
mod event;
mod failure;
mod intent;
mod live;
mod measure;
mod past;
mod release;
mod request;
mod savepoint;
mod target;

pub use event::{Action, Event, Leaves, Reply, Request};
use intent::Intent;

/// What never changes while a coordinator lives.
#[derive(Debug, Clone)]
pub struct Config {
    /// The job.
    pub job: JobSpec,
    /// Its stages.
    pub stages: Vec<StageShape>,
    /// Of its stage graph.
    pub fingerprint: u64,
    /// Of its SQL text.
    pub sql_hash: String,
    /// Its folder in the checkpoint store.
    pub prefix: String,
    /// Keyed states by stage.
    pub states: Vec<Vec<StateRegistration>>,
    /// Random number of the job.
    pub job_id: u64,
    /// First start of the job, ms since 1970.
    pub started_at_ms: i64,
    /// Path of what it began with, if that is not a checkpoint that it went on from by itself.
    pub started_from: Option<String>,
    /// Incarnation of this coordinator.
    pub term: Term,
    /// The generation that was deployed last, under an earlier term.
    pub noted: Option<Generation>,
    /// Rescales under earlier terms, newest first.
    pub past: Vec<RescaleStatus>,
    /// Its process.
    pub pid: u32,
    /// How long what is missing is waited for; none: slots for ever, hosts as long as a process takes to find its coordinator.
    pub patience: Option<Patience>,
}

/// How long what is missing is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Slots, before the first tasks of this coordinator, if no worker has tasks of an earlier one.
    pub start_ms: i64,
    /// Slots, after a loss.
    pub lost_ms: i64,
    /// Hosts of tasks that may be taken over.
    pub adopt_ms: i64,
}

/// A registered worker.
#[derive(Debug)]
pub struct Worker {
    /// How it introduced itself.
    pub register: Register,
    /// What its tasks last counted.
    pub metrics: Vec<TaskReport>,
    /// What they send to which key group.
    pub loads: Loads,
    /// It is about to end.
    pub(super) drain: Option<live::Drain>,
    /// Nothing is placed on it any more.
    pub(super) released: bool,
}

/// Where the job is.
#[derive(Debug)]
pub(super) enum Phase {
    Waiting,
    Deploying(BTreeSet<String>),
    Running,
    Cancelling { waiting: BTreeSet<String>, then: Then },
    Finishing { waiting: BTreeSet<String>, state: JobState },
    Ended(JobState),
}

/// What follows a cancellation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Then {
    Deploy,
    Finish(JobState),
}

/// The state machine. Fields are read by `view`.
#[derive(Debug)]
pub struct Coordinator {
    pub(super) config: Config,
    pub(super) workers: BTreeMap<String, Worker>,
    pub(super) phase: Phase,
    phase_since_ms: Option<i64>,
    pub(super) generation: Generation,
    pub(super) deployment: Vec<StageDeployment>,
    pub(super) parallelism: Vec<u32>,
    pub(super) ended: BTreeSet<TaskId>,
    pub(super) round: Option<Round>,
    /// The checkpoint the job would go back to.
    pub(super) last: Option<(Manifest, RestoreFrom)>,
    pub(super) checkpoints: VecDeque<CheckpointStatus>,
    pub(super) rescales: VecDeque<RescaleStatus>,
    pub(super) recoveries: u64,
    pub(super) error: Option<String>,
    /// What was said of a store that did not answer, until a checkpoint is in it.
    pub(super) store_away: Option<String>,
    pub(super) restored_epoch: Option<Epoch>,
    pub(super) totals: Totals,
    pub(super) gone: measure::Gone,
    user_error: bool,
    intent: Option<Intent>,
    live: Option<live::Live>,
    /// Number of the last order.
    orders: u64,
    /// Tasks of another coordinator may run.
    adoption: Option<adopt::Adoption>,
    /// Savepoints asked for while none could begin.
    savepoints_wanted: VecDeque<Asked>,
    /// Handed to the store and not heard of since: whether it counts is not known, even if its round is over.
    storing: Option<Manifest>,
    next_task: TaskId,
    next_epoch: Epoch,
    last_round_at_ms: i64,
    failures: VecDeque<i64>,
    /// Workers that were released, by name, with the incarnation that was meant.
    released: BTreeMap<String, u64>,
}

/// What a coordinator has counted since it started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Checkpoints completed.
    pub checkpoints: u64,
    /// Checkpoints given up.
    pub checkpoints_failed: u64,
    /// Bytes uploaded for checkpoints.
    pub uploaded_bytes: u64,
    /// Rescales done.
    pub rescales: u64,
    /// Key groups they moved.
    pub groups_moved: u64,
}

/// How many past checkpoints and rescales are remembered for the API.
const HISTORY: usize = 50;

impl Coordinator {
    /// A job that starts from nothing, or from a manifest stored at a path. With `keep_parallelism` the manifest's numbers of tasks
    /// win over the job's (the coordinator came back; nobody changed the job).
    pub fn new(config: Config, from: Option<(Manifest, RestoreFrom)>, keep_parallelism: bool) -> Self {
        let asked = |stage: &StageShape| {
            let known =
                from.as_ref().and_then(|(manifest, _)| manifest.stages.iter().find(|old| old.name == stage.name));
            let kept = known.filter(|_| keep_parallelism).map(|old| old.tasks.len() as u32);
            kept.unwrap_or_else(|| config.job.parallelism_of(&stage.name))
        };
        let parallelism = config.stages.iter().map(asked).collect();
        let (generation, noted) = (config.term << 20, config.noted);
        let rescales = config.past.iter().take(HISTORY).cloned().collect();
        let next_task = from.as_ref().map_or(0, |(manifest, _)| manifest.next_task_id);
        let next_epoch = from.as_ref().map_or(1, |(manifest, _)| manifest.epoch + 1);
        let restored_epoch = from.as_ref().map(|(manifest, _)| manifest.epoch);
        Self {
            config,
            workers: BTreeMap::new(),
            phase: Phase::Waiting,
            phase_since_ms: None,
            generation,
            deployment: Vec::new(),
            parallelism,
            ended: BTreeSet::new(),
            round: None,
            last: from,
            checkpoints: VecDeque::new(),
            rescales,
            recoveries: 0,
            error: None,
            store_away: None,
            restored_epoch,
            totals: Totals::default(),
            gone: measure::Gone::default(),
            user_error: false,
            intent: None,
            live: None,
            orders: 0,
            adoption: noted.filter(|_| keep_parallelism).map(adopt::Adoption::of),
            savepoints_wanted: VecDeque::new(),
            storing: None,
            next_task,
            next_epoch,
            last_round_at_ms: 0,
            failures: VecDeque::new(),
            released: BTreeMap::new(),
        }
    }

    /// Takes in one fact.
    pub fn on(&mut self, now_ms: i64, event: Event) -> Vec<Action> {
        let mut out = Vec::new();
        self.phase_since_ms.get_or_insert(now_ms);
        let before = (discriminant(&self.phase), self.generation);
        match event {
            Event::Registered(register) => self.registered(now_ms, register, &mut out),
            Event::Lost { worker, incarnation } => self.lost(now_ms, &worker, incarnation, &mut out),
            Event::Said { worker, incarnation, report } if self.knows(&worker, incarnation) => {
                self.said(now_ms, &worker, report, &mut out);
            }
            Event::Said { .. } => {}
            Event::Stored { epoch, result } => self.stored(now_ms, epoch, result, &mut out),
            Event::Asked { id, request } => self.asked(now_ms, id, request, &mut out),
            Event::Retire => self.retire(now_ms, &mut out),
            Event::Tick => self.give_up_silent(now_ms, &mut out),
        }
        self.advance(now_ms, &mut out);
        self.dismiss(&mut out);
        self.end_lost(now_ms);
        if before != (discriminant(&self.phase), self.generation) {
            self.phase_since_ms = Some(now_ms);
        }
        out
    }

    /// Where the job is, for people.
    pub fn state(&self) -> JobState {
        match (&self.phase, &self.intent) {
            (Phase::Ended(state) | Phase::Finishing { state, .. }, _) => *state,
            (Phase::Cancelling { then: Then::Finish(state), .. }, _) if state.is_final() => *state,
            (_, Some(Intent::Stop(_))) => JobState::Stopping,
            (_, Some(Intent::Rescale { .. })) => JobState::Rescaling,
            (Phase::Running, _) => JobState::Running,
            (_, None) if self.recoveries > 0 => JobState::Recovering,
            (Phase::Waiting, _) => JobState::WaitingForWorkers,
            _ => JobState::Deploying,
        }
    }

    /// What has been counted so far.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// Whether the job failed for a reason that the person who wrote it must mend.
    pub fn is_user_error(&self) -> bool {
        self.user_error
    }

    /// The job's folder in the checkpoint store.
    pub fn prefix(&self) -> &str {
        &self.config.prefix
    }

    /// How many checkpoints are kept.
    pub fn checkpoint_keep(&self) -> usize {
        self.config.job.checkpoint_keep
    }

    fn knows(&self, worker: &str, incarnation: u64) -> bool {
        self.workers.get(worker).is_some_and(|known| known.register.incarnation == incarnation)
    }

    fn registered(&mut self, now_ms: i64, register: Register, out: &mut Vec<Action>) {
        if let Some(old) = self.workers.get(&register.name) {
            let incarnation = old.register.incarnation;
            self.lost(now_ms, &register.name.clone(), incarnation, out);
        }
        out.push(Action::Tell(format!("worker {} registered from {}", register.name, register.data_address)));
        self.ask_for_tasks(&register.name, out);
        let drain = register.draining_ms.map(|left_ms| live::Drain::new(now_ms, left_ms));
        let known = self.released.get(&register.name) == Some(&register.incarnation);
        let (released, metrics, loads) = (known || register.released, Vec::new(), Loads::default());
        self.workers.insert(register.name.clone(), Worker { register, metrics, loads, drain, released });
    }

    fn said(&mut self, now_ms: i64, worker: &str, report: Report, out: &mut Vec<Action>) {
        let current = self.generation;
        if let Report::Draining { left_ms } = report {
            return self.drains(now_ms, worker, left_ms, out);
        }
        if self.adoption.is_some() {
            return self.heard_of_tasks(worker, report);
        }
        match report {
            Report::Deployed { generation } if generation == current => self.deployed(now_ms, worker, out),
            Report::DeployFailed { generation, failure } if generation == current => self.failed(now_ms, failure, out),
            Report::TaskFailed { generation, failure, .. } if generation == current => {
                self.failed(now_ms, failure, out)
            }
            Report::PeerLost { generation, peer, .. } if generation == current && !self.are_hosts(worker, &peer) => {}
            Report::PeerLost { generation, peer, reason } if generation == current => {
                let message = format!("worker {worker} lost its connection to {peer}: {reason}");
                self.failed(now_ms, Failure { message, user: false }, out);
            }
            Report::TaskEnded { generation, task } if generation == current => {
                self.ended.insert(task);
            }
            Report::Extended { generation } if generation == current => self.extended(now_ms, worker, out),
            Report::Linked { generation } if generation == current => self.linked(now_ms, worker),
            Report::Moved { generation, task, version, step } if generation == current => {
                self.moved(now_ms, (task, version), step, out);
            }
            Report::Passed { generation, epoch, task } if generation == current => {
                self.round.iter_mut().filter(|round| round.epoch == epoch).for_each(|round| round.passed(task));
            }
            Report::Cut { generation, epoch, stage, task, uploaded_bytes } if generation == current => {
                self.cut(now_ms, epoch, (stage, *task), uploaded_bytes, out);
            }
            Report::CutFailed { generation, epoch, task, failure } if generation == current => {
                self.cut_failed(epoch, task, failure, out);
            }
            Report::Committed { generation, epoch } if generation == current => self.committed(worker, epoch, out),
            Report::Cancelled { generation } if generation == current => {
                if let Phase::Cancelling { waiting, .. } = &mut self.phase {
                    waiting.remove(worker);
                }
            }
            Report::Metrics { generation, tasks } if generation == current => {
                self.measured(now_ms, worker, tasks);
            }
            Report::Described(Some(_)) => self.has_run_until_now(now_ms),
            Report::Finished => {
                if let Phase::Finishing { waiting, .. } = &mut self.phase {
                    waiting.remove(worker);
                }
            }
            _ => {} // Of another generation: fenced.
        }
    }

    /// Moves on as far as the facts allow.
    fn advance(&mut self, now_ms: i64, out: &mut Vec<Action>) {
        if matches!(self.phase, Phase::Waiting) {
            if !self.is_adopting(now_ms, out) {
                self.try_deploy(now_ms, out);
            }
            return;
        }
        match &self.phase {
            Phase::Running => self.tend(now_ms, out),
            Phase::Cancelling { waiting, then } if waiting.is_empty() => match then.clone() {
                Then::Deploy => {
                    self.phase = Phase::Waiting;
                    self.try_deploy(now_ms, out);
                }
                Then::Finish(state) => self.finish(state, out),
            },
            Phase::Finishing { waiting, state } if waiting.is_empty() => {
                let state = *state;
                self.phase = Phase::Ended(state);
                out.push(Action::Exit(state));
            }
            _ => {}
        }
    }

    /// Whether both host tasks: the loss of others means nothing.
    fn are_hosts(&self, one: &str, other: &str) -> bool {
        let hosts = super::place::hosts(&self.deployment);
        hosts.contains(one) && hosts.contains(other)
    }

    /// Ids of all tasks deployed.
    pub(super) fn tasks(&self) -> BTreeSet<TaskId> {
        self.deployment.iter().flat_map(|stage| stage.tasks.iter().map(|placed| placed.task)).collect()
    }
}

#[cfg(test)]
mod tests;
