//! State, checkpoints, failures, upgrades, the end.
use serde::{Deserialize, Serialize};

use crate::duration::Duration;
#[cfg(feature = "crd")]
use crate::job::bound;

/// Keyed state on the workers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
pub struct State {
    /// Where it lives.
    pub backend: Backend,
    /// Memory for caches and write buffers of one worker. It must fit in the memory limit of the worker.
    #[cfg_attr(feature = "crd", schemars(length(max = bound::AMOUNT_MAX)))]
    #[cfg_attr(feature = "crd", schemars(extend("x-kubernetes-validations" = crate::crd::rule::quantity())))]
    pub memory: String,
    /// Size of the volume of one worker.
    #[cfg_attr(feature = "crd", schemars(length(max = bound::AMOUNT_MAX)))]
    #[cfg_attr(feature = "crd", schemars(extend("x-kubernetes-validations" = crate::crd::rule::quantity())))]
    pub disk: String,
    /// Storage class of the volume, which comes and goes with its pod. If unset, the volume is the node's own disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "crd", schemars(length(min = 1, max = bound::NAME_MAX)))]
    pub storage_class_name: Option<String>,
}

impl Default for State {
    fn default() -> Self {
        Self { backend: Backend::default(), memory: "256Mi".into(), disk: "10Gi".into(), storage_class_name: None }
    }
}

/// Where keyed state lives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
pub enum Backend {
    /// On local disk, with a cache.
    #[default]
    RocksDB,
    /// On the heap.
    Memory,
}

/// Where checkpoints go: either `uri`, with what it needs, or `claimName`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "crd", schemars(extend("x-kubernetes-validations" = crate::crd::rule::store())))]
pub struct Store {
    /// A place such as `s3://bucket/prefix`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "crd", schemars(length(max = bound::PATH_MAX)))]
    pub uri: Option<String>,
    /// Endpoint of an S3-compatible server, such as `http://s3:9000`. If unset, that of AWS.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "crd", schemars(length(max = bound::PATH_MAX)))]
    pub endpoint: Option<String>,
    /// Region of the bucket.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "crd", schemars(length(min = 1, max = bound::NAME_MAX)))]
    pub region: Option<String>,
    /// Secret with the keys `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "crd", schemars(length(min = 1, max = bound::NAME_MAX)))]
    pub credentials_secret_name: Option<String>,
    /// A volume claim with access mode ReadWriteMany.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "crd", schemars(length(min = 1, max = bound::NAME_MAX)))]
    pub claim_name: Option<String>,
}

/// When checkpoints are taken and how many are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
pub struct Checkpoint {
    /// From the end of one to the start of the next.
    pub interval: Duration,
    /// When one is given up.
    pub timeout: Duration,
    /// How many are kept.
    #[cfg_attr(feature = "crd", schemars(range(min = 1, max = bound::KEEP_MAX)))]
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
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
pub struct Restart {
    /// With more than this many failures within the window, the job has failed.
    #[cfg_attr(feature = "crd", schemars(range(max = bound::FAILURES_MAX)))]
    pub max_failures: u32,
    /// Length of the window.
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
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "crd", schemars(extend("x-kubernetes-validations" = crate::crd::rule::start_from())))]
pub struct StartFrom {
    /// Where the state comes from.
    pub mode: StartMode,
    /// Name of the StreamJobSnapshot, with mode Snapshot.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "crd", schemars(length(min = 1, max = bound::NAME_MAX)))]
    pub snapshot_name: Option<String>,
    /// Path of a checkpoint or savepoint in the store, with mode Path.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "crd", schemars(length(min = 1, max = bound::PATH_MAX)))]
    pub path: Option<String>,
}

/// Where the state that a job starts with comes from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
pub enum StartMode {
    /// There is none.
    #[default]
    Empty,
    /// The newest complete checkpoint of any job of this name.
    Latest,
    /// A StreamJobSnapshot.
    Snapshot,
    /// A path in the store.
    Path,
}

/// How another version of the job takes over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
pub struct Upgrade {
    /// Time the new version has to commit its first checkpoint.
    pub health_timeout: Duration,
    /// What happens if it does not.
    pub rollback: Rollback,
    /// States that may be lost, by the stable id of their op.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "crd", schemars(length(max = bound::DROP_STATE_MAX), extend("x-kubernetes-list-type" = "set")))]
    #[cfg_attr(feature = "crd", schemars(inner(length(min = 1, max = bound::NAME_MAX))))]
    pub drop_state: Vec<String>,
}

impl Default for Upgrade {
    fn default() -> Self {
        Self { health_timeout: Duration::from_ms(300_000), rollback: Rollback::default(), drop_state: Vec::new() }
    }
}

/// What happens to a version that does not become healthy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
pub enum Rollback {
    /// The last good one comes back.
    #[default]
    Automatic,
    /// It stays.
    Never,
}

/// What becomes of checkpoints or savepoints when their object is deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
pub enum DeletionPolicy {
    /// They stay in the store.
    #[default]
    Retain,
    /// They are erased.
    Delete,
}
