use super::super::Outlet;
use super::super::tests::{Wakes, channel, rows, schema, values};
use super::*;

fn gate(channels: u32, window: usize, wake: &Arc<Wakes>) -> Arc<Gate> {
    let inlets = (0..channels).map(|from| (channel(from, 9), from as usize, schema())).collect();
    Gate::new(9, inlets, window, Arc::clone(wake) as Arc<dyn Wake>)
}

fn outlets(gate: &Arc<Gate>, wake: &Arc<Wakes>) -> Vec<Outlet> {
    let ids = gate.inlets().iter().map(|inlet| inlet.0);
    ids.map(|id| Outlet::local(id, Arc::clone(gate), Arc::clone(wake) as Arc<dyn Wake>).unwrap()).collect()
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
