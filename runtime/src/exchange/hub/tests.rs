use std::sync::atomic::Ordering;

use super::super::TRANSFER_WINDOWS;
use super::super::tests::{Wakes, Wire, channel, rows, schema, values};
use super::*;
use crate::batch::{Element, PartKind, StatePart};

fn wake() -> Arc<dyn Wake> {
    Arc::new(Wakes::default())
}

fn hub(window: usize) -> (Arc<Hub>, Arc<Mutex<Vec<String>>>) {
    let lost = Arc::<Mutex<Vec<String>>>::default();
    let told = Arc::clone(&lost);
    (Hub::new(3, window, Box::new(move |peer, reason| lock(&told).push(format!("{peer}: {reason}")))), lost)
}

/// A sending and a receiving hub with one channel, and the wires there and back.
type Pair = ([Arc<Hub>; 2], [Arc<Wire>; 2], Arc<Gate>, Outlet, Arc<Wakes>);

fn pair(window: usize) -> Pair {
    let hubs = [hub(window).0, hub(window).0];
    let wires = [Arc::new(Wire::default()), Arc::new(Wire::default())];
    hubs[0].attach("b", Arc::clone(&wires[0]) as Arc<dyn Link>).unwrap();
    hubs[1].attach("a", Arc::clone(&wires[1]) as Arc<dyn Link>).unwrap();
    let gate = Gate::new(2, vec![(channel(1, 2), 0, schema())], window, wake());
    hubs[1].register(&gate).unwrap();
    let sender = Arc::<Wakes>::default();
    let outlet = hubs[0].outlet(channel(1, 2), Some("b"), Arc::clone(&sender) as Arc<dyn Wake>).unwrap();
    (hubs, wires, gate, outlet, sender)
}

#[test]
fn remote_credit_returns_in_parts_of_the_window_and_wakes_the_sender() {
    let (hubs, wires, gate, outlet, sender) = pair(2000);
    let mut sent = 0;
    while outlet.credit() > 0 {
        outlet.send(rows([sent])).unwrap();
        sent += 1;
    }
    let frame = (2000 - outlet.credit()) / sent;
    while wires[0].carry("a", &hubs[1]) {}
    let mut grants = 0;
    for value in 0..sent {
        assert_eq!(values(&gate.take().unwrap().1), [value]);
        grants += i64::from(wires[1].carry("b", &hubs[0]));
    }
    // A grant stands for at least an eighth of the window.
    let parts = (2000 / 8 + frame - 1) / frame;
    assert_eq!(grants, sent / parts);
    assert_eq!(outlet.credit(), 2000 - sent % parts * frame);
    assert_eq!(sender.count(), 1);
}

#[test]
fn a_window_smaller_than_a_frame_still_moves() {
    let (hubs, wires, gate, outlet, _) = pair(1);
    for value in 0..10 {
        outlet.send(rows(value..value + 100)).unwrap();
        assert!(outlet.credit() <= 0);
        assert!(wires[0].carry("a", &hubs[1]));
        assert_eq!(values(&gate.take().unwrap().1).len(), 100);
        assert!(wires[1].carry("b", &hubs[0]));
        assert_eq!(outlet.credit(), 1);
    }
}

#[test]
fn closing_wakes_a_sender_that_waits_for_credit() {
    let (hubs, _, _, outlet, sender) = pair(1);
    outlet.send(rows([1])).unwrap();
    assert_eq!((outlet.credit() <= 0, sender.count()), (true, 0));
    hubs[0].close();
    assert_eq!(sender.count(), 1);
}

#[test]
fn frames_that_do_not_fit_the_plan_are_errors() {
    let (hubs, ..) = pair(100);
    let end = |id| frame::encode(id, &Element::End).unwrap();
    assert!(matches!(hubs[1].receive("a", end(channel(1, 7))), Err(Error::NoSuchChannel(_))));
    assert!(matches!(hubs[1].receive("stranger", end(channel(1, 2))), Err(Error::NoSuchPeer(_))));
    hubs[1].receive("a", end(channel(1, 2))).unwrap();
    hubs[1].attach("c", Arc::new(Wire::default())).unwrap();
    assert!(matches!(hubs[1].receive("c", end(channel(1, 2))), Err(Error::DuplicateChannel(_))));
    assert!(matches!(hubs[1].receive("a", end(channel(1, 2)).slice(..9)), Err(Error::Frame(_))));
    assert!(matches!(hubs[1].receive("a", [&end(channel(1, 2))[..], &[0]].concat().into()), Err(Error::Frame(_))));
}

#[test]
fn a_loss_is_reported_once_and_not_after_the_end() {
    let (hub, lost) = hub(100);
    let wires = [Arc::new(Wire::default()), Arc::new(Wire::default())];
    hub.attach("a", Arc::clone(&wires[0]) as Arc<dyn Link>).unwrap();
    hub.attach("b", Arc::clone(&wires[1]) as Arc<dyn Link>).unwrap();
    assert!(matches!(hub.attach("a", Arc::new(Wire::default())), Err(Error::AlreadyConnected(_))));
    hub.lost("a", "cable");
    hub.lost("a", "again");
    assert_eq!(*lock(&lost), ["a: cable"]);
    assert!(matches!(hub.outlet(channel(1, 2), Some("a"), wake()), Err(Error::NoSuchPeer(_))));
    hub.close();
    hub.lost("b", "closed");
    assert_eq!(*lock(&lost), ["a: cable"]);
    assert_eq!(wires.map(|wire| wire.closed.load(Ordering::Relaxed)), [1, 1]);
    assert!(matches!(hub.attach("b", Arc::new(Wire::default())), Err(Error::Closed)));
}

#[test]
fn a_channel_is_added_to_a_gate_that_is_in_use_and_forgotten_with_its_task() {
    let (hubs, wires, gate, outlet, _) = pair(2000);
    outlet.send(rows([1])).unwrap();
    assert_eq!(hubs[1].add_inlet(&gate, (channel(5, 2), 1, schema())).unwrap(), 1);
    assert!(matches!(hubs[1].add_inlet(&gate, (channel(5, 2), 1, schema())), Err(Error::DuplicateChannel(_))));
    let added = hubs[0].outlet(channel(5, 2), Some("b"), wake()).unwrap();
    added.send(rows(0..200)).unwrap();
    added.send(Element::End).unwrap();
    while wires[0].carry("a", &hubs[1]) {}
    let taken: Vec<_> =
        std::iter::from_fn(|| gate.take()).map(|(channel, element)| (channel, values(&element).len())).collect();
    assert_eq!(taken, [(0, 1), (1, 200), (1, 0)]);

    gate.free(1);
    hubs.iter().for_each(|hub| hub.forget_task(5));
    assert!(wires[1].carry("b", &hubs[0]), "a grant for the channel that is gone");
    outlet.send(rows([2])).unwrap();
    assert!(wires[0].carry("a", &hubs[1]), "the other channel goes on");
    assert_eq!(values(&gate.take().unwrap().1), [2]);
    let late = |task| frame::encode(channel(task, 2), &Element::Idle).unwrap();
    hubs[1].receive("a", late(5)).unwrap();
    assert!(gate.take().is_none(), "what was on its way from a task that is gone");
    assert!(matches!(hubs[1].receive("a", late(6)), Err(Error::NoSuchChannel(_))));
    // Both ends may have it again.
    assert_eq!(hubs[1].add_inlet(&gate, (channel(5, 2), 1, schema())).unwrap(), 1);
    let again = hubs[0].outlet(channel(5, 2), Some("b"), wake()).unwrap();
    assert_eq!(again.credit(), 2000);
    hubs[0].forget_channel(channel(5, 2));
    hubs[0].outlet(channel(5, 2), Some("b"), wake()).unwrap();
    assert!(matches!(hubs[0].outlet(channel(1, 2), Some("b"), wake()), Err(Error::DuplicateChannel(_))));
}

#[test]
fn state_crosses_on_credit() {
    let (hubs, wires, gate, _, _) = pair(2000);
    hubs[1].add_inlet(&gate, (ChannelId::transfer(1, 2), 0, schema())).unwrap();
    let outlet = hubs[0].outlet(ChannelId::transfer(1, 2), Some("b"), wake()).unwrap();
    let entries = Bytes::from(vec![9; 17_000]);
    let part = StatePart { version: 4, group: 17, kind: PartKind::Changes, entries };
    assert!(outlet.send(Element::State(part.clone())).unwrap() > 17_000);
    assert!(matches!(outlet.send(Element::State(part.clone())), Err(Error::NoCredit(_))));
    assert!(wires[0].carry("a", &hubs[1]));
    let Some((1, Element::State(got))) = gate.take() else { panic!("no state") };
    assert_eq!(got, part);
    assert!(wires[1].carry("b", &hubs[0]));
    assert_eq!(outlet.credit(), 2000 * TRANSFER_WINDOWS as i64);
}

#[test]
fn a_peer_that_is_detached_is_not_lost() {
    let (hub, lost) = hub(100);
    let wire = Arc::new(Wire::default());
    hub.attach("a", Arc::clone(&wire) as Arc<dyn Link>).unwrap();
    hub.detach("a");
    hub.detach("a");
    hub.lost("a", "it closed the connection");
    assert_eq!((lock(&lost).len(), wire.closed.load(Ordering::Relaxed), hub.is_attached("a")), (0, 1, false));
    hub.attach("a", Arc::new(Wire::default())).unwrap();
}
