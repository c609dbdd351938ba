//! From `helm install` to the result of a job, on a Kubernetes with two nodes, as a person does it: the chart, the operator in a pod
//! under its own account, jobs that are applied and scaled, and pods and nodes that come to harm. Every namespace enforces
//! `restricted`.
use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use millstream_tests::cluster::Cluster;
use tokio::sync::{MutexGuard, OnceCell};

#[path = "e2e/autoscale.rs"]
mod autoscale;
#[path = "e2e/job.rs"]
mod job;
#[path = "e2e/node.rs"]
mod node;
#[path = "e2e/pods.rs"]
mod pods;
#[path = "e2e/revision.rs"]
mod revision;
#[path = "e2e/scale.rs"]
mod scale;
#[path = "e2e/snapshot.rs"]
mod snapshot;
#[path = "e2e/upgrade.rs"]
mod upgrade;

const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/millstream");

static INSTALLED: OnceCell<()> = OnceCell::const_new();

/// The cluster, with the operator in it, for one test at a time.
async fn cluster() -> Result<MutexGuard<'static, Cluster>> {
    millstream_runtime::net::tls::install_provider();
    let cluster = Cluster::shared().await?;
    INSTALLED.get_or_try_init(async || install(&cluster)).await?;
    Ok(cluster)
}

/// The operator's pod.
async fn operator(cluster: &Cluster) -> Result<Pod> {
    let pods = Api::<Pod>::namespaced(cluster.client().await?, "millstream-system");
    let pods = pods.list(&ListParams::default().labels("app.kubernetes.io/component=operator")).await?;
    pods.into_iter().find(|pod| pod.metadata.deletion_timestamp.is_none()).context("no operator")
}

/// Installs the chart, with this build as the operator and as the image of jobs.
fn install(cluster: &Cluster) -> Result<()> {
    let (repository, tag) = Cluster::IMAGE.split_once(':').context("no tag")?;
    let image = format!("image.repository={repository},image.tag={tag}");
    let place = ["install", "millstream", CHART, "--namespace", "millstream-system", "--create-namespace"];
    let more = ["--set", &image, "--wait", "--timeout", "90s"];
    cluster.helm(&[place.as_slice(), &more].concat())?.success().map(drop)
}
