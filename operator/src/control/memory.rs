//! What the control loop remembers from turn to turn. All of it can be lost: the next turns rebuild it.
use std::collections::{BTreeMap, VecDeque};

use millstream_api::id::{Epoch, Generation};

use super::probation::Probation;
use super::scarce::{GivenUp, Scarce};
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
    /// When the job refused a rescale.
    pub(super) refused_at_ms: Option<i64>,
    /// How long the last rescale stopped the job.
    pub(super) restart_ms: Option<i64>,
    /// Workers that did not come.
    pub(super) scarce: Scarce,
    /// What keeps workers from coming, as the platform said last.
    scarcity: Option<String>,
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
    pub fn refused(&mut self, now_ms: i64) {
        self.pending = None;
        self.rescaling = None;
        self.refused_at_ms = Some(now_ms);
        // What others ask for meanwhile is not for this loop to undo.
        self.probation.ended(now_ms, false);
    }

    /// Tasks of the stages that a decision waits to bring about.
    pub fn awaited(&self) -> Option<&BTreeMap<String, u32>> {
        self.pending.as_ref().map(|pending| &pending.stages)
    }

    /// Whether a rescale was asked for that has not ended.
    pub fn is_rescaling(&self) -> bool {
        self.rescaling.is_some()
    }

    /// Workers that were wanted, did not come in time, and are asked for again later.
    pub fn given_up(&self) -> Option<&GivenUp> {
        self.scarce.given_up()
    }

    /// What keeps workers from coming, as long as some are waited for or given up.
    pub fn scarcity(&self) -> Option<&str> {
        self.scarcity.as_deref().filter(|_| self.pending.is_some() || self.given_up().is_some())
    }

    /// Called by the shell when the platform says why workers do not come.
    pub fn lacks(&mut self, why: String) {
        self.scarcity = Some(why);
    }

    /// Called by the shell when nobody waits for workers: what was said of them is over.
    pub fn lacks_nothing(&mut self) {
        self.scarcity = None;
    }

    /// What the autoscaler said last, whether it led to something or not.
    pub fn said(&self) -> Option<&Recommendation> {
        self.said.as_ref()
    }
}
