//! `/metrics` of a coordinator.
use millstream_api::metric;
use millstream_api::wire::JobState;

use super::protocol::Coordinator;
use crate::metrics::Scrape;

/// What the coordinator exports.
pub fn text(coordinator: &Coordinator) -> String {
    let mut scrape = Scrape::default();
    let job = coordinator.job_status();
    let name = job.name.as_str();
    for stage in coordinator.stage_status() {
        scrape.add(&metric::STAGE_PARALLELISM, &[name, &stage.name], f64::from(stage.parallelism));
        for edge in &stage.inputs {
            scrape.add(&metric::EDGE_RECORDS, &[name, &edge.from, &stage.name], edge.records as f64);
            scrape.add(&metric::EDGE_BYTES, &[name, &edge.from, &stage.name], edge.bytes as f64);
        }
    }
    let running = f64::from(u8::from(job.state == JobState::Running));
    scrape.add(&metric::JOB_RUNNING, &[name], running);
    scrape.add(&metric::JOB_WORKERS, &[name], job.workers.len() as f64);
    scrape.add(&metric::JOB_GENERATION, &[name], job.generation as f64);
    scrape.add(&metric::JOB_RECOVERIES, &[name], job.recoveries as f64);
    scrape.add(&metric::JOB_LATE_ROWS, &[name], job.late_rows as f64);
    scrape.add(&metric::JOB_BAD_RECORDS, &[name], job.bad_records as f64);
    let totals = coordinator.totals();
    scrape.add(&metric::CHECKPOINTS, &[name], totals.checkpoints as f64);
    scrape.add(&metric::CHECKPOINTS_FAILED, &[name], totals.checkpoints_failed as f64);
    scrape.add(&metric::CHECKPOINT_UPLOADED, &[name], totals.uploaded_bytes as f64);
    scrape.add(&metric::RESCALES, &[name], totals.rescales as f64);
    scrape.add(&metric::RESCALE_GROUPS_MOVED, &[name], totals.groups_moved as f64);
    if let Some(checkpoint) = &job.checkpoint {
        scrape.add(&metric::CHECKPOINT_EPOCH, &[name], checkpoint.epoch as f64);
        scrape.add(&metric::CHECKPOINT_TIME, &[name], checkpoint.completed_at_ms as f64 / 1e3);
        scrape.add(&metric::CHECKPOINT_DURATION, &[name], checkpoint.duration_ms as f64 / 1e3);
        scrape.add(&metric::CHECKPOINT_STATE, &[name], checkpoint.state_bytes as f64);
    }
    if let Some(rescale) = coordinator.rescale_status().first() {
        let planned = rescale.batches.unwrap_or(rescale.batches_done);
        scrape.add(&metric::RESCALE_BATCHES, &[name], f64::from(rescale.batches_done));
        scrape.add(&metric::RESCALE_BATCHES_PLANNED, &[name], f64::from(planned));
        scrape.add(&metric::RESCALE_BYTES, &[name], rescale.bytes_moved as f64);
        scrape.add(&metric::RESCALE_PAUSE, &[name], rescale.pause_ms_max.unwrap_or(0) as f64 / 1e3);
    }
    if let Some(duration_ms) = coordinator.rescale_status().iter().find_map(|rescale| rescale.duration_ms) {
        scrape.add(&metric::RESCALE_DURATION, &[name], duration_ms as f64 / 1e3);
    }
    scrape.text()
}
