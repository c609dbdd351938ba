//! What is kept of an object: read once by each turn, it lies there as text, which takes a tenth of the memory that its values take
//! one by one.
use std::sync::Arc;

use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::{Container, Pod};
use kube::Resource;
use kube::api::DynamicObject;
use serde_json::Value;

/// Half of what an object weighs, and nothing anyone here reads.
pub fn prune<K: Resource>(object: &mut K) {
    object.meta_mut().managed_fields = None;
}

/// Job files never change: that they are there is all that counts.
pub fn prune_data(map: &mut DynamicObject) {
    prune(map);
    map.data = Value::Null;
}

/// Of a pod counts what became of it, and where it is. What it was made from is in its revision.
pub fn prune_pod(pod: &mut Pod) {
    prune(pod);
    let Some(spec) = &mut pod.spec else { return };
    (spec.volumes, spec.affinity, spec.tolerations) = (None, None, None);
    spec.topology_spread_constraints = None;
    for container in spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten()) {
        let Container { name, image, resources, .. } = std::mem::take(container);
        *container = Container { name, image, resources, ..Container::default() };
    }
}

/// Everything but the metadata becomes text.
pub fn pack(object: &mut DynamicObject) {
    prune(object);
    object.data = Value::String(object.data.to_string());
}

/// The object as it was.
pub fn unpack(packed: &DynamicObject) -> Arc<DynamicObject> {
    let mut object = packed.clone();
    object.data = value(&packed.data);
    Arc::new(object)
}

/// What the revision was made from becomes text.
pub fn pack_revision(revision: &mut ControllerRevision) {
    prune(revision);
    if let Some(data) = &mut revision.data {
        data.0 = Value::String(data.0.to_string());
    }
}

/// The revision as it was.
pub fn unpack_revision(packed: &ControllerRevision) -> Arc<ControllerRevision> {
    let mut revision = packed.clone();
    if let Some(data) = &mut revision.data {
        data.0 = value(&data.0);
    }
    Arc::new(revision)
}

/// What the text says. It was written here, so it can be read.
fn value(text: &Value) -> Value {
    text.as_str().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_packed_is_unpacked_as_it_was() {
        let spec = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
                          "spec": {"replicas": 2, "text": "\"quoted\""}, "status": {"replicas": 1}});
        let object: DynamicObject = serde_json::from_value(spec).unwrap();
        let mut packed = object.clone();
        pack(&mut packed);
        assert!(packed.data.is_string());
        assert_eq!(*unpack(&packed), object);
        let revision =
            json!({"metadata": {"name": "r"}, "revision": 3, "data": {"image": "i", "coordinator": {"spec": {}}}});
        let revision: ControllerRevision = serde_json::from_value(revision).unwrap();
        let mut packed = revision.clone();
        pack_revision(&mut packed);
        assert!(packed.data.as_ref().unwrap().0.is_string());
        assert_eq!(*unpack_revision(&packed), revision);
    }

    #[test]
    fn of_a_pod_stays_what_is_looked_at() {
        let pod = json!({"metadata": {"name": "p", "labels": {"a": "b"}}, "status": {"phase": "Running"}, "spec": {
            "nodeName": "n", "volumes": [{"name": "v"}],
            "containers": [{"name": "millstream", "image": "i", "env": [{"name": "A", "value": "b"}]}]}});
        let mut pod: Pod = serde_json::from_value(pod).unwrap();
        prune_pod(&mut pod);
        let left = json!({"nodeName": "n", "containers": [{"name": "millstream", "image": "i"}]});
        assert_eq!(serde_json::to_value(pod.spec).unwrap(), left);
        assert_eq!(pod.status.unwrap().phase.as_deref(), Some("Running"));
    }
}
