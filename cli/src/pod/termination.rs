//! The last word of a process in a pod, where Kubernetes keeps it: one JSON line, so that nobody needs the right to read logs.
use std::path::{Path, PathBuf};

use anyhow::Result;
use millstream_runtime::redact::Redaction;

use crate::fail::{UserError, user};

/// Kubernetes keeps 4096 bytes.
const MESSAGE_CHARS_MAX: usize = 1_000;

/// Why a process has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Nothing is wrong.
    Valid,
    /// The SQL text cannot be run.
    InvalidSql,
    /// There is no such stage.
    UnknownStage,
    /// State of a checkpoint has no place in the job.
    StateMismatch,
    /// Another field of the job, or the pod's environment, is wrong.
    InvalidSpec,
    /// The checkpoint store does not answer, or refuses.
    StoreUnreachable,
    /// A worker had to end before others had taken over what it owned.
    NotDrained,
    /// Something else.
    Failed,
}

impl Reason {
    /// An error for this reason.
    pub fn of(self) -> impl Fn(anyhow::Error) -> (Self, anyhow::Error) {
        move |error| (self, error)
    }
}

/// The file Kubernetes reads.
#[derive(Debug, Clone)]
pub struct Termination(PathBuf);

impl Termination {
    /// This one.
    pub fn new(file: &Path) -> Self {
        Self(file.to_owned())
    }

    /// Writes the reason. A file that cannot be written costs only the message, which is in the log, too.
    pub fn write(&self, reason: Reason, message: &str) {
        let message: String = message.chars().take(MESSAGE_CHARS_MAX).collect();
        let line = serde_json::json!({"reason": format!("{reason:?}"), "message": message});
        if let Err(error) = std::fs::write(&self.0, format!("{line}\n")) {
            tracing::warn!("cannot write {}: {error}", self.0.display());
        }
    }

    /// Writes why it ended, if not well. What another start does not cure has another exit code.
    pub fn note(&self, ended: Result<(), (Reason, anyhow::Error)>, redaction: Redaction) -> Result<()> {
        let Err((reason, error)) = ended else { return Ok(()) };
        let message = redaction.apply(&format!("{error:#}"));
        tracing::error!("{message}");
        self.write(reason, &message);
        let is_final = matches!(reason, Reason::InvalidSql | Reason::UnknownStage | Reason::StateMismatch);
        if is_final || error.is::<UserError>() { Err(user(message)) } else { Err(anyhow::anyhow!(message)) }
    }
}
