//! What a StreamJob is: applied and observed, never intended.
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use serde::{Deserialize, Serialize};

use super::{OperationKind, OperationStep, Reason};

/// What the job is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(transform = super::schema::structural)]
pub struct StreamJobStatus {
    /// Generation of the spec that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// What holds of the job and why: Accepted, Ready, Rescaling, CheckpointsHealthy, AutoscalingActive, Completed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Tasks of the widest stage that run; what the scale sub-resource reads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parallelism: Option<u32>,
    /// Tasks the widest stage should have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_parallelism: Option<u32>,
    /// Label selector of the worker pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// Worker pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workers: Option<WorkerCount>,
    /// Stages with their parallelism.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1024), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub stages: Vec<StageStatus>,
    /// The version that runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<RevisionStatus>,
    /// The spec that was refused, if the newest one was. The last good version goes on meanwhile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rejected: Option<Rejected>,
    /// What is being done to the job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<Operation>,
    /// How far the job is behind its input, in coarse steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag: Option<String>,
    /// The newest complete checkpoint. Its time moves at most once a minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<CheckpointStatus>,
    /// The state that this job started with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_from: Option<String>,
    /// What the autoscaler wants, or would do in mode Advise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recommendation: Option<Recommendation>,
    /// The newest failure, also when it is overcome.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<Failure>,
    /// The installation that looks after this job, as namespace/name. Another one leaves it alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operator: Option<String>,
}

/// Worker pods.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkerCount {
    /// How many are ready.
    pub ready: u32,
    /// How many there should be.
    pub desired: u32,
}

/// One stage.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StageStatus {
    /// Its stable name.
    pub name: String,
    /// Tasks that run.
    pub parallelism: u32,
    /// Tasks it should have.
    pub target: u32,
}

/// A version of the job: a ControllerRevision and the objects applied from it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RevisionStatus {
    /// Name of its ControllerRevision.
    pub name: String,
    /// Generation of the spec it was made from.
    pub generation: i64,
    /// Image its pods run.
    pub image: String,
}

/// A spec that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rejected {
    /// Its generation. It is tried again once another spec has been asked for in between, or the restart annotation changes.
    pub generation: i64,
    /// Why.
    pub reason: Reason,
    /// In words.
    pub message: String,
}

/// What is being done to the job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Operation {
    /// What.
    pub kind: OperationKind,
    /// How far it is.
    pub step: OperationStep,
    /// Since when.
    pub started_at: Time,
}

/// A complete checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CheckpointStatus {
    /// Its epoch.
    pub epoch: u64,
    /// When it was complete.
    pub time: Time,
    /// Its path in the store, for `startFrom`.
    pub path: String,
}

/// What the autoscaler wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Recommendation {
    /// Tasks of the widest stage.
    pub parallelism: u32,
    /// Why, as its decision says.
    pub reason: String,
    /// When it came to that.
    pub time: Time,
}

/// A failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// When.
    pub time: Time,
    /// Of which pod, if of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// Why.
    pub reason: Reason,
    /// In words.
    pub message: String,
}
