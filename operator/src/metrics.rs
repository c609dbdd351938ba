//! What the operator counts about itself, by the metric catalogue.
use std::time::Duration;

use millstream_api::metric::{self, Metric};
use prometheus::{CounterVec, Encoder, GaugeVec, Opts, Registry, TextEncoder};

/// How a reconcile ended. These are the label's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The job is as it should be.
    Settled,
    /// Something was changed, or is under way.
    Progressing,
    /// The job's spec cannot be run.
    Refused,
    /// An error; it is tried again.
    Failed,
}

impl Outcome {
    const ALL: [Self; 4] = [Self::Settled, Self::Progressing, Self::Refused, Self::Failed];

    /// The label's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Settled => "settled",
            Self::Progressing => "progressing",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

/// The operator's series. Cheap to clone: all clones count in the same place.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Registry,
    reconciles: CounterVec,
    reconcile_time: CounterVec,
    failures: CounterVec,
    applied: CounterVec,
    status_writes: CounterVec,
    requests: CounterVec,
    jobs: GaugeVec,
    leader: GaugeVec,
}

impl Metrics {
    /// All series at 0. Fails only if the catalogue has a name twice.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let counter = |metric: &Metric| {
            let counter = CounterVec::new(Opts::new(metric.name, metric.help), metric.labels)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        let gauge = |metric: &Metric| {
            let gauge = GaugeVec::new(Opts::new(metric.name, metric.help), metric.labels)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        let metrics = Self {
            reconciles: counter(&metric::OPERATOR_RECONCILES)?,
            reconcile_time: counter(&metric::OPERATOR_RECONCILE_TIME)?,
            failures: counter(&metric::OPERATOR_FAILURES)?,
            applied: counter(&metric::OPERATOR_APPLIED)?,
            status_writes: counter(&metric::OPERATOR_STATUS_WRITES)?,
            requests: counter(&metric::OPERATOR_REQUESTS)?,
            jobs: gauge(&metric::OPERATOR_JOBS)?,
            leader: gauge(&metric::OPERATOR_LEADER)?,
            registry,
        };
        // A series that is there from the start can be told from one that is missing.
        for outcome in Outcome::ALL {
            metrics.reconciles.with_label_values(&[outcome.as_str()]).inc_by(0.0);
        }
        metrics.applied.with_label_values::<&str>(&[]).inc_by(0.0);
        metrics.status_writes.with_label_values::<&str>(&[]).inc_by(0.0);
        metrics.set_leader(false);
        metrics.set_jobs(0);
        Ok(metrics)
    }

    /// A reconcile has ended.
    pub fn reconciled(&self, outcome: Outcome, took: Duration) {
        self.reconciles.with_label_values(&[outcome.as_str()]).inc();
        self.reconcile_time.with_label_values(&[outcome.as_str()]).inc_by(took.as_secs_f64());
    }

    /// A step of a reconcile has failed.
    pub fn step_failed(&self, step: &'static str) {
        self.failures.with_label_values(&[step]).inc();
    }

    /// Objects were written.
    pub fn applied(&self, objects: usize) {
        self.applied.with_label_values::<&str>(&[]).inc_by(objects as f64);
    }

    /// A status was written.
    pub fn status_written(&self) {
        self.status_writes.with_label_values::<&str>(&[]).inc();
    }

    /// The API server is asked for something.
    pub fn requested(&self, verb: &'static str) {
        self.requests.with_label_values(&[verb]).inc();
    }

    /// Number of jobs there are.
    pub fn set_jobs(&self, jobs: usize) {
        self.jobs.with_label_values::<&str>(&[]).set(jobs as f64);
    }

    /// Whether this operator has the lease.
    pub fn set_leader(&self, leads: bool) {
        self.leader.with_label_values::<&str>(&[]).set(f64::from(u8::from(leads)));
    }

    /// All of them in the text format of Prometheus.
    pub fn text(&self) -> String {
        let mut text = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            tracing::warn!(%error, "cannot write metrics");
        }
        String::from_utf8_lossy(&text).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_have_the_names_of_the_catalogue() {
        let metrics = Metrics::new().unwrap();
        metrics.reconciled(Outcome::Failed, Duration::from_millis(1500));
        metrics.step_failed("apply");
        metrics.applied(3);
        let text = metrics.text();
        for line in [
            "millstream_operator_reconciles_total{outcome=\"settled\"} 0",
            "millstream_operator_reconciles_total{outcome=\"failed\"} 1",
            "millstream_operator_reconcile_seconds_total{outcome=\"failed\"} 1.5",
            "millstream_operator_step_failures_total{step=\"apply\"} 1",
            "millstream_operator_applied_objects_total 3",
            "millstream_operator_leader 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }
}
