//! What is kept of an object. Read once by each turn, it lies there as compressed text, which takes a thirtieth of the memory that its
//! values take one by one.
use std::borrow::Cow;

use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use kube::Resource;
use kube::api::{ApiResource, DynamicObject};
use kube::core::DynamicResourceScope;
use lz4_flex::block::{compress_prepend_size, decompress_size_prepended};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// Half of what an object weighs, and nothing anyone here reads.
pub fn prune<K: Resource>(object: &mut K) {
    object.meta_mut().managed_fields = None;
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

/// An object of any kind: its metadata, and the rest as compressed text. It is so from the moment it is read.
#[derive(Debug, Clone)]
pub struct Packed {
    metadata: ObjectMeta,
    rest: Box<[u8]>,
}

impl Packed {
    fn new(object: DynamicObject) -> Self {
        let rest = compress_prepend_size(object.data.to_string().as_bytes()).into();
        let mut packed = Self { metadata: object.metadata, rest };
        prune(&mut packed);
        packed
    }

    /// Job files never change: that they are there is all that counts.
    pub fn forget_rest(&mut self) {
        self.rest = Box::default();
    }

    /// The object as it was, without its kind.
    pub fn unpack(&self) -> DynamicObject {
        DynamicObject { types: None, metadata: self.metadata.clone(), data: self.rest() }
    }

    /// The revision it was.
    pub fn revision(&self) -> ControllerRevision {
        let mut rest = self.rest();
        ControllerRevision {
            metadata: self.metadata.clone(),
            revision: rest["revision"].as_i64().unwrap_or_default(),
            data: rest.get_mut("data").map(|data| RawExtension(data.take())),
        }
    }

    /// It was written here, so it can be read.
    fn rest(&self) -> Value {
        let text = decompress_size_prepended(&self.rest).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }
}

impl<'de> Deserialize<'de> for Packed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        DynamicObject::deserialize(deserializer).map(Self::new)
    }
}

impl Resource for Packed {
    type DynamicType = ApiResource;
    type Scope = DynamicResourceScope;

    fn kind(kind: &ApiResource) -> Cow<'_, str> {
        DynamicObject::kind(kind)
    }

    fn group(kind: &ApiResource) -> Cow<'_, str> {
        DynamicObject::group(kind)
    }

    fn version(kind: &ApiResource) -> Cow<'_, str> {
        DynamicObject::version(kind)
    }

    fn plural(kind: &ApiResource) -> Cow<'_, str> {
        DynamicObject::plural(kind)
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_packed_is_unpacked_as_it_was() {
        let metadata = json!({"name": "d", "labels": {"a": "b"}, "managedFields": [{"manager": "m"}]});
        let object = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata,
                            "spec": {"replicas": 2, "text": "\"quoted\""}, "status": {"replicas": 1}});
        let packed: Packed = serde_json::from_value(object.clone()).unwrap();
        let unpacked = serde_json::to_value(packed.unpack()).unwrap();
        assert_eq!(unpacked["spec"], object["spec"]);
        assert_eq!(unpacked["status"], object["status"]);
        assert_eq!(unpacked["metadata"], json!({"name": "d", "labels": {"a": "b"}}));
        let revision = json!({"metadata": {"name": "r"}, "revision": 3, "data": {"image": "i", "coordinator": {}}});
        let packed: Packed = serde_json::from_value(revision.clone()).unwrap();
        assert_eq!(packed.revision(), serde_json::from_value(revision).unwrap());
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
