//! The loop: facts from workers, the API, the store and the clock into the state machine, and what it says done.
use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use millstream_api::id::Generation;
use millstream_api::wire::{Blocked, ErrorBody, JobState, JobStatus, RescaleStatus};
use tokio::sync::{mpsc, oneshot};

use super::past::Past;
use super::{Error, Home, blocking};
use crate::checkpoint::history;
use crate::checkpoint::manifest::Manifest;
use crate::checkpoint::store::{CheckpointStore, Location};
use crate::checkpoint::{self, garbage};
use crate::clock::{Clock, back_off};
use crate::coordinator::api::{Beyond, Call};
use crate::coordinator::control::{ConnectionId, ControlEvent};
use crate::coordinator::metrics;
use crate::coordinator::protocol::{Action, Coordinator, Event, Reply, Request};
use crate::coordinator::round::RequestId;
use crate::redact::Redaction;
use crate::workdir::{Outcome, Workdir, write_private};
use millstream_api::error::chain;

/// Time between two looks at the clock.
const TICK: Duration = Duration::from_millis(50);
/// Pause before a manifest that could not be stored is tried again.
const STORE_AGAIN: Duration = Duration::from_secs(1);
/// Who waits for a rescale to come further is answered after this time in any case.
const WATCH_MS: i64 = 2_000;
/// So many may wait. Others are answered at once.
const WATCHERS_MAX: usize = 256;
/// How long the coordinator waits for someone to ask how the job ended.
const LINGER: Duration = Duration::from_secs(5);

/// What the store said when it last refused or did not answer, while somebody waits for it.
pub type Trouble = Arc<Mutex<Option<String>>>;

/// See the module.
pub struct Loop {
    pub coordinator: Coordinator,
    pub store: Arc<dyn CheckpointStore>,
    pub location: Location,
    pub clock: Arc<dyn Clock>,
    pub home: Home,
    /// Ways to the workers, by name: the newest connection and its queue.
    pub commands: HashMap<String, (ConnectionId, mpsc::Sender<crate::message::Command>)>,
    pub replies: HashMap<RequestId, oneshot::Sender<Reply>>,
    pub watchers: Vec<Watcher>,
    pub next: RequestId,
    pub trouble: Trouble,
    /// Held by whoever removes something from the store, or notes rescales.
    pub erasing: Arc<tokio::sync::Mutex<()>>,
    pub redaction: Redaction,
    pub past: Past,
}

/// Somebody who waits for a rescale to come further, and until when.
pub struct Watcher {
    beyond: Beyond,
    until_ms: i64,
    reply: oneshot::Sender<Vec<RescaleStatus>>,
}

/// What comes from the store.
pub enum Stored {
    /// How a commit ended.
    Event(Event),
    /// Another coordinator is in charge.
    Fenced(checkpoint::Error),
    /// Whether a savepoint that is asked for was taken before.
    Searched(super::savepoint::Searched),
}

fn set(trouble: &Trouble, told: Option<String>) {
    *trouble.lock().unwrap_or_else(PoisonError::into_inner) = told;
}

impl Loop {
    /// Runs until the job is over; in a pod, until it is told to `retire`.
    pub async fn run(
        mut self,
        mut from_workers: mpsc::Receiver<ControlEvent>,
        mut from_api: mpsc::Receiver<Call>,
        mut retire: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<Option<JobState>, Error> {
        let mut retires = false;
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
                    ControlEvent::Sent { .. } => continue,
                    ControlEvent::Said { worker, incarnation, report, .. } => Event::Said { worker, incarnation, report },
                    ControlEvent::Lost { worker, incarnation, .. } => {
                        self.commands.remove(&worker);
                        Event::Lost { worker, incarnation }
                    }
                },
                call = from_api.recv() => match self.called(call.ok_or(Error::Closed)?, &stored) {
                    Some(event) => event,
                    None => continue,
                },
                stored = from_store.recv() => match stored.ok_or(Error::Closed)? {
                    Stored::Event(event) => event,
                    Stored::Fenced(error) => return Err(error.into()),
                    Stored::Searched(searched) => match self.searched(searched) {
                        Some(event) => event,
                        None => continue,
                    },
                },
                () = &mut retire, if !retires => {
                    retires = true;
                    Event::Retire
                }
                _ = ticks.tick() => Event::Tick,
            };
            let actions = self.coordinator.on(self.clock.now_ms(), event);
            let ended = self.act(actions, &stored, &mut from_api).await?;
            self.show_rescales();
            match (ended, &self.home) {
                (Some(state), Home::Workdir(workdir)) => {
                    let workdir = workdir.clone();
                    self.conclude(state, &workdir, &mut from_api).await?;
                    self.past.finish().await;
                    return Ok(Some(state));
                }
                // The platform would start it again; and its end is to be seen.
                (Some(state), Home::Pod { ended, .. }) => {
                    tracing::info!("the job is over: {state:?}");
                    ended(state, self.job_status().error.as_deref());
                }
                (None, _) => {}
            }
            if retires && !self.coordinator.is_moving() {
                self.leave(&mut from_workers).await;
                self.past.finish().await;
                return Ok(None);
            }
        }
    }

    /// Waits until the workers are sent all they were told: who still is to hear that a rescale is over is not taken over.
    async fn leave(&mut self, from_workers: &mut mpsc::Receiver<ControlEvent>) {
        let mut waiting: Vec<ConnectionId> = self.commands.drain().map(|(_, (connection, _))| connection).collect();
        while !waiting.is_empty() {
            match from_workers.recv().await {
                Some(ControlEvent::Sent { connection } | ControlEvent::Lost { connection, .. }) => {
                    waiting.retain(|other| *other != connection);
                }
                Some(_) => {}
                None => return,
            }
        }
    }

    fn is_current(&self, worker: &str, connection: ConnectionId) -> bool {
        self.commands.get(worker).is_some_and(|(current, _)| *current == connection)
    }

    async fn act(
        &mut self,
        actions: Vec<Action>,
        stored: &mpsc::Sender<Stored>,
        from_api: &mut mpsc::Receiver<Call>,
    ) -> Result<Option<JobState>, Error> {
        let mut exit = None;
        for action in actions {
            match action {
                Action::Note(generation) => self.note(generation, from_api).await?,
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
    async fn note(&mut self, generation: Generation, from_api: &mut mpsc::Receiver<Call>) -> Result<(), Error> {
        loop {
            let (store, prefix) = (Arc::clone(&self.store), self.coordinator.prefix().to_owned());
            let noted = blocking(move || history::note_generation(store.as_ref(), &prefix, generation));
            match self.answering(noted, from_api).await? {
                Ok(Err(error)) if error.is_transient() => {
                    let told = chain(&error);
                    tracing::warn!("cannot note a generation, trying again: {told}");
                    set(&self.trouble, Some(told));
                    self.answering(back_off(STORE_AGAIN), from_api).await?;
                }
                noted => {
                    set(&self.trouble, None);
                    return Ok(noted??);
                }
            }
        }
    }

    /// Waits for something while it answers those who ask. What would change the job is refused.
    async fn answering<T>(
        &mut self,
        work: impl Future<Output = T>,
        from_api: &mut mpsc::Receiver<Call>,
    ) -> Result<T, Error> {
        tokio::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return Ok(done),
                call = from_api.recv() => match call.ok_or(Error::Closed)? {
                    Call::Change(_, reply) => {
                        let error = "the checkpoint store does not answer; ask again".to_owned();
                        drop(reply.send(Reply::Refused(503, ErrorBody { error })));
                    }
                    other => drop(self.call(other)), // Changes nothing.
                },
            }
        }
    }

    /// Stores a manifest, then removes what no kept checkpoint needs. Tries until it is known whether the manifest counts: to
    /// give it up while it may be there would be to go on from elsewhere than the next coordinator.
    fn store(&self, manifest: Manifest, stored: mpsc::Sender<Stored>) {
        let store = Arc::clone(&self.store);
        let (prefix, keep) = (self.coordinator.prefix().to_owned(), self.coordinator.checkpoint_keep());
        let (location, trouble) = (self.location.clone(), Arc::clone(&self.trouble));
        let manifest = Arc::new(manifest);
        tokio::spawn(async move {
            let committed = loop {
                let (store, prefix, manifest) = (Arc::clone(&store), prefix.clone(), Arc::clone(&manifest));
                match blocking(move || history::commit(store.as_ref(), &prefix, &manifest)).await {
                    Ok(Err(error)) if error.is_transient() => {
                        let told = chain(&error);
                        tracing::warn!("cannot store a checkpoint, trying again: {told}");
                        set(&trouble, Some(told));
                        back_off(STORE_AGAIN).await;
                    }
                    Ok(committed) => break committed,
                    Err(_) => return, // The process is going down.
                }
            };
            let is_stored = committed.is_ok();
            // If it is refused, that is in the way of checkpoints for good, and said.
            set(
                &trouble,
                committed
                    .as_ref()
                    .err()
                    .filter(|error| matches!(error, checkpoint::Error::Store(_)))
                    .map(|error| chain(error)),
            );
            let result = match committed {
                Err(error @ checkpoint::Error::Fenced { .. }) => Stored::Fenced(error),
                committed => {
                    let result = committed.map(|path| location.path_of(&path)).map_err(|error| chain(&error));
                    Stored::Event(Event::Stored { epoch: manifest.epoch, result })
                }
            };
            let _ = stored.send(result).await; // The loop may be over.
            if is_stored {
                let collect = move || garbage::collect(store.as_ref(), &prefix, manifest.id(), keep, &[]);
                if let Ok(Err(error)) = blocking(collect).await {
                    tracing::warn!("cannot remove old checkpoints: {}", chain(&error));
                }
            }
        });
    }

    /// Of a savepoint that may have been taken before, the store is asked first.
    fn called(&mut self, call: Call, stored: &mpsc::Sender<Stored>) -> Option<Event> {
        match call {
            Call::Change(Request::Savepoint(request), reply) if self.may_be_taken(&request) => {
                self.search(request, reply, stored.clone());
                None
            }
            call => self.call(call),
        }
    }

    fn call(&mut self, call: Call) -> Option<Event> {
        // Whoever asked may have left.
        match call {
            Call::Alive(reply) => drop(reply.send(())),
            Call::Job(reply) => drop(reply.send(self.job_status())),
            Call::Stages { groups: false, reply } => drop(reply.send(self.coordinator.stage_status())),
            Call::Stages { groups: true, reply } => drop(reply.send(self.coordinator.stage_status_by_group())),
            Call::Checkpoints(reply) => drop(reply.send(self.coordinator.checkpoint_status())),
            Call::Rescales { beyond: Some(beyond), reply } if self.watchers.len() < WATCHERS_MAX => {
                let until_ms = self.clock.now_ms().saturating_add(WATCH_MS);
                self.watchers.push(Watcher { beyond, until_ms, reply });
                self.answer_watchers();
            }
            Call::Rescales { reply, .. } => drop(reply.send(self.rescale_status())),
            Call::Erase(erase, reply) => self.erase(erase, reply),
            Call::Metrics(reply) => drop(reply.send(metrics::text(&self.coordinator))),
            Call::Change(request, reply) => {
                self.next += 1;
                self.replies.insert(self.next, reply);
                return Some(Event::Asked { id: self.next, request });
            }
        }
        None
    }

    fn rescale_status(&self) -> Vec<RescaleStatus> {
        let mut rescales = self.coordinator.rescale_status();
        for rescale in &mut rescales {
            rescale.reason = rescale.reason.take().map(|reason| self.redaction.apply(&reason));
        }
        rescales
    }

    /// To those who wait, and to the next coordinator.
    fn show_rescales(&mut self) {
        if self.past.is_news(self.coordinator.newest_rescale()) {
            self.past.note(self.rescale_status());
        }
        self.answer_watchers();
    }

    fn answer_watchers(&mut self) {
        if self.watchers.is_empty() {
            return;
        }
        let (rescales, now_ms) = (self.rescale_status(), self.clock.now_ms());
        let is_due = |watcher: &mut Watcher| watcher.until_ms <= now_ms || watcher.beyond.is_passed(&rescales);
        for watcher in self.watchers.extract_if(.., is_due) {
            drop(watcher.reply.send(rescales.clone())); // Whoever asked may have left.
        }
    }

    fn job_status(&self) -> JobStatus {
        let mut status = self.coordinator.job_status();
        if let Some(told) = self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone() {
            status.blocked = Some(Blocked::StoreUnreachable);
            status.error = Some(told);
        }
        status.error = status.error.map(|error| self.redaction.apply(&error));
        status
    }

    /// The job is over: leave word, and answer those who still ask.
    async fn conclude(
        &mut self,
        state: JobState,
        workdir: &Workdir,
        from_api: &mut mpsc::Receiver<Call>,
    ) -> Result<(), Error> {
        let user = state == JobState::Failed && self.coordinator.is_user_error();
        let outcome = Outcome { job: self.job_status(), stages: self.coordinator.stage_status(), user };
        write_private(&workdir.outcome_file(), &outcome).map_err(Error::Workdir)?;
        self.commands.clear();
        self.answer_watchers();
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
