//! What was decided, and everything it was decided from.
use serde::{Deserialize, Serialize};

use super::capacity::effective;

/// Why a stage gets the parallelism it gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reason {
    /// The offered rate asks for more.
    RateStep,
    /// A source is held back and cannot say what is offered: more until it is not.
    BackPressure,
    /// The rate alone would be met, its backlog in time would not.
    Backlog,
    /// Less is enough, also after the pause of a rescale.
    Underused,
    /// The parallelism is outside the bounds.
    OutOfBounds,
    /// It needs more than it may have.
    AtMaximum,
    /// One task is saturated though the stage is not: its keys weigh more. More tasks would not help; key groups are spread by
    /// their load instead.
    Skew,
    /// The rescale before made things worse.
    Undone,
    /// Less would be enough, but the backlog comes first.
    Lagging,
    /// Less would be enough, by so little that it is not worth a rescale.
    MinorChange,
    /// Nothing to measure: no action.
    NoInformation,
    /// The task set is too young: no action.
    WarmUp,
    /// It is as it should be.
    Steady,
}

/// What kept a stage from exactly the number of tasks it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Binding {
    /// Key groups or source splits are indivisible.
    Units,
    /// There are no more key groups or splits.
    UnitsExhausted,
    /// The least the user allows.
    Minimum,
    /// The most the user allows.
    Maximum,
}

/// Every term of the formula `need = (steady / target + backlog / catch-up) / true rate`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Inputs {
    /// Records a second offered to all sources.
    pub offered_per_s: f64,
    /// Records due and not taken, all sources.
    pub lag_records: f64,
    /// Rows a second asked of the stage.
    pub steady_per_s: Option<f64>,
    /// Rows of backlog that will reach the stage.
    pub backlog_rows: Option<f64>,
    /// Seconds in which the backlog should be gone.
    pub catch_up_s: f64,
    /// Seconds a rescale stops the job.
    pub restart_s: f64,
    /// Rows a second the stage took.
    pub observed_per_s: f64,
    /// Rows a second of useful time one task takes, its configured limit at most.
    pub true_rate_per_task: Option<f64>,
    /// Wanted share of busy time.
    pub target_utilization: f64,
    /// Tasks needed, fractional.
    pub need: Option<f64>,
    /// Key groups (or splits, for a source) the tasks share.
    pub units: Option<u32>,
    /// Least tasks allowed.
    pub min: u32,
    /// Most tasks allowed.
    pub max: u32,
    /// Mean busy share of the tasks.
    pub busy: f64,
    /// Busy share of the busiest task.
    pub busiest: f64,
    /// Mean back-pressured share.
    pub backpressured: f64,
    /// Mean idle share.
    pub idle: f64,
}

impl Inputs {
    /// What `tasks` tasks should lead to.
    pub fn expectation(&self, tasks: u32) -> Expectation {
        let (Some(rate), Some(steady), Some(backlog)) = (self.true_rate_per_task, self.steady_per_s, self.backlog_rows)
        else {
            return Expectation::default();
        };
        let capacity = effective(tasks, self.units) * rate;
        let spare = capacity - steady;
        Expectation {
            utilization: (capacity > 0.0).then(|| (steady / capacity).min(1.0)),
            caught_up_s: (spare > 0.0).then(|| (backlog + steady * self.restart_s) / spare),
        }
    }
}

/// What should be seen once the decision is in force; if it is not, the model was wrong.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Expectation {
    /// Busy share with the backlog gone.
    pub utilization: Option<f64>,
    /// Seconds until the backlog, that of the rescale's pause included, is gone; absent if it never is.
    pub caught_up_s: Option<f64>,
}

/// One decision to change a stage; with as many tasks as before ([`Reason::Skew`]), who of them owns what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// When, ms since 1970.
    pub at_ms: i64,
    /// Of which stage.
    pub stage: String,
    /// Tasks before.
    pub from: u32,
    /// Tasks after.
    pub to: u32,
    /// Why.
    pub reason: Reason,
    /// What limited it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binding: Option<Binding>,
    /// From what.
    pub inputs: Inputs,
    /// What it should lead to.
    pub expects: Expectation,
    /// All of this in one line.
    pub explanation: String,
}
