//! Plays the kubelets for the pods of one job: what controllers make runs at once and is ready, and the coordinator among them
//! answers.
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use millstream_api::crd::ROLE_LABEL;
use serde_json::json;
use tokio::task::JoinHandle;

use super::coordinator::Coordinator;

/// How often pods are looked for.
const LOOK: Duration = Duration::from_millis(100);

/// The kubelets; they end when this is dropped.
pub struct Kubelets(JoinHandle<()>);

impl Kubelets {
    /// For the pods of the job `name` in this namespace. Its first pod is served once the job has its certificates.
    pub fn begin(client: &Client, namespace: &str, name: &str, coordinator: Coordinator) -> Self {
        let (client, namespace, name) = (client.clone(), namespace.to_owned(), name.to_owned());
        Self(tokio::spawn(async move {
            let mut looks = tokio::time::interval(LOOK);
            let mut folder = None;
            loop {
                looks.tick().await;
                // A pod may be gone before it is looked at again.
                let _ = look(&client, &namespace, &name, &coordinator, &mut folder).await;
            }
        }))
    }
}

impl Drop for Kubelets {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn look(
    client: &Client,
    namespace: &str,
    name: &str,
    coordinator: &Coordinator,
    folder: &mut Option<tempfile::TempDir>,
) -> Result<()> {
    let api = Api::<Pod>::namespaced(client.clone(), namespace);
    let all = api.list(&ListParams::default().labels(&format!("{ROLE_LABEL} in (coordinator, worker)"))).await?.items;
    let pods = || all.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
    let is_worker = |pod: &&Pod| pod.labels().get(ROLE_LABEL).is_some_and(|role| role == "worker");
    if let Some(newest) =
        pods().filter(|pod| !is_worker(pod)).max_by_key(|pod| pod.creation_timestamp().map(|time| time.0))
    {
        if folder.is_none() {
            *folder = Some(serve(client, namespace, name, coordinator).await?);
        }
        coordinator.begins(&newest.uid().unwrap_or_default());
    }
    let ip = coordinator.address().to_string();
    let ready = json!({"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"});
    let runs = json!({"status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "conditions": [ready]}});
    for pod in pods().filter(|pod| pod.status.as_ref().is_none_or(|status| status.pod_ip.is_none())) {
        api.patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Merge(&runs)).await?;
    }
    let workers: Vec<_> = pods().filter(is_worker).map(|pod| (pod.name_any(), incarnation(pod))).collect();
    coordinator.registered(&workers);
    Ok(())
}

/// Mounts the job's Secret, as it were, and serves. Says where.
async fn serve(client: &Client, namespace: &str, name: &str, coordinator: &Coordinator) -> Result<tempfile::TempDir> {
    let secrets = Api::<Secret>::namespaced(client.clone(), namespace);
    let data = secrets.get(&format!("{name}-tls")).await.context("no certificates")?.data.unwrap_or_default();
    let folder = tempfile::tempdir()?;
    for (name, bytes) in &data {
        std::fs::write(folder.path().join(name), &bytes.0)?;
    }
    let token = String::from_utf8(data.get("token").context("no token")?.0.clone())?;
    coordinator.serve(folder.path(), &token).await?;
    Ok(folder)
}

fn incarnation(pod: &Pod) -> u64 {
    let mut hasher = DefaultHasher::new();
    pod.uid().hash(&mut hasher);
    hasher.finish()
}
