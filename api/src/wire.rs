//! REST messages of a job's API (served by its coordinator, versioned by the path prefix `/api/v1`).
//!
//! | method and path | body -> answer |
//! | --- | --- |
//! | GET /api/v1/job | `JobStatus` |
//! | GET /api/v1/stages | `Vec<StageStatus>`; with `?groups=true` the load of every key group, too |
//! | GET /api/v1/checkpoints | `Vec<CheckpointStatus>`, newest first |
//! | POST /api/v1/checkpoints/keep | `KeepRequest` -> `JobStatus`: so many checkpoints are kept from now on |
//! | POST /api/v1/savepoints | `SavepointRequest` -> `CheckpointStatus` when it is complete; one with a name is taken once |
//! | POST /api/v1/savepoints/erase | `EraseSavepointRequest` -> `EraseStatus`: its files go, but for what other checkpoints need |
//! | POST /api/v1/rescale | `RescaleRequest` -> `RescaleStatus` when it is accepted |
//! | POST /api/v1/rescale/cancel | -> `RescaleStatus`; 409 when there is nothing to cancel |
//! | GET /api/v1/rescales | `Vec<RescaleStatus>`, newest first; with `?id=N&batches=M` when rescale N is over or has done other than M batches, or after 2 s |
//! | POST /api/v1/workers/release | `ReleaseRequest` -> `JobStatus`: these workers are placed on no more |
//! | POST /api/v1/stop | `StopRequest` -> `JobStatus` |
//! | POST /api/v1/erase | `EraseRequest` -> `EraseStatus`: all the job has in the store; 409 unless it is over |
//! | GET /api/v1/openapi.json | the generated OpenAPI document (no token needed) |
//!
//! Every call but the last carries `Authorization: Bearer TOKEN`. Errors are `ErrorBody` with 400, 401, 404, 409 or 503.
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::id::{Epoch, Generation, KeyGroup, TableVersion, TaskId, Term};

mod erase;
mod rescale;
mod worker;

pub use erase::{EraseRequest, EraseSavepointRequest, EraseStatus};
pub use rescale::{
    Batching, GroupMove, HotGroup, RescaleBatch, RescaleEstimate, RescaleRequest, RescaleState, RescaleStatus,
    RescaleStrategy,
};
pub use worker::{Expect, ReleaseRequest, ReleasedWorker, WorkerStatus};

/// Where a job is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum JobState {
    /// Waiting for workers to register.
    WaitingForWorkers,
    /// Tasks are being placed, restored and connected.
    Deploying,
    /// Tasks run.
    Running,
    /// A restart rescale is between its savepoint and its new tasks.
    Rescaling,
    /// A task or worker was lost; the job goes back to its last checkpoint.
    Recovering,
    /// A person asked the job to stop; its savepoint is being taken.
    Stopping,
    /// The input has ended and the last epoch is committed.
    Completed,
    /// Stopped on request.
    Stopped,
    /// It cannot go on; `JobStatus::error` says why.
    Failed,
}

impl JobState {
    /// Whether the job will never run again by itself.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Stopped | Self::Failed)
    }
}

/// What a coordinator waits for, and tries again until it is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Blocked {
    /// The checkpoint store does not answer, or refuses.
    StoreUnreachable,
}

/// One process and its pid, for the local platform.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct ProcessStatus {
    /// Operating-system process id.
    pub pid: u32,
}

/// The job as a whole.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct JobStatus {
    /// Name of the job.
    pub name: String,
    /// Where it is in its life.
    pub state: JobState,
    /// Why it failed or last recovered, empty if it never did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What stands in the way of the coordinator, while something does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocked: Option<Blocked>,
    /// Incarnation of the task set.
    pub generation: Generation,
    /// Incarnation of the coordinator.
    pub term: Term,
    /// Failures survived so far by going back to a checkpoint.
    pub recoveries: u64,
    /// The coordinator's process.
    pub coordinator: ProcessStatus,
    /// Registered workers by name.
    pub workers: Vec<WorkerStatus>,
    /// Newest complete checkpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<CheckpointStatus>,
    /// How many checkpoints are kept; `None` before that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoints_kept: Option<u32>,
    /// Epoch this run was restored from, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored_epoch: Option<Epoch>,
    /// Path of the checkpoint that this job began with, if it is another job's, or one that it was told to go back to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_from: Option<String>,
    /// Rows dropped because they were later than the watermark, over all stages, since this coordinator started. Those that
    /// are read again after a failure count again.
    pub late_rows: u64,
    /// Malformed input records that `'on-error'` skipped or put aside, counted like late rows.
    pub bad_records: u64,
}

/// Counters of one task since it was deployed (they start again at 0 with a new generation). All only grow.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TaskCounters {
    /// Wall time since the task started, microseconds; busy + back-pressured + idle.
    pub elapsed_us: u64,
    /// Time working, waiting in the rate limiter included.
    pub busy_us: u64,
    /// Time waiting for credit of an output channel.
    pub backpressured_us: u64,
    /// Time waiting for input.
    pub idle_us: u64,
    /// Rows taken from input channels; for a source, rows read.
    pub records_in: u64,
    /// Rows given to output channels or to the sink.
    pub records_out: u64,
    /// Bytes taken from input channels.
    pub bytes_in: u64,
    /// Bytes given to output channels.
    pub bytes_out: u64,
    /// Rows dropped as late.
    pub late_rows: u64,
    /// Malformed records skipped or put aside.
    pub bad_records: u64,
}

/// One task of a stage.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct TaskStatus {
    /// Its id.
    pub id: TaskId,
    /// Worker that hosts it.
    pub worker: String,
    /// Counters since deployment.
    pub counters: TaskCounters,
    /// Output watermark in ms since the epoch; absent before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watermark_ms: Option<i64>,
    /// Events that are due and not yet taken by a source task; absent where the source cannot say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag_records: Option<u64>,
    /// Offered rate in records a second of a source with a schedule (this task's share).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offered_per_s: Option<f64>,
    /// Key groups owned.
    pub key_groups: u32,
    /// Bytes of keyed state, an estimate.
    pub state_bytes: u64,
    /// Keys read from the state store.
    #[serde(default)]
    pub store_reads: u64,
    /// Keys written to the state store.
    #[serde(default)]
    pub store_writes: u64,
    /// Time it wanted a CPU and had none, microseconds: part of the busy time.
    #[serde(default)]
    pub starved_us: u64,
}

/// One edge into a stage.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct EdgeStatus {
    /// Name of the stage the rows come from.
    pub from: String,
    /// How rows are spread: `hash`, `forward` or `rebalance`.
    pub partition: String,
    /// Rows sent over this edge by the present tasks of `from`.
    pub records: u64,
    /// Bytes sent over this edge.
    pub bytes: u64,
}

/// One stage with its tasks.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct StageStatus {
    /// Stable name.
    pub name: String,
    /// Names of the fused ops.
    pub ops: Vec<String>,
    /// Whether it reads a source.
    pub source: bool,
    /// Number of source splits, which bounds the parallelism of a source stage; absent elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub splits: Option<u32>,
    /// Number of tasks.
    pub parallelism: u32,
    /// Version of its owner table.
    #[serde(default)]
    pub table_version: TableVersion,
    /// Edges into it.
    pub inputs: Vec<EdgeStatus>,
    /// Tasks by id.
    pub tasks: Vec<TaskStatus>,
    /// Load by key group, of a keyed stage and only if asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<GroupLoad>,
}

/// What a key group of a stage has to bear.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GroupLoad {
    /// The group.
    pub group: KeyGroup,
    /// The task that owns it.
    pub task: TaskId,
    /// Rows sent to it over all keyed edges, a second, of late.
    pub records_per_s: f64,
}

/// How many checkpoints are to be kept from now on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeepRequest {
    /// At least 1.
    pub checkpoints: u32,
    /// Compare-and-set: refused with 409 unless the job is like this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<Expect>,
}

/// A checkpoint or savepoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CheckpointStatus {
    /// Number of its barrier.
    pub epoch: Epoch,
    /// Whether a person asked for it; savepoints are never removed.
    pub savepoint: bool,
    /// Time of completion, ms since 1970.
    pub completed_at_ms: i64,
    /// From trigger to committed manifest.
    pub duration_ms: u64,
    /// Bytes uploaded for it (new files only).
    pub uploaded_bytes: u64,
    /// Bytes of state it stands for.
    pub state_bytes: u64,
    /// Where its manifest is; `--restore` takes this.
    pub path: String,
    /// Name of the request that it was taken for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// Asks for a savepoint.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SavepointRequest {
    /// Names this request: asked again by the same name, also by another coordinator of the job, the savepoint is the same one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Compare-and-set: refused with 409 unless the job is like this. One that is taken already is told in any case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<Expect>,
}

/// Asks a job to stop.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StopRequest {
    /// Take a savepoint first, so that its path can be restored.
    #[serde(default)]
    pub savepoint: bool,
    /// The job itself goes on from that savepoint, and nobody else is promised it: it is removed as checkpoints are.
    #[serde(default)]
    pub resumes: bool,
    /// Compare-and-set: refused with 409 unless the job is like this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<Expect>,
}

/// What went wrong.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    /// One sentence a person can act on.
    pub error: String,
}
