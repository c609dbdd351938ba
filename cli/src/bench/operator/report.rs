//! From samples to figures. Pure.
use std::collections::BTreeMap;

use serde::Serialize;

use super::process::Sample;

const MIB: f64 = 1048576.0;

/// What was measured.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    pub jobs: u32,
    /// A build without optimisation takes several times the CPU.
    pub is_release_build: bool,
    pub creation: Creation,
    pub steady: Steady,
    /// From a change that the API server has taken to the status that tells of it.
    pub change_ms: Latency,
}

/// From the first job to the last one that runs.
#[derive(Debug, Clone, Serialize)]
pub struct Creation {
    pub seconds: f64,
    pub cpu_s: f64,
    /// Those of the status among them.
    pub requests_per_s: f64,
    pub requests: BTreeMap<String, u64>,
    pub status_writes: u64,
    pub reconciles: u64,
    pub failed_steps: u64,
    /// How long the bench took to create the jobs.
    pub apply_seconds: f64,
}

/// While nothing happens.
#[derive(Debug, Clone, Serialize)]
pub struct Steady {
    pub seconds: f64,
    pub rss_mib: f64,
    pub rss_peak_mib: f64,
    /// 1.0 is one core.
    pub cpu_cores: f64,
    /// Those of the status among them.
    pub requests_per_s: f64,
    pub requests: BTreeMap<String, u64>,
    pub status_writes_per_s: f64,
    pub status_writes_per_job_min: PerJob,
    /// Calls of coordinators.
    pub polls_per_s: f64,
    pub reconciles_per_s: f64,
    pub failed_steps: u64,
}

/// Over all jobs.
#[derive(Debug, Clone, Serialize)]
pub struct PerJob {
    pub mean: f64,
    pub max: f64,
}

/// Of all changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Latency {
    pub changes: usize,
    pub p50: u64,
    pub p99: u64,
    pub max: u64,
}

impl Report {
    pub fn new(jobs: u32, creation: Creation, steady: Steady, change_ms: &[u64]) -> Self {
        Self { jobs, is_release_build: !cfg!(debug_assertions), creation, steady, change_ms: latency(change_ms) }
    }

    pub fn text(&self) -> String {
        let Self { jobs, creation, steady, change_ms, .. } = self;
        format!(
            "{jobs} jobs run after {:.1} s ({:.0} requests/s to the API server)\nsteady: {:.0} MiB (peak {:.0}), {:.2} cores, {:.2} \
             requests/s, status writes per job and minute {:.2} (at most {:.2})\na change is in the status after p50 {} ms, p99 {} ms, \
             max {} ms",
            creation.seconds,
            creation.requests_per_s,
            steady.rss_mib,
            steady.rss_peak_mib,
            steady.cpu_cores,
            steady.requests_per_s,
            steady.status_writes_per_job_min.mean,
            steady.status_writes_per_job_min.max,
            change_ms.p50,
            change_ms.p99,
            change_ms.max,
        )
    }
}

impl Creation {
    /// `created_us`: when the last job was there.
    pub fn of(before: &Sample, after: &Sample, created_us: u64) -> Self {
        let seconds = seconds(before.at_us, after.at_us);
        let requests = requests(before, after);
        Self {
            seconds,
            cpu_s: after.cpu_s - before.cpu_s,
            requests_per_s: requests.values().sum::<u64>() as f64 / seconds,
            requests,
            status_writes: (after.status_writes - before.status_writes) as u64,
            reconciles: (after.reconciles - before.reconciles) as u64,
            failed_steps: (after.failures - before.failures) as u64,
            apply_seconds: self::seconds(before.at_us, created_us),
        }
    }
}

/// What happened between two samples: `polls` calls of coordinators, and so many writes of each job's status.
pub fn steady(from: &Sample, to: &Sample, polls: u64, writes: &[u64]) -> Steady {
    let seconds = seconds(from.at_us, to.at_us);
    let requests = requests(from, to);
    let a_minute = |writes: f64| writes * 60.0 / seconds;
    let all = writes.iter().sum::<u64>() as f64;
    Steady {
        seconds,
        rss_mib: to.rss_bytes as f64 / MIB,
        rss_peak_mib: to.rss_peak_bytes as f64 / MIB,
        cpu_cores: (to.cpu_s - from.cpu_s) / seconds,
        requests_per_s: requests.values().sum::<u64>() as f64 / seconds,
        requests,
        status_writes_per_s: (to.status_writes - from.status_writes) / seconds,
        status_writes_per_job_min: PerJob {
            mean: a_minute(all / writes.len().max(1) as f64),
            max: a_minute(writes.iter().copied().max().unwrap_or_default() as f64),
        },
        polls_per_s: polls as f64 / seconds,
        reconciles_per_s: (to.reconciles - from.reconciles) / seconds,
        failed_steps: (to.failures - from.failures) as u64,
    }
}

fn seconds(from_us: u64, to_us: u64) -> f64 {
    to_us.saturating_sub(from_us).max(1) as f64 / 1e6
}

fn requests(from: &Sample, to: &Sample) -> BTreeMap<String, u64> {
    let since = |(verb, count): (&String, &f64)| {
        let count = count - from.requests.get(verb).copied().unwrap_or_default();
        (verb.clone(), count as u64)
    };
    to.requests.iter().map(since).collect()
}

fn latency(all: &[u64]) -> Latency {
    let mut sorted = all.to_vec();
    sorted.sort_unstable();
    // The smallest that so many hundredths do not exceed.
    let at = |hundredths: usize| {
        let rank = (sorted.len() * hundredths).div_ceil(100).max(1);
        sorted.get(rank - 1).copied().unwrap_or_default()
    };
    Latency { changes: sorted.len(), p50: at(50), p99: at(99), max: at(100) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_those_of_what_was_seen() {
        let all: Vec<u64> = (1..=200).rev().collect();
        assert_eq!(latency(&all), Latency { changes: 200, p50: 100, p99: 198, max: 200 });
        assert_eq!(latency(&[7]), Latency { changes: 1, p50: 7, p99: 7, max: 7 });
    }

    #[test]
    fn figures_are_those_of_the_time_between_two_samples() {
        let sample = |at_us, cpu_s, patches: f64| Sample {
            at_us,
            cpu_s,
            rss_bytes: 3 << 20,
            rss_peak_bytes: 4 << 20,
            requests: [("patch".to_owned(), patches)].into(),
            status_writes: patches / 2.0,
            reconciles: 0.0,
            failures: 0.0,
        };
        let steady = steady(&sample(1_000_000, 1.0, 10.0), &sample(31_000_000, 4.0, 70.0), 300, &[1, 0, 2]);
        assert_eq!((steady.cpu_cores, steady.requests_per_s, steady.status_writes_per_s), (0.1, 2.0, 1.0));
        assert_eq!((steady.status_writes_per_job_min.mean, steady.status_writes_per_job_min.max), (2.0, 4.0));
        assert_eq!((steady.polls_per_s, steady.rss_mib, steady.requests["patch"]), (10.0, 3.0, 60));
    }
}
