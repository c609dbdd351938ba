//! What concerns only pods.
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// When an image is pulled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ImagePullPolicy {
    /// Each time.
    Always,
    /// If the node has none.
    IfNotPresent,
    /// Never.
    Never,
}

/// Worker pods.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Worker {
    /// Requests and limits, as Kubernetes has them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<Value>,
    /// Time to drain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub termination_grace_period_seconds: Option<u32>,
    /// Merged into the pod template.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_template: Option<Value>,
}

/// The coordinator's pod.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Coordinator {
    /// Requests and limits, as Kubernetes has them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<Value>,
    /// Merged into the pod template.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_template: Option<Value>,
}
