//! Time, random numbers, threads and background work of a simulated worker.
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use millstream_api::id::{Generation, TaskId};
use millstream_runtime::clock::Clock;
use millstream_runtime::exchange::Wake;
use millstream_runtime::random::Random;
use millstream_runtime::worker::task::{Step, Task};
use millstream_runtime::worker::{Background, Event, Failed, Host, TaskEvent};

use super::rng::Rng;

/// 2026-01-01, in ms since 1970.
const START_MS: i64 = 1_767_225_600_000;

pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Time that passes when the scheduler says so.
#[derive(Default)]
pub struct VirtualClock(AtomicU64);

impl VirtualClock {
    pub fn advance(&self, us: u64) {
        self.0.fetch_add(us, SeqCst);
    }

    pub fn advance_to(&self, us: u64) {
        self.0.fetch_max(us, SeqCst);
    }
}

impl Clock for VirtualClock {
    fn now_ms(&self) -> i64 {
        START_MS + (self.now_us() / 1000) as i64
    }

    fn now_us(&self) -> u64 {
        self.0.load(SeqCst)
    }
}

/// Random numbers of a seed.
pub struct Dice(pub Mutex<Rng>);

impl Random for Dice {
    fn fill(&self, bytes: &mut [u8]) {
        for part in bytes.chunks_mut(8) {
            let number = lock(&self.0).next().to_le_bytes();
            part.copy_from_slice(&number[..part.len()]);
        }
    }
}

/// Wakes a task.
#[derive(Default)]
pub struct Alarm(AtomicBool);

impl Wake for Alarm {
    fn wake(&self) {
        self.0.store(true, SeqCst);
    }
}

/// A task that has been started.
pub struct Seat {
    pub generation: Generation,
    pub task: Task,
    alarm: Arc<Alarm>,
    /// What it waits for, if it does: a wake, or this time.
    wait: Option<Option<u64>>,
}

impl Seat {
    pub fn is_runnable(&self, now_us: u64) -> bool {
        self.wait.is_none_or(|until| self.alarm.0.load(SeqCst) || until.is_some_and(|until| until <= now_us))
    }

    /// When time alone lets it go on.
    pub fn due_us(&self) -> Option<u64> {
        self.wait.flatten()
    }

    pub fn step(&mut self) -> Result<Step, Failed> {
        if self.wait.take().is_some() {
            self.alarm.0.store(false, SeqCst);
        }
        let step = self.task.step()?;
        if let Step::Wait { until_us } = step {
            self.wait = Some(until_us);
        }
        Ok(step)
    }
}

/// The tasks of a worker.
#[derive(Default)]
pub struct Tasks {
    alarms: BTreeMap<TaskId, Arc<Alarm>>,
    pub running: Vec<Seat>,
}

/// Keeps tasks for the scheduler to step.
pub struct SimHost {
    pub tasks: Arc<Mutex<Tasks>>,
    pub events: Sender<Event>,
}

/// What the thread of a task that failed would say.
pub fn report_failure(events: &Sender<Event>, generation: Generation, task: TaskId, Failed(failure): Failed) {
    // A worker that no longer listens is going down.
    let _ = events.send(Event::Task(generation, TaskEvent::Failed { task, failure }));
}

impl Host for SimHost {
    fn wake(&mut self, task: TaskId) -> Arc<dyn Wake> {
        let alarm = Arc::new(Alarm::default());
        lock(&self.tasks).alarms.insert(task, Arc::clone(&alarm));
        alarm
    }

    fn start(&mut self, generation: Generation, task: Task) {
        let mut tasks = lock(&self.tasks);
        let alarm = tasks.alarms.remove(&task.id()).unwrap_or_default();
        tasks.running.push(Seat { generation, task, alarm, wait: None });
    }

    fn join(&mut self) {
        let running = std::mem::take(&mut lock(&self.tasks).running);
        for mut seat in running {
            loop {
                match seat.task.step() {
                    Ok(Step::Stopped) => break,
                    Ok(_) => {}
                    Err(failed) => {
                        report_failure(&self.events, seat.generation, seat.task.id(), failed);
                        break;
                    }
                }
            }
        }
    }
}

type Job = Box<dyn FnOnce() + Send>;

/// Background work that waits for the scheduler.
#[derive(Default)]
pub struct Jobs(pub Mutex<VecDeque<Job>>);

impl Background for Jobs {
    fn run(&self, job: Job) {
        lock(&self.0).push_back(job);
    }
}
