//! From counters to rates: what each stage did over a window.
use std::collections::BTreeMap;

use millstream_api::wire::{StageStatus, TaskStatus};
use serde::Serialize;

use super::ds2::{self, Demand, Node};
use super::window::Span;

/// Back-pressured share of a source's time from which its observed rate no longer says what is offered.
const SOURCE_BLOCKED: f64 = 0.1;
/// Least unblocked share assumed when a blocked source's rate is corrected: one decision asks for at most 20 times more.
const SOURCE_FREE_MIN: f64 = 0.05;

/// What one stage did, and what is asked of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StageEstimate {
    /// Its name.
    pub name: String,
    /// Its tasks.
    pub parallelism: u32,
    /// Source splits that bound it.
    pub splits: Option<u32>,
    /// Whether rows are routed to its tasks by key group.
    pub keyed: bool,
    /// Rows a second of useful time a task takes; `None` if no task did anything.
    pub true_rate: Option<f64>,
    /// Rows a second all tasks took.
    pub observed_per_s: f64,
    /// Share of time working, mean over tasks.
    pub busy: f64,
    /// Share of time waiting for credit.
    pub backpressured: f64,
    /// Share of time waiting for input.
    pub idle: f64,
    /// Share of time working of the busiest task.
    pub busiest: f64,
    /// Rows a second asked of it if everything before it keeps up; `None` if unknown. `catch_up` is the backlog in rows here
    /// (of all sources, in this stage's rows); the policy divides it by its catch-up time.
    pub steady_per_s: Option<f64>,
    /// Rows of backlog that will reach it.
    pub backlog: Option<f64>,
}

/// Estimates for every stage, in the order of the samples.
pub fn estimate(span: &Span<'_>) -> Vec<StageEstimate> {
    let measured: Vec<Measured<'_>> = span
        .last
        .stages
        .iter()
        .zip(&span.first.stages)
        .map(|(now, then)| Measured { now, then, seconds: (span.last.at_ms - span.first.at_ms) as f64 / 1e3 })
        .collect();
    let order = topological(&span.last.stages);
    let place: BTreeMap<usize, usize> = order.iter().enumerate().map(|(place, stage)| (*stage, place)).collect();
    let nodes: Vec<Node> = order.iter().map(|stage| measured[*stage].node(&measured, &place)).collect();
    let demands = ds2::demands(&nodes);
    measured
        .iter()
        .enumerate()
        .map(|(stage, measured)| {
            let demand = place.get(&stage).and_then(|place| demands.get(*place).copied().flatten());
            measured.estimate(demand)
        })
        .collect()
}

/// One stage at both ends of the span.
struct Measured<'a> {
    now: &'a StageStatus,
    then: &'a StageStatus,
    seconds: f64,
}

impl Measured<'_> {
    fn grown(&self, counter: impl Fn(&TaskStatus) -> u64) -> u64 {
        let sum = |stage: &StageStatus| stage.tasks.iter().map(&counter).sum::<u64>();
        sum(self.now).saturating_sub(sum(self.then))
    }

    /// Growth of a time counter over growth of wall time, per task.
    fn shares(&self, counter: impl Fn(&TaskStatus) -> u64) -> Vec<f64> {
        let pairs = self.now.tasks.iter().zip(&self.then.tasks);
        pairs
            .filter_map(|(now, then)| {
                let elapsed = now.counters.elapsed_us.saturating_sub(then.counters.elapsed_us);
                (elapsed > 0).then(|| (counter(now).saturating_sub(counter(then))) as f64 / elapsed as f64)
            })
            .collect()
    }

    /// Rows a second all tasks took, by each task's own clock: its counters may be a heartbeat older than the sample.
    fn observed_per_s(&self) -> f64 {
        let pairs = self.now.tasks.iter().zip(&self.then.tasks).map(|(now, then)| (&now.counters, &then.counters));
        pairs
            .map(|(now, then)| {
                (now.records_in.saturating_sub(then.records_in), now.elapsed_us.saturating_sub(then.elapsed_us))
            })
            .filter(|(_, elapsed_us)| *elapsed_us > 0)
            .map(|(records, elapsed_us)| records as f64 * 1e6 / elapsed_us as f64)
            .sum()
    }

    fn node(&self, all: &[Measured<'_>], place: &BTreeMap<usize, usize>) -> Node {
        if self.now.source {
            return Node { external: self.external(), inputs: Vec::new() };
        }
        let inputs = self.now.inputs.iter().enumerate().map(|(edge, input)| {
            let from = all.iter().position(|stage| stage.now.name == input.from);
            let ratio = from.and_then(|from| {
                let taken = all[from].grown(|task| task.counters.records_in);
                let before = self.then.inputs.get(edge).map_or(0, |edge| edge.records);
                (taken > 0 && input.records >= before).then(|| (input.records - before) as f64 / taken as f64)
            });
            (from.and_then(|from| place.get(&from).copied()).unwrap_or(usize::MAX), ratio)
        });
        Node { external: Demand::default(), inputs: inputs.collect() }
    }

    /// Demand on a source: what its schedule offers; else what it took plus how fast its lag grows; else what it would have
    /// taken had it not been blocked.
    fn external(&self) -> Demand {
        let lag = |stage: &StageStatus| {
            stage.tasks.iter().map(|task| task.lag_records.map(|lag| lag as f64)).sum::<Option<f64>>()
        };
        let offered = self.now.tasks.iter().map(|task| task.offered_per_s).sum::<Option<f64>>();
        let observed = self.observed_per_s();
        let blocked = mean(&self.shares(|task| task.counters.backpressured_us));
        let steady = match (offered, lag(self.now), lag(self.then)) {
            (Some(offered), _, _) => offered,
            (None, Some(now), Some(then)) => observed + (now - then).max(0.0) / self.seconds,
            _ if blocked > SOURCE_BLOCKED => observed / (1.0 - blocked).max(SOURCE_FREE_MIN),
            _ => observed,
        };
        Demand { steady, catch_up: lag(self.now).unwrap_or(0.0) }
    }

    fn estimate(&self, demand: Option<Demand>) -> StageEstimate {
        let work: Vec<(u64, u64)> = self
            .now
            .tasks
            .iter()
            .zip(&self.then.tasks)
            .map(|(now, then)| (&now.counters, &then.counters))
            .map(|(now, then)| {
                (now.records_in.saturating_sub(then.records_in), now.busy_us.saturating_sub(then.busy_us))
            })
            .collect();
        let busy = self.shares(|task| task.counters.busy_us);
        StageEstimate {
            name: self.now.name.clone(),
            parallelism: u32::try_from(self.now.tasks.len()).unwrap_or(u32::MAX),
            splits: self.now.splits,
            keyed: self.now.inputs.iter().any(|input| input.partition == "hash"),
            true_rate: ds2::mean_rate(&work),
            observed_per_s: self.observed_per_s(),
            busy: mean(&busy),
            backpressured: mean(&self.shares(|task| task.counters.backpressured_us)),
            idle: mean(&self.shares(|task| task.counters.idle_us)),
            busiest: busy.into_iter().fold(0.0, f64::max),
            steady_per_s: demand.map(|demand| demand.steady),
            backlog: demand.map(|demand| demand.catch_up),
        }
    }
}

fn mean(values: &[f64]) -> f64 {
    if values.is_empty() { 0.0 } else { values.iter().sum::<f64>() / values.len() as f64 }
}

/// Stages such that each comes after those it reads from. Stages on a cycle, or behind one, are left out.
fn topological(stages: &[StageStatus]) -> Vec<usize> {
    let mut order: Vec<usize> = Vec::with_capacity(stages.len());
    let mut placed = vec![false; stages.len()];
    // Each round places at least one stage or stops: at most as many rounds as stages.
    for _ in 0..stages.len() {
        let ready: Vec<usize> = (0..stages.len())
            .filter(|stage| !placed[*stage])
            .filter(|stage| {
                stages[*stage].inputs.iter().all(|input| order.iter().any(|s| stages[*s].name == input.from))
            })
            .collect();
        if ready.is_empty() {
            break;
        }
        for stage in ready {
            placed[stage] = true;
            order.push(stage);
        }
    }
    order
}
