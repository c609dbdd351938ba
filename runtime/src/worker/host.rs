//! Tasks on threads of their own.
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use millstream_api::id::{Generation, TaskId};

use super::task::{Step, Task};
use super::{Event, Host, TaskEvent};
use crate::clock::Clock;
use crate::exchange::Wake;
use crate::message::Failure;

/// A sleeping place: a wake that comes before the wait is not lost.
#[derive(Default)]
pub struct Bed {
    woken: Mutex<bool>,
    signal: Condvar,
}

impl Bed {
    /// Waits until woken or until the time is over.
    fn sleep(&self, time: Option<Duration>) {
        let woken = self.woken.lock().unwrap_or_else(PoisonError::into_inner);
        let mut woken = match time {
            None => self.signal.wait_while(woken, |woken| !*woken).unwrap_or_else(PoisonError::into_inner),
            Some(time) => {
                let waited = self.signal.wait_timeout_while(woken, time, |woken| !*woken);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        };
        *woken = false;
    }
}

impl Wake for Bed {
    fn wake(&self) {
        let mut woken = self.woken.lock().unwrap_or_else(PoisonError::into_inner);
        if !*woken {
            *woken = true;
            self.signal.notify_one();
        }
    }
}

/// See the module.
pub struct Threads {
    clock: Arc<dyn Clock>,
    events: Sender<Event>,
    running: Vec<JoinHandle<()>>,
    beds: HashMap<TaskId, Arc<Bed>>,
}

impl Threads {
    /// No thread yet. Events go to `events`.
    pub fn new(clock: Arc<dyn Clock>, events: Sender<Event>) -> Self {
        Self { clock, events, running: Vec::new(), beds: HashMap::new() }
    }
}

impl Host for Threads {
    fn wake(&mut self, task: TaskId) -> Arc<dyn Wake> {
        let bed = Arc::new(Bed::default());
        self.beds.insert(task, Arc::clone(&bed));
        bed
    }

    fn start(&mut self, generation: Generation, task: Task) {
        let id = task.id();
        let bed = self.beds.remove(&id).unwrap_or_default();
        let (clock, events) = (Arc::clone(&self.clock), self.events.clone());
        let failed = events.clone();
        let run = move || {
            let outcome = catch_unwind(AssertUnwindSafe(|| drive(task, &bed, clock.as_ref())));
            let failure = match outcome {
                Ok(None) => return,
                Ok(Some(failure)) => failure,
                Err(_) => {
                    Failure { message: format!("task {id} broke an invariant; its log has the place"), user: false }
                }
            };
            let _ = events.send(Event::Task(generation, TaskEvent::Failed { task: id, failure }));
        };
        match std::thread::Builder::new().name(format!("task-{id}")).spawn(run) {
            Ok(handle) => self.running.push(handle),
            Err(error) => {
                let failure = Failure { message: format!("cannot start a thread for task {id}: {error}"), user: false };
                let _ = failed.send(Event::Task(generation, TaskEvent::Failed { task: id, failure }));
            }
        }
    }

    fn join(&mut self) {
        for handle in self.running.drain(..) {
            // Panics inside were caught and reported.
            let _ = handle.join();
        }
    }
}

fn drive(mut task: Task, bed: &Bed, clock: &dyn Clock) -> Option<Failure> {
    loop {
        match task.step() {
            Ok(Step::Worked) => {}
            Ok(Step::Stopped) => return None,
            Ok(Step::Wait { until_us }) => {
                let time = until_us.map(|until| Duration::from_micros(until.saturating_sub(clock.now_us())));
                bed.sleep(time);
            }
            Err(failed) => return Some(failed.0),
        }
    }
}
