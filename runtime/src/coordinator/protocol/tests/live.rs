//! A rescale of a running generation, order by order, and what disturbs it.
use millstream_api::wire::{RescaleRequest, RescaleState};

use super::*;
use crate::message::live::Step;

/// `window-1` to so many tasks, live.
fn rescale(tasks: u32) -> Request {
    Request::Rescale(RescaleRequest { stages: [("window-1".into(), tasks)].into(), ..RescaleRequest::default() })
}

fn window_tasks(desk: &Desk) -> Vec<TaskId> {
    desk.coordinator.deployment[1].tasks.iter().map(|placed| placed.task).collect()
}

impl Desk {
    pub(super) fn step(&mut self, task: TaskId, version: u64, step: Step) -> Vec<String> {
        let generation = self.coordinator.generation;
        self.say("w0", Report::Moved { generation, task, version, step })
    }

    /// A job whose two window tasks become one, up to the flip.
    fn flipped() -> (Self, TaskId, TaskId) {
        let mut desk = Desk::running();
        let (stays, leaves) = (window_tasks(&desk)[0], window_tasks(&desk)[1]);
        assert_eq!(desk.ask(rescale(1)), ["answer rescale 1 running", "w0 await v2", "w1 await v2"]);
        assert_eq!(desk.step(stays, 2, Step::Awaiting), ["w0 copy v2", "w1 copy v2"]);
        assert!(desk.step(leaves, 2, Step::Copied { bytes: 9 }).is_empty(), "it is not in the store of its next owner");
        assert_eq!(desk.step(stays, 2, Step::Stored), ["w0 flip v2", "w1 flip v2"]);
        (desk, stays, leaves)
    }

    fn status(&self) -> RescaleStatus {
        self.coordinator.rescale_status()[0].clone()
    }
}

#[test]
fn groups_move_and_then_their_task_leaves() {
    let (mut desk, stays, leaves) = Desk::flipped();
    assert!(desk.after(5_000).is_empty(), "no barrier travels in flux");
    assert!(desk.step(leaves, 2, Step::HandedOver { bytes: 70 }).is_empty());
    let closed = [format!("w0 close [{leaves}]"), format!("w1 close [{leaves}]")];
    let settled = desk.step(stays, 2, Step::Adopted { pause_us: 21_500 });
    assert_eq!(settled[..2], closed);
    assert!(desk.coordinator.deployment[1].table.owners.iter().all(|owner| *owner == stays));
    // The checkpoint that was due shows nothing of what the task that leaves still writes.
    assert_eq!(settled[2..], ["w0 trigger e1", "w1 trigger e1"]);
    let generation = desk.coordinator.generation;
    desk.say("w1", Report::TaskEnded { generation, task: leaves });
    desk.cut(1);
    desk.stored(1);
    assert_eq!(desk.committed(1), ["w0 trigger e2", "w1 trigger e2"]);
    desk.cut(2);
    desk.stored(2);
    let removed = [format!("w0 remove [{leaves}]"), format!("w1 remove [{leaves}]")];
    let over = desk.committed(2);
    assert_eq!((&over[..2], &over[2..]), (&removed[..], &["w0 settled".to_owned(), "w1 settled".into()][..]));
    let status = desk.status();
    assert_eq!((status.state, status.groups_moved, status.groups_moved_min), (RescaleState::Done, 4, 4));
    assert_eq!((status.bytes_moved, status.pause_ms_max, status.batches_done), (70, Some(22), 1));
    let moved = &status.history[0].moves[0];
    assert_eq!((moved.from, moved.to, moved.groups.len(), moved.pause_ms), (leaves, stays, 4, 22));
    assert_eq!(window_tasks(&desk), [stays]);
}

#[test]
fn new_tasks_join_before_anything_moves() {
    let mut desk = Desk::new();
    desk.on(Event::Registered(register("w0", 1, 2)));
    desk.on(Event::Registered(register("w1", 1, 2)));
    desk.deployed();
    let extended = desk.ask(rescale(3));
    assert_eq!(extended, ["answer rescale 1 running", "w0 extend", "w1 extend"]);
    let joins = window_tasks(&desk)[2];
    assert!(desk.all(|generation| Report::Extended { generation }).contains(&"w1 link".to_owned()));
    let awaited = desk.all(|generation| Report::Linked { generation });
    assert_eq!(awaited, ["w0 await v2", "w1 await v2"]);
    assert!(!desk.coordinator.deployment[1].table.owners.contains(&joins), "it owns nothing yet");
}

#[test]
fn a_barrier_in_the_way_is_given_up_once_and_then_has_longer() {
    let mut desk = Desk::running();
    desk.after(1000);
    let (stays, leaves) = (window_tasks(&desk)[0], window_tasks(&desk)[1]);
    desk.ask(rescale(1));
    desk.step(stays, 2, Step::Awaiting);
    desk.step(stays, 2, Step::Stored);
    assert!(desk.step(leaves, 2, Step::Copied { bytes: 9 }).is_empty(), "a barrier is on its way");
    assert!(desk.after(999).is_empty());
    assert_eq!(desk.after(1), ["w0 abort e1", "w1 abort e1", "w0 flip v2", "w1 flip v2"]);
    desk.step(leaves, 2, Step::HandedOver { bytes: 1 });
    let settled = desk.step(stays, 2, Step::Adopted { pause_us: 0 });
    assert_eq!(settled[2..], ["w0 trigger e2", "w1 trigger e2"], "checkpoints go on");
}

#[test]
fn a_cancelled_batch_is_dropped_before_its_flip_and_completed_after() {
    let mut desk = Desk::running();
    let stays = window_tasks(&desk)[0];
    desk.ask(rescale(1));
    let dropped = desk.ask(Request::CancelRescale);
    assert_eq!(dropped[..2], ["w0 drop v2", "w1 drop v2"]);
    assert!(dropped.contains(&"w1 settled".to_owned()), "{dropped:?}");
    assert_eq!((desk.status().state, desk.status().groups_moved), (RescaleState::Cancelled, 0));
    assert!(desk.step(stays, 2, Step::Awaiting).is_empty(), "it comes too late");
    assert_eq!(desk.ask(rescale(1))[1..], ["w0 await v3", "w1 await v3"], "no version twice");

    let (mut desk, stays, leaves) = Desk::flipped();
    assert_eq!(desk.ask(Request::CancelRescale), ["answer rescale 1 running"]);
    desk.step(leaves, 2, Step::HandedOver { bytes: 1 });
    let settled = desk.step(stays, 2, Step::Adopted { pause_us: 0 });
    assert_eq!(settled[0], format!("w0 close [{leaves}]"), "a task that owns nothing leaves all the same");
}

#[test]
fn who_declines_a_dropped_batch_says_nothing_of_the_next() {
    let mut desk = Desk::running();
    let (stays, leaves) = (window_tasks(&desk)[0], window_tasks(&desk)[1]);
    desk.ask(rescale(1));
    desk.ask(Request::CancelRescale);
    desk.ask(rescale(1));
    assert!(desk.step(leaves, 2, Step::Declined).is_empty());
    assert_eq!(desk.step(stays, 3, Step::Awaiting), ["w0 copy v3", "w1 copy v3"]);
    let dropped = desk.step(leaves, 3, Step::Declined);
    assert_eq!(dropped[..2], ["w0 drop v3", "w1 drop v3"]);
    let status = desk.status();
    assert_eq!(status.state, RescaleState::Done);
    assert_eq!(status.reason.as_deref(), Some("window-1 had read all input and changed no further"));
}

#[test]
fn a_lost_worker_ends_the_rescale_and_the_job_goes_back_with_as_many_tasks() {
    let (mut desk, ..) = Desk::flipped();
    desk.lose("w1");
    let status = desk.status();
    assert_eq!(status.state, RescaleState::Failed);
    assert!(status.reason.unwrap().contains("worker w1"));
    desk.on(Event::Registered(register("w1", 2, 1)));
    desk.cancelled();
    assert_eq!(window_tasks(&desk).len(), 2);
    let (mut desk, ..) = Desk::flipped();
    assert_eq!(desk.after(30_001)[..2], ["w0 cancel g1", "w1 cancel g1"], "stuck");
}

#[test]
fn one_rescale_at_a_time() {
    let (mut desk, ..) = Desk::flipped();
    let refused = desk.ask(rescale(3));
    assert!(refused[0].starts_with("refuse 409 a rescale is under way"), "{refused:?}");
}

#[test]
fn a_coordinator_that_ends_finishes_what_is_on_the_move_and_begins_nothing() {
    let retire = |desk: &mut Desk| desk.on(Event::Retire);
    // Before the flip: the batch is dropped.
    let mut desk = Desk::running();
    desk.ask(rescale(1));
    desk.step(window_tasks(&desk)[0], 2, Step::Awaiting);
    assert_eq!(retire(&mut desk), ["w0 drop v2", "w1 drop v2", "w0 settled", "w1 settled"]);
    assert!(!desk.coordinator.is_moving());
    assert_eq!(desk.status().state, RescaleState::Cancelled);
    // After it: the batch is completed, and its task leaves with a checkpoint that does not wait for its time.
    let (mut desk, stays, leaves) = Desk::flipped();
    assert!(retire(&mut desk).is_empty() && desk.coordinator.is_moving());
    desk.step(leaves, 2, Step::HandedOver { bytes: 70 });
    desk.step(stays, 2, Step::Adopted { pause_us: 1 });
    let generation = desk.coordinator.generation;
    let ended = desk.say("w1", Report::TaskEnded { generation, task: leaves });
    assert_eq!(ended, ["w0 trigger e1", "w1 trigger e1"], "whenever the next one is due");
    desk.cut(1);
    desk.stored(1);
    let removed = [format!("w0 remove [{leaves}]"), format!("w1 remove [{leaves}]")];
    assert_eq!(desk.committed(1), [&removed[..], &["w0 settled".to_owned(), "w1 settled".into()]].concat());
    assert!(!desk.coordinator.is_moving());
    let later = desk.ask(rescale(2));
    assert!(later.iter().all(|said| !said.contains("extend")), "{later:?}");
}

#[test]
fn a_rescale_cancelled_before_it_begins_starts_no_task() {
    let mut desk = Desk::new();
    desk.on(Event::Registered(register("w0", 1, 2)));
    desk.on(Event::Registered(register("w1", 1, 2)));
    desk.deployed();
    desk.after(1000);
    assert_eq!(desk.ask(rescale(3)), ["answer rescale 1 running"], "a barrier is on its way");
    let cancelled = desk.ask(Request::CancelRescale);
    assert!(cancelled.contains(&"w0 settled".to_owned()), "{cancelled:?}");
    assert!(!cancelled.iter().any(|said| said.contains("extend")), "{cancelled:?}");
    assert_eq!((desk.status().state, window_tasks(&desk).len()), (RescaleState::Cancelled, 2));
}

#[test]
fn the_checkpoint_that_tasks_leave_with_is_tried_again_in_its_time() {
    let (mut desk, stays, leaves) = Desk::flipped();
    desk.step(leaves, 2, Step::HandedOver { bytes: 70 });
    desk.step(stays, 2, Step::Adopted { pause_us: 1 });
    let generation = desk.coordinator.generation;
    let ended = desk.say("w1", Report::TaskEnded { generation, task: leaves });
    assert_eq!(ended, ["w0 trigger e1", "w1 trigger e1"]);
    let failure = CutFailure { message: "no space".into(), is_store_away: false };
    let failed = desk.say("w0", Report::CutFailed { generation, epoch: 1, task: 0, failure });
    assert!(!failed.iter().any(|said| said.contains("trigger")), "{failed:?}");
    assert!(desk.after(999).is_empty());
    assert_eq!(desk.after(1), ["w0 trigger e2", "w1 trigger e2"]);
    desk.cut(2);
    desk.stored(2);
    assert!(desk.committed(2).contains(&"w0 settled".to_owned()));
}
