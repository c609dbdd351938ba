//! Messages about what is removed from the checkpoint store.
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Asks a job that is over to remove everything it has in the checkpoint store. It writes nothing there afterwards.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EraseRequest {
    /// Paths of savepoints that stay, with all they need.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keep: Vec<String>,
}

/// Asks for the end of a savepoint.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EraseSavepointRequest {
    /// Its path.
    pub path: String,
}

/// What was removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EraseStatus {
    /// Number of objects.
    pub objects: u64,
}
