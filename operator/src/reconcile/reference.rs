//! What the spec of a job refers to: snapshots, and the claim that is its store.
use std::sync::Arc;

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::Api;
use millstream_api::crd::{StreamJob, StreamJobSnapshot};

use super::Error;
use crate::context::{Context, Memory};
use crate::name::Identity;

/// A claim that does not do is looked at this often: it may be made anew. Access modes of one that does never change.
const CLAIM_AGE_MS: i64 = 10_000;
/// What a claim needs that pods on several nodes mount.
const SHARED: &str = "ReadWriteMany";

/// What is there of it.
#[derive(Debug, Clone, Default)]
pub struct References {
    /// Snapshots that name the job.
    pub snapshots: Vec<Arc<StreamJobSnapshot>>,
    /// The snapshot that it starts from, if it names one and that is there.
    pub start: Option<Arc<StreamJobSnapshot>>,
    /// The claim that is its store, if it names one.
    pub claim: Option<Claim>,
}

/// A claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Its name.
    pub name: String,
    /// Its access modes; `None` if it is not there.
    pub modes: Option<Vec<String>>,
}

impl Claim {
    /// Whether pods on several nodes can mount it.
    pub fn is_shared(&self) -> bool {
        self.modes.iter().flatten().any(|mode| mode == SHARED)
    }
}

/// Looks at it.
pub async fn look(
    context: &Context,
    job: &StreamJob,
    identity: &Identity,
    memory: &mut Memory,
    now_ms: i64,
) -> Result<References, Error> {
    let snapshots = context.cache.snapshots_of(identity);
    let start = job.spec.start_from.snapshot_name.as_deref();
    let start = start.and_then(|name| context.cache.snapshot(&identity.namespace, name));
    let name = job.spec.store.as_ref().and_then(|store| store.claim_name.as_deref());
    let claim = match name {
        Some(name) => Some(claim(context, &identity.namespace, name, memory, now_ms).await?),
        None => None,
    };
    Ok(References { snapshots, start, claim })
}

async fn claim(
    context: &Context,
    namespace: &str,
    name: &str,
    memory: &mut Memory,
    now_ms: i64,
) -> Result<Claim, Error> {
    if let Some((at_ms, claim)) = &memory.claim
        && claim.name == name
        && (claim.is_shared() || now_ms - at_ms < CLAIM_AGE_MS)
    {
        return Ok(claim.clone());
    }
    let api = Api::<PersistentVolumeClaim>::namespaced(context.client.clone(), namespace);
    let found = api.get_opt(name).await.map_err(|source| Error::Claim { name: name.to_owned(), source })?;
    let modes = found.map(|claim| claim.spec.and_then(|spec| spec.access_modes).unwrap_or_default());
    let claim = Claim { name: name.to_owned(), modes };
    memory.claim = Some((now_ms, claim.clone()));
    Ok(claim)
}
