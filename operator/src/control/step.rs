//! One turn of the loop, without a side effect.
use std::collections::BTreeMap;

use millstream_api::wire::{
    Expect, JobState, JobStatus, RescaleRequest, RescaleState, RescaleStatus, RescaleStrategy, StageStatus,
    WorkerStatus,
};

use super::crew::{registered, trailing, vacate};
use super::memory::{Memory, Pending};
use super::plan::{Mode, Plan};
use super::report::{Event, JobSample, Report, StageSample};
use crate::autoscale::estimate::estimate;
use crate::autoscale::window::Span;
use crate::autoscale::{Policy, Sample, recommend};
use crate::platform::Observed;

/// How long a rescale that the job does not show may keep the loop from deciding anew.
const RESCALE_TIMEOUT_MS: i64 = 120_000;
/// How long a task set must have run before workers it does not need are stopped.
const SETTLED_MS: i64 = 3_000;

/// A target that the job refused is not asked for again before this.
const REFUSED_MS: i64 = 30_000;

/// Samples the rates of a report are taken over.
const RECENT_SAMPLES: usize = 3;

/// What to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Have exactly this many workers.
    EnsureWorkers(u32),
    /// Ask the job for other parallelisms.
    Rescale(RescaleRequest),
    /// Tell the world.
    Report(Box<Report>),
}

/// One turn: what was observed and what is remembered in, what to do out.
pub fn step(observed: &Observed, plan: &Plan, memory: &mut Memory, now_ms: i64) -> Vec<Action> {
    let mut actions = Vec::new();
    let tell = |event| Action::Report(Box::new(Report { at_ms: now_ms, event }));
    let Some(job) = &observed.job else {
        let sample = JobSample { workers_desired: observed.workers_desired, ..JobSample::default() };
        actions.push(tell(Event::Sample(sample)));
        return actions;
    };
    let sample = Sample { at_ms: now_ms, generation: job.generation, stages: observed.stages.clone() };
    let seen = measure(observed, job, &sample, memory);
    actions.push(tell(Event::Sample(seen.clone())));
    actions.extend(news(observed, job, memory, now_ms).into_iter().map(tell));
    if memory.recent.back().is_some_and(|newest| !sample.continues(newest)) {
        memory.recent.clear();
    }
    memory.recent.push_back(sample.clone());
    if memory.recent.len() > RECENT_SAMPLES {
        memory.recent.pop_front();
    }
    if job.state.is_final() {
        return actions;
    }
    memory.scarce.look(plan.targets.as_ref(), now_ms);
    // Much state takes its time: as long as the job says that it moves, nothing is decided.
    let moves = observed.rescales.first().is_some_and(|rescale| !rescale.state.is_final());
    if memory.rescaling.is_some_and(|(generation, since_ms)| {
        let is_over = !moves && now_ms - since_ms > RESCALE_TIMEOUT_MS;
        (job.generation > generation && job.state == JobState::Running) || is_over
    }) {
        memory.rescaling = None;
    }
    if job.state == JobState::Running && memory.rescaling.is_none() {
        memory.window.push(sample, plan.policy.window_ms);
        actions.extend(decide(plan, memory, (job, &seen), now_ms).into_iter().map(tell));
        aim(observed, job, plan, memory, now_ms);
    }
    let applied = apply(observed, job, plan, memory, now_ms);
    if let Some(Action::Rescale(request)) = applied.first() {
        memory.probation.begin(&request.stages, &seen);
    }
    actions.extend(applied);
    actions
}

/// Checkpoints and rescales that have finished since the last turn, and how far a rescale has come.
fn news(observed: &Observed, job: &JobStatus, memory: &mut Memory, now_ms: i64) -> Vec<Event> {
    let mut events = Vec::new();
    if let Some(checkpoint) = &job.checkpoint
        && memory.epoch.is_none_or(|epoch| checkpoint.epoch > epoch)
    {
        memory.epoch = Some(checkpoint.epoch);
        events.push(Event::Checkpoint(checkpoint.clone()));
    }
    if memory.rescale_id.is_none() && job.term > 0 {
        // What was before is no news.
        let last = observed.rescales.iter().find(|rescale| rescale.state.is_final());
        memory.restart_ms = last.and_then(cost_ms).or(memory.restart_ms);
        memory.rescale_id = Some(last.map_or(0, |last| last.id));
    }
    for rescale in observed.rescales.iter().rev() {
        if rescale.state.is_final() && memory.rescale_id.is_some_and(|id| rescale.id > id) {
            memory.rescale_id = Some(rescale.id);
            memory.restart_ms = cost_ms(rescale).or(memory.restart_ms);
            memory.rescaling = None;
            // The job takes rescales: what was taken for a refusal may have been an answer that was lost.
            memory.refused_at_ms = None;
            memory.probation.ended(now_ms, rescale.state == RescaleState::Done);
            events.push(Event::Rescale(rescale.clone()));
        }
    }
    let running = observed.rescales.first().filter(|rescale| !rescale.state.is_final());
    let progress = running.map(|rescale| (rescale.id, rescale.batches_done));
    if memory.progress != progress {
        memory.progress = progress;
        events.extend(running.cloned().map(Event::Rescaling));
    }
    events
}

/// What a rescale costs is the time for which rows had to wait.
fn cost_ms(rescale: &RescaleStatus) -> Option<i64> {
    let cost_ms = match rescale.strategy {
        RescaleStrategy::Restart => rescale.duration_ms,
        _ => rescale.duration_ms.map(|_| rescale.pause_ms_max.unwrap_or(0)),
    };
    cost_ms.map(|cost_ms| i64::try_from(cost_ms).unwrap_or(i64::MAX))
}

/// Evaluates once per interval. In mode auto the decisions become the pending plan.
fn decide(plan: &Plan, memory: &mut Memory, (job, seen): (&JobStatus, &JobSample), now_ms: i64) -> Vec<Event> {
    let due = memory.evaluated_at_ms.is_none_or(|then| now_ms - then >= plan.interval_ms);
    if plan.mode == Mode::Off || memory.pending.is_some() || !due {
        return Vec::new();
    }
    memory.evaluated_at_ms = Some(now_ms);
    let restart_ms = memory.restart_ms.unwrap_or(plan.policy.restart_ms);
    let policy = Policy { restart_ms, ..plan.policy.clone() };
    let said = recommend(&memory.window, &policy, now_ms);
    let mut decisions = memory.probation.judge(now_ms, seen);
    if decisions.is_empty() {
        decisions = memory.history.decide(&said, job.generation, &policy);
        decisions.retain(|decision| !memory.probation.forbids(&decision.stage, decision.to));
    }
    decisions.retain(|decision| memory.scarce.allows(plan.workers(decision.to), seen.workers_desired));
    memory.said = Some(said);
    if plan.mode == Mode::Auto && !decisions.is_empty() {
        let (moved, changed): (Vec<_>, Vec<_>) = decisions.iter().partition(|decision| decision.from == decision.to);
        let stages = changed.into_iter().map(|decision| (decision.stage.clone(), decision.to)).collect();
        let rebalance = moved.into_iter().map(|decision| decision.stage.clone()).collect();
        memory.pending = Some(Pending { stages, rebalance, generation: job.generation, since_ms: now_ms });
    }
    decisions.into_iter().map(|decision| Event::Decision(Box::new(decision))).collect()
}

/// Where a person decides: what is not at its target becomes the pending plan.
fn aim(observed: &Observed, job: &JobStatus, plan: &Plan, memory: &mut Memory, now_ms: i64) {
    let Some(targets) = &plan.targets else { return };
    let refused = memory.refused_at_ms.is_some_and(|at_ms| now_ms - at_ms < REFUSED_MS);
    // While the coordinator empties workers that drain, it decides.
    let drains = job.workers.iter().any(|worker| worker.draining);
    if memory.pending.is_some() || refused || drains {
        return;
    }
    let stages = observed.stages.iter().filter_map(|stage| {
        // More tasks than splits or key groups would have nothing to do, and the job does not start them.
        let target = targets.of(&stage.name).min(plan.policy.key_groups).min(stage.splits.unwrap_or(u32::MAX)).max(1);
        (tasks(stage) != target).then(|| (stage.name.clone(), target))
    });
    let stages: BTreeMap<String, u32> = stages.collect();
    let workers = stages.values().max().map_or(0, |widest| plan.workers(*widest));
    if !stages.is_empty() && memory.scarce.allows(workers, observed.workers_desired) {
        memory.pending = Some(Pending { stages, rebalance: Vec::new(), generation: job.generation, since_ms: now_ms });
    }
}

/// Brings workers and tasks towards what was decided: workers first, then tasks, and the other way down.
fn apply(observed: &Observed, job: &JobStatus, plan: &Plan, memory: &mut Memory, now_ms: i64) -> Vec<Action> {
    let hosted = observed.stages.iter().map(tasks).max();
    let desired = observed.workers_desired;
    // Released workers are given nothing any more: they go before anything else is done.
    let crew = (job, &observed.numbers);
    let released = |worker: &WorkerStatus| worker.released && worker.tasks.is_empty();
    let kept = trailing(crew, desired, |worker| worker.is_some_and(released));
    if kept < desired {
        return vec![Action::EnsureWorkers(kept)];
    }
    if let Some(pending) = memory.pending.clone()
        && let Some(actions) = pursue((observed, job), plan, pending, memory, now_ms)
    {
        return actions;
    }
    // Before the first deployment there are no tasks to count: what is to be deployed is what the job had before it was stopped.
    let to_deploy = || observed.stages.iter().map(|stage| stage.parallelism).max().unwrap_or(plan.initial_parallelism);
    let needed = plan.workers(hosted.filter(|hosted| *hosted > 0).unwrap_or_else(to_deploy));
    if desired < needed {
        return vec![Action::EnsureWorkers(needed)];
    }
    let runs = job.state == JobState::Running && hosted.is_some_and(|hosted| hosted > 0);
    // What a rescale was refused for is asked for again, with the same workers.
    let refused = memory.refused_at_ms.is_some_and(|at_ms| now_ms - at_ms < REFUSED_MS);
    let quiet = memory.rescaling.is_none() && !refused;
    let settled = runs && quiet && now_ms - memory.window.started_at_ms() >= SETTLED_MS;
    // A worker that is not registered may be about to be given tasks, unless it was waited for long enough.
    let given_up = runs && memory.scarce.given_up().is_some();
    let is_empty = |worker: Option<&WorkerStatus>| worker.map_or(given_up, |worker| settled && worker.tasks.is_empty());
    let keep = if settled || given_up { trailing(crew, desired, is_empty).max(needed) } else { desired };
    if keep < desired {
        return vec![Action::EnsureWorkers(keep)];
    }
    let vacate = Some(()).filter(|()| settled).and_then(|()| vacate(crew, needed, desired));
    if vacate.is_some() {
        memory.rescaling = Some((job.generation, now_ms));
    }
    vacate.into_iter().map(Action::Rescale).collect()
}

/// Brings about what was decided; `None` if that is void.
fn pursue(
    (observed, job): (&Observed, &JobStatus),
    plan: &Plan,
    pending: Pending,
    memory: &mut Memory,
    now_ms: i64,
) -> Option<Vec<Action>> {
    let kept = observed.stages.iter().filter(|stage| !pending.stages.contains_key(&stage.name)).map(tasks);
    let widest = kept.chain(pending.stages.values().copied()).max().unwrap_or(1);
    let needed = plan.workers(widest);
    let are_there = registered(job) >= needed;
    let is_over = now_ms - pending.since_ms > plan.workers_timeout_ms;
    if job.generation != pending.generation || is_over {
        // Another task set, or no workers to be had.
        memory.pending = None;
        if is_over && !are_there {
            memory.scarce.give_up(needed, plan.targets.as_ref(), now_ms);
        }
        return None;
    }
    if observed.workers_desired < needed {
        return Some(vec![Action::EnsureWorkers(needed)]);
    }
    if job.state != JobState::Running || !are_there {
        return Some(Vec::new());
    }
    memory.pending = None;
    memory.scarce.came();
    memory.rescaling = Some((job.generation, now_ms));
    Some(vec![Action::Rescale(RescaleRequest {
        stages: pending.stages,
        // A restart cannot; it would spread them evenly.
        strategy: if pending.rebalance.is_empty() { plan.strategy } else { RescaleStrategy::Incremental },
        rebalance: pending.rebalance,
        expect: Some(Expect::at(job.generation)),
        ..RescaleRequest::default()
    })])
}

fn tasks(stage: &StageStatus) -> u32 {
    u32::try_from(stage.tasks.len()).unwrap_or(u32::MAX)
}

fn measure(observed: &Observed, job: &JobStatus, sample: &Sample, memory: &Memory) -> JobSample {
    let span =
        memory.recent.front().filter(|previous| sample.continues(previous)).map(|first| Span { first, last: sample });
    let estimates = span.as_ref().map(estimate).unwrap_or_default();
    let stages = observed.stages.iter().map(|stage| {
        let known = estimates.iter().find(|estimate| estimate.name == stage.name);
        let said = memory.said.iter().flat_map(|said| &said.stages).find(|said| said.stage == stage.name);
        StageSample {
            name: stage.name.clone(),
            parallelism: u32::try_from(stage.tasks.len()).unwrap_or(u32::MAX),
            busy: known.map_or(0.0, |known| known.busy),
            backpressured: known.map_or(0.0, |known| known.backpressured),
            idle: known.map_or(0.0, |known| known.idle),
            records_in_per_s: known.map_or(0.0, |known| known.observed_per_s),
            need: said.and_then(|said| said.inputs.need),
            reason: said.map(|said| said.reason),
        }
    });
    let stages: Vec<StageSample> = stages.collect();
    let sources = || observed.stages.iter().filter(|stage| stage.source);
    let tasks = || sources().flat_map(|stage| &stage.tasks);
    let some = tasks().next().is_some();
    JobSample {
        state: Some(job.state),
        offered_per_s: tasks().map(|task| task.offered_per_s).sum::<Option<f64>>().filter(|_| some),
        processed_per_s: sources()
            .filter_map(|source| stages.iter().find(|stage| stage.name == source.name))
            .map(|stage| stage.records_in_per_s)
            .sum(),
        lag_records: tasks().map(|task| task.lag_records).sum::<Option<u64>>().filter(|_| some),
        workers: registered(job),
        workers_desired: observed.workers_desired,
        generation: job.generation,
        recoveries: job.recoveries,
        late_rows: job.late_rows,
        epoch: job.checkpoint.as_ref().map(|checkpoint| checkpoint.epoch),
        stages,
    }
}
