//! What goes wrong, and when.
use std::sync::{Arc, Mutex};

use millstream_api::wire::{Batching, RescaleRequest, RescaleStrategy, SavepointRequest, StageStatus};
use millstream_runtime::checkpoint::store::{CheckpointStore, Failure, Fault, MemoryCheckpoints};
use millstream_runtime::coordinator::protocol::Request;
use millstream_runtime::message::Report;
use millstream_runtime::state::disk::MemoryDisk;

use super::Faults;
use super::doors::lock;
use super::rng::Rng;
use super::world::{World, measure};

#[derive(Debug, Clone, Copy)]
enum Kind {
    KillWorker,
    KillCoordinator,
    CutLink,
    CutControl,
    FailStore,
    Rescale,
    Spread,
    Cancel,
    Savepoint,
    Drain,
}

/// Faults to come, in order, and those that have been.
pub struct Plan {
    coming: Vec<Kind>,
    next_at_step: u64,
    pub done: Faults,
    /// Workers that drained and had not the time for it.
    pub expired: u32,
    /// Coordinators that were killed while tasks were being placed.
    pub killed_deploying: u32,
    /// Calls to the store that are to fail, and the dice that say which.
    armed: Arc<Mutex<(u32, Rng)>>,
}

impl Plan {
    /// A random order.
    pub fn new(faults: &Faults, rng: &mut Rng) -> Self {
        let counts = [
            (Kind::KillWorker, faults.kill_worker),
            (Kind::KillCoordinator, faults.kill_coordinator),
            (Kind::CutLink, faults.cut_link),
            (Kind::CutControl, faults.cut_control),
            (Kind::FailStore, faults.fail_store),
            (Kind::Rescale, faults.rescale),
            (Kind::Spread, faults.spread),
            (Kind::Cancel, faults.cancel),
            (Kind::Savepoint, faults.savepoint),
            (Kind::Drain, faults.drain),
        ];
        let mut coming: Vec<Kind> =
            counts.into_iter().flat_map(|(kind, count)| (0..count).map(move |_| kind)).collect();
        for at in (1..coming.len()).rev() {
            coming.swap(at, rng.below(at + 1));
        }
        let armed = Arc::new(Mutex::new((0, Rng::new(rng.next()))));
        Self {
            coming,
            next_at_step: rng.between(1, 300),
            done: Faults::default(),
            expired: 0,
            killed_deploying: 0,
            armed,
        }
    }

    fn hook(&self) -> Fault {
        let armed = Arc::clone(&self.armed);
        Arc::new(move |_| {
            let (left, rng) = &mut *lock(&armed);
            if *left == 0 || !rng.one_in(4) {
                return None;
            }
            *left -= 1;
            Some(if rng.one_in(2) { Failure::Before } else { Failure::After })
        })
    }
}

impl World {
    /// Lets the next fault happen if its time has come.
    pub fn inject(&mut self) -> Result<(), String> {
        if self.steps < self.plan.next_at_step {
            return Ok(());
        }
        self.plan.next_at_step = self.steps + self.rng.between(1, 300);
        let Some(kind) = self.plan.coming.pop() else { return Ok(()) };
        if !self.happen(kind)? {
            self.plan.coming.insert(0, kind); // Not now.
        }
        Ok(())
    }

    fn happen(&mut self, kind: Kind) -> Result<bool, String> {
        self.note(format!("fault: {kind:?}"));
        let (happened, count) = match kind {
            Kind::KillWorker => (self.kill_worker(), &mut self.plan.done.kill_worker),
            Kind::KillCoordinator => (self.kill_coordinator(), &mut self.plan.done.kill_coordinator),
            Kind::CutLink => (self.cut_link(), &mut self.plan.done.cut_link),
            Kind::CutControl => (self.cut_control(), &mut self.plan.done.cut_control),
            Kind::FailStore => {
                lock(&self.plan.armed).0 += 1;
                self.ground.store.set_fault(Some(self.plan.hook()));
                (true, &mut self.plan.done.fail_store)
            }
            Kind::Rescale => {
                let how = self.any_strategy();
                let to: Vec<u32> = self.shape.stages.iter().map(|_| 1 + self.rng.below(4) as u32).collect();
                let mut next = to.iter().cycle().copied();
                let request = self.rescale_of_all(how, || next.next().unwrap_or(1));
                (self.ask_twice(Request::Rescale(request))?, &mut self.plan.done.rescale)
            }
            Kind::Spread => {
                let request = self.any_owners();
                let happened = match request {
                    Some(request) => self.ask_twice(Request::Rescale(request))?,
                    None => false,
                };
                (happened, &mut self.plan.done.spread)
            }
            Kind::Cancel => (self.ask_twice(Request::CancelRescale)?, &mut self.plan.done.cancel),
            Kind::Savepoint => {
                self.ask(Request::Savepoint(SavepointRequest::default()))?;
                (true, &mut self.plan.done.savepoint)
            }
            Kind::Drain => (self.drain(), &mut self.plan.done.drain),
        };
        *count += u32::from(happened);
        Ok(happened)
    }

    /// Someone asks, and now and then once more, since the answer was lost. Says whether it was taken.
    pub fn ask_twice(&mut self, request: Request) -> Result<bool, String> {
        let accepted = self.seats.accepted_rescales;
        self.ask(request.clone())?;
        if self.rng.one_in(3) {
            self.ask(request)?;
        }
        Ok(self.seats.accepted_rescales > accepted)
    }

    /// Other owners of a stage's key groups, at the same parallelism; or none of any stage on some worker.
    fn any_owners(&mut self) -> Option<RescaleRequest> {
        let stages = self.seats.stages();
        let is_keyed = |stage: &&StageStatus| stage.inputs.iter().any(|input| input.partition == "hash");
        let keyed: Vec<&StageStatus> = stages.iter().filter(is_keyed).filter(|stage| !stage.tasks.is_empty()).collect();
        if keyed.is_empty() {
            return None;
        }
        let stage = keyed[self.rng.below(keyed.len())];
        let task = &stage.tasks[self.rng.below(stage.tasks.len())];
        let batch = self.any_strategy().1;
        let request = RescaleRequest { batch, ..RescaleRequest::default() };
        Some(match self.rng.below(3) {
            0 => {
                let owner = |_| stage.tasks[self.rng.below(stage.tasks.len())].id;
                let owners = (0..self.options.key_groups).map(owner).collect();
                RescaleRequest { tables: [(stage.name.clone(), owners)].into(), ..request }
            }
            1 => RescaleRequest { rebalance: vec![stage.name.clone()], ..request },
            _ => RescaleRequest { vacate: vec![task.worker.clone()], ..request },
        })
    }

    /// Live ways more often than not.
    fn any_strategy(&mut self) -> (RescaleStrategy, Batching) {
        use RescaleStrategy::{AllAtOnce, Incremental, Restart};
        let strategy = [Incremental, Incremental, Incremental, AllAtOnce, Restart][self.rng.below(5)];
        (strategy, [Batching::Auto, Batching::Fluid, Batching::Batched][self.rng.below(3)])
    }

    fn any_place(&mut self, wanted: impl Fn(&super::node::Node) -> bool) -> Option<usize> {
        let fit = |(index, place): (usize, &super::node::Place)| {
            place.node.as_ref().filter(|node| wanted(node)).map(|_| index)
        };
        let found: Vec<usize> = self.places.iter().enumerate().filter_map(fit).collect();
        (!found.is_empty()).then(|| found[self.rng.below(found.len())])
    }

    fn kill_worker(&mut self) -> bool {
        self.any_place(|_| true).is_some_and(|index| self.kill_at(index))
    }

    /// Kills a worker, if it lives.
    pub fn kill_at(&mut self, index: usize) -> bool {
        let Some(node) = &mut self.places[index].node else { return false };
        measure(node, &mut self.books);
        let kept = self.rng.below(5);
        self.leave(index, kept);
        if self.rng.one_in(2) {
            self.places[index].disk = Arc::new(MemoryDisk::default());
        }
        true
    }

    /// The process of a worker is gone; `kept` of 4 parts of what it had sent may still arrive. The platform will start it again.
    pub fn leave(&mut self, index: usize, kept: usize) {
        let now_us = self.now_us();
        let place = &mut self.places[index];
        place.start_at_us = now_us + self.rng.between(1, 5_000);
        let Some(node) = place.node.take() else { return };
        self.ground.net.gone(&place.name, kept);
        self.seats.hang_up(node.control, kept);
        self.note(format!("w{index} is gone"));
    }

    /// A worker is told to end: it says so, and has some time.
    fn drain(&mut self) -> bool {
        let Some(index) = self.any_place(|node| node.leave_at_us.is_none()) else { return false };
        let (least, most) = self.options.drain_ms;
        let left_ms = self.rng.between(least, most);
        let at_us = self.now_us() + 1000 * left_ms;
        let Some(node) = &mut self.places[index].node else { return false };
        node.leave_at_us = Some(at_us);
        let control = node.control;
        self.seats.say(control, Report::Draining { left_ms });
        self.note(format!("w{index} drains for {left_ms} ms"));
        true
    }

    fn cut_control(&mut self) -> bool {
        self.any_place(|node| node.control.is_some()).is_some_and(|index| self.cut_control_of(index))
    }

    /// Breaks any data connection.
    pub fn cut_link(&mut self) -> bool {
        let live = self.ground.net.live();
        if !live.is_empty() {
            self.ground.net.cut(live[self.rng.below(live.len())]);
        }
        !live.is_empty()
    }

    /// Breaks a worker's control connection, if it has one.
    pub fn cut_control_of(&mut self, index: usize) -> bool {
        let Some(control) = self.places[index].node.as_ref().and_then(|node| node.control) else { return false };
        let kept = self.rng.below(5);
        self.seats.hang_up(Some(control), kept);
        self.alone(index);
        true
    }

    /// Looks at the store without being hit by faults.
    pub fn quietly<T>(&self, look: impl FnOnce(&dyn CheckpointStore) -> T) -> T {
        let store: &MemoryCheckpoints = &self.ground.store;
        store.set_fault(None);
        let found = look(store);
        store.set_fault(Some(self.plan.hook()));
        found
    }
}
