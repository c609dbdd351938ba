//! The shape of a StreamJob's spec: one set of types for files, for the custom resource and for all who read either. Doc
//! comments of fields are what `kubectl explain` and the job reference show.
use serde::{Deserialize, Serialize};

#[cfg(feature = "crd")]
use super::bound;

mod lifecycle;
mod pods;
mod scale;

pub use lifecycle::*;
pub use pods::*;
pub use scale::*;

/// What the job should be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[cfg_attr(feature = "crd", derive(kube::CustomResource, schemars::JsonSchema))]
#[cfg_attr(
    feature = "crd",
    kube(
        group = "millstream.dev",
        version = "v1alpha1",
        kind = "StreamJob",
        plural = "streamjobs",
        shortname = "sj",
        category = "millstream",
        namespaced,
        doc = "A streaming SQL job: SQL text plus settings, run by one coordinator and a set of workers.",
        derive = "PartialEq",
        status = "crate::crd::StreamJobStatus",
        validation = crate::crd::rule::job_name(),
        scale(
            spec_replicas_path = ".spec.parallelism",
            status_replicas_path = ".status.parallelism",
            label_selector_path = ".status.selector"
        ),
        printcolumn(
            name = "Ready",
            type_ = "string",
            description = "Whether all tasks run.",
            json_path = ".status.conditions[?(@.type==\"Ready\")].status"
        ),
        printcolumn(
            name = "Status",
            type_ = "string",
            description = "Why it is ready, or why not.",
            json_path = ".status.conditions[?(@.type==\"Ready\")].reason"
        ),
        printcolumn(
            name = "Parallelism",
            type_ = "integer",
            description = "Tasks of the widest stage that run.",
            json_path = ".status.parallelism"
        ),
        printcolumn(
            name = "Target",
            type_ = "integer",
            description = "Tasks the widest stage should have.",
            json_path = ".status.targetParallelism"
        ),
        printcolumn(
            name = "Lag",
            type_ = "string",
            description = "How far the job is behind its input, roughly.",
            json_path = ".status.lag"
        ),
        printcolumn(
            name = "Checkpoint",
            type_ = "date",
            description = "Age of the newest complete checkpoint.",
            json_path = ".status.checkpoint.time"
        ),
        printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
        printcolumn(
            name = "Message",
            type_ = "string",
            description = "What the job does or suffers from, in words.",
            priority = 1,
            json_path = ".status.conditions[?(@.type==\"Ready\")].message"
        )
    )
)]
#[cfg_attr(feature = "crd", schemars(extend("x-kubernetes-validations" = crate::crd::rule::spec())))]
#[cfg_attr(feature = "crd", schemars(transform = crate::crd::schema::structural))]
pub struct Spec {
    /// The SQL text, in exactly one of three ways.
    pub sql: Sql,
    /// Values for `${NAME}` in the SQL text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "crd", schemars(length(max = bound::VARIABLES_MAX), extend("x-kubernetes-list-type" = "map")))]
    #[cfg_attr(feature = "crd", schemars(extend("x-kubernetes-list-map-keys" = ["name"])))]
    pub variables: Vec<Variable>,
    /// Image of the pods. If unset, the operator's default at that time, which then stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "crd", schemars(length(min = 1, max = bound::IMAGE_MAX)))]
    pub image: Option<String>,
    /// When nodes pull the image.
    #[serde(default)]
    pub image_pull_policy: ImagePullPolicy,
    /// Secrets with credentials for the image's registry.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "crd", schemars(length(max = bound::PULL_SECRETS_MAX)))]
    #[cfg_attr(feature = "crd", schemars(extend("x-kubernetes-list-type" = "map")))]
    #[cfg_attr(feature = "crd", schemars(extend("x-kubernetes-list-map-keys" = ["name"])))]
    pub image_pull_secrets: Vec<LocalReference>,
    /// Service account of the pods. If unset, one is made for the job. Its token is never mounted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "crd", schemars(length(min = 1, max = bound::NAME_MAX)))]
    pub service_account_name: Option<String>,
    /// Tuning, by names of the settings in the reference.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "crd", schemars(length(max = bound::SETTINGS_MAX), extend("x-kubernetes-list-type" = "map")))]
    #[cfg_attr(feature = "crd", schemars(extend("x-kubernetes-list-map-keys" = ["name"])))]
    pub settings: Vec<Setting>,
    /// Number of key groups, the units in which keyed state moves. No stage can have more tasks. It cannot be changed.
    #[serde(default = "default_key_groups")]
    #[cfg_attr(feature = "crd", schemars(range(min = 1, max = bound::KEY_GROUPS_MAX)))]
    #[cfg_attr(feature = "crd", schemars(extend("x-kubernetes-validations" = crate::crd::rule::key_groups())))]
    pub key_groups: u32,
    /// Tasks of every stage without its own entry in `stages`. With autoscaling mode Auto, the number it starts with.
    #[serde(default = "one")]
    #[cfg_attr(feature = "crd", schemars(range(min = 1, max = bound::KEY_GROUPS_MAX)))]
    pub parallelism: u32,
    /// Stages with their own parallelism or bounds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "crd", schemars(length(max = bound::STAGES_MAX), extend("x-kubernetes-list-type" = "map")))]
    #[cfg_attr(feature = "crd", schemars(extend("x-kubernetes-list-map-keys" = ["name"])))]
    pub stages: Vec<Stage>,
    /// Tasks of each stage that a worker takes. A job has as many workers as its widest stage needs.
    #[serde(default = "one")]
    #[cfg_attr(feature = "crd", schemars(range(min = 1, max = bound::SLOTS_MAX)))]
    pub slots_per_worker: u32,
    /// Whether the parallelism follows the load, and within what.
    #[serde(default)]
    pub autoscaling: Autoscaling,
    /// How the parallelism of a running job changes.
    #[serde(default)]
    pub rescale: Rescale,
    /// Keyed state on the workers.
    #[serde(default)]
    pub state: State,
    /// Where checkpoints go. If unset, on the local platform, the job's working directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<Store>,
    /// When checkpoints are taken and how many are kept.
    #[serde(default)]
    pub checkpoint: Checkpoint,
    /// How many failures are survived.
    #[serde(default)]
    pub restart: Restart,
    /// What state the job starts with. Acts at its first start, and when the value changes.
    #[serde(default)]
    pub start_from: StartFrom,
    /// How another version of the job takes over.
    #[serde(default)]
    pub upgrade: Upgrade,
    /// Whether the job is stopped, with a savepoint, until this is false again.
    #[serde(default)]
    pub suspend: bool,
    /// What becomes of the checkpoints when the job is deleted.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
    /// The pods of the workers.
    #[serde(default)]
    pub worker: Worker,
    /// The pod of the coordinator.
    #[serde(default)]
    pub coordinator: Coordinator,
}

/// The SQL text: exactly one field is given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "crd", schemars(extend("x-kubernetes-validations" = crate::crd::rule::sql())))]
pub struct Sql {
    /// The text itself, at most 128 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "crd", schemars(length(max = bound::SQL_BYTES_MAX)))]
    pub inline: Option<String>,
    /// A key of a ConfigMap. A change of it counts as a change of the job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map: Option<KeyReference>,
    /// A file in the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "crd", schemars(length(min = 1, max = bound::PATH_MAX)))]
    pub image_path: Option<String>,
}

/// One key of a named object in the job's namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
pub struct KeyReference {
    /// Name of the object.
    #[cfg_attr(feature = "crd", schemars(length(min = 1, max = bound::NAME_MAX)))]
    pub name: String,
    /// Key in it.
    #[cfg_attr(feature = "crd", schemars(length(min = 1, max = bound::NAME_MAX)))]
    pub key: String,
}

/// A named object in the job's namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
pub struct LocalReference {
    /// Name of the object.
    #[cfg_attr(feature = "crd", schemars(length(min = 1, max = bound::NAME_MAX)))]
    pub name: String,
}

/// A value for `${NAME}` in the SQL text: either `value` or `secretKeyRef`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "crd", schemars(extend("x-kubernetes-validations" = crate::crd::rule::variable())))]
pub struct Variable {
    /// Its name: letters, digits and `_`, not beginning with a digit.
    #[cfg_attr(feature = "crd", schemars(length(max = bound::VARIABLE_NAME_MAX)))]
    pub name: String,
    /// The value itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "crd", schemars(length(max = bound::VARIABLE_VALUE_MAX)))]
    pub value: Option<String>,
    /// A key of a Secret. Only the pods read it; it is never shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<KeyReference>,
}

/// One setting, by its name in the reference.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
pub struct Setting {
    /// A name of the reference, such as `batch.rows`.
    #[cfg_attr(feature = "crd", schemars(length(min = 1, max = bound::NAME_MAX)))]
    pub name: String,
    /// Its value as text.
    #[cfg_attr(feature = "crd", schemars(length(max = bound::SETTING_VALUE_MAX)))]
    pub value: String,
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
            image_pull_policy: ImagePullPolicy::default(),
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
