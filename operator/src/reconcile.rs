//! One turn of one job: observe -> admit -> decide -> build -> apply -> report. Every turn looks at everything and assumes that
//! the one before may have ended anywhere.
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use kube::api::{Patch, PatchParams};
use kube::runtime::controller::Action;
use kube::{Api, Resource, ResourceExt};
use millstream_api::crd::{ConditionType, Reason, StreamJob, StreamJobStatus, find};
use millstream_api::error::chain;
use serde_json::json;

use crate::clock::now_ms;
use crate::context::{Context, Memory};
use crate::credential;
use crate::deletion;
use crate::diagnose;
use crate::event::{Happened, News};
use crate::metrics::Outcome;
use crate::name::STATUS_MANAGER;
use crate::snapshot;

pub mod admit;
pub mod apply;
pub mod build;
pub mod check;
pub mod decide;
pub mod observe;
pub mod reference;
pub mod rehearse;
pub mod report;
pub mod start;
#[cfg(test)]
mod testing;
mod touch;

/// From turn to turn while something is under way.
const BUSY: Duration = Duration::from_secs(1);
/// From turn to turn of a job that runs as it should: how often its coordinator is asked.
const STEADY: Duration = Duration::from_secs(5);
/// Of a job that refers to what is not there: nothing tells when it comes.
const MISSING: Duration = Duration::from_secs(10);
/// Of a job that goes with its files, at most.
const ERASING: Duration = Duration::from_secs(15);
/// Of a job that has no pods.
const IDLE: Duration = Duration::from_secs(60);
/// A turn that takes longer is given up, wherever it is: an API server that does not answer must not hold a job for ever.
const TURN: Duration = Duration::from_secs(60);
/// Failures in a row before one that may pass is said in the status.
const FAILURES: u32 = 3;
/// The same news are told once in this time.
const NEWS_MS: i64 = 300_000;

/// Why a turn failed. Variants are operations; the step is the label of the metric.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Reading SQL text.
    #[error("cannot read the ConfigMap {name}")]
    Sql {
        /// Which.
        name: String,
        /// Why.
        source: kube::Error,
    },
    /// The client of the job's API.
    #[error("cannot make a client of the job's API")]
    Client(#[source] crate::client::Error),
    /// The job's credentials.
    #[error(transparent)]
    Credential(#[from] credential::Error),
    /// Building objects.
    #[error(transparent)]
    Build(#[from] build::Error),
    /// Writing an object.
    #[error("cannot apply the {kind} {name}")]
    Apply {
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
        /// Why.
        source: kube::Error,
    },
    /// Removing an object.
    #[error("cannot remove the {kind} {name}")]
    Remove {
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
        /// Why.
        source: kube::Error,
    },
    /// An object that is in the way.
    #[error("the {kind} {name} belongs to something else; it must go before this job can have its own")]
    Foreign {
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
    },
    /// Reading a claim.
    #[error("cannot read the PersistentVolumeClaim {name}")]
    Claim {
        /// Which.
        name: String,
        /// Why.
        source: kube::Error,
    },
    /// Holding a job until its files are erased, or letting it go.
    #[error("cannot write the finalizer")]
    Finalizer(#[source] kube::Error),
    /// Writing the status.
    #[error("cannot write the status")]
    Status(#[source] kube::Error),
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

impl Error {
    /// The step that failed.
    fn step(&self) -> &'static str {
        match self {
            Self::Sql { .. } | Self::Claim { .. } | Self::Client(_) | Self::Ending => "observe",
            Self::Build(_) => "build",
            Self::Credential(_)
            | Self::Apply { .. }
            | Self::Remove { .. }
            | Self::Foreign { .. }
            | Self::Finalizer(_)
            | Self::NotLeader => "apply",
            Self::Status(_) => "report",
            Self::Stalled => "answer",
        }
    }

    /// What somebody has to clear away before a turn can succeed: an object that has a name the job needs, or what the API server
    /// refuses a write for. One that fails at something may do better the next time: that is said after some `failures` in a row.
    fn obstacle(&self, failures: u32) -> Option<Reason> {
        let source = match self {
            Self::Foreign { .. } | Self::Credential(credential::Error::Foreign { .. }) => {
                return Some(Reason::Deploying);
            }
            Self::Apply { source, .. } | Self::Credential(credential::Error::Api { source, .. }) => source,
            _ => return None,
        };
        let kube::Error::Api(status) = source else { return None };
        let stands = match status.code {
            409 => false,
            429 | 500.. => failures >= FAILURES,
            _ => true,
        };
        stands.then(|| diagnose::refusal(&status.message).reason)
    }

    /// Whether trying again soon is all there is to it.
    fn is_conflict(&self) -> bool {
        let code = match self {
            Self::Apply { source, .. } | Self::Remove { source, .. } => source,
            Self::Status(source) | Self::Finalizer(source) => source,
            _ => return matches!(self, Self::NotLeader | Self::Ending),
        };
        matches!(code, kube::Error::Api(status) if status.code == 409)
    }
}

/// One turn.
#[tracing::instrument(skip_all, fields(namespace = job.namespace(), job = job.name_any(), generation = job.metadata.generation))]
pub async fn reconcile(job: Arc<StreamJob>, context: Arc<Context>) -> Result<Action, Error> {
    let started_ms = now_ms();
    if !context.cache.ready().await {
        return Err(Error::Ending);
    }
    let turn = tokio::time::timeout(TURN, turn(&job, &context));
    let result = turn.await.unwrap_or(Err(Error::Stalled));
    let took = Duration::from_millis(u64::try_from(now_ms() - started_ms).unwrap_or_default());
    let uid = job.uid().unwrap_or_default();
    match &result {
        Ok((outcome, _)) => {
            context.metrics.reconciled(*outcome, took);
            context.failures.lock().unwrap_or_else(PoisonError::into_inner).forget(&uid);
        }
        Err(error) => {
            context.metrics.reconciled(Outcome::Failed, took);
            context.metrics.step_failed(error.step());
            if !error.is_conflict() {
                let failures = context.failures.lock().unwrap_or_else(PoisonError::into_inner).count(&uid);
                let news = vec![News::new(Happened::ReconcileFailed, chain(error))];
                let memory = context.memory(&uid);
                let mut memory = memory.lock().await;
                if let Some(reason) = error.obstacle(failures) {
                    obstructed(&context, &job, &mut memory, (reason, chain(error))).await;
                }
                tell(&context, &job, &mut memory, news).await;
            }
        }
    }
    result.map(|(_, action)| action)
}

/// When a job whose turn failed is tried again.
pub fn retry(job: Arc<StreamJob>, error: &Error, context: Arc<Context>) -> Action {
    let uid = job.uid().unwrap_or_default();
    let mut failures = context.failures.lock().unwrap_or_else(PoisonError::into_inner);
    let delay = if error.is_conflict() { BUSY } else { failures.failed(uid) };
    // How long it may take to erase a job is looked at in turns.
    Action::requeue(if job.metadata.deletion_timestamp.is_some() { delay.min(ERASING) } else { delay })
}

async fn turn(job: &Arc<StreamJob>, context: &Context) -> Result<(Outcome, Action), Error> {
    let memory = context.memory(&job.uid().unwrap_or_default());
    let mut memory = memory.lock().await;
    if let Some(other) = foreign(job, &context.settings.installation) {
        let note =
            format!("the operator {other} looks after this job; {} leaves it alone", context.settings.installation);
        tell(context, job, &mut memory, vec![News::new(Happened::ForeignOperator, note)]).await;
        return Ok((Outcome::Refused, Action::requeue(IDLE)));
    }
    if job.metadata.deletion_timestamp.is_some() {
        return deletion::turn(context, job, &mut memory).await;
    }
    if deletion::hold(context, job).await? {
        return Ok((Outcome::Progressing, Action::requeue(BUSY)));
    }
    let observed = observe::observe(context, job, &mut memory).await?;
    let checked = check::check(job, &mut memory.checked);
    let admitted = admit::admit(&observed, checked, &context.settings.default_image);
    let mut decision = decide::decide(&observed, &admitted, &mut memory.control);
    snapshot::show(&observed, &mut decision);
    let desired = build::build(&observed, &decision)?;
    let applied = apply::apply(context, &observed, &decision, desired, &mut memory).await?;
    context.metrics.applied(applied.written);
    touch::touch(context, &observed, &mut memory).await;
    memory.standing = Some(snapshot::Standing::of(&observed, &decision));
    let before = known_status(job, &memory);
    let facts = report::Facts {
        observed: &observed,
        admitted: &admitted,
        decision: &decision,
        applied: &applied,
        control: &memory.control,
        installation: &context.settings.installation,
        before: &before,
    };
    let status = report::status(facts);
    let mut news = [decision.news.clone(), applied.news.clone()].concat();
    news.extend(changes(&before, &status));
    write_status(context, job, &mut memory, &before, status, observed.now_ms).await?;
    tell(context, job, &mut memory, news).await;
    Ok(next(&observed, &decision, &admitted, &applied))
}

/// Says in the status what is in the way. If that fails, the next turn says it.
async fn obstructed(context: &Context, job: &StreamJob, memory: &mut Memory, what: (Reason, String)) {
    let (before, now_ms) = (known_status(job, memory), now_ms());
    let about = (job.metadata.generation, context.settings.installation.as_str());
    let status = report::obstacle(&before, about, what, now_ms);
    if let Err(error) = write_status(context, job, memory, &before, status, now_ms).await {
        tracing::warn!(%error, "cannot say what is in the way");
    }
}

/// The installation that looks after this job, if it is another.
fn foreign<'a>(job: &'a StreamJob, installation: &str) -> Option<&'a str> {
    let operator = job.status.as_ref()?.operator.as_deref()?;
    (operator != installation && !operator.is_empty()).then_some(operator)
}

/// The status as it is: of the cache, or as this operator wrote it, while the cache does not show that yet.
fn known_status(job: &StreamJob, memory: &Memory) -> StreamJobStatus {
    let of_cache = || job.status.clone().unwrap_or_default();
    match &memory.status {
        Some(written) if written.over == job.metadata.resource_version => written.status.clone(),
        _ => of_cache(),
    }
}

async fn write_status(
    context: &Context,
    job: &StreamJob,
    memory: &mut Memory,
    before: &StreamJobStatus,
    status: StreamJobStatus,
    now_ms: i64,
) -> Result<(), Error> {
    let written_ms = memory.status.as_ref().map(|written| written.at_ms);
    if report::is_quiet(&status, before, written_ms, now_ms) {
        return Ok(());
    }
    if !context.claim.holds() {
        return Err(Error::NotLeader);
    }
    let namespace = job.namespace().unwrap_or_default();
    let api = Api::<StreamJob>::namespaced(context.client.clone(), &namespace);
    let body = json!({
        "apiVersion": StreamJob::api_version(&()),
        "kind": StreamJob::kind(&()),
        // A status of this job, not of another that got its name meanwhile.
        "metadata": {"name": job.name_any(), "uid": job.uid()},
        "status": status,
    });
    let params = PatchParams::apply(STATUS_MANAGER).force();
    match api.patch_status(&job.name_any(), &params, &Patch::Apply(&body)).await {
        Ok(_) => context.metrics.status_written(),
        // It is gone.
        Err(kube::Error::Api(status)) if status.code == 404 => return Ok(()),
        Err(error) => return Err(Error::Status(error)),
    }
    let over = job.metadata.resource_version.clone();
    memory.status = Some(crate::context::Written { status, over, at_ms: now_ms });
    Ok(())
}

/// What of a change of the status is worth an event.
fn changes(before: &StreamJobStatus, status: &StreamJobStatus) -> Vec<News> {
    let mut news = Vec::new();
    let pair = |kind| (find(&before.conditions, kind), find(&status.conditions, kind));
    if let (before, Some(now)) = pair(ConditionType::Ready) {
        let was = before.map(|before| (before.status.as_str(), before.reason.as_str()));
        let is = (now.status.as_str(), now.reason.as_str());
        let passing =
            [Reason::Deploying, Reason::Redeploying, Reason::RolledBack, Reason::Suspended, Reason::Completed];
        let passes = passing.iter().any(|reason| reason.as_str() == now.reason);
        if was != Some(is) && is == ("True", Reason::Running.as_str()) {
            news.push(News::new(Happened::Running, now.message.clone()));
        } else if was != Some(is) && !passes {
            news.push(News::new(Happened::NotReady, format!("{}: {}", now.reason, now.message)));
        }
    }
    // Of a write one event, however often what the autoscaler does changes after it.
    if let (before, Some(now)) = pair(ConditionType::AutoscalingActive)
        && let Some(said) = report::ignored(&now.message)
        && before.and_then(|before| report::ignored(&before.message)) != Some(said)
    {
        news.push(News::new(Happened::WriteIgnored, format!("the parallelism follows the load; {said}")));
    }
    if let Some(rejected) = status.rejected.as_ref().filter(|rejected| before.rejected.as_ref() != Some(rejected)) {
        news.push(News::new(Happened::Rejected, format!("{}: {}", rejected.reason, rejected.message)));
    }
    if let Some(failure) = status.last_failure.as_ref().filter(|failure| before.last_failure.as_ref() != Some(failure))
    {
        let pod = failure.pod.as_deref().unwrap_or("a pod");
        news.push(News::new(Happened::PodFailed, format!("{pod}: {}: {}", failure.reason, failure.message)));
    }
    news
}

/// Publishes what was not told lately.
pub(crate) async fn tell(context: &Context, job: &StreamJob, memory: &mut Memory, news: Vec<News>) {
    let now = now_ms();
    memory.told.retain(|_, at_ms| now - *at_ms < NEWS_MS);
    for news in news {
        if news.happened == Happened::NotReady {
            // That it runs again is news then.
            memory.told.retain(|told, _| told.happened != Happened::Running);
        }
        if memory.told.insert(news.clone(), now).is_none() {
            tracing::info!(event = news.happened.as_str(), "{}", news.note);
            context.events.publish(job, &news).await;
        }
    }
}

/// When to look again if nothing happens before.
fn next(
    observed: &observe::Observed,
    decision: &decide::Decision,
    admitted: &Result<admit::Admitted, admit::Rejection>,
    applied: &apply::Applied,
) -> (Outcome, Action) {
    let outcome = match (admitted, applied.written) {
        (Err(_), _) => Outcome::Refused,
        (Ok(_), 0) if report::is_settled(observed, decision) => Outcome::Settled,
        _ => Outcome::Progressing,
    };
    let has_pods = decision.replicas.values().any(|replicas| *replicas > 0) || !observed.pods.is_empty();
    let delay = match outcome {
        _ if admitted.as_ref().is_err_and(|rejection| rejection.reason == Reason::ReferenceNotFound) => MISSING,
        _ if !has_pods => IDLE,
        _ if report::is_settled(observed, decision) => STEADY,
        _ => BUSY,
    };
    (outcome, Action::requeue(delay))
}
