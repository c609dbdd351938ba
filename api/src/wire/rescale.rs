//! Messages about rescales.
use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Expect;
use crate::id::{KeyGroup, TableVersion, TaskId};

/// How a rescale gets from one owner table to the next.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RescaleStrategy {
    /// Live: key groups move in batches while everything else goes on.
    #[default]
    Incremental,
    /// Live, all key groups in one batch: what a partial pause costs, to compare with.
    AllAtOnce,
    /// Savepoint, stop, redeploy, restore.
    Restart,
}

/// How many key groups a live rescale moves at a time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Batching {
    /// Each task is part of at most one transfer of as many bytes as the pauses seen so far allow.
    #[default]
    Auto,
    /// One key group, then the next.
    Fluid,
    /// Each task gives or takes one key group.
    Batched,
}

/// Asks for other parallelisms, or other owners or workers at the same parallelism.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RescaleRequest {
    /// Stage name -> tasks. Stages that are not named stay as they are.
    #[serde(default)]
    pub stages: BTreeMap<String, u32>,
    /// How.
    #[serde(default)]
    pub strategy: RescaleStrategy,
    /// Compare-and-set: refused with 409 unless the job is like this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<Expect>,
    /// Stage name -> the task that is to own each key group, in the order of the groups. Without an entry the coordinator
    /// computes the table.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tables: BTreeMap<String, Vec<TaskId>>,
    /// Stages whose key groups are to be spread by the load measured, at the same parallelism.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rebalance: Vec<String>,
    /// Workers that are to host nothing any more, by name: as many tasks begin on others, and take over what theirs own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub vacate: Vec<String>,
    /// How many key groups move at a time; of the strategy `incremental` only.
    #[serde(default)]
    pub batch: Batching,
    /// Change nothing: the answer is in state `planned` and has an estimate.
    #[serde(default)]
    pub dry_run: bool,
}

/// Where a rescale is in its life.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RescaleState {
    /// The answer to a dry run: nothing was changed.
    Planned,
    /// Under way.
    #[default]
    Running,
    /// What was asked for is reached.
    Done,
    /// Ended on request before that; what had moved by then stays where it is.
    Cancelled,
    /// Ended by something else; `RescaleStatus::reason` says what.
    Failed,
}

impl RescaleState {
    /// Whether it changes no more.
    pub fn is_final(self) -> bool {
        self != Self::Running
    }

    /// As it is serialised, for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Running => "running",
            Self::Done => "done",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
        }
    }
}

/// What a rescale is expected to take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RescaleEstimate {
    /// Key groups that change their owner.
    pub groups: u32,
    /// The least number any balanced owner tables would move.
    pub groups_min: u32,
    /// Bytes of state that move with them.
    pub bytes: u64,
    /// Bytes of the least number of groups, each of the mean size.
    pub bytes_min: u64,
    /// From the request until all is done.
    pub duration_ms: u64,
    /// Longest time a key group is held.
    pub pause_ms: u64,
}

/// Key groups that went from one task to another together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GroupMove {
    /// Owner before.
    pub from: TaskId,
    /// Owner after.
    pub to: TaskId,
    /// Which, ascending.
    pub groups: Vec<KeyGroup>,
    /// How long rows of these groups were held at most.
    pub pause_ms: u64,
}

/// One step of a live rescale: key groups of one stage that changed their owners as one version of its table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RescaleBatch {
    /// The stage.
    pub stage: String,
    /// Version of its owner table from then on.
    pub version: TableVersion,
    /// Who gave what to whom.
    pub moves: Vec<GroupMove>,
    /// Bytes of state sent, changes behind the snapshot included.
    pub bytes: u64,
    /// When it began, ms since 1970.
    pub started_at_ms: i64,
    /// For how long snapshots were sent while the old owners served.
    pub copy_ms: u64,
    /// From the order to switch until the groups were settled at their new owners.
    pub flip_ms: u64,
}

/// A key group with more load than any task of its stage should have.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HotGroup {
    /// The stage.
    pub stage: String,
    /// The group.
    pub group: KeyGroup,
    /// Its part of the stage's load, from 0 to 1.
    pub share: f64,
}

impl fmt::Display for HotGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stage, group, share } = self;
        let percent = share * 100.0;
        write!(
            f,
            "key group {group} alone has {percent:.0} % of the load of {stage}: a single hot key, or several that share the "
        )?;
        f.write_str("group; no table spreads it")
    }
}

/// A rescale, running or past.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RescaleStatus {
    /// Grows by one per rescale of a job; 0 for a dry run.
    pub id: u64,
    /// How.
    pub strategy: RescaleStrategy,
    /// Stage name -> tasks before.
    pub from: BTreeMap<String, u32>,
    /// Stage name -> tasks asked for.
    pub to: BTreeMap<String, u32>,
    /// Where it is.
    pub state: RescaleState,
    /// What is being done, in one line for people; empty when there is nothing to say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub step: String,
    /// Time of the request, ms since 1970.
    pub requested_at_ms: i64,
    /// From the request until all is done; absent before that, and for good if it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// Key groups of all stages whose owner changed.
    pub groups_moved: u32,
    /// The least number any balanced owner tables would have moved.
    pub groups_moved_min: u32,
    /// Batches settled.
    #[serde(default)]
    pub batches_done: u32,
    /// Batches planned, as far as known; it may change, since batches follow the pauses seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batches: Option<u32>,
    /// Bytes of state sent from task to task.
    #[serde(default)]
    pub bytes_moved: u64,
    /// Longest time a key group was held at its new owner; absent before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause_ms_max: Option<u64>,
    /// Median of these times.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause_ms_p50: Option<u64>,
    /// Key groups that alone are more than a fair share of their stage's load, if that was asked to be spread: no table spreads
    /// what a single hot key, or a few that share a group, bring.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hot: Vec<HotGroup>,
    /// The last batches settled, oldest first; at most [`RescaleStatus::HISTORY`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<RescaleBatch>,
    /// Workers that it empties because they are draining; nobody asked for it otherwise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drains: Vec<String>,
    /// Why it failed or was cancelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What it was expected to take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimate: Option<RescaleEstimate>,
}

impl RescaleStatus {
    /// So many batches are remembered of each rescale: enough to see how one went, not enough to fill a page.
    pub const HISTORY: usize = 64;
}
