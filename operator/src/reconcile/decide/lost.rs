//! Workers on nodes that are gone. A StatefulSet never replaces a pod that cannot end, and nobody ends it by force: its process may
//! run on behind a cut cable. So its number is passed over, until the node is back or somebody removes it. Pure.
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use millstream_api::wire::WorkerStatus;

use crate::diagnose;
use crate::name::{Role, ordinal};
use crate::platform::number::Numbers;

/// A pod that ends on a node that is there has this long to say so.
const SURE_MS: i64 = 5_000;

/// How workers of a revision are numbered, by what their pods and their coordinator say.
pub fn numbers(pods: &[Arc<Pod>], revision: &str, registered: &[WorkerStatus], now_ms: i64) -> Numbers {
    let is_of = |pod: &Pod| diagnose::revision(pod) == Some(revision) && diagnose::role(pod) == Some(Role::Worker);
    let gone = pods.iter().filter(|pod| is_of(pod) && is_gone(pod, now_ms));
    let names = gone.map(|pod| pod.name_any());
    // Its coordinator knows better: a worker that still talks is about to end as it should.
    let silent = names.filter(|name| registered.iter().all(|worker| worker.id != *name));
    Numbers { lost: silent.filter_map(|name| ordinal(&name)).collect() }
}

/// Whether nobody is left on the node who could end the pod.
fn is_gone(pod: &Pod, now_ms: i64) -> bool {
    let Some(deadline) = &pod.metadata.deletion_timestamp else { return false };
    let deadline_ms = deadline.0.as_millisecond();
    let asked_ms = deadline_ms - pod.metadata.deletion_grace_period_seconds.unwrap_or_default() * 1000;
    if has_ended(pod) || now_ms - asked_ms < SURE_MS {
        return false;
    }
    is_taken_from_its_node(pod) || now_ms - deadline_ms > SURE_MS
}

/// Whether the node has said that a container has ended: then it is there, and the pod will be gone in a moment.
fn has_ended(pod: &Pod) -> bool {
    let containers = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    containers.into_iter().any(|container| container.state.as_ref().is_some_and(|state| state.terminated.is_some()))
}

/// Whether it has to go because its node does not answer: the time of grace says nothing then.
fn is_taken_from_its_node(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| {
        condition.type_ == "DisruptionTarget" && condition.reason.as_deref() == Some("DeletionByTaintManager")
    })
}

#[cfg(test)]
mod tests;
