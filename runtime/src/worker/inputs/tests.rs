//! Alignment, watermarks, and the order of units that change their owner upstream.
use std::sync::Arc;

use super::*;

/// Channels of one edge, from tasks 10, 11, ...
fn inputs(channels: usize) -> Inputs {
    Inputs::new((0..channels).map(|index| (index, 0, 10 + index as TaskId)))
}

#[test]
fn a_cut_waits_for_every_channel_that_has_not_ended() {
    let mut inputs = inputs(3);
    inputs.settle(4);
    assert_eq!(inputs.barrier(0, 4), Alignment::Ignore, "epoch 4 is over");
    assert_eq!(inputs.barrier(0, 5), Alignment::Block);
    assert_eq!(inputs.barrier(2, 5), Alignment::Block);
    assert_eq!(inputs.blocked().collect::<Vec<_>>(), [0, 2]);
    inputs.end(1);
    assert_eq!(inputs.aligned(), Some(5), "an ended channel counts as having delivered it");
    inputs.settle(5);
    assert_eq!(inputs.aligned(), None);
    assert_eq!(inputs.blocked().count(), 0);
}

#[test]
fn once_all_have_ended_the_trigger_alone_decides() {
    let mut inputs = inputs(2);
    inputs.trigger(7);
    assert_eq!(inputs.aligned(), None, "channels still deliver barriers");
    inputs.end(0);
    inputs.end(1);
    assert_eq!(inputs.aligned(), Some(7));
    inputs.settle(7);
    inputs.trigger(7);
    assert_eq!(inputs.aligned(), None, "a trigger repeated is nothing new");
}

#[test]
fn an_epoch_given_up_releases_its_channels() {
    let mut inputs = inputs(2);
    assert_eq!(inputs.barrier(0, 1), Alignment::Block);
    inputs.settle(1);
    assert_eq!(inputs.blocked().count(), 0);
    assert_eq!(inputs.barrier(1, 1), Alignment::Ignore, "its late barrier means nothing");
    assert_eq!(inputs.barrier(1, 2), Alignment::Block);
    assert_eq!(inputs.barrier(0, 2), Alignment::Aligned(2));
}

#[test]
fn the_watermark_is_the_least_of_those_waited_for() {
    let mut inputs = inputs(3);
    assert_eq!(inputs.watermark(0, 10), Progress::None);
    assert_eq!(inputs.watermark(1, 20), Progress::None);
    assert_eq!(inputs.idle(2), Progress::Watermark(10));
    assert_eq!(inputs.watermark(0, 5), Progress::None, "never back");
    inputs.rows(2);
    assert_eq!(inputs.watermark(0, 30), Progress::None, "channel 2 is waited for again");
    assert_eq!(inputs.end(2), Progress::Watermark(20));
    assert_eq!(inputs.end(1), Progress::Watermark(30));
    assert_eq!(inputs.idle(0), Progress::Idle);
    assert_eq!(inputs.idle(0), Progress::None, "said once");
    assert_eq!(inputs.end(0), Progress::None);
    assert!(inputs.all_ended());
}

#[test]
fn units_that_move_upstream_keep_their_order_and_hold_the_watermark() {
    let mut inputs = inputs(2);
    inputs.watermark(0, 50);
    assert_eq!(inputs.watermark(1, 100), Progress::Watermark(50));
    // Task 11 has taken groups over from task 10, and is read first.
    let donors: Arc<[TaskId]> = Arc::from([10]);
    assert_eq!(inputs.opening(1, 7, (donors, i64::MIN)), (None, Progress::None));
    assert_eq!(inputs.blocked().collect::<Vec<_>>(), [1]);
    let (passed, progress) = inputs.closing(0, 7, &[11]);
    assert_eq!(passed, [Opened { channel: 1, edge: 0, from: 11, version: 7 }]);
    assert_eq!((progress, inputs.blocked().count()), (Progress::None, 0));
    assert_eq!(inputs.watermark(0, 200), Progress::None, "task 11 has yet to fire what was left at 50");
    assert_eq!(inputs.watermark(1, 100), Progress::Watermark(100));
}

#[test]
fn between_closing_and_opening_the_old_owner_holds_the_watermark() {
    let mut inputs = inputs(2);
    inputs.watermark(1, 100);
    inputs.watermark(0, 50);
    assert_eq!(inputs.closing(0, 7, &[11, 12]).0, []);
    assert_eq!(inputs.watermark(0, 200), Progress::None);
    let donors: Arc<[TaskId]> = Arc::from([10]);
    assert!(inputs.opening(1, 7, (Arc::clone(&donors), 60)).0.is_some());
    assert_eq!(inputs.watermark(1, 150), Progress::None, "task 12 has not taken its part over yet");
    inputs.open(2, 0, 12);
    assert!(inputs.opening(2, 7, (donors, i64::MIN)).0.is_some());
    assert_eq!(inputs.watermark(2, 120), Progress::Watermark(120));
}

#[test]
fn a_marked_channel_counts_with_its_watermark_at_the_marker_until_all_are() {
    let mut inputs = inputs(3);
    inputs.end(2);
    inputs.watermark(0, 40);
    assert_eq!(inputs.watermark(1, 30), Progress::Watermark(30));
    inputs.mark(0);
    inputs.watermark(0, 90);
    inputs.idle(0);
    assert!(!inputs.all_marked());
    assert_eq!(inputs.watermark(1, 80), Progress::Watermark(40), "rows behind the marker may be elsewhere");
    inputs.mark(1);
    assert!(inputs.all_marked(), "an ended channel counts as marked");
    assert_eq!(inputs.unmark(), Progress::Watermark(80));
}

#[test]
fn a_channel_idle_at_its_marker_holds_nothing_until_it_wakes() {
    let mut inputs = inputs(2);
    inputs.watermark(0, 40);
    inputs.idle(0);
    inputs.mark(0);
    assert_eq!(inputs.watermark(1, 80), Progress::Watermark(80));
    inputs.watermark(0, 100);
    assert_eq!(inputs.watermark(1, 95), Progress::None, "what it sent since may be elsewhere");
}

#[test]
fn arrivals_are_level_once_every_channel_has_said_the_same_to_them() {
    let mut host = inputs(2);
    host.watermark(0, 50);
    host.end(1);
    let mut guest = host.for_arrivals();
    assert!(!guest.is_level(&host));
    assert_eq!(guest.watermark(0, 45), Progress::Watermark(45));
    assert!(!guest.is_level(&host));
    guest.watermark(0, 50);
    assert!(guest.is_level(&host));
}

#[test]
fn with_the_last_that_falls_idle_the_watermark_is_as_far_as_any_has_come() {
    // Whatever the order: another task, with the same inputs, may have seen them fall idle in another one.
    for order in [[0, 1, 2], [1, 0, 2], [2, 1, 0], [0, 2, 1]] {
        let mut inputs = inputs(3);
        // Also when it was idle before, and has woken for nothing that was news.
        for (one, two) in [(10, 30), (20, 40)] {
            inputs.watermark(0, one);
            inputs.watermark(1, two);
            let mut last = Vec::new();
            for channel in order {
                last.push(inputs.idle(channel));
                last.push(inputs.fall_idle());
            }
            last.retain(|progress| *progress != Progress::None);
            assert_eq!(last[last.len() - 2..], [Progress::Watermark(two), Progress::Idle], "{order:?}");
            assert_eq!(inputs.fall_idle(), Progress::None, "said once");
        }
    }
}

#[test]
fn a_donor_is_as_far_as_any_channel_once_its_groups_are_handed_over() {
    let mut inputs = inputs(2);
    inputs.watermark(0, 10);
    inputs.watermark(1, 10);
    [0, 1].iter().for_each(|channel| _ = inputs.idle(*channel));
    [0, 1].iter().for_each(|channel| inputs.mark(*channel));
    inputs.watermark(0, 50);
    assert_eq!(inputs.idle(0), Progress::None);
    assert_eq!(inputs.unmark(), Progress::Watermark(50));
    assert_eq!(inputs.fall_idle(), Progress::Idle);
}

#[test]
fn a_channel_that_is_gone_had_come_as_far_as_it_had() {
    let mut inputs = inputs(2);
    inputs.watermark(0, 90);
    inputs.watermark(1, 50);
    inputs.end(0);
    inputs.close(0);
    assert_eq!(inputs.idle(1), Progress::Watermark(90));
}

#[test]
fn what_new_channels_held_back_is_not_lost_with_the_others() {
    let mut inputs = inputs(1);
    assert_eq!(inputs.watermark(0, 10), Progress::Watermark(10));
    inputs.open(1, 0, 20);
    assert_eq!(inputs.watermark(0, 50), Progress::None, "a new channel is waited for");
    assert_eq!(inputs.end(0), Progress::None);
    assert_eq!(inputs.idle(1), Progress::Watermark(50), "it had nothing to say");
    assert_eq!(inputs.fall_idle(), Progress::Idle);
}

#[test]
fn who_gets_rows_before_it_has_said_that_it_is_idle_is_not() {
    let mut inputs = inputs(2);
    inputs.watermark(0, 90);
    inputs.idle(0);
    assert_eq!(inputs.idle(1), Progress::Watermark(90));
    inputs.rows(1);
    assert_eq!(inputs.fall_idle(), Progress::None);
}
