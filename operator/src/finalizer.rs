//! The finalizer that holds what is deleted until its files are erased. Written over the version that was seen and no other.
use kube::api::{Patch, PatchParams};
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Resource, ResourceExt};
use millstream_api::crd::ERASE_FINALIZER;
use serde::de::DeserializeOwned;
use serde_json::json;

/// Whether an object has it.
pub fn is_on<K: Resource>(object: &K) -> bool {
    object.meta().finalizers.iter().flatten().any(|finalizer| finalizer == ERASE_FINALIZER)
}

/// Adds or removes it.
pub async fn put<K>(client: &Client, object: &K, on: bool) -> Result<(), kube::Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + std::fmt::Debug + DeserializeOwned,
{
    let others = object.meta().finalizers.iter().flatten().filter(|finalizer| *finalizer != ERASE_FINALIZER);
    let finalizers: Vec<&str> = others.map(String::as_str).chain(on.then_some(ERASE_FINALIZER)).collect();
    let patch = json!({"metadata": {
        "uid": object.uid(), "resourceVersion": object.resource_version(), "finalizers": finalizers,
    }});
    let api = Api::<K>::namespaced(client.clone(), &object.namespace().unwrap_or_default());
    match api.patch(&object.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await {
        Ok(_) => Ok(()),
        // It is gone, and what it held with it.
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(error),
    }
}
