//! The window that is being filled.
use crate::bench::line::{WINDOW_MS, Window};
use crate::bench::seen::Faults;

/// Arrivals since the last window was written down.
#[derive(Debug, Default)]
pub struct Arrivals {
    /// None: nothing has arrived since.
    window: Option<Window>,
    /// The last arrival of all.
    last_ms: Option<i64>,
}

impl Arrivals {
    /// Whether an arrival now belongs into another window.
    pub fn is_over(&self, now_ms: i64) -> bool {
        self.window.as_ref().is_some_and(|window| now_ms.div_euclid(WINDOW_MS) * WINDOW_MS != window.at_ms)
    }

    /// A record without a due time has arrived.
    pub fn untimed(&mut self, now_ms: i64) {
        self.arrival(now_ms).untimed += 1;
    }

    /// A record has arrived, so long after it was due.
    pub fn timed(&mut self, now_ms: i64, latency_ms: i64) {
        self.arrival(now_ms).latency.add(latency_ms.max(0).unsigned_abs());
    }

    /// The window so far, if anything has arrived.
    pub fn take(&mut self, arrived: u64, faults: Faults) -> Option<Window> {
        self.window.take().map(|window| Window { arrived, faults, ..window })
    }

    fn arrival(&mut self, now_ms: i64) -> &mut Window {
        let gap_ms = self.last_ms.map_or(0, |last| now_ms - last);
        self.last_ms = Some(now_ms);
        let at_ms = now_ms.div_euclid(WINDOW_MS) * WINDOW_MS;
        let fresh = || Window { at_ms, first_ms: now_ms, last_ms: now_ms, ..Window::default() };
        let window = self.window.get_or_insert_with(fresh);
        window.last_ms = now_ms;
        window.gap_ms = window.gap_ms.max(gap_ms);
        window
    }
}
