//! Pods that a test makes itself.
use std::time::Duration;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{LogParams, PostParams};
use kube::{Api, Client};
use serde_json::json;

use crate::process::until;

/// From the request to the end of a pod that has nothing to wait for.
const LIMIT: Duration = Duration::from_secs(60);

/// A pod of one container that meets `restricted` and ends by itself.
pub fn once(name: &str, image: &str, args: &[&str]) -> Result<Pod> {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": false,
            "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": name, "image": image, "args": args, "imagePullPolicy": "IfNotPresent",
                "securityContext": {
                    "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]},
                },
            }],
        },
    });
    Ok(serde_json::from_value(pod)?)
}

/// Runs a pod to its end and gives what it printed. That it failed is an error.
pub async fn run(client: Client, namespace: &str, pod: &Pod) -> Result<String> {
    let pods = Api::<Pod>::namespaced(client, namespace);
    let name = pod.metadata.name.as_deref().context("a pod without a name")?;
    pods.create(&PostParams::default(), pod).await?;
    let ended = until("the end of the pod", LIMIT, async || {
        let status = pods.get_status(name).await?.status.unwrap_or_default();
        match status.phase.as_deref() {
            Some("Succeeded") => Ok(Some(())),
            Some("Failed") => bail!("the pod has failed: {status:?}"),
            _ => Ok(None),
        }
    });
    if let Err(error) = ended.await {
        let status = pods.get_status(name).await?.status;
        return Err(error.context(format!("{status:?}")));
    }
    Ok(pods.logs(name, &LogParams::default()).await?)
}
