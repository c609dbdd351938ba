//! The namespace of the bench, and the jobs in it.
use anyhow::{Context, Result};
use futures::stream::{self, StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{Namespace, Node};
use kube::api::{DeleteParams, ListParams, ObjectMeta, PostParams};
use kube::{Api, Client};
use millstream_api::crd::StreamJob;
use millstream_operator::random;
use serde_json::json;

use crate::fail;

/// Jobs that are created at a time.
const CREATORS: usize = 16;

/// Where the bench is.
pub struct Place {
    pub client: Client,
    pub namespace: String,
}

/// Name of a job by its number.
pub fn name(number: u32) -> String {
    format!("bench-{number:05}")
}

/// Number of a job by its name.
pub fn number(name: &str) -> Option<u32> {
    name.strip_prefix("bench-")?.parse().ok()
}

impl Place {
    /// A new namespace, on an API server that suits.
    pub async fn make(client: Client) -> Result<Self> {
        let nodes = Api::<Node>::all(client.clone()).list(&ListParams::default().limit(1)).await;
        let nodes = nodes.context("the API server does not answer")?;
        if !nodes.items.is_empty() {
            let text = "this cluster has nodes, which would run the pods that the bench plays; give it an API server of its own \
                        (make bench-operator)";
            return Err(fail::user(text));
        }
        if let Err(error) = Api::<StreamJob>::all(client.clone()).list(&ListParams::default().limit(1)).await {
            let text = "there are no StreamJobs on this API server; kubectl apply -f manifests/crds.yaml";
            return Err(fail::user(format!("{text} ({error})")));
        }
        let namespace = format!("bench-{}", random::token()?.get(..8).unwrap_or_default());
        let metadata = ObjectMeta { name: Some(namespace.clone()), ..ObjectMeta::default() };
        let object = Namespace { metadata, ..Namespace::default() };
        Api::all(client.clone()).create(&PostParams::default(), &object).await.context("cannot make a namespace")?;
        Ok(Self { client, namespace })
    }

    pub fn jobs(&self) -> Api<StreamJob> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Creates this many jobs at once.
    pub async fn create(&self, jobs: u32) -> Result<()> {
        let create = async |number| {
            let job = json!({
                "apiVersion": "millstream.dev/v1alpha1", "kind": "StreamJob", "metadata": {"name": name(number)},
                "spec": {
                    "sql": {"inline": "SELECT 1"},
                    "store": {"uri": "s3://bucket/bench", "credentialsSecretName": "s3"},
                },
            });
            let job = serde_json::from_value(job)?;
            self.jobs().create(&PostParams::default(), &job).await.context("cannot create a job").map(drop)
        };
        stream::iter(0..jobs).map(create).buffer_unordered(CREATORS).try_collect().await
    }

    /// Removes the jobs and the namespace. On an API server without controllers what they owned stays.
    pub async fn remove(&self) {
        let all = ListParams::default();
        if let Err(error) = self.jobs().delete_collection(&DeleteParams::default(), &all).await {
            eprintln!("note: jobs are left in namespace {}: {error}", self.namespace);
        }
        let namespaces = Api::<Namespace>::all(self.client.clone());
        if let Err(error) = namespaces.delete(&self.namespace, &DeleteParams::default()).await {
            eprintln!("note: namespace {} is left: {error}", self.namespace);
        }
    }
}
