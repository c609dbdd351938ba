//! `/metrics` of a worker.
use millstream_api::metric::{self, Metric};

use crate::message::{Deploy, TaskReport};
use crate::metrics::Scrape;

/// What a worker exports of its tasks.
pub fn text(deploy: &Deploy, tasks: &[TaskReport]) -> String {
    let mut scrape = Scrape::default();
    for report in tasks {
        let stage = deploy.stages.get(report.stage).map(|stage| stage.name.as_str()).unwrap_or_default();
        let task = report.task.to_string();
        let mut add = |metric: &Metric, value: f64| scrape.add(metric, &[&deploy.job.name, stage, &task], value);
        let counters = &report.counters;
        add(&metric::TASK_BUSY, counters.busy_us as f64 / 1e6);
        add(&metric::TASK_BACKPRESSURED, counters.backpressured_us as f64 / 1e6);
        add(&metric::TASK_IDLE, counters.idle_us as f64 / 1e6);
        add(&metric::TASK_RECORDS_IN, counters.records_in as f64);
        add(&metric::TASK_RECORDS_OUT, counters.records_out as f64);
        add(&metric::TASK_BYTES_IN, counters.bytes_in as f64);
        add(&metric::TASK_BYTES_OUT, counters.bytes_out as f64);
        add(&metric::TASK_LATE_ROWS, counters.late_rows as f64);
        add(&metric::TASK_BAD_RECORDS, counters.bad_records as f64);
        add(&metric::TASK_KEY_GROUPS, f64::from(report.key_groups));
        add(&metric::TASK_STATE_BYTES, report.state_bytes as f64);
        add(&metric::TASK_STORE_READS, report.store.reads as f64);
        add(&metric::TASK_STORE_WRITES, report.store.writes as f64);
        if let Some(watermark_ms) = report.watermark_ms {
            add(&metric::TASK_WATERMARK, watermark_ms as f64 / 1e3);
        }
        if let Some(lag) = report.lag_records {
            add(&metric::TASK_LAG_RECORDS, lag as f64);
        }
        if let Some(offered) = report.offered_per_s {
            add(&metric::TASK_OFFERED, offered);
        }
    }
    scrape.text()
}
