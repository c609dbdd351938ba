//! The clock door: the only place of the runtime that reads time, or lets some pass.
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Wall time and monotonic time. Simulation brings its own.
pub trait Clock: Send + Sync {
    /// Milliseconds since 1970 (wall time; may jump).
    fn now_ms(&self) -> i64;
    /// Microseconds since some fixed moment (monotonic).
    fn now_us(&self) -> u64;
    /// CPU time of the calling thread in microseconds; 0 where there is no such thing.
    fn thread_cpu_us(&self) -> u64 {
        0
    }
}

/// The machine's clock.
pub struct SystemClock {
    started: Instant,
}

impl Default for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "this is the door")]
    fn default() -> Self {
        Self { started: Instant::now() }
    }
}

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "this is the door")]
    fn now_ms(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }

    fn now_us(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
    fn thread_cpu_us(&self) -> u64 {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0) / 1000
    }
}

/// Waits before something is asked again that tells nobody when it changes, or lets others have the processor.
#[allow(clippy::disallowed_methods, reason = "this is the door")]
pub fn pause(delay: Duration) {
    std::thread::sleep(delay);
}

/// Waits before something is tried again that no event tells to work again. Whoever waits for an event waits for that event.
#[allow(clippy::disallowed_methods, reason = "this is the door")]
pub async fn back_off(delay: Duration) {
    tokio::time::sleep(delay).await;
}
