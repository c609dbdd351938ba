//! Where a job's processes run. The control loop knows no more of it than this.
use std::future::Future;

use millstream_api::wire::{JobStatus, RescaleRequest, RescaleStatus, StageStatus};

use crate::client;

pub mod local;
pub mod number;
pub mod process;

/// What can be seen of a job at one moment.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// The job; `None` while its coordinator does not answer.
    pub job: Option<JobStatus>,
    /// Its stages; empty while its coordinator does not answer.
    pub stages: Vec<StageStatus>,
    /// Its rescales, newest first.
    pub rescales: Vec<RescaleStatus>,
    /// Workers the platform is told to run, without those that are lost.
    pub workers_desired: u32,
    /// How they are numbered.
    pub numbers: number::Numbers,
    /// The coordinator has ended without an error and will not be started again: the job is over.
    pub coordinator_done: bool,
}

/// A place that runs a coordinator and `w0`, `w1`, ... for one job.
pub trait Platform: Send {
    /// What is there now. A coordinator that does not answer is an observation, not an error.
    fn observe(&mut self) -> impl Future<Output = Result<Observed, Error>> + Send;

    /// Runs exactly `count` workers: missing ones are started, the highest-numbered ones are stopped. Idempotent.
    fn ensure_workers(&mut self, count: u32) -> impl Future<Output = Result<(), Error>> + Send;

    /// Asks the job for other parallelisms.
    fn rescale(&mut self, request: &RescaleRequest) -> impl Future<Output = Result<RescaleStatus, Error>> + Send;
}

/// Why a platform could not do it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A process of the local platform.
    #[error(transparent)]
    Process(#[from] process::Error),
    /// The job's API.
    #[error(transparent)]
    Api(#[from] client::Error),
    /// A process ended in a way that starting it again cannot cure.
    #[error("{name} ended with exit code {code}; the end of {} says why", log.display())]
    Fatal {
        /// Which.
        name: String,
        /// Its exit code.
        code: i32,
        /// Where its messages are.
        log: std::path::PathBuf,
    },
}
