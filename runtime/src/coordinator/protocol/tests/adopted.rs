//! A coordinator that comes back: whose tasks go on, and whose do not.
use super::*;
use crate::message::TaskSet;
use crate::message::live::Progress;

/// A job with a checkpoint whose coordinator is gone, what its workers run, and the coordinator that follows.
pub(super) fn returned() -> (Desk, TaskSet) {
    let mut desk = Desk::running();
    desk.after(1000);
    desk.cut(1);
    desk.stored(1);
    let last = desk.coordinator.last.clone();
    let tasks = TaskSet {
        deploy: desk.coordinator.describe(None),
        ended: Vec::new(),
        epoch: 4,
        is_whole: true,
        progress: Progress::default(),
    };
    let noted = Some(tasks.deploy.generation);
    let coordinator = Coordinator::new(Config { term: TERM + 1, noted, ..config() }, last, true);
    (Desk { coordinator, now_ms: 0 }, tasks)
}

pub(super) fn back(desk: &mut Desk, worker: &str) -> Vec<String> {
    desk.on(Event::Registered(register(worker, 1, 1)))
}

pub(super) fn described(tasks: &TaskSet) -> Report {
    Report::Described(Some(Box::new(tasks.clone())))
}

const GONE_ON: [&str; 4] = ["w0 cancel g0", "w1 cancel g0", "w0 deploy g1 from e1", "w1 deploy g1 from e1"];

#[test]
fn tasks_that_run_go_on_under_the_next_term() {
    let (mut desk, tasks) = returned();
    assert_eq!(back(&mut desk, "w0"), ["w0 describe"]);
    assert!(desk.say("w0", described(&tasks)).is_empty(), "w1 has tasks too");
    assert_eq!(back(&mut desk, "w1"), ["w1 describe"]);
    let adopted = "adopt g1 under 4, e1 stored, through e4";
    assert_eq!(desk.say("w1", described(&tasks)), [format!("w0 {adopted}"), format!("w1 {adopted}")]);
    assert_eq!(desk.state(), JobState::Running);
    assert_eq!(desk.after(1000), ["w0 trigger e5", "w1 trigger e5"], "epochs are never used twice");
    desk.cut(5);
    let manifest = desk.coordinator.storing.clone().unwrap();
    assert_eq!((manifest.term, manifest.generation), (TERM + 1, tasks.deploy.generation));
    desk.stored(5);
    desk.committed(5);
    let fresh = desk.coordinator.generation;
    desk.lose("w1");
    desk.cancelled();
    desk.on(Event::Registered(register("w1", 2, 1)));
    assert!(desk.coordinator.generation > fresh && desk.coordinator.generation >> 20 == TERM + 1);
}

#[test]
fn what_ended_before_and_meanwhile_has_ended() {
    let (mut desk, mut tasks) = returned();
    let all = desk_tasks(&tasks);
    tasks.ended = all[..1].to_vec();
    back(&mut desk, "w0");
    back(&mut desk, "w1");
    desk.say("w0", described(&tasks));
    let generation = tasks.deploy.generation;
    desk.say("w0", Report::TaskEnded { generation, task: all[1] });
    desk.say("w1", described(&TaskSet { ended: all[2..].to_vec(), ..tasks.clone() }));
    assert_eq!(desk.after(1), ["w0 trigger e5", "w1 trigger e5"], "the final checkpoint");
}

fn desk_tasks(tasks: &TaskSet) -> Vec<TaskId> {
    tasks.deploy.stages.iter().flat_map(|stage| stage.tasks.iter().map(|placed| placed.task)).collect()
}

#[test]
fn without_tasks_the_job_goes_on_from_the_last_checkpoint() {
    let (mut desk, _) = returned();
    back(&mut desk, "w0");
    back(&mut desk, "w1");
    assert!(desk.say("w0", Report::Described(None)).is_empty());
    assert_eq!(desk.say("w1", Report::Described(None)), GONE_ON);
}

#[test]
fn tasks_that_cannot_go_on_are_stopped() {
    let (_, tasks) = returned();
    let other = |change: fn(&mut TaskSet)| {
        let mut tasks = tasks.clone();
        change(&mut tasks);
        described(&tasks)
    };
    let cases = [
        ("something is lost", other(|tasks| tasks.is_whole = false)),
        ("another table", other(|tasks| tasks.deploy.stages[1].table.version += 1)),
        ("an older generation", other(|tasks| tasks.deploy.generation -= 1)),
        ("a new process", Report::Described(None)),
    ];
    for (name, report) in cases {
        let (mut desk, tasks) = returned();
        back(&mut desk, "w0");
        back(&mut desk, "w1");
        desk.say("w0", described(&tasks));
        assert_eq!(desk.say("w1", report), GONE_ON, "{name}");
    }
}

#[test]
fn a_failure_while_others_are_waited_for_counts() {
    let (mut desk, tasks) = returned();
    back(&mut desk, "w0");
    back(&mut desk, "w1");
    desk.say("w0", described(&tasks));
    let (generation, failure) = (tasks.deploy.generation, Failure { message: "disk".into(), user: false });
    assert_eq!(desk.say("w0", Report::TaskFailed { generation, task: 0, failure }), GONE_ON);
}

#[test]
fn a_host_that_does_not_come_back_is_waited_for_only_so_long() {
    let (mut desk, tasks) = returned();
    back(&mut desk, "w0");
    desk.say("w0", described(&tasks));
    assert!(desk.after(1_499).is_empty());
    assert_eq!(desk.after(1), ["w0 cancel g0"]);
    let all = ["w1 describe", "w1 cancel g0", "w0 deploy g1 from e1", "w1 deploy g1 from e1"];
    assert_eq!(back(&mut desk, "w1"), all);
}

#[test]
fn a_host_that_is_lost_with_the_coordinator_is_not_waited_for_as_at_the_start() {
    let patience = Some(Patience { start_ms: 60_000, lost_ms: 2_000, adopt_ms: 5_000 });
    let back_with = |told: fn(&TaskSet) -> Report| {
        let (mut desk, tasks) = returned();
        desk.coordinator.config.patience = patience;
        back(&mut desk, "w0");
        desk.say("w0", told(&tasks));
        assert_eq!(desk.after(5_000), ["w0 cancel g0"]);
        desk
    };
    let mut desk = back_with(described);
    assert!(desk.after(1_999).is_empty());
    assert_eq!(desk.after(1), ["w0 deploy g1 from e1"]);
    assert_eq!(desk.coordinator.parallelism, [1, 1], "on the slots there are");
    let mut desk = back_with(|_| Report::Described(None));
    assert!(desk.after(54_999).is_empty(), "its pods may just be starting");
    assert_eq!(desk.after(1), ["w0 deploy g1 from e1"]);
}

#[test]
fn a_host_that_comes_too_late_to_be_taken_over_tells_that_the_others_are_lost() {
    let (mut desk, tasks) = returned();
    desk.coordinator.config.patience = Some(Patience { start_ms: 60_000, lost_ms: 2_000, adopt_ms: 5_000 });
    assert!([desk.after(0), desk.after(5_000)].concat().is_empty());
    assert_eq!(back(&mut desk, "w0"), ["w0 describe", "w0 cancel g0"]);
    assert!(desk.say("w0", described(&tasks)).is_empty());
    assert!(desk.after(1_999).is_empty());
    assert_eq!(desk.after(1), ["w0 deploy g1 from e1"]);
}
