//! The objects a job has in a cluster, one file each. Pure: a job in, objects out.
//!
//! Objects with pods are rendered once, when their revision is made, and applied from it ever after; the others are built anew
//! at each turn, since changing them restarts nothing.
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use millstream_api::crd::GROUP;
use millstream_api::job::Spec;

use crate::name::{Identity, Role};

pub mod account;
pub mod budget;
pub mod check;
pub mod clean_up;
pub mod config_map;
pub mod deployment;
pub mod overlay;
pub mod pod;
pub mod secret;
pub mod service;
pub mod stateful_set;

/// What the templates of a revision are made from.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// Which job.
    pub job: &'a Identity,
    /// Its spec, with its image resolved.
    pub spec: &'a Spec,
    /// Name of the revision: 5 characters.
    pub revision: &'a str,
    /// Image of the pods.
    pub image: &'a str,
}

/// The job as the owner of its objects: they go when it goes.
pub fn owner(job: &Identity) -> OwnerReference {
    OwnerReference {
        api_version: format!("{GROUP}/v1alpha1"),
        kind: "StreamJob".into(),
        name: job.name.clone(),
        uid: job.uid.clone(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// Metadata of an object of the job.
fn meta(job: &Identity, name: String, role: Option<Role>, revision: Option<&str>) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: Some(job.namespace.clone()),
        labels: Some(job.labels(role, revision)),
        owner_references: Some(vec![owner(job)]),
        ..ObjectMeta::default()
    }
}
