//! The coordinator's process: its state machine and what its shell would hold, control connections included.
use std::collections::{BTreeMap, VecDeque};

use millstream_api::error::chain;
use millstream_api::id::{Epoch, Term};
use millstream_api::wire::{Batching, JobState, RescaleRequest, RescaleStrategy};
use millstream_runtime::checkpoint;
use millstream_runtime::checkpoint::garbage;
use millstream_runtime::checkpoint::history::{self, StartFrom};
use millstream_runtime::checkpoint::manifest::Manifest;
use millstream_runtime::checkpoint::paths::ManifestId;
use millstream_runtime::clock::Clock;
use millstream_runtime::coordinator::protocol::{Action, Config, Coordinator, Event, Reply, Request};
use millstream_runtime::message::{Command, Register, Report, RestoreFrom, StageDeployment};

use super::control::{Conn, ConnId, show_command, show_report};
use super::world::{Move, World};
use super::{Faults, Plant, owners};

mod down;
mod end;
mod past;
mod seen;

const PREFIX: &str = "simulated";
const TICK_US: u64 = 1_000;

enum StoreCall {
    Commit(Box<Manifest>),
    Collect(ManifestId),
}

/// A coordinator that lives.
struct Chair {
    coordinator: Coordinator,
    term: Term,
    /// Newest connection by worker.
    ways: BTreeMap<String, ConnId>,
    stored: VecDeque<Event>,
    tick_at_us: u64,
}

/// The place of the coordinator, and the connections to it.
#[derive(Default)]
pub struct Seats {
    chair: Option<Chair>,
    start_at_us: u64,
    conns: BTreeMap<ConnId, Conn>,
    next_conn: ConnId,
    /// Calls to the store under way. They may outlive the coordinator that began them.
    calls: Vec<StoreCall>,
    next_request: u64,
    rescaled_by_script: usize,
    /// Positions of the splits in earlier manifests, by epoch.
    positions: BTreeMap<Epoch, Vec<StageDeployment>>,
    pub accepted_rescales: u32,
    newest_rescale: past::Newest,
    pub ended: Option<JobState>,
    pub error: String,
}

impl Seats {
    /// A worker connects and introduces itself; none if nobody answers.
    pub fn open(&mut self, place: usize, register: Register) -> Option<ConnId> {
        self.chair.as_ref()?;
        let id = self.next_conn;
        self.next_conn += 1;
        let incarnation = register.incarnation;
        let up = VecDeque::from([Report::Register(register)]);
        let conn = Conn { place, incarnation, down: VecDeque::new(), up, worker_open: true, coordinator_open: true };
        self.conns.insert(id, conn);
        Some(id)
    }

    /// A worker says something, if it has someone to say it to.
    pub fn say(&mut self, conn: Option<ConnId>, report: Report) {
        let conn = conn.and_then(|id| self.conns.get_mut(&id)).filter(|conn| conn.worker_open);
        conn.into_iter().for_each(|conn| conn.up.push_back(report.clone()));
    }

    /// The worker's end of a connection is gone; `kept` of 4 parts of what it had sent may still arrive.
    pub fn hang_up(&mut self, conn: Option<ConnId>, kept: usize) {
        if let Some(conn) = conn.and_then(|id| self.conns.get_mut(&id)) {
            conn.worker_open = false;
            conn.up.truncate(conn.up.len() * kept / 4);
        }
    }

    /// Whether no other connection of this worker has replaced this one.
    fn is_current(&self, worker: &str, id: ConnId) -> bool {
        self.chair.as_ref().is_some_and(|chair| chair.ways.get(worker) == Some(&id))
    }

    fn has_chair(&self, term: Term) -> bool {
        self.chair.as_ref().is_some_and(|chair| chair.term == term)
    }
}

impl World {
    pub fn moves_of_control(&mut self, moves: &mut Vec<Move>, due_us: &mut u64) {
        let now_us = self.now_us();
        let seats = &mut self.seats;
        seats.conns.retain(|_, conn| conn.worker_open || conn.coordinator_open);
        for (id, conn) in &seats.conns {
            if conn.worker_open && !conn.down.is_empty() {
                moves.push(Move::Down(*id));
            } else if conn.worker_open && !conn.coordinator_open {
                moves.push(Move::HungUp(*id));
            }
            if conn.coordinator_open && !conn.up.is_empty() {
                moves.push(Move::Up(*id));
            } else if conn.coordinator_open && !conn.worker_open {
                moves.push(Move::Lost(*id));
            }
        }
        if !seats.calls.is_empty() {
            moves.push(Move::Store);
        }
        let (at_us, next) = match &seats.chair {
            None => (seats.start_at_us, Move::StartCoordinator),
            Some(chair) => (chair.tick_at_us, Move::Tick),
        };
        if seats.chair.as_ref().is_some_and(|chair| !chair.stored.is_empty()) {
            moves.push(Move::Stored);
        }
        if at_us <= now_us { moves.push(next) } else { *due_us = (*due_us).min(at_us) }
    }

    pub fn hung_up(&mut self, id: ConnId) {
        let Some(conn) = self.seats.conns.get_mut(&id) else { return };
        conn.worker_open = false;
        let place = conn.place;
        self.alone(place);
        self.note(format!("w{place} finds its coordinator gone"));
    }

    pub fn up(&mut self, id: ConnId) -> Result<(), String> {
        let Some(conn) = self.seats.conns.get_mut(&id) else { return Ok(()) };
        let (place, incarnation) = (conn.place, conn.incarnation);
        let Some(report) = conn.up.pop_front() else { return Ok(()) };
        self.note(format!("coordinator hears w{place}: {}", show_report(&report)));
        let worker = format!("w{place}");
        let event = match report {
            Report::Register(register) => {
                if let Some(chair) = &mut self.seats.chair {
                    chair.ways.insert(worker, id);
                }
                Event::Registered(register)
            }
            _ if !self.seats.is_current(&worker, id) => return Ok(()),
            report => Event::Said { worker, incarnation, report },
        };
        self.tell(event)
    }

    pub fn lost(&mut self, id: ConnId) -> Result<(), String> {
        let Some(conn) = self.seats.conns.get_mut(&id) else { return Ok(()) };
        conn.coordinator_open = false;
        let (worker, incarnation) = (format!("w{}", conn.place), conn.incarnation);
        self.note(format!("coordinator lost {worker}"));
        if !self.seats.is_current(&worker, id) {
            return Ok(());
        }
        if let Some(chair) = &mut self.seats.chair {
            chair.ways.remove(&worker);
        }
        self.tell(Event::Lost { worker, incarnation })
    }

    pub fn start_coordinator(&mut self) {
        let (now_us, now_ms) = (self.now_us(), self.ground.clock.now_ms());
        let claimed = history::claim_term(&self.ground.store, PREFIX, StartFrom::Newest, "simulation", now_ms);
        let claimed = match claimed {
            Ok(claimed) => claimed,
            Err(error) => {
                self.note(format!("coordinator cannot start: {}", chain(&error)));
                self.seats.start_at_us = now_us + 5 * TICK_US;
                return;
            }
        };
        let from = claimed.start.map(|manifest| {
            let from = RestoreFrom { root: None, prefix: PREFIX.into(), id: manifest.id() };
            (manifest, from)
        });
        let shown = from.as_ref().map(|(_, from)| from.id.to_string());
        self.note(format!("coordinator starts with term {} from {shown:?}", claimed.term));
        let config = Config {
            started_from: None,
            job: self.job.clone(),
            stages: self.shape.stages.clone(),
            fingerprint: self.shape.fingerprint,
            sql_hash: self.shape.sql_hash.clone(),
            prefix: PREFIX.into(),
            states: self.shape.states.clone(),
            job_id: self.seed,
            started_at_ms: from.as_ref().map_or(now_ms, |(manifest, _)| manifest.started_at_ms),
            term: claimed.term,
            noted: None,
            past: self.quietly(|store| checkpoint::past::noted(store, PREFIX)).unwrap_or_default(),
            pid: 0,
            patience: None,
        };
        let noted = self.quietly(|store| history::newest_generation(store, PREFIX));
        let config = Config { noted: noted.unwrap_or_default(), ..config };
        let came_back = from.is_some();
        self.seats.newest_rescale.ask_again();
        self.seats.chair = Some(Chair {
            coordinator: Coordinator::new(config, from, came_back),
            term: claimed.term,
            ways: BTreeMap::new(),
            stored: VecDeque::new(),
            tick_at_us: now_us,
        });
    }

    pub fn tick(&mut self) -> Result<(), String> {
        let now_us = self.now_us();
        if let Some(chair) = &mut self.seats.chair {
            chair.tick_at_us = now_us + TICK_US;
        }
        if let Some((epochs, parallelism)) = self.options.rescales.get(self.seats.rescaled_by_script).copied()
            && self.books.epochs >= epochs
        {
            let accepted = self.seats.accepted_rescales;
            let strategy = self.options.strategy;
            let request = self.rescale_of_all((strategy, Batching::Auto), || parallelism);
            self.ask(Request::Rescale(request))?;
            self.seats.rescaled_by_script += usize::from(self.seats.accepted_rescales > accepted);
        }
        self.tell(Event::Tick)
    }

    /// A rescale of all stages.
    pub fn rescale_of_all(
        &self,
        (strategy, batch): (RescaleStrategy, Batching),
        mut to: impl FnMut() -> u32,
    ) -> RescaleRequest {
        let mut stages = BTreeMap::new();
        for stage in &self.shape.stages {
            let most = stage.splits.as_ref().map_or(u32::MAX, |splits| splits.len() as u32);
            stages.insert(stage.name.clone(), to().min(most));
        }
        RescaleRequest { stages, strategy, batch, ..RescaleRequest::default() }
    }

    pub fn ask(&mut self, request: Request) -> Result<(), String> {
        self.seats.next_request += 1;
        let id = self.seats.next_request;
        self.note(format!("asked: {request:?}"));
        self.tell(Event::Asked { id, request })
    }

    pub fn stored(&mut self) -> Result<(), String> {
        let event = self.seats.chair.as_mut().and_then(|chair| chair.stored.pop_front());
        match event {
            Some(event) => {
                self.note("coordinator hears its store".into());
                self.tell(event)
            }
            None => Ok(()),
        }
    }

    /// A fact for the state machine; does what it says.
    fn tell(&mut self, event: Event) -> Result<(), String> {
        let now_ms = self.ground.clock.now_ms();
        let Some(chair) = &mut self.seats.chair else { return Ok(()) };
        let actions = chair.coordinator.on(now_ms, event);
        for action in actions {
            self.act(action)?;
        }
        self.note_rescales()
    }

    fn act(&mut self, action: Action) -> Result<(), String> {
        match action {
            Action::Note(generation) => {
                let noted = self.quietly(|store| history::note_generation(store, PREFIX, generation));
                noted.map_err(|error| format!("a generation cannot be noted: {}", chain(&error)))?;
            }
            Action::Send { worker, command } => {
                self.note(format!("coordinator to {worker}: {}", show_command(&command)));
                self.send(&worker, command);
            }
            Action::Store(manifest) => {
                let mut manifest = *manifest;
                owners::complete(&manifest, &self.shape.stages)?;
                match self.options.plant {
                    Some(Plant::CommitBeforeStored) => self.commit_early(&manifest),
                    Some(Plant::DropCut) => {
                        // Of a keyed stage: the state of its groups is lost.
                        let at = manifest.stages.len().min(2) - 1;
                        drop(manifest.stages[at].tasks.pop());
                    }
                    _ => {}
                }
                self.seats.calls.push(StoreCall::Commit(Box::new(manifest)));
            }
            Action::Answer { reply, .. } => {
                self.seats.accepted_rescales += u32::from(matches!(*reply, Reply::Rescale(_)));
                if let Reply::Refused(status, body) = &*reply {
                    self.note(format!("refused with {status}: {}", body.error));
                }
            }
            Action::Tell(text) => {
                self.books.adoptions += u64::from(text.contains("go on under term"));
                self.books.resumptions += u64::from(text.contains("it goes on until it can end"));
                let only_coordinators =
                    Faults { kill_coordinator: 0, rescale: 0, spread: 0, cancel: 0, savepoint: 0, ..self.plan.done }
                        .total()
                        == 0;
                // Of tasks that were being placed some had not begun.
                if only_coordinators && self.plan.killed_deploying == 0 && text.contains("are not taken over") {
                    return Err(format!("only coordinators have died, and {text}"));
                }
                self.books.leaves += u64::from(text.contains("a checkpoint is taken, then"));
                let text = text.replace(&self.output.path().display().to_string(), "OUT");
                self.note(text);
            }
            Action::Exit(state) => {
                self.add_up();
                self.seats.ended = Some(state);
            }
        }
        Ok(())
    }

    fn send(&mut self, worker: &str, command: Command) {
        let Some(chair) = &self.seats.chair else { return };
        let Some(id) = chair.ways.get(worker) else { return };
        if let Some(conn) = self.seats.conns.get_mut(id) {
            conn.down.push_back(command);
        }
    }

    fn commit_early(&mut self, manifest: &Manifest) {
        let (generation, epoch) = (manifest.generation, manifest.epoch);
        for place in 0..self.places.len() {
            self.send(&format!("w{place}"), Command::Commit { generation, epoch });
        }
    }

    /// Does one of the calls to the store that are under way.
    pub fn store_call(&mut self) {
        let at = self.rng.below(self.seats.calls.len());
        match self.seats.calls.swap_remove(at) {
            StoreCall::Collect(id) => {
                let collected = garbage::collect(&self.ground.store, PREFIX, id, self.job.checkpoint_keep, &[]);
                self.note(format!("collected after {id}: {}", collected.is_ok()));
            }
            StoreCall::Commit(manifest) => {
                let (id, epoch) = (manifest.id(), manifest.epoch);
                let committed = history::commit(&self.ground.store, PREFIX, &manifest);
                let is_there = self.quietly(|store| history::load(store, PREFIX, id)).is_ok();
                self.note(format!("stored {id}: {} (is there: {is_there})", committed.is_ok()));
                if is_there {
                    self.output.promise(&manifest);
                }
                if committed.is_ok() {
                    self.books.epochs += 1;
                    self.remember(&manifest);
                    self.seats.calls.push(StoreCall::Collect(id));
                }
                if committed.as_ref().is_err_and(|error| error.is_transient()) && self.seats.has_chair(manifest.term) {
                    self.seats.calls.push(StoreCall::Commit(manifest)); // Tried until it is known whether it counts.
                    return;
                }
                let result = committed.map_err(|error| chain(&error));
                if self.seats.has_chair(manifest.term)
                    && let Some(chair) = &mut self.seats.chair
                {
                    chair.stored.push_back(Event::Stored { epoch, result });
                }
            }
        }
    }

    fn remember(&mut self, manifest: &Manifest) {
        let stage = |stage: &millstream_runtime::checkpoint::manifest::StageManifest| StageDeployment {
            name: stage.name.clone(),
            tasks: Vec::new(),
            table: stage.table.clone(),
            splits: stage
                .tasks
                .iter()
                .flat_map(|task| task.splits.iter().map(|split| (task.task, split.clone())))
                .collect(),
        };
        self.books.state_bytes = manifest.state_bytes();
        self.seats.positions.insert(manifest.epoch, manifest.stages.iter().map(stage).collect());
    }
}
