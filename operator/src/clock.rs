//! The control plane's clock door: the only place that reads time or waits for it.
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Wall time in ms since 1970.
#[allow(clippy::disallowed_methods, reason = "this is the door")]
pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Milliseconds since some fixed moment. Nobody sets this clock, and it goes on while the machine sleeps: what is over by it is over.
pub fn steady_ms() -> i64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    time.tv_sec * 1000 + time.tv_nsec / 1_000_000
}

/// Waits for a back-off. Whoever waits for an event waits for that event.
#[allow(clippy::disallowed_methods, reason = "this is the door")]
pub async fn back_off(delay: Duration) {
    tokio::time::sleep(delay).await;
}
