//! The end of the coordinator's process.
use millstream_api::wire::JobState;

use super::World;

impl World {
    /// Adds what the coordinator has counted to the books.
    pub(super) fn add_up(&mut self) {
        if let Some(chair) = &self.seats.chair {
            let status = chair.coordinator.job_status();
            self.books.recoveries += status.recoveries;
            self.books.rescales += chair.coordinator.totals().rescales;
            self.seats.error = status.error.unwrap_or_default();
        }
    }

    /// The process of the coordinator is gone. Calls to the store that it began may still have their effect.
    pub fn kill_coordinator(&mut self) -> bool {
        if self.seats.chair.is_none() {
            return false;
        }
        self.add_up();
        self.books.recoveries += 1;
        let is_placing = matches!(self.state(), Some(JobState::Deploying | JobState::Rescaling));
        self.plan.killed_deploying += u32::from(is_placing);
        self.seats.chair = None;
        self.seats.start_at_us = self.now_us() + self.rng.between(1, 5_000);
        let kept = self.rng.below(5);
        for conn in self.seats.conns.values_mut() {
            conn.coordinator_open = false;
            conn.down.truncate(conn.down.len() * kept / 4);
        }
        if self.rng.one_in(2) {
            self.seats.calls.clear();
        }
        true
    }
}
