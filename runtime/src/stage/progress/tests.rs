use millstream_api::id::KeyGroup;

use super::{Progress, time_bytes};
use crate::stage::OpContext;
use crate::stage::testing::{entries, store};
use crate::state::{Store, prefix};

fn arrive(progress: &mut Progress, arrived: &[KeyGroup], groups: &[KeyGroup], store: &mut dyn Store) {
    let (output, late_rows) = (&mut Vec::new(), &mut 0);
    progress.arrive("op", arrived, &mut OpContext { store, output, groups, late_rows }).unwrap();
}

fn entry(group: KeyGroup, watermark_ms: i64, next: u64) -> (Vec<u8>, Option<Vec<u8>>) {
    (prefix(group, 1).to_vec(), Some([time_bytes(watermark_ms), next.to_be_bytes()].concat()))
}

#[test]
fn a_group_is_as_far_as_it_was_wherever_it_arrives() {
    // The task's watermark, the group's; whether all are level afterwards.
    for (task, group, level) in [(i64::MIN, 7, false), (5, 7, false), (7, 7, true), (9, 7, false)] {
        let mut store = store();
        store.write(vec![entry(3, group, 0)]).unwrap();
        let mut progress = Progress::new(1);
        progress.advance(task);
        arrive(&mut progress, &[3], &[1, 2, 3], &mut *store);
        assert_eq!([1, 2, 3].map(|group| progress.of(group)), [task, task, group], "{task} {group}");
        assert_eq!((progress.watermark_ms(), progress.is_even()), (task.min(group), level));
        progress.advance(10);
        assert_eq!((progress.of(3), progress.is_even()), (10, true));
    }
}

#[test]
fn a_group_leaves_with_what_is_true_of_it() {
    let mut store = store();
    store.write(vec![entry(3, 20, 9)]).unwrap();
    let mut progress = Progress::new(1);
    progress.advance(5);
    arrive(&mut progress, &[3], &[1, 2, 3], &mut *store);
    assert_eq!(progress.next(), 9, "no number that the group has used");
    let mut changes = Vec::new();
    progress.write(&[1, 2, 3], &mut changes);
    store.write(std::mem::take(&mut changes)).unwrap();
    let written = entries(&mut *store);
    progress.write(&[1, 2, 3], &mut changes);
    assert!(changes.is_empty(), "nothing has changed");
    progress.leave(&[2, 3], &mut changes);
    assert_eq!(changes, [entry(2, 5, 10), entry(3, 20, 10)]);
    store.write(changes).unwrap();
    assert_eq!(entries(&mut *store), written);
    assert!(progress.is_even());
}

#[test]
fn a_group_that_was_behind_is_written_when_it_has_caught_up() {
    let mut store = store();
    store.write(vec![entry(3, 5, 0)]).unwrap();
    let (mut progress, mut changes) = (Progress::new(1), Vec::new());
    progress.advance(9);
    progress.write(&[1, 2], &mut changes);
    arrive(&mut progress, &[3], &[1, 2, 3], &mut *store);
    progress.advance(9);
    changes.clear();
    progress.write(&[1, 2, 3], &mut changes);
    assert_eq!(changes, [entry(1, 9, 0), entry(2, 9, 0), entry(3, 9, 0)]);
}
