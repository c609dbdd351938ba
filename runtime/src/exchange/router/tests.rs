use super::super::tests::{Wakes, batch, channel, hash_on_value, schema, values};
use super::super::{Gate, Wake};
use super::*;

mod random;
mod switch;

fn gates(count: u32, window: usize) -> Vec<Arc<Gate>> {
    let wake = || Arc::new(Wakes::default()) as Arc<dyn Wake>;
    (0..count).map(|to| Gate::new(to, vec![(channel(0, to), 0, schema())], window, wake())).collect()
}

fn router(partition: Partition, gates: &[Arc<Gate>], batch_rows: usize) -> Router {
    let wake = || Arc::new(Wakes::default()) as Arc<dyn Wake>;
    let outlets = gates.iter().map(|gate| Outlet::local(channel(0, gate.to()), Arc::clone(gate), wake()).unwrap());
    let tasks: Vec<_> = gates.iter().map(|gate| gate.to()).collect();
    let table = OwnerTable::initial(&tasks, 64);
    Router::new(partition, outlets.collect(), &table, 64, RouterOptions { batch_rows }).unwrap()
}

fn take_all(gate: &Gate) -> Vec<Element> {
    std::iter::from_fn(|| gate.take()).map(|(_, element)| element).collect()
}

#[test]
fn a_single_target_gets_the_batch_itself() {
    let gates = gates(1, 1 << 20);
    let mut router = router(hash_on_value(), &gates, 4096);
    let sent = batch(0..2000);
    router.push(sent.clone()).unwrap();
    let Some((_, Element::Rows(got))) = gates[0].take() else { panic!("nothing arrived") };
    assert!(Arc::ptr_eq(got.rows.column(0), sent.rows.column(0)));
    assert_eq!(got.groups.map(|groups| groups.len()), Some(2000));
}

#[test]
fn small_pieces_are_gathered_and_kinds_kept() {
    let gates = gates(8, 1 << 20);
    let mut router = router(hash_on_value(), &gates, 256);
    for chunk in 0..8 {
        let mut rows = batch(chunk * 100..chunk * 100 + 100);
        if chunk % 2 == 1 {
            rows.kinds = Some((0..100).map(|row| row % 4).collect());
        }
        router.push(rows).unwrap();
        assert!(gates.iter().all(|gate| gate.is_empty()), "pieces of 12 rows are not sent");
    }
    assert!(!router.pending());
    router.flush().unwrap();
    let mut seen = 0;
    for gate in &gates {
        let elements = take_all(gate);
        assert_eq!(elements.len(), 1);
        let Element::Rows(rows) = &elements[0] else { panic!("no rows") };
        for (row, value) in values(&elements[0]).into_iter().enumerate() {
            let kind = if value / 100 % 2 == 1 { value % 100 % 4 } else { 0 };
            assert_eq!(rows.kind(row) as i64, kind, "value {value}");
        }
        seen += rows.num_rows();
    }
    assert_eq!(seen, 800);
    assert_eq!(router.counters().groups().iter().sum::<u64>(), 800);
    assert_eq!(router.counters().bytes(), gates.iter().map(|gate| gate.taken().1).sum::<u64>());
}

#[test]
fn control_waits_only_behind_rows_that_wait() {
    let gates = gates(2, 8);
    let mut router = router(hash_on_value(), &gates, 4);
    router.push(batch(0..100)).unwrap();
    router.push(batch(100..200)).unwrap();
    assert!(router.pending());
    router.broadcast(&Element::Barrier(1)).unwrap();
    assert!(matches!(take_all(&gates[0])[..], [Element::Rows(_)]));
    assert!(!router.drain().unwrap(), "the other channel still waits");
    assert!(matches!(take_all(&gates[0])[..], [Element::Rows(_), Element::Barrier(1)]));
    take_all(&gates[1]);
    assert!(router.drain().unwrap() && !router.pending());
    assert!(matches!(take_all(&gates[1])[..], [Element::Rows(_), Element::Barrier(1)]));
}

#[test]
fn a_rebalancing_edge_passes_whole_batches_in_turn() {
    let gates = gates(3, 1 << 20);
    let mut router = router(Partition::Rebalance, &gates, 4);
    for start in 0..6 {
        router.push(batch(start * 10..start * 10 + 10)).unwrap();
    }
    let starts: Vec<Vec<i64>> =
        gates.iter().map(|gate| take_all(gate).iter().map(|element| values(element)[0]).collect()).collect();
    assert_eq!(starts, [[0, 30], [10, 40], [20, 50]]);
    assert!(router.counters().groups().is_empty());
}

#[test]
fn a_switch_marks_where_the_next_table_begins() {
    let gates = gates(3, 1 << 20);
    let mut router = router(hash_on_value(), &gates, 1000);
    let table = OwnerTable::initial(&[0, 1, 2], 64).rebalance_sticky(&[0, 1]);
    router.push(batch(0..100)).unwrap();
    router.flush().unwrap();
    router.switch(&table).unwrap();
    router.push(batch(0..100)).unwrap();
    router.flush().unwrap();
    let elements: Vec<_> = gates.iter().map(|gate| take_all(gate)).collect();
    for (task, elements) in elements.iter().enumerate().take(2) {
        let [Element::Rows(_), Element::Marker { version: 2, .. }, Element::Rows(after)] = &elements[..] else {
            panic!("{elements:?}")
        };
        let groups = after.groups.as_ref().expect("keyed");
        assert!(groups.iter().all(|group| table.owners[usize::from(*group)] == task as u32));
    }
    assert!(matches!(elements[2][..], [Element::Rows(_), Element::Marker { version: 2, .. }]));
}

#[test]
fn a_table_that_does_not_fit_is_refused() {
    let mut router = router(hash_on_value(), &gates(2, 8), 4);
    assert!(matches!(router.switch(&OwnerTable::initial(&[0, 7], 64)), Err(Error::NoSuchTask { group: 32, task: 7 })));
    assert!(matches!(router.switch(&OwnerTable::initial(&[0, 1], 65)), Err(Error::KeyGroups { .. })));
}
