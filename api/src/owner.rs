//! Owner tables: key group -> task id.
use serde::{Deserialize, Serialize};

use crate::id::{KeyGroup, TableVersion, TaskId};

/// The only truth about who owns which key group of a stage. One per stage, governing all its keyed inputs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnerTable {
    /// Grows with every change of the table.
    pub version: TableVersion,
    /// `owners[group]` is the task that owns the group; as long as the job has key groups.
    pub owners: Vec<TaskId>,
}

impl OwnerTable {
    /// The groups that `task` owns, ascending.
    pub fn groups_of(&self, task: TaskId) -> Vec<KeyGroup> {
        (0u16..).zip(&self.owners).filter(|(_, owner)| **owner == task).map(|(group, _)| group).collect()
    }
}
