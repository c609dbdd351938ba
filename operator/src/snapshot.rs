//! Savepoints as objects: a StreamJobSnapshot asks for one, and says what became of it. Looked after beside the jobs, by the same
//! watches and under the same lease. A savepoint is asked for by the uid of its snapshot, so that it is taken once, however often
//! whoever asks is interrupted.
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use kube::api::{Patch, PatchParams};
use kube::runtime::controller::{Action, Config, Error as ControllerError};
use kube::runtime::{applier, watcher};
use kube::{Api, Resource, ResourceExt};
use millstream_api::crd::{OperationKind, OperationStep, StreamJob, StreamJobSnapshot};
use millstream_api::error::chain;
use millstream_api::job::DeletionPolicy;
use millstream_api::wire::{CheckpointStatus, Expect, JobState, SavepointRequest};
use serde_json::json;
use tokio::sync::watch;

use crate::cache::SnapshotTriggers;
use crate::client::{self, Client};
use crate::clock::now_ms;
use crate::context::Context;
use crate::event::{Happened, News};
use crate::finalizer;
use crate::name::STATUS_MANAGER;
use crate::reconcile::decide::{Decision, Phase};
use crate::reconcile::observe::Observed;

mod decide;
mod deletion;
mod report;

use decide::{Facts, Step};
use report::Said;

/// Snapshots looked after at a time.
const CONCURRENCY: u16 = 16;
/// From turn to turn while something is awaited.
const BUSY: Duration = Duration::from_secs(1);
/// After a failure.
const AGAIN: Duration = Duration::from_secs(5);
/// A turn that takes longer is given up.
const TURN: Duration = Duration::from_secs(60);

/// Why a turn failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Writing the status.
    #[error("cannot write the status")]
    Status(#[source] kube::Error),
    /// Holding the snapshot until its files are erased, or letting it go.
    #[error("cannot write the finalizer")]
    Finalizer(#[source] kube::Error),
    /// Making or removing a pod.
    #[error("cannot write the pod that erases a savepoint")]
    Pod(#[source] kube::Error),
    /// Nothing to make a pod of.
    #[error("the operator has no default image, of which a pod that erases a savepoint could be made")]
    NoImage,
    /// No answer.
    #[error("the API server or the job has not answered for {} s", TURN.as_secs())]
    Stalled,
    /// Another operator has the lease.
    #[error("another operator has taken over")]
    NotLeader,
    /// The watches have ended.
    #[error("the operator is ending")]
    Ending,
}

/// What the last turn of a job found and decided, for its snapshots.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    /// The revision that runs.
    pub revision: Option<String>,
    /// Where the job is on its way.
    pub phase: Phase,
    /// What is done to it.
    pub operation: Option<OperationKind>,
    /// What its coordinator said, and what a call that is decided on that expects: a savepoint waits for a place between two batches of
    /// a rescale, which changes tables all the time.
    pub said: Option<(JobState, Expect)>,
}

impl Standing {
    /// After this decision.
    pub fn of(observed: &Observed, decision: &Decision) -> Self {
        Self {
            revision: decision.target.as_ref().map(|target| observed.identity.revision(&target.name)),
            phase: decision.phase,
            operation: decision.operation.map(|(kind, _)| kind),
            said: observed.said().map(|said| (said.job.state, Expect::at(said.job.generation))),
        }
    }
}

/// Shows a savepoint that is being taken as what is done to the job, if nothing else is.
pub fn show(observed: &Observed, decision: &mut Decision) {
    let is_asked = |snapshot: &Arc<StreamJobSnapshot>| {
        let status = snapshot.status.as_ref();
        status.is_some_and(|status| {
            let is_of = status.job_uid.as_ref() == Some(&observed.identity.uid);
            is_of && status.started_at.is_some() && status.result.is_none()
        })
    };
    if decision.operation.is_none() && observed.references.snapshots.iter().any(is_asked) {
        decision.operation = Some((OperationKind::Savepoint, OperationStep::TakingSavepoint));
    }
}

/// What is there for a turn.
struct Seen {
    job: Option<Arc<StreamJob>>,
    standing: Option<Standing>,
    client: Option<Arc<Client>>,
}

impl Seen {
    /// Whether the job has, or will have, a coordinator.
    fn is_up(&self) -> bool {
        let running = |standing: &Standing| matches!(standing.phase, Phase::Up | Phase::Redeploying);
        self.standing.as_ref().is_none_or(running)
    }
}

/// Looks after snapshots until `stop`; turns that have begun are finished.
pub async fn run(context: Arc<Context>, triggers: SnapshotTriggers, mut stop: watch::Receiver<bool>) {
    let stopped = async move {
        // An error means the sender is gone, and with it the operator.
        let _ = stop.wait_for(|stop| *stop).await;
    };
    let store = context.cache.snapshots.clone();
    let run = |snapshot, context| Box::pin(reconcile(snapshot, context));
    let retry = |_, error: &Error, _| Action::requeue(if matches!(error, Error::NoImage) { TURN } else { AGAIN });
    let config = Config::default().concurrency(CONCURRENCY);
    let turns = applier(run, retry, context, store, triggers.take_until(stopped), config);
    let watched = turns.for_each(|turn| {
        settle(turn);
        futures::future::ready(())
    });
    watched.await;
}

fn settle<T>(turn: Result<T, ControllerError<Error, watcher::Error>>) {
    match turn {
        Ok(_) | Err(ControllerError::ObjectNotFound(_)) => {}
        Err(ControllerError::ReconcilerFailed(error, snapshot)) => {
            tracing::warn!(snapshot = %snapshot, error = %chain(&error), "a turn failed; it is tried again");
        }
        Err(error) => tracing::warn!(error = %chain(&error), "the watch of snapshots failed; it begins again"),
    }
}

#[tracing::instrument(skip_all, fields(namespace = snapshot.namespace(), snapshot = snapshot.name_any()))]
async fn reconcile(snapshot: Arc<StreamJobSnapshot>, context: Arc<Context>) -> Result<Action, Error> {
    if !context.cache.ready().await {
        return Err(Error::Ending);
    }
    tokio::time::timeout(TURN, turn(&snapshot, &context)).await.unwrap_or(Err(Error::Stalled))
}

async fn turn(snapshot: &StreamJobSnapshot, context: &Context) -> Result<Action, Error> {
    let namespace = snapshot.namespace().unwrap_or_default();
    let job = context.cache.job(&namespace, &snapshot.spec.job_name);
    let (standing, client) = match &job {
        Some(job) => {
            let memory = context.memory(&job.uid().unwrap_or_default());
            let memory = memory.lock().await;
            (memory.standing.clone(), memory.client.as_ref().map(|(_, _, client)| Arc::clone(client)))
        }
        None => (None, None),
    };
    let seen = Seen { job, standing, client };
    if !context.claim.holds() {
        return Err(Error::NotLeader);
    }
    let is_held = finalizer::is_on(snapshot);
    if snapshot.metadata.deletion_timestamp.is_some() {
        if !is_held {
            return Ok(Action::await_change());
        }
        deletion::turn(context, snapshot, &seen).await?;
        return Ok(Action::requeue(BUSY));
    }
    let wanted = snapshot.spec.deletion_policy == DeletionPolicy::Delete;
    if is_held != wanted {
        finalizer::put(&context.client, snapshot, wanted).await.map_err(Error::Finalizer)?;
        return Ok(Action::requeue(BUSY));
    }
    let facts = Facts {
        now_ms: now_ms(),
        snapshot,
        job: seen.job.as_deref(),
        standing: seen.standing.as_ref(),
        installation: &context.settings.installation,
    };
    match decide::decide(facts) {
        Step::Done | Step::Leave => return Ok(Action::await_change()),
        Step::NoJob => write(context, snapshot, &Said::NoJob).await?,
        Step::Wait(why) => write(context, snapshot, &Said::Pending(&why)).await?,
        Step::Fail(why) => fail(context, snapshot, &why).await?,
        Step::Ask(expect) => ask(context, snapshot, &seen, expect).await?,
    }
    Ok(Action::requeue(BUSY))
}

/// Asks the coordinator. What it refuses now, or does not answer, is asked again: it is the same savepoint.
async fn ask(context: &Context, snapshot: &StreamJobSnapshot, seen: &Seen, expect: Expect) -> Result<(), Error> {
    let (Some(job), Some(client)) = (&seen.job, &seen.client) else { return Ok(()) };
    let is_asked = snapshot.status.as_ref().is_some_and(|status| status.started_at.is_some());
    if !is_asked {
        let revision = seen.standing.as_ref().and_then(|standing| standing.revision.as_deref());
        // The change of the status brings the next turn, in which the coordinator is asked: nothing is, that is not written down.
        return write(context, snapshot, &Said::Asked(job, revision)).await;
    }
    let request = SavepointRequest { name: snapshot.uid(), expect: Some(expect) };
    match client.named_savepoint(&request).await {
        Ok(taken) => {
            write(context, snapshot, &Said::Taken(&taken)).await?;
            tell(context, snapshot, Happened::SavepointTaken, note(&taken)).await;
            Ok(())
        }
        // It takes longer than anybody waits at a time, or the coordinator is just replaced.
        Err(client::Error::Unreachable { .. }) => Ok(()),
        Err(error) => {
            tracing::warn!(%error, "the savepoint is not taken yet; asking again");
            write(context, snapshot, &Said::Pending(&error.to_string())).await
        }
    }
}

fn note(taken: &CheckpointStatus) -> String {
    format!("epoch {} is saved at {}", taken.epoch, taken.path)
}

async fn fail(context: &Context, snapshot: &StreamJobSnapshot, why: &str) -> Result<(), Error> {
    write(context, snapshot, &Said::Failed(why)).await?;
    tell(context, snapshot, Happened::SavepointFailed, why.to_owned()).await;
    Ok(())
}

async fn tell(context: &Context, snapshot: &StreamJobSnapshot, happened: Happened, note: String) {
    tracing::info!(event = happened.as_str(), "{note}");
    context.events.publish(snapshot, &News::new(happened, note)).await;
}

/// Writes the status, if it says something new.
async fn write(context: &Context, snapshot: &StreamJobSnapshot, said: &Said<'_>) -> Result<(), Error> {
    let status = report::status(snapshot, said, now_ms());
    if snapshot.status.as_ref() == Some(&status) {
        return Ok(());
    }
    if !context.claim.holds() {
        return Err(Error::NotLeader);
    }
    let api = Api::<StreamJobSnapshot>::namespaced(context.client.clone(), &snapshot.namespace().unwrap_or_default());
    let body = json!({
        "apiVersion": StreamJobSnapshot::api_version(&()),
        "kind": StreamJobSnapshot::kind(&()),
        // Of what was seen: an older view overwrites no result.
        "metadata": {
            "name": snapshot.name_any(), "uid": snapshot.uid(), "resourceVersion": snapshot.resource_version(),
        },
        "status": status,
    });
    let params = PatchParams::apply(STATUS_MANAGER).force();
    match api.patch_status(&snapshot.name_any(), &params, &Patch::Apply(&body)).await {
        Ok(_) => {
            context.metrics.status_written();
            Ok(())
        }
        // It is gone.
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(Error::Status(error)),
    }
}
