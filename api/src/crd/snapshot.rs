//! A savepoint as an object.
#![allow(clippy::duplicated_attributes, reason = "columns of the same type are not duplicates")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use serde::{Deserialize, Serialize};

use super::SnapshotResult;
use crate::job::{DeletionPolicy, Store, bound};

/// Asks for a savepoint of a job. It outlives the job: it has no owner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, kube::CustomResource, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[kube(
    group = "millstream.dev",
    version = "v1alpha1",
    kind = "StreamJobSnapshot",
    plural = "streamjobsnapshots",
    shortname = "sjs",
    category = "millstream",
    namespaced,
    doc = "A savepoint of a StreamJob: asked for by creating it, and restorable at any parallelism by its name.",
    derive = "PartialEq",
    status = "StreamJobSnapshotStatus",
    printcolumn(name = "Job", type_ = "string", description = "The job.", json_path = ".spec.jobName"),
    printcolumn(
        name = "Result",
        type_ = "string",
        description = "What became of the savepoint.",
        json_path = ".status.result"
    ),
    printcolumn(
        name = "Status",
        type_ = "string",
        description = "Why it is complete, or why not.",
        json_path = ".status.conditions[?(@.type==\"Completed\")].reason"
    ),
    printcolumn(name = "Epoch", type_ = "integer", description = "Its epoch.", json_path = ".status.epoch"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Path",
        type_ = "string",
        description = "Where it is in the store.",
        priority = 1,
        json_path = ".status.path"
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        description = "What it waits for or suffers from, in words.",
        priority = 1,
        json_path = ".status.conditions[?(@.type==\"Completed\")].message"
    )
)]
#[schemars(transform = super::schema::structural)]
pub struct StreamJobSnapshotSpec {
    /// Name of the StreamJob in the same namespace. It cannot be changed.
    #[schemars(length(min = 1, max = bound::JOB_NAME_MAX))]
    #[schemars(extend("x-kubernetes-validations" = super::rule::snapshot_job()))]
    pub job_name: String,
    /// What becomes of the savepoint when this object is deleted.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
}

/// Where a savepoint is, as `spec.store` of its job said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct SnapshotStore {
    /// A place such as `s3://bucket/prefix`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    /// Endpoint of an S3-compatible server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Region of the bucket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Secret with credentials.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials_secret_name: Option<String>,
    /// A volume claim.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claim_name: Option<String>,
}

impl From<Store> for SnapshotStore {
    fn from(store: Store) -> Self {
        let Store { uri, endpoint, region, credentials_secret_name, claim_name } = store;
        Self { uri, endpoint, region, credentials_secret_name, claim_name }
    }
}

impl From<SnapshotStore> for Store {
    fn from(store: SnapshotStore) -> Self {
        let SnapshotStore { uri, endpoint, region, credentials_secret_name, claim_name } = store;
        Self { uri, endpoint, region, credentials_secret_name, claim_name }
    }
}

/// What became of the savepoint.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(transform = super::schema::structural)]
pub struct StreamJobSnapshotStatus {
    /// Generation of the spec that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// What holds of the savepoint and why: Accepted, Completed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Whether there is a savepoint; unset until that is certain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<SnapshotResult>,
    /// Path of the savepoint in the store.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Its epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
    /// Bytes of keyed state it holds, an estimate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_bytes: Option<u64>,
    /// The store that the path is in. It is known here so that the savepoint can be erased when its job is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<SnapshotStore>,
    /// Uid of the job it is of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job_uid: Option<String>,
    /// Name of the job's revision that wrote it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// When it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    /// When it was complete, or given up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Time>,
}
