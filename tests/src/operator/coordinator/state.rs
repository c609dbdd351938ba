//! What such a coordinator knows of its job.
use std::collections::BTreeMap;

use millstream_api::wire::{
    CheckpointStatus, Expect, JobState, JobStatus, ProcessStatus, ReleaseRequest, RescaleRequest, RescaleState,
    RescaleStatus, SavepointRequest, StageStatus, TaskCounters, TaskStatus, WorkerStatus,
};
use millstream_runtime::clock::{Clock, SystemClock};
use millstream_runtime::coordinator::protocol::{Leaves, Reply, Request};

use super::{bare, is_up, refused};

/// Its only stage.
const STAGE: &str = "events";
/// A rescale takes this long: time enough for an operator to see it.
const RESCALE_MS: u64 = 500;

/// All of it.
pub struct State {
    job: String,
    clock: SystemClock,
    pod: Option<String>,
    state: JobState,
    generation: u64,
    parallelism: u32,
    table_version: u64,
    workers: BTreeMap<String, (u64, bool)>,
    /// With the time each began, in microseconds.
    rescales: Vec<(u64, RescaleStatus)>,
    savepoints: Vec<CheckpointStatus>,
    kept: u32,
    changes: Vec<String>,
}

impl State {
    pub fn new(job: &str) -> Self {
        Self {
            job: job.to_owned(),
            clock: SystemClock::default(),
            pod: None,
            state: JobState::WaitingForWorkers,
            generation: 0,
            parallelism: 1,
            table_version: 1,
            workers: BTreeMap::new(),
            rescales: Vec::new(),
            savepoints: Vec::new(),
            kept: 3,
            changes: Vec::new(),
        }
    }

    pub fn changes(&self) -> &[String] {
        &self.changes
    }

    /// Another pod is another process, which begins from what is in the store.
    pub fn begins(&mut self, pod: &str) {
        if self.pod.as_deref() != Some(pod) {
            self.pod = Some(pod.to_owned());
            self.generation += 1;
            (self.state, self.rescales) = (JobState::WaitingForWorkers, Vec::new());
            self.workers.clear();
            self.note("begins");
        }
    }

    pub fn registered(&mut self, workers: &[(String, u64)]) {
        let released = |name: &String, incarnation: u64| self.workers.get(name) == Some(&(incarnation, true));
        let now =
            workers.iter().map(|(name, incarnation)| (name.clone(), (*incarnation, released(name, *incarnation))));
        self.workers = now.collect();
        // It has as many tasks as before, however many pods it is given at first.
        if self.state == JobState::WaitingForWorkers && self.workers.len() >= self.parallelism as usize {
            self.state = JobState::Running;
        }
    }

    fn note(&mut self, what: impl Into<String>) {
        self.changes.push(what.into());
    }

    /// Rescales end by themselves.
    fn settle(&mut self) {
        let now_us = self.clock.now_us();
        for (since_us, rescale) in &mut self.rescales {
            if rescale.state == RescaleState::Running && now_us - *since_us >= 1_000 * RESCALE_MS {
                (rescale.state, rescale.duration_ms) = (RescaleState::Done, Some(RESCALE_MS));
                self.parallelism = rescale.to[STAGE];
                self.table_version += 1;
                self.state = JobState::Running;
            }
        }
    }

    pub fn job(&mut self) -> JobStatus {
        self.settle();
        let hosts = self.hosts();
        let workers = self.workers.iter().map(|(name, (incarnation, released))| WorkerStatus {
            id: name.clone(),
            incarnation: *incarnation,
            slots: 1,
            tasks: hosts.iter().zip(1..).filter(|(host, _)| *host == name).map(|(_, task)| task).collect(),
            released: *released,
            ..WorkerStatus::default()
        });
        JobStatus {
            name: self.job.clone(),
            state: self.state,
            error: None,
            blocked: None,
            generation: self.generation,
            term: self.generation,
            recoveries: 0,
            coordinator: ProcessStatus::default(),
            workers: workers.collect(),
            checkpoint: Some(self.checkpoint()),
            checkpoints_kept: Some(self.kept),
            restored_epoch: None,
            started_from: None,
            late_rows: 0,
            bad_records: 0,
        }
    }

    /// The worker of each task.
    fn hosts(&self) -> Vec<String> {
        let tasks = if self.state == JobState::WaitingForWorkers { 0 } else { self.parallelism as usize };
        self.workers.keys().take(tasks).cloned().collect()
    }

    pub fn stage(&mut self) -> StageStatus {
        self.settle();
        let task = |(worker, id): (String, u32)| TaskStatus {
            id,
            worker,
            counters: TaskCounters { elapsed_us: 1, idle_us: 1, ..TaskCounters::default() },
            watermark_ms: None,
            lag_records: Some(0),
            offered_per_s: None,
            key_groups: 0,
            state_bytes: 0,
            store_reads: 0,
            store_writes: 0,
            starved_us: 0,
        };
        StageStatus {
            name: STAGE.into(),
            ops: vec!["source".into(), "sink".into()],
            source: true,
            splits: Some(4),
            parallelism: self.parallelism,
            table_version: self.table_version,
            inputs: Vec::new(),
            tasks: self.hosts().into_iter().zip(1..).map(task).collect(),
            groups: Vec::new(),
        }
    }

    /// The newest. Its epoch tells how many savepoints there are.
    pub fn checkpoint(&self) -> CheckpointStatus {
        self.savepoints.last().cloned().unwrap_or_else(|| self.manifest(None, false))
    }

    fn manifest(&self, name: Option<String>, savepoint: bool) -> CheckpointStatus {
        let epoch = 1 + self.savepoints.len() as u64;
        CheckpointStatus {
            epoch,
            savepoint,
            completed_at_ms: self.clock.now_ms(),
            duration_ms: 1,
            uploaded_bytes: 0,
            state_bytes: 0,
            path: format!("s3://bucket/jobs/{epoch}"),
            name,
        }
    }

    pub fn rescales(&mut self) -> Vec<RescaleStatus> {
        self.settle();
        self.rescales.iter().rev().map(|(_, rescale)| rescale.clone()).collect()
    }

    pub fn change(&mut self, request: Request) -> Reply {
        self.settle();
        if let Request::If(expect, _) = &request
            && let Some(other) = self.differs(expect)
        {
            return refused(other);
        }
        match bare(request) {
            Request::Savepoint(request) => self.savepoint(request),
            Request::Stop(leaves) if is_up(self.state) => {
                self.note(format!("stop, leaves {leaves:?}"));
                if leaves != Leaves::Nothing {
                    self.savepoints.push(self.manifest(None, leaves == Leaves::Savepoint));
                }
                self.state = JobState::Stopped;
                Reply::Stop
            }
            Request::Release(request) => self.release(&request),
            Request::Keep(request) => {
                self.note(format!("keep {}", request.checkpoints));
                self.kept = request.checkpoints;
                Reply::Done
            }
            Request::Rescale(request) if self.state == JobState::Running => self.rescale(&request),
            other => refused(format!("the job is {:?}: no {}", self.state, name(&other))),
        }
    }

    fn differs(&self, expect: &Expect) -> Option<String> {
        let tables = [(STAGE.to_owned(), self.table_version)].into();
        let same_tables = expect.table_versions.is_empty() || expect.table_versions == tables;
        let is_same = expect.generation.is_none_or(|generation| generation == self.generation) && same_tables;
        (!is_same).then(|| format!("the job is at generation {} and tables {tables:?}", self.generation))
    }

    /// One by the same name is the same one.
    fn savepoint(&mut self, request: SavepointRequest) -> Reply {
        let known = self.savepoints.iter().find(|one| one.name.is_some() && one.name == request.name);
        if let Some(known) = known {
            return Reply::Savepoint(known.clone());
        }
        if self.state != JobState::Running {
            return refused(format!("the job is {:?}", self.state));
        }
        self.note("savepoint");
        let taken = self.manifest(request.name, true);
        self.savepoints.push(taken.clone());
        Reply::Savepoint(taken)
    }

    fn release(&mut self, request: &ReleaseRequest) -> Reply {
        let hosts = self.hosts();
        if let Some(host) = request.workers.iter().find(|worker| hosts.contains(&worker.name)) {
            return refused(format!("worker {} hosts tasks", host.name));
        }
        for worker in &request.workers {
            if self.workers.get(&worker.name) == Some(&(worker.incarnation, false)) {
                self.workers.insert(worker.name.clone(), (worker.incarnation, true));
                self.note("release");
            }
        }
        Reply::Done
    }

    fn rescale(&mut self, request: &RescaleRequest) -> Reply {
        let Some(to) = request.stages.get(STAGE).copied() else { return refused("no such stage".into()) };
        let free = self.workers.values().filter(|(_, released)| !released).count();
        if to as usize > free {
            return refused(format!("{to} tasks and {free} workers"));
        }
        self.note(format!("rescale to {to}"));
        let status = RescaleStatus {
            id: 1 + self.rescales.len() as u64,
            from: [(STAGE.to_owned(), self.parallelism)].into(),
            to: request.stages.clone(),
            ..RescaleStatus::default()
        };
        self.state = JobState::Rescaling;
        self.rescales.push((self.clock.now_us(), status.clone()));
        Reply::Rescale(Box::new(status))
    }
}

/// What is asked, in a word.
pub fn name(request: &Request) -> &'static str {
    match request {
        Request::Rescale(_) => "rescale",
        Request::CancelRescale => "cancel",
        Request::Savepoint(_) => "savepoint",
        Request::Stop(_) => "stop",
        Request::Release(_) => "release",
        Request::Keep(_) => "keep",
        Request::If(_, inner) => name(inner),
    }
}
