//! How many bytes a transfer may have, learnt from the pauses seen.

/// A pause people do not notice, and what batches aim at.
pub const TARGET_PAUSE_MS: u64 = 100;
/// No batch should ever hold a group longer.
pub const MAX_PAUSE_MS: u64 = 250;
/// First batches are small: nothing is known of network, disks and load yet, and growth is fast.
const START_BYTES: u64 = 4 << 20;
/// Below this a batch is all fixed cost (markers, flushes), and smaller ones only make more of them.
const MIN_BYTES: u64 = 64 << 10;
/// A receiver may have this much in flight and still be within a small part of a worker's memory; beyond it batches are
/// rare enough that their fixed cost no longer counts.
const MAX_BYTES: u64 = 256 << 20;

/// An adaptive byte budget of a transfer: doubled while pauses are short, halved when they are too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    bytes: u64,
}

impl Default for Budget {
    fn default() -> Self {
        Self { bytes: START_BYTES }
    }
}

impl Budget {
    /// What the next transfers may have.
    pub fn bytes(self) -> u64 {
        self.bytes
    }

    /// The last batch held its groups for `pause_ms` at most and its largest transfer had `transferred` bytes. A batch that
    /// did not use half of its budget says nothing about a larger one; a pause beyond the hard limit counts twice.
    pub fn observe(&mut self, pause_ms: u64, transferred: u64) {
        self.bytes = if pause_ms > MAX_PAUSE_MS {
            self.bytes / 4
        } else if pause_ms > TARGET_PAUSE_MS {
            self.bytes / 2
        } else if pause_ms < TARGET_PAUSE_MS / 2 && transferred >= self.bytes / 2 {
            self.bytes * 2
        } else {
            self.bytes
        };
        self.bytes = self.bytes.clamp(MIN_BYTES, MAX_BYTES);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_below_half_the_target_and_halves_above_it() {
        let mut budget = Budget::default();
        for (pause_ms, transferred, expected) in [
            (49, 4 << 20, 8 << 20),
            (50, 8 << 20, 8 << 20),
            (100, 8 << 20, 8 << 20),
            (101, 8 << 20, 4 << 20),
            (10, 1 << 20, 4 << 20),
            (251, 4 << 20, 1 << 20),
            (0, 1 << 19, 2 << 20),
        ] {
            budget.observe(pause_ms, transferred);
            assert_eq!(budget.bytes(), expected, "{pause_ms} ms");
        }
    }

    #[test]
    fn it_stays_within_bounds() {
        let mut budget = Budget::default();
        (0..40).for_each(|_| budget.observe(0, u64::MAX));
        assert_eq!(budget.bytes(), MAX_BYTES);
        (0..40).for_each(|_| budget.observe(u64::MAX, 0));
        assert_eq!(budget.bytes(), MIN_BYTES);
    }
}
