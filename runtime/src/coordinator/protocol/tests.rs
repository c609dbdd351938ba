//! Facts in, actions out: each phase of the state machine, and what disturbs it.
use serde_json::Value;

use super::*;
use crate::checkpoint::manifest::TaskManifest;
use crate::coordinator::place;
use crate::job::Tuning;
use crate::message::live::Order;
use crate::message::{Command, CutFailure, Failure, Report};
use crate::source::Split;

mod adopted;
mod disturbed;
mod drained;
mod live;
mod measured;
mod requests;
mod resumed;

const TERM: Term = 3;

/// A coordinator with a clock; actions come as short texts.
struct Desk {
    coordinator: Coordinator,
    now_ms: i64,
}

fn job() -> JobSpec {
    JobSpec {
        name: "j".into(),
        sql: String::new(),
        parallelism: 2,
        stages: BTreeMap::new(),
        key_groups: 8,
        table_options: BTreeMap::new(),
        checkpoint_interval_ms: Some(1000),
        checkpoint_timeout_ms: 5000,
        checkpoint_keep: 2,
        restart_max_failures: 3,
        restart_window_ms: 60_000,
        answer_timeout_ms: 9_000,
        state_backend: "memory".into(),
        state_memory_bytes: 1 << 20,
        tuning: Tuning::default(),
        drop_state: Vec::new(),
    }
}

fn config() -> Config {
    let split = |id| Split { id, descriptor: Value::Null, position: Value::Null, finished: false };
    let stage =
        |name: &str, splits, inputs| StageShape { name: name.into(), ops: Vec::new(), splits, input: 0, inputs };
    Config {
        job: job(),
        stages: vec![
            stage("source-1", Some((0..4).map(split).collect()), vec![]),
            stage("window-1", None, vec![(0, 0, "hash")]),
        ],
        fingerprint: 1,
        sql_hash: String::new(),
        prefix: "j".into(),
        states: vec![vec![], vec![]],
        job_id: 9,
        started_at_ms: 0,
        started_from: None,
        term: TERM,
        noted: None,
        past: Vec::new(),
        pid: 1,
        patience: None,
    }
}

fn register(name: &str, incarnation: u64, slots: u32) -> Register {
    Register {
        name: name.into(),
        incarnation,
        pid: 1,
        data_address: String::new(),
        admin_address: String::new(),
        slots,
        draining_ms: None,
        released: false,
    }
}

/// Number of a generation within its term.
fn short(generation: Generation) -> u64 {
    generation & 0xf_ffff // Without the term.
}

fn show(action: &Action) -> Option<String> {
    Some(match action {
        Action::Send { worker, command } => match command {
            Command::Deploy(deploy) => {
                let from = deploy.restore.as_ref().map_or("nothing".into(), |from| format!("e{}", from.id.epoch));
                format!("{worker} deploy g{} from {from}", short(deploy.generation))
            }
            Command::Start { generation } => format!("{worker} start g{}", short(*generation)),
            Command::Trigger { epoch, .. } => format!("{worker} trigger e{epoch}"),
            Command::Commit { epoch, .. } => format!("{worker} commit e{epoch}"),
            Command::Abort { epoch, .. } => format!("{worker} abort e{epoch}"),
            Command::Describe => format!("{worker} describe"),
            Command::Adopt { generation, term, stored, through } => {
                let stored = stored.map_or("nothing".into(), |epoch| format!("e{epoch}"));
                format!("{worker} adopt g{} under {term}, {stored} stored, through e{through}", short(*generation))
            }
            Command::Cancel { generation } => format!("{worker} cancel g{}", short(*generation)),
            Command::Extend { .. } => format!("{worker} extend"),
            Command::Link { .. } => format!("{worker} link"),
            Command::Order { order, .. } => format!("{worker} {}", show_order(order)),
            Command::Release => format!("{worker} release"),
            Command::Finish { clean } => format!("{worker} finish{}", if *clean { " clean" } else { "" }),
        },
        Action::Store(manifest) => {
            let kind = if manifest.final_ { " final" } else { "" };
            format!("store e{}{kind}{}", manifest.epoch, if manifest.savepoint { " savepoint" } else { "" })
        }
        Action::Answer { reply, .. } => match &**reply {
            Reply::Rescale(status) => format!("answer rescale {} {}", status.id, status.state.name()),
            Reply::Savepoint(status) => format!("answer savepoint e{}", status.epoch),
            Reply::Stop => "answer stop".into(),
            Reply::Done => "answer done".into(),
            Reply::Refused(status, body) => format!("refuse {status} {}", body.error),
        },
        Action::Tell(_) | Action::Note(_) => return None,
        Action::Exit(state) => format!("exit {state:?}"),
    })
}

fn show_order(order: &Order) -> String {
    match order {
        Order::Await(order) => format!("await v{}", order.version),
        Order::Copy(order) => format!("copy v{}", order.version),
        Order::Drop { version } => format!("drop v{version}"),
        Order::Flip { table, .. } => format!("flip v{}", table.version),
        Order::Expect { tasks, .. } => format!("expect {tasks:?}"),
        Order::Give { splits, .. } => format!("give {splits:?}"),
        Order::Take { splits, .. } => format!("take {} splits", splits.len()),
        Order::Close { tasks, .. } => format!("close {tasks:?}"),
        Order::Remove { tasks, .. } => format!("remove {tasks:?}"),
        Order::Settled => "settled".into(),
    }
}

impl Desk {
    fn new() -> Self {
        Self { coordinator: Coordinator::new(config(), None, false), now_ms: 0 }
    }

    fn on(&mut self, event: Event) -> Vec<String> {
        self.coordinator.on(self.now_ms, event).iter().filter_map(show).collect()
    }

    fn say(&mut self, worker: &str, report: Report) -> Vec<String> {
        let incarnation = self.coordinator.workers.get(worker).map_or(0, |known| known.register.incarnation);
        self.on(Event::Said { worker: worker.into(), incarnation, report })
    }

    fn after(&mut self, ms: i64) -> Vec<String> {
        self.now_ms += ms;
        self.on(Event::Tick)
    }

    fn ask(&mut self, request: Request) -> Vec<String> {
        self.on(Event::Asked { id: 7, request })
    }

    fn stored(&mut self, epoch: Epoch) -> Vec<String> {
        self.on(Event::Stored { epoch, result: Ok(format!("path/{epoch}")) })
    }

    /// What every worker says, one after the other.
    fn all(&mut self, report: impl Fn(Generation) -> Report) -> Vec<String> {
        let generation = self.coordinator.generation;
        let workers: Vec<String> = place::hosts(&self.coordinator.deployment).into_iter().collect();
        workers.iter().flat_map(|worker| self.say(worker, report(generation))).collect()
    }

    fn deployed(&mut self) -> Vec<String> {
        self.all(|generation| Report::Deployed { generation })
    }

    fn cancelled(&mut self) -> Vec<String> {
        self.all(|generation| Report::Cancelled { generation })
    }

    fn committed(&mut self, epoch: Epoch) -> Vec<String> {
        self.all(|generation| Report::Committed { generation, epoch })
    }

    /// Says something for every task.
    fn tasks(&mut self, report: impl Fn(Generation, usize, TaskId) -> Report) -> Vec<String> {
        let generation = self.coordinator.generation;
        let deployment = self.coordinator.deployment.clone();
        let tasks =
            deployment.iter().enumerate().flat_map(|(index, stage)| stage.tasks.iter().map(move |task| (index, task)));
        tasks.flat_map(|(stage, placed)| self.say(&placed.worker, report(generation, stage, placed.task))).collect()
    }

    fn cut(&mut self, epoch: Epoch) -> Vec<String> {
        let deployment = self.coordinator.deployment.clone();
        self.tasks(|generation, stage, task| {
            let splits = deployment[stage].splits.iter().filter(|(reader, _)| *reader == task);
            let manifest = TaskManifest {
                task,
                worker: deployment[stage].tasks.iter().find(|placed| placed.task == task).unwrap().worker.clone(),
                groups: deployment[stage].table.groups_of(task),
                arriving: Vec::new(),
                store_incarnation: 0,
                files: Vec::new(),
                state_bytes: 1,
                operator_state: BTreeMap::new(),
                splits: splits.map(|(_, split)| split.clone()).collect(),
                committables: Vec::new(),
                ended: false,
            };
            Report::Cut { generation, epoch, stage, task: Box::new(manifest), uploaded_bytes: 5 }
        })
    }

    fn ended(&mut self) -> Vec<String> {
        self.tasks(|generation, _, task| Report::TaskEnded { generation, task })
    }

    fn lose(&mut self, worker: &str) -> Vec<String> {
        let incarnation = self.coordinator.workers[worker].register.incarnation;
        self.on(Event::Lost { worker: worker.into(), incarnation })
    }

    fn state(&self) -> JobState {
        self.coordinator.state()
    }

    /// Two workers, all tasks running.
    fn running() -> Self {
        let mut desk = Self::new();
        desk.on(Event::Registered(register("w0", 1, 1)));
        desk.on(Event::Registered(register("w1", 1, 1)));
        desk.deployed();
        assert_eq!(desk.state(), JobState::Running);
        desk
    }
}

#[test]
fn tasks_start_once_there_are_slots_and_every_worker_has_deployed() {
    let mut desk = Desk::new();
    assert_eq!(desk.on(Event::Registered(register("w0", 1, 1))), ["w0 cancel g0"]);
    assert_eq!(desk.state(), JobState::WaitingForWorkers);
    let all = ["w1 cancel g0", "w0 deploy g1 from nothing", "w1 deploy g1 from nothing"];
    assert_eq!(desk.on(Event::Registered(register("w1", 1, 1))), all);
    assert_eq!(desk.state(), JobState::Deploying);
    let generation = desk.coordinator.generation;
    assert!(desk.say("w1", Report::Deployed { generation }).is_empty());
    assert_eq!(desk.say("w0", Report::Deployed { generation }), ["w0 start g1", "w1 start g1"]);
    assert_eq!(desk.state(), JobState::Running);
}

#[test]
fn a_checkpoint_is_committed_only_once_it_is_stored() {
    let mut desk = Desk::running();
    assert!(desk.after(999).is_empty());
    assert_eq!(desk.after(1), ["w0 trigger e1", "w1 trigger e1"]);
    assert!(desk.after(1000).is_empty(), "one at a time");
    assert_eq!(desk.cut(1), ["store e1"]);
    assert!(desk.cut(1).is_empty(), "each cut counts once");
    assert_eq!(desk.stored(1), ["w0 commit e1", "w1 commit e1"]);
    assert!(desk.stored(1).is_empty());
    assert_eq!(desk.committed(1), ["w0 trigger e2", "w1 trigger e2"], "the next is due");
    assert_eq!(desk.coordinator.totals().checkpoints, 1);
    assert_eq!(desk.coordinator.totals().uploaded_bytes, 20);
}

#[test]
fn a_job_whose_tasks_have_all_ended_commits_its_last_output_and_completes() {
    let mut desk = Desk::running();
    assert_eq!(desk.ended(), ["w0 trigger e1", "w1 trigger e1"]);
    assert_eq!(desk.cut(1), ["store e1 final"]);
    assert_eq!(desk.stored(1), ["w0 commit e1", "w1 commit e1"]);
    assert_eq!(desk.committed(1), ["w0 finish clean", "w1 finish clean"]);
    assert!(desk.say("w0", Report::Finished).is_empty());
    assert_eq!(desk.say("w1", Report::Finished), ["exit Completed"]);
    assert_eq!(desk.state(), JobState::Completed);
}
