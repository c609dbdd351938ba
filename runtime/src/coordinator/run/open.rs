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
use crate::checkpoint::origin::{self, Beginning, Begun};
use crate::checkpoint::store::CheckpointStore;
use crate::checkpoint::{past, paths};
use crate::clock::{Clock, back_off};
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
                answering(back_off(STORE_AGAIN), setup, told.as_deref(), calls).await?;
            }
            opened => return opened,
        }
    }
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
            checkpoints_kept: None,
            restored_epoch: None,
            started_from: None,
            late_rows: 0,
            bad_records: 0,
        })),
        Call::Stages { reply, .. } => drop(reply.send(Vec::new())),
        Call::Checkpoints(reply) => drop(reply.send(Vec::new())),
        Call::Rescales { reply, .. } => drop(reply.send(Vec::new())),
        Call::Metrics(reply) => drop(reply.send(String::new())),
        Call::Change(_, reply) => drop(reply.send(Reply::Refused(503, starting(told)))),
        Call::Erase(_, reply) => drop(reply.send(Err((503, starting(told))))),
    }
}

fn starting(told: Option<&str>) -> ErrorBody {
    ErrorBody { error: format!("the coordinator is starting: {}", told.unwrap_or("it reads its checkpoints")) }
}

async fn open(setup: &Setup, clock: &dyn Clock) -> Result<Opened, Error> {
    let store = setup.store.open(Handle::current())?;
    let (look, prefix, restore) = (Arc::clone(&store), setup.prefix.clone(), setup.restore.clone());
    let known = blocking(move || origin::beginning(look.as_ref(), &prefix, restore.as_deref())).await??;
    let (start, begun) = match known {
        Beginning::First => (StartFrom::Newest, Some(begin(setup, &store, false).await?.1)),
        Beginning::Again => {
            let (start, begun) = begin(setup, &store, true).await?;
            (start, Some(begun))
        }
        Beginning::Past(_) => (StartFrom::Newest, None),
    };
    let (job, prefix, now_ms) = (setup.job.clone(), setup.prefix.clone(), clock.now_ms());
    let (claim, noting) = (Arc::clone(&store), begun.clone());
    let (shape, claimed, first) = blocking(move || {
        let by = format!("pid {}", std::process::id());
        let claimed = history::begin_term(claim.as_ref(), &prefix, (start, noting), &by, now_ms);
        (shape(&job), claimed, history::first_claimed_at_ms(claim.as_ref(), &prefix))
    })
    .await?;
    let (shape, claimed, first) = (shape.map_err(Error::Plan)?, claimed?, first?);
    for skipped in &claimed.skipped {
        tracing::warn!("checkpoint {} passed over: {}", skipped.id, skipped.reason);
    }
    let begun = match known {
        Beginning::Past(before) => before,
        Beginning::First | Beginning::Again => begun,
    };
    let started_from = begun.and_then(|begun| begun.from);
    let own = |manifest: Manifest| {
        let from = RestoreFrom { root: None, prefix: setup.prefix.clone(), id: manifest.id() };
        (manifest, from)
    };
    let came_back = claimed.start.is_some();
    let start = match (claimed.start, &started_from) {
        (Some(manifest), _) => {
            fits(&manifest, setup, Some(manifest.job_id), &shape)?;
            Some(own(manifest))
        }
        (None, Some(path)) => Some(load(setup, path, &shape).await?),
        (None, None) => None,
    };
    let (listed, prefix) = (Arc::clone(&store), setup.prefix.clone());
    let known = move || {
        let noted = history::newest_generation(listed.as_ref(), &prefix)?;
        Ok::<_, checkpoint::Error>((noted, past::noted(listed.as_ref(), &prefix)?))
    };
    let (noted, past) = blocking(known).await??;
    let from = start.as_ref().map(|(manifest, _)| manifest);
    let started_at_ms = setup.started_at_ms.or(first).unwrap_or(now_ms);
    let config = Config {
        // A job that goes on keeps its identity.
        job_id: from.map_or(setup.job_id, |manifest| manifest.job_id),
        started_at_ms: from.map_or(started_at_ms, |manifest| manifest.started_at_ms),
        started_from,
        job: setup.job.clone(),
        stages: shape.stages,
        states: shape.states,
        fingerprint: shape.fingerprint,
        sql_hash: shape.sql_hash,
        prefix: setup.prefix.clone(),
        term: claimed.term,
        noted,
        past,
        pid: std::process::id(),
        patience: setup.patience,
    };
    Ok(Opened { store, config, start, came_back })
}

/// What a job begins with, for the first time or `again`: then its own checkpoints count no more, unless one of them is it.
async fn begin(setup: &Setup, store: &Arc<dyn CheckpointStore>, again: bool) -> Result<(StartFrom, Begun), Error> {
    let anew = if again { StartFrom::Nothing } else { StartFrom::Newest };
    let (start, from) = match &setup.origin {
        Origin::Empty => (anew, None),
        Origin::From(from) => {
            let root = from.root.as_deref().unwrap_or(&setup.store.uri);
            (anew, Some(origin::path(root, &from.prefix, from.id)))
        }
        Origin::Latest => {
            let (listed, prefix) = (Arc::clone(store), setup.prefix.clone());
            let found = blocking(move || history::latest_beside(listed.as_ref(), &prefix, again)).await??;
            let is_own = found.as_ref().is_some_and(|(prefix, _)| *prefix == setup.prefix);
            let path = found.map(|(prefix, id)| origin::path(&setup.store.uri, &prefix, id));
            (if is_own { StartFrom::Newest } else { anew }, path)
        }
    };
    Ok((start, Begun { restore: setup.restore.clone(), from }))
}

/// The checkpoint at a path. It is named by its root: what is another job's is read, never referred to.
async fn load(setup: &Setup, path: &str, shape: &Shape) -> Result<(Manifest, RestoreFrom), Error> {
    let not_found = || crate::checkpoint::Error::NotFound { path: path.to_owned() };
    let (root, prefix, id) = paths::locate(path).ok_or_else(not_found)?;
    let store = setup.store.at(&root).open(Handle::current())?;
    let from = RestoreFrom { root: Some(root), prefix, id };
    let at = from.clone();
    let manifest = blocking(move || history::load(store.as_ref(), &at.prefix, at.id)).await??;
    fits(&manifest, setup, None, shape)?;
    let from = rooted(&manifest, from);
    Ok((manifest, from))
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
