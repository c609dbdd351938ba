//! The metric catalogue: every series any process exports, and nothing else. Names are constants, so that a renamed
//! metric breaks the build and not a dashboard. `stream_job`, `stage` and `task` are the labels: Prometheus owns `job`,
//! and `instance`, `pod` and `namespace` come from the scrape.

/// What a series does over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows; begins again at 0 with its process or task set.
    Counter,
    /// Goes up and down.
    Gauge,
}

/// Which process exports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A job's workers.
    Worker,
    /// A job's coordinator.
    Coordinator,
    /// The operator.
    Operator,
}

/// One metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// Full name.
    pub name: &'static str,
    /// Counter or gauge.
    pub kind: Kind,
    /// Unit of its values.
    pub unit: &'static str,
    /// Names of its labels.
    pub labels: &'static [&'static str],
    /// Who exports it.
    pub role: Role,
    /// What it says.
    pub help: &'static str,
}

const JOB: &[&str] = &["stream_job"];
const STAGE: &[&str] = &["stream_job", "stage"];
const TASK: &[&str] = &["stream_job", "stage", "task"];
const EDGE: &[&str] = &["stream_job", "from", "stage"];
const REASON: &[&str] = &["stream_job", "stage", "direction", "reason"];
const NONE: &[&str] = &[];
const OUTCOME: &[&str] = &["outcome"];
const STEP: &[&str] = &["step"];
const VERB: &[&str] = &["verb"];

macro_rules! metrics {
    ($($constant:ident = $name:literal $kind:ident $unit:literal $labels:ident $role:ident: $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $constant: Metric = Metric {
                name: $name, kind: Kind::$kind, unit: $unit, labels: $labels, role: Role::$role, help: $help,
            };
        )*
        /// Every metric, in the order of this file.
        pub const CATALOGUE: &[Metric] = &[$($constant),*];
    };
}

metrics! {
    TASK_BUSY = "millstream_task_busy_seconds_total" Counter "seconds" TASK Worker:
        "Time a task worked, waiting in its rate limiter included.";
    TASK_BACKPRESSURED = "millstream_task_backpressured_seconds_total" Counter "seconds" TASK Worker:
        "Time a task waited for credit of an output channel.";
    TASK_IDLE = "millstream_task_idle_seconds_total" Counter "seconds" TASK Worker:
        "Time a task waited for input.";
    TASK_RECORDS_IN = "millstream_task_in_records_total" Counter "records" TASK Worker:
        "Rows a task took from its input channels; of a source, rows read.";
    TASK_RECORDS_OUT = "millstream_task_out_records_total" Counter "records" TASK Worker:
        "Rows a task gave to its output channels or to the sink.";
    TASK_BYTES_IN = "millstream_task_in_bytes_total" Counter "bytes" TASK Worker:
        "Bytes a task took from its input channels.";
    TASK_BYTES_OUT = "millstream_task_out_bytes_total" Counter "bytes" TASK Worker:
        "Bytes a task gave to its output channels.";
    TASK_LATE_ROWS = "millstream_task_late_rows_total" Counter "records" TASK Worker:
        "Rows dropped because they were later than the watermark.";
    TASK_BAD_RECORDS = "millstream_task_bad_records_total" Counter "records" TASK Worker:
        "Malformed input records that were skipped or put aside.";
    TASK_WATERMARK = "millstream_task_watermark_seconds" Gauge "seconds" TASK Worker:
        "Output watermark of a task, seconds since 1970.";
    TASK_LAG_RECORDS = "millstream_task_lag_records" Gauge "records" TASK Worker:
        "Events that are due and not yet taken by a source task.";
    TASK_OFFERED = "millstream_task_offered_records_per_second" Gauge "records/second" TASK Worker:
        "Offered rate of a source task with a schedule.";
    TASK_KEY_GROUPS = "millstream_task_key_groups" Gauge "groups" TASK Worker:
        "Key groups a task owns.";
    TASK_STATE_BYTES = "millstream_task_state_bytes" Gauge "bytes" TASK Worker:
        "Keyed state of a task, an estimate.";
    TASK_STORE_READS = "millstream_task_store_reads_total" Counter "operations" TASK Worker:
        "Keys a task read from its state store.";
    TASK_STORE_WRITES = "millstream_task_store_writes_total" Counter "operations" TASK Worker:
        "Keys a task wrote to its state store.";
    EDGE_RECORDS = "millstream_edge_records_total" Counter "records" EDGE Coordinator:
        "Rows sent over an edge of the stage graph.";
    EDGE_BYTES = "millstream_edge_bytes_total" Counter "bytes" EDGE Coordinator:
        "Bytes sent over an edge of the stage graph.";
    STAGE_PARALLELISM = "millstream_stage_parallelism" Gauge "tasks" STAGE Coordinator:
        "Tasks of a stage.";
    JOB_RUNNING = "millstream_job_running" Gauge "bool" JOB Coordinator:
        "1 while all tasks run, else 0.";
    JOB_WORKERS = "millstream_job_workers" Gauge "processes" JOB Coordinator:
        "Registered workers.";
    JOB_GENERATION = "millstream_job_generation" Gauge "number" JOB Coordinator:
        "Incarnation of the job's task set.";
    JOB_RECOVERIES = "millstream_job_recoveries_total" Counter "failures" JOB Coordinator:
        "Failures survived by going back to a checkpoint.";
    JOB_LATE_ROWS = "millstream_job_late_rows_total" Counter "records" JOB Coordinator:
        "Rows dropped as late, all stages, across restarts.";
    JOB_BAD_RECORDS = "millstream_job_bad_records_total" Counter "records" JOB Coordinator:
        "Malformed input records, all sources, across restarts.";
    CHECKPOINTS = "millstream_checkpoints_total" Counter "checkpoints" JOB Coordinator:
        "Checkpoints completed.";
    CHECKPOINTS_FAILED = "millstream_checkpoints_failed_total" Counter "checkpoints" JOB Coordinator:
        "Checkpoints given up.";
    CHECKPOINT_EPOCH = "millstream_checkpoint_epoch" Gauge "number" JOB Coordinator:
        "Epoch of the newest complete checkpoint.";
    CHECKPOINT_TIME = "millstream_checkpoint_completed_timestamp_seconds" Gauge "seconds" JOB Coordinator:
        "When the newest checkpoint was complete, seconds since 1970.";
    CHECKPOINT_DURATION = "millstream_checkpoint_duration_seconds" Gauge "seconds" JOB Coordinator:
        "From trigger to committed manifest of the newest checkpoint.";
    CHECKPOINT_UPLOADED = "millstream_checkpoint_uploaded_bytes_total" Counter "bytes" JOB Coordinator:
        "Bytes uploaded for checkpoints; files the store has already are not sent again.";
    CHECKPOINT_STATE = "millstream_checkpoint_state_bytes" Gauge "bytes" JOB Coordinator:
        "State the newest checkpoint stands for.";
    RESCALES = "millstream_rescales_total" Counter "rescales" JOB Coordinator:
        "Rescales done.";
    RESCALE_DURATION = "millstream_rescale_duration_seconds" Gauge "seconds" JOB Coordinator:
        "From the request of the newest rescale until its tasks ran.";
    RESCALE_GROUPS_MOVED = "millstream_rescale_groups_moved_total" Counter "groups" JOB Coordinator:
        "Key groups that got another owner in a rescale.";
    RESCALE_BATCHES = "millstream_rescale_batches" Gauge "batches" JOB Coordinator:
        "Batches settled of the newest rescale.";
    RESCALE_BATCHES_PLANNED = "millstream_rescale_batches_planned" Gauge "batches" JOB Coordinator:
        "Batches the newest rescale is expected to have, as known so far.";
    RESCALE_BYTES = "millstream_rescale_moved_bytes" Gauge "bytes" JOB Coordinator:
        "Bytes of state sent from task to task in the newest rescale.";
    RESCALE_PAUSE = "millstream_rescale_pause_seconds" Gauge "seconds" JOB Coordinator:
        "Longest time a key group was held in the newest rescale.";
    AUTOSCALER_DECISIONS = "millstream_autoscaler_decisions_total" Counter "decisions" REASON Operator:
        "Decisions to change a stage, by direction (up, down) and reason.";
    AUTOSCALER_RECOMMENDED = "millstream_autoscaler_recommended_parallelism" Gauge "tasks" STAGE Operator:
        "Tasks the autoscaler recommends, whether it may act or not.";
    AUTOSCALER_NEED = "millstream_autoscaler_needed_tasks" Gauge "tasks" STAGE Operator:
        "Fractional tasks the demand asks for, before bounds and key groups.";
    AUTOSCALER_TRUE_RATE = "millstream_autoscaler_true_records_per_second" Gauge "records/second" STAGE Operator:
        "Rows a second of useful time that one task takes.";
    OPERATOR_ACTIONS = "millstream_operator_actions_total" Counter "actions" JOB Operator:
        "Changes the operator asked of a job or its platform.";
    OPERATOR_ERRORS = "millstream_operator_errors_total" Counter "errors" JOB Operator:
        "Turns of the control loop that failed.";
    OPERATOR_RECONCILES = "millstream_operator_reconciles_total" Counter "reconciles" OUTCOME Operator:
        "Times the operator looked after a job, by how that ended.";
    OPERATOR_RECONCILE_TIME = "millstream_operator_reconcile_seconds_total" Counter "seconds" OUTCOME Operator:
        "Time the operator spent looking after jobs; divided by the number of times it is the mean.";
    OPERATOR_FAILURES = "millstream_operator_step_failures_total" Counter "errors" STEP Operator:
        "Steps of a reconcile that failed, by step.";
    OPERATOR_APPLIED = "millstream_operator_applied_objects_total" Counter "objects" NONE Operator:
        "Objects written because they were not as they should be.";
    OPERATOR_STATUS_WRITES = "millstream_operator_status_writes_total" Counter "writes" NONE Operator:
        "Times a job's status was written.";
    OPERATOR_REQUESTS = "millstream_operator_api_requests_total" Counter "requests" VERB Operator:
        "Requests to the API server, by verb; lists count as get.";
    OPERATOR_JOBS = "millstream_operator_jobs" Gauge "jobs" NONE Operator:
        "Jobs the operator looks after.";
    OPERATOR_LEADER = "millstream_operator_leader" Gauge "bool" NONE Operator:
        "1 while this operator has the lease, else 0.";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_follow_the_rules_of_prometheus() {
        let names: BTreeSet<_> = CATALOGUE.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), CATALOGUE.len(), "no name is there twice");
        for metric in CATALOGUE {
            let name = metric.name;
            assert!(
                name.starts_with("millstream_") && name.chars().all(|c| c.is_ascii_lowercase() || c == '_'),
                "{name}"
            );
            assert_eq!(name.ends_with("_total"), metric.kind == Kind::Counter, "{name}");
            let unit = match metric.unit {
                "seconds" | "bytes" => name.trim_end_matches("_total").ends_with(metric.unit),
                _ => true,
            };
            assert!(unit, "{name} must end with its unit");
            let reserved = ["job", "instance", "pod", "namespace", "container", "endpoint", "service"];
            assert!(metric.labels.iter().all(|label| !reserved.contains(label)), "{name}");
            let of_the_operator = metric.role == Role::Operator && !metric.labels.contains(&"stage");
            assert!(of_the_operator || metric.labels.first() == Some(&"stream_job"), "{name}");
            assert!(metric.help.ends_with('.'), "{name}");
        }
    }
}
