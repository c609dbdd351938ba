//! A coordinator that answers as one of a job does that runs as it should, and does nothing else. Its ports, its API and its
//! certificates are the real ones.
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use millstream_api::wire::{
    CheckpointStatus, ErrorBody, JobState, JobStatus, ProcessStatus, StageStatus, TaskCounters, TaskStatus,
    WorkerStatus,
};
use millstream_runtime::clock::{Clock, SystemClock};
use millstream_runtime::coordinator::api::{Call, router};
use millstream_runtime::coordinator::protocol::Reply;
use millstream_runtime::net::tls::{ApiListener, Certificates};
use millstream_runtime::pod::API_PORT;
use tokio::sync::mpsc;

/// From checkpoint to checkpoint.
const CHECKPOINT_MS: u64 = 10_000;
/// Rows a second, which keep a task busy half of its time.
const RATE: u64 = 1_000;
/// Calls that wait to be answered.
const CALLS: usize = 16;

/// What a job's coordinator says.
pub struct Answers {
    job: String,
    worker: String,
    polls: Arc<AtomicU64>,
    clock: SystemClock,
    started_ms: i64,
}

/// Serves until the process ends.
pub async fn serve(certificates: &Path, address: Ipv4Addr, token: &str, answers: Answers) -> Result<()> {
    let certificates = Arc::new(Certificates::load(certificates, "coordinator")?);
    let at = format!("{address}:{API_PORT}");
    let listener = ApiListener::bind(certificates, &at).await.with_context(|| format!("cannot listen at {at}"))?;
    let (calls, mut called) = mpsc::channel(CALLS);
    let app = router(calls, token);
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, app).await {
            eprintln!("note: a coordinator ended: {error}");
        }
    });
    tokio::spawn(async move {
        while let Some(call) = called.recv().await {
            answers.answer(call);
        }
    });
    Ok(())
}

impl Answers {
    pub fn new(job: &str, worker: &str, polls: Arc<AtomicU64>) -> Self {
        let clock = SystemClock::default();
        let started_ms = clock.now_ms();
        Self { job: job.to_owned(), worker: worker.to_owned(), polls, clock, started_ms }
    }

    /// Whoever asked may have left.
    fn answer(&self, call: Call) {
        self.polls.fetch_add(1, Ordering::Relaxed);
        match call {
            Call::Alive(reply) => drop(reply.send(())),
            Call::Job(reply) => drop(reply.send(self.job())),
            Call::Stages { reply, .. } => drop(reply.send(vec![self.stage()])),
            Call::Checkpoints(reply) => drop(reply.send(self.checkpoint().into_iter().collect())),
            Call::Rescales { reply, .. } => drop(reply.send(Vec::new())),
            Call::Metrics(reply) => drop(reply.send(String::new())),
            Call::Change(_, reply) => {
                let error = "a job of the bench does not change".to_owned();
                drop(reply.send(Reply::Refused(409, ErrorBody { error })));
            }
            Call::Erase(_, reply) => {
                let error = "a job of the bench has nothing in a store".to_owned();
                drop(reply.send(Err((409, ErrorBody { error }))));
            }
        }
    }

    fn job(&self) -> JobStatus {
        let worker = WorkerStatus {
            id: self.worker.clone(),
            incarnation: 1,
            slots: 1,
            tasks: vec![1],
            ..WorkerStatus::default()
        };
        JobStatus {
            name: self.job.clone(),
            state: JobState::Running,
            error: None,
            blocked: None,
            generation: 1,
            term: 1,
            recoveries: 0,
            coordinator: ProcessStatus::default(),
            workers: vec![worker],
            checkpoint: self.checkpoint(),
            checkpoints_kept: None,
            restored_epoch: None,
            started_from: None,
            late_rows: 0,
            bad_records: 0,
        }
    }

    fn checkpoint(&self) -> Option<CheckpointStatus> {
        let epoch = self.clock.now_us() / 1000 / CHECKPOINT_MS;
        (epoch > 0).then(|| CheckpointStatus {
            name: None,
            epoch,
            savepoint: false,
            completed_at_ms: self.started_ms + i64::try_from(epoch * CHECKPOINT_MS).unwrap_or_default(),
            duration_ms: 100,
            uploaded_bytes: 1 << 20,
            state_bytes: 64 << 20,
            path: format!("s3://bucket/bench/{}/manifests/{epoch}", self.job),
        })
    }

    fn stage(&self) -> StageStatus {
        let elapsed_us = self.clock.now_us();
        let rows = elapsed_us * RATE / 1_000_000;
        let counters = TaskCounters {
            elapsed_us,
            busy_us: elapsed_us / 2,
            idle_us: elapsed_us - elapsed_us / 2,
            records_in: rows,
            records_out: rows,
            bytes_in: rows * 100,
            bytes_out: rows * 100,
            ..TaskCounters::default()
        };
        let task = TaskStatus {
            id: 1,
            worker: self.worker.clone(),
            counters,
            watermark_ms: Some(self.clock.now_ms()),
            lag_records: Some(0),
            offered_per_s: Some(RATE as f64),
            key_groups: 0,
            state_bytes: 64 << 20,
            store_reads: rows,
            store_writes: rows,
            starved_us: 0,
        };
        StageStatus {
            name: "events".into(),
            ops: vec!["source".into(), "sink".into()],
            source: true,
            splits: Some(4),
            parallelism: 1,
            table_version: 1,
            inputs: Vec::new(),
            tasks: vec![task],
            groups: Vec::new(),
        }
    }
}
