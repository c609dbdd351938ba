//! What a running job tells on stderr (or as JSON lines on stdout).
use std::io::Write;
use std::time::Duration;

use anyhow::Result;
use millstream_api::wire::{JobState, JobStatus, StageStatus};
use millstream_runtime::clock::{Clock, SystemClock};
use millstream_runtime::workdir::Outcome;

use crate::say;

/// Without a terminal, a line this often.
const SPARSE: Duration = Duration::from_secs(5);

/// See the module.
pub struct Progress {
    json: bool,
    terminal: bool,
    clock: SystemClock,
    last: Option<(u64, u64)>,
    said_at_us: Option<u64>,
    said_state: Option<JobState>,
    drawn: bool,
    /// Rows read by generations of tasks that are no more, and by the present one.
    before: u64,
    present: (u64, u64),
}

impl Progress {
    /// Nothing said yet.
    pub fn new(json: bool, terminal: bool) -> Self {
        let clock = SystemClock::default();
        Self {
            json,
            terminal,
            clock,
            last: None,
            said_at_us: None,
            said_state: None,
            drawn: false,
            before: 0,
            present: (0, 0),
        }
    }

    /// Takes in what was seen, and says it if it is time.
    pub fn show(&mut self, job: &JobStatus, stages: &[StageStatus]) -> Result<()> {
        let now_us = self.clock.now_us();
        let read = self.read(job, stages);
        let due = self.said_at_us.is_none_or(|at| now_us - at >= SPARSE.as_micros() as u64);
        if !self.terminal && !due && self.said_state == Some(job.state) {
            return Ok(());
        }
        self.said_at_us = Some(now_us);
        self.said_state = Some(job.state);
        if self.json {
            let report = serde_json::json!({"kind": "progress", "job": job, "stages": stages});
            return say::line(&report.to_string());
        }
        let rate = self
            .last
            .filter(|(_, before)| *before <= read)
            .map(|(at_us, before)| (read - before) as f64 / ((now_us - at_us).max(1) as f64 / 1e6));
        self.last = Some((now_us, read));
        let tasks: u64 = stages.iter().map(|stage| stage.tasks.len() as u64).sum();
        let rate = rate.map_or_else(String::new, |rate| format!(", {} rows/s", thousands(rate as u64)));
        let epoch = job.checkpoint.as_ref().map_or_else(String::new, |done| format!(", checkpoint {}", done.epoch));
        let (rows, tasks) = (count(read, "row"), count(tasks, "task"));
        let line = format!("{}: {rows} read{rate}, {tasks}{epoch}{}", state(job.state), recoveries(job));
        if self.terminal {
            // A progress line that cannot be drawn is no reason to stop.
            let _ = write!(std::io::stderr(), "\r\x1b[K{line}");
            let _ = std::io::stderr().flush();
            self.drawn = true;
        } else {
            eprintln!("{line}");
        }
        Ok(())
    }

    /// Rows read since the start. Tasks that follow a recovery or a rescale begin to count anew.
    fn read(&mut self, job: &JobStatus, stages: &[StageStatus]) -> u64 {
        let (generation, known) = self.present;
        let mut read = records_read(stages);
        if generation == job.generation {
            read = read.max(known);
        } else {
            self.before += known;
        }
        self.present = (job.generation, read);
        self.before + read
    }

    /// The job is over: ends the progress line.
    pub fn end(&mut self) {
        if std::mem::take(&mut self.drawn) {
            eprintln!();
        }
    }

    /// The last lines of a job.
    pub fn closing(&self, outcome: &Outcome) -> String {
        let job = &outcome.job;
        let (generation, known) = self.present;
        let last = records_read(&outcome.stages);
        let read = self.before + if generation == job.generation { last.max(known) } else { last + known };
        let mut text = format!(
            "{}: {} read, {} late, {} malformed",
            state(job.state),
            count(read, "row"),
            thousands(job.late_rows),
            thousands(job.bad_records)
        );
        text.push_str(&recoveries(job));
        if let Some(checkpoint) = &job.checkpoint {
            text.push_str(&format!(", last checkpoint {}", checkpoint.epoch));
        }
        text
    }
}

/// Rows the present tasks of all sources have read.
fn records_read(stages: &[StageStatus]) -> u64 {
    let sources = stages.iter().filter(|stage| stage.source);
    sources.flat_map(|stage| &stage.tasks).map(|task| task.counters.records_in).sum()
}

/// A job's state in words.
pub fn state(state: JobState) -> String {
    serde_json::to_value(state).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

/// How often the job went back to a checkpoint, if it did.
fn recoveries(job: &JobStatus) -> String {
    match job.recoveries {
        0 => String::new(),
        1 => ", 1 recovery".to_owned(),
        many => format!(", {many} recoveries"),
    }
}

/// `1 task`, `2 tasks`.
pub fn count(number: u64, what: &str) -> String {
    format!("{} {what}{}", thousands(number), if number == 1 { "" } else { "s" })
}

/// `1,234,567`.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
