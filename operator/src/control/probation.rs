//! A rescale of the autoscaler that makes things worse is undone, and not tried again for a while. Pure.
use std::collections::BTreeMap;

use super::report::JobSample;
use crate::autoscale::decision::Inputs;
use crate::autoscale::{Decision, Reason};

/// From the end of a rescale until it is judged: rates need a few samples, and a backlog that the rescale left is worked off first.
const PROBATION_MS: i64 = 20_000;
/// What was undone is not tried again before this: the load, or the machines, may be others then.
const REMEMBERED_MS: i64 = 600_000;
/// Worse is less than this part of the rows a second of before,
const WORSE: f64 = 0.8;
/// while at least this part of the load of before is offered.
const SAME_LOAD: f64 = 0.95;

/// What is remembered of rescales until they are judged, and of those that were undone.
#[derive(Debug, Clone, Default)]
pub(super) struct Probation {
    trial: Option<Trial>,
    /// Until when a stage is not to have so many tasks.
    undone: BTreeMap<(String, u32), i64>,
}

#[derive(Debug, Clone)]
struct Trial {
    from: BTreeMap<String, u32>,
    to: BTreeMap<String, u32>,
    before: JobSample,
    /// When it was done.
    since_ms: Option<i64>,
}

impl Probation {
    /// A rescale is asked for.
    pub fn begin(&mut self, to: &BTreeMap<String, u32>, before: &JobSample) {
        let now = |name: &String| before.stages.iter().find(|stage| stage.name == *name).map(|stage| stage.parallelism);
        let from = to.keys().filter_map(|name| Some((name.clone(), now(name)?))).collect();
        let trial = Trial { from, to: to.clone(), before: before.clone(), since_ms: None };
        self.trial = Some(trial).filter(|trial| !trial.to.is_empty());
    }

    /// It has ended, done or not.
    pub fn ended(&mut self, now_ms: i64, is_done: bool) {
        match &mut self.trial {
            Some(trial) if is_done => trial.since_ms = Some(now_ms),
            trial => *trial = None,
        }
    }

    /// Once the time of a rescale is over: how it is undone, if that is called for.
    pub fn judge(&mut self, now_ms: i64, now: &JobSample) -> Vec<Decision> {
        self.undone.retain(|_, until_ms| now_ms < *until_ms);
        let is_due = |trial: &mut Trial| trial.since_ms.is_some_and(|since| now_ms - since >= PROBATION_MS);
        let Some(trial) = self.trial.take_if(is_due) else { return Vec::new() };
        if !is_worse(&trial.before, now) {
            return Vec::new();
        }
        for (stage, tasks) in &trial.to {
            self.undone.insert((stage.clone(), *tasks), now_ms + REMEMBERED_MS);
        }
        let back = trial.from.iter().filter_map(|(stage, from)| {
            let to = *trial.to.get(stage)?;
            (to != *from).then(|| undo(now_ms, stage, (to, *from), &trial.before, now))
        });
        back.collect()
    }

    /// Whether this was undone lately.
    pub fn forbids(&self, stage: &str, tasks: u32) -> bool {
        self.undone.contains_key(&(stage.to_owned(), tasks))
    }
}

/// Whether less gets through though no less is offered, and what is left lags behind. Without the numbers nothing is.
fn is_worse(before: &JobSample, now: &JobSample) -> bool {
    let (Some(offered), Some(offered_now), Some(lag)) = (before.offered_per_s, now.offered_per_s, now.lag_records)
    else {
        return false;
    };
    // A backlog of more than a second, or the job just keeps up with less to do.
    let lags = lag as f64 > offered_now;
    lags && offered_now >= offered * SAME_LOAD && now.processed_per_s < before.processed_per_s * WORSE
}

fn undo(at_ms: i64, stage: &str, (from, to): (u32, u32), before: &JobSample, now: &JobSample) -> Decision {
    let explanation = format!(
        "{stage} {from} -> {to}: undone, {:.0} rows/s got through before and {:.0} do now; not tried again for {} min",
        before.processed_per_s,
        now.processed_per_s,
        REMEMBERED_MS / 60_000
    );
    let inputs = Inputs {
        offered_per_s: now.offered_per_s.unwrap_or_default(),
        lag_records: now.lag_records.unwrap_or_default() as f64,
        observed_per_s: now.processed_per_s,
        ..Inputs::default()
    };
    let (stage, reason) = (stage.to_owned(), Reason::Undone);
    Decision { at_ms, stage, from, to, reason, binding: None, expects: inputs.expectation(to), inputs, explanation }
}

#[cfg(test)]
mod tests {
    use super::super::report::StageSample;
    use super::*;

    fn sample(tasks: u32, (offered, processed, lag): (f64, f64, u64)) -> JobSample {
        let stage = StageSample { name: "work".into(), parallelism: tasks, ..StageSample::default() };
        JobSample {
            offered_per_s: Some(offered),
            processed_per_s: processed,
            lag_records: Some(lag),
            stages: vec![stage],
            ..JobSample::default()
        }
    }

    /// What is decided 20 s after a rescale from 2 tasks to 4.
    fn after(now: &JobSample) -> (Probation, Vec<Decision>) {
        let mut probation = Probation::default();
        probation.begin(&[("work".to_owned(), 4)].into(), &sample(2, (1000.0, 1000.0, 0)));
        assert!(probation.judge(50_000, now).is_empty(), "it is under way");
        probation.ended(50_000, true);
        assert!(probation.judge(69_999, now).is_empty(), "too early");
        let decisions = probation.judge(70_000, now);
        (probation, decisions)
    }

    #[test]
    fn what_made_things_worse_is_undone_once_and_remembered_for_ten_minutes() {
        let (mut probation, decisions) = after(&sample(4, (1000.0, 700.0, 9_000)));
        assert_eq!((decisions[0].from, decisions[0].to, decisions[0].reason), (4, 2, Reason::Undone));
        assert!(
            decisions[0].explanation.starts_with("work 4 -> 2: undone, 1000 rows/s got through before and 700 do now")
        );
        assert!(probation.forbids("work", 4) && !probation.forbids("work", 3));
        assert!(probation.judge(90_000, &sample(4, (1000.0, 700.0, 9_000))).is_empty());
        probation.judge(670_000, &sample(2, (1000.0, 1000.0, 0)));
        assert!(!probation.forbids("work", 4));
    }

    #[test]
    fn better_or_unknown_is_not_worse() {
        let unknown = JobSample { offered_per_s: None, ..sample(4, (0.0, 0.0, 9_000)) };
        for now in [
            sample(4, (1000.0, 1000.0, 9_000)),
            sample(4, (1000.0, 700.0, 100)),
            sample(4, (600.0, 600.0, 9_000)),
            unknown,
        ] {
            let (probation, decisions) = after(&now);
            assert!(decisions.is_empty() && !probation.forbids("work", 4), "{now:?}");
        }
        let mut probation = Probation::default();
        probation.begin(&[("work".to_owned(), 4)].into(), &sample(2, (1000.0, 1000.0, 0)));
        probation.ended(1, false);
        assert!(probation.judge(70_000, &sample(2, (1000.0, 100.0, 9_000))).is_empty(), "it was not done");
    }
}
