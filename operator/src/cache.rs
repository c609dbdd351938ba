//! What the operator knows of one namespace, or of all: reflected by watches, so that looking costs no request. Each change
//! triggers the job it belongs to.
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use futures::stream::{BoxStream, SelectAll, StreamExt, TryStreamExt};
use k8s_openapi::api::apps::v1::{ControllerRevision, Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service, ServiceAccount};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{ApiResource, DynamicObject};
use kube::core::NamespaceResourceScope;
use kube::runtime::controller::{ReconcileRequest, trigger_with};
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::{self, watcher};
use kube::runtime::{PredicateConfig, WatchStreamExt};
use kube::{Api, Client, Resource, ResourceExt};
use millstream_api::crd::{JOB_LABEL, StreamJob, StreamJobSnapshot};
use serde::de::DeserializeOwned;

use crate::name::{Identity, MANAGER};

mod index;
mod pack;

use index::{Index, Indexed};
use pack::{Packed, prune, prune_pod};

/// Objects a page of a list has: a thousand jobs are read without one answer of megabytes.
const PAGE: u32 = 250;

/// Kinds of objects that a job has, beside pods, revisions and secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Its account.
    ServiceAccount,
    /// Its services.
    Service,
    /// Disruption budget of its workers.
    Budget,
    /// Job files.
    ConfigMap,
    /// Coordinators.
    Deployment,
    /// Workers.
    StatefulSet,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::ServiceAccount, Self::Service, Self::Budget, Self::ConfigMap, Self::Deployment, Self::StatefulSet];

    /// As the API knows it.
    pub fn resource(self) -> ApiResource {
        match self {
            Self::ServiceAccount => ApiResource::erase::<ServiceAccount>(&()),
            Self::Service => ApiResource::erase::<Service>(&()),
            Self::Budget => ApiResource::erase::<PodDisruptionBudget>(&()),
            Self::ConfigMap => ApiResource::erase::<ConfigMap>(&()),
            Self::Deployment => ApiResource::erase::<Deployment>(&()),
            Self::StatefulSet => ApiResource::erase::<StatefulSet>(&()),
        }
    }
}

/// What triggers reconciles.
pub type Triggers = SelectAll<BoxStream<'static, Result<ReconcileRequest<StreamJob>, watcher::Error>>>;

/// What triggers looks at snapshots.
pub type SnapshotTriggers = BoxStream<'static, Result<ReconcileRequest<StreamJobSnapshot>, watcher::Error>>;

/// Jobs that wait to be looked at because of a snapshot. One too many is looked at when its time comes, seconds later.
const NUDGES: usize = 64;

/// What is known of one namespace, or of all.
#[derive(Clone)]
pub struct Cache {
    /// Jobs.
    pub jobs: Store<StreamJob>,
    /// Snapshots.
    pub snapshots: Store<StreamJobSnapshot>,
    pods: Indexed<Pod>,
    revisions: Indexed<Packed>,
    objects: BTreeMap<Kind, Indexed<Packed>>,
}

impl Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache").field("jobs", &self.jobs.len()).finish_non_exhaustive()
    }
}

impl Cache {
    /// Watches `namespace`, or all. The cache is filled while the triggers are polled.
    pub fn watch(client: &Client, namespace: Option<&str>) -> (Self, Triggers, SnapshotTriggers) {
        let mut triggers = Triggers::new();
        let jobs = {
            let writer = Writer::<StreamJob>::default();
            let store = writer.as_reader();
            let events = watcher(typed(client, namespace), watcher::Config::default().page_size(PAGE))
                .default_backoff()
                .modify(prune)
                .reflect(writer)
                .touched_objects()
                // Our own writes to the status trigger nothing.
                .predicate_filter(wanted, PredicateConfig::default());
            triggers.push(trigger_with(events, |job| [ObjectRef::from_obj(&job)]).boxed());
            store
        };
        let (snapshots, of_snapshots) = snapshots(typed(client, namespace), &mut triggers);
        let pods = reflect::<Pod>(typed(client, namespace), (), prune_pod, &mut triggers);
        let packed = |resource: ApiResource, light: fn(&mut Packed), triggers: &mut Triggers| {
            reflect(dynamic(client, namespace, &resource), resource, light, triggers)
        };
        let revisions = packed(ApiResource::erase::<ControllerRevision>(&()), |_| {}, &mut triggers);
        let objects = Kind::ALL.map(|kind| {
            let light = if kind == Kind::ConfigMap { Packed::forget_rest } else { |_: &mut Packed| {} };
            (kind, packed(kind.resource(), light, &mut triggers))
        });
        (Self { jobs, snapshots, pods, revisions, objects: objects.into() }, triggers, of_snapshots)
    }

    /// Waits until everything was read once. Errors only when the watches have ended, and the operator with them.
    pub async fn ready(&self) -> bool {
        let mut ready = self.jobs.wait_until_ready().await.is_ok();
        ready &= self.snapshots.wait_until_ready().await.is_ok();
        ready &= self.pods.store().wait_until_ready().await.is_ok();
        ready &= self.revisions.store().wait_until_ready().await.is_ok();
        for objects in self.objects.values() {
            ready &= objects.store().wait_until_ready().await.is_ok();
        }
        ready
    }

    /// An object of the job by its name.
    pub fn object(&self, job: &Identity, kind: Kind, name: &str) -> Option<Arc<DynamicObject>> {
        self.objects.get(&kind)?.get(&job.namespace, name).map(|packed| Arc::new(packed.unpack()))
    }

    /// All objects of a kind that the job has.
    pub fn objects(&self, job: &Identity, kind: Kind) -> Vec<Arc<DynamicObject>> {
        let packed = self.objects.get(&kind).map(|objects| objects.of(job)).unwrap_or_default();
        packed.iter().map(|packed| Arc::new(packed.unpack())).collect()
    }

    /// A job by its name.
    pub fn job(&self, namespace: &str, name: &str) -> Option<Arc<StreamJob>> {
        self.jobs.get(&ObjectRef::new(name).within(namespace))
    }

    /// Snapshots that name the job.
    pub fn snapshots_of(&self, job: &Identity) -> Vec<Arc<StreamJobSnapshot>> {
        let of_job = |snapshot: &StreamJobSnapshot| {
            snapshot.metadata.namespace.as_deref() == Some(&job.namespace) && snapshot.spec.job_name == job.name
        };
        self.snapshots.state_filter(of_job)
    }

    /// A snapshot by its name.
    pub fn snapshot(&self, namespace: &str, name: &str) -> Option<Arc<StreamJobSnapshot>> {
        self.snapshots.get(&ObjectRef::new(name).within(namespace))
    }

    /// A pod of ours by its name.
    pub fn pod(&self, namespace: &str, name: &str) -> Option<Arc<Pod>> {
        self.pods.get(namespace, name)
    }

    /// Its pods, by name.
    pub fn pods(&self, job: &Identity) -> Vec<Arc<Pod>> {
        self.pods.of(job)
    }

    /// Its revisions. Those of another job that had the name before are not among them.
    pub fn revisions(&self, job: &Identity) -> Vec<ControllerRevision> {
        let mut revisions = self.revisions.of(job);
        revisions.retain(|object| object.owner_references().iter().any(|owner| owner.uid == job.uid));
        revisions.iter().map(|packed| packed.revision()).collect()
    }
}

fn typed<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

fn dynamic(client: &Client, namespace: Option<&str>, resource: &ApiResource) -> Api<Packed> {
    match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, resource),
        None => Api::all_with(client.clone(), resource),
    }
}

/// Watches what the operator made itself.
fn reflect<K>(api: Api<K>, kind: K::DynamicType, light: fn(&mut K), triggers: &mut Triggers) -> Indexed<K>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    K::DynamicType: Clone + Debug + Eq + Hash + Send + Sync + Unpin + 'static,
{
    let ours = watcher::Config::default().labels(&format!("app.kubernetes.io/managed-by={MANAGER}")).page_size(PAGE);
    let (writer, index) = (Writer::new(kind.clone()), Index::default());
    let indexed = Indexed::new(writer.as_reader(), kind, index.clone());
    let events = watcher(api, ours).default_backoff().modify(light).reflect(writer);
    let events = events.inspect_ok(move |event| index.note(event)).touched_objects();
    triggers.push(trigger_with(events, |object: K| job_of(&object)).boxed());
    indexed
}

/// Watches snapshots. A change of one triggers a look at it, and at its job, which shows what is done.
fn snapshots(api: Api<StreamJobSnapshot>, triggers: &mut Triggers) -> (Store<StreamJobSnapshot>, SnapshotTriggers) {
    let writer = Writer::<StreamJobSnapshot>::default();
    let store = writer.as_reader();
    let (mut nudge, nudged) = futures::channel::mpsc::channel(NUDGES);
    let tell = move |event: &Result<StreamJobSnapshot, watcher::Error>| {
        if let Ok(snapshot) = event
            && let Some(namespace) = &snapshot.metadata.namespace
        {
            // If there are too many, it is not told.
            let _ = nudge.try_send(ObjectRef::<StreamJob>::new(&snapshot.spec.job_name).within(namespace));
        }
    };
    let events = watcher(api, watcher::Config::default().page_size(PAGE)).default_backoff().modify(prune);
    let events = events.reflect(writer).touched_objects().inspect(tell);
    triggers.push(nudged.map(|job| Ok(ReconcileRequest::from(job))).boxed());
    (store, trigger_with(events, |snapshot| [ObjectRef::from_obj(&snapshot)]).boxed())
}

/// The job that an object is labelled with.
fn job_of<K: Resource>(object: &K) -> Option<ObjectRef<StreamJob>> {
    let meta = object.meta();
    let name = meta.labels.as_ref()?.get(JOB_LABEL)?;
    Some(ObjectRef::new(name).within(meta.namespace.as_deref()?))
}

/// What is wanted of a job. Its status is not part of it.
fn wanted(job: &StreamJob) -> Option<u64> {
    let meta = &job.metadata;
    let mut hasher = DefaultHasher::new();
    (&meta.uid, &meta.generation, &meta.annotations, &meta.finalizers).hash(&mut hasher);
    meta.deletion_timestamp.is_some().hash(&mut hasher);
    // A status that was erased, or that another operator claims, is looked at.
    let operator = job.status.as_ref().and_then(|status| status.operator.as_ref());
    operator.hash(&mut hasher);
    Some(hasher.finish())
}

#[cfg(test)]
mod tests {
    use millstream_api::crd::StreamJobStatus;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_status_says_of_the_load_is_no_reason_to_look_at_a_job() {
        let mut job: StreamJob = serde_json::from_value(json!({
            "apiVersion": "millstream.dev/v1alpha1", "kind": "StreamJob",
            "metadata": {"name": "orders", "namespace": "team", "uid": "u", "generation": 7, "resourceVersion": "1"},
            "spec": {"sql": {"inline": "SELECT 1"}},
        }))
        .unwrap();
        job.status = Some(StreamJobStatus { operator: Some("m/m".into()), ..StreamJobStatus::default() });
        let before = wanted(&job);
        let checkpoint = json!({"epoch": 5, "time": "2026-01-01T00:00:00Z", "path": "p"});
        job.status = Some(StreamJobStatus {
            lag: Some("10s".into()),
            parallelism: Some(3),
            checkpoint: serde_json::from_value(checkpoint).unwrap(),
            ..job.status.unwrap_or_default()
        });
        job.metadata.resource_version = Some("2".into());
        assert_eq!(wanted(&job), before);
        let changes: [fn(&mut StreamJob); 5] = [
            |job| job.metadata.generation = Some(8),
            |job| job.metadata.annotations = Some([("a".into(), "b".into())].into()),
            |job| job.metadata.uid = Some("other".into()),
            |job| job.metadata.finalizers = Some(vec!["a".into()]),
            |job| job.status = None,
        ];
        for change in changes {
            let mut job = job.clone();
            change(&mut job);
            assert_ne!(wanted(&job), before, "{:?}", job.metadata);
        }
    }
}
