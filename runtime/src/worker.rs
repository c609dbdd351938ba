//! A worker: a process that hosts tasks. [`Worker`] is its logic without threads: commands and task events in, reports out;
//! `run` is the shell around it.
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use millstream_api::id::{Epoch, Generation, KeyGroup, TableVersion, TaskId, Term};

use crate::checkpoint::manifest::TaskManifest;
use crate::checkpoint::store::CheckpointStore;
use crate::clock::Clock;
use crate::exchange::Wake;
use crate::job::JobSpec;
use crate::message::live::Step;
use crate::message::{Command, CutFailure, Deploy, Failure, Report};
use crate::random::Random;
use crate::sink::Committable;
use crate::source::Split;
use crate::state::disk::Disk;
use crate::state::{Backend, Cut};

mod adopt;
pub mod build;
mod failure;
pub mod host;
pub mod inputs;
pub mod limit;
mod live;
pub mod meter;
mod metrics;
pub mod output;
pub mod report;
pub mod run;
pub mod task;
pub mod upload;

use build::{Deployment, Hubs};
pub use failure::Failed;
use task::{Change, Task};

/// What a worker tells a task. Followed by a wake.
pub enum TaskCommand {
    /// Begin a checkpoint, if the task has no input that brings the barrier.
    Trigger(Epoch),
    /// The epoch's manifest is stored.
    Commit(Epoch),
    /// The epoch is given up.
    Abort(Epoch),
    /// There is a new coordinator, and the epochs up to this one are given up.
    Adopt(Term, Epoch),
    /// Stop.
    Cancel,
    /// Channels come or go, or units change their owner.
    Change(Box<Change>),
}

/// What a task tells its worker.
#[allow(missing_docs, reason = "fields are named after what the variants say")]
#[derive(Debug)]
pub enum TaskEvent {
    /// Its cut is taken, not uploaded yet.
    Cut(Box<TaskCut>),
    /// Its output of the epoch is visible.
    Committed { task: TaskId, epoch: Epoch },
    /// It has processed all its input.
    Ended { task: TaskId },
    /// It knows of its new channels.
    Linked { task: TaskId },
    /// It has done its part of a hand-over, and owns these groups now.
    Moved { task: TaskId, version: TableVersion, step: Step, groups: Vec<KeyGroup> },
    /// It stopped on an error.
    Failed { task: TaskId, failure: Failure },
}

/// A task's part of a checkpoint.
#[derive(Debug)]
pub struct TaskCut {
    /// The task.
    pub task: TaskId,
    /// Number of the barrier.
    pub epoch: Epoch,
    /// Groups it owns.
    pub groups: Vec<KeyGroup>,
    /// Groups that are on their way to it, of which some may be in the files.
    pub arriving: Vec<KeyGroup>,
    /// Files of keyed state.
    pub cut: Cut,
    /// Where they are.
    pub folder: PathBuf,
    /// By op id.
    pub operator_state: BTreeMap<String, serde_json::Value>,
    /// Source splits with their positions.
    pub splits: Vec<Split>,
    /// Output written and not visible.
    pub committables: Vec<Committable>,
    /// Whether the task has processed all its input.
    pub ended: bool,
}

/// What a worker takes in.
#[allow(missing_docs, reason = "fields are named after what the variants say")]
#[derive(Debug)]
pub enum Event {
    /// The coordinator says something.
    Command(Command),
    /// A task of this generation says something.
    Task(Generation, TaskEvent),
    /// A cut is uploaded, or cannot be.
    Uploaded { generation: Generation, epoch: Epoch, task: TaskId, result: Result<Uploaded, CutFailure> },
    /// A data connection broke.
    PeerLost { generation: Generation, peer: String, reason: String },
    /// Send the counters.
    Measure,
}

/// A cut in the store.
#[derive(Debug)]
pub struct Uploaded {
    /// Its part of the manifest.
    pub manifest: TaskManifest,
    /// Bytes that had to be sent.
    pub bytes: u64,
}

/// Runs tasks: threads in production, a scheduler in simulation.
pub trait Host: Send {
    /// What wakes a task that will be started.
    fn wake(&mut self, task: TaskId) -> Arc<dyn Wake>;
    /// Runs a task until it stops; its failure goes to `Event::Task`.
    fn start(&mut self, generation: Generation, task: Task);
    /// Returns when no task runs any more; all have been told to stop.
    fn join(&mut self);
}

/// Runs jobs that wait for disk or network, off the worker's own thread.
pub trait Background: Send + Sync {
    /// Runs it some time.
    fn run(&self, job: Box<dyn FnOnce() + Send>);
}

/// Opens a checkpoint store by its root.
pub type OtherStore = Box<dyn Fn(&str) -> Result<Arc<dyn CheckpointStore>, String> + Send>;

/// Opens the state backend of a job.
pub type OpenBackend = Box<dyn Fn(&JobSpec) -> Result<Arc<dyn Backend>, String> + Send>;

/// What a worker needs of the world.
pub struct Doors {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Identities.
    pub random: Arc<dyn Random>,
    /// Files of this worker.
    pub disk: Arc<dyn Disk>,
    /// Checkpoints of this job.
    pub store: Arc<dyn CheckpointStore>,
    /// Opens another checkpoint store by its root, to restore from.
    pub other_store: OtherStore,
    /// Opens the state backend of a job; asked once.
    pub backend: OpenBackend,
    /// Makes the exchange of a generation.
    pub hubs: Box<dyn Hubs>,
    /// Runs tasks.
    pub host: Box<dyn Host>,
    /// Runs uploads.
    pub background: Arc<dyn Background>,
    /// Folder of this worker: state, and cuts kept for local recovery.
    pub folder: PathBuf,
    /// Where tasks, uploads and connections send what they have to say.
    pub events: Sender<Event>,
}

/// See the module.
pub struct Worker {
    name: String,
    doors: Doors,
    backend: Option<Arc<dyn Backend>>,
    current: Option<Deployment>,
    uploads: upload::Ledger,
    linking: Option<live::Linking>,
    finished: bool,
}

impl Worker {
    /// A worker without tasks.
    pub fn new(name: String, doors: Doors) -> Self {
        Self {
            name,
            doors,
            backend: None,
            current: None,
            uploads: upload::Ledger::default(),
            linking: None,
            finished: false,
        }
    }

    /// Whether the job is over and the process may exit.
    pub fn is_finished(&self) -> bool {
        self.finished
    }

    /// Takes in one event and says what the coordinator must know.
    pub fn on(&mut self, event: Event) -> Vec<Report> {
        match event {
            Event::Command(command) => self.obey(command),
            Event::Task(generation, event) if self.runs(generation) => self.heard(generation, event),
            Event::Uploaded { generation, epoch, task, result } if self.runs(generation) => {
                vec![self.uploaded(generation, epoch, task, result)]
            }
            Event::PeerLost { generation, peer, reason } if self.runs(generation) => {
                self.peer_lost(generation, peer, reason)
            }
            Event::Measure => self.current.as_ref().map(report::measure).into_iter().collect(),
            _ => Vec::new(), // Of a generation that is over.
        }
    }

    /// What the worker exports to Prometheus.
    pub fn metrics(&self) -> String {
        let Some(current) = &self.current else { return String::new() };
        match report::measure(current) {
            Report::Metrics { tasks, .. } => metrics::text(&current.deploy, &tasks),
            _ => String::new(),
        }
    }

    fn runs(&self, generation: Generation) -> bool {
        self.current.as_ref().is_some_and(|current| current.generation == generation)
    }

    fn obey(&mut self, command: Command) -> Vec<Report> {
        match command {
            Command::Deploy(deploy) => self.deploy(&deploy),
            Command::Start { generation } if self.runs(generation) => self.start(generation),
            Command::Extend { number, join, deploy } => self.extend((number, join), &deploy),
            Command::Link { generation } if self.runs(generation) => self.link(generation),
            Command::Order { generation, number, order } if self.runs(generation) => {
                self.order(generation, number, order)
            }
            Command::Trigger { generation, epoch } if self.runs(generation) => {
                self.note(|standing| standing.epoch = standing.epoch.max(epoch));
                self.tell(|| TaskCommand::Trigger(epoch))
            }
            Command::Abort { generation, epoch } if self.runs(generation) => self.tell(|| TaskCommand::Abort(epoch)),
            Command::Commit { generation, epoch } if self.runs(generation) => self.commit(epoch),
            Command::Describe => vec![Report::Described(self.describe().map(Box::new))],
            Command::Adopt { generation, term, stored, through } if self.runs(generation) => {
                self.adopt(term, stored, through)
            }
            Command::Cancel { generation } => {
                if self.current.as_ref().is_some_and(|current| current.generation <= generation) {
                    self.cancel();
                }
                vec![Report::Cancelled { generation }]
            }
            Command::Finish { clean } => {
                let result = self.current.as_ref().filter(|_| clean).map_or(Ok(()), Deployment::clean);
                self.cancel();
                self.finished = true;
                if let Err(reason) = result {
                    tracing::warn!("cannot remove left-over output: {reason}");
                }
                vec![Report::Finished]
            }
            _ => Vec::new(), // Of a generation that is over: fenced.
        }
    }

    fn commit(&mut self, epoch: Epoch) -> Vec<Report> {
        let current = self.current.as_mut();
        let waiting: BTreeSet<TaskId> = current.iter().flat_map(|current| current.tasks.keys().copied()).collect();
        if let Some(current) = current {
            current.committing = Some((epoch, waiting));
        }
        if let Some(current) = &self.current {
            self.uploads.committed(epoch, current.deploy.term, &self.doors);
        }
        self.tell(|| TaskCommand::Commit(epoch))
    }

    fn tell(&mut self, command: impl Fn() -> TaskCommand) -> Vec<Report> {
        if let Some(current) = &self.current {
            current.tell(command);
        }
        Vec::new()
    }

    fn cancel(&mut self) {
        self.linking = None;
        if let Some(current) = self.current.take() {
            current.tell(|| TaskCommand::Cancel);
            current.close();
            self.doors.hubs.retire(current.generation);
            self.doors.host.join();
            self.uploads.close(&self.doors);
        }
    }

    fn deploy(&mut self, deploy: &Deploy) -> Vec<Report> {
        let generation = deploy.generation;
        if self.current.as_ref().is_some_and(|current| current.generation >= generation) {
            return Vec::new();
        }
        self.cancel();
        let built = self.backend_of(&deploy.job).and_then(|backend| {
            let parts = (deploy, false);
            let prepared = build::prepare(&self.name, parts, &backend, &mut self.doors, &mut self.uploads);
            prepared.map_err(|Failed(failure)| failure)
        });
        match built {
            Ok(deployment) => {
                self.current = Some(deployment);
                vec![Report::Deployed { generation }]
            }
            Err(failure) => vec![Report::DeployFailed { generation, failure }],
        }
    }

    fn backend_of(&mut self, job: &JobSpec) -> Result<Arc<dyn Backend>, Failure> {
        if let Some(backend) = &self.backend {
            return Ok(Arc::clone(backend));
        }
        let backend = (self.doors.backend)(job).map_err(|message| Failure { message, user: false })?;
        self.backend = Some(Arc::clone(&backend));
        Ok(backend)
    }

    fn start(&mut self, generation: Generation) -> Vec<Report> {
        let Some(current) = &mut self.current else { return Vec::new() };
        match current.connect(&mut self.doors) {
            Ok(tasks) => {
                current.standing.started = true;
                for task in tasks {
                    self.doors.host.start(generation, task);
                }
                Vec::new()
            }
            Err(Failed(failure)) => {
                let task = current.tasks.keys().next().copied().unwrap_or_default();
                vec![Report::TaskFailed { generation, task, failure }]
            }
        }
    }

    fn heard(&mut self, generation: Generation, event: TaskEvent) -> Vec<Report> {
        match event {
            TaskEvent::Failed { task, failure } => {
                self.note(|standing| standing.broken = true);
                vec![Report::TaskFailed { generation, task, failure }]
            }
            // What was counted until then goes first, so that the last status of a job has it all.
            TaskEvent::Ended { task } => {
                self.note(|standing| {
                    standing.ended.insert(task);
                });
                let counted = self.current.as_ref().map(report::measure);
                counted.into_iter().chain([Report::TaskEnded { generation, task }]).collect()
            }
            TaskEvent::Committed { task, epoch } => {
                let Some(current) = &mut self.current else { return Vec::new() };
                if !current.committed(task, epoch) {
                    return Vec::new();
                }
                vec![report::measure(current), Report::Committed { generation, epoch }]
            }
            TaskEvent::Linked { task } => self.linked(task),
            TaskEvent::Moved { task, version, step, groups } => {
                if let Some(running) = self.current.as_mut().and_then(|current| current.tasks.get_mut(&task)) {
                    running.groups = groups;
                }
                self.note(|standing| standing.progress.did(task, version, step.clone()));
                vec![Report::Moved { generation, task, version, step }]
            }
            TaskEvent::Cut(cut) => {
                let (task, epoch) = (cut.task, cut.epoch);
                if let Some(current) = &self.current {
                    self.uploads.begin(&self.name, current, *cut, &self.doors);
                }
                vec![Report::Passed { generation, epoch, task }]
            }
        }
    }
}
