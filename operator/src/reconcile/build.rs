//! From a decision to objects. Pure.
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use serde::Serialize;
use serde_json::Value;

use super::decide::Decision;
use super::decide::redeploy::Check;
use super::observe::Observed;
use super::rehearse::{self, Rehearsal};
use crate::diagnose;
use crate::name::{Identity, Role};
use crate::resource::{account, budget, check, config_map, service};
use crate::revision::{self, Revision};

/// Every object a job should have, beside its secrets. A field that is not applied does not compile: see `apply`.
#[derive(Debug, Clone, Default)]
pub struct Desired {
    /// The account, if the job names none.
    pub account: Option<Value>,
    /// The services.
    pub services: Vec<Value>,
    /// Disruption budget of the workers.
    pub budget: Option<Value>,
    /// Revisions, in the order they are written.
    pub revisions: Vec<Value>,
    /// What the API server is to say about a new revision before anything is done with it.
    pub rehearsal: Option<Rehearsal>,
    /// Job files of revisions that get pods.
    pub config_maps: Vec<Value>,
    /// Deployments and StatefulSets: those that shrink before those that grow.
    pub workloads: Vec<Sized>,
    /// The pod that checks a revision, if one has to be made.
    pub check: Option<Value>,
    /// Pods that have checked one, as they were seen.
    pub checked: Vec<Arc<Pod>>,
    /// Revisions that are too old to go back to.
    pub discarded: Vec<String>,
}

/// An object with pods.
#[derive(Debug, Clone, PartialEq)]
pub struct Sized {
    /// Of coordinators or workers.
    pub role: Role,
    /// Its name.
    pub name: String,
    /// All of it.
    pub object: Value,
    /// How many pods it gets.
    pub replicas: u32,
    /// Whether it has more now: such a write is bound to the object that was seen.
    pub shrinks: bool,
}

/// Why an object cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A revision.
    #[error(transparent)]
    Revision(#[from] revision::Error),
    /// Any other.
    #[error("cannot write an object: {0}")]
    Write(String),
}

/// Builds everything.
pub fn build(observed: &Observed, decision: &Decision) -> Result<Desired, Error> {
    let Some(target) = &decision.target else { return Ok(Desired::default()) };
    let job = &observed.identity;
    let mut desired = Desired {
        services: vec![value(&service::coordinator(job))?, value(&service::workers(job))?],
        budget: Some(value(&budget::budget(job))?),
        ..Desired::default()
    };
    // The account of the templates: a job that names one may have had none before, and pods of both may be there.
    if observed.job.spec.service_account_name.is_none() || uses_own_account(target, job) {
        desired.account = Some(value(&account::account(job))?);
    }
    // Each is written as it was read, so one that is as it was is there.
    for revision in decision.revisions.iter().filter(|revision| !observed.revisions.contains(revision)) {
        desired.revisions.push(value(&revision.object(job)?)?);
    }
    if let Some(revision) = rehearse::new_revision(observed, decision) {
        let workloads = [Role::Coordinator, Role::Worker].map(|role| sized(job, revision, role, 1, false));
        let pod = |workload: &Sized| Ok((workload.role, rehearse::pod(workload, &job.namespace)?));
        let pods: Result<_, serde_json::Error> = workloads.iter().map(pod).collect();
        let pods = pods.map_err(|error| Error::Write(error.to_string()))?;
        let may_wait = decision.check.is_some();
        desired.rehearsal = Some(Rehearsal { revision: revision.name.clone(), pods, workloads, may_wait });
    }
    for ((name, role), replicas) in &decision.replicas {
        let known = std::iter::once(target).chain(&observed.revisions).find(|revision| revision.name == *name);
        // Pods without a revision: someone removed it. They are left to those who made them so.
        let Some(revision) = known else { continue };
        let now = observed.workload(name, *role);
        // What is not there and is to have no pods need not be made.
        if now.is_none() && *replicas == 0 {
            continue;
        }
        if *replicas > 0 && *role == Role::Coordinator {
            desired.config_maps.push(value(&config_map::config_map(job, name, &revision.data.file))?);
        }
        let shrinks = now.is_some_and(|now| *replicas < now.replicas);
        desired.workloads.push(sized(job, revision, *role, *replicas, shrinks));
    }
    desired.workloads.sort_by_key(|workload| !workload.shrinks);
    if let Some(Check { revision, pod: Some(name), .. }) = &decision.check {
        let has_checkpoint = observed.job.status.as_ref().is_some_and(|status| status.checkpoint.is_some());
        let pod = check::pod(job, revision, name.clone(), has_checkpoint);
        desired.check = Some(value(&pod.map_err(|error| Error::Write(error.to_string()))?)?);
        desired.config_maps.push(value(&config_map::config_map(job, &revision.name, &revision.data.file))?);
    }
    desired.checked = decision.checked.clone();
    desired.discarded = discarded(observed, decision, target);
    Ok(desired)
}

/// Everything without pods.
pub fn to_zero(observed: &Observed) -> Vec<Sized> {
    let up = observed.workloads.iter().filter(|workload| workload.replicas > 0);
    let known = up.filter_map(|workload| {
        let revision = observed.revisions.iter().find(|revision| revision.name == workload.revision)?;
        Some(sized(&observed.identity, revision, workload.role, 0, true))
    });
    known.collect()
}

/// The object of a revision to the letter, with its number of pods.
fn sized(job: &Identity, revision: &Revision, role: Role, replicas: u32, shrinks: bool) -> Sized {
    let mut object = match role {
        Role::Coordinator => revision.data.coordinator.clone(),
        Role::Worker => revision.data.workers.clone(),
    };
    if let Some(Value::Object(spec)) = object.get_mut("spec") {
        spec.insert("replicas".into(), replicas.into());
    }
    Sized { role, name: job.workload(role, &revision.name), object, replicas, shrinks }
}

fn uses_own_account(revision: &Revision, job: &Identity) -> bool {
    let account = revision.data.workers.pointer("/spec/template/spec/serviceAccountName");
    account.and_then(Value::as_str) == Some(&job.account())
}

/// All but the newest few, and those that cannot be run and are not asked for any more: whoever asks for one again wants it tried
/// again. Never one that has pods, is being checked, or may come back.
fn discarded(observed: &Observed, decision: &Decision, target: &Revision) -> Vec<String> {
    let replaced = target.trial.as_ref().and_then(|trial| trial.replaces.as_ref());
    let is_needed = |revision: &&Revision| {
        let is_written = decision.revisions.iter().any(|written| written.name == revision.name);
        is_written || Some(&revision.name) == replaced || decision.wanted.as_ref() == Some(&revision.name)
    };
    let mut old: Vec<&Revision> = observed.revisions.iter().filter(|revision| !is_needed(revision)).collect();
    old.sort_by_key(|revision| std::cmp::Reverse(revision.number));
    let idle = |revision: &&Revision| {
        let lives = |pod: &Pod| diagnose::revision(pod) == Some(&revision.name) && !diagnose::is_over(pod);
        let has_pods = observed.pods.iter().any(|pod| lives(pod));
        let gets_pods = decision.replicas.iter().any(|((name, _), count)| *name == revision.name && *count > 0);
        !has_pods && !gets_pods
    };
    let spared = observed.revisions.len() - old.len();
    let spared = spared.clamp(1, revision::KEPT);
    let may_return = |revision: &Revision| revision.number > 0 && !revision.is_rejected();
    let good = old.iter().filter(|revision| may_return(revision)).take(revision::KEPT - spared);
    let kept: Vec<&str> = good.map(|revision| revision.name.as_str()).collect();
    // Without a spec that can be read, nobody knows what is asked for.
    let spares = |revision: &&Revision| {
        kept.contains(&revision.name.as_str()) || (decision.wanted.is_none() && !may_return(revision))
    };
    old.into_iter().filter(|revision| !spares(revision)).filter(idle).map(|revision| revision.name.clone()).collect()
}

fn value<T: Serialize>(object: &T) -> Result<Value, Error> {
    serde_json::to_value(object).map_err(|error| Error::Write(error.to_string()))
}
