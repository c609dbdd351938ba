//! Plays the controllers and the kubelets: every Deployment and StatefulSet gets its pods, and these run at once.
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use futures::stream::StreamExt;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec, Secret};
use kube::api::{Patch, PatchParams, PostParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, watcher};
use kube::{Api, Client, ResourceExt};
use millstream_api::crd::{JOB_LABEL, REVISION_LABEL};
use serde_json::json;
use tokio::task::JoinSet;

use super::place::{self, Place};
use super::stub;

/// One address each, of a part of loopback that this process has to itself.
pub const JOBS_MAX: u32 = 250 * 250;
/// Objects that get their pods at a time, as kube-controller-manager has it.
const WORKERS: usize = 5;

/// The player; it ends when this is dropped.
pub struct Player {
    polls: Arc<AtomicU64>,
    _tasks: JoinSet<()>,
}

#[derive(Clone)]
struct Stage {
    client: Client,
    namespace: String,
    folder: PathBuf,
    polls: Arc<AtomicU64>,
}

impl Player {
    pub fn start(place: &Place, folder: &Path) -> Self {
        let polls = Arc::new(AtomicU64::new(0));
        let stage = Stage {
            client: place.client.clone(),
            namespace: place.namespace.clone(),
            folder: folder.to_owned(),
            polls: Arc::clone(&polls),
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(stage.clone().deployments());
        tasks.spawn(stage.stateful_sets());
        Self { polls, _tasks: tasks }
    }

    /// Calls that the coordinators have answered.
    pub fn polls(&self) -> u64 {
        self.polls.load(Ordering::Relaxed)
    }
}

impl Stage {
    async fn deployments(self) {
        let api = Api::<Deployment>::namespaced(self.client.clone(), &self.namespace);
        let applied = watcher(api, watcher::Config::default()).default_backoff().applied_objects();
        let play = async |seen: watcher::Result<Deployment>| {
            let played = async { self.coordinator(seen?).await };
            tell(played.await);
        };
        applied.for_each_concurrent(WORKERS, play).await;
    }

    async fn stateful_sets(self) {
        let api = Api::<StatefulSet>::namespaced(self.client.clone(), &self.namespace);
        let applied = watcher(api, watcher::Config::default()).default_backoff().applied_objects();
        let play = async |seen: watcher::Result<StatefulSet>| {
            let played = async { self.workers(seen?).await };
            tell(played.await);
        };
        applied.for_each_concurrent(WORKERS, play).await;
    }

    async fn coordinator(&self, object: Deployment) -> Result<()> {
        let spec = object.spec.clone().context("no spec")?;
        if spec.replicas != Some(1) || object.status.as_ref().is_some_and(|status| status.observed_generation.is_some())
        {
            return Ok(());
        }
        let job = object.labels().get(JOB_LABEL).context("no job")?.clone();
        let revision = object.labels().get(REVISION_LABEL).context("no revision")?.clone();
        let address = address(&job)?;
        let (tls, token) = self.certificates(&job).await?;
        let answers = stub::Answers::new(&job, &format!("{job}-w-{revision}-0"), Arc::clone(&self.polls));
        stub::serve(&tls, address, &token, answers).await?;
        self.pod(&format!("{}-0", object.name_any()), spec.template, address).await?;
        let api = Api::<Deployment>::namespaced(self.client.clone(), &self.namespace);
        let status =
            json!({"status": {"observedGeneration": object.metadata.generation, "replicas": 1, "readyReplicas": 1}});
        api.patch_status(&object.name_any(), &PatchParams::default(), &Patch::Merge(status)).await?;
        Ok(())
    }

    async fn workers(&self, object: StatefulSet) -> Result<()> {
        let spec = object.spec.clone().context("no spec")?;
        if object.status.as_ref().is_some_and(|status| status.observed_generation.is_some()) {
            return Ok(());
        }
        let replicas = spec.replicas.unwrap_or_default();
        for ordinal in 0..replicas {
            let name = format!("{}-{ordinal}", object.name_any());
            self.pod(&name, spec.template.clone(), Ipv4Addr::LOCALHOST).await?;
        }
        let api = Api::<StatefulSet>::namespaced(self.client.clone(), &self.namespace);
        let seen = object.metadata.generation;
        let status = json!({"status": {"observedGeneration": seen, "replicas": replicas, "readyReplicas": replicas}});
        api.patch_status(&object.name_any(), &PatchParams::default(), &Patch::Merge(status)).await?;
        Ok(())
    }

    /// Mounts the job's Secret, as it were. Says where, and the token.
    async fn certificates(&self, job: &str) -> Result<(PathBuf, String)> {
        let secrets = Api::<Secret>::namespaced(self.client.clone(), &self.namespace);
        let data = secrets.get(&format!("{job}-tls")).await.context("no certificates")?.data.unwrap_or_default();
        let folder = self.folder.join(job);
        std::fs::create_dir_all(&folder)?;
        for (name, bytes) in &data {
            std::fs::write(folder.join(name), &bytes.0)?;
        }
        let token = data.get("token").context("no token")?;
        Ok((folder, String::from_utf8(token.0.clone())?))
    }

    /// A pod that runs and is ready.
    async fn pod(&self, name: &str, template: PodTemplateSpec, address: Ipv4Addr) -> Result<()> {
        let api = Api::<Pod>::namespaced(self.client.clone(), &self.namespace);
        let mut metadata = template.metadata.unwrap_or_default();
        metadata.name = Some(name.to_owned());
        let pod = Pod { metadata, spec: template.spec, ..Pod::default() };
        api.create(&PostParams::default(), &pod).await.with_context(|| format!("cannot make the pod {name}"))?;
        let ready = json!({"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"});
        let status = json!({"status": {
            "phase": "Running", "podIP": address.to_string(), "podIPs": [{"ip": address.to_string()}], "conditions": [ready],
        }});
        api.patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await?;
        Ok(())
    }
}

fn tell(played: Result<()>) {
    if let Err(error) = played {
        eprintln!("note: a pod cannot be played: {error:#}");
    }
}

/// Where the coordinator of a job is. Coordinators have the port of real ones, so each has an address.
fn address(job: &str) -> Result<Ipv4Addr> {
    let number = place::number(job).filter(|number| *number < JOBS_MAX).context("not a job of the bench")?;
    let part = |of: u32| u8::try_from(of).unwrap_or_default();
    // Apart from other processes of this kind.
    Ok(Ipv4Addr::new(127, part(192 + std::process::id() % 60), part(number / 250), part(1 + number % 250)))
}
