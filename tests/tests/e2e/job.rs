//! A job in the cluster, and what is seen of it: by kubectl, by the Kubernetes API, and by its own.
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use millstream_api::crd::{ConditionType, JOB_LABEL, ROLE_LABEL, StreamJob, find};
use millstream_api::id::Epoch;
use millstream_api::wire::{JobState, JobStatus, RescaleState, RescaleStatus, StageStatus};
use millstream_operator::client::{Client, Secure};
use millstream_operator::name::port;
use millstream_tests::cluster::Cluster;
use millstream_tests::popular::{ROWS, check_result, spec};
use millstream_tests::process::{committed_lines, rows_read, until};

/// As long as a name may be.
pub const NAME: &str = "popular-auctions-of-the-nexmark-workload";
/// The longest that one thing may take; the machine has two nodes and two cores.
pub const LIMIT: Duration = Duration::from_secs(90);

/// A job in a namespace of its own.
pub struct Job<'a> {
    pub cluster: &'a Cluster,
    pub namespace: String,
    folder: tempfile::TempDir,
}

impl<'a> Job<'a> {
    /// One that is offered events at this rate, with two workers.
    pub async fn apply(cluster: &'a Cluster, rate: &str) -> Result<Self> {
        let job = Self::new(cluster).await?;
        let text = fs::read_to_string(spec(job.folder.path(), 2, "RocksDB")?)?;
        let text =
            text.replace("{name: popular}", &format!("{{name: {NAME}}}")).replace("interval: 500ms", "interval: 2s");
        job.create(&format!("{text}  variables: [{{name: RATE, value: \"{rate}\"}}]\n"))?;
        Ok(job)
    }

    /// A place for one. Its result goes to a volume that all nodes have, as one of NFS is.
    pub async fn new(cluster: &'a Cluster) -> Result<Self> {
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
        Ok(job)
    }

    /// Applies a job of this text, which is without store and pod templates. Its coordinator is on node 2 if it can be, which a
    /// test may do harm to.
    pub fn create(&self, text: &str) -> Result<()> {
        let result = self.result().display().to_string();
        let preferred = "preferredDuringSchedulingIgnoredDuringExecution: [{weight: 100, preference: {matchExpressions: \
             [{key: kubernetes.io/hostname, operator: In, values: [node2]}]}}]";
        let template = format!(
            "{{spec: {{affinity: {{nodeAffinity: {{AFFINITY}}}}, volumes: [{{name: result, persistentVolumeClaim: {{claimName: result}}}}], \
             containers: [{{name: millstream, volumeMounts: [{{name: result, mountPath: {result}}}]}}]}}}}"
        );
        let (worker, coordinator) = (template.replace("AFFINITY", ""), template.replace("AFFINITY", preferred));
        let more = format!(
            "  store: {{uri: s3://millstream/jobs, endpoint: \"http://s3.default.svc:9000\", region: us-east-1, credentialsSecretName: s3}}
  worker: {{podTemplate: {worker}}}
  coordinator: {{podTemplate: {coordinator}}}
"
        );
        let file = self.folder.path().join("job.yaml");
        fs::write(&file, text.to_owned() + &more)?;
        self.kubectl(&["apply", "-f", &file.to_string_lossy()]).map(drop)
    }

    /// Where its manifest and its result are.
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    pub fn result(&self) -> PathBuf {
        self.folder.path().join("result")
    }

    pub fn kubectl(&self, args: &[&str]) -> Result<String> {
        let done = self.cluster.kubectl(&[&["-n", &self.namespace], args].concat())?.success();
        done.map(|done| done.stdout).with_context(|| format!("kubectl {}", args.join(" ")))
    }

    /// Its pods of a role, without those that are about to go.
    pub async fn pods(&self, role: &str) -> Result<Vec<Pod>> {
        let pods = Api::<Pod>::namespaced(self.cluster.client().await?, &self.namespace);
        let labels = format!("{JOB_LABEL}={NAME},{ROLE_LABEL}={role}");
        let pods = pods.list(&ListParams::default().labels(&labels)).await?.items;
        Ok(pods.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).collect())
    }

    /// Its pods that are not about to go: uid and restarts by name.
    pub async fn lives(&self) -> Result<BTreeMap<String, (String, i32)>> {
        let pods = [self.pods("coordinator").await?, self.pods("worker").await?].concat();
        let life = |pod: &Pod| {
            let containers = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
            let restarts = containers.map(|container| container.restart_count).sum();
            (pod.name_any(), (pod.uid().unwrap_or_default(), restarts))
        };
        Ok(pods.iter().map(life).collect())
    }

    /// The job's own API, as the operator uses it.
    pub async fn api(&self) -> Result<Option<Client>> {
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
    pub async fn until<T>(&self, what: &str, look: impl Fn(&JobStatus, &[StageStatus]) -> Option<T>) -> Result<T> {
        let seen = until(what, LIMIT, async || {
            let Some(api) = self.api().await? else { return Ok(None) };
            let (Ok(job), Ok(stages)) = (api.job().await, api.stages().await) else { return Ok(None) };
            Ok(look(&job, &stages))
        });
        seen.await.with_context(|| self.explain())
    }

    /// Waits for two more checkpoints, and sees that there is input left.
    pub async fn two_checkpoints(&self) -> Result<(JobStatus, Vec<StageStatus>)> {
        let begun = self.until("a checkpoint", |job, _| job.checkpoint.as_ref().map(|done| done.epoch)).await?;
        let is_later = |job: &JobStatus, stages: &[StageStatus]| {
            let epoch = job.checkpoint.as_ref()?.epoch;
            (job.state == JobState::Running && epoch >= begun + 2).then(|| (job.clone(), stages.to_vec()))
        };
        let seen = self.until("two more checkpoints", is_later).await?;
        ensure!(rows_read(&seen.1) < ROWS, "all is read already");
        Ok(seen)
    }

    /// Waits until it has read many rows that no checkpoint has, and says after which one. None is due for a second and a half.
    pub async fn rows_to_lose(&self) -> Result<Epoch> {
        let (epoch, read) = self.new_checkpoint().await?;
        let more =
            |now: &JobStatus, stages: &[StageStatus]| (rows_read(stages) > read + 500).then(|| now.checkpoint.clone());
        let newest = self.until("rows that no checkpoint has", more).await?;
        ensure!(
            newest.map(|newest| newest.epoch) == Some(epoch),
            "this machine is too slow to hit between checkpoints"
        );
        Ok(epoch)
    }

    /// Waits until a rescale that `is_meant` is over, and says how it went.
    pub async fn rescaled(&self, what: &str, is_meant: impl Fn(&RescaleStatus) -> bool) -> Result<RescaleStatus> {
        let seen = until(what, LIMIT, async || {
            let Some(api) = self.api().await? else { return Ok(None) };
            let rescales = api.rescales().await.unwrap_or_default();
            Ok(rescales.into_iter().find(|rescale| rescale.state.is_final() && is_meant(rescale)))
        });
        let rescale = seen.await.with_context(|| self.explain())?;
        let has_moved = rescale.groups_moved > 0 && rescale.bytes_moved > 0;
        ensure!(rescale.state == RescaleState::Done && has_moved, "{rescale:?}");
        Ok(rescale)
    }

    /// Waits for its end.
    pub async fn ends(&self) -> Result<StreamJob> {
        let done = self.wait_for("the end", |job| is(job, ConditionType::Completed, "True", "Completed")).await?;
        ensure!(is(&done, ConditionType::Ready, "False", "Completed"), "{:?}", done.status);
        Ok(done)
    }

    /// Waits for its end, and compares its result with that of an unbroken run.
    pub async fn completes(&self) -> Result<StreamJob> {
        let done = self.ends().await?;
        check_result(&committed_lines(&self.result())?).with_context(|| self.explain())?;
        Ok(done)
    }

    /// Waits for the next checkpoint and says which it is and how many rows its tasks have read since they began.
    pub async fn new_checkpoint(&self) -> Result<(Epoch, u64)> {
        let newest = |job: &JobStatus, _: &[StageStatus]| job.checkpoint.as_ref().map(|done| done.epoch);
        let before = self.until("a checkpoint", newest).await?;
        let next = |job: &JobStatus, stages: &[StageStatus]| {
            let epoch = job.checkpoint.as_ref()?.epoch;
            (epoch > before).then(|| (epoch, rows_read(stages)))
        };
        self.until("the next checkpoint", next).await
    }

    pub async fn wait_for(&self, what: &str, holds: impl Fn(&StreamJob) -> bool) -> Result<StreamJob> {
        let jobs = Api::<StreamJob>::namespaced(self.cluster.client().await?, &self.namespace);
        let seen = until(what, LIMIT, async || {
            let job = jobs.get(NAME).await?;
            Ok(holds(&job).then_some(job))
        });
        seen.await.with_context(|| self.explain())
    }

    /// What a person would look at.
    pub fn explain(&self) -> String {
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

pub fn is(job: &StreamJob, kind: ConditionType, status: &str, reason: &str) -> bool {
    let conditions = job.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    find(conditions, kind).is_some_and(|found| (found.status.as_str(), found.reason.as_str()) == (status, reason))
}

/// Whether all is as it should be, on so many workers.
pub fn runs_on(job: &StreamJob, workers: u32) -> bool {
    is(job, ConditionType::Ready, "True", "Running")
        && job.status.as_ref().is_some_and(|status| status.parallelism == Some(workers) && status.operation.is_none())
}

pub fn is_running(job: &StreamJob) -> bool {
    runs_on(job, 2)
}
