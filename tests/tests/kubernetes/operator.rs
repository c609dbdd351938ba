//! The operator on a real API server, with the rights of its chart's account and no others.
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{ConfigMap, ResourceQuota};
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use millstream_api::crd::{ConditionType, StreamJob, find};
use millstream_tests::cluster::ApiServer;
use millstream_tests::operator::coordinator::Coordinator;
use millstream_tests::operator::kubelet::Kubelets;
use millstream_tests::operator::wire::Wire;
use millstream_tests::operator::{ACCOUNT, Operator, objects, options};
use millstream_tests::process::until;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

#[path = "operator/bench.rs"]
mod bench;
#[path = "operator/chart.rs"]
mod chart;
#[path = "operator/deletion.rs"]
mod deletion;
#[path = "operator/install.rs"]
mod install;
#[path = "operator/killed.rs"]
mod killed;
#[path = "operator/life.rs"]
mod life;
#[path = "operator/manual.rs"]
mod manual;
#[path = "operator/refused.rs"]
mod refused;
#[path = "operator/renewal.rs"]
mod renewal;
#[path = "operator/replicas.rs"]
mod replicas;
#[path = "operator/revision.rs"]
mod revision;
#[path = "operator/running.rs"]
mod running;
#[path = "operator/snapshot.rs"]
mod snapshot;

/// The longest that anything here may take.
const LIMIT: Duration = Duration::from_secs(30);
const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/millstream");

/// A namespace of a test's own, with somebody in it who may do everything.
struct Place {
    server: &'static ApiServer,
    namespace: String,
    client: Client,
    jobs: Api<StreamJob>,
}

impl Place {
    async fn new(stem: &str) -> Result<Self> {
        static RIGHTS: OnceCell<()> = OnceCell::const_new();
        let server = ApiServer::shared().await?.resources().await?;
        let install = async || {
            let (namespace, name) = ACCOUNT;
            let chart = ["install", name, CHART, "--namespace", namespace, "--create-namespace"];
            // The definitions are there already, and the operators are in the tests.
            let values = ["--set", "crds.enabled=false", "--set", "replicas=0"];
            server.helm(&[chart.as_slice(), &values].concat())?.success().map(drop)
        };
        RIGHTS.get_or_try_init(install).await?;
        let (namespace, client) = (server.namespace(stem).await?, server.client().await?);
        let jobs = Api::namespaced(client.clone(), &namespace);
        Ok(Self { server, namespace, client, jobs })
    }

    /// Someone applies a job; `more` are more fields of its spec, or null for those it lacks.
    async fn apply(&self, more: Value) -> Result<StreamJob> {
        let mut job = json!({
            "apiVersion": "millstream.dev/v1alpha1", "kind": "StreamJob", "metadata": {"name": "orders"},
            "spec": {
                "sql": {"inline": "SELECT 1"},
                "store": {"uri": "s3://bucket/jobs", "credentialsSecretName": "s3"},
            },
        });
        let spec = job["spec"].as_object_mut().context("no spec")?;
        spec.extend(more.as_object().cloned().unwrap_or_default());
        spec.retain(|_, value| !value.is_null());
        let params = PatchParams::apply("someone");
        Ok(self.jobs.patch("orders", &params, &Patch::Apply(job)).await?)
    }

    async fn operator(&self) -> Result<Operator> {
        Operator::start(self.server, options(&self.namespace)).await
    }

    /// Lets the namespace have none of these, as long as the quota is there.
    async fn forbid(&self, what: &str) -> Result<Api<ResourceQuota>> {
        let quotas = Api::<ResourceQuota>::namespaced(self.client.clone(), &self.namespace);
        let none = json!({what: "0"});
        let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"},
                           "spec": {"hard": none}, "status": {"hard": none, "used": none}});
        quotas.create(&PostParams::default(), &serde_json::from_value(quota.clone())?).await?;
        quotas.patch_status("none", &PatchParams::default(), &Patch::Merge(quota)).await?;
        Ok(quotas)
    }

    /// Waits until the status is about this job as it was applied and `holds`.
    async fn status(&self, job: &StreamJob, what: &str, holds: impl Fn(&StreamJob) -> bool) -> Result<StreamJob> {
        let mut last = None;
        let seen = until(what, LIMIT, async || {
            let now = self.jobs.get("orders").await?;
            let observed = now.status.as_ref().and_then(|status| status.observed_generation);
            let is_about = observed == job.metadata.generation;
            last = Some(now.clone());
            Ok((is_about && holds(&now)).then_some(now))
        });
        let seen = seen.await;
        seen.with_context(|| serde_json::to_string_pretty(&last.and_then(|job| job.status)).unwrap_or_default())
    }

    /// Waits until the operator has dealt with this job as it was applied.
    async fn dealt(&self, job: &StreamJob) -> Result<StreamJob> {
        self.status(job, "a status of this generation", |_| true).await
    }

    /// Lets the pods of the job run, and its coordinator do what it is asked by an operator on this way.
    async fn played(&self, wire: &Wire) -> Result<(Coordinator, Kubelets)> {
        static NEXT: AtomicU16 = AtomicU16::new(1);
        self.server.controllers().await?;
        // An address for each, apart from other processes of this kind.
        let part = u8::try_from(64 + std::process::id() % 60)?;
        let [high, low] = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        let coordinator = Coordinator::new("orders", Ipv4Addr::new(127, part, 1 + high, low), wire.clone());
        let kubelets = Kubelets::begin(&self.client, &self.namespace, "orders", coordinator.clone());
        Ok((coordinator, kubelets))
    }

    async fn objects(&self, job: &StreamJob) -> Result<std::collections::BTreeMap<String, Value>> {
        objects::of(&self.client, job).await
    }
}

/// Status, reason and message of a condition.
fn condition(job: &StreamJob, kind: ConditionType) -> (String, String, String) {
    let found = job.status.as_ref().and_then(|status| find(&status.conditions, kind)).cloned();
    found.map(|found| (found.status, found.reason, found.message)).unwrap_or_default()
}

/// Whether a condition has this status and reason.
fn is(job: &StreamJob, kind: ConditionType, status: &str, reason: &str) -> bool {
    let found = condition(job, kind);
    (found.0.as_str(), found.1.as_str()) == (status, reason)
}

/// Whether all is as it should be with so many tasks and workers.
fn runs(job: &StreamJob, tasks: u32) -> bool {
    let status = job.status.clone().unwrap_or_default();
    let workers = status.workers.unwrap_or_default();
    is(job, ConditionType::Ready, "True", "Running")
        && status.operation.is_none()
        && status.parallelism == Some(tasks)
        && (workers.ready, workers.desired) == (tasks, tasks)
}

/// A golden file; `MILLSTREAM_BLESS=1` writes it.
fn golden(name: &str, found: &Value) -> Result<()> {
    let path = format!("{}/golden/kubernetes/{name}", env!("CARGO_MANIFEST_DIR"));
    let text = format!("{}\n", serde_json::to_string_pretty(found)?);
    if std::env::var_os("MILLSTREAM_BLESS").is_some() {
        std::fs::create_dir_all(format!("{}/golden/kubernetes", env!("CARGO_MANIFEST_DIR")))?;
        std::fs::write(&path, &text)?;
    }
    let expected = std::fs::read_to_string(&path).with_context(|| path.clone())?;
    let differs = text.lines().zip(expected.lines()).position(|(found, expected)| found != expected);
    if text != expected {
        let at = differs.unwrap_or_else(|| text.lines().count().min(expected.lines().count()));
        let line = |text: &str| text.lines().nth(at).unwrap_or("(the end)").trim().to_owned();
        anyhow::bail!(
            "{path}:{}: `{}` and not `{}`; MILLSTREAM_BLESS=1 writes it",
            at + 1,
            line(&text),
            line(&expected)
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_job_gets_its_objects_and_then_nothing_is_written_any_more() -> Result<()> {
    let place = Place::new("objects").await?;
    let operator = place.operator().await?;
    let more = json!({
        "parallelism": 3, "slotsPerWorker": 2, "imagePullSecrets": [{"name": "registry"}],
        "variables": [{"name": "RATE", "value": "100"}, {"name": "KEY", "secretKeyRef": {"name": "keys", "key": "k"}}],
        "worker": {
            "resources": {"requests": {"cpu": "1.5", "memory": "0.5Gi"}, "limits": {"memory": "1024Mi"}},
            "podTemplate": {"spec": {"nodeSelector": {"disk": "ssd"}, "containers": [
                {"name": "millstream", "env": [{"name": "AWS_REGION", "value": "here"}]}]}},
        },
    });
    let job = place.apply(more).await?;
    let job = place.dealt(&job).await?;
    ensure!(is(&job, ConditionType::Accepted, "True", "Valid"), "{:?}", job.status);
    ensure!(is(&job, ConditionType::Ready, "False", "Deploying"), "{:?}", job.status);
    let mut objects = place.objects(&job).await?;
    // What a revision has of the pods is in their objects, to the letter.
    let data = objects.get_mut("ControllerRevision/orders-rev0").map(|revision| &mut revision["data"]);
    data.and_then(Value::as_object_mut)
        .context("no revision")?
        .retain(|name, _| name == "generation" || name == "image");
    golden("objects.json", &json!(objects))?;

    // Looked at again and again, by this operator and by another one: nothing differs from what it should be.
    let writes = operator.wire().writes().len();
    operator.look().await?;
    place
        .jobs
        .patch("orders", &PatchParams::default(), &Patch::Merge(json!({"metadata": {"annotations": {"a": "b"}}})))
        .await?;
    operator.look().await?;
    let more: Vec<_> = operator.wire().writes().split_off(writes);
    ensure!(more.is_empty(), "{more:?}");
    operator.stop().await?;
    let operator = place.operator().await?;
    operator.look().await?;
    ensure!(operator.wire().writes().is_empty(), "{:?}", operator.wire().writes());
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_run_says_where_and_what_to_do() -> Result<()> {
    let place = Place::new("refused").await?;
    let operator = place.operator().await?;
    for (more, reason, said) in [
        (json!({"settings": [{"name": "batch.row", "value": "1"}]}), "InvalidSpec", "spec.settings[0]"),
        (json!({"store": null}), "InvalidSpec", "spec.store: "),
        (
            json!({"worker": {"podTemplate": {"spec": {"restartPolicy": "Never"}}}}),
            "InvalidPodTemplate",
            "spec.worker.podTemplate.spec.restartPolicy: is always Always",
        ),
        (
            json!({"coordinator": {"podTemplate": {"spec": {"hostNetwrk": true}}}}),
            "InvalidPodTemplate",
            "spec.coordinator.podTemplate.spec.hostNetwrk: no pod template has such a field",
        ),
    ] {
        let job = place.apply(more).await?;
        let job = place.dealt(&job).await?;
        let (status, found, message) = condition(&job, ConditionType::Accepted);
        ensure!((status.as_str(), found.as_str()) == ("False", reason) && message.contains(said), "{found}: {message}");
        let rejected = job.status.as_ref().and_then(|status| status.rejected.clone()).context("not rejected")?;
        assert_eq!((Some(rejected.generation), rejected.reason.as_str()), (job.metadata.generation, reason));
        ensure!(is(&job, ConditionType::Ready, "False", "Deploying"), "{:?}", job.status);
        ensure!(place.objects(&job).await?.is_empty(), "{said}: nothing runs");
    }
    // What it refers to may come later.
    let sql = json!({"sql": {"configMap": {"name": "queries", "key": "q"}}});
    let job = place.apply(sql).await?;
    let refused = place.dealt(&job).await?;
    let (_, reason, message) = condition(&refused, ConditionType::Accepted);
    assert_eq!(
        (reason.as_str(), message.as_str()),
        ("ReferenceNotFound", "spec.sql.configMap: there is no ConfigMap queries")
    );
    let map = ConfigMap {
        metadata: ObjectMeta { name: Some("queries".into()), ..ObjectMeta::default() },
        data: Some([("q".to_owned(), "SELECT 2".to_owned())].into()),
        ..ConfigMap::default()
    };
    Api::namespaced(place.client.clone(), &place.namespace).create(&PostParams::default(), &map).await?;
    let job = place.status(&job, "the ConfigMap", |job| is(job, ConditionType::Accepted, "True", "Valid")).await?;
    let objects = place.objects(&job).await?;
    let file = objects.get("ConfigMap/orders-rev0").context("no job file")?["data"]["job.yaml"].to_string();
    ensure!(file.contains("SELECT 2"), "{file}");
    operator.stop().await
}

/// Number of pods of every Deployment and StatefulSet.
async fn replicas(place: &Place, job: &StreamJob) -> Result<Vec<(String, u64)>> {
    let objects = place.objects(job).await?;
    let all = objects.iter().filter_map(|(name, object)| Some((name.clone(), object["spec"]["replicas"].as_u64()?)));
    Ok(all.collect())
}
