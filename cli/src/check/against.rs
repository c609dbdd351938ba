//! `millstream validate --against`: whether a job can go on from a checkpoint. Nothing is written.
use std::fmt;
use std::path::Path;

use anyhow::Result;
use millstream_api::error::chain;
use millstream_runtime::checkpoint::manifest::{Expected, Manifest};
use millstream_runtime::checkpoint::mapping::{Mapping, map};
use millstream_runtime::checkpoint::store::Location;
use millstream_runtime::checkpoint::{Error, history, paths};
use millstream_runtime::coordinator::shape;
use millstream_runtime::net::tls;
use serde_json::{Value, json};

use crate::load::Loaded;

/// Why a job cannot go on from a checkpoint.
#[derive(Debug, Clone)]
pub enum Refused {
    /// The store does not answer.
    Store(String),
    /// State of the checkpoint has no place in the job.
    State(String),
    /// There is no such checkpoint, or it is of another job.
    Checkpoint(String),
}

impl fmt::Display for Refused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(why) | Self::State(why) | Self::Checkpoint(why) => formatter.write_str(why),
        }
    }
}

impl std::error::Error for Refused {}

/// What the job would go on with.
pub enum Fits {
    /// There is no checkpoint yet.
    Nothing,
    /// This one.
    Checkpoint(u64, Mapping),
}

impl Fits {
    /// As JSON.
    pub fn json(&self) -> Value {
        match self {
            Self::Nothing => Value::Null,
            Self::Checkpoint(epoch, Mapping { kept, dropped, new }) => {
                json!({"epoch": epoch, "kept": kept, "dropped": dropped, "new": new})
            }
        }
    }
}

impl fmt::Display for Fits {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |ops: &[String]| if ops.is_empty() { "none".to_owned() } else { ops.join(", ") };
        match self {
            Self::Nothing => formatter.write_str("there is no checkpoint yet; the job would start from nothing"),
            Self::Checkpoint(epoch, Mapping { kept, dropped, new }) => write!(
                formatter,
                "it can go on from checkpoint {epoch}; state kept: {}; dropped: {}; new: {}",
                list(kept),
                list(dropped),
                list(new)
            ),
        }
    }
}

/// Checks a job against the checkpoint at this path, or the newest in this folder.
pub fn check(loaded: &Loaded, path: &str, required: bool) -> Result<Fits> {
    tls::install_provider();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let found = newest(loaded, path, &runtime);
    // A call to a store that does not come back must not hold the process.
    runtime.shutdown_background();
    let Some(manifest) = found.map_err(|error| refusal(&error, path))? else {
        return if required {
            let why = format!("there is no checkpoint in {path}, and the job has some: spec.store leads elsewhere");
            Err(Refused::State(why).into())
        } else {
            Ok(Fits::Nothing)
        };
    };
    let shape = shape::shape(&loaded.spec).map_err(Refused::Checkpoint)?;
    let planned = shape.planned();
    let expected = Expected {
        job_name: &loaded.spec.name,
        job_id: None,
        planned: &planned,
        drop_state: &loaded.spec.drop_state,
        key_groups: loaded.spec.key_groups,
    };
    manifest.check_job(&expected).map_err(|error| refusal(&error, path))?;
    let mapping = map(&manifest, &planned, &loaded.spec.drop_state).map_err(|why| Refused::State(why.to_string()))?;
    Ok(Fits::Checkpoint(manifest.epoch, mapping))
}

fn newest(loaded: &Loaded, path: &str, runtime: &tokio::runtime::Runtime) -> Result<Option<Manifest>, Error> {
    let path = if path.contains("://") { path.to_owned() } else { absolute(path) };
    let at = |root: &str| {
        let store = loaded.job.spec.store.as_ref();
        let (endpoint, region) = store.map(|store| (store.endpoint.clone(), store.region.clone())).unwrap_or_default();
        Location { uri: root.to_owned(), endpoint, region }.open(runtime.handle().clone())
    };
    if let Some((root, prefix, id)) = paths::locate(&path) {
        return history::load(at(&root)?.as_ref(), &prefix, id).map(Some);
    }
    let path = path.trim_end_matches('/');
    let (root, prefix) = path.rsplit_once('/').unwrap_or((".", path));
    Ok(history::newest(at(root)?.as_ref(), prefix)?.manifest)
}

fn absolute(path: &str) -> String {
    std::path::absolute(Path::new(path)).map_or_else(|_| path.to_owned(), |path| path.to_string_lossy().into_owned())
}

fn refusal(error: &Error, path: &str) -> Refused {
    let why = chain(error);
    match error {
        Error::Store(_) => Refused::Store(format!("{path}: {why}")),
        Error::StateMismatch(_) => Refused::State(why),
        _ => Refused::Checkpoint(why),
    }
}
