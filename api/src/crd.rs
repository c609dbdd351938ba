//! The resources of Kubernetes: [`StreamJob`] and [`StreamJobSnapshot`] of millstream.dev/v1alpha1. Their spec is the one
//! of files ([`crate::job`]), so that the same text means the same on every platform; their schema, its rules and the
//! words of their status are derived from the types here and nowhere written a second time.
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::core::{CustomResourceExt, ObjectMeta};

use crate::job;

mod bounds;
mod check;
mod condition;
pub mod rule;
pub(crate) mod schema;
mod snapshot;
mod status;
#[cfg(test)]
mod tests;
mod word;

pub use check::{check, check_update};
pub use condition::{Observation, find};
pub use job::spec::StreamJob;
pub use snapshot::{SnapshotStore, StreamJobSnapshot, StreamJobSnapshotSpec, StreamJobSnapshotStatus};
pub use status::*;
pub use word::{ConditionType, OperationKind, OperationStep, Reason, SnapshotResult};

/// The group of both resources.
pub const GROUP: &str = "millstream.dev";
/// The annotation whose change restarts a job.
pub const RESTART_ANNOTATION: &str = "millstream.dev/restart";
/// The finalizer of a job or snapshot whose files are erased before it goes.
pub const ERASE_FINALIZER: &str = "millstream.dev/erase";
/// The label of everything that belongs to a job: its name.
pub const JOB_LABEL: &str = "millstream.dev/job";
/// The label of pods that says which role they have: `coordinator` or `worker`.
pub const ROLE_LABEL: &str = "millstream.dev/role";
/// The label of pods that says which revision they are of.
pub const REVISION_LABEL: &str = "millstream.dev/revision";

/// Both definitions, as they are installed.
pub fn definitions() -> [CustomResourceDefinition; 2] {
    [StreamJob::crd(), StreamJobSnapshot::crd()]
}

impl From<job::StreamJob> for StreamJob {
    fn from(file: job::StreamJob) -> Self {
        let job::Metadata { name, namespace, annotations, labels } = file.metadata;
        let metadata = ObjectMeta {
            name: Some(name),
            namespace,
            annotations: Some(annotations).filter(|annotations| !annotations.is_empty()),
            labels: Some(labels).filter(|labels| !labels.is_empty()),
            ..ObjectMeta::default()
        };
        Self { metadata, spec: file.spec, status: None }
    }
}

impl From<&StreamJob> for job::StreamJob {
    /// What a file would say: no status, and of the metadata what a person writes.
    fn from(resource: &StreamJob) -> Self {
        let metadata = job::Metadata {
            name: resource.metadata.name.clone().unwrap_or_default(),
            namespace: resource.metadata.namespace.clone(),
            annotations: resource.metadata.annotations.clone().unwrap_or_default(),
            labels: resource.metadata.labels.clone().unwrap_or_default(),
        };
        Self {
            api_version: job::API_VERSION.to_owned(),
            kind: job::KIND.to_owned(),
            metadata,
            spec: resource.spec.clone(),
        }
    }
}
