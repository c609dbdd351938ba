//! Plays the kubelet for pods that check revisions, where there are no nodes.
use std::time::Duration;

use anyhow::Result;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use millstream_api::crd::ROLE_LABEL;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::process::until;

/// How often a check is looked for that has begun.
const LOOK: Duration = Duration::from_millis(50);

/// Pods of a namespace that check something and are not about to go.
pub async fn pods(client: &Client, namespace: &str) -> Result<Vec<Pod>> {
    let pods = Api::<Pod>::namespaced(client.clone(), namespace);
    let pods = pods.list(&ListParams::default().labels(&format!("{ROLE_LABEL}=check"))).await?.items;
    Ok(pods.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).collect())
}

/// A pod that has ended with this code and these last words.
pub fn ended(code: i32, reason: &str, message: &str) -> Value {
    let words = json!({"reason": reason, "message": message}).to_string();
    let state = json!({"terminated": {"exitCode": code, "message": words, "finishedAt": "2026-01-01T00:00:00Z"}});
    json!({"phase": if code == 0 { "Succeeded" } else { "Failed" }, "containerStatuses": [
        {"name": "millstream", "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": state}]})
}

/// Waits for a pod that checks something, and gives it this status.
pub async fn play(client: &Client, namespace: &str, status: &Value) -> Result<Pod> {
    let api = Api::<Pod>::namespaced(client.clone(), namespace);
    let one = async || Ok(pods(client, namespace).await?.into_iter().find(|pod| phase(pod) == "Pending"));
    let pod = until("a pod that checks", Duration::from_secs(30), one).await?;
    Ok(api.patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Merge(json!({"status": status}))).await?)
}

fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Pending")
}

/// Lets every check of a namespace end, until it is dropped: it passes, unless the image is called bad.
pub struct Passing(JoinHandle<()>);

impl Passing {
    /// From now on.
    pub fn begin(client: &Client, namespace: &str) -> Self {
        let (client, namespace) = (client.clone(), namespace.to_owned());
        Self(tokio::spawn(async move {
            let api = Api::<Pod>::namespaced(client.clone(), &namespace);
            let mut looks = tokio::time::interval(LOOK);
            loop {
                looks.tick().await;
                // A pod may be gone before it is patched.
                for pod in pods(&client, &namespace).await.unwrap_or_default() {
                    if phase(&pod) == "Pending" {
                        let image = pod.spec.as_ref().and_then(|spec| spec.containers[0].image.as_deref());
                        let ended = match image {
                            Some(image) if image.ends_with(":bad") => ended(2, "InvalidSql", "no such table"),
                            _ => ended(0, "Valid", "the job can be run"),
                        };
                        let ended = json!({"status": ended});
                        let _ = api.patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Merge(&ended)).await;
                    }
                }
            }
        }))
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        self.0.abort();
    }
}
