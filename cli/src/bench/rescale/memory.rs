//! Resident memory of all processes of a job over time.
use millstream_operator::platform::Observed;

use crate::bench::usage;

/// Sums by time, ms since 1970.
#[derive(Debug, Default)]
pub struct Memory(Vec<(i64, u64)>);

impl Memory {
    /// Takes a sample; without an answer of the coordinator nobody knows the processes.
    pub fn sample(&mut self, now_ms: i64, observed: &Observed) {
        if let Some(job) = &observed.job {
            let workers = job.workers.iter().map(|worker| worker.pid);
            self.0.push((now_ms, usage::rss_bytes(workers.chain([job.coordinator.pid]))));
        }
    }

    /// The largest sum from a time on and before another.
    pub fn peak(&self, from_ms: i64, to_ms: i64) -> u64 {
        let within = self.0.iter().filter(|(at_ms, _)| (from_ms..to_ms).contains(at_ms));
        within.map(|(_, bytes)| *bytes).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peak_is_of_its_time() {
        let memory = Memory(vec![(10, 5), (20, 9), (30, 7)]);
        assert_eq!((memory.peak(0, 20), memory.peak(20, 31), memory.peak(25, 31), memory.peak(40, 50)), (5, 9, 7, 0));
    }
}
