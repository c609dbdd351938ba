//! Workers that are about to end, and workers that are placed on no more.
use millstream_api::wire::{Expect, ReleaseRequest, ReleasedWorker, RescaleRequest, RescaleState};

use super::*;
use crate::message::live::Step;

/// Two workers with these slots and one task a stage each.
fn running(slots: u32) -> Desk {
    let mut desk = Desk::new();
    desk.on(Event::Registered(register("w1", 1, 1)));
    desk.on(Event::Registered(register("w0", 1, 1)));
    desk.deployed();
    for name in ["w0", "w1"] {
        desk.coordinator.workers.get_mut(name).unwrap().register.slots = slots;
    }
    desk
}

fn drain(desk: &mut Desk, worker: &str, left_ms: u64) -> Vec<String> {
    desk.say(worker, Report::Draining { left_ms })
}

/// The task of a stage on a worker.
fn task_on(desk: &Desk, stage: usize, worker: &str) -> TaskId {
    desk.coordinator.deployment[stage].tasks.iter().find(|placed| placed.worker == worker).unwrap().task
}

impl Desk {
    fn moves(&mut self, task: TaskId, version: u64, step: Step) -> Vec<String> {
        let generation = self.coordinator.generation;
        self.say("w0", Report::Moved { generation, task, version, step })
    }

    fn commit(&mut self, epoch: Epoch) -> Vec<String> {
        self.cut(epoch);
        self.stored(epoch);
        self.committed(epoch)
    }

    fn registered_anew(&mut self, name: &str) -> Vec<String> {
        self.on(Event::Registered(register(name, 9, 2)))
    }
}

#[test]
fn what_a_draining_worker_owns_moves_without_a_free_slot_and_then_it_goes() {
    let mut desk = running(1);
    let [window, other] = ["w1", "w0"].map(|worker| task_on(&desk, 1, worker));
    let [source, reader] = ["w1", "w0"].map(|worker| task_on(&desk, 0, worker));
    assert_eq!(drain(&mut desk, "w1", 60_000), ["w0 await v2", "w1 await v2"]);
    let status = desk.coordinator.job_status();
    assert_eq!(status.workers.iter().map(|worker| worker.draining).collect::<Vec<_>>(), [false, true]);
    desk.moves(other, 2, Step::Awaiting);
    desk.moves(window, 2, Step::Copied { bytes: 9 });
    assert_eq!(desk.moves(other, 2, Step::Stored), ["w0 flip v2", "w1 flip v2"]);
    desk.moves(window, 2, Step::HandedOver { bytes: 9 });
    let splits = desk.moves(other, 2, Step::Adopted { pause_us: 9 });
    assert_eq!(splits, [format!("w0 expect [{reader}]"), format!("w1 expect [{reader}]")]);
    desk.moves(reader, 2, Step::Awaiting);
    let given = desk.coordinator.deployment[0].splits.iter().filter(|(task, _)| *task == source);
    let given = given.map(|(_, split)| crate::message::live::MovingSplit {
        from: source,
        to: reader,
        split: split.clone(),
        event_time_ms: None,
    });
    let splits = given.collect::<Vec<_>>();
    assert_eq!(splits.len(), 2);
    desk.moves(source, 2, Step::Gave { splits });
    desk.moves(reader, 2, Step::Adopted { pause_us: 0 });
    let closing = desk.moves(other, 2, Step::Opened { edge: 0, from: reader });
    assert!(closing.is_empty(), "another reader's rows are awaited at the task that leaves, too: {closing:?}");
    let closing = desk.moves(window, 2, Step::Opened { edge: 0, from: reader });
    assert_eq!(closing[0], format!("w0 close [{source}]"));
    let generation = desk.coordinator.generation;
    desk.say("w1", Report::TaskEnded { generation, task: source });
    assert_eq!(desk.say("w1", Report::TaskEnded { generation, task: window }), ["w0 trigger e1", "w1 trigger e1"]);
    let over = desk.commit(1);
    assert!(over[0].starts_with("w0 remove"), "{over:?}");
    assert_eq!(over.last().unwrap(), "w1 finish", "it owns nothing");
    assert_eq!(desk.coordinator.generation, generation);
    let rescale = &desk.coordinator.rescale_status()[0];
    assert_eq!((rescale.state, rescale.drains.as_slice()), (RescaleState::Done, &["w1".to_owned()][..]));
    assert_eq!(desk.coordinator.parallelism, [1, 1]);
    assert!(desk.lose("w1").is_empty(), "nothing is lost with it");
    assert_eq!(desk.state(), JobState::Running);
    let back = desk
        .ask(Request::Rescale(RescaleRequest { stages: [("window-1".into(), 2)].into(), ..RescaleRequest::default() }));
    assert!(back[0].contains("add workers"), "{back:?}");
}

#[test]
fn without_anybody_else_a_checkpoint_is_taken_first() {
    let mut desk = Desk::new();
    desk.on(Event::Registered(register("w0", 1, 2)));
    desk.deployed();
    assert_eq!(drain(&mut desk, "w0", 60_000), ["w0 trigger e1"]);
    desk.cut(1);
    desk.stored(1);
    assert_eq!(desk.committed(1), ["w0 cancel g1"]);
    assert_eq!(desk.cancelled(), ["w0 finish"]);
    desk.lose("w0");
    assert_eq!(desk.coordinator.recoveries, 0, "nothing was lost");
    assert_eq!(desk.registered_anew("w0"), ["w0 cancel g1", "w0 deploy g2 from e1"]);
}

#[test]
fn without_the_time_a_checkpoint_is_taken_and_the_others_go_on_from_it() {
    let mut desk = running(2);
    desk.after(1000);
    assert!(drain(&mut desk, "w1", 100).is_empty(), "the checkpoint under way is as good");
    assert_eq!(desk.commit(1), ["w0 cancel g1", "w1 cancel g1"]);
    assert_eq!(desk.cancelled(), ["w0 deploy g2 from e1", "w1 finish"]);
    assert!(desk.coordinator.deployment[1].tasks.iter().all(|placed| placed.worker == "w0"));
}

#[test]
fn a_move_that_comes_to_no_end_is_given_up_for_a_checkpoint() {
    let mut desk = running(2);
    assert_eq!(drain(&mut desk, "w1", 8_000), ["w0 await v2", "w1 await v2"]);
    assert_eq!(desk.after(6_999)[..2], ["w0 trigger e1", "w1 trigger e1"], "checkpoints go on");
    let late = desk.after(2);
    assert_eq!(late, ["w0 drop v2", "w1 drop v2", "w0 settled", "w1 settled"]);
    desk.after(1);
    assert_eq!(desk.commit(1), ["w0 cancel g1", "w1 cancel g1"]);
}

#[test]
fn a_rescale_under_way_ends_settled_and_then_the_worker_is_emptied() {
    let mut desk = running(2);
    let request = RescaleRequest { stages: [("window-1".into(), 3)].into(), ..RescaleRequest::default() };
    desk.ask(Request::Rescale(request));
    desk.all(|generation| Report::Extended { generation });
    assert_eq!(desk.all(|generation| Report::Linked { generation }), ["w0 await v2", "w1 await v2"]);
    let dropped = drain(&mut desk, "w1", 60_000);
    assert_eq!(dropped[..2], ["w0 drop v2", "w1 drop v2"]);
    assert!(dropped[2].contains("close"), "the task that had joined owns nothing: {dropped:?}");
    let text = desk.coordinator.rescale_status()[0].reason.clone();
    let joined = desk.coordinator.deployment[1].tasks.iter().map(|placed| placed.task).max().unwrap();
    let generation = desk.coordinator.generation;
    assert_eq!(text, None);
    desk.say("w0", Report::TaskEnded { generation, task: joined });
    let next = desk.commit(1);
    assert!(next.contains(&"w1 settled".to_owned()), "{next:?}");
    let next = desk.after(1);
    assert_eq!(desk.coordinator.rescale_status()[0].drains, ["w1"], "{next:?}");
    let reason = desk.coordinator.rescale_status()[1].reason.clone();
    assert_eq!(reason.as_deref(), Some("worker w1 drains"));
}

#[test]
fn a_worker_that_drains_is_given_nothing() {
    let mut desk = Desk::new();
    desk.on(Event::Registered(Register { draining_ms: Some(5_000), ..register("w0", 1, 2) }));
    assert!(desk.coordinator.deployment.is_empty(), "its slots are none");
    let both = ["w1 cancel g0", "w1 deploy g1 from nothing"];
    assert_eq!(desk.on(Event::Registered(register("w1", 1, 2))), both);
}

#[test]
fn another_coordinator_is_told_and_goes_on_with_it() {
    let mut desk = running(1);
    desk.after(1000);
    desk.commit(1);
    let tasks = crate::message::TaskSet {
        deploy: desk.coordinator.describe(None),
        ended: Vec::new(),
        epoch: 1,
        is_whole: true,
        progress: crate::message::live::Progress::default(),
    };
    let config = Config { term: TERM + 1, noted: Some(desk.coordinator.generation), ..config() };
    let mut desk = Desk { coordinator: Coordinator::new(config, desk.coordinator.last.clone(), true), now_ms: 0 };
    desk.on(Event::Registered(register("w0", 1, 1)));
    let draining = Register { draining_ms: Some(60_000), ..register("w1", 1, 1) };
    assert_eq!(desk.on(Event::Registered(draining)), ["w1 describe"], "it may have tasks");
    desk.say("w0", Report::Described(Some(Box::new(tasks.clone()))));
    let adopted = desk.say("w1", Report::Described(Some(Box::new(tasks))));
    assert!(adopted.iter().all(|action| action.contains("adopt")), "{adopted:?}");
    assert_eq!(desk.after(1), ["w0 await v2", "w1 await v2"]);
}

#[test]
fn a_coordinator_waits_for_hosts_as_long_as_it_is_told() {
    let mut desk = running(1);
    desk.after(1000);
    desk.commit(1);
    let patience = Some(Patience { start_ms: 60_000, lost_ms: 2_000, adopt_ms: 5_000 });
    let config = Config { term: TERM + 1, noted: Some(desk.coordinator.generation), patience, ..config() };
    let mut desk = Desk { coordinator: Coordinator::new(config, desk.coordinator.last.clone(), true), now_ms: 0 };
    assert_eq!(desk.on(Event::Registered(register("w0", 1, 2))), ["w0 describe"]);
    assert!(desk.after(4_999).is_empty());
    assert_eq!(desk.after(1)[0], "w0 cancel g0");
}

fn released(name: &str, incarnation: u64) -> Request {
    let workers = vec![ReleasedWorker { name: name.into(), incarnation }];
    Request::Release(ReleaseRequest { workers, expect: None })
}

#[test]
fn a_released_worker_is_placed_on_only_as_another_incarnation() {
    let mut desk = Desk::running();
    desk.on(Event::Registered(register("w2", 1, 2)));
    let hosts = "refuse 409 worker w1 hosts tasks; rescale first, so that it owns nothing";
    assert_eq!(desk.ask(released("w1", 1)), [hosts]);
    let other = "refuse 409 worker w2 is at incarnation 1, not 7; look again";
    assert_eq!(desk.ask(released("w2", 7)), [other]);
    assert_eq!(desk.ask(released("w2", 1)), ["w2 release", "answer done"]);
    assert!(desk.coordinator.job_status().workers[2].released);
    desk.lose("w1");
    assert!(desk.cancelled().is_empty(), "its slots are none");
    assert_eq!(desk.on(Event::Registered(register("w2", 1, 2))), ["w2 cancel g1"], "the same incarnation");
    let next = desk.on(Event::Registered(register("w2", 2, 2)));
    assert_eq!(next, ["w2 cancel g1", "w0 deploy g2 from nothing", "w2 deploy g2 from nothing"]);
    // One that is not there, or says so itself.
    assert_eq!(desk.ask(released("w9", 4)), ["answer done"]);
    desk.on(Event::Registered(register("w9", 4, 1)));
    desk.on(Event::Registered(Register { released: true, ..register("w8", 4, 1) }));
    let status = desk.coordinator.job_status();
    let released = status.workers.iter().filter(|worker| worker.released).map(|worker| worker.id.as_str());
    assert_eq!(released.collect::<Vec<_>>(), ["w8", "w9"]);
}

#[test]
fn what_was_decided_on_another_job_is_refused() {
    let mut desk = Desk::running();
    let generation = desk.coordinator.generation;
    let ask = |expect: Expect| {
        let stages = [("window-1".into(), 1)].into();
        Request::Rescale(RescaleRequest { stages, expect: Some(expect), ..RescaleRequest::default() })
    };
    let tables =
        |version| Expect { generation: Some(generation), table_versions: [("window-1".into(), version)].into() };
    let older = Expect { generation: Some(generation - 1), ..Expect::default() };
    assert!(desk.ask(ask(older.clone()))[0].starts_with("refuse 409 the job is at generation"));
    assert!(desk.ask(Request::If(older, Box::new(Request::Stop(Leaves::Nothing))))[0].starts_with("refuse 409"));
    let text = "refuse 409 the owner table of stage window-1 is at version 1, not 2";
    assert_eq!(desk.ask(ask(tables(2))), [text]);
    let unknown = Expect { table_versions: [("none".into(), 1)].into(), ..Expect::default() };
    assert!(desk.ask(ask(unknown))[0].starts_with("refuse 404 there is no stage none"));
    assert_eq!(desk.coordinator.stage_status()[1].table_version, 1);
    assert_eq!(desk.ask(ask(tables(1)))[0], "answer rescale 1 running");
}

#[test]
fn slots_that_are_missing_are_waited_for_only_so_long() {
    let patience = Some(Patience { start_ms: 60_000, lost_ms: 2_000, adopt_ms: 5_000 });
    let coordinator = Coordinator::new(Config { patience, ..config() }, None, false);
    let mut desk = Desk { coordinator, now_ms: 5 };
    desk.on(Event::Registered(register("w0", 1, 1)));
    assert!(desk.after(59_999).is_empty());
    assert_eq!(desk.after(1), ["w0 deploy g1 from nothing"]);
    desk.deployed();
    assert_eq!(desk.coordinator.parallelism, [1, 1]);
    desk.on(Event::Registered(register("w1", 1, 1)));
    let request = RescaleRequest { stages: [("window-1".into(), 2)].into(), ..RescaleRequest::default() };
    desk.ask(Request::Rescale(RescaleRequest { strategy: millstream_api::wire::RescaleStrategy::Restart, ..request }));
    desk.commit(1);
    desk.cancelled();
    desk.deployed();
    assert_eq!(desk.coordinator.parallelism, [1, 2]);
    desk.lose("w1");
    desk.cancelled();
    assert!(desk.after(1_999).is_empty(), "its container may just start again");
    assert_eq!(desk.after(1), ["w0 deploy g3 from e1"]);
    assert_eq!(desk.coordinator.parallelism, [1, 1]);
}

fn vacate(workers: &[&str]) -> Request {
    let vacate = workers.iter().map(ToString::to_string).collect();
    Request::Rescale(RescaleRequest { vacate, ..RescaleRequest::default() })
}

#[test]
fn a_worker_that_is_vacated_gives_all_it_has_to_as_many_tasks_elsewhere() {
    let mut desk = running(1);
    assert_eq!(desk.ask(vacate(&["w7"])), ["refuse 404 there is no worker w7 to vacate"]);
    let full = desk.ask(vacate(&["w1"]));
    assert!(full[0].starts_with("refuse 409 ") && full[0].ends_with("; add workers"), "{full:?}");
    desk.on(Event::Registered(register("w2", 1, 1)));
    assert_eq!(desk.ask(vacate(&["w2"])), ["answer rescale 1 done"], "it hosts nothing");
    let stays = [0, 1].map(|stage| task_on(&desk, stage, "w0"));
    let before = desk.coordinator.deployment[1].table.clone();
    let Request::Rescale(request) = vacate(&["w1"]) else { panic!() };
    let target = desk.coordinator.target(&request, &[2, 2]).unwrap().stages;
    let begun = desk.ask(vacate(&["w1"]));
    assert_eq!(begun[0], "answer rescale 1 running", "{begun:?}");
    let hosts = |stage: usize| target[stage].tasks.iter().map(|placed| placed.worker.as_str()).collect::<Vec<_>>();
    assert_eq!([hosts(0), hosts(1)], [["w0", "w2"], ["w0", "w2"]]);
    for (stage, task) in stays.iter().enumerate() {
        assert!(target[stage].tasks.iter().any(|placed| placed.task == *task), "the other stays what it is");
    }
    let moved = target[1].table.owners.iter().zip(&before.owners).filter(|(after, before)| after != before).count();
    let owned = before.owners.iter().filter(|owner| **owner != stays[1]).count();
    assert_eq!(moved, owned, "what the other owns stays");
    assert_eq!(desk.coordinator.rescale_status()[0].from, desk.coordinator.rescale_status()[0].to);
}
