//! What a task's state weighs, and each of its key groups: found out now and then, a few groups at a time, since a store looks into
//! its files for it, and locks them.
use std::sync::PoisonError;
use std::sync::atomic::Ordering::Relaxed;

use super::{Failed, Task};

/// So often some are weighed,
const EVERY_US: u64 = 100_000;
/// this many: a fraction of a millisecond each time. 2,048 groups take 26 s.
const AT_A_TIME: usize = 8;

/// Where the round over all groups is.
#[derive(Debug, Default)]
pub(super) struct Scale {
    /// Index of the next group among those owned.
    next: usize,
    weighed_us: u64,
}

impl Task {
    /// Weighs all of it and some groups if it is time to, and forgets those that are no longer here.
    pub(super) fn weigh(&mut self, now_us: u64) -> Result<(), Failed> {
        if now_us.saturating_sub(self.scale.weighed_us) < EVERY_US {
            return Ok(());
        }
        self.scale.weighed_us = now_us;
        self.parts.gauge.state_bytes.store(self.parts.store.bytes(), Relaxed);
        let mut weights = self.parts.gauge.group_bytes.lock().unwrap_or_else(PoisonError::into_inner);
        let groups = &self.parts.groups;
        weights.retain(|group, _| groups.binary_search(group).is_ok());
        for _ in 0..AT_A_TIME.min(groups.len()) {
            let group = groups[self.scale.next % groups.len()];
            weights.insert(group, self.parts.store.group_bytes(group)?);
            self.scale.next = (self.scale.next + 1) % groups.len();
        }
        Ok(())
    }
}
