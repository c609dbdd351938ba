//! What a task lets others know of its pace.
use std::sync::atomic::Ordering::Relaxed;

use super::{Activity, Failed, Input, Step, Task};

/// Channels are kept about this full, in time of the reader.
const PACE_US: u64 = 50_000;

impl Task {
    pub(super) fn wait(&mut self, activity: Activity, until_us: Option<u64>) -> Step {
        self.meter.enter(activity, self.parts.clock.now_us(), &self.parts.gauge);
        Step::Wait { until_us }
    }

    /// Works for key groups that move, which says nothing of how fast this task gets through rows: it may be most of what it does, and
    /// its gate would be all but closed when the rows of the groups come.
    pub(super) fn aside<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T, Failed>) -> Result<T, Failed> {
        let since_us = self.parts.clock.now_us();
        let done = work(self);
        self.aside_us += self.parts.clock.now_us().saturating_sub(since_us);
        done
    }

    /// Opens the gate as far as this task gets through in `PACE_US`: what has been sent bounds every barrier and flip.
    pub(super) fn pace(&mut self) {
        let Input::Gate(gate) = &self.parts.input else { return };
        let gauge = &self.parts.gauge;
        let (bytes, busy_us) = (gauge.bytes_in.load(Relaxed), gauge.busy_us.load(Relaxed));
        let (took, worked_us) = (bytes - self.paced.0, (busy_us - self.paced.1).saturating_sub(self.aside_us));
        if worked_us < PACE_US {
            return;
        }
        (self.paced, self.aside_us) = ((bytes, busy_us), 0);
        let share = took.saturating_mul(PACE_US) / worked_us / gate.paced_channels().max(1) as u64;
        gate.open(usize::try_from(share).unwrap_or(usize::MAX));
    }

    pub(super) fn publish(&mut self) {
        let gauge = &self.parts.gauge;
        gauge.late_rows.store(self.parts.chain.late_rows() + self.late_rows_of_guests, Relaxed);
        gauge.bytes_out.store(self.parts.output.bytes(), Relaxed);
        gauge.cpu_us.store(self.parts.clock.thread_cpu_us(), Relaxed);
        let operations = self.parts.store.operations();
        gauge.store_reads.store(operations.reads, Relaxed);
        gauge.store_writes.store(operations.writes, Relaxed);
    }
}
