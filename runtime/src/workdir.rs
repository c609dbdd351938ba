//! The work folder of a job on the local platform: how parent, coordinator and workers find each other.
//!
//! ```text
//! job.json            what the parent asked for, with the job's secret (0600); written once, before any process starts
//! coordinator.json    where the coordinator listens for workers (0600); rewritten when it comes back
//! api.json            address and token of the job's API (0600); rewritten when the coordinator comes back
//! outcome.json        how the job ended
//! checkpoints/        the checkpoint store, unless the job names another
//! workers/NAME/       state and cuts of a worker
//! logs/               one file per process
//! ```
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use millstream_api::wire::{JobStatus, StageStatus};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::job::JobSpec;
use crate::message::RestoreFrom;

/// What the parent asked for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct JobFile {
    /// The job.
    pub job: JobSpec,
    /// Random number of the job; a restored job takes over its checkpoint's.
    pub job_id: u64,
    /// Folder of this run in the checkpoint store.
    pub prefix: String,
    /// First start, ms since 1970; a restored job takes over its checkpoint's.
    pub started_at_ms: i64,
    /// Known to all processes of the job, hexadecimal.
    pub secret: String,
    /// Token of the job's API, hexadecimal.
    pub token: String,
    /// Checkpoint to start from.
    pub restore: Option<RestoreFrom>,
}

/// Where the coordinator listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CoordinatorFile {
    /// Address of its control port.
    pub control_address: String,
}

/// Address and token of the job's API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiFile {
    /// Host and port.
    pub address: String,
    /// Bearer token.
    pub token: String,
}

/// How a job ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Outcome {
    /// The job at its end.
    pub job: JobStatus,
    /// Its stages at their end.
    pub stages: Vec<StageStatus>,
    /// If it failed: whether the person who wrote it must act.
    pub user: bool,
}

/// Paths below a work folder.
#[derive(Debug, Clone)]
pub struct Workdir(PathBuf);

impl Workdir {
    /// At this path.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// See the module.
    pub fn job_file(&self) -> PathBuf {
        self.0.join("job.json")
    }

    /// See the module.
    pub fn coordinator_file(&self) -> PathBuf {
        self.0.join("coordinator.json")
    }

    /// See the module.
    pub fn api_file(&self) -> PathBuf {
        self.0.join("api.json")
    }

    /// See the module.
    pub fn outcome_file(&self) -> PathBuf {
        self.0.join("outcome.json")
    }

    /// See the module.
    pub fn checkpoints(&self) -> PathBuf {
        self.0.join("checkpoints")
    }

    /// See the module.
    pub fn worker(&self, name: &str) -> PathBuf {
        self.0.join("workers").join(name)
    }

    /// See the module.
    pub fn log(&self, process: &str) -> PathBuf {
        self.0.join("logs").join(format!("{process}.log"))
    }
}

/// Writes a file that only this user may read, whole or not at all.
pub fn write_private(path: &Path, value: &impl Serialize) -> std::io::Result<()> {
    let temporary = path.with_extension("tmp");
    let text = serde_json::to_vec_pretty(value)?;
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(&text)?;
    drop(file);
    std::fs::rename(&temporary, path)
}

/// Reads what `write_private` wrote.
pub fn read<T: DeserializeOwned>(path: &Path) -> std::io::Result<T> {
    Ok(serde_json::from_slice(&std::fs::read(path)?)?)
}

/// Random bytes in hexadecimal, for secrets and tokens.
pub fn random_hex(random: &dyn crate::random::Random) -> String {
    let mut bytes = [0; 32];
    random.fill(&mut bytes);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
