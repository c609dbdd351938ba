//! What the live view knows: the reports of the control loop, condensed.
use std::collections::{BTreeMap, VecDeque};

use millstream_api::wire::{CheckpointStatus, RescaleStatus};
use millstream_operator::autoscale::Decision;
use millstream_operator::control::report::{Event, JobSample, Report};

/// Samples kept for the charts; at one a second, ten minutes.
const POINTS_MAX: usize = 600;
/// Decisions kept; older ones are only in the summary.
const DECISIONS_MAX: usize = 20;

/// One sample of the rates.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Point {
    /// Seconds since the first report.
    pub second: f64,
    /// Records a second offered.
    pub offered: f64,
    /// Records a second taken.
    pub processed: f64,
    /// Records due and not taken.
    pub lag: f64,
}

/// State of the view. Only [`update`](Self::update) changes it; drawing never does.
#[derive(Debug, Clone, Default)]
pub struct Model {
    /// Name of the job.
    pub job: String,
    /// Mode of the autoscaler, as the spec writes it.
    pub mode: String,
    /// Time of the first report.
    pub started_at_ms: Option<i64>,
    /// Time of the newest one.
    pub now_ms: i64,
    /// Newest sample of a coordinator that answered.
    pub sample: JobSample,
    /// Whether it answered the last time.
    pub answering: bool,
    /// Rates over time.
    pub points: VecDeque<Point>,
    /// Parallelism over time, by stage.
    pub parallelism: BTreeMap<String, VecDeque<u32>>,
    /// Newest first.
    pub decisions: VecDeque<Decision>,
    /// Newest rescale.
    pub rescale: Option<RescaleStatus>,
    /// Newest checkpoint.
    pub checkpoint: Option<CheckpointStatus>,
    /// Somebody asked for the end.
    pub stopping: bool,
    /// The end was reported.
    pub ended: bool,
}

impl Model {
    /// A job nothing is known of yet.
    pub fn new(job: &str, mode: &str) -> Self {
        Self { job: job.to_owned(), mode: mode.to_owned(), ..Self::default() }
    }

    /// Seconds since the first report.
    pub fn seconds(&self) -> f64 {
        self.started_at_ms.map_or(0.0, |started| (self.now_ms - started) as f64 / 1e3)
    }

    /// Takes in one report.
    pub fn update(&mut self, report: &Report) {
        self.started_at_ms.get_or_insert(report.at_ms);
        self.now_ms = self.now_ms.max(report.at_ms);
        match &report.event {
            Event::Sample(sample) => self.sample(sample),
            Event::Decision(decision) => {
                self.decisions.push_front((**decision).clone());
                self.decisions.truncate(DECISIONS_MAX);
            }
            Event::Rescale(rescale) | Event::Rescaling(rescale) => self.rescale = Some(rescale.clone()),
            Event::Checkpoint(checkpoint) => self.checkpoint = Some(checkpoint.clone()),
            Event::End(_) => self.ended = true,
        }
    }

    fn sample(&mut self, sample: &JobSample) {
        let second = self.seconds();
        let before = self.points.back().copied().unwrap_or_default();
        // While tasks are away (a rescale, a restart) nobody says what is offered: the last known rate goes on.
        push(
            &mut self.points,
            Point {
                second,
                offered: sample.offered_per_s.unwrap_or(before.offered),
                processed: sample.processed_per_s,
                lag: sample.lag_records.map_or(before.lag, |lag| lag as f64),
            },
        );
        for stage in &sample.stages {
            push(self.parallelism.entry(stage.name.clone()).or_default(), stage.parallelism);
        }
        self.answering = sample.state.is_some();
        if self.answering {
            self.sample = sample.clone();
        } else {
            self.sample.workers_desired = sample.workers_desired;
        }
    }
}

fn push<T>(ring: &mut VecDeque<T>, value: T) {
    if ring.len() == POINTS_MAX {
        ring.pop_front();
    }
    ring.push_back(value);
}
