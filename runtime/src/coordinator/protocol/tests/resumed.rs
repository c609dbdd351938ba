//! A coordinator that comes back while units are on the move: what it does with what its workers have heard.
use millstream_api::owner::OwnerTable;
use millstream_api::wire::{RescaleState, RescaleStatus};

use super::adopted::{back, described, returned};
use super::*;
use crate::message::TaskSet;
use crate::message::live::{HandOver, Links, Order, Step};
use crate::rescale::plan::Move;

/// The two tasks of the keyed stage, the second of which gives all it has to the first.
struct Scene {
    desk: Desk,
    tasks: TaskSet,
    orders: Vec<Order>,
    flipped: OwnerTable,
    stays: TaskId,
    leaves: TaskId,
}

fn scene() -> Scene {
    let (desk, tasks) = returned();
    let stage = &tasks.deploy.stages[1];
    let (stays, leaves) = (stage.tasks[0].task, stage.tasks[1].task);
    let moves = vec![Move { from: leaves, to: stays, groups: stage.table.groups_of(leaves) }];
    let order = HandOver { stage: 1, version: 2, moves, ahead: true, bytes: 9 };
    let flipped = OwnerTable { version: 2, owners: vec![stays; stage.table.owners.len()] };
    let flip = Order::Flip { stage: 1, table: flipped.clone() };
    let close = Order::Close { stage: 1, tasks: vec![leaves] };
    let orders = vec![Order::Await(order.clone()), Order::Copy(order), flip, close];
    Scene { desk, tasks, orders, flipped, stays, leaves }
}

impl Scene {
    /// What a worker describes that has heard the first `count` orders, and whose tasks have done these steps.
    fn heard(&self, count: usize, steps: &[(TaskId, Step)]) -> TaskSet {
        let mut tasks = self.tasks.clone();
        for (number, order) in (1..).zip(&self.orders[..count]) {
            tasks.progress.ordered(number, order);
            if let Order::Flip { table, .. } = order {
                tasks.deploy.stages[1].table = table.clone();
            }
        }
        steps.iter().for_each(|(task, step)| tasks.progress.did(*task, 2, step.clone()));
        tasks
    }

    /// Both come back; what they are told behind `adopt`.
    fn meet(&mut self, w0: &TaskSet, w1: &TaskSet) -> Vec<String> {
        back(&mut self.desk, "w0");
        back(&mut self.desk, "w1");
        self.desk.say("w0", described(w0));
        let said = self.desk.say("w1", described(w1));
        assert!(said[..2].iter().all(|said| said.contains("adopt g1")), "{said:?}");
        said[2..].to_vec()
    }

    fn step(&mut self, task: TaskId, step: Step) -> Vec<String> {
        self.desk.step(task, 2, step)
    }
}

#[test]
fn a_batch_that_no_router_knows_of_is_dropped() {
    for count in [1, 2] {
        let mut scene = scene();
        let said = scene.meet(&scene.heard(count, &[]), &scene.heard(0, &[]));
        let missed: Vec<String> = ["w1 await v2", "w1 copy v2"][..count].iter().map(ToString::to_string).collect();
        let dropped = ["w0 drop v2", "w1 drop v2"].map(str::to_owned);
        assert_eq!(said, [missed, dropped.to_vec()].concat());
        assert_eq!(scene.desk.after(1), ["w0 settled", "w1 settled"]);
        assert_eq!(scene.desk.coordinator.deployment[1].table.owners, scene.tasks.deploy.stages[1].table.owners);
        assert_eq!(scene.desk.coordinator.deployment[1].table.version, 2, "its name is not used again");
        assert_eq!(scene.desk.coordinator.rescale_status()[0].state, RescaleState::Cancelled);
    }
}

#[test]
fn a_batch_that_one_router_knows_of_is_completed() {
    let mut scene = scene();
    let (stays, leaves) = (scene.stays, scene.leaves);
    let said = scene.meet(&scene.heard(2, &[]), &scene.heard(3, &[(leaves, Step::HandedOver { bytes: 7 })]));
    assert_eq!(said, ["w0 flip v2"]);
    assert!(scene.desk.after(5_000).is_empty(), "no barrier travels in flux");
    let settled = scene.step(stays, Step::Adopted { pause_us: 1 });
    assert_eq!(settled[..2], [format!("w0 close [{leaves}]"), format!("w1 close [{leaves}]")]);
    assert_eq!(scene.desk.coordinator.deployment[1].table, scene.flipped);
}

#[test]
fn what_was_done_before_anybody_asked_counts() {
    let mut scene = scene();
    let (stays, leaves) = (scene.stays, scene.leaves);
    let told = scene.heard(3, &[(leaves, Step::HandedOver { bytes: 7 })]);
    back(&mut scene.desk, "w0");
    back(&mut scene.desk, "w1");
    scene.desk.say("w0", described(&told));
    let (generation, step) = (told.deploy.generation, Step::Adopted { pause_us: 1 });
    let moved = Report::Moved { generation, task: stays, version: 2, step };
    assert!(scene.desk.say("w0", moved).is_empty(), "w1 has not answered yet");
    let said = scene.desk.say("w1", described(&scene.heard(3, &[])));
    assert_eq!(said.len(), 2, "{said:?}");
    assert_eq!(scene.desk.after(1)[0], format!("w0 close [{leaves}]"), "the batch is settled");
}

#[test]
fn tasks_are_told_once_to_come_to_their_end() {
    let mut scene = scene();
    let (leaves, told) = (scene.leaves, scene.heard(4, &[]));
    let said = scene.meet(&told, &scene.heard(3, &[]));
    assert_eq!(said, [format!("w1 close [{leaves}]")]);
    assert!(scene.desk.after(1).is_empty(), "{leaves} has not ended");
    let generation = scene.desk.coordinator.generation;
    let ended = scene.desk.say("w1", Report::TaskEnded { generation, task: leaves });
    assert_eq!(ended, ["w0 trigger e5", "w1 trigger e5"], "the checkpoint that shows what it wrote");
}

#[test]
fn a_worker_that_has_left_shows_that_its_tasks_were_removed() {
    let mut scene = scene();
    let (stays, leaves) = (scene.stays, scene.leaves);
    let mut told = scene.heard(4, &[]);
    // All that w1 hosts has come to its end, and it alone has heard that it may go.
    told.deploy.stages[0].tasks.iter_mut().for_each(|placed| placed.worker = "w0".into());
    back(&mut scene.desk, "w0");
    back(&mut scene.desk, "w1");
    scene.desk.say("w1", Report::Described(None));
    let said = scene.desk.say("w0", described(&told));
    assert_eq!(said[1..], ["w1 cancel g1".to_owned(), format!("w0 remove [{leaves}]")], "{said:?}");
    assert_eq!(scene.desk.after(1), ["w0 settled"]);
    assert_eq!(scene.desk.coordinator.deployment[1].tasks.iter().map(|at| at.task).collect::<Vec<_>>(), [stays]);
}

#[test]
fn tasks_that_join_are_linked_and_then_leave_since_they_own_nothing() {
    let mut scene = scene();
    let joins = 77;
    let mut told = scene.heard(0, &[]);
    let placed = crate::job::Placement { task: joins, worker: "w1".into() };
    told.deploy.stages[1].tasks.push(placed);
    told.progress.extended(1, vec![joins]);
    told.progress.links = Links::Extended { said: true };
    assert_eq!(scene.meet(&told, &scene.heard(0, &[])), ["w1 extend"]);
    let generation = scene.desk.coordinator.generation;
    assert_eq!(scene.desk.say("w1", Report::Extended { generation }), ["w0 link", "w1 link"]);
    let closed = scene.desk.all(|generation| Report::Linked { generation });
    assert_eq!(closed, [format!("w0 close [{joins}]"), format!("w1 close [{joins}]")]);
}

#[test]
fn a_rescale_keeps_its_number_and_those_before_it_are_remembered() {
    let rescale = |id, state| RescaleStatus { id, state, batches_done: 3, ..RescaleStatus::default() };
    let tasks = |(source, window)| BTreeMap::from([("source-1".to_owned(), source), ("window-1".to_owned(), window)]);
    for (heard, from, to, moved, expected) in [
        (2, (2, 3), (2, 1), true, RescaleState::Cancelled),
        (0, (2, 3), (2, 1), true, RescaleState::Failed),
        (0, (2, 3), (2, 2), true, RescaleState::Done),
        // Tasks have joined, and own next to nothing.
        (0, (2, 3), (2, 2), false, RescaleState::Failed),
        // It was about another stage, and this one is like that.
        (0, (1, 2), (2, 2), false, RescaleState::Done),
    ] {
        let mut scene = scene();
        if !moved {
            let owners = &mut scene.tasks.deploy.stages[1].table.owners;
            owners.iter_mut().skip(1).for_each(|owner| *owner = scene.stays);
        }
        let last = RescaleStatus { from: tasks(from), to: tasks(to), ..rescale(7, RescaleState::Running) };
        scene.desk.coordinator.rescales = [last, rescale(6, RescaleState::Done)].into();
        scene.meet(&scene.heard(heard, &[]), &scene.heard(0, &[]));
        scene.desk.after(1);
        let known = scene.desk.coordinator.rescale_status();
        assert_eq!(known.iter().map(|known| known.id).collect::<Vec<_>>(), [7, 6]);
        assert_eq!((known[0].state, known[0].batches_done), (expected, 3));
        let says_why = known[0].reason.as_ref().is_some_and(|reason| reason.contains("was lost"));
        assert_eq!(says_why, expected != RescaleState::Done, "{:?}", known[0].reason);
        assert_eq!(known[1], rescale(6, RescaleState::Done));
    }
}
