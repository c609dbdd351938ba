//! From `helm install` to the result of a job, on a Kubernetes with two nodes, as a person does it: the chart, the operator in a pod
//! under its own account, a job that is applied, and pods that come to harm. Every namespace enforces `restricted`.
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use millstream_api::crd::{ConditionType, JOB_LABEL, ROLE_LABEL, StreamJob, find};
use millstream_api::id::Epoch;
use millstream_api::wire::{JobState, JobStatus, RescaleState, StageStatus};
use millstream_operator::client::{Client, Secure};
use millstream_operator::name::port;
use millstream_tests::cluster::Cluster;
use millstream_tests::popular::{ROWS, check_result, spec};
use millstream_tests::process::{committed_lines, rows_read, until};
use rustix::process::{Pid, Signal, kill_process};

const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/millstream");
/// As long as a name may be.
const NAME: &str = "popular-auctions-of-the-nexmark-workload";
/// The longest that one thing may take; the machine has two nodes and two cores.
const LIMIT: Duration = Duration::from_secs(90);

/// A job in a namespace of its own.
struct Job<'a> {
    cluster: &'a Cluster,
    namespace: String,
    folder: tempfile::TempDir,
}

impl<'a> Job<'a> {
    /// Its result goes to a volume that all nodes have, as one of NFS is.
    async fn apply(cluster: &'a Cluster) -> Result<Self> {
        let job = Self { cluster, namespace: cluster.namespace("e2e").await?, folder: tempfile::tempdir()? };
        fs::create_dir(job.result())?;
        for folder in [job.folder.path(), &job.result()] {
            fs::set_permissions(folder, fs::Permissions::from_mode(0o777))?;
        }
        let (result, namespace) = (job.result().display().to_string(), &job.namespace);
        let things = format!(
            "apiVersion: v1
kind: PersistentVolume
metadata: {{name: {namespace}}}
spec:
  capacity: {{storage: 1Gi}}
  accessModes: [ReadWriteMany]
  storageClassName: {namespace}
  hostPath: {{path: {result}}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: result}}
spec: {{accessModes: [ReadWriteMany], storageClassName: {namespace}, resources: {{requests: {{storage: 1Gi}}}}}}
---
apiVersion: v1
kind: Secret
metadata: {{name: s3}}
stringData: {{AWS_ACCESS_KEY_ID: millstream, AWS_SECRET_ACCESS_KEY: change-me-please}}
"
        );
        let around = job.folder.path().join("around.yaml");
        fs::write(&around, things)?;
        job.kubectl(&["apply", "-f", &around.to_string_lossy()])?;
        job.kubectl(&["wait", "--for=jsonpath={.status.phase}=Bound", "pvc/result", "--timeout", "60s"])?;
        let template = format!(
            "{{spec: {{volumes: [{{name: result, persistentVolumeClaim: {{claimName: result}}}}], \
             containers: [{{name: millstream, volumeMounts: [{{name: result, mountPath: {result}}}]}}]}}}}"
        );
        // For a minute, if nothing happened.
        let more = format!(
            "  variables: [{{name: RATE, value: \"1500\"}}]
  store: {{uri: s3://millstream/jobs, endpoint: \"http://s3.default.svc:9000\", region: us-east-1, credentialsSecretName: s3}}
  worker: {{podTemplate: {template}}}
  coordinator: {{podTemplate: {template}}}
"
        );
        let file = PathBuf::from(spec(job.folder.path(), 2, "RocksDB")?);
        let text = fs::read_to_string(&file)?.replace("{name: popular}", &format!("{{name: {NAME}}}"));
        let text = text.replace("interval: 500ms", "interval: 2s");
        fs::write(&file, text + &more)?;
        job.kubectl(&["apply", "-f", &file.to_string_lossy()])?;
        Ok(job)
    }

    fn result(&self) -> PathBuf {
        self.folder.path().join("result")
    }

    fn kubectl(&self, args: &[&str]) -> Result<String> {
        let done = self.cluster.kubectl(&[&["-n", &self.namespace], args].concat())?.success();
        done.map(|done| done.stdout).with_context(|| format!("kubectl {}", args.join(" ")))
    }

    /// Its pods of a role, without those that are about to go.
    async fn pods(&self, role: &str) -> Result<Vec<Pod>> {
        let pods = Api::<Pod>::namespaced(self.cluster.client().await?, &self.namespace);
        let labels = format!("{JOB_LABEL}={NAME},{ROLE_LABEL}={role}");
        let pods = pods.list(&ListParams::default().labels(&labels)).await?.items;
        Ok(pods.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).collect())
    }

    /// The job's own API, as the operator uses it.
    async fn api(&self) -> Result<Option<Client>> {
        let pods = self.pods("coordinator").await?;
        let ip = pods.first().and_then(|pod| pod.status.as_ref()?.pod_ip.clone());
        let Some(ip) = ip else { return Ok(None) };
        let secrets = Api::<Secret>::namespaced(self.cluster.client().await?, &self.namespace);
        let data = secrets.get(&format!("{NAME}-tls")).await?.data.unwrap_or_default();
        let text =
            |key: &str| -> Result<String> { Ok(String::from_utf8(data.get(key).context("no such key")?.0.clone())?) };
        let secure = Secure {
            host: format!("{NAME}-coordinator.{}.svc", self.namespace),
            address: (ip.parse::<std::net::IpAddr>()?, port::API).into(),
            authority: text("ca.crt")?,
            token: text("token")?,
        };
        Ok(Some(Client::secure(&secure)?))
    }

    /// Waits until the job's API shows what `look` looks for.
    async fn until<T>(&self, what: &str, look: impl Fn(&JobStatus, &[StageStatus]) -> Option<T>) -> Result<T> {
        let seen = until(what, LIMIT, async || {
            let Some(api) = self.api().await? else { return Ok(None) };
            let (Ok(job), Ok(stages)) = (api.job().await, api.stages().await) else { return Ok(None) };
            Ok(look(&job, &stages))
        });
        seen.await.with_context(|| self.explain())
    }

    /// Waits for two more checkpoints, and sees that there is input left.
    async fn two_checkpoints(&self) -> Result<(JobStatus, Vec<StageStatus>)> {
        let begun = self.until("a checkpoint", |job, _| job.checkpoint.as_ref().map(|done| done.epoch)).await?;
        let is_later = |job: &JobStatus, stages: &[StageStatus]| {
            let epoch = job.checkpoint.as_ref()?.epoch;
            (job.state == JobState::Running && epoch >= begun + 2).then(|| (job.clone(), stages.to_vec()))
        };
        let seen = self.until("two more checkpoints", is_later).await?;
        ensure!(rows_read(&seen.1) < ROWS, "all is read already");
        Ok(seen)
    }

    /// Waits for the next checkpoint and says which it is and how many rows its tasks have read since they began.
    async fn new_checkpoint(&self) -> Result<(Epoch, u64)> {
        let newest = |job: &JobStatus, _: &[StageStatus]| job.checkpoint.as_ref().map(|done| done.epoch);
        let before = self.until("a checkpoint", newest).await?;
        let next = |job: &JobStatus, stages: &[StageStatus]| {
            let epoch = job.checkpoint.as_ref()?.epoch;
            (epoch > before).then(|| (epoch, rows_read(stages)))
        };
        self.until("the next checkpoint", next).await
    }

    async fn wait_for(&self, what: &str, holds: impl Fn(&StreamJob) -> bool) -> Result<StreamJob> {
        let jobs = Api::<StreamJob>::namespaced(self.cluster.client().await?, &self.namespace);
        let seen = until(what, LIMIT, async || {
            let job = jobs.get(NAME).await?;
            Ok(holds(&job).then_some(job))
        });
        seen.await.with_context(|| self.explain())
    }

    /// What a person would look at.
    fn explain(&self) -> String {
        let selector = format!("{JOB_LABEL}={NAME}");
        let looks: [&[&str]; 4] = [
            &["describe", "streamjob"],
            &["get", "pods", "-o", "wide"],
            &["logs", "--selector", &selector, "--prefix", "--tail", "20"],
            &["-n", "millstream-system", "logs", "deployment/millstream", "--tail", "40"],
        ];
        looks.map(|look| self.kubectl(look).unwrap_or_else(|error| format!("{error:#}"))).join("\n")
    }
}

fn is(job: &StreamJob, kind: ConditionType, status: &str, reason: &str) -> bool {
    let conditions = job.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    find(conditions, kind).is_some_and(|found| (found.status.as_str(), found.reason.as_str()) == (status, reason))
}

fn is_running(job: &StreamJob) -> bool {
    is(job, ConditionType::Ready, "True", "Running")
        && job.status.as_ref().is_some_and(|status| status.parallelism == Some(2) && status.operation.is_none())
}

/// Kills the process in a pod, wherever it runs on this machine.
fn kill(pod: &str) -> Result<()> {
    let needle = format!("MILLSTREAM_POD_NAME={pod}");
    for entry in fs::read_dir("/proc")? {
        let path = entry?.path();
        let Some(pid) = path.file_name().and_then(|name| name.to_str()?.parse().ok()) else { continue };
        // A process may vanish while it is looked at.
        let environment = fs::read(Path::new(&path).join("environ")).unwrap_or_default();
        if environment.split(|byte| *byte == 0).any(|variable| variable == needle.as_bytes()) {
            return Ok(kill_process(Pid::from_raw(pid).context("pid 0")?, Signal::KILL)?);
        }
    }
    anyhow::bail!("no process of {pod} runs here")
}

/// Installs the chart, with this build as the operator and as the image of jobs.
fn install(cluster: &Cluster) -> Result<()> {
    let (repository, tag) = Cluster::IMAGE.split_once(':').context("no tag")?;
    let image = format!("image.repository={repository},image.tag={tag}");
    let place = ["install", "millstream", CHART, "--namespace", "millstream-system", "--create-namespace"];
    let more = ["--set", &image, "--wait", "--timeout", "90s"];
    cluster.helm(&[place.as_slice(), &more].concat())?.success().map(drop)
}

#[tokio::test]
async fn a_job_survives_its_pods_and_its_result_is_that_of_an_unbroken_run() -> Result<()> {
    assert_eq!(NAME.len(), 40);
    millstream_runtime::net::tls::install_provider();
    let cluster = Cluster::shared().await?;
    install(&cluster)?;
    let job = Job::apply(&cluster).await?;
    job.wait_for("Ready", is_running).await?;
    let shown = job.kubectl(&["get", "streamjobs"])?;
    ensure!(shown.contains("True") && shown.contains("Running"), "{shown}");

    // A worker's pod is deleted: its groups move to the other one, and nothing is read again.
    let (begun, _) = job.two_checkpoints().await?;
    let workers = job.pods("worker").await?;
    ensure!(workers.len() == 2 && begun.recoveries == 0, "{begun:?}");
    job.kubectl(&["delete", "pod", &workers[1].name_any(), "--wait=false"])?;
    let drained = until("the drain", LIMIT, async || {
        let Some(api) = job.api().await? else { return Ok(None) };
        let rescales = api.rescales().await.unwrap_or_default();
        Ok(rescales.into_iter().find(|rescale| !rescale.drains.is_empty() && rescale.state == RescaleState::Done))
    });
    let drained = drained.await.with_context(|| job.explain())?;
    ensure!(drained.groups_moved > 0 && drained.bytes_moved > 0, "{drained:?}");
    job.wait_for("the worker that is back, and its tasks", is_running).await?;

    // The process of one is killed: the job goes back to its checkpoint and reads again what came after it.
    let (before, _) = job.two_checkpoints().await?;
    ensure!((before.recoveries, before.generation) == (0, begun.generation), "{before:?}");
    let (epoch, read) = job.new_checkpoint().await?;
    let more =
        |now: &JobStatus, stages: &[StageStatus]| (rows_read(stages) > read + 500).then(|| now.checkpoint.clone());
    let newest = job.until("rows that no checkpoint has", more).await?;
    assert_eq!(newest.map(|newest| newest.epoch), Some(epoch));
    kill(&workers[0].name_any())?;
    // No checkpoint is due for a second and a half, so these rows are read again.
    job.until("a recovery", |job, _| (job.recoveries == 1 && job.generation > before.generation).then_some(())).await?;
    let failed = job.wait_for("what has happened", |job| {
        job.status.as_ref().is_some_and(|status| status.last_failure.is_some()) && is_running(job)
    });
    let failure = failed.await?.status.and_then(|status| status.last_failure).context("no failure")?;
    assert_eq!(failure.pod.as_deref(), Some(workers[0].name_any().as_str()), "{failure:?}");

    // The coordinator's pod is deleted: another one takes over what runs.
    let (before, _) = job.two_checkpoints().await?;
    job.kubectl(&["delete", "pod", &job.pods("coordinator").await?[0].name_any(), "--wait=false"])?;
    let (after, _) = job.two_checkpoints().await?;
    let went_on = after.term > before.term && after.generation == before.generation;
    ensure!(went_on, "its tasks were not taken over: {before:?}\n{after:?}");

    let done = job.wait_for("the end", |job| is(job, ConditionType::Completed, "True", "Completed")).await?;
    ensure!(is(&done, ConditionType::Ready, "False", "Completed"), "{:?}", done.status);
    let lines = committed_lines(&job.result())?;
    check_result(&lines).with_context(|| job.explain())?;
    let none =
        async || Ok((job.pods("worker").await?.is_empty() && job.pods("coordinator").await?.is_empty()).then_some(()));
    until("the end of all pods", LIMIT, none).await?;
    for look in [&["get", "streamjobs", "-o", "wide"][..], &["describe", "streamjob", NAME], &["get", "pods"]] {
        println!("{}", job.kubectl(look)?);
    }
    println!("{}", job.kubectl(&["-n", "millstream-system", "logs", "deployment/millstream"])?);

    job.kubectl(&["delete", "streamjob", NAME, "--timeout", "60s"])?;
    let kinds = "deployments,statefulsets,services,poddisruptionbudgets,controllerrevisions";
    let none = async || Ok(job.kubectl(&["get", kinds, "-o", "name"])?.is_empty().then_some(()));
    until("the end of its objects", LIMIT, none).await
}
