//! What a router has sent, for the metrics of its edge.
use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of one output edge of one task. Written by its router alone, once in a while; anyone may read.
pub struct EdgeCounters {
    records: AtomicU64,
    bytes: AtomicU64,
    groups: Box<[AtomicU64]>,
}

impl EdgeCounters {
    pub(super) fn new(key_groups: usize) -> Self {
        let groups = (0..key_groups).map(|_| AtomicU64::new(0)).collect();
        Self { records: AtomicU64::new(0), bytes: AtomicU64::new(0), groups }
    }

    /// Rows routed.
    pub fn records(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }

    /// Bytes sent.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Rows routed per key group; empty where the edge is not keyed.
    pub fn groups(&self) -> Vec<u64> {
        self.groups.iter().map(|count| count.load(Ordering::Relaxed)).collect()
    }

    pub(super) fn publish(&self, records: u64, bytes: u64, groups: &[u64]) {
        self.records.store(records, Ordering::Relaxed);
        self.bytes.store(bytes, Ordering::Relaxed);
        for (shared, count) in self.groups.iter().zip(groups) {
            shared.store(*count, Ordering::Relaxed);
        }
    }
}
