//! What the coordinator shows, if there is one.
use millstream_api::wire::{JobState, StageStatus};

use super::{Seats, World};

impl Seats {
    /// The stages with their tasks.
    pub fn stages(&self) -> Vec<StageStatus> {
        self.chair.as_ref().map(|chair| chair.coordinator.stage_status()).unwrap_or_default()
    }

    /// Where a live rescale is, if one is under way.
    pub fn rescale_step(&self) -> Option<&'static str> {
        self.chair.as_ref().and_then(|chair| chair.coordinator.rescale_step())
    }
}

impl World {
    /// Where the job is.
    pub fn state(&self) -> Option<JobState> {
        self.seats.chair.as_ref().map(|chair| chair.coordinator.state())
    }
}
