//! The coordinator's shell on a machine: control connections, the API, the checkpoint store, and one loop that feeds the state
//! machine and does what it says.
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use millstream_api::id::{Generation, Term};
use millstream_api::wire::JobState;
use tokio::sync::{mpsc, oneshot};

use super::api::{self, Call};
use super::control::{self, ConnectionId, ControlEvent};
use super::metrics;
use super::protocol::{Action, Config, Coordinator, Event, Reply};
use super::round::RequestId;
use super::shape::{Shape, shape};
use crate::checkpoint::history::{self, StartFrom};
use crate::checkpoint::manifest::{Expected, Manifest};
use crate::checkpoint::store::CheckpointStore;
use crate::checkpoint::store::ObjectCheckpoints;
use crate::checkpoint::{self, garbage};
use crate::clock::{Clock, SystemClock};
use crate::message::RestoreFrom;
use crate::net::handshake::{Identity, Secret};
use crate::net::{Network, TcpNetwork};
use crate::random::{Random, SystemRandom};
use crate::workdir::{ApiFile, CoordinatorFile, JobFile, Outcome, Workdir, read, write_private};
use crate::worker::chain;

/// Time between two looks at the clock.
const TICK: Duration = Duration::from_millis(50);
/// Pause before a manifest that could not be stored is tried again.
const STORE_AGAIN: Duration = Duration::from_secs(1);
/// How long the coordinator waits for someone to ask how the job ended.
const LINGER: Duration = Duration::from_secs(5);

/// Why a coordinator cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The work folder.
    #[error("cannot use the work folder")]
    Workdir(#[from] std::io::Error),
    /// The job cannot be planned any more.
    #[error("cannot plan the job: {0}")]
    Plan(String),
    /// The checkpoint store.
    #[error("cannot use the checkpoint store")]
    Checkpoint(#[from] checkpoint::Error),
    /// The checkpoint store cannot even be opened.
    #[error("cannot open the checkpoint store")]
    Store(#[from] checkpoint::store::Error),
    /// The loop was closed from outside.
    #[error("the coordinator's queues are closed")]
    Closed,
}

/// Serves the job of a work folder until it is over.
pub async fn serve(workdir: &Workdir) -> Result<JobState, Error> {
    let file: JobFile = read(&workdir.job_file())?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let random: Arc<dyn Random> = Arc::new(SystemRandom);
    let runtime = tokio::runtime::Handle::current();
    let store: Arc<dyn CheckpointStore> = Arc::new(ObjectCheckpoints::local(&workdir.checkpoints(), runtime)?);
    let (job, prefix, now_ms) = (file.job.clone(), file.prefix.clone(), clock.now_ms());
    let claim = Arc::clone(&store);
    let (shape, claimed) = blocking(move || {
        let by = format!("pid {}", std::process::id());
        (shape(&job), history::claim_term(claim.as_ref(), &prefix, StartFrom::Newest, &by, now_ms))
    })
    .await?;
    let (shape, claimed) = (shape.map_err(Error::Plan)?, claimed?);
    for skipped in &claimed.skipped {
        tracing::warn!("checkpoint {} passed over: {}", skipped.id, skipped.reason);
    }
    let own = |manifest: Manifest| {
        let from = RestoreFrom { root: None, prefix: file.prefix.clone(), id: manifest.id() };
        (manifest, from)
    };
    let came_back = claimed.start.is_some();
    let start = match (claimed.start, &file.restore) {
        (Some(manifest), _) => Some(own(manifest)),
        (None, Some(from)) => Some(restored(from.clone(), &file, &shape.fingerprint, &shape.sql_hash).await?),
        (None, None) => None,
    };
    let (listed, prefix) = (Arc::clone(&store), file.prefix.clone());
    let noted = blocking(move || history::newest_generation(listed.as_ref(), &prefix)).await??;
    let config = Config { noted, ..config(&file, shape, start.as_ref().map(|(manifest, _)| manifest), claimed.term) };
    let identity = Identity {
        job: file.job_id,
        generation: 0,
        term: claimed.term,
        worker: "coordinator".into(),
        incarnation: random.next_u64(),
    };
    let coordinator = Coordinator::new(config, start, came_back);
    let (events, from_workers) = mpsc::channel(1024);
    let listener = TcpNetwork.listen("127.0.0.1:0").await?;
    let control_address = listener.address().to_string();
    let secret = Secret::new(file.secret.as_bytes());
    tokio::spawn(control::serve(listener, identity, secret, random, events));
    let (calls, from_api) = mpsc::channel(64);
    let api_listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let api = ApiFile { address: api_listener.local_addr()?.to_string(), token: file.token.clone() };
    let server = axum::serve(api_listener, api::router(calls, &file.token));
    tokio::spawn(async move { server.await });
    write_private(&workdir.coordinator_file(), &CoordinatorFile { control_address })?;
    write_private(&workdir.api_file(), &api)?;
    Loop {
        coordinator,
        store,
        clock,
        workdir: workdir.clone(),
        commands: HashMap::new(),
        replies: HashMap::new(),
        next: 0,
    }
    .run(from_workers, from_api)
    .await
}

/// What never changes while this coordinator lives; a job that goes on keeps its identity.
fn config(file: &JobFile, shape: Shape, from: Option<&Manifest>, term: Term) -> Config {
    Config {
        job_id: from.map_or(file.job_id, |manifest| manifest.job_id),
        started_at_ms: from.map_or(file.started_at_ms, |manifest| manifest.started_at_ms),
        job: file.job.clone(),
        stages: shape.stages,
        states: shape.states,
        fingerprint: shape.fingerprint,
        sql_hash: shape.sql_hash,
        prefix: file.prefix.clone(),
        term,
        noted: None,
        pid: std::process::id(),
    }
}

/// The checkpoint a person asked to start from.
async fn restored(
    from: RestoreFrom,
    file: &JobFile,
    fingerprint: &u64,
    sql_hash: &str,
) -> Result<(Manifest, RestoreFrom), Error> {
    let root = std::path::PathBuf::from(from.root.clone().unwrap_or_default());
    let store = ObjectCheckpoints::local(&root, tokio::runtime::Handle::current())?;
    let at = from.clone();
    let manifest = blocking(move || history::load(&store, &at.prefix, at.id)).await??;
    manifest.check_job(&Expected {
        job_name: &file.job.name,
        job_id: None,
        fingerprint: *fingerprint,
        sql_hash,
        key_groups: file.job.key_groups,
    })?;
    Ok((manifest, from))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Error::Closed)
}

#[allow(clippy::disallowed_methods, reason = "no event tells that a store works again")]
async fn store_again() {
    tokio::time::sleep(STORE_AGAIN).await;
}

struct Loop {
    coordinator: Coordinator,
    store: Arc<dyn CheckpointStore>,
    clock: Arc<dyn Clock>,
    workdir: Workdir,
    /// Ways to the workers, by name: the newest connection and its queue.
    commands: HashMap<String, (ConnectionId, mpsc::Sender<crate::message::Command>)>,
    replies: HashMap<RequestId, oneshot::Sender<Reply>>,
    next: RequestId,
}

impl Loop {
    async fn run(
        mut self,
        mut from_workers: mpsc::Receiver<ControlEvent>,
        mut from_api: mpsc::Receiver<Call>,
    ) -> Result<JobState, Error> {
        let (stored, mut from_store) = mpsc::channel(16);
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let event = tokio::select! {
                event = from_workers.recv() => match event.ok_or(Error::Closed)? {
                    ControlEvent::Registered { connection, register, commands } => {
                        self.commands.insert(register.name.clone(), (connection, commands));
                        Event::Registered(register)
                    }
                    // A connection that another one of the same worker has replaced says nothing any more.
                    ControlEvent::Said { connection, worker, .. } | ControlEvent::Lost { connection, worker, .. }
                        if !self.is_current(&worker, connection) => continue,
                    ControlEvent::Said { worker, incarnation, report, .. } => Event::Said { worker, incarnation, report },
                    ControlEvent::Lost { worker, incarnation, .. } => {
                        self.commands.remove(&worker);
                        Event::Lost { worker, incarnation }
                    }
                },
                call = from_api.recv() => match self.call(call.ok_or(Error::Closed)?) {
                    Some(event) => event,
                    None => continue,
                },
                event = from_store.recv() => event.ok_or(Error::Closed)?,
                _ = ticks.tick() => Event::Tick,
            };
            let actions = self.coordinator.on(self.clock.now_ms(), event);
            if let Some(state) = self.act(actions, &stored).await? {
                self.conclude(state, &mut from_api).await?;
                return Ok(state);
            }
        }
    }

    fn is_current(&self, worker: &str, connection: ConnectionId) -> bool {
        self.commands.get(worker).is_some_and(|(current, _)| *current == connection)
    }

    async fn act(&mut self, actions: Vec<Action>, stored: &mpsc::Sender<Event>) -> Result<Option<JobState>, Error> {
        let mut exit = None;
        for action in actions {
            match action {
                Action::Note(generation) => self.note(generation).await?,
                Action::Send { worker, command } => {
                    if let Some((_, queue)) = self.commands.get(&worker) {
                        let _ = queue.send(command).await; // If it is gone, its loss is on its way as an event.
                    }
                }
                Action::Store(manifest) => self.store(*manifest, stored.clone()),
                Action::Answer { id, reply } => {
                    if let Some(waiting) = self.replies.remove(&id) {
                        let _ = waiting.send(*reply); // Whoever asked may have left.
                    }
                }
                Action::Tell(text) => tracing::info!("{text}"),
                Action::Exit(state) => exit = Some(state),
            }
        }
        Ok(exit)
    }

    /// Nothing is deployed before this is known to all who come after.
    async fn note(&self, generation: Generation) -> Result<(), Error> {
        loop {
            let (store, prefix) = (Arc::clone(&self.store), self.coordinator.prefix().to_owned());
            let noted = blocking(move || history::note_generation(store.as_ref(), &prefix, generation)).await;
            match noted? {
                Err(error) if error.is_transient() => {
                    tracing::warn!("cannot note a generation, trying again: {}", chain(&error));
                    store_again().await;
                }
                noted => return Ok(noted?),
            }
        }
    }

    /// Stores a manifest, then removes what no kept checkpoint needs. Tries until it is known whether the manifest counts: to
    /// give it up while it may be there would be to go on from elsewhere than the next coordinator.
    fn store(&self, manifest: Manifest, stored: mpsc::Sender<Event>) {
        let store = Arc::clone(&self.store);
        let (prefix, keep) = (self.coordinator.prefix().to_owned(), self.coordinator.checkpoint_keep());
        let root = self.workdir.checkpoints();
        let manifest = Arc::new(manifest);
        tokio::spawn(async move {
            let committed = loop {
                let (store, prefix, manifest) = (Arc::clone(&store), prefix.clone(), Arc::clone(&manifest));
                match blocking(move || history::commit(store.as_ref(), &prefix, &manifest)).await {
                    Ok(Err(error)) if error.is_transient() => {
                        tracing::warn!("cannot store a checkpoint, trying again: {}", chain(&error));
                        store_again().await;
                    }
                    Ok(committed) => break committed,
                    Err(_) => return, // The process is going down.
                }
            };
            let is_stored = committed.is_ok();
            let result = committed.map(|path| root.join(path).display().to_string()).map_err(|error| chain(&error));
            // The loop may be over.
            let _ = stored.send(Event::Stored { epoch: manifest.epoch, result }).await;
            if is_stored {
                let collect = move || garbage::collect(store.as_ref(), &prefix, manifest.id(), keep, &[]);
                if let Ok(Err(error)) = blocking(collect).await {
                    tracing::warn!("cannot remove old checkpoints: {}", chain(&error));
                }
            }
        });
    }

    fn call(&mut self, call: Call) -> Option<Event> {
        // Whoever asked may have left.
        match call {
            Call::Job(reply) => drop(reply.send(self.coordinator.job_status())),
            Call::Stages { groups: false, reply } => drop(reply.send(self.coordinator.stage_status())),
            Call::Stages { groups: true, reply } => drop(reply.send(self.coordinator.stage_status_by_group())),
            Call::Checkpoints(reply) => drop(reply.send(self.coordinator.checkpoint_status())),
            Call::Rescales(reply) => drop(reply.send(self.coordinator.rescale_status())),
            Call::Metrics(reply) => drop(reply.send(metrics::text(&self.coordinator))),
            Call::Change(request, reply) => {
                self.next += 1;
                self.replies.insert(self.next, reply);
                return Some(Event::Asked { id: self.next, request });
            }
        }
        None
    }

    /// The job is over: leave word, and answer those who still ask.
    async fn conclude(&mut self, state: JobState, from_api: &mut mpsc::Receiver<Call>) -> Result<(), Error> {
        let user = state == JobState::Failed && self.coordinator.is_user_error();
        let outcome = Outcome { job: self.coordinator.job_status(), stages: self.coordinator.stage_status(), user };
        write_private(&self.workdir.outcome_file(), &outcome)?;
        self.commands.clear();
        let deadline = tokio::time::Instant::now() + LINGER;
        let mut told = false;
        while let Ok(Some(call)) = tokio::time::timeout_at(deadline, from_api.recv()).await {
            // The stages are asked for after the job; whoever polls asks both.
            let last = told && matches!(call, Call::Stages { .. });
            told |= matches!(call, Call::Job(_));
            let _ = self.call(call);
            if last {
                break;
            }
        }
        // Lets the last answer leave.
        let _ = tokio::time::timeout(Duration::from_millis(100), std::future::pending::<()>()).await;
        Ok(())
    }
}
