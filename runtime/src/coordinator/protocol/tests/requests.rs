//! Savepoints, rescales, stops: what is done, and what is refused with which words.
use millstream_api::wire::{RescaleRequest, RescaleState, RescaleStrategy};

use super::*;

fn rescale(stages: &[(&str, u32)]) -> Request {
    let stages = stages.iter().map(|(name, tasks)| ((*name).to_owned(), *tasks)).collect();
    Request::Rescale(RescaleRequest { stages, strategy: RescaleStrategy::Restart, ..RescaleRequest::default() })
}

#[test]
fn a_savepoint_is_answered_when_it_is_stored() {
    let mut desk = Desk::running();
    assert_eq!(desk.ask(Request::Savepoint), ["w0 trigger e1", "w1 trigger e1"]);
    assert_eq!(desk.cut(1), ["store e1 savepoint"]);
    assert_eq!(desk.stored(1), ["answer savepoint e1", "w0 commit e1", "w1 commit e1"]);
    assert!(desk.committed(1).is_empty());
}

#[test]
fn a_savepoint_takes_over_the_checkpoint_under_way() {
    let mut desk = Desk::running();
    desk.after(1000);
    assert!(desk.ask(Request::Savepoint).is_empty());
    assert_eq!(desk.cut(1), ["store e1 savepoint"]);
    let busy = "refuse 409 a checkpoint is just being committed; ask again in a moment";
    assert_eq!(desk.ask(Request::Savepoint), [busy]);
    assert_eq!(desk.stored(1)[0], "answer savepoint e1");
}

#[test]
fn a_savepoint_that_does_not_come_about_is_answered_too() {
    let mut desk = Desk::running();
    desk.ask(Request::Savepoint);
    let why = "the job went back to its last checkpoint";
    let refused = format!("refuse 503 savepoint 1 failed: {why}; ask again");
    assert_eq!(desk.lose("w1"), [refused, "w0 cancel g1".into()]);
    assert_eq!(desk.ask(Request::Savepoint), ["refuse 409 the job is recovering; a savepoint needs a running job"]);
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
    let stale = Request::Rescale(RescaleRequest { generation: Some(5), ..RescaleRequest::default() });
    let generation = desk.coordinator.generation;
    assert_eq!(desk.ask(stale), [format!("refuse 409 the job is at generation {generation}, not 5")]);
    desk.ask(rescale(&[("window-1", 1)]));
    let again = desk.ask(rescale(&[("window-1", 2)]));
    assert_eq!(again, ["refuse 409 the job is rescaling; a rescale needs a running job"]);
    let mut desk = Desk::new();
    let early = desk.ask(rescale(&[("window-1", 1)]));
    assert_eq!(early, ["refuse 409 the job is waiting-for-workers; a rescale needs a running job"]);
}

#[test]
fn a_stop_with_a_savepoint_takes_it_first() {
    let mut desk = Desk::running();
    assert_eq!(desk.ask(Request::Stop { savepoint: true }), ["answer stop", "w0 trigger e1", "w1 trigger e1"]);
    assert_eq!(desk.state(), JobState::Stopping);
    assert_eq!(desk.cut(1), ["store e1 savepoint"]);
    desk.stored(1);
    assert_eq!(desk.committed(1), ["w0 cancel g1", "w1 cancel g1"]);
    assert_eq!(desk.cancelled(), ["w0 finish", "w1 finish"]);
    desk.say("w0", Report::Finished);
    assert_eq!(desk.say("w1", Report::Finished), ["exit Stopped"]);
    assert_eq!(desk.ask(Request::Stop { savepoint: false }), ["refuse 409 the job is already over"]);
}

#[test]
fn a_stop_without_a_savepoint_cancels_at_once() {
    let mut desk = Desk::running();
    assert_eq!(desk.ask(Request::Stop { savepoint: false }), ["answer stop", "w0 cancel g1", "w1 cancel g1"]);
    assert_eq!(desk.cancelled(), ["w0 finish", "w1 finish"]);
    let mut desk = Desk::new();
    let text = "refuse 409 the job is waiting-for-workers; a savepoint needs a running job";
    assert_eq!(desk.ask(Request::Stop { savepoint: true }), [text]);
    assert_eq!(desk.ask(Request::Stop { savepoint: false }), ["answer stop"]);
    assert_eq!(desk.after(0), ["exit Stopped"], "nobody has to be asked");
}

#[test]
fn a_stop_is_not_forgotten_in_a_recovery() {
    let mut desk = Desk::running();
    desk.ask(Request::Stop { savepoint: true });
    desk.on(Event::Registered(register("w1", 2, 1)));
    desk.cancelled();
    assert_eq!(desk.state(), JobState::Stopping);
    assert_eq!(desk.deployed(), ["w0 start g2", "w1 start g2", "w0 trigger e2", "w1 trigger e2"]);
}
