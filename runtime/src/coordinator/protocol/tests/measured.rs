//! What is made of the reports of tasks.
use millstream_api::wire::{Batching, GroupLoad, RescaleRequest, TaskCounters};

use super::*;
use crate::message::live::Step;

fn report(task: TaskId, stage: usize) -> TaskReport {
    TaskReport {
        task,
        stage,
        counters: TaskCounters::default(),
        watermark_ms: None,
        lag_records: None,
        offered_per_s: None,
        key_groups: 0,
        state_bytes: 0,
        group_bytes: Default::default(),
        store: Default::default(),
        edges: Vec::new(),
        groups: Vec::new(),
        starved_us: 0,
    }
}

impl Desk {
    fn measured(&mut self, ms: i64, worker: &str, tasks: Vec<TaskReport>) {
        self.now_ms += ms;
        let generation = self.coordinator.generation;
        self.say(worker, Report::Metrics { generation, tasks });
    }

    fn group_loads(&self) -> Vec<(TaskId, f64)> {
        let stages = self.coordinator.stage_status_by_group();
        assert!(stages[0].groups.is_empty(), "a source has no key groups");
        stages[1].groups.iter().map(|GroupLoad { task, records_per_s, .. }| (*task, *records_per_s)).collect()
    }
}

/// A source's task has sent this many rows to each of the eight groups.
fn sent(task: TaskId, rows: [u64; 8]) -> Vec<TaskReport> {
    vec![TaskReport { groups: vec![(0, rows.to_vec())], ..report(task, 0) }]
}

#[test]
fn the_load_of_a_group_is_what_all_senders_send_it_of_late() {
    let mut desk = Desk::running();
    let [one, two] = [0, 1].map(|at| desk.coordinator.deployment[0].tasks[at].task);
    let owners = desk.coordinator.deployment[1].table.owners.clone();
    let rates = |desk: &Desk| desk.group_loads().into_iter().map(|(_, rate)| rate).collect::<Vec<_>>();
    desk.measured(0, "w0", sent(one, [1000, 0, 0, 0, 0, 0, 0, 0]));
    desk.measured(0, "w1", sent(two, [0; 8]));
    assert_eq!(rates(&desk), [0.0; 8], "what was before is not known");
    desk.measured(500, "w0", sent(one, [1100, 0, 0, 0, 0, 0, 0, 50]));
    desk.measured(0, "w1", sent(two, [10, 0, 0, 0, 0, 0, 0, 0]));
    assert_eq!(rates(&desk), [220.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 100.0]);
    assert_eq!(desk.group_loads().iter().map(|(task, _)| *task).collect::<Vec<_>>(), owners);
    for round in 1..5 {
        desk.measured(500, "w0", sent(one, [1100 + 500 * round, 0, 0, 0, 0, 0, 0, 50]));
    }
    assert_eq!(rates(&desk), [1020.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0], "old rows count no more");
    assert!(desk.coordinator.stage_status().iter().all(|stage| stage.groups.is_empty()), "it is asked for");
    assert!(desk.coordinator.reports().values().all(|report| report.groups.is_empty()), "it is kept once");
    desk.measured(500, "w1", vec![]);
    assert_eq!(rates(&desk)[0], 1000.0, "a task that is gone sends nothing");
    desk.lose("w1");
    desk.on(Event::Registered(register("w1", 2, 1)));
    desk.cancelled();
    assert!(rates(&desk).iter().all(|rate| *rate == 0.0));
}

#[test]
fn totals_are_carried_over_generations() {
    let mut desk = Desk::running();
    let counted = |late_rows, bad_records| TaskCounters { late_rows, bad_records, ..TaskCounters::default() };
    let one = |task, late, bad| TaskReport { counters: counted(late, bad), ..report(task, 1) };
    let totals = |desk: &Desk| {
        let job = desk.coordinator.job_status();
        (job.late_rows, job.bad_records)
    };
    desk.measured(500, "w0", vec![one(0, 1, 10), one(1, 2, 20)]);
    desk.measured(0, "w1", vec![one(2, 4, 40)]);
    assert_eq!(totals(&desk), (7, 70));
    // A task that ends while the others go on.
    desk.measured(500, "w0", vec![one(1, 3, 20)]);
    assert_eq!(totals(&desk), (8, 70));
    // A worker that is lost, and a generation that is over.
    desk.lose("w1");
    assert_eq!(totals(&desk), (8, 70));
    desk.measured(0, "w0", vec![one(1, 100, 100)]);
    assert_eq!(totals(&desk), (8, 70), "it will be read again");
    desk.on(Event::Registered(register("w1", 2, 1)));
    desk.cancelled();
    assert_eq!(totals(&desk), (8, 70));
    desk.deployed();
    desk.measured(500, "w1", vec![one(5, 1, 1)]);
    assert_eq!(totals(&desk), (9, 71));
}

#[test]
fn a_group_with_most_of_the_load_is_named_and_groups_move_by_the_rows_they_get() {
    let desk = Desk::running();
    let [sources, windows] = [0, 1].map(|stage| {
        desk.coordinator.deployment[stage].tasks.iter().map(|placed| placed.task).collect::<Vec<TaskId>>()
    });
    let owners = desk.coordinator.deployment[1].table.owners.clone();
    assert_eq!(owners[..5], [windows[0], windows[0], windows[0], windows[0], windows[1]]);
    let busy = |task: TaskId, busy_us: u64| TaskReport {
        counters: TaskCounters { elapsed_us: 1000, busy_us, ..TaskCounters::default() },
        ..report(task, 1)
    };
    let spread = RescaleRequest { rebalance: vec!["window-1".into()], ..RescaleRequest::default() };
    let with = |rows: [u64; 8], busy_us: [u64; 2]| {
        let mut desk = Desk::running();
        for (ms, rows) in [(0, [0; 8]), (1000, rows)] {
            desk.measured(ms, "w0", [sent(sources[0], rows), vec![busy(windows[0], busy_us[0])]].concat());
            desk.measured(0, "w1", [sent(sources[1], [0; 8]), vec![busy(windows[1], busy_us[1])]].concat());
        }
        desk
    };
    let after = |rows: [u64; 8], busy_us: [u64; 2]| {
        let mut desk = with(rows, busy_us);
        let request = RescaleRequest { dry_run: true, ..spread.clone() };
        match desk.coordinator.on(desk.now_ms, Event::Asked { id: 1, request: Request::Rescale(request) }).pop() {
            Some(Action::Answer { reply, .. }) => match *reply {
                Reply::Rescale(status) => (status.estimate.unwrap().groups, status.hot),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    };
    let (moved, hot) = after([900, 10, 10, 10, 10, 10, 10, 10], [930, 40]);
    assert_eq!(moved, 0, "wherever the others are, it is not relieved");
    assert_eq!((hot.len(), hot[0].stage.as_str(), hot[0].group), (1, "window-1", 0));
    assert!((hot[0].share - 0.93).abs() < 0.01, "{hot:?}");
    // Two groups have the rows of the task. One of them goes, though by number the tasks are even.
    assert_eq!(after([400, 400, 1, 1, 10, 10, 10, 10], [802, 40]), (1, Vec::new()));
    // Of groups that go one at a time, the hottest is first.
    let mut desk = with([120, 130, 140, 150, 10, 10, 10, 10], [540, 40]);
    let answer = desk.ask(Request::Rescale(RescaleRequest { batch: Batching::Fluid, ..spread }));
    assert_eq!(answer[0], "answer rescale 1 running", "{answer:?}");
    let [donor, receiver] = [windows[0], windows[1]];
    for version in 2..8 {
        desk.step(receiver, version, Step::Awaiting);
        desk.step(donor, version, Step::Copied { bytes: 1 });
        desk.step(receiver, version, Step::Stored);
        desk.after(10_000); // The barrier in the way is given up.
        desk.step(donor, version, Step::HandedOver { bytes: 1 });
        desk.step(receiver, version, Step::Adopted { pause_us: 1 });
    }
    let batches = &desk.coordinator.rescale_status()[0].history;
    let order: Vec<_> = batches.iter().flat_map(|batch| batch.moves[0].groups.clone()).collect();
    assert!(order.len() > 1 && order.is_sorted_by(|one, two| one > two), "{order:?}");
}

#[test]
fn groups_leave_the_task_that_is_busy_now_however_long_it_was_not() {
    let mut desk = Desk::running();
    let windows: Vec<TaskId> = desk.coordinator.deployment[1].tasks.iter().map(|placed| placed.task).collect();
    let hours_us = 36_000_000_000;
    let busy = |task: TaskId, elapsed_us: u64, busy_us: u64| TaskReport {
        counters: TaskCounters { elapsed_us: hours_us + elapsed_us, busy_us: hours_us / 2 + busy_us, ..<_>::default() },
        ..report(task, 1)
    };
    for (ms, elapsed_us) in [(0, 0), (1000, 1_000_000)] {
        desk.measured(ms, "w0", vec![busy(windows[0], elapsed_us, elapsed_us / 100 * 98)]);
        desk.measured(0, "w1", vec![busy(windows[1], elapsed_us, elapsed_us / 100 * 50)]);
    }
    let request = RescaleRequest { rebalance: vec!["window-1".into()], ..RescaleRequest::default() };
    assert_eq!(desk.ask(Request::Rescale(request))[0], "answer rescale 1 running");
    let status = &desk.coordinator.rescale_status()[0];
    assert_eq!(status.estimate.unwrap().groups, 1);
}

#[test]
fn a_plan_goes_by_what_groups_weigh_once_all_of_a_task_are_weighed() {
    let mut desk = Desk::running();
    let leaves = desk.coordinator.deployment[1].tasks[1].task;
    let estimated = |desk: &mut Desk, weights: &[(u16, u64)]| {
        let report =
            TaskReport { state_bytes: 400, group_bytes: weights.iter().copied().collect(), ..report(leaves, 1) };
        desk.measured(0, "w1", vec![report]);
        let bytes = desk.coordinator.group_bytes(1);
        assert_eq!(bytes.len(), 8);
        bytes[4..].to_vec()
    };
    assert_eq!(estimated(&mut desk, &[]), [100; 4]);
    assert_eq!(estimated(&mut desk, &[(4, 7), (5, 1000), (6, 0)]), [100; 4]);
    assert_eq!(estimated(&mut desk, &[(4, 7), (5, 1000), (6, 0), (7, 3), (1, 9)]), [7, 1000, 0, 3]);
}
