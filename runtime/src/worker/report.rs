//! From the gauges of the tasks to a report.
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use millstream_api::wire::TaskCounters;

use super::build::{Deployment, Running};
use crate::message::{Report, TaskReport};
use crate::state::Operations;

/// What all tasks have counted so far.
pub fn measure(deployment: &Deployment) -> Report {
    let tasks = deployment.tasks.iter().map(|(task, running)| one(*task, running)).collect();
    Report::Metrics { generation: deployment.generation, tasks }
}

fn one(task: u32, running: &Running) -> TaskReport {
    let gauge = &running.gauge;
    let read = |counter: &AtomicU64| counter.load(Relaxed);
    let known = |counter: &AtomicU64| Some(read(counter)).filter(|value| *value != u64::MAX);
    let (busy_us, backpressured_us, idle_us) =
        (read(&gauge.busy_us), read(&gauge.backpressured_us), read(&gauge.idle_us));
    let counters = TaskCounters {
        elapsed_us: busy_us + backpressured_us + idle_us,
        busy_us,
        backpressured_us,
        idle_us,
        records_in: read(&gauge.records_in),
        records_out: read(&gauge.records_out),
        bytes_in: read(&gauge.bytes_in),
        bytes_out: read(&gauge.bytes_out),
        late_rows: read(&gauge.late_rows),
        bad_records: read(&gauge.bad_records),
    };
    let groups = running.edges.iter().map(|(edge, counters)| (*edge, counters.groups()));
    TaskReport {
        task,
        stage: running.stage,
        counters,
        watermark_ms: Some(gauge.watermark_ms.load(Relaxed)).filter(|watermark| *watermark != i64::MIN),
        lag_records: known(&gauge.lag_records),
        offered_per_s: known(&gauge.offered_milli_per_s).map(|milli| milli as f64 / 1000.0),
        key_groups: running.groups.len() as u32,
        state_bytes: read(&gauge.state_bytes),
        group_bytes: gauge.group_bytes.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        store: Operations { reads: read(&gauge.store_reads), writes: read(&gauge.store_writes) },
        edges: running.edges.iter().map(|(edge, counters)| (*edge, counters.records(), counters.bytes())).collect(),
        groups: groups.filter(|(_, groups)| !groups.is_empty()).collect(),
        starved_us: busy_us.saturating_sub(read(&gauge.limited_us)).saturating_sub(read(&gauge.cpu_us)),
    }
}
