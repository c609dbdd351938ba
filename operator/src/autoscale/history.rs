//! When a recommendation has stood long enough: growing after a few agreeing evaluations, shrinking after a long calm.
use std::collections::{BTreeMap, VecDeque};

use millstream_api::id::Generation;

use super::decision::{Decision, Reason};
use super::explain::explain;
use super::policy::Policy;
use super::recommend::{Recommendation, StageRecommendation};

/// What was recommended lately for the present task set.
#[derive(Debug, Clone, Default)]
pub struct History {
    generation: Generation,
    stages: BTreeMap<String, Past>,
    /// When key groups of a stage were last spread by load, and over how many tasks.
    spread: BTreeMap<String, (u32, i64)>,
}

/// What spreading the load has not cured it does not cure a moment later: a hot key stays hot. It may once the load has changed.
const SPREAD_AGAIN_MS: i64 = 300_000;

#[derive(Debug, Clone, Default)]
struct Past {
    /// Consecutive evaluations that asked for more.
    ups: u32,
    /// Consecutive evaluations that found a task with most of the load.
    skewed: u32,
    /// When this stage was first judged with information since the last gap.
    known_since_ms: Option<i64>,
    /// Recommended tasks by time, not older than the scale-down delay.
    wanted: VecDeque<(i64, u32)>,
}

impl History {
    /// Takes one recommendation and answers what to do now: all stages in one decision, or nothing.
    pub fn decide(&mut self, said: &Recommendation, generation: Generation, policy: &Policy) -> Vec<Decision> {
        if generation != self.generation {
            self.generation = generation;
            self.stages.clear();
        }
        for stage in &said.stages {
            self.stages.entry(stage.stage.clone()).or_default().note(stage, said.at_ms, policy);
        }
        let past = |stage: &StageRecommendation| self.stages.get(&stage.stage);
        let grows =
            said.stages.iter().any(|stage| past(stage).is_some_and(|past| past.ups >= policy.activation.max(1)));
        // A rescale interrupts the job whatever it changes: once one stage must grow, all that want to grow do.
        let changes = said.stages.iter().filter_map(|stage| {
            let past = past(stage)?;
            let to = if stage.to > stage.from && grows { Some(stage.to) } else { past.calm(stage, said.at_ms, policy) };
            to.filter(|to| *to != stage.from).map(|to| decision(stage, to, said.at_ms))
        });
        let mut decisions: Vec<Decision> = changes.collect();
        if decisions.is_empty() {
            decisions = self.spread(said, policy);
        }
        if !decisions.is_empty() {
            self.stages.clear();
        }
        decisions
    }

    /// Stages whose key groups are to be spread by load: skewed for long enough, and not just spread.
    fn spread(&mut self, said: &Recommendation, policy: &Policy) -> Vec<Decision> {
        let mut decisions = Vec::new();
        for stage in &said.stages {
            let stands = self.stages.get(&stage.stage).is_some_and(|past| past.skewed >= policy.activation.max(1));
            let was = |known: &(u32, i64)| known.0 == stage.from && said.at_ms - known.1 < SPREAD_AGAIN_MS;
            if stands && !self.spread.get(&stage.stage).is_some_and(was) {
                self.spread.insert(stage.stage.clone(), (stage.from, said.at_ms));
                decisions.push(decision(stage, stage.from, said.at_ms));
            }
        }
        decisions
    }
}

impl Past {
    fn note(&mut self, stage: &StageRecommendation, at_ms: i64, policy: &Policy) {
        match stage.reason {
            Reason::WarmUp => return *self = Self::default(),
            // A gap proves no need to grow, and does not take back how long less has been enough.
            Reason::NoInformation => return self.ups = 0,
            _ => {}
        }
        self.ups = if stage.to > stage.from { self.ups + 1 } else { 0 };
        self.skewed = if stage.reason == Reason::Skew { self.skewed + 1 } else { 0 };
        self.known_since_ms.get_or_insert(at_ms);
        self.wanted.push_back((at_ms, stage.to));
        while self.wanted.front().is_some_and(|(then, _)| *then < at_ms - policy.scale_down_delay_ms) {
            self.wanted.pop_front();
        }
    }

    /// The most that was wanted during the delay, if that is less than the stage has and the delay has passed.
    fn calm(&self, stage: &StageRecommendation, at_ms: i64, policy: &Policy) -> Option<u32> {
        if stage.reason == Reason::OutOfBounds {
            return Some(stage.to);
        }
        let waited_ms = at_ms - self.known_since_ms?;
        let most = self.wanted.iter().map(|(_, tasks)| *tasks).max()?;
        (waited_ms >= policy.scale_down_delay_ms && most < stage.from).then_some(most)
    }
}

fn decision(stage: &StageRecommendation, to: u32, at_ms: i64) -> Decision {
    let said = StageRecommendation { to, ..stage.clone() };
    Decision {
        at_ms,
        stage: said.stage.clone(),
        from: said.from,
        to,
        reason: said.reason,
        binding: said.binding,
        explanation: explain(&said),
        expects: said.inputs.expectation(to),
        inputs: said.inputs,
    }
}
