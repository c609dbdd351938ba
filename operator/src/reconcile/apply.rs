//! Brings objects about: server-side apply with our own field manager, in an order in which each object finds what it needs, and
//! only where something is not as it should be.
use std::sync::Arc;

use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, Preconditions};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use super::Error;
use super::build::{Desired, Sized};
use super::decide::{Call, Decision};
use super::observe::Observed;
use crate::cache::Kind;
use crate::context::{Context, Memory};
use crate::event::{Happened, News};
use crate::name::{MANAGER, Role};
use crate::revision::Revision;
use crate::subset::difference;

mod credentials;
mod trial;

/// An object that somebody changes back at once is applied at most this often.
const CONTESTED_MS: i64 = 60_000;
/// How long the cache may take to show what was written.
const CACHE_MS: i64 = 10_000;

/// What was done.
#[derive(Debug, Default)]
pub struct Applied {
    /// Objects written or removed.
    pub written: usize,
    /// What is worth an event.
    pub news: Vec<News>,
    /// Calls of the coordinator that were refused or not answered.
    pub refused: Vec<String>,
    /// Workers that are told to run. Fewer only if they could be released before.
    pub workers: Option<u32>,
}

/// Applies everything.
pub async fn apply(
    context: &Context,
    observed: &Observed,
    decision: &Decision,
    desired: Desired,
    memory: &mut Memory,
) -> Result<Applied, Error> {
    // Without `..`: whatever is built is applied.
    let Desired {
        account,
        services,
        budget,
        revisions,
        rehearsal,
        config_maps,
        mut workloads,
        mut check,
        checked,
        discarded,
    } = desired;
    let mut hand = Hand { context, observed, memory, applied: Applied::default() };
    if let Some(object) = account {
        hand.object(Kind::ServiceAccount, object).await?;
    }
    for object in services {
        hand.object(Kind::Service, object).await?;
    }
    if let Some(object) = budget {
        hand.object(Kind::Budget, object).await?;
    }
    if check.is_some() || workloads.iter().any(|workload| workload.replicas > 0) {
        hand.credentials(check.is_some() || hand.grows(&workloads)).await?;
        hand.restart_strangers().await?;
    }
    // Before any pod: who looks later finds what the pods were made from, and why they went.
    for object in revisions {
        hand.revision(object).await?;
    }
    if let Some(rehearsal) = rehearsal
        && !hand.rehearse(&rehearsal).await?
    {
        check = None;
        workloads.retain(|workload| rehearsal.workloads.iter().all(|refused| refused.name != workload.name));
    }
    for object in config_maps {
        hand.object(Kind::ConfigMap, object).await?;
    }
    let may_shrink = hand.calls(decision).await?;
    for workload in workloads {
        if workload.shrinks && !may_shrink {
            continue;
        }
        hand.workload(workload).await?;
    }
    if let Some(pod) = check {
        hand.check(pod).await?;
    }
    for pod in checked {
        hand.remove(&ApiResource::erase::<Pod>(&()), &pod.name_any(), (pod.uid(), pod.resource_version()), None)
            .await?;
    }
    for revision in discarded {
        hand.discard(&revision).await?;
    }
    Ok(hand.applied)
}

/// The hand that writes, for one turn of one job.
struct Hand<'a> {
    context: &'a Context,
    observed: &'a Observed,
    memory: &'a mut Memory,
    applied: Applied,
}

impl Hand<'_> {
    /// Every write asks first whether this process may still act.
    fn may_act(&self) -> Result<(), Error> {
        if self.context.claim.holds() { Ok(()) } else { Err(Error::NotLeader) }
    }

    fn api(&self, resource: &ApiResource) -> Api<DynamicObject> {
        Api::namespaced_with(self.context.client.clone(), &self.observed.identity.namespace, resource)
    }

    async fn object(&mut self, kind: Kind, wanted: Value) -> Result<(), Error> {
        let name = wanted["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let live = self.context.cache.object(&self.observed.identity, kind, &name);
        self.write(kind, &name, wanted, live).await
    }

    async fn workload(&mut self, workload: Sized) -> Result<(), Error> {
        let kind = kind(workload.role);
        let Sized { name, mut object, replicas, shrinks, role } = workload;
        // What was decided holds for the object that was seen. One without our labels was not.
        let of_role = self.observed.workloads.iter().filter(|seen| seen.role == role);
        let seen = of_role.map(|seen| &seen.object).find(|seen| seen.name_any() == name).cloned();
        let live = seen.or_else(|| self.context.cache.object(&self.observed.identity, kind, &name));
        if shrinks && let Some(live) = &live {
            object["metadata"]["uid"] = json!(live.uid());
            object["metadata"]["resourceVersion"] = json!(live.resource_version());
        }
        self.write(kind, &name, object, live).await?;
        if role == Role::Worker && replicas > 0 {
            self.applied.workers = Some(replicas);
        }
        Ok(())
    }

    async fn write(
        &mut self,
        kind: Kind,
        name: &str,
        wanted: Value,
        live: Option<Arc<DynamicObject>>,
    ) -> Result<(), Error> {
        if let Some(live) = &live {
            if !live.owner_references().iter().any(|owner| owner.uid == self.observed.identity.uid) {
                return Err(Error::Foreign { kind: kind.resource().kind, name: name.to_owned() });
            }
            match self.differs(kind, &wanted, live) {
                Some(path) if self.is_contested(kind, name, &path, live) => return Ok(()),
                None => return Ok(()),
                Some(path) => tracing::info!(kind = %kind.resource().kind, name, path, "applying what differs"),
            }
        }
        self.may_act()?;
        self.patch(&kind.resource(), name, &wanted, live.is_some()).await?;
        let version = live.and_then(|live| live.resource_version());
        self.memory.applied.insert((kind, name.to_owned()), (self.observed.now_ms, version));
        Ok(())
    }

    fn differs(&self, kind: Kind, wanted: &Value, live: &DynamicObject) -> Option<String> {
        if kind == Kind::ConfigMap {
            // It cannot be changed, and the cache does not keep what is in it.
            return None;
        }
        let now = serde_json::to_value(&live.metadata).unwrap_or_default();
        let metadata = ["labels", "annotations", "ownerReferences"].map(|field| {
            difference(&wanted["metadata"][field], &now[field]).map(|path| format!("metadata.{field}.{path}"))
        });
        let fields =
            wanted.as_object()?.iter().filter(|(name, _)| !["apiVersion", "kind", "metadata"].contains(&name.as_str()));
        let differing = fields.filter_map(|(name, wanted)| {
            let path = difference(wanted, live.data.get(name).unwrap_or(&Value::Null))?;
            Some(format!("{name}.{path}"))
        });
        metadata.into_iter().flatten().chain(differing).next()
    }

    /// Whether it was applied just now: either the cache does not show it yet, or somebody has changed it back.
    fn is_contested(&mut self, kind: Kind, name: &str, path: &str, live: &DynamicObject) -> bool {
        let Some((at_ms, version)) = self.memory.applied.get(&(kind, name.to_owned())) else { return false };
        // It was made, so what differs was not changed back.
        if version.is_none() {
            return false;
        }
        let age_ms = self.observed.now_ms - at_ms;
        if *version == live.resource_version() {
            return age_ms < CACHE_MS;
        }
        // The number of pods is ours to change as often as it takes.
        if path == "spec.replicas" || age_ms >= CONTESTED_MS {
            return false;
        }
        let note = format!("{} {name}: somebody changes {path} back; applying it once a minute", kind.resource().kind);
        self.applied.news.push(News::new(Happened::Contested, note));
        true
    }

    async fn revision(&mut self, wanted: Value) -> Result<(), Error> {
        let name = wanted["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let is_it = |known: &Revision| self.observed.identity.revision(&known.name) == name;
        let is_new = !self.observed.revisions.iter().any(is_it);
        self.may_act()?;
        self.patch(&ApiResource::erase::<ControllerRevision>(&()), &name, &wanted, !is_new).await?;
        if is_new {
            self.applied.news.push(News::new(Happened::RevisionCreated, format!("made revision {name}")));
        }
        Ok(())
    }

    /// Applies. Fields that somebody else has set are taken back, but only of an object that is known to be ours: one that
    /// does not bear our labels is not in the cache.
    async fn patch(&mut self, resource: &ApiResource, name: &str, wanted: &Value, is_known: bool) -> Result<(), Error> {
        let params = PatchParams { force: is_known, ..PatchParams::apply(MANAGER) };
        let patched = self.api(resource).patch(name, &params, &Patch::Apply(wanted)).await;
        patched.map_err(|source| match source {
            kube::Error::Api(status) if status.code == 409 && !is_known => {
                Error::Foreign { kind: resource.kind.clone(), name: name.to_owned() }
            }
            source => Error::Apply { kind: resource.kind.clone(), name: name.to_owned(), source },
        })?;
        self.applied.written += 1;
        Ok(())
    }

    /// Asks the coordinator. Says whether pods may go: not if workers could not be released.
    async fn calls(&mut self, decision: &Decision) -> Result<bool, Error> {
        let mut may_shrink = true;
        for call in &decision.calls {
            self.may_act()?;
            let Some((_, _, client)) = self.memory.client.clone() else { return Ok(false) };
            let answer = match call {
                Call::Stop(request) => client.begin_stop(request).await.map(|_| ()),
                Call::Rescale(request) => {
                    let answer = client.rescale(request).await.map(|_| ());
                    if answer.is_err() {
                        self.memory.control.refused(self.observed.now_ms);
                    }
                    answer
                }
                Call::Keep(request) => client.keep(request).await.map(|_| ()),
                Call::Release(request) => client.release(request).await.map(|_| ()),
            };
            if let Err(error) = answer {
                tracing::warn!(%error, "the job did not take a call; deciding anew");
                may_shrink &= !matches!(call, Call::Release(_));
                self.applied.refused.push(error.to_string());
            }
        }
        Ok(may_shrink)
    }

    /// Removes what an old revision has. What is not there is no error.
    async fn discard(&mut self, revision: &str) -> Result<(), Error> {
        let job = self.observed.identity.clone();
        let objects = [
            (Kind::Deployment, job.workload(Role::Coordinator, revision)),
            (Kind::StatefulSet, job.workload(Role::Worker, revision)),
            (Kind::ConfigMap, job.revision(revision)),
        ];
        for (kind, name) in objects {
            if let Some(live) = self.context.cache.object(&job, kind, &name) {
                self.remove(&kind.resource(), &name, (live.uid(), live.resource_version()), None).await?;
            }
        }
        let name = job.revision(revision);
        let live = self.context.cache.revisions(&job).into_iter().find(|object| object.name_any() == name);
        if let Some(live) = live {
            let resource = ApiResource::erase::<ControllerRevision>(&());
            self.remove(&resource, &name, (live.uid(), live.resource_version()), None).await?;
        }
        Ok(())
    }

    async fn remove(
        &mut self,
        resource: &ApiResource,
        name: &str,
        (uid, resource_version): (Option<String>, Option<String>),
        grace_period_seconds: Option<u32>,
    ) -> Result<(), Error> {
        self.may_act()?;
        let params = DeleteParams { grace_period_seconds, ..DeleteParams::background() }
            .preconditions(Preconditions { uid, resource_version });
        match self.api(resource).delete(name, &params).await {
            Ok(_) => self.applied.written += 1,
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(source) => return Err(Error::Remove { kind: resource.kind.clone(), name: name.to_owned(), source }),
        }
        Ok(())
    }
}

/// What the pods of a role come from.
fn kind(role: Role) -> Kind {
    match role {
        Role::Coordinator => Kind::Deployment,
        Role::Worker => Kind::StatefulSet,
    }
}
