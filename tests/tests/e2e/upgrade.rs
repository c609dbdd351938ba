//! An operator with other defaults, while a job runs.
use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use millstream_api::crd::JOB_LABEL;
use millstream_tests::cluster::Cluster;
use serde_json::{Value, json};

use crate::CHART;
use crate::job::{Job, NAME, runs_on};

impl Job<'_> {
    /// Generation and template of everything that makes its pods, by name.
    async fn templates(&self) -> Result<BTreeMap<String, Value>> {
        let (client, labels) = (self.cluster.client().await?, format!("{JOB_LABEL}={NAME}"));
        let ours = ListParams::default().labels(&labels);
        let deployments = Api::<Deployment>::namespaced(client.clone(), &self.namespace).list(&ours).await?;
        let sets = Api::<StatefulSet>::namespaced(client, &self.namespace).list(&ours).await?;
        let of = |name: String, generation: Option<i64>, spec: Value| (name, json!([generation, spec["template"]]));
        let mut all = BTreeMap::new();
        for object in deployments {
            all.extend([of(object.name_any(), object.metadata.generation, serde_json::to_value(object.spec)?)]);
        }
        for object in sets {
            all.extend([of(object.name_any(), object.metadata.generation, serde_json::to_value(object.spec)?)]);
        }
        Ok(all)
    }
}

/// The chart as it is installed, with these values besides.
fn upgrade(cluster: &Cluster, values: &[&str]) -> Result<()> {
    let place = ["upgrade", "millstream", CHART, "--namespace", "millstream-system", "--reuse-values"];
    let more = ["--wait", "--timeout", "90s"];
    cluster.helm(&[place.as_slice(), values, &more].concat())?.success().map(drop)
}

#[tokio::test]
async fn an_operator_with_other_defaults_changes_no_pod_of_a_job() -> Result<()> {
    let cluster = crate::cluster().await?;
    let job = Job::apply(&cluster, "2500").await?;
    job.wait_for("Ready", |job| runs_on(job, 2)).await?;
    let (begun, _) = job.two_checkpoints().await?;
    let (lives, templates) = (job.lives().await?, job.templates().await?);
    ensure!(lives.len() == 3 && templates.len() == 2, "{lives:?} {templates:?}");
    let operator = async || Ok::<_, anyhow::Error>(crate::operator(&cluster).await?.uid());
    let before = operator().await?;

    // Another image for jobs that name none, two operators, other labels and logs.
    let other = "jobs.image=millstream.test/millstream:newer,replicas=2,podLabels.team=a,logging.format=json";
    upgrade(&cluster, &["--set", other])?;
    ensure!(operator().await? != before, "the operator is the old one");
    // It looks after the job: what is asked for now is done by the new one.
    job.kubectl(&["patch", "streamjob", NAME, "--type=merge", "--patch", "{\"spec\":{\"checkpoint\":{\"keep\":5}}}"])?;
    let is_seen = |job: &millstream_api::crd::StreamJob| {
        let observed = job.status.as_ref().and_then(|status| status.observed_generation);
        runs_on(job, 2) && observed == job.metadata.generation
    };
    let seen = job.wait_for("the new operator", is_seen).await?;
    let (after, _) = job.two_checkpoints().await?;
    ensure!((after.recoveries, after.generation, after.term) == (0, begun.generation, begun.term), "{after:?}");
    assert_eq!(job.lives().await?, lives);
    assert_eq!(job.templates().await?, templates);
    let image = seen.status.and_then(|status| status.revision).context("no revision")?.image;
    assert_eq!(image, Cluster::IMAGE, "the image it began with");
    let done = job.completes().await;
    // For the tests that follow.
    upgrade(&cluster, &["--set", "jobs.image=,replicas=1"])?;
    done.map(drop)
}
