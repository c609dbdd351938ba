//! What is kept of the reports of tasks.
use super::Coordinator;
use crate::message::TaskReport;

impl Coordinator {
    pub(super) fn measured(&mut self, now_ms: i64, worker: &str, mut tasks: Vec<TaskReport>) {
        let Some(known) = self.workers.get_mut(worker) else { return };
        known.loads.update(now_ms, &mut tasks);
        known.metrics = tasks;
    }

    /// A new generation counts from zero.
    pub(super) fn forget_measured(&mut self) {
        for worker in self.workers.values_mut() {
            worker.metrics.clear();
            worker.loads.clear();
        }
    }
}
