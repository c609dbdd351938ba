//! Messages about workers, and what a call that changes something was decided on.
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::id::{Generation, TableVersion, TaskId};

/// One registered worker.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WorkerStatus {
    /// Stable name, such as `w0`.
    pub id: String,
    /// Operating-system process id.
    pub pid: u32,
    /// Random number drawn at each start of the process.
    pub incarnation: u64,
    /// Address of the data port.
    pub data_address: String,
    /// Address of the admin port: `/metrics` and `/healthz`.
    #[serde(default)]
    pub admin_address: String,
    /// Tasks of each stage it can host.
    #[serde(default)]
    pub slots: u32,
    /// Ids of the tasks it hosts.
    pub tasks: Vec<TaskId>,
    /// It is about to end: what it owns moves to others, and it is given nothing.
    #[serde(default)]
    pub draining: bool,
    /// It was released: nothing is placed on this incarnation any more.
    #[serde(default)]
    pub released: bool,
}

/// What a call was decided on. One that finds the job otherwise is refused with 409 and changes nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Expect {
    /// Incarnation of the task set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<Generation>,
    /// Stage name -> version of its owner table.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub table_versions: BTreeMap<String, TableVersion>,
}

impl Expect {
    /// This generation, whatever its tables.
    pub fn at(generation: Generation) -> Self {
        Self { generation: Some(generation), ..Self::default() }
    }
}

/// A worker that is to be placed on no more.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReleasedWorker {
    /// Its name.
    pub name: String,
    /// Which run of it: another start of the process is not meant.
    pub incarnation: u64,
}

/// Releases workers that host nothing, before their processes are ended. Nothing is placed on them until they register anew with
/// another incarnation. All are released, or none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReleaseRequest {
    /// Which.
    pub workers: Vec<ReleasedWorker>,
    /// Compare-and-set: refused with 409 unless the job is like this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<Expect>,
}
