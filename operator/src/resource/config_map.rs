//! The job file of a revision: what its coordinator and workers run.
use k8s_openapi::api::core::v1::ConfigMap;

use super::meta;
use crate::name::Identity;

/// Key of the job file.
pub const FILE: &str = "job.yaml";

/// The map with the job file. It never changes: another file is another revision.
pub fn config_map(job: &Identity, revision: &str, file: &str) -> ConfigMap {
    ConfigMap {
        metadata: meta(job, job.revision(revision), None, Some(revision)),
        data: Some([(FILE.to_owned(), file.to_owned())].into()),
        immutable: Some(true),
        ..ConfigMap::default()
    }
}
