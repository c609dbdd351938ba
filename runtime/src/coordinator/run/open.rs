//! From a job and a store to a coordinator with a term. While the store does not answer, whoever asks is told so.
use std::sync::Arc;
use std::time::Duration;

use millstream_api::wire::{Blocked, ErrorBody, JobState, JobStatus, ProcessStatus};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::{Error, Home, Origin, Setup, blocking};
use crate::checkpoint;
use crate::checkpoint::history::{self, StartFrom};
use crate::checkpoint::manifest::{Expected, Manifest};
use crate::checkpoint::store::CheckpointStore;
use crate::clock::Clock;
use crate::coordinator::api::Call;
use crate::coordinator::protocol::{Config, Reply};
use crate::coordinator::shape::{Shape, shape};
use crate::message::RestoreFrom;
use millstream_api::error::chain;

/// Pause before a store that does not answer is tried again.
const STORE_AGAIN: Duration = Duration::from_secs(2);

/// What a coordinator begins with.
pub struct Opened {
    pub store: Arc<dyn CheckpointStore>,
    pub config: Config,
    pub start: Option<(Manifest, RestoreFrom)>,
    /// The job has run before.
    pub came_back: bool,
}

/// Opens the job. In a pod, a store that does not answer is tried again for ever: another start would not help.
pub async fn insist(setup: &Setup, clock: &dyn Clock, calls: &mut mpsc::Receiver<Call>) -> Result<Opened, Error> {
    let mut told = None;
    loop {
        let opened = answering(open(setup, clock), setup, told.as_deref(), calls).await?;
        match opened {
            Err(error) if error.is_store() && matches!(setup.home, Home::Pod { .. }) => {
                let reason = chain(&error);
                tracing::warn!("cannot use the checkpoint store, trying again: {reason}");
                told = Some(reason);
                answering(again(), setup, told.as_deref(), calls).await?;
            }
            opened => return opened,
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "no event tells that a store works again")]
async fn again() {
    tokio::time::sleep(STORE_AGAIN).await;
}

/// Does something while it answers what is asked.
async fn answering<T>(
    work: impl Future<Output = T>,
    setup: &Setup,
    told: Option<&str>,
    calls: &mut mpsc::Receiver<Call>,
) -> Result<T, Error> {
    tokio::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return Ok(done),
            call = calls.recv() => answer(call.ok_or(Error::Closed)?, &setup.job.name, told),
        }
    }
}

/// What there is to say before there is a term. Whoever asked may have left.
fn answer(call: Call, job: &str, told: Option<&str>) {
    match call {
        Call::Alive(reply) => drop(reply.send(())),
        Call::Job(reply) => drop(reply.send(JobStatus {
            name: job.to_owned(),
            state: JobState::WaitingForWorkers,
            error: told.map(str::to_owned),
            blocked: told.map(|_| Blocked::StoreUnreachable),
            generation: 0,
            term: 0,
            recoveries: 0,
            coordinator: ProcessStatus { pid: std::process::id() },
            workers: Vec::new(),
            checkpoint: None,
            restored_epoch: None,
            late_rows: 0,
            bad_records: 0,
        })),
        Call::Stages { reply, .. } => drop(reply.send(Vec::new())),
        Call::Checkpoints(reply) => drop(reply.send(Vec::new())),
        Call::Rescales { reply, .. } => drop(reply.send(Vec::new())),
        Call::Metrics(reply) => drop(reply.send(String::new())),
        Call::Change(_, reply) => {
            let error = format!("the coordinator is starting: {}", told.unwrap_or("it reads its checkpoints"));
            drop(reply.send(Reply::Refused(503, ErrorBody { error })));
        }
    }
}

async fn open(setup: &Setup, clock: &dyn Clock) -> Result<Opened, Error> {
    let store = setup.store.open(Handle::current())?;
    let (job, prefix, now_ms) = (setup.job.clone(), setup.prefix.clone(), clock.now_ms());
    let claim = Arc::clone(&store);
    let (shape, claimed, first) = blocking(move || {
        let by = format!("pid {}", std::process::id());
        let claimed = history::claim_term(claim.as_ref(), &prefix, StartFrom::Newest, &by, now_ms);
        (shape(&job), claimed, history::first_claimed_at_ms(claim.as_ref(), &prefix))
    })
    .await?;
    let (shape, claimed, first) = (shape.map_err(Error::Plan)?, claimed?, first?);
    for skipped in &claimed.skipped {
        tracing::warn!("checkpoint {} passed over: {}", skipped.id, skipped.reason);
    }
    let own = |manifest: Manifest| {
        let from = RestoreFrom { root: None, prefix: setup.prefix.clone(), id: manifest.id() };
        (manifest, from)
    };
    let came_back = claimed.start.is_some();
    let start = match claimed.start {
        Some(manifest) => {
            fits(&manifest, setup, Some(manifest.job_id), &shape)?;
            Some(own(manifest))
        }
        None => origin(setup, &store, &shape).await?,
    };
    let (listed, prefix) = (Arc::clone(&store), setup.prefix.clone());
    let noted = blocking(move || history::newest_generation(listed.as_ref(), &prefix)).await??;
    let from = start.as_ref().map(|(manifest, _)| manifest);
    let started_at_ms = setup.started_at_ms.or(first).unwrap_or(now_ms);
    let config = Config {
        // A job that goes on keeps its identity.
        job_id: from.map_or(setup.job_id, |manifest| manifest.job_id),
        started_at_ms: from.map_or(started_at_ms, |manifest| manifest.started_at_ms),
        job: setup.job.clone(),
        stages: shape.stages,
        states: shape.states,
        fingerprint: shape.fingerprint,
        sql_hash: shape.sql_hash,
        prefix: setup.prefix.clone(),
        term: claimed.term,
        noted,
        pid: std::process::id(),
        patience: setup.patience,
    };
    Ok(Opened { store, config, start, came_back })
}

/// What a job begins with that has no checkpoint of its own.
async fn origin(
    setup: &Setup,
    store: &Arc<dyn CheckpointStore>,
    shape: &Shape,
) -> Result<Option<(Manifest, RestoreFrom)>, Error> {
    let (store, from) = match &setup.origin {
        Origin::Empty => return Ok(None),
        Origin::From(from) => {
            let other = from.root.as_ref().map(|root| setup.store.at(root).open(Handle::current())).transpose()?;
            (other.unwrap_or_else(|| Arc::clone(store)), from.clone())
        }
        Origin::Latest => {
            let (listed, prefix) = (Arc::clone(store), setup.prefix.clone());
            let found = blocking(move || history::latest_beside(listed.as_ref(), &prefix)).await??;
            let Some((prefix, id)) = found else { return Ok(None) };
            // Named by its root: what is another job's is read, never referred to.
            (Arc::clone(store), RestoreFrom { root: Some(setup.store.uri.clone()), prefix, id })
        }
    };
    let at = from.clone();
    let manifest = blocking(move || history::load(store.as_ref(), &at.prefix, at.id)).await??;
    fits(&manifest, setup, None, shape)?;
    let from = rooted(&manifest, from);
    Ok(Some((manifest, from)))
}

/// Refuses a checkpoint with state that has no place in the job.
fn fits(manifest: &Manifest, setup: &Setup, job_id: Option<u64>, shape: &Shape) -> Result<(), checkpoint::Error> {
    manifest.check_job(&Expected {
        job_name: &setup.job.name,
        job_id,
        planned: &shape.planned(),
        drop_state: &setup.job.drop_state,
        key_groups: setup.job.key_groups,
    })
}

/// The path of a manifest does not say where the root of its store ends and the job's folder begins; its files do.
fn rooted(manifest: &Manifest, from: RestoreFrom) -> RestoreFrom {
    let found = || {
        let folder = manifest.files().next()?.path.rsplitn(5, '/').nth(4)?;
        let above = folder.strip_suffix(&from.prefix)?.strip_suffix('/')?;
        let root = from.root.as_deref()?.strip_suffix(above)?.trim_end_matches('/');
        Some((root.to_owned(), folder.to_owned()))
    };
    match found() {
        Some((root, prefix)) => RestoreFrom { root: Some(root), prefix, id: from.id },
        None => from,
    }
}
