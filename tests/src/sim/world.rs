//! The scheduler: everything that could happen next, and the choice among it.
use std::sync::Arc;

use millstream_api::wire::JobState;
use millstream_runtime::checkpoint::store::MemoryCheckpoints;
use millstream_runtime::clock::Clock;
use millstream_runtime::coordinator::shape::{Shape, shape};
use millstream_runtime::job::JobSpec;
use millstream_runtime::message::{Command, Report as Said, live};
use millstream_runtime::state::disk::MemoryDisk;
use millstream_runtime::worker::Event;
use millstream_runtime::worker::task::Step;

use super::books::Books;
use super::control::{ConnId, show_command, show_report};
use super::coordinator::Seats;
use super::doors::{VirtualClock, lock, report_failure};
use super::faults::Plan;
use super::net::{Arrival, LinkId, Net};
use super::node::{Ground, Node, Place};
use super::output::Output;
use super::rng::Rng;
use super::strike::Struck;
use super::trace::Trace;
use super::{Failure, Faults, Options, Report};

/// One thing that can happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Move {
    /// A worker's process is started.
    Start(usize),
    /// A worker looks for the coordinator.
    Dial(usize),
    /// A task takes a step.
    Step(usize, usize),
    /// A worker takes in an event.
    Event(usize),
    /// A background job of a worker runs.
    Job(usize),
    /// A worker is to send its counters.
    Measure(usize),
    /// Something arrives on a data connection.
    Data(LinkId, usize, Arrival),
    /// A command arrives at a worker.
    Down(ConnId),
    /// A worker finds that its coordinator is gone.
    HungUp(ConnId),
    /// A report arrives at the coordinator.
    Up(ConnId),
    /// The coordinator finds that a worker is gone.
    Lost(ConnId),
    /// A worker that drains has no time left.
    Expire(usize),
    /// The coordinator's process is started.
    StartCoordinator,
    /// A call to the checkpoint store is done.
    Store,
    /// The coordinator learns how a call to the checkpoint store ended.
    Stored,
    /// The coordinator looks at the clock.
    Tick,
}

impl Move {
    /// Class of the steps of tasks.
    const STEP: usize = 0;
    /// Class of what arrives on data connections.
    const DATA: usize = 3;

    /// Moves of a class have the same weight in a run.
    fn class(self) -> usize {
        match self {
            Self::Step(..) => Self::STEP,
            Self::Event(_) => 1,
            Self::Job(_) => 2,
            Self::Data(..) => Self::DATA,
            Self::Down(_) | Self::HungUp(_) => 4,
            Self::Up(_) | Self::Lost(_) => 5,
            Self::Store | Self::Stored => 6,
            _ => 7,
        }
    }
}

/// Time between two reports of counters.
const MEASURE_US: u64 = 10_000;
/// After a worker was told something that shows output, this many steps are watched.
const WATCHED_STEPS: u64 = 60;

/// A simulated machine room.
pub struct World {
    pub seed: u64,
    pub options: Options,
    pub rng: Rng,
    pub job: JobSpec,
    pub shape: Shape,
    pub ground: Ground,
    pub places: Vec<Place>,
    pub seats: Seats,
    pub plan: Plan,
    pub books: Books,
    pub output: Output,
    pub trace: Trace,
    pub steps: u64,
    pub watch_until: u64,
    pub struck: Struck,
    weights: [u64; 8],
}

/// Runs a job under a seed.
pub fn simulate(seed: u64, sql: &str, options: &Options) -> Result<Report, Failure> {
    let failure = |reason: String| Failure { seed, reason, tail: Vec::new() };
    let mut world = World::new(seed, sql, options).map_err(failure)?;
    world.run().map_err(|reason| Failure { seed, reason, tail: world.trace.tail() })
}

impl World {
    fn new(seed: u64, sql: &str, options: &Options) -> Result<Self, String> {
        let output = Output::new().map_err(|error| error.to_string())?;
        let job = super::job(sql.replace("${OUT}", &output.path().display().to_string()), options);
        let shape = shape(&job)?;
        let mut rng = Rng::new(seed);
        let place = |index| Place {
            name: format!("w{index}"),
            disk: Arc::new(MemoryDisk::default()),
            node: None,
            start_at_us: 0,
        };
        let mut weights = [(); 8].map(|()| [1, 2, 4, 16][rng.below(4)]);
        if options.slow_network {
            (weights[Move::STEP], weights[Move::DATA]) = (16, 1);
        }
        let ground = Ground {
            clock: Arc::new(VirtualClock::default()),
            store: MemoryCheckpoints::default(),
            net: Net::new(options.plant),
        };
        Ok(Self {
            seed,
            options: options.clone(),
            plan: Plan::new(&options.faults, &mut rng),
            rng,
            job,
            shape,
            ground,
            places: (0..options.workers).map(place).collect(),
            seats: Seats::default(),
            books: Books::default(),
            output,
            trace: Trace::default(),
            steps: 0,
            watch_until: 0,
            struck: Struck::default(),
            weights,
        })
    }

    fn run(&mut self) -> Result<Report, String> {
        loop {
            self.steps += 1;
            if self.steps > self.options.steps_max {
                return Err(format!("the job is not over after {} steps; it is {:?}", self.steps, self.state()));
            }
            self.inject()?;
            self.strike()?;
            let next = self.choose()?;
            self.make(next)?;
            self.books.owners.check(&self.shape.stages, self.options.key_groups, &self.places)?;
            self.books.bounded(&self.places)?;
            if self.steps <= self.watch_until {
                self.output.check()?;
            }
            if let Some(state) = self.seats.ended {
                return self.conclude(state);
            }
        }
    }

    fn conclude(&mut self, state: JobState) -> Result<Report, String> {
        if state != JobState::Completed {
            return Err(format!("the job ended {state:?}: {}", self.seats.error));
        }
        self.output.check()?;
        for place in &mut self.places {
            if let Some(node) = &mut place.node {
                measure(node, &mut self.books);
            }
        }
        self.books.conserved(&self.shape.stages)?;
        // A worker that has the time to drain is no trouble.
        let troubles = Faults { rescale: 0, savepoint: 0, drain: self.plan.expired, ..self.plan.done }.total();
        if self.books.recoveries > 0 && troubles == 0 {
            return Err(format!("it went back {} times, and nothing had gone wrong", self.books.recoveries));
        }
        Ok(Report {
            lines: self.output.lines()?,
            trace: self.trace.hash(),
            tail: self.trace.tail(),
            steps: self.steps,
            faults: self.plan.done,
            expired: self.plan.expired,
            virtual_ms: self.now_us() / 1000,
            struck_for_ms: self.struck.over_after_ms(),
            ..self.books.report(&self.shape.stages)
        })
    }

    pub fn now_us(&self) -> u64 {
        self.ground.clock.now_us()
    }

    pub fn note(&mut self, line: String) {
        let line = format!("{:>6} {:>8}us {line}", self.steps, self.now_us());
        self.trace.add(line);
    }

    /// Picks what happens next; lets time pass if nothing can happen now.
    fn choose(&mut self) -> Result<Move, String> {
        self.ground.clock.advance(self.rng.between(1, 100));
        loop {
            let mut moves = Vec::new();
            let mut due_us = u64::MAX;
            for index in 0..self.places.len() {
                self.moves_of(index, &mut moves, &mut due_us);
            }
            let data = self.ground.net.arrivals();
            moves.extend(data.into_iter().map(|(id, to, arrival)| Move::Data(id, to, arrival)));
            self.moves_of_control(&mut moves, &mut due_us);
            let total: u64 = moves.iter().map(|next| self.weights[next.class()]).sum();
            if total > 0 {
                let mut at = self.rng.next() % total;
                for next in moves {
                    let weight = self.weights[next.class()];
                    if at < weight {
                        return Ok(next);
                    }
                    at -= weight;
                }
            }
            if due_us == u64::MAX {
                return Err("nothing can ever happen again".into());
            }
            self.ground.clock.advance_to(due_us);
        }
    }

    fn moves_of(&mut self, index: usize, moves: &mut Vec<Move>, due_us: &mut u64) {
        let now_us = self.now_us();
        let mut timed = |at_us: u64, next: Move, moves: &mut Vec<Move>| {
            if at_us <= now_us { moves.push(next) } else { *due_us = (*due_us).min(at_us) }
        };
        let place = &mut self.places[index];
        let Some(node) = &mut place.node else {
            timed(place.start_at_us, Move::Start(index), moves);
            return;
        };
        node.collect();
        match node.control {
            None => timed(node.dial_at_us, Move::Dial(index), moves),
            Some(_) => timed(node.measure_at_us, Move::Measure(index), moves),
        }
        if let Some(at_us) = node.leave_at_us {
            timed(at_us, Move::Expire(index), moves);
        }
        if !node.inbox.is_empty() {
            moves.push(Move::Event(index));
        }
        if !lock(&node.jobs.0).is_empty() {
            moves.push(Move::Job(index));
        }
        for (at, seat) in lock(&node.tasks).running.iter().enumerate() {
            if seat.is_runnable(now_us) {
                moves.push(Move::Step(index, at));
            } else if let Some(at_us) = seat.due_us() {
                timed(at_us, Move::Step(index, at), moves);
            }
        }
    }

    fn make(&mut self, next: Move) -> Result<(), String> {
        match next {
            Move::Start(index) => {
                let seed = self.rng.next();
                let place = &mut self.places[index];
                let node = Node::start(&place.name, &place.disk, &self.ground, seed);
                place.node = Some(node);
                self.note(format!("w{index} starts"));
            }
            Move::Dial(index) => self.dial(index),
            Move::Step(index, at) => self.step_task(index, at),
            Move::Event(index) => return self.event(index),
            Move::Job(index) => {
                let Some(node) = &self.places[index].node else { return Ok(()) };
                let job = {
                    let mut jobs = lock(&node.jobs.0);
                    let at = self.rng.below(jobs.len());
                    jobs.remove(at)
                };
                if let Some(job) = job {
                    job();
                }
                self.note(format!("w{index} job"));
            }
            Move::Measure(index) => {
                let now_us = self.now_us();
                if let Some(node) = &mut self.places[index].node {
                    node.measure_at_us = now_us + MEASURE_US;
                    node.inbox.push_back(Event::Measure);
                }
            }
            Move::Data(id, to, arrival) => return self.data(id, to, arrival),
            Move::Down(conn) => self.down(conn)?,
            Move::HungUp(conn) => self.hung_up(conn),
            Move::Up(conn) => return self.up(conn),
            Move::Lost(conn) => return self.lost(conn),
            Move::Expire(index) => {
                self.plan.expired += 1;
                self.leave(index, 4);
            }
            Move::StartCoordinator => self.start_coordinator(),
            Move::Store => self.store_call(),
            Move::Stored => return self.stored(),
            Move::Tick => return self.tick(),
        }
        Ok(())
    }

    fn step_task(&mut self, index: usize, at: usize) {
        let Some(node) = &self.places[index].node else { return };
        let mut seat = lock(&node.tasks).running.remove(at);
        let (generation, task) = (seat.generation, seat.task.id());
        let step = seat.step();
        let shown = match &step {
            Ok(step) => format!("{step:?}"),
            Err(failed) => format!("failed: {}", failed.0.message),
        };
        match step {
            Ok(Step::Stopped) => {}
            Ok(_) => lock(&node.tasks).running.insert(at, seat),
            Err(failed) => report_failure(&node.sender, generation, task, failed),
        }
        // Messages of failures may have paths in them, which differ from run to run.
        let shown = shown.replace(&self.output.path().display().to_string(), "OUT");
        self.note(format!("w{index} task {task} {shown}"));
    }

    fn event(&mut self, index: usize) -> Result<(), String> {
        let Some(node) = &mut self.places[index].node else { return Ok(()) };
        let Some(event) = node.inbox.pop_front() else { return Ok(()) };
        let mut still_owns = false;
        let mut shown = String::new();
        if let Event::Command(command) = &event {
            shown = show_command(command);
            if matches!(command, Command::Finish { .. }) && node.leave_at_us.is_some() && node.worker.hosts() {
                still_owns = true;
            }
            if matches!(command, Command::Deploy(_) | Command::Cancel { .. } | Command::Finish { .. }) {
                measure(node, &mut self.books);
            }
            if matches!(command, Command::Deploy(_) | Command::Commit { .. } | Command::Cancel { .. }) {
                self.watch_until = self.steps + WATCHED_STEPS;
            }
        }
        let reports = node.worker.on(event);
        let (finished, control) = (node.worker.is_finished(), node.control);
        for report in reports {
            if let Said::Metrics { generation, tasks } = &report {
                self.books.measured(*generation, tasks);
            }
            if let Said::Moved { step: live::Step::HandedOver { bytes }, .. } = &report {
                self.books.moved_state |= *bytes > 100; // More than that there is nothing more to come.
            }
            if let Said::DeployFailed { failure, .. } | Said::TaskFailed { failure, .. } = &report {
                let shown = failure.message.replace(&self.output.path().display().to_string(), "OUT");
                self.note(format!("w{index} failure: {shown}"));
            }
            shown.push_str(" -> ");
            shown.push_str(&show_report(&report));
            self.seats.say(control, report);
        }
        self.note(format!("w{index} event {shown}"));
        if still_owns && self.state().is_some_and(|state| !state.is_final()) {
            return Err(format!("w{index} was told to go and has tasks"));
        }
        if finished {
            self.leave(index, 4);
        }
        self.books.running(&self.places)
    }
}

/// Writes down what the tasks of a worker have counted.
pub fn measure(node: &mut Node, books: &mut Books) {
    for report in node.worker.on(Event::Measure) {
        if let Said::Metrics { generation, tasks } = report {
            books.measured(generation, &tasks);
        }
    }
}
