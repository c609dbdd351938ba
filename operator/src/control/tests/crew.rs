//! Workers that do not come, are lost, or come back.
use super::*;
use crate::platform::number::Numbers;

/// A job whose bottleneck should have so many tasks, as a person says; new workers have 5 s.
fn asked_for(tasks: u32) -> World {
    let mut world = World::new("Off");
    let stages = [("source".to_owned(), 1), ("sink".to_owned(), 1)].into();
    world.plan.targets = Some(Targets { stages, others: tasks });
    world.plan.workers_timeout_ms = 5_000;
    world
}

fn lose(world: &mut World, worker: &str) {
    world.job().workers.retain(|known| known.id != worker);
}

/// Workers that are to be emptied, by the rescales among these actions.
fn vacated(actions: &[Action]) -> Vec<String> {
    let requests = actions.iter().filter_map(|action| match action {
        Action::Rescale(request) => Some(request.vacate.clone()),
        _ => None,
    });
    requests.flatten().collect()
}

#[test]
fn workers_that_do_not_come_are_given_up_and_asked_for_again() {
    let mut world = asked_for(2);
    assert_eq!(kinds(&world.turns(1)), ["workers 2"]);
    lose(&mut world, "w1");
    world.memory.lacks("no node takes it".into());
    assert_eq!(kinds(&world.turns(4)), [""; 0], "they have time");
    assert_eq!((world.memory.given_up(), world.memory.scarcity()), (None, Some("no node takes it")));
    assert_eq!(kinds(&world.turns(3)), ["workers 1"], "the job goes on at its size");
    let given_up = world.memory.given_up().cloned().unwrap();
    assert_eq!((given_up.workers, world.memory.scarcity()), (2, Some("no node takes it")));
    let left = u32::try_from((given_up.again_ms - world.now_ms) / 1000).unwrap();
    assert!((55..=60).contains(&left), "{left}");
    assert_eq!(kinds(&world.turns(left - 1)), [""; 0], "not before that");
    // This time it comes.
    assert_eq!(kinds(&world.turns(3)), ["workers 2", "rescale 2", "rescaled 2"]);
    assert_eq!((world.memory.given_up(), world.memory.scarcity()), (None, None));
}

#[test]
fn workers_of_a_rescale_that_is_refused_are_there_when_it_is_asked_for_again() {
    let mut world = asked_for(2);
    assert_eq!(kinds(&world.turns(1)), ["workers 2"]);
    world.memory.refused(world.now_ms);
    assert_eq!(kinds(&world.turns(29)), [""; 0], "neither more nor fewer");
    assert_eq!(kinds(&world.turns(3)), ["rescale 2", "rescaled 2"]);
}

#[test]
fn a_rescale_whose_answer_was_lost_holds_nothing_up_once_it_is_done() {
    let mut world = asked_for(2);
    assert_eq!(kinds(&world.turns(2)), ["workers 2", "rescale 2"]);
    world.memory.refused(world.now_ms);
    assert_eq!(kinds(&world.turns(1)), ["rescaled 2"]);
    world.plan.targets.as_mut().unwrap().others = 3;
    assert_eq!(kinds(&world.turns(2)), ["workers 3", "rescale 3"]);
}

#[test]
fn another_wish_is_tried_at_once_and_fewer_tasks_need_no_workers() {
    let mut world = asked_for(3);
    world.turns(1);
    world.job().workers.truncate(1);
    assert_eq!(kinds(&world.turns(7)), ["workers 1"]);
    world.plan.targets.as_mut().unwrap().others = 2;
    assert_eq!(kinds(&world.turns(1)), ["workers 2"]);
}

#[test]
fn the_autoscaler_does_not_ask_for_what_is_not_to_be_had() {
    let mut world = World::new("Auto");
    world.plan.workers_timeout_ms = 5_000;
    world.offered = 60_000.0;
    let mut asked = 0;
    for _ in 0..40 {
        asked += kinds(&world.turn()).iter().filter(|kind| kind.starts_with("workers") && *kind != "workers 1").count();
        world.job().workers.truncate(1);
    }
    assert_eq!((asked, world.observed.workers_desired), (1, 1));
    assert!(world.memory.given_up().is_some_and(|given_up| given_up.workers > 1));
}

#[test]
fn a_lost_worker_is_made_up_for_and_what_was_added_goes_emptied_when_it_is_back() {
    let mut world = asked_for(2);
    world.turns(3);
    assert_eq!(world.tasks(), 2);
    // The job has restored on one of its workers, and the other one is on a node that is gone.
    world.deploy(1);
    lose(&mut world, "w1");
    world.job().generation += 1;
    world.observed.numbers = Numbers { lost: [1].into() };
    world.observed.workers_desired = 1;
    world.now_ms += 1000;
    let actions = step(&world.observed, &world.plan, &mut world.memory, world.now_ms);
    assert_eq!(kinds(&actions), ["workers 2"], "one for it");
    world.observed.workers_desired = 2;
    let added = WorkerStatus { id: "w2".into(), incarnation: 1, ..WorkerStatus::default() };
    world.job().workers.push(added);
    assert_eq!(kinds(&world.turns(2)), ["rescale 2", "rescaled 2"]);
    world.job().workers[1] =
        WorkerStatus { id: "w2".into(), incarnation: 1, tasks: vec![1], ..WorkerStatus::default() };
    assert_eq!(kinds(&world.turns(10)), [""; 0], "it stays as long as the other is lost");

    // The node is back, and with it a worker of that name.
    world.observed.numbers = Numbers::default();
    world.observed.workers_desired = 3;
    assert_eq!(kinds(&world.turns(10)), [""; 0], "it is not registered yet");
    let back = WorkerStatus { id: "w1".into(), incarnation: 2, draining: true, ..WorkerStatus::default() };
    world.job().workers.insert(1, back);
    assert_eq!(vacated(&world.turns(5)), [""; 0], "one that drains is not back");
    world.job().workers[1].draining = false;
    let actions = world.turns(2);
    assert_eq!(vacated(&actions), ["w2"], "only once");
    for (at, tasks) in [(1, vec![1]), (2, Vec::new())] {
        world.job().workers[at].tasks = tasks;
    }
    let done =
        RescaleStatus { id: 9, state: RescaleState::Done, to: [("work".into(), 2)].into(), ..RescaleStatus::default() };
    world.observed.rescales.insert(0, done);
    assert_eq!(kinds(&world.turns(3)), ["rescaled 2", "workers 2"]);
}
