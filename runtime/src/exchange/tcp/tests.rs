use std::sync::mpsc;

use millstream_api::owner::OwnerTable;

use super::super::tests::{batch, channel, hash_on_value, schema, values};
use super::super::{Gate, Router, RouterOptions, Wake};
use super::*;
use crate::batch::Element;
use crate::net::TcpNetwork;
use crate::random::SystemRandom;

/// Wakes a thread that waits on a channel of one place.
struct Bell(mpsc::SyncSender<()>);

impl Wake for Bell {
    fn wake(&self) {
        // A full place holds a wake already.
        self.0.try_send(()).unwrap_or(());
    }
}

fn bell() -> (Arc<dyn Wake>, mpsc::Receiver<()>) {
    let (sender, receiver) = mpsc::sync_channel(1);
    (Arc::new(Bell(sender)), receiver)
}

const WAIT: Duration = Duration::from_secs(20);

struct Worker {
    port: DataPort,
    hub: Arc<Hub>,
    lost: mpsc::Receiver<String>,
}

impl Worker {
    async fn new(name: &str, generation: Generation, secret: &str) -> Self {
        let identity = Identity { job: 5, generation: 0, term: 1, worker: name.into(), incarnation: incarnation(name) };
        let (network, random) = (Arc::new(TcpNetwork), Arc::new(SystemRandom));
        let port = DataPort::open(network, "127.0.0.1:0", identity, Secret::new(secret), random).await.unwrap();
        let (sender, lost) = mpsc::sync_channel(8);
        let on_lost = move |peer: &str, reason: &str| sender.send(format!("{peer}: {reason}")).unwrap();
        Self { port, hub: Hub::new(generation, 1 << 16, Box::new(on_lost)), lost }
    }

    fn peer(&self) -> Peer {
        let name = self.port.shared.identity.worker.clone();
        Peer { incarnation: incarnation(&name), name, address: self.port.address().to_string() }
    }

    async fn meet(&self, peer: &Worker) -> Result<(), String> {
        let peers = [peer.peer()];
        self.port.serve(&self.hub, &peers);
        self.port.connect(&self.hub, &peers).await.map_err(|error| {
            let causes = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source());
            causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
        })
    }
}

fn incarnation(name: &str) -> u64 {
    name.bytes().map(u64::from).sum()
}

async fn pair() -> (Worker, Worker) {
    (Worker::new("w0", 3, "secret").await, Worker::new("w1", 3, "secret").await)
}

/// Everything a task is sent, until its channel ends.
fn consume(gate: &Gate, bell: &mpsc::Receiver<()>) -> Vec<Element> {
    let mut elements = vec![];
    while !matches!(elements.last(), Some(Element::End)) {
        match gate.take() {
            Some((_, element)) => elements.push(element),
            None => bell.recv_timeout(WAIT).expect("nothing arrived in time"),
        }
    }
    elements
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_cross_with_credit_and_in_order() {
    let (one, two) = pair().await;
    let (wake, bell_of_gate) = bell();
    // Task 1 is fed locally, task 2 on the other worker.
    let gates = [1, 2].map(|to| Gate::new(to, vec![(channel(0, to), 0, schema())], 1 << 16, Arc::clone(&wake)));
    let (wake, bell_of_local) = bell();
    let local = Gate::new(1, vec![(channel(0, 1), 0, schema())], 1 << 16, wake);
    one.hub.register(&local).unwrap();
    two.hub.register(&gates[1]).unwrap();
    let (first, second) = tokio::join!(one.meet(&two), two.meet(&one));
    first.and(second).unwrap();

    let (wake, bell_of_sender) = bell();
    let outlets =
        [(1, None), (2, Some("w1"))].map(|(to, peer)| one.hub.outlet(channel(0, to), peer, Arc::clone(&wake)).unwrap());
    let table = OwnerTable::initial(&[1, 2], 256);
    let mut router =
        Router::new(hash_on_value(), outlets.into(), &table, 256, RouterOptions { batch_rows: 1000 }).unwrap();
    let sending = tokio::task::spawn_blocking(move || {
        let mut waits = 0;
        for chunk in 0..500 {
            router.push(batch(chunk * 1000..chunk * 1000 + 1000)).unwrap();
            while !router.drain().unwrap() {
                waits += 1;
                bell_of_sender.recv_timeout(WAIT).expect("no credit came back");
            }
        }
        router.broadcast(&Element::Watermark(500_000)).unwrap();
        router.broadcast(&Element::End).unwrap();
        while !router.drain().unwrap() {
            bell_of_sender.recv_timeout(WAIT).expect("no credit came back");
        }
        waits
    });
    let remote = Arc::clone(&gates[1]);
    let remote = tokio::task::spawn_blocking(move || consume(&remote, &bell_of_gate));
    let local = tokio::task::spawn_blocking(move || consume(&local, &bell_of_local));
    let (local, remote) = (local.await.unwrap(), remote.await.unwrap());
    assert!(sending.await.unwrap() > 0, "4 MB through windows of 64 KiB must wait");
    let mut all = vec![];
    for elements in [local, remote] {
        let rows: Vec<_> = elements.iter().flat_map(values).collect();
        assert!(rows.is_sorted());
        assert!(matches!(elements[elements.len() - 2..], [Element::Watermark(500_000), Element::End]));
        all.extend(rows);
    }
    all.sort_unstable();
    assert!(all.into_iter().eq(0..500_000));
}

#[tokio::test]
async fn a_lost_peer_is_reported_once_and_a_closed_hub_reports_nothing() {
    let (one, two) = pair().await;
    let (first, second) = tokio::join!(one.meet(&two), two.meet(&one));
    first.and(second).unwrap();
    two.hub.close();
    let lost = tokio::task::spawn_blocking(move || {
        let first = one.lost.recv_timeout(WAIT).expect("the loss was not reported");
        one.hub.lost("w1", "again");
        (first, one.lost.try_recv().is_err(), one.hub.is_attached("w1"))
    });
    assert_eq!(lost.await.unwrap(), ("w1: it closed the connection".into(), true, false));
    assert!(two.lost.try_recv().is_err());
}

#[tokio::test]
async fn another_secret_is_refused() {
    let (one, two) = (Worker::new("w0", 3, "secret").await, Worker::new("w1", 3, "guess").await);
    two.port.serve(&two.hub, &[one.peer()]);
    let error = one.meet(&two).await.unwrap_err();
    assert_eq!(error, "cannot open the data connection to worker w1: the other side does not know the job's secret");
    assert!(!two.hub.is_attached("w0"));
}

#[tokio::test]
async fn an_earlier_generation_is_refused_and_a_later_one_awaited() {
    let (one, two) = (Worker::new("w0", 3, "secret").await, Worker::new("w1", 4, "secret").await);
    two.port.serve(&two.hub, &[one.peer()]);
    let error = one.meet(&two).await.unwrap_err();
    assert!(error.ends_with("refused the connection: generation 3 has ended; this worker is at 4"), "{error}");

    let later = Hub::new(5, 1 << 16, Box::new(|_, _| {}));
    let (ours, theirs) = (Hub::new(5, 1 << 16, Box::new(|_, _| {})), [one.peer()]);
    let peers = [two.peer()];
    let dialing = one.port.connect(&ours, &peers);
    let serving = async {
        tokio::task::yield_now().await;
        two.port.serve(&later, &theirs);
        two.port.connect(&later, &theirs).await
    };
    let (dialed, served) = tokio::join!(dialing, serving);
    dialed.and(served).unwrap();
    assert!(later.is_attached("w0") && ours.is_attached("w1"));
}

#[tokio::test]
async fn another_incarnation_is_refused_by_both_sides() {
    let (one, two) = pair().await;
    two.port.serve(&two.hub, &[Peer { incarnation: 1, ..one.peer() }]);
    let error = one.meet(&two).await.unwrap_err();
    assert!(error.contains("worker w0 with incarnation 00000000000000a7 is not part of generation 3"), "{error}");
    two.port.serve(&two.hub, &[one.peer()]);
    let error = one.port.connect(&one.hub, &[Peer { incarnation: 1, ..two.peer() }]).await.unwrap_err();
    assert!(matches!(error, Error::WrongPeer { .. }), "{error}");
}
