//! What state a new revision starts with. `startFrom` acts at a job's first start, and when its value changes: another revision
//! with the same value goes on from where the job is. Pure.
use millstream_api::crd::{Reason, SnapshotResult, StreamJobSnapshot};
use millstream_api::job::{Spec, StartFrom, StartMode};
use serde_json::Value;

use super::admit::Rejection;
use super::reference::References;
use crate::revision::{Inputs, Revision, Start, Wish, begun_of};

/// Whether the job goes back to something if this revision comes after that: then it is not the same revision again.
pub fn goes_back(again: &Revision, current: Option<&Revision>) -> bool {
    current.is_some_and(|current| current.name != again.name && wish(again) != wish(current))
}

/// What the revision that `spec` asks for starts with, after `current`.
pub fn start(
    spec: &Spec,
    inputs: &Inputs,
    current: Option<&Revision>,
    references: &References,
) -> Result<Start, Rejection> {
    let wanted = serde_json::to_value(inputs).unwrap_or_default();
    if let Some(current) = current
        && wish(current) == wanted.pointer(WISH)
        && let Some(before) = begun_of(current)
    {
        return Ok(before);
    }
    Ok(Start { from: resolve(&spec.start_from, references)?, restore: current.map(|_| Wish::Own) })
}

/// Where inputs have what the user wrote.
const WISH: &str = "/spec/startFrom";

fn wish(revision: &Revision) -> Option<&Value> {
    revision.data.inputs.pointer(WISH)
}

fn resolve(start: &StartFrom, references: &References) -> Result<StartFrom, Rejection> {
    if start.mode != StartMode::Snapshot {
        return Ok(start.clone());
    }
    let name = start.snapshot_name.as_deref().unwrap_or_default();
    match path(name, references.start.as_deref()) {
        Ok(path) => Ok(StartFrom { mode: StartMode::Path, path: Some(path), snapshot_name: None }),
        Err(message) => Err(Rejection {
            reason: Reason::ReferenceNotFound,
            message: format!("spec.startFrom.snapshotName: {message}"),
        }),
    }
}

fn path(name: &str, snapshot: Option<&StreamJobSnapshot>) -> Result<String, String> {
    let Some(snapshot) = snapshot else { return Err(format!("there is no StreamJobSnapshot {name}")) };
    if snapshot.metadata.deletion_timestamp.is_some() {
        return Err(format!("the StreamJobSnapshot {name} is being deleted"));
    }
    let status = snapshot.status.clone().unwrap_or_default();
    match (status.result, status.path) {
        (Some(SnapshotResult::Succeeded), Some(path)) => Ok(path),
        (Some(SnapshotResult::Failed), _) => {
            Err(format!("the StreamJobSnapshot {name} has failed: there is no savepoint; create another one"))
        }
        _ => Err(format!("the savepoint of the StreamJobSnapshot {name} is not taken yet")),
    }
}

#[cfg(test)]
mod tests;
