//! Splits that come and go take their event time with them.
use std::collections::BTreeMap;

use super::{Task, source};

/// A source's task that reads these splits, each up to its time.
fn reading(splits: &[(u32, i64)]) -> Task {
    let mut task = source(Some(1000));
    let active: Vec<u32> = splits.iter().map(|(split, _)| *split).collect();
    task.call(|chain, env| chain.splits(&active, env)).unwrap();
    for (split, at_ms) in splits {
        task.push(&[(1, *at_ms)], Some(*split));
    }
    task.drain();
    task
}

#[test]
fn the_watermark_grows_when_the_slowest_split_goes() {
    let mut task = reading(&[(0, 12), (1, 15), (2, 13)]);
    assert_eq!(task.chain.give_splits(&[0], &[1, 2]), [(0, Some(12))].into());
    assert!(task.drain().is_empty(), "whoever gives it says first that it is gone");
    task.call(|chain, env| chain.splits(&[1, 2], env)).unwrap();
    assert_eq!(task.drain(), ["watermark 13"]);
    assert_eq!(task.chain.give_splits(&[1, 2, 9], &[]), [(1, Some(15)), (2, Some(13)), (9, None)].into());
    task.call(|chain, env| chain.splits(&[], env)).unwrap();
    assert_eq!(task.drain(), ["idle"]);
    task.call(|chain, env| chain.tick(50_000, env)).unwrap();
    assert!(task.drain().is_empty(), "said once");
}

#[test]
fn a_slower_split_lowers_the_watermark_and_it_grows_again() {
    let mut task = reading(&[(0, 18)]);
    assert_eq!(task.chain.take_splits(&[(1, Some(12)), (2, Some(40))].into(), &[0, 1, 2]), 12);
    task.call(|chain, env| chain.splits(&[0, 1, 2], env)).unwrap();
    assert!(task.drain().is_empty());
    task.push(&[(1, 14)], Some(1));
    assert_eq!(task.drain(), ["watermark 14"]);
    task.push(&[(1, 39)], Some(1));
    assert_eq!(task.drain().last().unwrap(), "watermark 18");
    // Nothing of split 3 has been read: it has no watermark, and neither has the task.
    assert_eq!(task.chain.take_splits(&[(3, None)].into(), &[0, 1, 2, 3]), i64::MIN);
    task.push(&[(1, 30)], Some(0));
    assert!(task.drain().is_empty());
    task.push(&[(1, 5)], Some(3));
    assert_eq!(task.drain(), ["watermark 5"]);
    // Finished ones hold nothing.
    assert_eq!(task.chain.take_splits(&[(4, Some(1)), (5, None)].into(), &[0, 1, 2, 3]), 5);
}

#[test]
fn a_task_without_splits_is_active_again_when_it_takes_some() {
    let mut task = reading(&[(0, 18)]);
    assert_eq!(task.chain.give_splits(&[0], &[]), [(0, Some(18))].into());
    task.call(|chain, env| chain.splits(&[], env)).unwrap();
    assert_eq!(task.drain(), ["idle"]);
    assert_eq!(task.chain.take_splits(&BTreeMap::new(), &[]), 18, "nothing that holds it back has come");
    task.call(|chain, env| chain.splits(&[], env)).unwrap();
    assert_eq!(task.drain(), ["idle"], "whatever was made of the 18, it is idle");
    task.call(|chain, env| chain.tick(7_000, env)).unwrap();
    assert_eq!(task.chain.take_splits(&[(0, Some(18))].into(), &[0]), 18);
    task.call(|chain, env| chain.splits(&[0], env)).unwrap();
    assert_eq!(task.drain(), ["watermark 18"], "it was idle and is not any more");
    task.call(|chain, env| chain.tick(7_999, env)).unwrap();
    assert!(task.drain().is_empty(), "the timeout begins with its coming");
    task.call(|chain, env| chain.tick(8_000, env)).unwrap();
    assert_eq!(task.drain(), ["idle"]);
    // A new task, which never had a split.
    let mut task = source(None);
    task.call(|chain, env| chain.splits(&[], env)).unwrap();
    assert_eq!(task.drain(), ["idle"]);
    assert_eq!(task.chain.take_splits(&[(7, Some(3))].into(), &[7]), 3);
    task.call(|chain, env| chain.splits(&[7], env)).unwrap();
    assert_eq!(task.drain(), ["watermark 3"]);
    // And the time goes on to the next reader, also from a checkpoint.
    let state = task.chain.operator_states();
    assert_eq!(state["watermark"], serde_json::json!({ "splits": { "7": 3 } }));
}

#[test]
fn merged_splits_catch_up_together() {
    let (mut donor, mut task) = (source(Some(1000)), source(Some(1000)));
    for (task, splits) in [(&mut donor, [0, 1]), (&mut task, [2, 3])] {
        task.call(|chain, env| chain.splits(&splits, env)).unwrap();
    }
    donor.push(&[(1, 2), (2, 4)], None);
    task.push(&[(1, 8)], None);
    assert_eq!((donor.drain(), task.drain()), (vec!["watermark 4".to_string()], vec!["watermark 8".to_string()]));
    let given = donor.chain.give_splits(&[1], &[0]);
    assert_eq!(given, [(1, Some(4))].into());
    assert_eq!(task.chain.take_splits(&given, &[1, 2, 3]), 4);
    task.push(&[(1, 5)], None);
    assert_eq!(task.drain(), ["watermark 5"]);
    // Those that were further have waited: they are still where they were.
    assert_eq!(task.chain.give_splits(&[1, 2], &[3]), [(1, Some(5)), (2, Some(8))].into());
    task.call(|chain, env| chain.splits(&[3], env)).unwrap();
    assert_eq!(task.drain(), ["watermark 8"]);
    assert_eq!(task.chain.take_splits(&[(1, Some(5))].into(), &[1, 3]), 5);
    task.push(&[(1, 9)], None);
    assert_eq!(task.drain().last().unwrap(), "watermark 9");
    // All of them are idle together.
    task.call(|chain, env| chain.tick(1_000, env)).unwrap();
    task.push(&[(1, 9)], None);
    task.call(|chain, env| chain.tick(2_500, env)).unwrap();
    assert!(task.drain().is_empty(), "rows came since time last passed");
    task.call(|chain, env| chain.tick(3_500, env)).unwrap();
    assert_eq!(task.drain(), ["idle"]);
}
