//! One observation of a job.
use millstream_api::id::Generation;
use millstream_api::wire::{StageStatus, TaskCounters};
use serde::{Deserialize, Serialize};

/// What the job's API said about its stages at one moment.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Sample {
    /// When it was taken, ms since 1970.
    pub at_ms: i64,
    /// Incarnation of the task set it speaks of.
    pub generation: Generation,
    /// Every stage of the job.
    pub stages: Vec<StageStatus>,
}

impl Sample {
    /// Whether differences between `earlier` and this sample mean something: the same tasks, and no counter fell.
    pub fn continues(&self, earlier: &Self) -> bool {
        self.at_ms > earlier.at_ms
            && self.generation == earlier.generation
            && self.stages.len() == earlier.stages.len()
            && self.stages.iter().zip(&earlier.stages).all(|(now, then)| same_tasks(now, then))
    }
}

fn same_tasks(now: &StageStatus, then: &StageStatus) -> bool {
    now.name == then.name
        && now.tasks.len() == then.tasks.len()
        && now.tasks.iter().zip(&then.tasks).all(|(a, b)| a.id == b.id && grew(&a.counters, &b.counters))
}

fn grew(now: &TaskCounters, then: &TaskCounters) -> bool {
    now.elapsed_us >= then.elapsed_us
        && now.busy_us >= then.busy_us
        && now.backpressured_us >= then.backpressured_us
        && now.idle_us >= then.idle_us
        && now.records_in >= then.records_in
        && now.records_out >= then.records_out
}
