//! What the job's spec says about scaling, resolved.
use std::collections::BTreeMap;

use millstream_api::job::{AutoscalingMode, Settings, Spec, Strategy, StreamJob};
use millstream_api::wire::RescaleStrategy;

use crate::autoscale::{Bounds, Policy};

/// What the autoscaler may do.
pub type Mode = AutoscalingMode;

/// How long new workers may take to register, where that is not the user's to say.
const WORKERS_TIMEOUT_MS: i64 = 60_000;

/// Parallelism that a person asks for and may change while the job runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Targets {
    /// Of stages with their own.
    pub stages: BTreeMap<String, u32>,
    /// Of all others.
    pub others: u32,
}

impl Targets {
    /// Tasks a stage should have.
    pub fn of(&self, stage: &str) -> u32 {
        self.stages.get(stage).copied().unwrap_or(self.others)
    }
}

/// Everything the control loop needs to know of a spec.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// What the autoscaler may do.
    pub mode: Mode,
    /// Within what.
    pub policy: Policy,
    /// How parallelism is changed.
    pub strategy: RescaleStrategy,
    /// From one evaluation to the next.
    pub interval_ms: i64,
    /// Tasks of one stage that a worker takes.
    pub slots_per_worker: u32,
    /// Largest parallelism any stage starts with.
    pub initial_parallelism: u32,
    /// What the stages are brought to, if a person decides. `None`: nobody but the autoscaler, or a call of the job's API.
    pub targets: Option<Targets>,
    /// How long new workers may take to register before the decision that needs them is dropped.
    pub workers_timeout_ms: i64,
}

impl Plan {
    /// The plan of a valid job.
    pub fn of(job: &StreamJob, settings: &Settings) -> Self {
        let (spec, scaler) = (&job.spec, &settings.autoscaler);
        let scaling = &spec.autoscaling;
        let bounds = |stage: &millstream_api::job::Stage| Bounds {
            min: stage.min_parallelism.unwrap_or(scaling.min_parallelism),
            max: stage.max_parallelism.unwrap_or(scaling.max_parallelism),
        };
        let stages: BTreeMap<String, Bounds> =
            spec.stages.iter().map(|stage| (stage.name.clone(), bounds(stage))).collect();
        let interval_ms = scaler.interval.as_ms();
        let policy = Policy {
            target_utilization: f64::from(scaling.target_utilization_percent) / 100.0,
            dead_band: f64::from(scaler.dead_band_percent) / 100.0,
            catch_up_ms: scaler.catch_up.as_ms(),
            window_ms: scaler.window.as_ms(),
            // Samples do not come to the millisecond: a span a little short of an interval still says something.
            span_min_ms: interval_ms.min(scaler.window.as_ms()) * 4 / 5,
            warm_up_ms: scaler.warm_up.as_ms(),
            stale_ms: (3 * interval_ms).max(5_000),
            activation: scaler.activation,
            scale_down_delay_ms: scaler.scale_down_delay.as_ms(),
            lag_limit_ms: scaler.lag_limit.as_ms(),
            minor_change: f64::from(scaler.minor_change_percent) / 100.0,
            key_groups: spec.key_groups,
            rate_limits: settings.stage_records_per_second.clone(),
            rate_limit: settings.task_records_per_second,
            stages,
            others: Bounds { min: scaling.min_parallelism, max: scaling.max_parallelism },
            ..Policy::default()
        };
        let initial_parallelism =
            spec.stages.iter().filter_map(|stage| stage.parallelism).fold(spec.parallelism, u32::max);
        let strategy = match spec.rescale.strategy {
            None | Some(Strategy::Incremental) => RescaleStrategy::Incremental,
            Some(Strategy::AllAtOnce) => RescaleStrategy::AllAtOnce,
            Some(Strategy::Restart) => RescaleStrategy::Restart,
        };
        Self {
            mode: scaling.mode,
            policy,
            strategy,
            interval_ms,
            slots_per_worker: spec.slots_per_worker,
            initial_parallelism,
            targets: None,
            workers_timeout_ms: WORKERS_TIMEOUT_MS,
        }
    }

    /// The same where the spec stays in force while the job runs, and pods may have to wait for a node.
    pub fn on_pods(self, spec: &Spec) -> Self {
        let stages = spec.stages.iter().filter_map(|stage| Some((stage.name.clone(), stage.parallelism?)));
        let targets = Targets { stages: stages.collect(), others: spec.parallelism };
        Self {
            targets: (self.mode != Mode::Auto).then_some(targets),
            workers_timeout_ms: spec.rescale.pod_timeout.as_ms(),
            ..self
        }
    }

    /// Workers that hold a stage of `parallelism` tasks.
    pub fn workers(&self, parallelism: u32) -> u32 {
        parallelism.div_ceil(self.slots_per_worker.max(1)).max(1)
    }

    /// Workers to start with.
    pub fn initial_workers(&self) -> u32 {
        self.workers(self.initial_parallelism)
    }
}
