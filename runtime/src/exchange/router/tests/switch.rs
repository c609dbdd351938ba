//! Channels that come and go, and switches to other owner tables.
use super::super::super::ChannelId;
use super::*;

/// Version `version` of the table of 64 groups, by this rule.
fn table(version: u64, owner: impl Fn(usize) -> TaskId) -> OwnerTable {
    OwnerTable { version, owners: (0..64).map(owner).collect() }
}

/// The key group of a value.
fn group(value: i64) -> usize {
    usize::from(key_groups(&batch([value]).rows, &[0], 64).unwrap()[0])
}

/// What arrives at a gate as short text: rows by number, control as it is.
fn show(gate: &Gate) -> Vec<String> {
    take_all(gate).iter().map(describe).collect()
}

fn describe(element: &Element) -> String {
    match element {
        Element::Rows(rows) => format!("{} rows", rows.num_rows()),
        Element::Watermark(ms) => format!("watermark {ms}"),
        Element::Marker { version, watermark_ms } => format!("marker {version} at {watermark_ms}"),
        Element::Opening { version, .. } => format!("opening {version}"),
        other => format!("{other:?}").to_lowercase(),
    }
}

/// Takes and drains until nothing moves any more.
fn settle(router: &mut Router, gates: &[Arc<Gate>]) -> Vec<Vec<Element>> {
    let mut taken = vec![vec![]; gates.len()];
    loop {
        let is_done = router.drain().unwrap();
        for (gate, taken) in gates.iter().zip(&mut taken) {
            taken.extend(take_all(gate));
        }
        if is_done && gates.iter().all(|gate| gate.is_empty()) {
            return taken;
        }
    }
}

fn outlet(gate: &Arc<Gate>, from: TaskId) -> Outlet {
    Outlet::local(channel(from, gate.to()), Arc::clone(gate), Arc::new(Wakes::default())).unwrap()
}

fn all_values(elements: &[Element]) -> Vec<i64> {
    elements.iter().flat_map(values).collect()
}

const TO_ONE: fn(usize) -> TaskId = |_| 1;

#[test]
fn a_router_without_credit_switches_at_once() {
    let gates = gates(2, 8);
    let mut router = router(hash_on_value(), &gates, 4);
    router.broadcast(&Element::Watermark(7)).unwrap();
    for chunk in 0..3 {
        router.push(batch(chunk * 100..chunk * 100 + 100)).unwrap();
    }
    router.broadcast(&Element::Watermark(60)).unwrap();
    assert!(router.pending());
    let old = OwnerTable::initial(&[0, 1], 64);
    // Of the first task's groups every third moves, and one of the second's.
    let next =
        table(2, |group| if group < 32 && group % 3 == 0 { 1 } else { TaskId::from(group >= 32 && group != 40) });
    router.switch(&next).unwrap();
    assert!(router.pending());
    for gate in &gates {
        assert_eq!(gate.len(), 3, "the marker is sent without credit");
    }
    let taken = settle(&mut router, &gates);
    for (task, elements) in (0u32..).zip(&taken) {
        let (sent, waiting) = elements.split_at(2);
        assert_eq!(describe(&sent[0]), "watermark 7");
        let expected = |from: i64, to: i64, owners: &OwnerTable| -> Vec<i64> {
            (from..to).filter(|value| owners.owners[group(*value)] == task).collect()
        };
        assert_eq!(all_values(sent), expected(0, 100, &old), "what was sent is where it was");
        assert_eq!(describe(&waiting[0]), "marker 2 at 7");
        let mut all = all_values(waiting);
        let (first, own): (Vec<_>, Vec<_>) = all.iter().copied().partition(|value| old.owners[group(*value)] != task);
        assert!(first.is_sorted() && own.is_sorted() && !first.is_empty() && !own.is_empty());
        assert_eq!(all, [first, own].concat(), "rows that moved come first");
        all.sort_unstable();
        assert_eq!(all, expected(100, 300, &next));
        let last: Vec<_> = waiting[waiting.len() - 2..].iter().map(describe).collect();
        assert_eq!(last, ["watermark 60", "watermark 60"], "its own and the one repeated");
    }
    let counters = router.counters();
    assert_eq!((counters.records(), counters.groups().iter().sum::<u64>()), (300, 300));
    assert_eq!(counters.bytes(), gates.iter().map(|gate| gate.taken().1).sum::<u64>());
}

#[test]
fn a_marker_has_the_least_watermark_that_was_sent() {
    let gates = gates(2, 8);
    let mut router = router(hash_on_value(), &gates, 4);
    router.switch(&OwnerTable { version: 2, ..OwnerTable::initial(&[0, 1], 64) }).unwrap();
    for gate in &gates {
        assert_eq!(show(gate), [format!("marker 2 at {}", i64::MIN)], "nothing moved, nothing is repeated");
    }
    router.broadcast(&Element::Watermark(10)).unwrap();
    let (first, _): (Vec<_>, Vec<_>) = (0..200).partition(|value| group(*value) < 32);
    router.push(batch(first.clone())).unwrap();
    router.push(batch(first)).unwrap();
    router.broadcast(&Element::Watermark(60)).unwrap();
    assert_eq!(show(&gates[1]), ["watermark 10", "watermark 60"], "the other one waits");
    router.switch(&table(3, |group| u32::from(group >= 31))).unwrap();
    let moved = settle(&mut router, &gates);
    assert_eq!(describe(&moved[0][2]), "marker 3 at 10");
    assert_eq!(describe(&moved[1][0]), "marker 3 at 10");
    assert_eq!(describe(moved[1].last().unwrap()), "watermark 60");
    assert!(matches!(moved[0].last(), Some(Element::Watermark(60))));
}

#[test]
fn rows_that_move_twice_keep_the_marker_true() {
    let gates = gates(3, 8);
    let mut router = router(hash_on_value(), &gates, 4);
    router.broadcast(&Element::Watermark(10)).unwrap();
    router.switch(&table(2, |_| 0)).unwrap();
    router.push(batch(0..100)).unwrap();
    router.push(batch(100..200)).unwrap();
    // The second channel has no credit either, but has sent a higher watermark.
    outlet_of(&router, 1).send(Element::Rows(batch([0]))).unwrap();
    router.broadcast(&Element::Watermark(60)).unwrap();
    router.switch(&table(3, TO_ONE)).unwrap();
    take_all(&gates[0]);
    assert!(!router.drain().unwrap());
    assert_eq!(show(&gates[0]), Vec::<String>::new());
    router.switch(&table(4, |_| 2)).unwrap();
    assert_eq!(show(&gates[0])[..], ["marker 4 at 10"]);
    let taken = settle(&mut router, &gates);
    assert_eq!(describe(&taken[2][taken[2].len() - 1]), "watermark 60");
    assert_eq!(all_values(&taken[2]), (64..200).collect::<Vec<_>>(), "64 were sent at once");
    assert!(taken[2].iter().any(|element| describe(element) == "marker 4 at 10"), "rows above 10 are still to come");
}

fn outlet_of(router: &Router, lane: usize) -> &Outlet {
    &router.lanes[lane].outlet
}

#[test]
fn rows_that_move_do_not_pass_an_opening() {
    let gates = gates(2, 8);
    let mut router = router(hash_on_value(), &gates, 4);
    router.broadcast(&Element::Watermark(50)).unwrap();
    for chunk in 0..2 {
        router.push(batch(chunk * 100..chunk * 100 + 100)).unwrap();
    }
    gates.iter().for_each(|gate| drop(take_all(gate)));
    outlet_of(&router, 0).send(Element::Rows(batch([0]))).unwrap();
    outlet_of(&router, 1).send(Element::Rows(batch([0]))).unwrap();
    router.broadcast(&Element::Watermark(60)).unwrap();
    router.broadcast(&Element::Opening { version: 9, donors: Arc::from([5]), watermark_ms: 20 }).unwrap();
    router.push(batch(200..300)).unwrap();
    router.switch(&table(2, TO_ONE)).unwrap();
    let taken = settle(&mut router, &gates);
    let shown: Vec<_> = taken[1].iter().map(describe).collect();
    assert_eq!(shown[..3], ["1 rows", "marker 2 at 20", "opening 9"]);
    assert_eq!(shown.iter().filter(|shown| shown.starts_with("opening")).count(), 1);
    assert!(!shown.contains(&"watermark 60".into()), "it would deny rows that the opening allows");
    assert_eq!(shown.last().unwrap(), "watermark 20");
    let controls = taken[0].iter().map(describe).filter(|shown| !shown.ends_with("rows"));
    assert_eq!(controls.collect::<Vec<_>>(), ["marker 2 at 20", "watermark 60", "opening 9"]);
}

#[test]
fn after_the_end_nothing_is_sent() {
    let gates = gates(3, 8);
    let mut router = router(hash_on_value(), &gates[..2], 4);
    router.push(batch(0..100)).unwrap();
    router.push(batch(100..200)).unwrap();
    router.broadcast(&Element::End).unwrap();
    router.switch(&table(2, TO_ONE)).unwrap();
    router.add(outlet(&gates[2], 0)).unwrap();
    assert_eq!(show(&gates[2]), ["end"]);
    router.remove(2).unwrap();
    router.remove(0).unwrap(); // What waits for it is sent all the same.
    let taken = settle(&mut router, &gates);
    for (elements, half) in taken.iter().zip([0..32, 32..64]) {
        let (last, rows) = elements.split_last().unwrap();
        assert_eq!(describe(last), "end");
        assert!(all_values(rows).into_iter().all(|value| half.contains(&group(value))));
        assert_eq!(rows.len(), rows.iter().filter(|element| matches!(element, Element::Rows(_))).count());
    }
    assert!(taken[2].is_empty());
}

#[test]
fn a_new_channel_learns_the_time_and_gets_rows_after_a_switch() {
    let gates = gates(4, 1 << 20);
    let mut router = router(hash_on_value(), &gates[..1], 4);
    router.add(outlet(&gates[1], 0)).unwrap();
    assert!(gates[1].is_empty(), "there is no time yet");
    router.broadcast(&Element::Watermark(10)).unwrap();
    router.push(batch(0..100)).unwrap();
    router.add(outlet(&gates[2], 0)).unwrap();
    router.broadcast(&Element::Idle).unwrap();
    router.add(outlet(&gates[3], 0)).unwrap();
    let taken: Vec<_> = gates[1..].iter().map(|gate| show(gate)).collect();
    assert_eq!(taken, [["watermark 10", "idle"]; 3]);
    let again = Gate::new(3, vec![(channel(7, 3), 0, schema())], 8, Arc::new(Wakes::default()));
    assert!(matches!(router.add(outlet(&again, 7)), Err(Error::DuplicateChannel(ChannelId { to: 3, .. }))));
    router.switch(&table(2, |group| 2 * u32::from(group < 10))).unwrap();
    assert_eq!(show(&gates[1]), ["marker 2 at 10"]);
    assert_eq!(show(&gates[2]), ["marker 2 at 10", "watermark 10", "idle"]);
    router.push(batch(0..100)).unwrap();
    router.flush().unwrap();
    let values = all_values(&take_all(&gates[2]));
    assert_eq!(values, (0..100).filter(|value| group(*value) < 10).collect::<Vec<_>>());
}

#[test]
fn a_rebalancing_edge_uses_a_new_channel_at_once() {
    let gates = gates(3, 1 << 20);
    let mut router = router(Partition::Rebalance, &gates[..2], 4);
    router.push(batch(0..10)).unwrap();
    router.add(outlet(&gates[2], 0)).unwrap();
    for start in 1..3 {
        router.push(batch(start * 10..start * 10 + 10)).unwrap();
    }
    router.remove(1).unwrap();
    for start in 3..5 {
        router.push(batch(start * 10..start * 10 + 10)).unwrap();
    }
    assert_eq!(gates.iter().map(|gate| show(gate).len()).collect::<Vec<_>>(), [2, 2, 2]);
    assert!(matches!(router.remove(1), Err(Error::NoChannelTo(1))));
}

#[test]
fn a_removed_channel_gets_what_waits_and_then_the_end() {
    let gates = gates(2, 8);
    let mut router = router(Partition::Rebalance, &gates, 4);
    for start in 0..4 {
        router.push(batch(start * 10..start * 10 + 10)).unwrap();
    }
    router.remove(1).unwrap();
    router.broadcast(&Element::Watermark(5)).unwrap();
    assert_eq!((router.lanes.len(), router.leaving.len()), (1, 1));
    assert!(router.pending());
    let taken = settle(&mut router, &gates);
    assert_eq!(taken[1].iter().map(describe).collect::<Vec<_>>(), ["10 rows", "10 rows", "end"]);
    assert_eq!(describe(taken[0].last().unwrap()), "watermark 5");
    assert!(!router.pending() && router.leaving.is_empty());
    router.flush().unwrap();
    assert_eq!(router.counters().bytes(), gates.iter().map(|gate| gate.taken().1).sum::<u64>());
}

#[test]
fn a_channel_goes_only_when_its_task_owns_nothing() {
    let gates = gates(3, 1 << 20);
    let mut router = router(hash_on_value(), &gates, 1000);
    assert!(matches!(router.remove(1), Err(Error::StillOwner { group: 22, task: 1 })));
    router.push(batch(0..100)).unwrap();
    router.switch(&table(2, |group| 2 * u32::from(group % 2 == 0))).unwrap();
    router.remove(1).unwrap();
    assert_eq!(show(&gates[1]), [format!("marker 2 at {}", i64::MIN), "end".into()]);
    // The table still leads to the right channels.
    router.push(batch(100..200)).unwrap();
    router.flush().unwrap();
    let mut all = vec![];
    for (gate, owner) in [(&gates[0], 1), (&gates[2], 0)] {
        let values = all_values(&take_all(gate));
        assert!(values.iter().all(|value| group(*value) % 2 == owner));
        all.extend(values);
    }
    all.sort_unstable();
    assert_eq!(all, (0..200).collect::<Vec<_>>());
}
