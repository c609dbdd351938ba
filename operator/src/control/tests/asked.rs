//! Rescales that were asked for: refused, of others, or long.
use super::*;
use crate::control::report::{JobSample, StageSample};

#[test]
fn a_rescale_of_others_is_not_undone_for_one_that_was_refused() {
    let sample = |processed_per_s| JobSample {
        offered_per_s: Some(1000.0),
        processed_per_s,
        lag_records: Some(9000),
        stages: vec![StageSample { name: "work".into(), parallelism: 2, ..StageSample::default() }],
        ..JobSample::default()
    };
    for (is_refused, undone) in [(false, 1), (true, 0)] {
        let mut memory = Memory::new();
        memory.probation.begin(&[("work".into(), 4)].into(), &sample(1000.0));
        if is_refused {
            memory.refused(0);
        }
        memory.probation.ended(1, true);
        assert_eq!(memory.probation.judge(60_000, &sample(700.0)).len(), undone);
    }
}

#[test]
fn nothing_is_decided_while_the_job_says_that_it_moves() {
    let mut world = World::new("Auto");
    world.turns(10);
    world.memory.rescaling = Some((world.job().generation, world.now_ms));
    world.observed.rescales = vec![RescaleStatus { id: 9, ..RescaleStatus::default() }];
    assert!(!world.observed.rescales[0].state.is_final());
    world.offered = 60_000.0;
    assert!(!kinds(&world.turns(300)).iter().any(|kind| kind.starts_with("decision")));
    // A job that shows none has lost it.
    world.observed.rescales.clear();
    assert!(kinds(&world.turns(60)).iter().any(|kind| kind.starts_with("decision")));
}
