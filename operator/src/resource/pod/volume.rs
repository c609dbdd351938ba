//! Volumes and where they are mounted. Names that begin with `millstream-` are ours.
use k8s_openapi::api::core::v1::{
    EphemeralVolumeSource, PersistentVolumeClaimSpec, PersistentVolumeClaimTemplate, Volume, VolumeMount,
    VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::{claim, config_map, empty_dir, mount, secret, volume};
use crate::name::Role;
use crate::resource::Source;

/// The job file.
pub const JOB_FILE: &str = "/etc/millstream/job/job.yaml";
const JOB: &str = "/etc/millstream/job";
/// Bundle, leaves and token.
pub const TLS: &str = "/etc/millstream/tls";
/// State and cuts.
pub const DATA: &str = "/var/lib/millstream";
/// The claim that all pods share, where checkpoints go if the store is one.
pub const STORE: &str = "/var/lib/millstream-store";

const JOB_VOLUME: &str = "millstream-job";
const TLS_VOLUME: &str = "millstream-tls";
/// Volume of state and cuts.
pub const DATA_VOLUME: &str = "millstream-data";
const TMP_VOLUME: &str = "millstream-tmp";
const STORE_VOLUME: &str = "millstream-store";

/// Scratch space of a coordinator: it keeps no state.
const COORDINATOR_DISK: &str = "1Gi";
/// Size of `/tmp`.
const TMP_SIZE: &str = "64Mi";

pub fn volumes(source: Source<'_>, role: Role) -> Vec<Volume> {
    let (job, state) = (source.job, &source.spec.state);
    let data = match (role, &state.storage_class_name) {
        (Role::Coordinator, _) => empty_dir(DATA_VOLUME, COORDINATOR_DISK),
        (Role::Worker, None) => empty_dir(DATA_VOLUME, &state.disk),
        (Role::Worker, Some(class)) => ephemeral(class, &state.disk),
    };
    let mut volumes = vec![
        config_map(JOB_VOLUME, job.revision(source.revision)),
        secret(TLS_VOLUME, job.tls_secret()),
        data,
        empty_dir(TMP_VOLUME, TMP_SIZE),
    ];
    volumes.extend(shared_volumes(source));
    volumes
}

/// The store, if that is a claim.
pub fn shared_volumes(source: Source<'_>) -> Vec<Volume> {
    store_claim(source).map(|name| claim(STORE_VOLUME, name)).into_iter().collect()
}

pub fn mounts(source: Source<'_>) -> Vec<VolumeMount> {
    let mut mounts = vec![
        mount(JOB_VOLUME, JOB, true),
        // The whole folder: a file mounted by itself would never show a renewed leaf.
        mount(TLS_VOLUME, TLS, true),
        mount(DATA_VOLUME, DATA, false),
        mount(TMP_VOLUME, "/tmp", false),
    ];
    mounts.extend(shared_mounts(source));
    mounts
}

/// Where the store is mounted, if that is a claim.
pub fn shared_mounts(source: Source<'_>) -> Vec<VolumeMount> {
    store_claim(source).map(|_| mount(STORE_VOLUME, STORE, false)).into_iter().collect()
}

fn store_claim(source: Source<'_>) -> Option<&str> {
    source.spec.store.as_ref()?.claim_name.as_deref()
}

/// A volume of a class that comes and goes with its pod.
fn ephemeral(class: &str, size: &str) -> Volume {
    let requests = [("storage".to_owned(), Quantity(size.to_owned()))].into();
    let spec = PersistentVolumeClaimSpec {
        access_modes: Some(vec!["ReadWriteOnce".into()]),
        resources: Some(VolumeResourceRequirements {
            requests: Some(requests),
            ..VolumeResourceRequirements::default()
        }),
        storage_class_name: Some(class.to_owned()),
        ..PersistentVolumeClaimSpec::default()
    };
    let template = PersistentVolumeClaimTemplate { metadata: None, spec };
    Volume { ephemeral: Some(EphemeralVolumeSource { volume_claim_template: Some(template) }), ..volume(DATA_VOLUME) }
}
