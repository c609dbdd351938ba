//! The objects a job has, without what differs from run to run.
use std::collections::BTreeMap;

use anyhow::{Context, Result};
use k8s_openapi::api::apps::v1::{ControllerRevision, Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service, ServiceAccount};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{ApiResource, DynamicObject, ListParams};
use kube::{Api, Client, ResourceExt};
use millstream_api::crd::{REVISION_LABEL, StreamJob};
use serde_json::{Value, json};

/// Kinds a job has objects of.
fn kinds() -> [ApiResource; 8] {
    [
        ApiResource::erase::<ServiceAccount>(&()),
        ApiResource::erase::<Service>(&()),
        ApiResource::erase::<PodDisruptionBudget>(&()),
        ApiResource::erase::<Secret>(&()),
        ApiResource::erase::<ControllerRevision>(&()),
        ApiResource::erase::<ConfigMap>(&()),
        ApiResource::erase::<Deployment>(&()),
        ApiResource::erase::<StatefulSet>(&()),
    ]
}

/// All objects that are the job's, by kind and name. Names of revisions are numbered as they were made.
pub async fn of(client: &Client, job: &StreamJob) -> Result<BTreeMap<String, Value>> {
    let (namespace, uid) = (job.namespace().context("no namespace")?, job.uid().context("no uid")?);
    let mut found = Vec::new();
    for kind in kinds() {
        let objects = Api::<DynamicObject>::namespaced_with(client.clone(), &namespace, &kind);
        for object in objects.list(&ListParams::default()).await? {
            if object.owner_references().iter().any(|owner| owner.uid == uid) {
                found.push((kind.kind.clone(), object));
            }
        }
    }
    let mut revisions: Vec<(i64, String)> = found
        .iter()
        .filter(|(kind, _)| kind == "ControllerRevision")
        .filter_map(|(_, object)| {
            Some((object.data["revision"].as_i64()?, object.labels().get(REVISION_LABEL)?.clone()))
        })
        .collect();
    revisions.sort();
    let neutral = |text: String| {
        let text = text.replace(&uid, "UID").replace(&namespace, "NAMESPACE");
        revisions.iter().enumerate().fold(text, |text, (at, (_, name))| text.replace(name, &format!("rev{at}")))
    };
    let mut objects = BTreeMap::new();
    for (kind, object) in found {
        let name = format!("{kind}/{}", neutral(object.name_any()));
        let text = neutral(plain(&kind, object)?.to_string());
        objects.insert(name, serde_json::from_str(&text)?);
    }
    Ok(objects)
}

/// Without what the server adds and what is drawn at random.
fn plain(kind: &str, object: DynamicObject) -> Result<Value> {
    let mut value = serde_json::to_value(object)?;
    let fields = value.as_object_mut().context("no object")?;
    fields.remove("status");
    for (_, data) in fields.iter_mut().filter(|(name, _)| kind == "Secret" && *name == "data") {
        let keys: Vec<String> = data.as_object().map(|data| data.keys().cloned().collect()).unwrap_or_default();
        *data = json!(keys);
    }
    let metadata = fields.get_mut("metadata").and_then(Value::as_object_mut).context("no metadata")?;
    for field in ["uid", "resourceVersion", "creationTimestamp", "generation", "managedFields"] {
        metadata.remove(field);
    }
    if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
        annotations.remove("millstream.dev/renew-at");
        // Kubernetes' controllers write it, if some test has started them.
        annotations.remove("deployment.kubernetes.io/revision");
    }
    if metadata.get("annotations") == Some(&json!({})) {
        metadata.remove("annotations");
    }
    if let Some(spec) = fields.get_mut("spec").and_then(Value::as_object_mut) {
        // The address a Service was given, unless that is none.
        if spec.get("clusterIP").is_some_and(|address| address != "None") {
            spec.remove("clusterIP");
            spec.remove("clusterIPs");
        }
    }
    Ok(value)
}
