use super::super::Outlet;
use super::super::TRANSFER_WINDOWS;
use super::super::tests::{Wakes, channel, rows, schema, values};
use super::*;
use crate::batch::{PartKind, StatePart};

fn gate(channels: u32, window: usize, wake: &Arc<Wakes>) -> Arc<Gate> {
    let inlets = (0..channels).map(|from| (channel(from, 9), from as usize, schema())).collect();
    Gate::new(9, inlets, window, Arc::clone(wake) as Arc<dyn Wake>)
}

fn outlets(gate: &Arc<Gate>, wake: &Arc<Wakes>) -> Vec<Outlet> {
    let inlets = gate.inlets().into_iter();
    inlets
        .map(|(_, (id, ..))| Outlet::local(id, Arc::clone(gate), Arc::clone(wake) as Arc<dyn Wake>).unwrap())
        .collect()
}

fn bytes(batch: &Element) -> i64 {
    let Element::Rows(batch) = batch else { panic!("no rows") };
    batch.bytes() as i64
}

#[test]
fn channels_take_turns_and_each_is_fifo() {
    let wake = Arc::default();
    let gate = gate(3, 1 << 20, &wake);
    let outlets = outlets(&gate, &wake);
    for value in 0..3 {
        outlets[0].send(rows([value])).unwrap();
    }
    outlets[2].send(rows([10])).unwrap();
    outlets[2].send(Element::Watermark(5)).unwrap();
    let taken: Vec<_> =
        std::iter::from_fn(|| gate.take()).map(|(channel, element)| (channel, values(&element))).collect();
    assert_eq!(taken, [(0, vec![0]), (2, vec![10]), (0, vec![1]), (2, vec![]), (0, vec![2])]);
    assert_eq!(gate.taken().0, 4);
    assert_eq!((gate.port(2), gate.len()), (2, 0));
}

#[test]
fn rows_that_wait_behind_rows_are_taken_with_them_and_nothing_else() {
    let (receiver, sender) = (Arc::default(), Arc::<Wakes>::default());
    let gate = gate(2, 20, &receiver);
    let outlets = outlets(&gate, &sender);
    let next = |channel| gate.take_rows(channel).map(|batch| values(&Element::Rows(batch)));
    outlets[0].send(rows([1])).unwrap();
    outlets[1].send(rows([10])).unwrap();
    assert_eq!(gate.take().map(|(channel, _)| channel), Some(0));
    assert_eq!(next(0), None, "not of another channel");
    for element in [rows([2]), Element::Watermark(5), rows([3])] {
        outlets[0].send(element).unwrap();
    }
    assert_eq!(next(0), Some(vec![2]));
    assert_eq!(next(0), None, "not past a watermark");
    assert_eq!((next(1), next(1)), (Some(vec![10]), None));
    assert!(matches!(gate.take(), Some((0, Element::Watermark(5)))));
    gate.block(0);
    assert_eq!(next(0), None, "not of a blocked channel");
    gate.unblock_all();
    assert_eq!((next(0), gate.len(), gate.taken().0), (Some(vec![3]), 0, 4));
    assert_eq!(outlets[0].credit(), 20, "all is granted back");
}

#[test]
fn credit_goes_below_zero_by_one_batch_and_comes_back() {
    let (receiver, sender) = (Arc::default(), Arc::<Wakes>::default());
    let gate = gate(1, 20, &receiver);
    let outlet = &outlets(&gate, &sender)[0];
    let large = rows(0..1000);
    outlet.send(large.clone()).unwrap();
    assert_eq!(outlet.credit(), 20 - bytes(&large));
    assert!(matches!(outlet.send(rows([1])), Err(Error::NoCredit(_))));
    outlet.send(Element::Barrier(7)).unwrap();
    assert_eq!((gate.queued_bytes() as i64, sender.count()), (bytes(&large), 0));
    assert!(matches!(gate.take(), Some((0, Element::Rows(_)))));
    assert_eq!((outlet.credit(), sender.count()), (20, 1));
    assert!(matches!(gate.take(), Some((0, Element::Barrier(7)))));
    assert_eq!((outlet.credit(), sender.count(), receiver.count()), (20, 1, 1));
}

#[test]
fn a_blocked_channel_keeps_its_elements_until_all_are_unblocked() {
    let wake = Arc::default();
    let gate = gate(2, 1 << 20, &wake);
    let outlets = outlets(&gate, &wake);
    outlets[0].send(Element::Barrier(1)).unwrap();
    outlets[0].send(rows([1])).unwrap();
    assert!(matches!(gate.take(), Some((0, Element::Barrier(1)))));
    gate.block(0);
    assert!(gate.is_blocked(0) && !gate.is_blocked(1));
    assert!(gate.take().is_none());
    outlets[0].send(rows([2])).unwrap();
    assert!(gate.take().is_none());
    let before = wake.count();
    outlets[1].send(rows([3])).unwrap();
    assert_eq!(wake.count(), before + 1);
    assert_eq!(values(&gate.take().unwrap().1), [3]);
    assert!(gate.take().is_none());
    assert_eq!(gate.len(), 2);
    gate.unblock_all();
    assert_eq!(values(&gate.take().unwrap().1), [1]);
    assert_eq!(values(&gate.take().unwrap().1), [2]);
}

#[test]
fn a_sender_without_credit_is_a_protocol_error() {
    let wake = Arc::default();
    let gate = gate(1, 100, &wake);
    gate.deliver(0, rows([1]), 100).unwrap();
    assert!(matches!(gate.deliver(0, rows([1]), 1), Err(Error::Overrun { queued: 100, window: 100, .. })));
    gate.deliver(0, Element::End, 0).unwrap();
}

#[test]
fn closing_drops_what_is_queued_and_refuses_the_rest() {
    let wake = Arc::default();
    let gate = gate(1, 100, &wake);
    let outlet = &outlets(&gate, &wake)[0];
    outlet.send(Element::Idle).unwrap();
    gate.close();
    assert!(gate.take().is_none());
    assert!(matches!(outlet.send(Element::Idle), Err(Error::Closed)));
    assert_eq!(wake.count(), 2);
}

#[test]
fn a_channel_is_connected_once() {
    let wake = Arc::<Wakes>::default();
    let gate = gate(1, 100, &wake);
    let connect =
        |from| Outlet::local(channel(from, 9), Arc::clone(&gate), Arc::clone(&wake) as Arc<dyn Wake>).map(drop);
    connect(0).unwrap();
    assert!(matches!(connect(0), Err(Error::DuplicateChannel(_))));
    assert!(matches!(connect(4), Err(Error::NoSuchChannel(_))));
}

fn connect(gate: &Arc<Gate>, id: ChannelId) -> Outlet {
    Outlet::local(id, Arc::clone(gate), Arc::new(Wakes::default())).unwrap()
}

#[test]
fn a_channel_comes_while_others_flow_and_its_number_is_used_again() {
    let wake = Arc::default();
    let gate = gate(2, 1 << 10, &wake);
    let outlets = outlets(&gate, &wake);
    outlets[0].send(rows([1])).unwrap();
    assert!(matches!(gate.add((channel(1, 9), 0, schema())), Err(Error::DuplicateChannel(_))));
    assert_eq!(gate.add((channel(5, 9), 3, schema())).unwrap(), 2);
    let third = connect(&gate, channel(5, 9));
    assert_eq!(third.credit(), 1 << 10, "its window is full");
    outlets[0].send(rows([2])).unwrap();
    third.send(rows([10])).unwrap();
    outlets[1].send(Element::End).unwrap();
    let taken: Vec<_> =
        std::iter::from_fn(|| gate.take()).map(|(channel, element)| (channel, values(&element))).collect();
    assert_eq!(taken, [(0, vec![1]), (2, vec![10]), (1, vec![]), (0, vec![2])]);
    assert_eq!((gate.port(2), gate.inlet(2).0, gate.paced_channels()), (3, channel(5, 9), 3));

    gate.block(1);
    gate.free(1);
    gate.free(1);
    assert!(matches!(gate.channel(channel(1, 9)), Err(Error::NoSuchChannel(_))));
    assert_eq!(gate.inlets().iter().map(|inlet| inlet.0).collect::<Vec<_>>(), [0, 2]);
    assert_eq!(gate.inlet(1).0, channel(1, 9), "what it was");
    assert_eq!(gate.add((channel(6, 9), 4, schema())).unwrap(), 1);
    assert_eq!((gate.port(1), gate.is_blocked(1)), (4, false));
    connect(&gate, channel(6, 9)).send(rows([20])).unwrap();
    assert_eq!(gate.take().map(|(channel, element)| (channel, values(&element))), Some((1, vec![20])));
    assert_eq!(gate.add((channel(7, 9), 0, schema())).unwrap(), 3);
    assert!(gate.is_empty());
    gate.close();
    assert!(matches!(gate.add((channel(8, 9), 0, schema())), Err(Error::Closed)));
}

#[test]
fn what_a_freed_channel_held_is_not_the_next_ones() {
    let wake = Arc::default();
    let gate = gate(2, 1 << 10, &wake);
    let outlets = outlets(&gate, &wake);
    outlets[0].send(rows([1])).unwrap();
    outlets[0].send(Element::Idle).unwrap();
    outlets[1].send(rows([2])).unwrap();
    gate.free(0);
    assert_eq!((gate.add((channel(5, 9), 0, schema())).unwrap(), gate.len()), (0, 1));
    assert_eq!(values(&gate.take().unwrap().1), [2]);
    assert!(gate.take().is_none());
    assert_eq!(gate.queued_bytes(), 0);
}

#[test]
fn a_narrow_gate_keeps_transfer_channels_open() {
    let wake = Arc::default();
    let gate = gate(1, 1 << 16, &wake);
    gate.add((ChannelId::transfer(4, 9), 0, schema())).unwrap();
    assert_eq!(gate.paced_channels(), 1);
    gate.open(0);
    let part = || {
        let entries = bytes::Bytes::from(vec![0; 1000]);
        Element::State(StatePart { version: 2, group: 3, kind: PartKind::Snapshot, entries })
    };
    let transfer = connect(&gate, ChannelId::transfer(4, 9));
    let paced = connect(&gate, channel(0, 9));
    for _ in 0..3 {
        assert_eq!(transfer.send(part()).unwrap(), 1000);
        paced.send(rows(0..100)).unwrap();
    }
    let window = (1 << 16) * TRANSFER_WINDOWS as i64;
    assert_eq!(transfer.credit(), window - 3000);
    while gate.take().is_some() {}
    assert_eq!((transfer.credit(), paced.credit()), (window, (1 << 16) - 2400));
    assert_eq!(gate.taken(), (300, 2400), "state parts are no rows");
    while transfer.credit() > 0 {
        transfer.send(part()).unwrap();
    }
    assert!(matches!(transfer.send(part()), Err(Error::NoCredit(_))));
}

#[test]
fn state_wakes_a_reader_that_leaves_rows_where_they_are() {
    let wake = Arc::<Wakes>::default();
    let gate = gate(1, 1 << 16, &wake);
    gate.add((ChannelId::transfer(4, 9), 0, schema())).unwrap();
    let (transfer, paced) = (connect(&gate, ChannelId::transfer(4, 9)), connect(&gate, channel(0, 9)));
    let part = |kind| Element::State(StatePart { version: 2, group: 0, kind, entries: bytes::Bytes::new() });
    paced.send(rows(0..10)).unwrap();
    paced.send(rows(0..10)).unwrap();
    assert_eq!(wake.count(), 1, "there is something already");
    transfer.send(part(PartKind::Last)).unwrap();
    assert_eq!(wake.count(), 2);
    assert!(matches!(gate.take_from(|channel| channel == 1), Some((1, Element::State(_)))));
}
