//! The pod that erases files when no coordinator can: made once, looked at, and removed.
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::{Api, Client, ResourceExt};

use super::decide::CleanUp;
use crate::diagnose;

/// What the API server says of an object that is to be made in a namespace that goes.
const TERMINATING: &str = "NamespaceTerminating";

/// Where such a pod is.
pub fn state(pod: Option<&Pod>) -> CleanUp {
    let Some(pod) = pod.filter(|pod| !diagnose::is_going(pod)) else { return CleanUp::None };
    match pod.status.as_ref().and_then(|status| status.phase.as_deref()) {
        Some("Succeeded") => CleanUp::Succeeded,
        Some("Failed") => {
            let last = diagnose::last_failure(std::iter::once(pod)).map(|failure| failure.message);
            CleanUp::Failed(format!(
                "{} failed: {}",
                pod.name_any(),
                last.unwrap_or_else(|| "no reason is given".into())
            ))
        }
        _ => CleanUp::Running,
    }
}

/// Makes it. One that is there already is the same: its name has the uid of what it erases.
pub async fn start(client: &Client, pod: &Pod) -> Result<(), kube::Error> {
    let api = Api::<Pod>::namespaced(client.clone(), &pod.namespace().unwrap_or_default());
    match api.create(&PostParams::default(), pod).await {
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        made => made.map(drop),
    }
}

/// Whether nothing can be made any more where it would be.
pub async fn is_namespace_going(client: &Client, pod: &Pod) -> bool {
    let api = Api::<Pod>::namespaced(client.clone(), &pod.namespace().unwrap_or_default());
    let tried = api.create(&PostParams { dry_run: true, ..PostParams::default() }, pod).await;
    let Err(kube::Error::Api(status)) = tried else { return false };
    status.details.iter().flat_map(|details| &details.causes).any(|cause| cause.reason == TERMINATING)
}

/// Removes it, if it is there.
pub async fn remove(client: &Client, pod: &Pod) -> Result<(), kube::Error> {
    let api = Api::<Pod>::namespaced(client.clone(), &pod.namespace().unwrap_or_default());
    let known = Preconditions { uid: pod.uid(), resource_version: None };
    match api.delete(&pod.name_any(), &DeleteParams::background().preconditions(known)).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        removed => removed.map(drop),
    }
}
