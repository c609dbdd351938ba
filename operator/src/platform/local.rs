//! The local platform: coordinator and workers as child processes on loopback.
use std::fmt;
use std::path::Path;
use std::time::Duration;

use millstream_api::wire::{RescaleRequest, RescaleStatus};
use tokio::sync::mpsc;

use super::process::{LocalProcesses, ProcessEvent, ProcessSpec, USER_ERROR};
use super::{Error, Observed, Platform};
use crate::client::Client;

pub use super::process::{PARENT_ENV, bind_to_parent, bind_to_parent_of_env};

/// Name of the coordinator's process.
pub const COORDINATOR: &str = "coordinator";
/// Time a worker or coordinator has to finish after TERM.
pub const GRACE: Duration = Duration::from_secs(5);

/// How to start the processes of one job; the binary's command line is its own business.
pub struct Launch {
    /// The coordinator.
    pub coordinator: ProcessSpec,
    /// Worker `w{n}`; its spec's name is set here.
    pub worker: Box<dyn Fn(u32) -> ProcessSpec + Send + Sync>,
}

impl fmt::Debug for Launch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Launch").field("coordinator", &self.coordinator).finish_non_exhaustive()
    }
}

/// One job's processes on this machine.
#[derive(Debug)]
pub struct LocalPlatform {
    processes: LocalProcesses,
    events: mpsc::Receiver<ProcessEvent>,
    client: Client,
    launch: Launch,
    workers: u32,
}

/// Name of worker number `n`.
pub fn worker_name(n: u32) -> String {
    format!("w{n}")
}

/// Number of the worker with this name.
pub fn worker_number(name: &str) -> Option<u32> {
    name.strip_prefix('w')?.parse().ok()
}

impl LocalPlatform {
    /// Starts the coordinator, which will write `api.json` into `workdir`, and `workers` workers.
    pub fn start(launch: Launch, workdir: &Path, workers: u32) -> Result<Self, Error> {
        let client = Client::in_workdir(workdir)?;
        let (mut processes, events) = LocalProcesses::new();
        processes.start(ProcessSpec { name: COORDINATOR.into(), ..launch.coordinator.clone() })?;
        let mut platform = Self { processes, events, client, launch, workers: 0 };
        platform.grow(workers)?;
        Ok(platform)
    }

    /// The job's API.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Stops all processes: workers and coordinator are asked at once, and killed after [`GRACE`].
    pub async fn shutdown(self) {
        self.processes.shutdown(GRACE).await;
    }

    fn grow(&mut self, count: u32) -> Result<(), Error> {
        for n in self.workers..count {
            self.processes.start(ProcessSpec { name: worker_name(n), ..(self.launch.worker)(n) })?;
            self.workers = n + 1;
        }
        Ok(())
    }

    /// Reads what happened to the processes; an end that no restart cures is an error.
    fn drain_events(&mut self) -> Result<(), Error> {
        while let Ok(event) = self.events.try_recv() {
            if let ProcessEvent::Exited { name, code: code @ USER_ERROR, log, .. } = event {
                return Err(Error::Fatal { name, code, log });
            }
        }
        Ok(())
    }
}

impl Platform for LocalPlatform {
    async fn observe(&mut self) -> Result<Observed, Error> {
        self.drain_events()?;
        let workers_desired = self.workers;
        let (job, stages, rescales) = tokio::join!(self.client.job(), self.client.stages(), self.client.rescales());
        match (job, stages) {
            (Ok(job), Ok(stages)) => {
                Ok(Observed { job: Some(job), stages, rescales: rescales.unwrap_or_default(), workers_desired })
            }
            (Err(error), _) | (_, Err(error)) => {
                tracing::debug!(%error, "the coordinator does not answer");
                Ok(Observed { workers_desired, ..Observed::default() })
            }
        }
    }

    async fn ensure_workers(&mut self, count: u32) -> Result<(), Error> {
        let surplus: Vec<String> = (count..self.workers).map(worker_name).collect();
        self.workers = self.workers.min(count);
        self.processes.stop(&surplus, GRACE).await;
        self.grow(count)
    }

    async fn rescale(&mut self, request: &RescaleRequest) -> Result<RescaleStatus, Error> {
        Ok(self.client.rescale(request).await?)
    }
}
