//! The shell around [`step`]: it observes, does what it is told, and ends with the job.
use std::time::Duration;

use millstream_api::wire::JobState;
use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;

use super::memory::Memory;
use super::plan::Plan;
use super::report::{End, Event, Report};
use super::step::{Action, step};
use crate::autoscale::Decision;
use crate::clock::now_ms;
use crate::platform::{Error, Platform};

/// From one turn to the next.
const TURN: Duration = Duration::from_millis(1000);

/// What a loop saw from beginning to end.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outcome {
    /// State of the job when the loop ended: a final one unless the loop was stopped; `None` if it was never seen.
    pub state: Option<JobState>,
    /// Why it failed.
    pub error: Option<String>,
    /// All decisions in order.
    pub decisions: Vec<Decision>,
    /// Rescales that finished.
    pub rescales: Vec<millstream_api::wire::RescaleStatus>,
    /// Failures survived.
    pub recoveries: u64,
    /// Rows dropped as late.
    pub late_rows: u64,
}

impl Outcome {
    /// The last event of a run.
    pub fn end(&self, equal_to_oracle: Option<bool>, at_ms: i64) -> Report {
        let count = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        let end = End {
            state: self.state,
            error: self.error.clone(),
            equal_to_oracle,
            decisions: count(self.decisions.len()),
            rescales: count(self.rescales.len()),
            recoveries: self.recoveries,
            late_rows: self.late_rows,
        };
        Report { at_ms, event: Event::End(end) }
    }

    fn note(&mut self, report: &Report) {
        match &report.event {
            Event::Decision(decision) => self.decisions.push((**decision).clone()),
            Event::Rescale(rescale) => self.rescales.push(rescale.clone()),
            Event::Sample(sample) if sample.state.is_some() => {
                (self.recoveries, self.late_rows) = (sample.recoveries, sample.late_rows);
            }
            _ => {}
        }
    }
}

/// Runs the loop until the job is final or `stop` becomes true. Reports go to `reports`; a reader that is gone is no reason
/// to stop.
pub async fn run<P: Platform>(
    platform: &mut P,
    plan: &Plan,
    reports: &mpsc::Sender<Report>,
    stop: &mut watch::Receiver<bool>,
) -> Result<Outcome, Error> {
    let (mut memory, mut outcome) = (Memory::new(), Outcome::default());
    let mut turns = tokio::time::interval(TURN);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = turns.tick() => {}
            _ = stop.wait_for(|stop| *stop) => return Ok(outcome),
        }
        let observed = platform.observe().await?;
        for action in step(&observed, plan, &mut memory, now_ms()) {
            match action {
                Action::EnsureWorkers(count) => platform.ensure_workers(count).await?,
                Action::Rescale(request) => {
                    if let Err(error) = platform.rescale(&request).await {
                        tracing::warn!(%error, "the job did not take the rescale; deciding anew");
                        memory.refused(now_ms());
                    }
                }
                Action::Report(report) => {
                    outcome.note(&report);
                    let _ = reports.send(*report).await;
                }
            }
        }
        match observed.job {
            Some(job) => {
                (outcome.state, outcome.error) = (Some(job.state), job.error);
                if job.state.is_final() {
                    return Ok(outcome);
                }
            }
            // It ended between two turns. It does so without an error only when the job is over.
            None if observed.coordinator_done => {
                let asked = outcome.state == Some(JobState::Stopping);
                outcome.state = Some(if asked { JobState::Stopped } else { JobState::Completed });
                return Ok(outcome);
            }
            None => {}
        }
    }
}
