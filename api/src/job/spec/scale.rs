//! How many tasks there are, and what changes that.
use serde::{Deserialize, Serialize};

use crate::duration::Duration;
#[cfg(feature = "crd")]
use crate::job::bound;

/// A stage with its own parallelism or bounds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
pub struct Stage {
    /// Stable name, as `millstream explain` shows it.
    #[cfg_attr(feature = "crd", schemars(length(min = 1, max = bound::NAME_MAX)))]
    pub name: String,
    /// Tasks of this stage. With autoscaling mode Auto, the number it starts with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "crd", schemars(range(min = 1, max = bound::KEY_GROUPS_MAX)))]
    pub parallelism: Option<u32>,
    /// Least tasks the autoscaler may choose. If unset, that of `autoscaling`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "crd", schemars(range(min = 1, max = bound::KEY_GROUPS_MAX)))]
    pub min_parallelism: Option<u32>,
    /// Most tasks the autoscaler may choose. If unset, that of `autoscaling`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "crd", schemars(range(min = 1, max = bound::KEY_GROUPS_MAX)))]
    pub max_parallelism: Option<u32>,
}

/// Whether the parallelism follows the load, and within what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "crd", schemars(extend("x-kubernetes-validations" = crate::crd::rule::autoscaling())))]
pub struct Autoscaling {
    /// What the autoscaler may do. Quote "Off": kubectl reads the bare word as false.
    pub mode: AutoscalingMode,
    /// Least tasks of stages without their own bounds.
    #[cfg_attr(feature = "crd", schemars(range(min = 1, max = bound::KEY_GROUPS_MAX)))]
    pub min_parallelism: u32,
    /// Most tasks of stages without their own bounds.
    #[cfg_attr(feature = "crd", schemars(range(min = 1, max = bound::KEY_GROUPS_MAX)))]
    pub max_parallelism: u32,
    /// Share of its time that a task should work, in percent.
    #[cfg_attr(feature = "crd", schemars(range(min = 1, max = 100)))]
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
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
pub enum AutoscalingMode {
    /// Nothing.
    #[default]
    Off,
    /// Say what it would do.
    Advise,
    /// Do it.
    Auto,
}

/// How the parallelism of a running job changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
pub struct Rescale {
    /// The way from one owner table to the next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strategy: Option<Strategy>,
    /// How long new pods may stay unscheduled before the job goes on without them.
    pub pod_timeout: Duration,
}

impl Default for Rescale {
    fn default() -> Self {
        Self { strategy: Some(Strategy::default()), pod_timeout: Duration::from_ms(600_000) }
    }
}

/// Ways from one owner table to the next.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
pub enum Strategy {
    /// Live, a few key groups at a time.
    #[default]
    Incremental,
    /// Live, everything in one batch.
    AllAtOnce,
    /// Savepoint, stop, redeploy, restore.
    Restart,
}
