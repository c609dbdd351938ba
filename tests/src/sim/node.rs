//! The process of a worker: its logic and what its shell would hold.
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};

use millstream_runtime::checkpoint::store::MemoryCheckpoints;
use millstream_runtime::clock::Clock;
use millstream_runtime::state::Backend;
use millstream_runtime::state::disk::{Disk, MemoryDisk};
use millstream_runtime::state::memory::MemoryBackend;
use millstream_runtime::worker::{Doors, Event, Worker};

use super::control::ConnId;
use super::doors::{Dice, Jobs, SimHost, Tasks, VirtualClock};
use super::lagging::Lagging;
use super::net::{Net, SimHubs};
use super::rng::Rng;

/// A place where the process of a worker runs, or will run again.
pub struct Place {
    pub name: String,
    pub disk: Arc<MemoryDisk>,
    pub node: Option<Node>,
    /// When the platform starts the process again.
    pub start_at_us: u64,
}

/// A worker that lives.
pub struct Node {
    pub incarnation: u64,
    pub worker: Worker,
    events: Receiver<Event>,
    pub sender: std::sync::mpsc::Sender<Event>,
    /// Events in the worker's queue.
    pub inbox: VecDeque<Event>,
    pub tasks: Arc<Mutex<Tasks>>,
    pub jobs: Arc<Jobs>,
    pub control: Option<ConnId>,
    /// When it looks for the coordinator (again).
    pub dial_at_us: u64,
    pub alone_since_us: u64,
    pub measure_at_us: u64,
    /// It drains, and is gone by then.
    pub leave_at_us: Option<u64>,
}

/// What every worker shares.
pub struct Ground {
    pub clock: Arc<VirtualClock>,
    pub store: MemoryCheckpoints,
    pub net: Arc<Net>,
}

impl Node {
    /// A new incarnation at a place.
    pub fn start(name: &str, disk: &Arc<MemoryDisk>, ground: &Ground, seed: u64) -> Self {
        let (sender, events) = channel();
        let (tasks, jobs) = (Arc::<Mutex<Tasks>>::default(), Arc::<Jobs>::default());
        let mut rng = Rng::new(seed);
        let incarnation = rng.next();
        let folder = PathBuf::from("/worker");
        // State of an earlier start of this worker is of no use; its cuts are.
        drop(disk.remove_folder(&folder.join("state"))); // A disk in memory does not fail.
        let backend_disk = Arc::clone(disk) as Arc<dyn Disk>;
        let slow = rng.next();
        let store = ground.store.clone();
        let hubs = SimHubs { net: Arc::clone(&ground.net), own: name.to_owned(), incarnation, events: sender.clone() };
        let doors = Doors {
            clock: Arc::clone(&ground.clock) as Arc<dyn Clock>,
            random: Arc::new(Dice(Mutex::new(rng))),
            disk: Arc::clone(disk) as Arc<dyn Disk>,
            store: Arc::new(store),
            other_store: Box::new(|root| Err(format!("there is no other store ({root})"))),
            backend: Box::new(move |_| {
                let inner = MemoryBackend::new(Arc::clone(&backend_disk));
                Ok(Arc::new(Lagging { inner, rng: Mutex::new(Rng::new(slow)) }) as Arc<dyn Backend>)
            }),
            hubs: Box::new(hubs),
            host: Box::new(SimHost { tasks: Arc::clone(&tasks), events: sender.clone() }),
            background: Arc::clone(&jobs) as Arc<dyn millstream_runtime::worker::Background>,
            folder,
            events: sender.clone(),
        };
        let now_us = ground.clock.now_us();
        Self {
            incarnation,
            worker: Worker::new(name.to_owned(), doors),
            events,
            sender,
            inbox: VecDeque::new(),
            tasks,
            jobs,
            control: None,
            dial_at_us: now_us,
            alone_since_us: now_us,
            measure_at_us: now_us,
            leave_at_us: None,
        }
    }

    /// Moves what tasks and jobs have said into the queue.
    pub fn collect(&mut self) {
        self.inbox.extend(self.events.try_iter());
    }
}
