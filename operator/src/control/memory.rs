//! What the control loop remembers from turn to turn. All of it can be lost: the next turns rebuild it.
use std::collections::{BTreeMap, VecDeque};

use millstream_api::id::{Epoch, Generation};

use super::probation::Probation;
use crate::autoscale::{History, Recommendation, Sample, Window};

/// State of the control loop.
#[derive(Debug, Default)]
pub struct Memory {
    pub(super) window: Window,
    pub(super) history: History,
    /// The last few samples, for rates of the reports: counters come with heartbeats, so a single second says little.
    pub(super) recent: VecDeque<Sample>,
    pub(super) evaluated_at_ms: Option<i64>,
    /// The last evaluation.
    pub(super) said: Option<Recommendation>,
    /// What was decided and is not in force yet.
    pub(super) pending: Option<Pending>,
    /// A rescale was asked for at this generation; no other before that has passed.
    pub(super) rescaling: Option<(Generation, i64)>,
    pub(super) epoch: Option<Epoch>,
    /// The rescale under way as it was reported last, with its batches done.
    pub(super) progress: Option<(u64, u32)>,
    /// Newest rescale that was reported as finished.
    pub(super) rescale_id: Option<u64>,
    /// Rescales that have to prove themselves.
    pub(super) probation: Probation,
    /// How long the last rescale stopped the job.
    pub(super) restart_ms: Option<i64>,
}

/// Parallelisms that wait for workers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pending {
    pub(super) stages: BTreeMap<String, u32>,
    /// Stages whose key groups are to be spread by load.
    pub(super) rebalance: Vec<String>,
    pub(super) generation: Generation,
    pub(super) since_ms: i64,
}

impl Memory {
    /// Nothing remembered.
    pub fn new() -> Self {
        Self::default()
    }

    /// The samples decisions are made from, for tools that replay them.
    pub fn window(&self) -> &Window {
        &self.window
    }

    /// Called by the shell when the job refused a rescale: the decision is void, the next evaluation makes a new one.
    pub fn refused(&mut self) {
        self.pending = None;
        self.rescaling = None;
    }
}
