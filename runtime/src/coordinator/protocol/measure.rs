//! What is kept of the reports of tasks.
use std::collections::BTreeSet;

use millstream_api::id::TaskId;

use super::{Coordinator, Phase, Then};
use crate::message::TaskReport;

/// What tasks counted that are no more: the totals of a job only grow. Rows that are read again after a failure count again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::coordinator) struct Gone {
    pub(in crate::coordinator) late_rows: u64,
    pub(in crate::coordinator) bad_records: u64,
}

impl Gone {
    pub(super) fn add<'r>(&mut self, reports: impl IntoIterator<Item = &'r TaskReport>) {
        for TaskReport { counters, .. } in reports {
            self.late_rows += counters.late_rows;
            self.bad_records += counters.bad_records;
        }
    }
}

impl Coordinator {
    pub(super) fn measured(&mut self, now_ms: i64, worker: &str, mut tasks: Vec<TaskReport>) {
        if matches!(self.phase, Phase::Cancelling { then: Then::Deploy, .. }) {
            return; // What is counted from now on will be read again.
        }
        let Some(known) = self.workers.get_mut(worker) else { return };
        let still: BTreeSet<TaskId> = tasks.iter().map(|report| report.task).collect();
        self.gone.add(known.metrics.iter().filter(|report| !still.contains(&report.task)));
        known.loads.update(now_ms, &mut tasks);
        known.metrics = tasks;
    }

    /// A new generation counts from zero.
    pub(super) fn forget_measured(&mut self) {
        for worker in self.workers.values_mut() {
            self.gone.add(&worker.metrics);
            worker.metrics.clear();
            worker.loads.clear();
        }
    }
}
