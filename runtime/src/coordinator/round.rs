//! One checkpoint from its trigger to its commit. Pure.
use std::collections::{BTreeMap, BTreeSet};

use millstream_api::id::{Epoch, TaskId};

use crate::checkpoint::manifest::TaskManifest;
use crate::message::StageDeployment;

/// Names the request a reply belongs to.
pub type RequestId = u64;

/// Who asked for a savepoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The request that is answered.
    pub id: RequestId,
    /// Its name, by which it may be asked for again.
    pub name: Option<String>,
}

/// Why a checkpoint is taken, and so what follows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purpose {
    /// Its time had come.
    Periodic,
    /// A person asked.
    Savepoint(Asked),
    /// Before a restart rescale.
    Rescale,
    /// Before a stop.
    Stop {
        /// Whether it is kept for whoever asks for it.
        savepoint: bool,
    },
    /// Before tasks leave workers that drain.
    Leave,
    /// All input has been processed: commits the last output.
    Final,
}

impl Purpose {
    /// Who asked for it, if somebody did.
    pub fn asked(&self) -> Option<&Asked> {
        match self {
            Self::Savepoint(asked) => Some(asked),
            Self::Periodic | Self::Rescale | Self::Stop { .. } | Self::Leave | Self::Final => None,
        }
    }
}

/// Where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Barriers travel, cuts are uploaded; these tasks have not answered.
    Cutting(BTreeSet<TaskId>),
    /// The manifest is being stored.
    Storing,
    /// The manifest is committed; these workers have not made their output visible yet.
    Committing(BTreeSet<String>),
}

/// A checkpoint under way.
#[derive(Debug)]
pub struct Round {
    /// Number of its barrier.
    pub epoch: Epoch,
    /// Why.
    pub purpose: Purpose,
    /// When it was triggered, ms since 1970.
    pub started_at_ms: i64,
    /// Where it is.
    pub step: Step,
    /// Cuts so far, with the index of the stage.
    pub parts: BTreeMap<TaskId, (usize, TaskManifest)>,
    /// Bytes uploaded so far.
    pub uploaded_bytes: u64,
    /// Tasks and tables as they are while the barrier travels.
    pub deployment: Vec<StageDeployment>,
    /// Tasks that the barrier has not left yet.
    travelling: BTreeSet<TaskId>,
}

impl Round {
    /// A round all tasks take part in.
    pub fn new(epoch: Epoch, purpose: Purpose, now_ms: i64, deployment: Vec<StageDeployment>) -> Self {
        let tasks = || deployment.iter().flat_map(|stage| &stage.tasks).map(|placed| placed.task);
        let (step, travelling) = (Step::Cutting(tasks().collect()), tasks().collect());
        let (started_at_ms, parts) = (now_ms, BTreeMap::new());
        Self { epoch, purpose, started_at_ms, step, parts, uploaded_bytes: 0, deployment, travelling }
    }

    /// The barrier has left a task.
    pub fn passed(&mut self, task: TaskId) {
        self.travelling.remove(&task);
    }

    /// Whether the barrier is on its way.
    pub fn is_travelling(&self) -> bool {
        !self.travelling.is_empty()
    }

    /// Takes a cut; true once with the last one.
    pub fn add(&mut self, stage: usize, part: TaskManifest, uploaded_bytes: u64) -> bool {
        let Step::Cutting(waiting) = &mut self.step else { return false };
        if !waiting.remove(&part.task) {
            return false;
        }
        let complete = waiting.is_empty();
        self.uploaded_bytes += uploaded_bytes;
        self.travelling.remove(&part.task);
        self.parts.insert(part.task, (stage, part));
        if complete {
            self.step = Step::Storing;
        }
        complete
    }

    /// A worker has made its output visible, or is gone; true once with the last one.
    pub fn committed(&mut self, worker: &str) -> bool {
        let Step::Committing(waiting) = &mut self.step else { return false };
        waiting.remove(worker) && waiting.is_empty()
    }
}
