//! The shape of a StreamJob. Field for field what the custom resource has.
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::duration::Duration;

mod lifecycle;
mod pods;

pub use lifecycle::*;
pub use pods::*;

/// The only API version.
pub const API_VERSION: &str = "millstream.dev/v1alpha1";
/// The kind of a job.
pub const KIND: &str = "StreamJob";

/// SQL text plus settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StreamJob {
    /// `millstream.dev/v1alpha1`.
    pub api_version: String,
    /// `StreamJob`.
    pub kind: String,
    /// Its name.
    pub metadata: Metadata,
    /// What it should be.
    pub spec: Spec,
}

/// Who it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Metadata {
    /// Unique in its namespace.
    pub name: String,
    /// Namespace; means nothing on the local platform.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Annotations, `millstream.dev/restart` among them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// What the job should be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Spec {
    /// The SQL text, in one of three ways.
    pub sql: Sql,
    /// Values for `${NAME}` in the SQL.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub variables: Vec<Variable>,
    /// Image of the pods; unset = the operator's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// When the image is pulled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_pull_policy: Option<ImagePullPolicy>,
    /// Secrets of the registry.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub image_pull_secrets: Vec<LocalReference>,
    /// Account of the pods; unset = one made for the job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account_name: Option<String>,
    /// Tuning, by names of the settings catalogue.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub settings: Vec<Setting>,
    /// Number of key groups, for good.
    #[serde(default = "default_key_groups")]
    pub key_groups: u32,
    /// Tasks of every stage without its own entry.
    #[serde(default = "one")]
    pub parallelism: u32,
    /// Stages with their own parallelism or bounds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<Stage>,
    /// Tasks of one stage that a worker takes.
    #[serde(default = "one")]
    pub slots_per_worker: u32,
    /// Whether and within what the parallelism follows the load.
    #[serde(default)]
    pub autoscaling: Autoscaling,
    /// How parallelism changes.
    #[serde(default)]
    pub rescale: Rescale,
    /// Keyed state.
    #[serde(default)]
    pub state: State,
    /// Where checkpoints go; unset = the working directory on the local platform.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<Store>,
    /// When checkpoints are taken.
    #[serde(default)]
    pub checkpoint: Checkpoint,
    /// How many failures are survived.
    #[serde(default)]
    pub restart: Restart,
    /// What state the job starts with.
    #[serde(default)]
    pub start_from: StartFrom,
    /// How another version takes over.
    #[serde(default)]
    pub upgrade: Upgrade,
    /// Stopped with a savepoint until it is false again.
    #[serde(default)]
    pub suspend: bool,
    /// What deletion leaves.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
    /// Worker pods.
    #[serde(default)]
    pub worker: Worker,
    /// The coordinator's pod.
    #[serde(default)]
    pub coordinator: Coordinator,
}

/// Exactly one of its fields is given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Sql {
    /// The text itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inline: Option<String>,
    /// A key of a ConfigMap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map: Option<KeyReference>,
    /// A file in the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_path: Option<String>,
}

/// One key of a named object.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeyReference {
    /// Name of the object.
    pub name: String,
    /// Key in it.
    pub key: String,
}

/// A named object.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LocalReference {
    /// Name of the object.
    pub name: String,
}

/// A value for `${NAME}` in the SQL: either `value` or `secretKeyRef`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// The value itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// A key of a Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<KeyReference>,
}

/// One setting; see [`setting::CATALOGUE`](super::setting::CATALOGUE).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Setting {
    /// A name of the catalogue.
    pub name: String,
    /// Its value as text.
    pub value: String,
}

/// A stage with its own parallelism or bounds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Stage {
    /// Stable name, as `millstream explain` shows it.
    pub name: String,
    /// Tasks at the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parallelism: Option<u32>,
    /// Least tasks the autoscaler may choose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_parallelism: Option<u32>,
    /// Most tasks the autoscaler may choose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_parallelism: Option<u32>,
}

/// Whether and within what the parallelism follows the load.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Autoscaling {
    /// Off, only advice, or on.
    pub mode: AutoscalingMode,
    /// Least tasks of stages without their own bounds.
    pub min_parallelism: u32,
    /// Most tasks of stages without their own bounds.
    pub max_parallelism: u32,
    /// Share of its time a task should work.
    pub target_utilization_percent: u32,
}

impl Default for Autoscaling {
    fn default() -> Self {
        Self {
            mode: AutoscalingMode::default(),
            min_parallelism: 1,
            max_parallelism: 16,
            target_utilization_percent: 80,
        }
    }
}

/// What the autoscaler may do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum AutoscalingMode {
    /// Nothing.
    #[default]
    Off,
    /// Say what it would do.
    Advise,
    /// Do it.
    Auto,
}

/// How parallelism changes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Rescale {
    /// The way; unset = `Incremental`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strategy: Option<Strategy>,
    /// How long new pods may stay unscheduled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_timeout: Option<Duration>,
}

/// Ways from one owner table to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Strategy {
    /// Live, a few key groups at a time.
    Incremental,
    /// Live, everything in one batch.
    AllAtOnce,
    /// Savepoint, stop, redeploy, restore.
    Restart,
}

fn one() -> u32 {
    1
}

fn default_key_groups() -> u32 {
    256
}

impl Default for Spec {
    /// What a manifest without any field but `sql` means.
    fn default() -> Self {
        Self {
            sql: Sql::default(),
            variables: Vec::new(),
            image: None,
            image_pull_policy: None,
            image_pull_secrets: Vec::new(),
            service_account_name: None,
            settings: Vec::new(),
            key_groups: default_key_groups(),
            parallelism: one(),
            stages: Vec::new(),
            slots_per_worker: one(),
            autoscaling: Autoscaling::default(),
            rescale: Rescale::default(),
            state: State::default(),
            store: None,
            checkpoint: Checkpoint::default(),
            restart: Restart::default(),
            start_from: StartFrom::default(),
            upgrade: Upgrade::default(),
            suspend: false,
            deletion_policy: DeletionPolicy::default(),
            worker: Worker::default(),
            coordinator: Coordinator::default(),
        }
    }
}

impl StreamJob {
    /// A job that is nothing but SQL text.
    pub fn from_sql(name: &str, sql: String) -> Self {
        Self {
            api_version: API_VERSION.to_owned(),
            kind: KIND.to_owned(),
            metadata: Metadata { name: name.to_owned(), ..Metadata::default() },
            spec: Spec { sql: Sql { inline: Some(sql), ..Sql::default() }, ..Spec::default() },
        }
    }
}
