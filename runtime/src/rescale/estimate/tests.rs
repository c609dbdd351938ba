use millstream_api::wire::Batching;

use super::*;

fn pace(strategy: RescaleStrategy) -> Pace {
    let limits = Limits { batching: Batching::Auto, budget_bytes: 4_000_000 };
    Pace { strategy, limits, rate_bytes_per_s: 10_000_000 }
}

#[test]
fn movement_is_that_of_the_tables_and_time_that_of_the_strategy() {
    let current = OwnerTable::initial(&[0, 1, 2, 3], 256);
    let tasks = [0, 1, 2, 3, 4];
    let target = current.rebalance_sticky(&tasks);
    let bytes = vec![1_000_000; 256];
    let one = |strategy| estimate(&current, &target, &tasks, &bytes, &[], &pace(strategy));
    let moved = |duration_ms, pause_ms| RescaleEstimate {
        groups: 51,
        groups_min: 51,
        bytes: 51_000_000,
        bytes_min: 51_000_000,
        duration_ms,
        pause_ms,
    };
    // One receiver, so one transfer a batch: of four groups as long as a donor has so many.
    let batches = batches_left(&current, &target, &bytes, &[], &pace(RescaleStrategy::Incremental).limits);
    let expected = batches.iter().map(|bytes| 100 + bytes / 10_000).sum();
    assert_eq!(one(RescaleStrategy::Incremental), moved(expected, 430));
    assert_eq!(one(RescaleStrategy::AllAtOnce), moved(5200, 5130));
    assert_eq!(one(RescaleStrategy::Restart), moved(6100, 6100));
}

#[test]
fn nothing_to_move_takes_no_time_without_a_restart() {
    let table = OwnerTable::initial(&[0, 1], 8);
    for strategy in [RescaleStrategy::Incremental, RescaleStrategy::AllAtOnce] {
        let nothing = estimate(&table, &table, &[0, 1], &[5; 8], &[], &pace(strategy));
        assert_eq!(nothing, RescaleEstimate::default());
    }
}

#[test]
fn stages_follow_each_other() {
    let one = RescaleEstimate { groups: 1, groups_min: 1, bytes: 5, bytes_min: 4, duration_ms: 100, pause_ms: 30 };
    let stages = [one, RescaleEstimate { pause_ms: 70, ..one }];
    let expected =
        RescaleEstimate { groups: 2, groups_min: 2, bytes: 10, bytes_min: 8, duration_ms: 200, pause_ms: 70 };
    assert_eq!(total(&stages, RescaleStrategy::Incremental), expected);
    let restart = RescaleEstimate { duration_ms: 70, ..expected };
    assert_eq!(total(&stages, RescaleStrategy::Restart), restart, "the workers restore side by side");
}
