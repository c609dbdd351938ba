//! What the job's API shows of a coordinator. Pure.
use std::collections::BTreeMap;

use millstream_api::id::TaskId;
use millstream_api::wire::{
    Blocked, CheckpointStatus, EdgeStatus, GroupLoad, JobState, JobStatus, ProcessStatus, RescaleStatus, StageStatus,
    TaskStatus, WorkerStatus,
};

use super::place::HASH;
use super::protocol::Coordinator;
use crate::message::TaskReport;

impl Coordinator {
    /// The job as a whole.
    pub fn job_status(&self) -> JobStatus {
        let reports = self.reports();
        let tasks_on = |worker: &str| {
            let placed = self.deployment.iter().flat_map(|stage| &stage.tasks);
            placed.filter(|placed| placed.worker == worker).map(|placed| placed.task).collect()
        };
        let worker = |worker: &super::protocol::Worker| WorkerStatus {
            id: worker.register.name.clone(),
            pid: worker.register.pid,
            incarnation: worker.register.incarnation,
            data_address: worker.register.data_address.clone(),
            admin_address: worker.register.admin_address.clone(),
            slots: worker.register.slots,
            tasks: tasks_on(&worker.register.name),
            draining: worker.drain.is_some(),
            released: worker.released,
        };
        let state = self.state();
        // Of a job that does not run, something else is to be told.
        let store_away = self.store_away.as_ref().filter(|_| state == JobState::Running);
        JobStatus {
            name: self.config.job.name.clone(),
            state,
            error: store_away.or(self.error.as_ref()).cloned(),
            blocked: store_away.map(|_| Blocked::StoreUnreachable),
            generation: self.generation,
            term: self.config.term,
            recoveries: self.recoveries,
            coordinator: ProcessStatus { pid: self.config.pid },
            workers: self.workers.values().map(worker).collect(),
            checkpoint: self.checkpoints.front().cloned(),
            checkpoints_kept: u32::try_from(self.config.job.checkpoint_keep).ok(),
            restored_epoch: self.restored_epoch,
            started_from: self.config.started_from.clone(),
            late_rows: self.gone.late_rows + reports.values().map(|report| report.counters.late_rows).sum::<u64>(),
            bad_records: self.gone.bad_records
                + reports.values().map(|report| report.counters.bad_records).sum::<u64>(),
        }
    }

    /// Every stage with its tasks.
    pub fn stage_status(&self) -> Vec<StageStatus> {
        let reports = self.reports();
        let stages = self.config.stages.iter().enumerate();
        stages.map(|(index, _)| self.one_stage(index, &reports)).collect()
    }

    /// Every stage with its tasks and the load of its key groups.
    pub fn stage_status_by_group(&self) -> Vec<StageStatus> {
        let mut stages = self.stage_status();
        for (index, stage) in stages.iter_mut().enumerate() {
            stage.groups = self.group_loads(index);
        }
        stages
    }

    /// Rows a second that come for each key group of a stage; empty if it has none.
    pub(super) fn group_rates(&self, index: usize) -> Vec<f64> {
        let Some(deployed) = self.deployment.get(index) else { return Vec::new() };
        let keyed = self.config.stages[index].inputs.iter().filter(|(_, _, partition)| *partition == HASH);
        let edges: Vec<u16> = keyed.map(|(edge, _, _)| *edge).collect();
        if edges.is_empty() {
            return Vec::new();
        }
        let mut rates = vec![0.0; deployed.table.owners.len()];
        for worker in self.workers.values() {
            edges.iter().for_each(|edge| worker.loads.add_rates(*edge, &mut rates));
        }
        rates
    }

    fn group_loads(&self, index: usize) -> Vec<GroupLoad> {
        let Some(deployed) = self.deployment.get(index) else { return Vec::new() };
        let load =
            |((group, task), records_per_s): ((u16, &TaskId), f64)| GroupLoad { group, task: *task, records_per_s };
        (0u16..).zip(&deployed.table.owners).zip(self.group_rates(index)).map(load).collect()
    }

    fn one_stage(&self, index: usize, reports: &BTreeMap<TaskId, &TaskReport>) -> StageStatus {
        let shape = &self.config.stages[index];
        let edge = |(id, from, partition): &(u16, usize, &'static str)| {
            let sent = reports.values().filter(|report| report.stage == *from).flat_map(|report| &report.edges);
            let sent = sent.filter(|(edge, _, _)| edge == id);
            let (records, bytes) = sent.fold((0, 0), |sum, (_, records, bytes)| (sum.0 + records, sum.1 + bytes));
            let from = self.config.stages[*from].name.clone();
            EdgeStatus { from, partition: (*partition).to_owned(), records, bytes }
        };
        let placed = self.deployment.get(index).map(|stage| stage.tasks.as_slice()).unwrap_or_default();
        let task = |placed: &crate::job::Placement| {
            let report = reports.get(&placed.task);
            TaskStatus {
                id: placed.task,
                worker: placed.worker.clone(),
                counters: report.map(|report| report.counters.clone()).unwrap_or_default(),
                watermark_ms: report.and_then(|report| report.watermark_ms),
                lag_records: report.and_then(|report| report.lag_records),
                offered_per_s: report.and_then(|report| report.offered_per_s),
                key_groups: report.map_or(0, |report| report.key_groups),
                state_bytes: report.map_or(0, |report| report.state_bytes),
                store_reads: report.map_or(0, |report| report.store.reads),
                store_writes: report.map_or(0, |report| report.store.writes),
                starved_us: report.map_or(0, |report| report.starved_us),
            }
        };
        StageStatus {
            name: shape.name.clone(),
            ops: shape.ops.clone(),
            source: shape.splits.is_some(),
            splits: shape.splits.as_ref().map(|splits| splits.len() as u32),
            parallelism: self.parallelism[index],
            table_version: self.deployment.get(index).map_or(0, |stage| stage.table.version),
            inputs: shape.inputs.iter().map(edge).collect(),
            tasks: placed.iter().map(task).collect(),
            groups: Vec::new(),
        }
    }

    /// What every task last reported.
    pub fn reports(&self) -> BTreeMap<TaskId, &TaskReport> {
        let reports = self.workers.values().flat_map(|worker| &worker.metrics);
        reports.map(|report| (report.task, report)).collect()
    }

    /// Newest first.
    pub fn checkpoint_status(&self) -> Vec<CheckpointStatus> {
        self.checkpoints.iter().cloned().collect()
    }

    /// The one asked for last.
    pub fn newest_rescale(&self) -> Option<&RescaleStatus> {
        self.rescales.front()
    }

    /// Newest first.
    pub fn rescale_status(&self) -> Vec<RescaleStatus> {
        self.rescales.iter().cloned().collect()
    }
}
