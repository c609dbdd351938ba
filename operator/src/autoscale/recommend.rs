//! From a window to a parallelism for every stage.
use serde::{Deserialize, Serialize};

use super::capacity::{effective, least_tasks};
use super::decision::{Binding, Inputs, Reason};
use super::ds2;
use super::estimate::{StageEstimate, estimate};
use super::policy::Policy;
use super::window::{Blind, Window};

/// Busy share from which a single task counts as saturated.
const SATURATED: f64 = 0.95;
/// Back-pressured share of a source that counts as held back.
const HELD_BACK: f64 = 0.1;

/// What the window and the policy say about one stage, regardless of what was said before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageRecommendation {
    /// Its name.
    pub stage: String,
    /// Tasks now.
    pub from: u32,
    /// Tasks it should have.
    pub to: u32,
    /// Why.
    pub reason: Reason,
    /// What limited it.
    pub binding: Option<Binding>,
    /// From what.
    pub inputs: Inputs,
}

/// A recommendation for all stages at once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recommendation {
    /// When, ms since 1970.
    pub at_ms: i64,
    /// Per stage, in the order of the job.
    pub stages: Vec<StageRecommendation>,
}

/// The pure heart: the same window, policy and time always give the same answer.
pub fn recommend(window: &Window, policy: &Policy, now_ms: i64) -> Recommendation {
    let stages = match window.span(policy, now_ms) {
        Err(blind) => window
            .last()
            .map(|sample| &sample.stages[..])
            .unwrap_or_default()
            .iter()
            .map(|stage| {
                let tasks = u32::try_from(stage.tasks.len()).unwrap_or(u32::MAX);
                hold(&stage.name, tasks, blind, policy)
            })
            .collect(),
        Ok(span) => {
            let estimates = estimate(&span);
            let sources: Vec<bool> = span.last.stages.iter().map(|stage| stage.source).collect();
            let job = Job::of(&estimates, &sources);
            let pairs = estimates.iter().zip(&sources);
            pairs.map(|(estimate, source)| judge(estimate, *source, &job, policy)).collect()
        }
    };
    Recommendation { at_ms: now_ms, stages }
}

/// Facts that concern every stage.
struct Job {
    offered_per_s: f64,
    lag_records: f64,
    held_back: bool,
}

impl Job {
    fn of(estimates: &[StageEstimate], sources: &[bool]) -> Self {
        let sum = |term: fn(&StageEstimate) -> Option<f64>| {
            estimates.iter().zip(sources).filter(|(_, source)| **source).filter_map(|(stage, _)| term(stage)).sum()
        };
        let mut sources = estimates.iter().zip(sources).filter(|(_, source)| **source);
        Self {
            offered_per_s: sum(|stage| stage.steady_per_s),
            lag_records: sum(|stage| stage.backlog),
            held_back: sources.any(|(stage, _)| stage.backpressured > HELD_BACK),
        }
    }

    fn lags(&self, policy: &Policy) -> bool {
        self.lag_records > self.offered_per_s * seconds(policy.lag_limit_ms)
    }
}

fn seconds(ms: i64) -> f64 {
    ms as f64 / 1e3
}

fn hold(stage: &str, tasks: u32, blind: Blind, policy: &Policy) -> StageRecommendation {
    let bounds = policy.bounds(stage);
    let reason = match blind {
        Blind::WarmUp => Reason::WarmUp,
        Blind::TooShort | Blind::Stale => Reason::NoInformation,
    };
    StageRecommendation {
        stage: stage.to_owned(),
        from: tasks,
        to: tasks,
        reason,
        binding: None,
        inputs: Inputs { min: bounds.min, max: bounds.max, ..Inputs::default() },
    }
}

/// A number of tasks that carries `need`, and what kept it from being the exact ceiling.
fn fit(need: f64, units: Option<u32>, min: u32, max: u32) -> (u32, bool, Option<Binding>) {
    let ceiling = ds2::tasks(need);
    let fitting = least_tasks(need, units);
    let wanted = fitting.unwrap_or_else(|| units.unwrap_or(ceiling).max(1));
    let (to, short) = (wanted.clamp(min, max), fitting.is_none() || wanted > max);
    let binding = if wanted > max {
        Some(Binding::Maximum)
    } else if fitting.is_none() {
        Some(Binding::UnitsExhausted)
    } else if wanted < min {
        Some(Binding::Minimum)
    } else if to > ceiling {
        Some(Binding::Units)
    } else {
        None
    };
    (to, short, binding)
}

fn judge(stage: &StageEstimate, source: bool, job: &Job, policy: &Policy) -> StageRecommendation {
    let bounds = policy.bounds(&stage.name);
    let units = if source { stage.splits } else { stage.keyed.then_some(policy.key_groups) };
    let max = bounds.max.min(units.unwrap_or(u32::MAX)).max(1);
    let min = bounds.min.clamp(1, max);
    let from = stage.parallelism;
    let need = Need::of(stage, policy);
    let mut said = StageRecommendation {
        stage: stage.name.clone(),
        from,
        to: from,
        reason: Reason::NoInformation,
        binding: None,
        inputs: inputs(stage, job, policy, (min, max, units)),
    };
    said.inputs.need = need.as_ref().map(|need| need.now);
    if from < min || from > max {
        said.to = from.clamp(min, max);
        said.reason = Reason::OutOfBounds;
        said.binding = Some(if from < min { Binding::Minimum } else { Binding::Maximum });
    } else if let Some(need) = &need {
        (said.to, said.reason, said.binding) = weigh(stage, need, job, policy, (min, max, units));
    }
    said
}

fn weigh(
    stage: &StageEstimate,
    need: &Need,
    job: &Job,
    policy: &Policy,
    (min, max, units): (u32, u32, Option<u32>),
) -> (u32, Reason, Option<Binding>) {
    let from = stage.parallelism;
    let capacity = effective(from, units);
    // On average its tasks would do, and one of them cannot keep up: more tasks would leave its keys where they are.
    let skewed = stage.keyed && from > 1 && stage.busiest > SATURATED && stage.busy < policy.target_utilization;
    if skewed && need.steady <= capacity {
        return (from, Reason::Skew, None);
    }
    let (up, short, up_binding) = fit(need.now, units, min, max);
    let (down, _, down_binding) = fit(need.calm, units, min, max);
    if need.now > capacity * (1.0 + policy.dead_band) && up >= from {
        let reason = if up == from && short {
            Reason::AtMaximum
        } else if up == from {
            Reason::Steady
        } else if need.steady <= capacity {
            Reason::Backlog
        } else if job.held_back && job.lag_records == 0.0 {
            Reason::BackPressure
        } else {
            Reason::RateStep
        };
        return (up, reason, up_binding);
    }
    if down < from {
        return if job.lags(policy) {
            (from, Reason::Lagging, None)
        } else if f64::from(from - down) < policy.minor_change * f64::from(from) {
            (from, Reason::MinorChange, None)
        } else {
            (down, Reason::Underused, down_binding)
        };
    }
    (from, Reason::Steady, None)
}

/// Tasks a stage needs, by what is counted.
struct Need {
    /// For the steady rate at the target utilisation.
    steady: f64,
    /// And the backlog in time.
    now: f64,
    /// And the pause of one rescale.
    calm: f64,
}

impl Need {
    fn of(stage: &StageEstimate, policy: &Policy) -> Option<Self> {
        let rate = policy.capacity(&stage.name, stage.true_rate?);
        let (steady, backlog) = (stage.steady_per_s?, stage.backlog?);
        let catch_up_s = seconds(policy.catch_up_ms);
        let pause = steady * seconds(policy.restart_ms);
        let carried = steady / policy.target_utilization;
        Some(Self {
            steady: ds2::parallelism(carried, rate)?,
            now: ds2::parallelism(carried + backlog / catch_up_s, rate)?,
            calm: ds2::parallelism(carried + (backlog + pause) / catch_up_s, rate)?,
        })
    }
}

fn inputs(stage: &StageEstimate, job: &Job, policy: &Policy, (min, max, units): (u32, u32, Option<u32>)) -> Inputs {
    Inputs {
        offered_per_s: job.offered_per_s,
        lag_records: job.lag_records,
        steady_per_s: stage.steady_per_s,
        backlog_rows: stage.backlog,
        catch_up_s: seconds(policy.catch_up_ms),
        restart_s: seconds(policy.restart_ms),
        observed_per_s: stage.observed_per_s,
        true_rate_per_task: stage.true_rate.map(|rate| policy.capacity(&stage.name, rate)),
        target_utilization: policy.target_utilization,
        need: None,
        units,
        min,
        max,
        busy: stage.busy,
        busiest: stage.busiest,
        backpressured: stage.backpressured,
        idle: stage.idle,
    }
}
