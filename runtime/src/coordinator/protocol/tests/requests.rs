//! Savepoints, rescales, stops: what is done, and what is refused with which words.
use millstream_api::wire::{
    Expect, KeepRequest, RescaleEstimate, RescaleRequest, RescaleState, RescaleStrategy, SavepointRequest, TaskCounters,
};

use super::*;

fn rescale(stages: &[(&str, u32)]) -> Request {
    let stages = stages.iter().map(|(name, tasks)| ((*name).to_owned(), *tasks)).collect();
    Request::Rescale(RescaleRequest { stages, strategy: RescaleStrategy::Restart, ..RescaleRequest::default() })
}

#[test]
fn a_savepoint_is_answered_when_it_is_stored() {
    let mut desk = Desk::running();
    assert_eq!(desk.ask(Request::Savepoint(SavepointRequest::default())), ["w0 trigger e1", "w1 trigger e1"]);
    assert_eq!(desk.cut(1), ["store e1 savepoint"]);
    assert_eq!(desk.stored(1), ["answer savepoint e1", "w0 commit e1", "w1 commit e1"]);
    assert!(desk.committed(1).is_empty());
}

#[test]
fn a_savepoint_takes_over_the_checkpoint_under_way() {
    let mut desk = Desk::running();
    desk.after(1000);
    assert!(desk.ask(Request::Savepoint(SavepointRequest::default())).is_empty());
    assert_eq!(desk.cut(1), ["store e1 savepoint"]);
    assert!(
        desk.ask(Request::Savepoint(SavepointRequest::default())).is_empty(),
        "its turn comes after the one that is being stored"
    );
    assert_eq!(desk.stored(1)[0], "answer savepoint e1");
    assert_eq!(desk.committed(1), ["w0 trigger e2", "w1 trigger e2"]);
    assert_eq!(desk.cut(2), ["store e2 savepoint"]);
    assert_eq!(desk.stored(2)[0], "answer savepoint e2");
}

#[test]
fn a_savepoint_with_a_name_is_taken_once_however_often_it_is_asked_for() {
    let mut desk = Desk::running();
    let at = |generation| Some(Expect::at(generation));
    let ask = |name: &str, expect| Request::Savepoint(SavepointRequest { name: Some(name.into()), expect });
    let generation = desk.coordinator.generation;
    let stale = desk.ask(ask("a", at(generation + 1)));
    assert!(stale[0].starts_with("refuse 409 the job is at generation"), "{stale:?}");
    assert_eq!(desk.ask(ask("a", at(generation))), ["w0 trigger e1", "w1 trigger e1"]);
    assert!(desk.ask(ask("b", None)).is_empty(), "its turn comes later");
    let replaced = ["refuse 503 the same savepoint was asked for once more; that request is answered"];
    assert_eq!(desk.ask(ask("a", None)), replaced);
    assert_eq!(desk.ask(ask("b", None)), replaced);
    desk.cut(1);
    assert_eq!(desk.ask(ask("a", None)), replaced);
    assert_eq!(desk.stored(1)[0], "answer savepoint e1");
    assert_eq!(desk.ask(ask("a", at(generation + 1))), ["answer savepoint e1"], "it is taken, whatever the job is now");
    assert_eq!(desk.committed(1), ["w0 trigger e2", "w1 trigger e2"]);
    desk.cut(2);
    assert_eq!(desk.stored(2)[0], "answer savepoint e2");
    assert!(desk.coordinator.knows_savepoint("b") && !desk.coordinator.knows_savepoint("c"));
    assert!(!desk.coordinator.is_at_rest());
}

#[test]
fn a_savepoint_that_does_not_come_about_is_answered_too() {
    let mut desk = Desk::running();
    desk.ask(Request::Savepoint(SavepointRequest::default()));
    let why = "the job went back to its last checkpoint";
    let refused = format!("refuse 503 savepoint 1 failed: {why}; ask again");
    assert_eq!(desk.lose("w1"), [refused, "w0 cancel g1".into()]);
    assert_eq!(
        desk.ask(Request::Savepoint(SavepointRequest::default())),
        ["refuse 409 the job is recovering; a savepoint needs a running job"]
    );
}

#[test]
fn a_rescale_goes_through_a_checkpoint_and_a_new_generation() {
    let mut desk = Desk::running();
    let asked = desk.ask(rescale(&[("window-1", 1)]));
    assert_eq!(asked, ["answer rescale 1 running", "w0 trigger e1", "w1 trigger e1"]);
    assert_eq!(desk.state(), JobState::Rescaling);
    desk.cut(1);
    desk.stored(1);
    assert_eq!(desk.committed(1), ["w0 cancel g1", "w1 cancel g1"]);
    assert_eq!(desk.cancelled(), ["w0 deploy g2 from e1", "w1 deploy g2 from e1"]);
    let window = &desk.coordinator.deployment[1];
    assert_eq!(window.tasks.len(), 1);
    assert!(window.table.owners.iter().all(|owner| *owner == window.tasks[0].task));
    desk.deployed();
    assert_eq!(desk.state(), JobState::Running);
    let status = desk.coordinator.rescale_status();
    assert_eq!((status[0].state, status[0].groups_moved, status[0].groups_moved_min), (RescaleState::Done, 4, 4));
    assert_eq!(desk.coordinator.job_status().recoveries, 0, "a rescale is no recovery");
}

#[test]
fn a_rescale_to_what_there_is_does_nothing() {
    let mut desk = Desk::running();
    assert_eq!(desk.ask(rescale(&[("window-1", 2)])), ["answer rescale 1 done"]);
    assert_eq!(desk.state(), JobState::Running);
}

#[test]
fn a_rescale_whose_checkpoint_fails_leaves_the_job_as_it_was() {
    let mut desk = Desk::running();
    desk.ask(rescale(&[("window-1", 1)]));
    desk.on(Event::Registered(register("w1", 2, 1)));
    desk.cancelled();
    assert_eq!(desk.coordinator.deployment[1].tasks.len(), 2);
    let status = &desk.coordinator.rescale_status()[0];
    assert_eq!((status.state, status.reason.as_deref()), (RescaleState::Failed, Some("worker w1 was lost")));
}

#[test]
fn a_rescale_is_cancelled_until_its_tasks_are_stopped() {
    let mut desk = Desk::running();
    let nothing = "refuse 409 no rescale is under way; there is nothing to cancel";
    assert_eq!(desk.ask(Request::CancelRescale), [nothing]);
    desk.ask(rescale(&[("window-1", 1)]));
    assert_eq!(desk.ask(Request::CancelRescale), ["answer rescale 1 cancelled"]);
    assert_eq!(desk.ask(Request::CancelRescale), [nothing]);
    desk.cut(1);
    assert_eq!(desk.stored(1), ["w0 commit e1", "w1 commit e1"]);
    assert!(desk.committed(1).is_empty(), "the job goes on");
    assert_eq!(desk.ask(rescale(&[("window-1", 1)]))[0], "answer rescale 2 running");
    desk.cut(2);
    desk.stored(2);
    desk.committed(2);
    let late =
        "refuse 409 the rescale has stopped its tasks and is starting them anew; ask for another one when it is done";
    assert_eq!(desk.ask(Request::CancelRescale), [late]);
}

#[test]
fn rescales_are_refused_with_the_reason() {
    let cases: [(&[(&str, u32)], &str); 5] = [
        (&[("windw-1", 1)], "refuse 404 there is no stage windw-1; the stages are source-1, window-1"),
        (
            &[("window-1", 0)],
            "refuse 400 stage window-1: parallelism 0 is not possible; use `job stop` to stop the job",
        ),
        (&[("window-1", 9)], "refuse 400 stage window-1: parallelism 9 exceeds the job's 8 key groups"),
        (&[("source-1", 5)], "refuse 400 stage source-1: parallelism 5 exceeds the 4 splits of its source"),
        (&[("window-1", 3)], "refuse 409 stage window-1: 3 tasks need as many slots and there are 2; add workers"),
    ];
    for (stages, expected) in cases {
        assert_eq!(Desk::running().ask(rescale(stages)), [expected]);
    }
    let mut desk = Desk::running();
    let stale = Request::Rescale(RescaleRequest { expect: Some(Expect::at(5)), ..RescaleRequest::default() });
    let generation = desk.coordinator.generation;
    assert_eq!(desk.ask(stale), [format!("refuse 409 the job is at generation {generation}, not 5")]);
    desk.ask(rescale(&[("window-1", 1)]));
    let again = desk.ask(rescale(&[("window-1", 2)]));
    assert_eq!(again, ["refuse 409 the job is rescaling; a rescale needs a running job"]);
    let mut desk = Desk::new();
    let early = desk.ask(rescale(&[("window-1", 1)]));
    assert_eq!(early, ["refuse 409 the job is waiting-for-workers; a rescale needs a running job"]);
}

/// Every task of the window has `state_bytes` and is busy for its share of the time.
fn measured(desk: &mut Desk, state_bytes: u64, busy: &[u64]) {
    let window = desk.coordinator.deployment[1].tasks.clone();
    for (placed, busy_us) in window.iter().zip(busy) {
        let generation = desk.coordinator.generation;
        let counters = TaskCounters { elapsed_us: 100, busy_us: *busy_us, ..TaskCounters::default() };
        let report = TaskReport {
            task: placed.task,
            stage: 1,
            counters,
            watermark_ms: None,
            lag_records: None,
            offered_per_s: None,
            key_groups: 4,
            state_bytes,
            group_bytes: Default::default(),
            store: Default::default(),
            edges: Vec::new(),
            groups: Vec::new(),
            starved_us: 0,
        };
        desk.say(&placed.worker, Report::Metrics { generation, tasks: vec![report] });
    }
}

fn dry_run(desk: &mut Desk, request: RescaleRequest) -> RescaleStatus {
    let request = Request::Rescale(RescaleRequest { dry_run: true, ..request });
    let actions = desk.coordinator.on(desk.now_ms, Event::Asked { id: 7, request });
    match actions.as_slice() {
        [Action::Answer { reply, .. }] => match &**reply {
            Reply::Rescale(status) => (**status).clone(),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_dry_run_says_what_would_move_and_changes_nothing() {
    let mut desk = Desk::running();
    measured(&mut desk, 1_000_000, &[10, 10]);
    let to = RescaleRequest { stages: [("window-1".into(), 1)].into(), ..RescaleRequest::default() };
    let status = dry_run(&mut desk, to);
    assert_eq!((status.id, status.state, status.strategy), (0, RescaleState::Planned, RescaleStrategy::Incremental));
    let estimate = status.estimate.unwrap();
    assert_eq!(
        (estimate.groups, estimate.groups_min, estimate.bytes, estimate.bytes_min),
        (4, 4, 1_000_000, 1_000_000)
    );
    assert!(estimate.pause_ms < estimate.duration_ms && estimate.duration_ms < 1000, "{estimate:?}");
    assert_eq!(desk.state(), JobState::Running);
    assert!(desk.coordinator.rescale_status().is_empty() && desk.after(0).is_empty());
    assert_eq!(desk.coordinator.totals().rescales, 0);
}

#[test]
fn load_and_written_tables_decide_who_gets_what() {
    let mut desk = Desk::running();
    measured(&mut desk, 800, &[90, 10]);
    let by_load = RescaleRequest { rebalance: vec!["window-1".into()], ..RescaleRequest::default() };
    // 22.5 a group against 2.5: two of the first task's four groups go.
    let estimate = dry_run(&mut desk, by_load.clone()).estimate.unwrap();
    assert_eq!((estimate.groups, estimate.groups_min, estimate.bytes), (2, 0, 400));
    measured(&mut desk, 800, &[10, 10]);
    assert_eq!(dry_run(&mut desk, by_load.clone()).estimate.unwrap(), RescaleEstimate::default());
    let tasks: Vec<_> = desk.coordinator.deployment[1].tasks.iter().map(|placed| placed.task).collect();
    let table = |owners: Vec<TaskId>| RescaleRequest {
        tables: [("window-1".into(), owners)].into(),
        ..RescaleRequest::default()
    };
    let swapped = dry_run(&mut desk, table([[tasks[1]; 4], [tasks[0]; 4]].concat())).estimate.unwrap();
    assert_eq!((swapped.groups, swapped.bytes), (8, 1600));
}

#[test]
fn tables_and_rebalances_are_refused_with_the_reason() {
    let by_load = |stage: &str| RescaleRequest { rebalance: vec![stage.into()], ..RescaleRequest::default() };
    let table = |owners| RescaleRequest { tables: [("window-1".into(), owners)].into(), ..RescaleRequest::default() };
    let both = RescaleRequest { rebalance: vec!["window-1".into()], ..table(vec![2; 8]) };
    let cases = [
        (by_load("w"), "refuse 404 there is no stage w; the stages are source-1, window-1"),
        (
            by_load("source-1"),
            "refuse 400 stage source-1: its rows are not spread by key, so it has no key groups to move",
        ),
        (by_load("window-1"), "refuse 409 stage window-1: its load has not been measured yet; ask again in a moment"),
        (
            table(vec![2]),
            "refuse 400 stage window-1: the table names 1 owners and the job has 8 key groups; name one task for each key group",
        ),
        (
            table(vec![9; 8]),
            "refuse 400 stage window-1: the table gives key groups to task 9, but the stage has tasks 2, 3",
        ),
        (both, "refuse 400 stage window-1: a table and a rebalance contradict each other; ask for one"),
        (
            RescaleRequest { strategy: RescaleStrategy::Restart, ..table(vec![2; 8]) },
            "refuse 400 a restart spreads key groups evenly over all workers; owner tables, rebalances and vacated workers \
             need a live strategy",
        ),
    ];
    for (request, expected) in cases {
        assert_eq!(Desk::running().ask(Request::Rescale(request)), [expected]);
    }
}

#[test]
fn a_stop_with_a_savepoint_takes_it_first() {
    let mut desk = Desk::running();
    assert_eq!(desk.ask(Request::Stop(Leaves::Savepoint)), ["answer stop", "w0 trigger e1", "w1 trigger e1"]);
    assert_eq!(desk.state(), JobState::Stopping);
    assert_eq!(desk.cut(1), ["store e1 savepoint"]);
    desk.stored(1);
    assert_eq!(desk.committed(1), ["w0 cancel g1", "w1 cancel g1"]);
    assert_eq!(desk.cancelled(), ["w0 finish", "w1 finish"]);
    desk.say("w0", Report::Finished);
    assert_eq!(desk.say("w1", Report::Finished), ["exit Stopped"]);
    assert_eq!(desk.ask(Request::Stop(Leaves::Nothing)), ["refuse 409 the job is already over"]);
}

#[test]
fn what_a_job_goes_on_from_itself_is_a_checkpoint_like_others() {
    let mut desk = Desk::running();
    assert_eq!(desk.ask(Request::Stop(Leaves::Checkpoint)), ["answer stop", "w0 trigger e1", "w1 trigger e1"]);
    assert_eq!(desk.cut(1), ["store e1"]);
    desk.stored(1);
    assert_eq!(desk.committed(1), ["w0 cancel g1", "w1 cancel g1"]);
}

#[test]
fn a_stop_without_a_savepoint_cancels_at_once() {
    let mut desk = Desk::running();
    assert_eq!(desk.ask(Request::Stop(Leaves::Nothing)), ["answer stop", "w0 cancel g1", "w1 cancel g1"]);
    assert_eq!(desk.cancelled(), ["w0 finish", "w1 finish"]);
    let mut desk = Desk::new();
    let text = "refuse 409 the job is waiting-for-workers; a savepoint needs a running job";
    assert_eq!(desk.ask(Request::Stop(Leaves::Savepoint)), [text]);
    assert_eq!(desk.ask(Request::Stop(Leaves::Nothing)), ["answer stop"]);
    assert_eq!(desk.after(0), ["exit Stopped"], "nobody has to be asked");
}

#[test]
fn a_stop_is_not_forgotten_in_a_recovery() {
    let mut desk = Desk::running();
    desk.ask(Request::Stop(Leaves::Savepoint));
    desk.on(Event::Registered(register("w1", 2, 1)));
    desk.cancelled();
    assert_eq!(desk.state(), JobState::Stopping);
    assert_eq!(desk.deployed(), ["w0 start g2", "w1 start g2", "w0 trigger e2", "w1 trigger e2"]);
}

#[test]
fn the_number_of_checkpoints_that_are_kept_changes_while_the_job_runs() {
    let mut desk = Desk::running();
    let keep = |checkpoints| Request::Keep(KeepRequest { checkpoints, expect: None });
    assert_eq!(desk.coordinator.job_status().checkpoints_kept, Some(2));
    assert_eq!(desk.ask(keep(0)), ["refuse 400 checkpoints: 0 must be at least 1"]);
    assert_eq!(desk.ask(keep(9)), ["answer done"]);
    assert_eq!((desk.coordinator.job_status().checkpoints_kept, desk.coordinator.checkpoint_keep()), (Some(9), 9));
}
