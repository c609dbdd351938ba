//! What the loop tells the world, one event a line.
use millstream_api::id::Epoch;
use millstream_api::wire::{CheckpointStatus, JobState, RescaleStatus};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::autoscale::{Decision, Reason};

/// One event.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// When, ms since 1970.
    pub at_ms: i64,
    /// What.
    pub event: Event,
}

/// Kinds of events.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// What was measured, about once a second.
    Sample(JobSample),
    /// What was decided; in mode advise it stays at that.
    Decision(Box<Decision>),
    /// A rescale is under way; each time more of it is done.
    Rescaling(RescaleStatus),
    /// A rescale has finished.
    Rescale(RescaleStatus),
    /// A checkpoint is complete.
    Checkpoint(CheckpointStatus),
    /// The job is over.
    End(End),
}

/// What was measured.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct JobSample {
    /// Where the job is; absent while its coordinator does not answer.
    pub state: Option<JobState>,
    /// Records a second offered to all sources.
    pub offered_per_s: Option<f64>,
    /// Records a second all sources took.
    pub processed_per_s: f64,
    /// Records due and not taken.
    pub lag_records: Option<u64>,
    /// Registered workers.
    pub workers: u32,
    /// Workers the platform is told to run.
    pub workers_desired: u32,
    /// Incarnation of the task set.
    pub generation: u64,
    /// Failures survived.
    pub recoveries: u64,
    /// Rows dropped as late.
    pub late_rows: u64,
    /// Newest complete checkpoint.
    pub epoch: Option<Epoch>,
    /// Per stage, in the order of the job.
    pub stages: Vec<StageSample>,
}

/// What was measured of a stage.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StageSample {
    /// Its name.
    pub name: String,
    /// Its tasks.
    pub parallelism: u32,
    /// Share of time working.
    pub busy: f64,
    /// Share of time waiting for credit.
    pub backpressured: f64,
    /// Share of time waiting for input.
    pub idle: f64,
    /// Rows a second taken.
    pub records_in_per_s: f64,
    /// Tasks the last evaluation found necessary, fractional.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub need: Option<f64>,
    /// What the last evaluation said, also if that led to nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
}

/// How it ended.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct End {
    /// State of the job at the end; not a final one if the run was interrupted.
    pub state: Option<JobState>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Whether the result equals that of the run it is compared with; absent if there was no comparison.
    pub equal_to_oracle: Option<bool>,
    /// Decisions made.
    pub decisions: u32,
    /// Rescales finished.
    pub rescales: u32,
    /// Failures survived.
    pub recoveries: u64,
    /// Rows dropped as late.
    pub late_rows: u64,
}

impl Report {
    /// `{"at_ms", "kind", ...}`.
    pub fn to_json(&self) -> Value {
        let (kind, fields) = match &self.event {
            Event::Sample(sample) => ("sample", json!(sample)),
            Event::Decision(decision) => ("decision", json!(decision)),
            Event::Rescale(rescale) => ("rescale", json!(rescale)),
            Event::Rescaling(rescale) => ("rescaling", json!(rescale)),
            Event::Checkpoint(checkpoint) => ("checkpoint", json!(checkpoint)),
            Event::End(end) => ("end", json!(end)),
        };
        let mut line = Map::new();
        line.insert("at_ms".into(), self.at_ms.into());
        line.insert("kind".into(), kind.into());
        if let Value::Object(fields) = fields {
            line.extend(fields);
        }
        Value::Object(line)
    }
}
