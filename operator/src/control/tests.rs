use millstream_api::job::parse_yaml;
use millstream_api::wire::{
    CheckpointStatus, EdgeStatus, Expect, JobState, JobStatus, ProcessStatus, RescaleRequest, RescaleState,
    RescaleStatus, RescaleStrategy, StageStatus, TaskCounters, TaskStatus, WorkerStatus,
};

use super::*;
use crate::autoscale::Reason;
use crate::platform::Observed;

const JOB: &str = "
apiVersion: millstream.dev/v1alpha1
kind: StreamJob
metadata: {name: elastic}
spec:
  sql: {inline: INSERT}
  settings:
    - {name: autoscaler.interval, value: 2s}
    - {name: autoscaler.window, value: 4s}
    - {name: autoscaler.warm-up, value: 1s}
    - {name: autoscaler.activation, value: '1'}
    - {name: autoscaler.scale-down-delay, value: 10s}
  autoscaling: {mode: MODE, maxParallelism: 8}
  stages: [{name: source, maxParallelism: 1}, {name: sink, maxParallelism: 1}]
";

mod asked;
mod crew;

/// A job with one bottleneck stage of 25,000 rows a second and task, on a platform that does what it is told.
struct World {
    now_ms: i64,
    observed: Observed,
    offered: f64,
    lag: f64,
    counters: [TaskCounters; 3],
    plan: Plan,
    memory: Memory,
    rescales: u64,
    /// Whether the first task of the bottleneck has most of the load.
    skewed: bool,
}

impl World {
    fn new(mode: &str) -> Self {
        let job = parse_yaml(&JOB.replace("MODE", mode)).unwrap();
        let plan = Plan::of(&job, &job.validate().unwrap());
        let job = JobStatus {
            name: "elastic".into(),
            state: JobState::Running,
            error: None,
            blocked: None,
            generation: 1,
            term: 1,
            recoveries: 0,
            coordinator: ProcessStatus { pid: 1 },
            workers: Vec::new(),
            checkpoint: None,
            started_from: None,
            checkpoints_kept: None,
            restored_epoch: None,
            late_rows: 0,
            bad_records: 0,
        };
        let observed = Observed { job: Some(job), workers_desired: 1, ..Observed::default() };
        let counters = Default::default();
        let mut world = Self {
            now_ms: 0,
            observed,
            offered: 15_000.0,
            lag: 0.0,
            counters,
            plan,
            memory: Memory::new(),
            rescales: 0,
            skewed: false,
        };
        world.deploy(1);
        world
    }

    fn job(&mut self) -> &mut JobStatus {
        self.observed.job.as_mut().unwrap()
    }

    fn deploy(&mut self, tasks: u32) {
        self.counters = Default::default();
        self.place(tasks);
        self.refresh(tasks);
    }

    /// One task of the bottleneck per worker, on the lowest-numbered ones.
    fn place(&mut self, tasks: u32) {
        let workers = self.observed.workers_desired;
        self.job().workers = (0..workers)
            .map(|n| WorkerStatus {
                id: format!("w{n}"),
                pid: n + 10,
                incarnation: 1,
                tasks: if n < tasks { vec![n] } else { Vec::new() },
                ..WorkerStatus::default()
            })
            .collect();
    }

    fn tasks(&self) -> u32 {
        self.observed.stages[1].parallelism
    }

    fn refresh(&mut self, tasks: u32) {
        let stage = |at: usize, name: &str, count: u32, from: Option<&str>| {
            let total = self.counters[at].clone();
            let task = |id: u32| TaskStatus {
                id,
                worker: format!("w{id}"),
                counters: TaskCounters {
                    records_in: total.records_in / u64::from(count),
                    busy_us: if self.skewed && at == 1 && id > 0 { total.busy_us / 8 } else { total.busy_us },
                    ..total.clone()
                },
                watermark_ms: None,
                lag_records: (at == 0).then_some(self.lag as u64),
                offered_per_s: (at == 0).then_some(self.offered),
                key_groups: 0,
                state_bytes: 0,
                store_reads: 0,
                store_writes: 0,
                starved_us: 0,
            };
            let edge = |from: &str| EdgeStatus {
                from: from.into(),
                partition: if at == 1 { "hash" } else { "forward" }.into(),
                records: total.records_in,
                bytes: 0,
            };
            StageStatus {
                name: name.into(),
                ops: Vec::new(),
                source: from.is_none(),
                splits: from.is_none().then_some(16),
                parallelism: count,
                table_version: 0,
                inputs: from.into_iter().map(edge).collect(),
                tasks: (0..count).map(task).collect(),
                groups: Vec::new(),
            }
        };
        self.observed.stages = vec![
            stage(0, "source", 1, None),
            stage(1, "work", tasks, Some("source")),
            stage(2, "sink", 1, Some("work")),
        ];
    }

    /// One second and one turn; what is told is done.
    fn turn(&mut self) -> Vec<Action> {
        self.now_ms += 1000;
        let tasks = self.tasks();
        let capacity = 25_000.0 * f64::from(tasks);
        self.lag += self.offered;
        let taken = self.lag.min(capacity);
        self.lag -= taken;
        for (counters, busy) in self.counters.iter_mut().zip([0.1, taken / capacity, 0.05]) {
            counters.elapsed_us += 1_000_000;
            counters.busy_us += (busy * 1e6) as u64;
            counters.idle_us += ((1.0 - busy) * 1e6) as u64;
            counters.records_in += taken as u64;
        }
        self.refresh(tasks);
        let actions = step(&self.observed, &self.plan, &mut self.memory, self.now_ms);
        for action in &actions {
            match action {
                Action::EnsureWorkers(count) => {
                    self.observed.workers_desired = *count;
                    let kept = self.job().workers.clone();
                    self.place(tasks);
                    for (worker, before) in self.job().workers.iter_mut().zip(kept) {
                        *worker = before;
                    }
                }
                Action::Rescale(request) => self.rescale(request),
                Action::Report(_) => {}
            }
        }
        actions
    }

    fn rescale(&mut self, request: &RescaleRequest) {
        let Some(to) = request.stages.get("work").copied() else { return };
        let expected = (Some(Expect::at(self.job().generation)), RescaleStrategy::Incremental);
        assert_eq!((request.expect.clone(), request.strategy), expected);
        assert!(self.job().workers.len() >= to as usize, "workers come first");
        self.job().generation += 1;
        self.rescales += 1;
        let status = RescaleStatus {
            id: self.rescales,
            from: [("work".into(), self.tasks())].into(),
            to: [("work".into(), to)].into(),
            state: RescaleState::Done,
            requested_at_ms: self.now_ms,
            duration_ms: Some(900),
            pause_ms_max: Some(700),
            groups_moved: 1,
            groups_moved_min: 1,
            ..RescaleStatus::default()
        };
        self.observed.rescales.insert(0, status);
        self.deploy(to);
    }

    fn turns(&mut self, count: u32) -> Vec<Action> {
        (0..count).flat_map(|_| self.turn()).collect()
    }
}

fn kinds(actions: &[Action]) -> Vec<String> {
    let name = |action: &Action| match action {
        Action::EnsureWorkers(count) => format!("workers {count}"),
        Action::Rescale(request) if request.stages.is_empty() => format!("empty {}", request.vacate.join(", ")),
        Action::Rescale(request) => format!("rescale {}", request.stages["work"]),
        Action::Report(report) => match &report.event {
            Event::Decision(decision) => format!("decision {} -> {}", decision.from, decision.to),
            Event::Rescaling(rescale) => format!("rescaling, {} batches done", rescale.batches_done),
            Event::Rescale(rescale) => format!("rescaled {}", rescale.to["work"]),
            Event::Checkpoint(checkpoint) => format!("checkpoint {}", checkpoint.epoch),
            Event::Sample(_) => String::new(),
            Event::End(_) => "end".into(),
        },
    };
    actions.iter().map(name).filter(|name| !name.is_empty()).collect()
}

#[test]
fn a_rescale_under_way_is_reported_when_it_has_come_further() {
    let mut world = World::new("Auto");
    world.turns(5);
    let mut at = |batches_done, state| {
        let (id, to) = (9, [("work".to_owned(), 1)].into());
        world.observed.rescales = vec![RescaleStatus { id, to, batches_done, state, ..RescaleStatus::default() }];
        kinds(&world.turns(2))
    };
    assert_eq!(at(0, RescaleState::Running), ["rescaling, 0 batches done"]);
    assert_eq!(at(3, RescaleState::Running), ["rescaling, 3 batches done"]);
    assert_eq!(at(4, RescaleState::Done), ["rescaled 1"]);
}

#[test]
fn a_job_grows_and_shrinks_with_its_load() {
    let mut world = World::new("Auto");
    assert_eq!(kinds(&world.turns(15)), [""; 0]);
    world.offered = 60_000.0;
    let up = kinds(&world.turns(15));
    let to = world.tasks();
    assert!((4..=6).contains(&to), "{up:?}");
    let expected =
        [format!("decision 1 -> {to}"), format!("workers {to}"), format!("rescale {to}"), format!("rescaled {to}")];
    assert_eq!(up, expected, "workers come before tasks");
    world.offered = 10_000.0;
    let down = kinds(&world.turns(60));
    assert_eq!(down.last().unwrap(), "workers 1", "{down:?}");
    let emptied = down.iter().position(|kind| kind.starts_with("workers")).unwrap();
    assert!(down[..emptied].iter().any(|kind| kind.starts_with("rescaled")), "tasks go before workers: {down:?}");
    assert_eq!((world.tasks(), world.observed.workers_desired), (1, 1));
    assert_eq!(world.memory.restart_ms, Some(700), "the pause is measured");
}

#[test]
fn advice_changes_nothing_and_off_says_nothing() {
    for (mode, decisions) in [("Advise", true), ("Off", false)] {
        let mut world = World::new(mode);
        world.offered = 60_000.0;
        let kinds = kinds(&world.turns(15));
        assert_eq!(kinds.iter().any(|kind| kind.starts_with("decision 1 -> ")), decisions, "{mode}: {kinds:?}");
        assert!(kinds.iter().all(|kind| kind.starts_with("decision")), "{mode}: {kinds:?}");
        assert_eq!(world.tasks(), 1);
    }
}

#[test]
fn a_worker_with_tasks_stays_and_an_unregistered_one_too() {
    let mut world = World::new("Off");
    world.observed.workers_desired = 4;
    world.place(1);
    world.job().workers[2].tasks = vec![9];
    assert_eq!(kinds(&world.turns(6)), ["workers 3", "empty w2"], "w3 is empty, w2 is not");
    let done =
        RescaleStatus { id: 9, state: RescaleState::Done, to: [("work".into(), 1)].into(), ..Default::default() };
    world.observed.rescales.insert(0, done);
    world.job().workers[2].tasks.clear();
    world.job().workers.remove(1);
    assert_eq!(kinds(&world.turns(1)), ["rescaled 1", "workers 2"], "w2 is empty now, w1 is not registered");
}

#[test]
fn load_on_one_task_is_spread_once_instead_of_adding_tasks() {
    let mut world = World::new("Auto");
    world.observed.workers_desired = 4;
    world.deploy(4);
    (world.skewed, world.offered) = (true, 98_000.0);
    let mut asked = Vec::new();
    for _ in 0..30 {
        for action in world.turn() {
            match action {
                Action::Rescale(request) => asked.push((request.stages, request.rebalance, request.strategy)),
                Action::Report(report) => {
                    if let Event::Decision(decision) = report.event {
                        assert_eq!((decision.from, decision.to, decision.reason), (4, 4, Reason::Skew));
                    }
                }
                Action::EnsureWorkers(_) => {}
            }
        }
    }
    assert_eq!(asked, [([].into(), vec!["work".to_owned()], RescaleStrategy::Incremental)]);
}

#[test]
fn a_silent_coordinator_stops_all_decisions_and_a_final_job_too() {
    let mut world = World::new("Auto");
    world.turns(10);
    world.offered = 200_000.0;
    let job = world.observed.job.take();
    for _ in 0..10 {
        world.now_ms += 1000;
        let actions = step(&world.observed, &world.plan, &mut world.memory, world.now_ms);
        assert_eq!(kinds(&actions), [""; 0]);
    }
    world.observed.job = job;
    world.job().state = JobState::Completed;
    assert_eq!(kinds(&world.turns(10)), [""; 0]);
}

#[test]
fn a_refused_rescale_is_decided_anew() {
    let mut world = World::new("Auto");
    world.turns(10);
    world.offered = 60_000.0;
    world.observed.workers_desired = 8;
    world.place(8);
    let mut rescales = 0;
    for _ in 0..12 {
        world.now_ms += 1000;
        let tasks = world.tasks();
        world.counters[1].busy_us += 1_000_000;
        for counters in &mut world.counters {
            counters.elapsed_us += 1_000_000;
            counters.records_in += 25_000;
            counters.busy_us += 10;
        }
        world.refresh(tasks);
        for action in step(&world.observed, &world.plan, &mut world.memory, world.now_ms) {
            if matches!(action, Action::Rescale(..)) {
                rescales += 1;
                world.memory.refused(world.now_ms);
            }
        }
    }
    assert!(rescales >= 2, "{rescales}");
}

#[test]
fn reports_are_flat_lines() {
    let mut world = World::new("Auto");
    world.offered = 60_000.0;
    world.job().checkpoint = Some(CheckpointStatus {
        name: None,
        epoch: 3,
        savepoint: false,
        completed_at_ms: 1,
        duration_ms: 2,
        uploaded_bytes: 3,
        state_bytes: 4,
        path: "p".into(),
    });
    let lines: Vec<serde_json::Value> = world
        .turns(15)
        .iter()
        .filter_map(|action| match action {
            Action::Report(report) => Some(report.to_json()),
            _ => None,
        })
        .collect();
    let of = |kind: &str| lines.iter().filter(|line| line["kind"] == kind).cloned().collect::<Vec<_>>();
    assert_eq!((of("checkpoint").len(), of("checkpoint")[0]["epoch"].clone()), (1, 3.into()));
    let decision = &of("decision")[0];
    assert_eq!(decision["stage"], "work");
    assert_eq!(decision["reason"], serde_json::to_value(Reason::RateStep).unwrap());
    assert_eq!(decision["inputs"]["offered_per_s"], 60_000.0);
    let sample = &of("sample")[2];
    assert_eq!(sample["processed_per_s"], 25_000.0);
    assert_eq!(sample["stages"][1]["busy"], 1.0);
    let text = decision.to_string();
    assert!(text.starts_with("{\"at_ms\":") && text.matches("\"at_ms\"").count() == 1, "{text}");
    let end = Outcome { state: Some(JobState::Completed), ..Outcome::default() }.end(Some(true), 9).to_json();
    assert_eq!((end["kind"].as_str(), end["equal_to_oracle"].as_bool()), (Some("end"), Some(true)));
}
