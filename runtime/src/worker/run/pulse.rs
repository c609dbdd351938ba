//! Whether the worker's own thread still does anything: what a liveness probe asks.
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::clock::Clock;

/// A thread that is at one thing for longer is stuck. The longest it does is to wait for its tasks to end the step they are at.
const PATIENCE_US: u64 = 60_000_000;
/// It is at nothing, or at something that may take its time.
const IDLE: u64 = u64::MAX;

/// Since when the thread is at what it does.
#[derive(Clone)]
pub struct Pulse {
    clock: Arc<dyn Clock>,
    since_us: Arc<AtomicU64>,
}

impl Pulse {
    /// Of a thread that does nothing yet.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, since_us: Arc::new(AtomicU64::new(IDLE)) }
    }

    /// The thread begins with something, which may take its time or not.
    pub fn begin(&self, takes_its_time: bool) {
        self.since_us.store(if takes_its_time { IDLE } else { self.clock.now_us() }, Ordering::Relaxed);
    }

    /// It is done.
    pub fn end(&self) {
        self.since_us.store(IDLE, Ordering::Relaxed);
    }

    /// How many seconds it has been at one thing, if that is too long.
    pub fn stuck_s(&self) -> Option<u64> {
        let since_us = self.since_us.load(Ordering::Relaxed);
        let time_us = self.clock.now_us().checked_sub(since_us)?;
        (time_us > PATIENCE_US).then_some(time_us / 1_000_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds.
    struct At(AtomicU64);

    impl Clock for At {
        fn now_ms(&self) -> i64 {
            0
        }

        fn now_us(&self) -> u64 {
            self.0.load(Ordering::Relaxed) * 1_000_000
        }
    }

    #[test]
    fn a_thread_that_is_at_one_thing_for_long_is_stuck_unless_that_takes_its_time() {
        let clock = Arc::new(At(AtomicU64::new(5)));
        let pulse = Pulse::new(Arc::clone(&clock) as Arc<dyn Clock>);
        let at = |seconds: u64| {
            clock.0.store(seconds, Ordering::Relaxed);
            pulse.stuck_s()
        };
        assert_eq!(at(1_000), None, "it has nothing to do");
        pulse.begin(false);
        assert_eq!((at(1_060), at(1_061)), (None, Some(61)));
        pulse.end();
        assert_eq!(at(2_000), None);
        pulse.begin(true);
        assert_eq!(at(9_000), None);
    }
}
