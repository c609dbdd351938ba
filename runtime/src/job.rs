//! What coordinator and workers know of a job: its text and its settings.
use std::collections::BTreeMap;

use millstream_api::id::TaskId;
use millstream_sql::{OpKind, PlanOptions, StageGraph};
use serde::{Deserialize, Serialize};

/// A job as the coordinator is given it; sent to every worker as it is. Planning the same spec gives the same graph.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobSpec {
    /// Name of the job.
    pub name: String,
    /// SQL text, variables already replaced.
    pub sql: String,
    /// Tasks of every stage without an entry of its own.
    pub parallelism: u32,
    /// Stage name -> tasks.
    #[serde(default)]
    pub stages: BTreeMap<String, u32>,
    /// Number of key groups; fixed for the life of the job's state.
    pub key_groups: u32,
    /// Time between checkpoints; none = only the final one and savepoints.
    pub checkpoint_interval_ms: Option<u64>,
    /// A checkpoint that takes longer is given up.
    pub checkpoint_timeout_ms: u64,
    /// Complete checkpoints kept.
    pub checkpoint_keep: usize,
    /// Failures within `restart_window_ms` after which the job is given up.
    pub restart_max_failures: u32,
    /// See `restart_max_failures`.
    pub restart_window_ms: u64,
    /// A worker that has not started, cancelled or ended its tasks after this time is taken as lost.
    pub answer_timeout_ms: u64,
    /// `memory` or `rocksdb`.
    pub state_backend: String,
    /// Bytes of block cache and write buffers of a worker.
    pub state_memory_bytes: u64,
    /// Tuning of the data plane.
    pub tuning: Tuning,
    /// Options that replace those of the text, by table; none = the option is removed. For running the same text against other
    /// tables, such as a comparison at full speed into another folder.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub table_options: BTreeMap<String, BTreeMap<String, Option<String>>>,
    /// Ops whose state may be lost where it has no place in the job any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drop_state: Vec<String>,
}

/// Tuning of the data plane, from the job's settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tuning {
    /// Rows a source reads at a time, and about how many a router sends at a time.
    pub batch_rows: usize,
    /// Credit window of a channel.
    pub window_bytes: usize,
    /// Decoded entries an op may cache.
    pub op_cache_bytes: usize,
    /// Service rate every task is bounded to, rows a second.
    pub records_per_second: Option<f64>,
    /// Service rates of single stages, which take precedence.
    #[serde(default)]
    pub stage_records_per_second: BTreeMap<String, f64>,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            batch_rows: 4096,
            window_bytes: 1 << 20,
            op_cache_bytes: 32 << 20,
            records_per_second: None,
            stage_records_per_second: BTreeMap::new(),
        }
    }
}

impl JobSpec {
    /// The job's stage graph. Every process of the job gets the same one; its fingerprint is that of the text alone.
    pub fn plan(&self) -> Result<StageGraph, millstream_sql::Error> {
        let mut graph = millstream_sql::plan(&self.sql, &PlanOptions::default())?;
        for op in graph.stages.iter_mut().flat_map(|stage| &mut stage.ops) {
            let (OpKind::Source(table) | OpKind::Sink(table)) = &mut op.kind else { continue };
            for (name, value) in self.table_options.get(&table.name).into_iter().flatten() {
                if let ("connector", Some(value)) = (name.as_str(), value) {
                    table.connector.clone_from(value);
                }
                match value {
                    Some(value) => table.options.insert(name.clone(), value.clone()),
                    None => table.options.remove(name),
                };
            }
        }
        Ok(graph)
    }

    /// Tasks asked for of a stage.
    pub fn parallelism_of(&self, stage: &str) -> u32 {
        self.stages.get(stage).copied().unwrap_or(self.parallelism)
    }
}

/// Where a task runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// The task.
    pub task: TaskId,
    /// Name of the worker.
    pub worker: String,
}
