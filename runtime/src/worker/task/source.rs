//! Reading a source, and input that has run dry.
use std::sync::atomic::Ordering::Relaxed;

use super::{Activity, Input, Step, Task};
use crate::batch::Batch;
use crate::source::Poll;
use crate::worker::Failed;

/// A source that cannot tell when it has more is asked again after this long.
const POLL_AGAIN_US: u64 = 100_000;

/// Rows are held back for batching no longer than this.
const HELD_BACK_US: u64 = 10_000;

impl Task {
    pub(super) fn read_source(&mut self, now_us: u64) -> Result<Step, Failed> {
        let Input::Source(source) = &mut self.parts.input else { return Ok(Step::Worked) };
        let now_ms = self.parts.clock.now_ms();
        let poll = source.poll(now_ms).map_err(|error| Failed::from_source(&error))?;
        let lag = source.lag_records(now_ms).unwrap_or(u64::MAX);
        self.parts.gauge.lag_records.store(lag, Relaxed);
        let offered = source.offered_per_s(now_ms).map_or(u64::MAX, |rate| (rate * 1000.0) as u64);
        self.parts.gauge.offered_milli_per_s.store(offered, Relaxed);
        self.parts.gauge.bad_records.store(source.bad_records(), Relaxed);
        match poll {
            Poll::Rows { rows, split } => {
                let mut batch = Batch::inserts(rows);
                batch.split = split;
                self.rows(0, batch)?;
                Ok(Step::Worked)
            }
            Poll::Finished { .. } => {
                let active = source.active_splits();
                self.run(|chain, env| chain.splits(&active, env))?;
                Ok(Step::Worked)
            }
            Poll::Pending { until_ms } => {
                self.run(|chain, env| chain.tick(now_us / 1000, env))?;
                let due = until_ms.map_or(POLL_AGAIN_US, |until| (until - now_ms).clamp(0, 100) as u64 * 1000);
                self.run_dry(Some(now_us + due.max(1000)))
            }
            Poll::End if self.vacant => {
                self.run(|chain, env| chain.splits(&[], env))?;
                self.run_dry(None)
            }
            Poll::End => {
                self.begin_end()?;
                Ok(Step::Worked)
            }
        }
    }

    /// Nothing to read: send off what was held back for batching, once, then wait.
    pub(super) fn run_dry(&mut self, until_us: Option<u64>) -> Result<Step, Failed> {
        if !self.quiet {
            self.send_off(self.parts.clock.now_us())?;
            return Ok(Step::Worked);
        }
        Ok(self.wait(Activity::Idle, until_us))
    }

    /// Sends off what has been held back for batching long enough: input need not run dry for long, and what there is of it need not
    /// be rows. Says whether it did.
    pub(super) fn send_off_if_due(&mut self, now_us: u64) -> Result<bool, Failed> {
        let is_due = !self.quiet && now_us.saturating_sub(self.sent_off_us) >= HELD_BACK_US;
        if is_due {
            self.send_off(now_us)?;
        }
        Ok(is_due)
    }

    /// Then, or when something is to be sent off.
    pub(super) fn or_send_off(&self, until_us: Option<u64>) -> Option<u64> {
        let due_us = (!self.quiet).then_some(self.sent_off_us + HELD_BACK_US);
        until_us.into_iter().chain(due_us).min()
    }

    fn send_off(&mut self, now_us: u64) -> Result<(), Failed> {
        (self.quiet, self.sent_off_us) = (true, now_us);
        self.parts.output.flush()
    }
}
