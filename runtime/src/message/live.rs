//! What coordinator and workers say to each other while tasks come, go, and hand units over in a running generation.
use millstream_api::id::{TableVersion, TaskId};
use millstream_api::owner::OwnerTable;
use serde::{Deserialize, Serialize};

use crate::rescale::plan::Move;
use crate::source::Split;

/// Key groups of one stage that change their owner together: one version of its owner table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandOver {
    /// Index of the stage.
    pub stage: usize,
    /// Version of the owner table that has the moves in it.
    pub version: TableVersion,
    /// Who gives which groups to whom.
    pub moves: Vec<Move>,
    /// Whether a snapshot is sent ahead while the old owners serve.
    pub ahead: bool,
}

/// A split on its way to another task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MovingSplit {
    /// Its reader so far.
    pub from: TaskId,
    /// Its next reader.
    pub to: TaskId,
    /// The split with its position.
    pub split: Split,
    /// How far its event time has come; none if nothing is known.
    pub event_time_ms: Option<i64>,
}

/// Coordinator to worker, about a running generation. Each is for all workers; a worker does its part.
#[allow(missing_docs, reason = "fields are named after what the variants say")]
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Order {
    /// Receivers: these groups will come. Answered by `Awaiting`, or `Declined`, per task.
    Await(HandOver),
    /// Donors: send a snapshot ahead (`Copied`), then wait for the markers. Or `Declined`.
    Copy(HandOver),
    /// The hand-over will not happen; no router has switched. No answer.
    Drop { version: TableVersion },
    /// Routers into the stage: route by this table. Donors answer `HandedOver`, receivers `Adopted`, tasks downstream `Opened`.
    Flip { stage: usize, table: OwnerTable },
    /// Source tasks: these will be given splits and do not end before, all others as always. Answered by `Awaiting` or `Declined` by these.
    Expect { stage: usize, version: TableVersion, tasks: Vec<TaskId> },
    /// Source tasks: stop reading these splits and give them to others. Answered by `Gave` per donor, or `Declined`.
    Give { stage: usize, version: TableVersion, splits: Vec<(TaskId, u32, TaskId)> },
    /// Source tasks: read these splits as well. Answered by `Adopted`, and `Opened` downstream.
    Take { version: TableVersion, splits: Vec<MovingSplit> },
    /// These tasks own nothing any more: routers send them the end, sources among them end. Answered by `TaskEnded` per task.
    Close { stage: usize, tasks: Vec<TaskId> },
    /// These tasks have ended and take part in nothing any more; workers that are not among `peers` are left.
    Remove { tasks: Vec<TaskId>, peers: Vec<String> },
    /// The rescale is over. No answer.
    Settled,
}

/// What a task has done of a hand-over.
#[allow(missing_docs, reason = "fields are named after what the variants say")]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Step {
    /// It holds what comes for the groups.
    Awaiting,
    /// Snapshots are sent.
    Copied { bytes: u64 },
    /// It has ended, or is about to.
    Declined,
    /// Everything is sent, and dropped here.
    HandedOver { bytes: u64 },
    /// Splits it no longer reads.
    Gave { splits: Vec<MovingSplit> },
    /// It owns the units; for so long rows of the groups had to wait.
    Adopted { pause_us: u64 },
    /// It has read its last row from the old owners and goes on with the new one, `from`.
    Opened { edge: u16, from: TaskId },
}
