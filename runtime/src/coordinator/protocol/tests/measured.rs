//! What is made of the reports of tasks.
use millstream_api::wire::{GroupLoad, TaskCounters};

use super::*;

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
