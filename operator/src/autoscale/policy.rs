//! What the user allows and wants.
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Least and most tasks of a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounds {
    /// Least.
    pub min: u32,
    /// Most.
    pub max: u32,
}

/// Everything a recommendation depends on besides the window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    /// Share of its time a task should work, 0 to 1.
    pub target_utilization: f64,
    /// By how much the need may exceed the present capacity before a stage grows. Keeps a stage at the edge of a whole
    /// number from going back and forth.
    pub dead_band: f64,
    /// Time in which a backlog should be gone.
    pub catch_up_ms: i64,
    /// How long a rescale stops the job, measured; a stage shrinks only if it could catch that up as well.
    pub restart_ms: i64,
    /// Length of the measurement.
    pub window_ms: i64,
    /// Shortest measurement that says anything.
    pub span_min_ms: i64,
    /// Time after a new task set that is not measured.
    pub warm_up_ms: i64,
    /// Age at which the newest sample no longer counts.
    pub stale_ms: i64,
    /// Consecutive recommendations to grow before it is done.
    pub activation: u32,
    /// How long all recommendations must agree on less before a stage shrinks.
    pub scale_down_delay_ms: i64,
    /// Nothing shrinks while the backlog is worth more than this much input.
    pub lag_limit_ms: i64,
    /// Shrinking by a smaller share than this is not worth a rescale.
    pub minor_change: f64,
    /// Key groups of the job.
    pub key_groups: u32,
    /// Configured limits in rows a second and task, by stage: what a task did not have to wait for yet still binds it.
    pub rate_limits: BTreeMap<String, f64>,
    /// Limit of all other stages.
    pub rate_limit: Option<f64>,
    /// Bounds of stages with their own entry.
    pub stages: BTreeMap<String, Bounds>,
    /// Bounds of all others.
    pub others: Bounds,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            target_utilization: 0.8,
            dead_band: 0.1,
            catch_up_ms: 30_000,
            restart_ms: 2_000,
            window_ms: 10_000,
            span_min_ms: 4_000,
            warm_up_ms: 5_000,
            stale_ms: 15_000,
            activation: 2,
            scale_down_delay_ms: 60_000,
            lag_limit_ms: 2_000,
            minor_change: 0.1,
            key_groups: 256,
            rate_limits: BTreeMap::new(),
            rate_limit: None,
            stages: BTreeMap::new(),
            others: Bounds { min: 1, max: 1 },
        }
    }
}

impl Policy {
    /// Bounds of `stage`.
    pub fn bounds(&self, stage: &str) -> Bounds {
        self.stages.get(stage).copied().unwrap_or(self.others)
    }

    /// Rows a second that one task of `stage` can take, measured as `true_rate`.
    pub fn capacity(&self, stage: &str, true_rate: f64) -> f64 {
        self.rate_limits.get(stage).copied().or(self.rate_limit).map_or(true_rate, |limit| limit.min(true_rate))
    }
}
