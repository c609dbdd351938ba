//! Lost workers, failed tasks, checkpoints that do not come about, and reports of what is over.
use millstream_api::owner::OwnerTable;
use millstream_api::wire::Blocked;

use super::*;

/// Brings a job to a phase, loses worker `w1` there, and lists what is done about it.
#[test]
fn a_worker_lost_in_each_phase() {
    type Phase = (&'static str, fn(&mut Desk), &'static [&'static str], JobState);
    let phases: [Phase; 6] = [
        ("running", |_| {}, &["w0 cancel g1"], JobState::Recovering),
        ("cutting", |desk| drop(desk.after(1000)), &["w0 cancel g1"], JobState::Recovering),
        (
            "storing",
            |desk| {
                desk.after(1000);
                desk.cut(1);
            },
            &["w0 cancel g1"],
            JobState::Recovering,
        ),
        (
            "committing",
            |desk| {
                desk.after(1000);
                desk.cut(1);
                desk.stored(1);
            },
            &["w0 cancel g1"],
            JobState::Recovering,
        ),
        ("cancelling", |desk| drop(desk.ask(Request::Stop(Leaves::Nothing))), &[], JobState::Stopped),
        (
            "finishing",
            |desk| {
                desk.ended();
                desk.cut(1);
                desk.stored(1);
                desk.committed(1);
            },
            &[],
            JobState::Completed,
        ),
    ];
    for (name, bring, expected, state) in phases {
        let mut desk = Desk::running();
        bring(&mut desk);
        assert_eq!(desk.lose("w1"), expected, "{name}");
        assert_eq!(desk.state(), state, "{name}");
    }
}

#[test]
fn a_lost_worker_that_hosts_nothing_is_no_loss() {
    let mut desk = Desk::running();
    desk.on(Event::Registered(register("w2", 1, 4)));
    assert!(desk.lose("w2").is_empty());
    assert_eq!(desk.state(), JobState::Running);
}

#[test]
fn a_worker_that_hangs_while_it_deploys_is_taken_as_lost() {
    let mut desk = Desk::new();
    desk.on(Event::Registered(register("w0", 1, 1)));
    desk.on(Event::Registered(register("w1", 1, 1)));
    let generation = desk.coordinator.generation;
    desk.say("w0", Report::Deployed { generation });
    assert!(desk.after(9000).is_empty());
    assert_eq!(desk.after(1), ["w1 finish", "w0 cancel g1"]);
    let error = desk.coordinator.job_status().error.unwrap();
    assert_eq!(error, "worker w1 has not started its tasks within 9 s");
    assert!(desk.cancelled().is_empty(), "there is one slot for two tasks");
    assert!(desk.after(60_000).is_empty(), "waiting for workers has no end");
    let all = ["w1 cancel g1", "w0 deploy g2 from nothing", "w1 deploy g2 from nothing"];
    assert_eq!(desk.on(Event::Registered(register("w1", 2, 1))), all);
    assert!(desk.after(9000).is_empty(), "each deployment has its time");
}

#[test]
fn workers_that_hang_when_tasks_are_cancelled_or_ended_hold_up_nobody() {
    let mut desk = Desk::running();
    desk.on(Event::Registered(register("w2", 1, 2)));
    let failure = Failure { message: "disk full".into(), user: false };
    let generation = desk.coordinator.generation;
    desk.say("w0", Report::TaskFailed { generation, task: 0, failure });
    desk.say("w0", Report::Cancelled { generation });
    let next = desk.after(9001);
    assert_eq!(next, ["w1 finish", "w0 deploy g2 from nothing", "w2 deploy g2 from nothing"]);
    desk.deployed();
    desk.ask(Request::Stop(Leaves::Nothing));
    desk.cancelled();
    desk.say("w0", Report::Finished);
    assert!(desk.after(9000).is_empty());
    assert_eq!(desk.after(1), ["w2 finish", "exit Stopped"]);
}

#[test]
fn of_a_job_that_does_not_run_something_else_is_told_than_that_the_store_is_away() {
    let mut desk = Desk::running();
    desk.after(1000);
    let generation = desk.coordinator.generation;
    let failure = CutFailure { message: "no answer".into(), is_store_away: true };
    desk.say("w0", Report::CutFailed { generation, epoch: 1, task: 0, failure });
    assert_eq!(desk.coordinator.job_status().blocked, Some(Blocked::StoreUnreachable));
    let failure = Failure { message: "no such row".into(), user: true };
    desk.say("w0", Report::TaskFailed { generation, task: 0, failure });
    let status = desk.coordinator.job_status();
    assert_eq!((status.blocked, status.error.as_deref()), (None, Some("no such row")));
}

#[test]
fn a_recovery_waits_for_the_old_tasks_and_for_slots() {
    let mut desk = Desk::running();
    desk.lose("w1");
    assert!(desk.cancelled().is_empty(), "there is one slot for two tasks");
    let all = ["w1 cancel g1", "w0 deploy g2 from nothing", "w1 deploy g2 from nothing"];
    assert_eq!(desk.on(Event::Registered(register("w1", 2, 1))), all);
    desk.deployed();
    assert_eq!(desk.state(), JobState::Running);
    assert_eq!(desk.coordinator.job_status().recoveries, 1);
}

#[test]
fn a_worker_that_registers_anew_was_lost() {
    let mut desk = Desk::running();
    assert_eq!(desk.on(Event::Registered(register("w1", 2, 1))), ["w0 cancel g1", "w1 cancel g1"]);
    assert!(desk.on(Event::Lost { worker: "w1".into(), incarnation: 1 }).is_empty(), "known already");
    assert_eq!(desk.cancelled(), ["w0 deploy g2 from nothing", "w1 deploy g2 from nothing"]);
}

#[test]
fn a_deployment_that_fails_is_tried_again_unless_it_is_the_users_fault() {
    let failed = |user| {
        let mut desk = Desk::new();
        desk.on(Event::Registered(register("w0", 1, 2)));
        let generation = desk.coordinator.generation;
        let failure = Failure { message: "no such column".into(), user };
        assert_eq!(desk.say("w0", Report::DeployFailed { generation, failure }), ["w0 cancel g1"]);
        desk
    };
    let mut again = failed(false);
    assert_eq!(again.cancelled(), ["w0 deploy g2 from nothing"]);
    let mut over = failed(true);
    assert_eq!(over.cancelled(), ["w0 finish"]);
    assert_eq!(over.say("w0", Report::Finished), ["exit Failed"]);
    assert!(over.coordinator.is_user_error());
    assert_eq!(over.coordinator.job_status().error.as_deref(), Some("no such column"));
}

#[test]
fn too_many_failures_in_a_short_time_end_the_job() {
    let mut desk = Desk::running();
    let fail = |desk: &mut Desk| {
        let failure = Failure { message: "disk full".into(), user: false };
        let generation = desk.coordinator.generation;
        desk.say("w0", Report::TaskFailed { generation, task: 0, failure });
        let next = desk.cancelled();
        desk.deployed();
        next
    };
    for _ in 0..3 {
        assert!(fail(&mut desk)[0].contains("deploy"));
    }
    desk.now_ms += 60_001;
    assert!(fail(&mut desk)[0].contains("deploy"), "earlier failures are forgotten");
    fail(&mut desk);
    fail(&mut desk);
    assert_eq!(fail(&mut desk), ["w0 finish", "w1 finish"]);
    let error = desk.coordinator.job_status().error.unwrap();
    assert_eq!(error, "disk full; 4 failures within 60 s, giving up");
    assert!(!desk.coordinator.is_user_error());
}

#[test]
fn a_broken_data_connection_is_a_failure_of_its_generation() {
    let mut desk = Desk::running();
    let lost = |generation| Report::PeerLost { generation, peer: "w1".into(), reason: "reset".into() };
    let generation = desk.coordinator.generation;
    assert!(desk.say("w0", lost(generation - 1)).is_empty());
    assert_eq!(desk.say("w0", lost(generation)), ["w0 cancel g1", "w1 cancel g1"]);
    assert!(desk.say("w1", lost(generation)).is_empty(), "known already");
    assert_eq!(desk.coordinator.job_status().recoveries, 1);
}

#[test]
fn a_checkpoint_that_takes_too_long_or_fails_is_given_up_and_the_job_goes_on() {
    let mut desk = Desk::running();
    desk.after(1000);
    assert!(desk.after(5000).is_empty());
    assert_eq!(desk.after(1), ["w0 abort e1", "w1 abort e1"]);
    assert_eq!(desk.after(0), ["w0 trigger e2", "w1 trigger e2"]);
    let generation = desk.coordinator.generation;
    let failed = |epoch, is_store_away| {
        let failure = CutFailure { message: "no space".into(), is_store_away };
        Report::CutFailed { generation, epoch, task: 0, failure }
    };
    assert!(desk.say("w0", failed(1, false)).is_empty(), "over already");
    assert!(desk.say("w0", failed(2, false)).starts_with(&["w0 abort e2".into(), "w1 abort e2".into()]));
    assert_eq!(desk.coordinator.job_status().blocked, None);
    desk.after(1000);
    desk.cut(3);
    let refused = Event::Stored { epoch: 3, result: Err("fenced".into()) };
    assert_eq!(desk.on(refused), ["w0 abort e3", "w1 abort e3"]);
    assert_eq!(desk.state(), JobState::Running);
    assert_eq!(desk.coordinator.totals().checkpoints_failed, 3);
    assert!(desk.coordinator.last.is_none());
    // A store that does not answer is in the way until it has a checkpoint.
    desk.after(1000);
    desk.say("w0", failed(4, true));
    let status = desk.coordinator.job_status();
    assert_eq!((status.blocked, status.error.as_deref()), (Some(Blocked::StoreUnreachable), Some("no space")));
    desk.after(1000);
    desk.cut(5);
    desk.on(Event::Stored { epoch: 5, result: Ok("path".into()) });
    let status = desk.coordinator.job_status();
    assert_eq!((status.blocked, status.error), (None, None));
}

#[test]
fn a_recovery_waits_for_the_manifest_on_its_way_and_goes_back_to_it() {
    for (stored, from) in [(true, "e1"), (false, "nothing")] {
        let mut desk = Desk::running();
        desk.after(1000);
        desk.cut(1);
        assert_eq!(desk.on(Event::Registered(register("w1", 2, 1))), ["w0 cancel g1", "w1 cancel g1"]);
        assert!(desk.cancelled().is_empty(), "whether epoch 1 counts is not known");
        let result = if stored { Ok("path".into()) } else { Err("fenced".into()) };
        let deploys = desk.on(Event::Stored { epoch: 1, result });
        assert_eq!(deploys, [format!("w0 deploy g2 from {from}"), format!("w1 deploy g2 from {from}")]);
    }
}

#[test]
fn reports_of_what_is_over_do_nothing() {
    let mut desk = Desk::running();
    let old = desk.coordinator.generation - 1;
    desk.after(1000);
    for report in [
        Report::TaskFailed { generation: old, task: 0, failure: Failure { message: "x".into(), user: true } },
        Report::DeployFailed { generation: old, failure: Failure { message: "x".into(), user: true } },
        Report::Cancelled { generation: old },
        Report::CutFailed {
            generation: old,
            epoch: 1,
            task: 0,
            failure: CutFailure { message: "x".into(), is_store_away: true },
        },
        Report::TaskEnded { generation: old, task: 0 },
        Report::Committed { generation: old, epoch: 1 },
        Report::Finished,
    ] {
        assert!(desk.say("w0", report.clone()).is_empty(), "{report:?}");
    }
    let failure = Failure { message: "x".into(), user: true };
    let generation = desk.coordinator.generation;
    let report = Report::TaskFailed { generation, task: 0, failure };
    let said = Event::Said { worker: "w0".into(), incarnation: 99, report };
    assert!(desk.on(said).is_empty(), "of another incarnation");
    assert_eq!(desk.state(), JobState::Running);
    assert_eq!(desk.cut(1), ["store e1"], "the checkpoint is untouched");
}

#[test]
fn a_recovery_keeps_the_owners_that_load_or_a_person_chose() {
    let mut desk = Desk::running();
    let tasks: Vec<_> = desk.coordinator.deployment[1].tasks.iter().map(|placed| placed.task).collect();
    let chosen = vec![tasks[0], tasks[1], tasks[1], tasks[1], tasks[1], tasks[1], tasks[1], tasks[1]];
    desk.coordinator.deployment[1].table = OwnerTable { version: 7, owners: chosen.clone() };
    desk.after(1000);
    desk.cut(1);
    desk.stored(1);
    desk.on(Event::Registered(register("w1", 2, 1)));
    desk.cancelled();
    assert_eq!(desk.coordinator.deployment[1].table, OwnerTable { version: 8, owners: chosen });
}
