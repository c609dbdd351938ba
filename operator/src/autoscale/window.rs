//! The samples a decision is made from.
use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::policy::Policy;
use super::sample::Sample;

/// Samples kept at most, whatever the window's length: bounds memory if samples come faster than planned.
const SAMPLES_MAX: usize = 1024;

/// Samples of one task set, oldest first. A new task set (another generation, other tasks, counters that fell) empties it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Window {
    samples: VecDeque<Sample>,
    started_at_ms: i64,
}

/// Two samples whose difference is the measurement.
#[derive(Debug, Clone, Copy)]
pub struct Span<'a> {
    /// Start of the measurement.
    pub first: &'a Sample,
    /// Its end, and the newest sample.
    pub last: &'a Sample,
}

/// Why a window says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Blind {
    /// No sample, or too few since the warm-up.
    TooShort,
    /// The task set is too young: its first seconds (connections, cold caches, backlog of the pause) would mislead.
    WarmUp,
    /// The newest sample is too old.
    Stale,
}

impl Window {
    /// An empty window.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a sample and forgets what is older than `length_ms` before it. Samples must come in order of time; others are
    /// ignored.
    pub fn push(&mut self, sample: Sample, length_ms: i64) {
        if let Some(newest) = self.samples.back() {
            if sample.at_ms <= newest.at_ms {
                return;
            }
            if !sample.continues(newest) {
                self.samples.clear();
            }
        }
        if self.samples.is_empty() {
            self.started_at_ms = sample.at_ms;
        }
        let from_ms = sample.at_ms - length_ms;
        self.samples.push_back(sample);
        // The sample at or just before the boundary stays: the measurement then covers at least the length.
        while self.samples.len() > SAMPLES_MAX || self.samples.get(1).is_some_and(|second| second.at_ms <= from_ms) {
            self.samples.pop_front();
        }
    }

    /// The newest sample.
    pub fn last(&self) -> Option<&Sample> {
        self.samples.back()
    }

    /// When the present task set was first seen.
    pub fn started_at_ms(&self) -> i64 {
        self.started_at_ms
    }

    /// The measurement to decide from, if there is one.
    pub fn span(&self, policy: &Policy, now_ms: i64) -> Result<Span<'_>, Blind> {
        let last = self.samples.back().ok_or(Blind::TooShort)?;
        if now_ms - last.at_ms > policy.stale_ms {
            return Err(Blind::Stale);
        }
        let warm_ms = self.started_at_ms + policy.warm_up_ms;
        let first = self.samples.iter().find(|sample| sample.at_ms >= warm_ms).ok_or(Blind::WarmUp)?;
        if last.at_ms - first.at_ms < policy.span_min_ms {
            return Err(if policy.warm_up_ms > 0 && first.at_ms - warm_ms < policy.span_min_ms {
                Blind::WarmUp
            } else {
                Blind::TooShort
            });
        }
        Ok(Span { first, last })
    }
}
