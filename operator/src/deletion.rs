//! A job that goes with everything it has in its store: a finalizer holds it until its own coordinator has erased that, or a pod if
//! there is no coordinator. Every turn looks at everything and assumes that the one before may have ended anywhere.
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::runtime::controller::Action;
use millstream_api::crd::{SnapshotResult, StreamJob};
use millstream_api::job::{DeletionPolicy, Spec, Store};
use millstream_api::wire::{EraseRequest, StopRequest};

use crate::clock::now_ms;
use crate::context::{self, Context};
use crate::diagnose;
use crate::event::{Happened, News};
use crate::finalizer;
use crate::metrics::Outcome;
use crate::name::Role;
use crate::reconcile::build::Desired;
use crate::reconcile::decide::{Call, Decision, is_stuck};
use crate::reconcile::observe::{self, Observed, observe};
use crate::reconcile::{Error, apply, build, tell};
use crate::resource::{self, clean_up::CleanUp};
use crate::revision;

pub mod clean_up;
pub mod decide;

use decide::{Answer, Facts, Step};

/// From turn to turn: most steps take a second or two.
const PAUSE: std::time::Duration = std::time::Duration::from_secs(1);

/// What is remembered of a job that goes. If it is lost, what was done is done again.
#[derive(Debug, Default)]
pub struct Memory {
    /// The pod of the coordinator that has erased everything.
    erased_by: Option<String>,
    /// Whether its namespace goes, once that was found out.
    is_namespace_going: Option<bool>,
    /// That it goes is decided, and why with files left if so: the pod that tells is removed before the job is gone.
    over: Option<Step>,
    /// It is let go. The cache may show it for a while.
    is_let_go: bool,
}

/// Has the finalizer on a job or not, as its policy says. Whether that was to be changed.
pub async fn hold(context: &Context, job: &StreamJob) -> Result<bool, Error> {
    let wanted = job.spec.deletion_policy == DeletionPolicy::Delete;
    if finalizer::is_on(job) == wanted {
        return Ok(false);
    }
    put(context, job, wanted).await?;
    Ok(true)
}

async fn put(context: &Context, job: &StreamJob, on: bool) -> Result<(), Error> {
    if !context.claim.holds() {
        return Err(Error::NotLeader);
    }
    finalizer::put(&context.client, job, on).await.map_err(Error::Finalizer)
}

/// One turn of a job that goes.
pub async fn turn(
    context: &Context,
    job: &Arc<StreamJob>,
    memory: &mut context::Memory,
) -> Result<(Outcome, Action), Error> {
    if memory.erasing.is_let_go || !finalizer::is_on(job.as_ref()) {
        // What it has goes with it, by its owner references.
        return Ok((Outcome::Settled, Action::await_change()));
    }
    let observed = observe(context, job, memory).await?;
    let pod = pod(context, &observed)?;
    let name = pod.name_any();
    if memory.erasing.is_namespace_going.is_none() && job.spec.deletion_policy == DeletionPolicy::Delete {
        memory.erasing.is_namespace_going = Some(clean_up::is_namespace_going(&context.client, &pod).await);
    }
    let found = context.cache.pod(&observed.identity.namespace, &name);
    let facts = facts(&observed, memory, found.as_deref());
    let step = memory.erasing.over.clone().unwrap_or_else(|| decide::decide(&facts));
    if matches!(step, Step::LetGo | Step::GiveUp(_)) {
        memory.erasing.over = Some(step.clone());
    }
    tracing::info!(?step, "the job goes");
    match step {
        Step::LetGo => let_go(context, &observed, memory, found.as_deref(), None).await?,
        Step::GiveUp(why) => let_go(context, &observed, memory, found.as_deref(), Some(why)).await?,
        Step::Stop(expect) => {
            let stop = Call::Stop(StopRequest { expect: Some(expect), ..StopRequest::default() });
            act(context, &observed, memory, Decision { calls: vec![stop], ..Decision::default() }, false).await?;
        }
        Step::Erase => erase(context, &observed, memory).await?,
        Step::ToZero => act(context, &observed, memory, Decision::default(), true).await?,
        Step::Start => {
            if !context.claim.holds() {
                return Err(Error::NotLeader);
            }
            let made = clean_up::start(&context.client, &pod).await;
            if made.is_err() {
                // Maybe because the namespace goes since.
                memory.erasing.is_namespace_going = None;
            }
            made.map_err(|source| Error::Apply { kind: "Pod".into(), name, source })?;
        }
        Step::Wait => {}
    }
    Ok((Outcome::Progressing, Action::requeue(PAUSE)))
}

fn facts(observed: &Observed, memory: &context::Memory, pod: Option<&Pod>) -> Facts {
    let deleted = observed.job.metadata.deletion_timestamp.as_ref();
    let pods = || observed.pods.iter().filter(|pod| diagnose::role(pod).is_some() && !diagnose::is_over(pod));
    let is_coordinator = |pod: &&Arc<Pod>| diagnose::role(pod) == Some(Role::Coordinator);
    let coordinators = pods().filter(|pod| is_coordinator(pod) && !is_stuck(pod, observed.now_ms));
    Facts {
        since_ms: deleted.map_or(0, |time| observed.now_ms - time.0.as_millisecond()),
        policy: observed.job.spec.deletion_policy,
        has_run: !(observed.revisions.is_empty() && observed.workloads.is_empty()),
        is_namespace_going: memory.erasing.is_namespace_going == Some(true),
        is_up: observed.workloads.iter().any(|workload| workload.replicas > 0 || workload.is_behind),
        coordinators: coordinators.filter_map(|pod| pod.uid()).collect(),
        has_pods: pods().any(|pod| !is_stuck(pod, observed.now_ms)),
        answer: match &observed.answer {
            observe::Answer::Absent => Answer::Absent,
            observe::Answer::Silent { since_ms, .. } => Answer::Silent(observed.now_ms - since_ms),
            observe::Answer::Said(said) => Answer::Said(said.job.state, said.expect()),
        },
        erased_by: memory.erasing.erased_by.clone(),
        clean_up: clean_up::state(pod),
    }
}

/// Writes objects and asks the coordinator as every turn does.
async fn act(
    context: &Context,
    observed: &Observed,
    memory: &mut context::Memory,
    decision: Decision,
    to_zero: bool,
) -> Result<(), Error> {
    let workloads = if to_zero { build::to_zero(observed) } else { Vec::new() };
    let desired = Desired { workloads, ..Desired::default() };
    let applied = apply::apply(context, observed, &decision, desired, memory).await?;
    context.metrics.applied(applied.written);
    Ok(())
}

/// Has the coordinator erase everything. One that cannot now is asked again.
async fn erase(context: &Context, observed: &Observed, memory: &mut context::Memory) -> Result<(), Error> {
    let Some((address, _, client)) = memory.client.clone() else { return Ok(()) };
    let is_asked = |pod: &Pod| {
        let ip = pod.status.as_ref().and_then(|status| status.pod_ip.as_ref()?.parse().ok());
        ip == Some(address.ip()) && diagnose::role(pod) == Some(Role::Coordinator)
    };
    let asked = observed.pods.iter().find(|pod| is_asked(pod) && !diagnose::is_going(pod)).and_then(|pod| pod.uid());
    if !context.claim.holds() {
        return Err(Error::NotLeader);
    }
    match client.erase(&EraseRequest { keep: held(observed) }).await {
        Ok(status) => {
            tracing::info!(objects = status.objects, "the coordinator has erased what the job had");
            memory.erasing.erased_by = asked;
        }
        Err(error) => tracing::warn!(%error, "the coordinator has not erased what the job has; asking again"),
    }
    Ok(())
}

/// Savepoints that stay because snapshots hold them.
fn held(observed: &Observed) -> Vec<String> {
    let stays = |snapshot: &&Arc<millstream_api::crd::StreamJobSnapshot>| {
        let goes =
            snapshot.metadata.deletion_timestamp.is_some() && snapshot.spec.deletion_policy == DeletionPolicy::Delete;
        let status = snapshot.status.as_ref();
        let is_of = status.and_then(|status| status.job_uid.as_ref()) == Some(&observed.identity.uid);
        is_of && !goes && status.and_then(|status| status.result) == Some(SnapshotResult::Succeeded)
    };
    let held = observed.references.snapshots.iter().filter(stays);
    held.filter_map(|snapshot| snapshot.status.as_ref()?.path.clone()).collect()
}

/// The job goes; `why`: with files left.
async fn let_go(
    context: &Context,
    observed: &Observed,
    memory: &mut context::Memory,
    found: Option<&Pod>,
    why: Option<String>,
) -> Result<(), Error> {
    if !context.claim.holds() {
        return Err(Error::NotLeader);
    }
    if let Some(pod) = found {
        let removed = clean_up::remove(&context.client, pod).await;
        removed.map_err(|source| Error::Remove { kind: "Pod".into(), name: pod.name_any(), source })?;
    }
    let folder = folder(observed);
    let held = held(observed);
    let news = match why {
        Some(why) => Some(News::new(Happened::NotErased, format!("{folder} is left: {why}; remove it yourself"))),
        None if observed.job.spec.deletion_policy == DeletionPolicy::Retain => None,
        None if held.is_empty() => Some(News::new(Happened::Erased, format!("{folder} is erased"))),
        None => {
            let note = format!("{folder} is erased, but for savepoints of snapshots: {}", held.join(", "));
            Some(News::new(Happened::Erased, note))
        }
    };
    tell(context, &observed.job, memory, news.into_iter().collect()).await;
    put(context, &observed.job, false).await?;
    memory.erasing.is_let_go = true;
    Ok(())
}

/// Where the job has what it has.
fn folder(observed: &Observed) -> String {
    let identity = &observed.identity;
    let store = spec(observed).store.unwrap_or_default();
    let root = match (&store.uri, &store.claim_name) {
        (Some(uri), _) => uri.trim_end_matches('/').to_owned(),
        (None, Some(claim)) => format!("claim {claim}: "),
        (None, None) => String::new(),
    };
    format!("{root}/{}", identity.prefix())
}

/// The spec, with the store of the pods that ran last.
fn spec(observed: &Observed) -> Spec {
    let of_revision = |revision: &revision::Revision| revision::start_of(revision)?.store;
    let store: Option<Store> = revision::current(&observed.revisions).and_then(of_revision);
    Spec { store: store.or_else(|| observed.job.spec.store.clone()), ..observed.job.spec.clone() }
}

/// The pod that would erase everything.
fn pod(context: &Context, observed: &Observed) -> Result<Pod, Error> {
    let image = revision::current(&observed.revisions).map(|revision| revision.data.image.clone());
    let image = image.or_else(|| observed.job.spec.image.clone());
    let is_foreground = observed.job.finalizers().iter().any(|finalizer| finalizer == "foregroundDeletion");
    let keep = held(observed);
    let clean_up = CleanUp {
        job: &observed.identity,
        of: &observed.identity.uid,
        spec: &spec(observed),
        image: image.as_deref().unwrap_or(&context.settings.default_image),
        account: Some(observed.job.spec.service_account_name.clone().unwrap_or_else(|| observed.identity.account())),
        // What is deleted in the foreground takes its pods along before it goes.
        is_owned: !is_foreground,
        savepoint: None,
        keep: &keep,
    };
    Ok(resource::clean_up::pod(&clean_up))
}

/// Since when something goes, ms ago.
pub fn since_ms(deleted: Option<&k8s_openapi::apimachinery::pkg::apis::meta::v1::Time>) -> i64 {
    deleted.map_or(0, |time| now_ms() - time.0.as_millisecond())
}
