//! What coordinator and workers say to each other, one JSON object a frame on the control connection.
//! Everything that acts on a task set carries its generation; a receiver ignores another generation's.
use std::collections::BTreeMap;

use millstream_api::id::{Epoch, Generation, KeyGroup, TableVersion, TaskId, Term};
use millstream_api::owner::OwnerTable;
use millstream_api::wire::TaskCounters;
use serde::{Deserialize, Serialize};

use crate::checkpoint::manifest::TaskManifest;
use crate::checkpoint::paths::ManifestId;
use crate::job::{JobSpec, Placement};
use crate::source::Split;

pub mod live;

/// Coordinator to worker.
#[allow(missing_docs, reason = "fields are named after what the variants say")]
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Command {
    /// Build the tasks of a generation that are placed on this worker, restore their state, register their inputs.
    /// Answered by `Deployed`, or `DeployFailed`. An older generation still running is cancelled first.
    Deploy(Box<Deploy>),
    /// Every worker has deployed: connect and run. No answer.
    Start { generation: Generation },
    /// Begin a checkpoint: sources inject its barrier.
    Trigger { generation: Generation, epoch: Epoch },
    /// The manifest is committed: make the epoch's output visible. Answered by `Committed`.
    Commit { generation: Generation, epoch: Epoch },
    /// The epoch will not be complete: forget its barriers. Its output is folded into the next.
    Abort { generation: Generation, epoch: Epoch },
    /// Say which tasks run. Answered by `Described`.
    Describe,
    /// The tasks of this generation go on under a new coordinator: epochs up to `through` are given up, but for the one whose manifest
    /// is stored, which is made visible if it was not. No answer.
    Adopt { generation: Generation, term: Term, stored: Option<Epoch>, through: Epoch },
    /// Stop the tasks of this generation and all before. Answered by `Cancelled`.
    Cancel { generation: Generation },
    /// Tasks `join` a running generation: `stages` and `peers` are what there will be, tables and splits what there is. Build those placed on
    /// this worker, with nothing to own; let the tasks already here wait for their channels. Answered by `Extended`, or `DeployFailed`.
    Extend { number: u64, join: Vec<TaskId>, deploy: Box<Deploy> },
    /// Every worker has been extended: connect, and start the new tasks. Answered by `Linked`.
    Link { generation: Generation },
    /// See there. Numbers of orders and extensions grow: who has heard of one has heard of all before, or joined later.
    Order { generation: Generation, number: u64, order: live::Order },
    /// The job has ended and everything is committed, or this worker drains and owns nothing: remove what is left over (`clean`), then
    /// exit. Answered by `Finished`.
    Finish { clean: bool },
    /// Nothing will be placed here any more: say so to every coordinator to come. No answer.
    Release,
}

/// A generation of a job, the same text for every worker.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Deploy {
    /// Incarnation of the task set.
    pub generation: Generation,
    /// Incarnation of the coordinator.
    pub term: Term,
    /// Random number of the job.
    pub job_id: u64,
    /// The job.
    pub job: JobSpec,
    /// First start of the job, ms since 1970.
    pub started_at_ms: i64,
    /// Of the stage graph; a worker that plans another graph refuses.
    pub fingerprint: u64,
    /// Folder of the job in the checkpoint store.
    pub prefix: String,
    /// The checkpoint to restore from.
    pub restore: Option<RestoreFrom>,
    /// By stage index.
    pub stages: Vec<StageDeployment>,
    /// Every worker that hosts a task.
    pub peers: Vec<Peer>,
}

/// A checkpoint to start from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreFrom {
    /// Root of its checkpoint store; none = the job's own.
    pub root: Option<String>,
    /// Folder of its job in there.
    pub prefix: String,
    /// Which.
    pub id: ManifestId,
}

/// The tasks of a stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageDeployment {
    /// Name of the stage.
    pub name: String,
    /// Where its tasks run.
    pub tasks: Vec<Placement>,
    /// Who owns which key group.
    pub table: OwnerTable,
    /// Splits of a source stage with their readers.
    pub splits: Vec<(TaskId, Split)>,
}

/// A worker as others reach it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Its name.
    pub name: String,
    /// Its incarnation.
    pub incarnation: u64,
    /// Address of its data port.
    pub data_address: String,
}

/// A worker introduces itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Register {
    /// Stable name.
    pub name: String,
    /// Random number of this start of the process.
    pub incarnation: u64,
    /// Operating-system process id.
    pub pid: u32,
    /// Address of its data port.
    pub data_address: String,
    /// Address of its admin port: `/metrics` and `/healthz`.
    pub admin_address: String,
    /// Tasks of each stage it can host.
    pub slots: u32,
    /// It drains, and has so much time left.
    #[serde(default)]
    pub draining_ms: Option<u64>,
    /// A coordinator has released it.
    #[serde(default)]
    pub released: bool,
}

/// Worker to coordinator.
#[allow(missing_docs, reason = "fields are named after what the variants say")]
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Report {
    /// First message of every connection.
    Register(Register),
    /// The tasks here, if any.
    Described(Option<Box<TaskSet>>),
    /// All tasks of this worker are built.
    Deployed { generation: Generation },
    /// They cannot be built.
    DeployFailed { generation: Generation, failure: Failure },
    /// A task stopped on an error.
    TaskFailed { generation: Generation, task: TaskId, failure: Failure },
    /// A task has processed all its input; it stays for the final checkpoint.
    TaskEnded { generation: Generation, task: TaskId },
    /// All tasks here know of their new channels, and the new tasks are built.
    Extended { generation: Generation },
    /// All channels to and from the new tasks are open.
    Linked { generation: Generation },
    /// A task has done its part of a hand-over.
    Moved { generation: Generation, task: TaskId, version: TableVersion, step: live::Step },
    /// A task has made its cut: the barrier has left it.
    Passed { generation: Generation, epoch: Epoch, task: TaskId },
    /// A task's cut is uploaded.
    Cut { generation: Generation, epoch: Epoch, stage: usize, task: Box<TaskManifest>, uploaded_bytes: u64 },
    /// A task's cut could not be taken or uploaded.
    CutFailed { generation: Generation, epoch: Epoch, task: TaskId, failure: CutFailure },
    /// All output of the epoch on this worker is visible.
    Committed { generation: Generation, epoch: Epoch },
    /// No task of this generation or an older one runs here any more.
    Cancelled { generation: Generation },
    /// A data connection to a peer broke.
    PeerLost { generation: Generation, peer: String, reason: String },
    /// Counters of all tasks; sent twice a second.
    Metrics { generation: Generation, tasks: Vec<TaskReport> },
    /// It is about to end: what it owns should be somewhere else before this time is over.
    Draining { left_ms: u64 },
    /// Nothing is left to do.
    Finished,
}

/// What runs on a worker whose coordinator is gone.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TaskSet {
    /// Its generation, with tasks and tables as they are now. Positions of splits are those of the beginning.
    pub deploy: Deploy,
    /// Tasks here that have processed all their input.
    pub ended: Vec<TaskId>,
    /// Highest epoch whose barrier it has heard of.
    pub epoch: Epoch,
    /// Whether all of them run, or wait to be linked, and nothing that was on its way to or from them is lost.
    pub is_whole: bool,
    /// How far it has come with rescales.
    pub progress: live::Progress,
}

/// Why something failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The whole chain of causes in one line.
    pub message: String,
    /// Whether trying again cannot help: the person who wrote the job must act.
    pub user: bool,
}

/// Why a cut is not in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CutFailure {
    /// The whole chain of causes in one line.
    pub message: String,
    /// Whether it is the store that does not answer.
    pub is_store_away: bool,
}

/// What a task has counted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskReport {
    /// The task.
    pub task: TaskId,
    /// Index of its stage.
    pub stage: usize,
    /// Counters since deployment.
    pub counters: TaskCounters,
    /// Output watermark; absent before the first.
    pub watermark_ms: Option<i64>,
    /// Events due and not taken.
    pub lag_records: Option<u64>,
    /// This task's share of the offered rate.
    pub offered_per_s: Option<f64>,
    /// Key groups owned.
    pub key_groups: u32,
    /// Bytes of keyed state.
    pub state_bytes: u64,
    /// Bytes of the key groups that have been weighed.
    pub group_bytes: BTreeMap<KeyGroup, u64>,
    /// Keys read from and written to the store.
    pub store: crate::state::Operations,
    /// Rows and bytes sent per output edge: (edge id, rows, bytes).
    pub edges: Vec<(u16, u64, u64)>,
    /// Rows sent per key group, of the output edges that are keyed: (edge id, rows by group).
    pub groups: Vec<(u16, Vec<u64>)>,
    /// Wall time that was neither on the CPU nor a wait of the three kinds, microseconds: waiting for a CPU.
    pub starved_us: u64,
}
