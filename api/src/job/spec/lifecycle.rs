//! State, checkpoints, failures, upgrades, the end.
use serde::{Deserialize, Serialize};

use crate::duration::Duration;

/// Keyed state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct State {
    /// Where it lives.
    pub backend: Backend,
    /// Memory for caches and write buffers of one worker.
    pub memory: String,
    /// Size of a worker's volume.
    pub disk: String,
    /// Class of a generic ephemeral volume; unset = emptyDir.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage_class_name: Option<String>,
}

impl Default for State {
    fn default() -> Self {
        Self { backend: Backend::default(), memory: "256Mi".into(), disk: "10Gi".into(), storage_class_name: None }
    }
}

/// Where keyed state lives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Backend {
    /// On local disk, with a cache.
    #[default]
    RocksDB,
    /// On the heap.
    Memory,
}

/// Where checkpoints go: `uri` (with the others), or `claimName`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Store {
    /// Such as `s3://bucket/prefix` or `file:///var/checkpoints`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    /// Endpoint of an S3-compatible store.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Secret with the credentials.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials_secret_name: Option<String>,
    /// A volume claim that all pods can mount.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claim_name: Option<String>,
}

/// When checkpoints are taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Checkpoint {
    /// From the end of one to the start of the next.
    pub interval: Duration,
    /// When one is given up.
    pub timeout: Duration,
    /// How many are kept.
    pub keep: u32,
}

impl Default for Checkpoint {
    fn default() -> Self {
        Self { interval: Duration::from_ms(10_000), timeout: Duration::from_ms(600_000), keep: 3 }
    }
}

/// How many failures are survived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Restart {
    /// More than this many within the window, and the job has failed.
    pub max_failures: u32,
    /// The window.
    pub window: Duration,
}

impl Default for Restart {
    fn default() -> Self {
        Self { max_failures: 10, window: Duration::from_ms(600_000) }
    }
}

/// What state the job starts with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct StartFrom {
    /// Which.
    pub mode: StartMode,
    /// With mode Snapshot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot_name: Option<String>,
    /// With mode Path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// What state a job starts with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum StartMode {
    /// None.
    #[default]
    Empty,
    /// The newest complete checkpoint of that name.
    Latest,
    /// A StreamJobSnapshot.
    Snapshot,
    /// A path in the store.
    Path,
}

/// How another version takes over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Upgrade {
    /// Time for the new version to commit its first epoch.
    pub health_timeout: Duration,
    /// What happens if it does not.
    pub rollback: Rollback,
    /// States that may be lost, by stable op id.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub drop_state: Vec<String>,
}

impl Default for Upgrade {
    fn default() -> Self {
        Self { health_timeout: Duration::from_ms(300_000), rollback: Rollback::default(), drop_state: Vec::new() }
    }
}

/// What happens to a version that does not become healthy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rollback {
    /// The last one comes back.
    #[default]
    Automatic,
    /// It stays.
    Never,
}

/// What deletion leaves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeletionPolicy {
    /// The checkpoints stay.
    #[default]
    Retain,
    /// They go.
    Delete,
}
