//! Workloads whose pods are refused: their controllers try less and less often, in the end every quarter of an hour. One whose object
//! changes tries at once, so that a quota that was raised is of use at once, too.
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use super::observe::{Observed, Workload};
use crate::cache::Kind;
use crate::context::{Context, Memory};
use crate::name::Role;

/// How often.
const EVERY_MS: i64 = 30_000;
/// The one thing of the object that changes. A Deployment's goes to its ReplicaSet, which makes the pods; no template has it.
const ANNOTATION: &str = "millstream.dev/asked-again";
/// Not the manager of what is applied, which has a say about all else.
const MANAGER: &str = "millstream-operator-touch";

/// Touches what is short of pods, if some are refused. That it cannot be is no matter: the controllers go on trying.
pub async fn touch(context: &Context, observed: &Observed, memory: &mut Memory) {
    if observed.refusals.is_empty() {
        memory.touched_ms = None;
        return;
    }
    // What has just been refused was just tried.
    let last_ms = *memory.touched_ms.get_or_insert(observed.now_ms);
    if observed.now_ms - last_ms < EVERY_MS || !context.claim.holds() {
        return;
    }
    memory.touched_ms = Some(observed.now_ms);
    for workload in observed.workloads.iter().filter(|workload| workload.made < workload.replicas) {
        if let Err(error) = one(context, observed, workload).await {
            tracing::warn!(%error, name = workload.object.name_any(), "cannot have its controller try again");
        }
    }
}

async fn one(context: &Context, observed: &Observed, workload: &Workload) -> Result<DynamicObject, kube::Error> {
    let resource: ApiResource = match workload.role {
        Role::Coordinator => Kind::Deployment.resource(),
        Role::Worker => Kind::StatefulSet.resource(),
    };
    let api = Api::<DynamicObject>::namespaced_with(context.client.clone(), &observed.identity.namespace, &resource);
    let object = &workload.object;
    let metadata = json!({"uid": object.uid(), "annotations": {ANNOTATION: observed.now_ms.to_string()}});
    let patch = Patch::Merge(json!({"metadata": metadata}));
    api.patch(&object.name_any(), &PatchParams { field_manager: Some(MANAGER.into()), ..Default::default() }, &patch)
        .await
}
