//! The harness on a real Kubernetes: what other tests rely on holds.
use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, ServiceAccount};
use kube::api::{DeleteParams, ListParams, ObjectMeta, PostParams};
use kube::{Api, Client};
use millstream_tests::cluster::{ApiServer, Cluster, pod};
use millstream_tests::process::until;
use serde_json::json;

#[path = "kubernetes/operator.rs"]
mod operator;
#[path = "kubernetes/resource.rs"]
mod resource;

const LIMIT: Duration = Duration::from_secs(30);

fn map(name: &str) -> ConfigMap {
    let data = BTreeMap::from([("key".to_owned(), "value".to_owned())]);
    let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
    ConfigMap { metadata, data: Some(data), ..ConfigMap::default() }
}

#[tokio::test]
async fn the_api_server_keeps_objects_apart_by_namespace() -> Result<()> {
    let server = ApiServer::shared().await?;
    let client = server.client().await?;
    let (one, two) = (server.namespace("apart").await?, server.namespace("apart").await?);
    let created = Api::namespaced(client.clone(), &one).create(&PostParams::default(), &map("m")).await?;
    assert!(created.metadata.uid.is_some());
    assert!(Api::<ConfigMap>::namespaced(client.clone(), &two).get_opt("m").await?.is_none());
    let version = client.apiserver_version().await?;
    assert!(version.git_version.starts_with("v1.33."), "{version:?}");
    let listed = server.kubectl(&["get", "configmaps", "-n", &one, "-o", "name"])?.success()?;
    // There may be one besides: the controllers, if another test has started them, give each namespace the authority.
    assert!(listed.stdout.lines().any(|line| line == "configmap/m"), "{listed:?}");
    Ok(())
}

#[tokio::test]
async fn an_account_has_no_right_that_nobody_gave_it_and_the_log_tells_what_it_tried() -> Result<()> {
    let server = ApiServer::shared().await?;
    let namespace = server.namespace("rights").await?;
    let client = server.client_as(&namespace, "nobody").await?;
    let error = Api::<Secret>::namespaced(client, &namespace).list(&ListParams::default()).await.unwrap_err();
    assert!(matches!(&error, kube::Error::Api(status) if status.code == 403), "{error:?}");
    let requests = server.requests()?;
    let user = format!("system:serviceaccount:{namespace}:nobody");
    let tried: Vec<_> = requests.iter().filter(|request| request.user == user).collect();
    let [request] = tried.as_slice() else { panic!("{tried:?}") };
    assert_eq!((request.verb.as_str(), request.resource.as_str(), request.code), ("list", "secrets", 403));
    assert_eq!(request.namespace, namespace);
    Ok(())
}

#[tokio::test]
async fn a_pod_with_too_many_rights_is_refused_everywhere() -> Result<()> {
    let server = ApiServer::shared().await?.controllers().await?;
    let namespace = server.namespace("strict").await?;
    account(&server.client().await?, &namespace).await?;
    let pods = Api::<Pod>::namespaced(server.client().await?, &namespace);
    let mut pod = pod::once("p", Cluster::IMAGE, &[])?;
    pods.create(&PostParams::default(), &pod).await?;
    let container = &mut pod.spec.as_mut().context("no spec")?.containers[0];
    container.security_context = None;
    pod.metadata.name = Some("q".to_owned());
    let error = pods.create(&PostParams::default(), &pod).await.unwrap_err().to_string();
    assert!(error.contains("violates PodSecurity \"restricted:latest\""), "{error}");
    Ok(())
}

/// Waits until a namespace has the account that pods run under.
async fn account(client: &Client, namespace: &str) -> Result<()> {
    let accounts = Api::<ServiceAccount>::namespaced(client.clone(), namespace);
    until("a service account", LIMIT, async || Ok(accounts.get_opt("default").await?.map(drop))).await
}

#[tokio::test]
async fn what_a_deleted_object_owns_goes_with_it_under_the_controllers() -> Result<()> {
    let server = ApiServer::shared().await?.controllers().await?;
    let namespace = server.namespace("owners").await?;
    let client = server.client().await?;
    let deployments = Api::<Deployment>::namespaced(client.clone(), &namespace);
    let pod = pod::once("p", Cluster::IMAGE, &[])?;
    let mut spec = serde_json::to_value(pod.spec)?;
    spec["restartPolicy"] = json!("Always");
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
        "spec": {
            "selector": {"matchLabels": {"app": "d"}},
            "template": {"metadata": {"labels": {"app": "d"}}, "spec": spec},
        },
    });
    deployments.create(&PostParams::default(), &serde_json::from_value(deployment)?).await?;
    let sets = Api::<ReplicaSet>::namespaced(client.clone(), &namespace);
    let pods = Api::<Pod>::namespaced(client, &namespace);
    let count = async || -> Result<usize> {
        let sets = sets.list(&ListParams::default()).await?.items.len();
        Ok(sets + pods.list(&ListParams::default()).await?.items.len())
    };
    until("a ReplicaSet and its pod", LIMIT, async || Ok((count().await? == 2).then_some(()))).await?;
    deployments.delete("d", &DeleteParams::default()).await?;
    until("the end of both", LIMIT, async || Ok((count().await? == 0).then_some(()))).await
}

#[tokio::test]
async fn a_server_of_ones_own_leaves_nothing_behind() -> Result<()> {
    let server = ApiServer::start().await?;
    let state = server.state().to_owned();
    let apart = server.client().await?.apiserver_version().await;
    assert!(apart.is_ok() && of(&state)? >= 2, "{apart:?}");
    drop(server);
    assert!(!state.exists());
    assert_eq!(of(&state)?, 0);
    Ok(())
}

/// How many processes have this folder in their command lines.
fn of(state: &std::path::Path) -> Result<usize> {
    let needle = state.as_os_str().as_encoded_bytes();
    let mut count = 0;
    for entry in std::fs::read_dir("/proc")? {
        // A process may vanish while it is looked at.
        let line = std::fs::read(entry?.path().join("cmdline")).unwrap_or_default();
        count += usize::from(line.windows(needle.len()).any(|part| part == needle));
    }
    Ok(count)
}

#[tokio::test]
async fn the_image_runs_in_a_pod_that_may_do_nothing_else() -> Result<()> {
    let cluster = Cluster::shared().await?;
    let namespace = cluster.namespace("image").await?;
    let client = cluster.client().await?;
    account(&client, &namespace).await?;
    let printed = pod::run(client, &namespace, &pod::once("version", Cluster::IMAGE, &["--version"])?).await?;
    assert_eq!(printed, format!("millstream {}\n", env!("CARGO_PKG_VERSION")));
    Ok(())
}
