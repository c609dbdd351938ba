//! The local platform: coordinator and workers as child processes on loopback.
use std::fmt;
use std::path::Path;
use std::time::Duration;

use millstream_api::wire::{JobState, JobStatus, RescaleRequest, RescaleStatus};
use tokio::sync::mpsc;

use super::number::Numbers;
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
    coordinator_done: bool,
}

/// Name of worker number `n`.
pub fn worker_name(n: u32) -> String {
    format!("w{n}")
}

impl LocalPlatform {
    /// Starts the coordinator, which will write `api.json` into `workdir`, and `workers` workers.
    pub fn start(launch: Launch, workdir: &Path, workers: u32) -> Result<Self, Error> {
        let client = Client::in_workdir(workdir)?;
        let (mut processes, events) = LocalProcesses::new();
        processes.start(ProcessSpec { name: COORDINATOR.into(), ..launch.coordinator.clone() })?;
        let mut platform = Self { processes, events, client, launch, workers: 0, coordinator_done: false };
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
            self.start_worker(n)?;
            self.workers = n + 1;
        }
        Ok(())
    }

    fn start_worker(&mut self, n: u32) -> Result<(), Error> {
        Ok(self.processes.start(ProcessSpec { name: worker_name(n), ..(self.launch.worker)(n) })?)
    }

    /// Starts the workers again that ended because their job was over, and it was not: its coordinator died before it could say
    /// so, and the next one has to commit the job's end once more.
    fn revive_workers(&mut self, job: &JobStatus) -> Result<(), Error> {
        if job.state == JobState::WaitingForWorkers {
            (0..self.workers).try_for_each(|n| self.start_worker(n))?;
        }
        Ok(())
    }

    /// Reads what happened to the processes; an end that no restart cures is an error.
    fn drain_events(&mut self) -> Result<(), Error> {
        while let Ok(event) = self.events.try_recv() {
            match event {
                ProcessEvent::Exited { name, code: code @ USER_ERROR, log, .. } => {
                    return Err(Error::Fatal { name, code, log });
                }
                ProcessEvent::Exited { name, code: 0, .. } if name == COORDINATOR => self.coordinator_done = true,
                _ => {}
            }
        }
        Ok(())
    }
}

impl Platform for LocalPlatform {
    async fn observe(&mut self) -> Result<Observed, Error> {
        self.drain_events()?;
        let (workers_desired, coordinator_done) = (self.workers, self.coordinator_done);
        let (job, stages, rescales) = tokio::join!(self.client.job(), self.client.stages(), self.client.rescales());
        match (job, stages) {
            (Ok(job), Ok(stages)) => {
                self.revive_workers(&job)?;
                let (job, rescales) = (Some(job), rescales.unwrap_or_default());
                let numbers = Numbers::default();
                Ok(Observed { job, stages, rescales, workers_desired, numbers, coordinator_done })
            }
            (Err(error), _) | (_, Err(error)) => {
                tracing::debug!(%error, "the coordinator does not answer");
                Ok(Observed { workers_desired, coordinator_done, ..Observed::default() })
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

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper(script: &str, log: &Path) -> ProcessSpec {
        let args = vec!["-c".into(), script.into()];
        let (name, program, log) = (String::new(), "/bin/sh".into(), log.join("process.log"));
        ProcessSpec { name, program, args, env: Vec::new(), log, forward_stdout: false }
    }

    fn platform(name: &str, coordinator: &str, workers: u32) -> (LocalPlatform, std::path::PathBuf) {
        let dir = std::env::temp_dir().join(format!("millstream-local-{name}-{}", std::process::id()));
        let worker_dir = dir.clone();
        let worker = Box::new(move |_| sleeper("exec sleep 60", &worker_dir));
        let launch = Launch { coordinator: sleeper(coordinator, &dir), worker };
        (LocalPlatform::start(launch, &dir, workers).unwrap(), dir)
    }

    #[tokio::test]
    async fn workers_come_and_go_from_the_top() {
        let (mut platform, dir) = platform("workers", "exec sleep 60", 1);
        platform.ensure_workers(3).await.unwrap();
        let three = platform.processes.pids();
        assert_eq!(three.keys().collect::<Vec<_>>(), ["coordinator", "w0", "w1", "w2"]);
        let observed = platform.observe().await.unwrap();
        assert!(observed.job.is_none() && observed.workers_desired == 3, "no api.json yet is no error");
        platform.ensure_workers(1).await.unwrap();
        let one = platform.processes.pids();
        assert_eq!(one.keys().collect::<Vec<_>>(), ["coordinator", "w0"]);
        assert_eq!(one["w0"], three["w0"], "what stays is not restarted");
        platform.shutdown().await;
        assert!(three.values().all(|pid| !Path::new(&format!("/proc/{pid}")).exists()));
        std::fs::remove_dir_all(dir).unwrap();
    }

    fn status(state: JobState) -> JobStatus {
        let state = serde_json::to_value(state).unwrap();
        serde_json::from_value(serde_json::json!({
            "name": "job", "state": state, "generation": 1, "term": 2, "recoveries": 0, "coordinator": {"pid": 1},
            "workers": [], "late_rows": 0, "bad_records": 0,
        }))
        .unwrap()
    }

    #[tokio::test]
    async fn workers_that_ended_come_back_only_if_the_job_waits_for_them() {
        let dir = std::env::temp_dir().join(format!("millstream-local-revive-{}", std::process::id()));
        let worker_dir = dir.clone();
        let worker = Box::new(move |_| sleeper("exit 0", &worker_dir));
        let launch = Launch { coordinator: sleeper("exec sleep 60", &dir), worker };
        let mut platform = LocalPlatform::start(launch, &dir, 1).unwrap();
        let starts = |name: &str, platform: &LocalPlatform| platform.processes.names().any(|running| running == name);
        while starts("w0", &platform) {
            tokio::task::yield_now().await;
        }
        platform.revive_workers(&status(JobState::Running)).unwrap();
        assert!(!starts("w0", &platform));
        platform.revive_workers(&status(JobState::WaitingForWorkers)).unwrap();
        assert!(starts("w0", &platform), "a new coordinator needs the worker that thought the job was over");
        platform.shutdown().await;
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[tokio::test]
    async fn a_users_mistake_ends_the_platform() {
        let (mut platform, dir) = platform("mistake", "echo wrong SQL >&2; exit 2", 0);
        let error = loop {
            match platform.observe().await {
                Err(error) => break error.to_string(),
                Ok(_) => tokio::task::yield_now().await,
            }
        };
        assert!(error.starts_with("coordinator ended with exit code 2; the end of "), "{error}");
        platform.shutdown().await;
        std::fs::remove_dir_all(dir).unwrap();
    }
}
