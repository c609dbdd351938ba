//! What belongs to which job: a store alone would be searched from end to end at each look, which is quadratic in the number of jobs.
use std::collections::{BTreeSet, HashMap};
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::{Arc, PoisonError, RwLock};

use kube::Resource;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::Event;
use millstream_api::crd::JOB_LABEL;

use crate::name::Identity;

/// Names of objects by namespace and name of their job.
type Names = HashMap<(String, String), BTreeSet<String>>;

/// A store whose objects are found by their job.
#[derive(Clone)]
pub struct Indexed<K>
where
    K: Resource + Clone + 'static,
    K::DynamicType: Eq + Hash + Clone,
{
    store: Store<K>,
    kind: K::DynamicType,
    index: Index,
}

impl<K> Indexed<K>
where
    K: Resource + Clone + 'static,
    K::DynamicType: Eq + Hash + Clone,
{
    /// Over a store; `index` is told what the store is told.
    pub fn new(store: Store<K>, kind: K::DynamicType, index: Index) -> Self {
        Self { store, kind, index }
    }

    /// The store.
    pub fn store(&self) -> &Store<K> {
        &self.store
    }

    /// An object by its name.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.store.get(&ObjectRef::new_with(name, self.kind.clone()).within(namespace))
    }

    /// All that belong to the job, by name.
    pub fn of(&self, job: &Identity) -> Vec<Arc<K>> {
        let names = self.index.names(job);
        let found = names.iter().filter_map(|name| self.get(&job.namespace, name));
        // It may have been labelled as another's since.
        found.filter(|object| key(object.as_ref()).is_some_and(|(_, name)| name == job.name)).collect()
    }
}

/// Filled by what a watch tells, in the order in which the store is.
#[derive(Debug, Clone, Default)]
pub struct Index(Arc<RwLock<State>>);

#[derive(Debug, Default)]
struct State {
    known: Names,
    /// Of a list that is not complete: the store shows none of it yet.
    listed: Names,
}

impl Index {
    /// A watch tells something, and the store has heard it.
    pub fn note<K: Resource>(&self, event: &Event<K>) {
        let mut state = self.0.write().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Init => state.listed.clear(),
            Event::InitApply(object) => insert(&mut state.listed, object),
            // What is not in the list is gone.
            Event::InitDone => state.known = std::mem::take(&mut state.listed),
            Event::Apply(object) => insert(&mut state.known, object),
            Event::Delete(object) => remove(&mut state.known, object),
        }
    }

    fn names(&self, job: &Identity) -> Vec<String> {
        let state = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let names = state.known.get(&(job.namespace.clone(), job.name.clone()));
        names.map(|names| names.iter().cloned().collect()).unwrap_or_default()
    }
}

fn insert<K: Resource>(names: &mut Names, object: &K) {
    if let (Some(key), Some(name)) = (key(object), &object.meta().name) {
        names.entry(key).or_default().insert(name.clone());
    }
}

fn remove<K: Resource>(names: &mut Names, object: &K) {
    let (Some(key), Some(name)) = (key(object), &object.meta().name) else { return };
    if let Some(of_job) = names.get_mut(&key) {
        of_job.remove(name);
        if of_job.is_empty() {
            names.remove(&key);
        }
    }
}

/// Namespace and name of the job that an object is labelled with.
fn key<K: Resource>(object: &K) -> Option<(String, String)> {
    let meta = object.meta();
    Some((meta.namespace.clone()?, meta.labels.as_ref()?.get(JOB_LABEL)?.clone()))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use kube::api::ObjectMeta;
    use kube::runtime::reflector::store::Writer;

    use super::*;

    fn pod(name: &str, job: &str) -> Pod {
        let labels = Some([(JOB_LABEL.to_owned(), job.to_owned())].into());
        let (name, namespace) = (Some(name.to_owned()), Some("n".to_owned()));
        Pod { metadata: ObjectMeta { name, namespace, labels, ..ObjectMeta::default() }, ..Pod::default() }
    }

    /// Names of the pods of job `a` after these events.
    fn after(events: &[Event<Pod>]) -> Vec<String> {
        let (mut writer, index) = (Writer::<Pod>::default(), Index::default());
        let pods = Indexed::new(writer.as_reader(), (), index.clone());
        for event in events {
            writer.apply_watcher_event(event);
            index.note(event);
        }
        let job = Identity { namespace: "n".into(), name: "a".into(), uid: "u".into() };
        pods.of(&job).iter().filter_map(|pod| pod.metadata.name.clone()).collect()
    }

    #[test]
    fn what_belongs_to_a_job_is_what_the_watch_has_told_last() {
        let listed = [
            Event::Init,
            Event::InitApply(pod("p", "a")),
            Event::InitApply(pod("q", "b")),
            Event::InitApply(pod("r", "a")),
        ];
        assert!(after(&listed).is_empty(), "a list is nothing until it is complete");
        let done = [&listed[..], &[Event::InitDone]].concat();
        assert_eq!(after(&done), ["p", "r"]);
        let more = [&done[..], &[Event::Apply(pod("s", "a")), Event::Delete(pod("p", "a"))]].concat();
        assert_eq!(after(&more), ["r", "s"]);
        // A watch that was cut off lists again: what went meanwhile is not told, it is just not there.
        let again = [&more[..], &[Event::Init, Event::InitApply(pod("r", "a"))]].concat();
        assert_eq!(after(&again), ["r", "s"]);
        assert_eq!(after(&[&again[..], &[Event::InitDone]].concat()), ["r"]);
        let other = [&done[..], &[Event::Apply(pod("r", "b"))]].concat();
        assert_eq!(after(&other), ["p"], "one that is another job's now");
    }
}
