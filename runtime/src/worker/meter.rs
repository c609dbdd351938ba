//! Busy, back-pressured, idle: every microsecond of a task goes to one of the three.
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

use millstream_api::id::KeyGroup;

/// What a task does with its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activity {
    /// Works.
    Busy,
    /// Waits in the rate limiter: counts as busy, since it stands for work.
    Limited,
    /// Waits for credit.
    Backpressured,
    /// Waits for input.
    Idle,
}

/// Counters of a task, written by its thread and read by its worker.
#[derive(Debug, Default)]
pub struct Gauge {
    /// Time by activity, microseconds.
    pub busy_us: AtomicU64,
    /// See `busy_us`.
    pub backpressured_us: AtomicU64,
    /// See `busy_us`.
    pub idle_us: AtomicU64,
    /// Of the busy time: spent waiting in the rate limiter.
    pub limited_us: AtomicU64,
    /// CPU time of the task's thread.
    pub cpu_us: AtomicU64,
    /// Rows in.
    pub records_in: AtomicU64,
    /// Rows out.
    pub records_out: AtomicU64,
    /// Bytes in.
    pub bytes_in: AtomicU64,
    /// Bytes out.
    pub bytes_out: AtomicU64,
    /// Rows dropped as late.
    pub late_rows: AtomicU64,
    /// Malformed records skipped or put aside.
    pub bad_records: AtomicU64,
    /// Output watermark; `i64::MIN` before the first.
    pub watermark_ms: AtomicI64,
    /// Events due and not taken; `u64::MAX` if unknown.
    pub lag_records: AtomicU64,
    /// Offered rate in thousandths of a row a second; `u64::MAX` if unknown.
    pub offered_milli_per_s: AtomicU64,
    /// Bytes of keyed state.
    pub state_bytes: AtomicU64,
    /// Bytes of the key groups that have been weighed.
    pub group_bytes: Mutex<BTreeMap<KeyGroup, u64>>,
    /// Keys read from the store.
    pub store_reads: AtomicU64,
    /// Keys written to the store.
    pub store_writes: AtomicU64,
}

impl Gauge {
    /// Nothing counted, nothing known.
    pub fn new() -> Self {
        let gauge = Self::default();
        gauge.watermark_ms.store(i64::MIN, Relaxed);
        gauge.lag_records.store(u64::MAX, Relaxed);
        gauge.offered_milli_per_s.store(u64::MAX, Relaxed);
        gauge
    }
}

/// Attributes time as it passes.
#[derive(Debug)]
pub struct Meter {
    since_us: u64,
    activity: Activity,
}

impl Meter {
    /// Begins idle.
    pub fn new(now_us: u64) -> Self {
        Self { since_us: now_us, activity: Activity::Idle }
    }

    /// From now on the task does this; what passed until now goes to what it did before.
    pub fn enter(&mut self, activity: Activity, now_us: u64, gauge: &Gauge) {
        let passed = now_us.saturating_sub(self.since_us);
        let counter = match self.activity {
            Activity::Busy | Activity::Limited => &gauge.busy_us,
            Activity::Backpressured => &gauge.backpressured_us,
            Activity::Idle => &gauge.idle_us,
        };
        counter.fetch_add(passed, Relaxed);
        if self.activity == Activity::Limited {
            gauge.limited_us.fetch_add(passed, Relaxed);
        }
        self.since_us = self.since_us.max(now_us);
        self.activity = activity;
    }
}
