//! `bench exchange`: rows and bytes a second through a hash exchange between two processes on loopback, beside the
//! ceiling of a plain copy and socket in the same run.
//!
//! The receiving process calls [`receive`] and hands on the [`Addresses`] it announces; the sending one calls [`send`].
//! Both take the same [`Options`]. The connection carries made-up rows only, so its secret is no secret.
mod ceiling;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use arrow::array::{Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use millstream_api::id::TaskId;
use millstream_api::owner::OwnerTable;
use millstream_sql::graph::Partition;
use serde::{Deserialize, Serialize};

use super::tcp::{self, DataPort, Peer};
use super::{ChannelId, Gate, Hub, Inlet, Outlet, Router, RouterOptions, Wake, lock};
use crate::batch::{Batch, Element};
use crate::clock::Clock;
use crate::net::handshake::{Identity, Secret};
use crate::net::{Network, TcpNetwork};
use crate::random::SystemRandom;

const SENDER: TaskId = 0;
// The lesser name dials.
const SENDER_NAME: &str = "w0";
const RECEIVER_NAME: &str = "w1";
const LOOPBACK: &str = "127.0.0.1:0";
/// Different batches that are sent over and over, so that making them is not measured.
const BATCHES: u64 = 64;

/// What is measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Options {
    /// Rows sent; rounded up to whole batches.
    pub rows: u64,
    /// Rows of a batch.
    pub batch_rows: usize,
    /// Tasks of the receiving stage, a thread each.
    pub receivers: u32,
    /// Window of each channel.
    pub window_bytes: usize,
    /// Key groups the rows are in; with as many as receivers, each has one and no more can ever move.
    pub key_groups: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { rows: 40_000_000, batch_rows: 4096, receivers: 2, window_bytes: 1 << 20, key_groups: 256 }
    }
}

/// Where the receiving process listens.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Addresses {
    /// Its data port.
    pub data: String,
    /// The plain socket that the ceiling is measured with.
    pub ceiling: String,
}

/// What was measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// Rows that arrived: a 64-bit key, a 64-bit value and a text of 12 bytes each.
    pub rows: u64,
    /// Bytes of frames that carried them.
    pub bytes: u64,
    /// From the first row pushed to the word of the last receiver that its channel has ended.
    pub seconds: f64,
    /// Rows a second.
    pub rows_per_s: f64,
    /// Bytes a second.
    pub bytes_per_s: f64,
    /// Bytes a second that a copy, a socket and a copy reach with as many bytes.
    pub ceiling_bytes_per_s: f64,
    /// `bytes_per_s / ceiling_bytes_per_s`.
    pub share: f64,
}

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An option makes no sense.
    #[error("cannot measure with {0}: it must be at least 1")]
    Option(&'static str),
    /// The exchange failed.
    #[error("the exchange failed")]
    Exchange(#[from] super::Error),
    /// The processes did not meet.
    #[error("the two processes did not meet")]
    Connect(#[from] tcp::Error),
    /// A socket failed.
    #[error("a socket failed")]
    Io(#[from] std::io::Error),
    /// The test rows could not be made.
    #[error("cannot make the rows")]
    Arrow(#[from] ArrowError),
    /// The other process went away.
    #[error("the other process is gone: {0}")]
    Lost(String),
    /// A thread of the benchmark did not end well.
    #[error("a thread of the benchmark panicked")]
    Thread,
    /// The exchange is wrong.
    #[error("{received} rows arrived of {sent}")]
    RowsLost {
        /// Sent.
        sent: u64,
        /// Received.
        received: u64,
    },
}

/// The waiting thread of a task, and the end that a lost peer puts to it.
#[derive(Default)]
struct Waiter {
    thread: Mutex<Option<std::thread::Thread>>,
    lost: AtomicBool,
    reason: Mutex<String>,
}

impl Wake for Waiter {
    fn wake(&self) {
        if let Some(thread) = &*lock(&self.thread) {
            thread.unpark();
        }
    }
}

impl Waiter {
    fn adopt_this_thread(&self) {
        *lock(&self.thread) = Some(std::thread::current());
    }

    fn wait(&self) -> Result<(), Error> {
        if !self.lost.load(Ordering::Acquire) {
            std::thread::park();
        }
        if self.lost.load(Ordering::Acquire) { Err(Error::Lost(lock(&self.reason).clone())) } else { Ok(()) }
    }

    fn end(&self, reason: &str) {
        reason.clone_into(&mut lock(&self.reason));
        self.lost.store(true, Ordering::Release);
        self.wake();
    }
}

/// The receiving process: announces where it listens, receives one measurement, and returns when it is over.
pub async fn receive(options: &Options, announce: impl FnOnce(&Addresses)) -> Result<(), Error> {
    check(options)?;
    let tasks: Vec<TaskId> = (1..=options.receivers).collect();
    let waiters: Vec<_> = tasks.iter().map(|_| Arc::new(Waiter::default())).collect();
    let hub = hub(options, waiters.clone());
    let mut gates = Vec::new();
    for (task, waiter) in tasks.iter().zip(&waiters) {
        let inlet: Inlet = (forth(*task), 0, schema());
        let gate = Gate::new(*task, vec![inlet], options.window_bytes, Arc::clone(waiter) as Arc<dyn Wake>);
        hub.register(&gate)?;
        gates.push(gate);
    }
    let ceiling = TcpNetwork.listen(LOOPBACK).await?;
    let port = open(RECEIVER_NAME).await?;
    let sender = [Peer { name: SENDER_NAME.into(), incarnation: 0, address: String::new() }];
    port.serve(&hub, &sender);
    announce(&Addresses { data: port.address().to_string(), ceiling: ceiling.address().to_string() });
    port.connect(&hub, &sender).await?;
    let mut threads = Vec::new();
    for ((task, waiter), gate) in tasks.into_iter().zip(waiters).zip(gates) {
        let reply = hub.outlet(back(task), Some(SENDER_NAME), Arc::clone(&waiter) as Arc<dyn Wake>)?;
        threads.push(tokio::task::spawn_blocking(move || consume(&gate, &waiter, &reply)));
    }
    for thread in threads {
        thread.await.map_err(|_| Error::Thread)??;
    }
    ceiling::receive(ceiling.accept().await?).await?;
    hub.close();
    Ok(())
}

/// Counts rows until the channel ends, and sends the number back.
fn consume(gate: &Gate, waiter: &Waiter, reply: &Outlet) -> Result<(), Error> {
    waiter.adopt_this_thread();
    let mut rows = 0;
    loop {
        match gate.take() {
            Some((_, Element::Rows(batch))) => rows += batch.num_rows() as i64,
            Some((_, Element::End)) => break,
            Some(_) => {}
            None => waiter.wait()?,
        }
    }
    reply.send(Element::Watermark(rows))?;
    reply.send(Element::End)?;
    Ok(())
}

/// The sending process: sends all rows, waits until they have arrived, then measures the ceiling.
pub async fn send(options: &Options, addresses: &Addresses, clock: Arc<dyn Clock>) -> Result<Report, Error> {
    check(options)?;
    let waiter = Arc::new(Waiter::default());
    let hub = hub(options, vec![Arc::clone(&waiter)]);
    let tasks: Vec<TaskId> = (1..=options.receivers).collect();
    let wake = || Arc::clone(&waiter) as Arc<dyn Wake>;
    let inlets = tasks.iter().map(|task| (back(*task), 0, schema())).collect();
    let gate = Gate::new(SENDER, inlets, options.window_bytes, wake());
    hub.register(&gate)?;
    let port = open(SENDER_NAME).await?;
    let receiver = [Peer { name: RECEIVER_NAME.into(), incarnation: 0, address: addresses.data.clone() }];
    port.serve(&hub, &receiver);
    port.connect(&hub, &receiver).await?;
    let outlets = tasks.iter().map(|task| hub.outlet(forth(*task), Some(RECEIVER_NAME), wake()));
    let outlets = outlets.collect::<Result<Vec<_>, _>>()?;
    let table = OwnerTable::initial(&tasks, options.key_groups);
    let partition = Partition::Hash { columns: vec![0] };
    let router_options = RouterOptions { batch_rows: options.batch_rows };
    let router = Router::new(partition, outlets, &table, options.key_groups, router_options)?;
    let batches = (0..BATCHES).map(|number| batch(number, options.batch_rows)).collect::<Result<Vec<_>, _>>()?;
    let rounds = options.rows.div_ceil(options.batch_rows as u64);
    let pushing = {
        let (waiter, clock) = (Arc::clone(&waiter), Arc::clone(&clock));
        move || push(router, &batches, rounds, &gate, &waiter, &*clock)
    };
    let (rows, bytes, seconds) = tokio::task::spawn_blocking(pushing).await.map_err(|_| Error::Thread)??;
    let ceiling_bytes_per_s = ceiling::send(TcpNetwork.connect(&addresses.ceiling).await?, bytes, &*clock).await?;
    hub.close();
    let bytes_per_s = bytes as f64 / seconds;
    let share = bytes_per_s / ceiling_bytes_per_s;
    Ok(Report { rows, bytes, seconds, rows_per_s: rows as f64 / seconds, bytes_per_s, ceiling_bytes_per_s, share })
}

/// Answers rows, bytes and seconds.
fn push(
    mut router: Router,
    batches: &[Batch],
    rounds: u64,
    replies: &Gate,
    waiter: &Waiter,
    clock: &dyn Clock,
) -> Result<(u64, u64, f64), Error> {
    waiter.adopt_this_thread();
    let started_us = clock.now_us();
    for batch in batches.iter().cycle().take(usize::try_from(rounds).unwrap_or(usize::MAX)) {
        router.push(batch.clone())?;
        while !router.drain()? {
            waiter.wait()?;
        }
    }
    router.broadcast(&Element::End)?;
    while !router.drain()? {
        waiter.wait()?;
    }
    let (mut received, mut open) = (0, replies.paced_channels());
    while open > 0 {
        match replies.take() {
            Some((_, Element::Watermark(rows))) => received += rows.unsigned_abs(),
            Some((_, Element::End)) => open -= 1,
            Some(_) => {}
            None => waiter.wait()?,
        }
    }
    let seconds = (clock.now_us() - started_us).max(1) as f64 / 1e6;
    router.flush()?;
    let counters = router.counters();
    if received != counters.records() {
        return Err(Error::RowsLost { sent: counters.records(), received });
    }
    Ok((received, counters.bytes(), seconds))
}

fn check(options: &Options) -> Result<(), Error> {
    let all = [
        (options.rows, "rows"),
        (options.batch_rows as u64, "batch_rows"),
        (u64::from(options.receivers), "receivers"),
        (options.window_bytes as u64, "window_bytes"),
        (u64::from(options.key_groups), "key_groups"),
    ];
    all.iter().find(|(value, _)| *value == 0).map_or(Ok(()), |(_, name)| Err(Error::Option(name)))
}

fn hub(options: &Options, waiters: Vec<Arc<Waiter>>) -> Arc<Hub> {
    let on_lost = move |_: &str, reason: &str| waiters.iter().for_each(|waiter| waiter.end(reason));
    Hub::new(1, options.window_bytes, Box::new(on_lost))
}

async fn open(name: &str) -> Result<DataPort, Error> {
    let identity = Identity { job: 0, generation: 1, term: 1, worker: name.into(), incarnation: 0 };
    let (network, random) = (Arc::new(TcpNetwork), Arc::new(SystemRandom));
    Ok(DataPort::open(network, LOOPBACK, identity, Secret::new("bench"), random).await?)
}

fn forth(task: TaskId) -> ChannelId {
    ChannelId { edge: 0, from: SENDER, to: task }
}

fn back(task: TaskId) -> ChannelId {
    ChannelId { edge: 1, from: task, to: SENDER }
}

fn schema() -> SchemaRef {
    let field = |name, data_type| Field::new(name, data_type, false);
    let fields = [("key", DataType::Int64), ("value", DataType::Int64), ("text", DataType::Utf8)];
    Arc::new(Schema::new(fields.map(|(name, data_type)| field(name, data_type)).to_vec()))
}

fn batch(number: u64, rows: usize) -> Result<Batch, Error> {
    let numbers = || (0..rows as i64).map(move |row| number as i64 * rows as i64 + row);
    let keys = Int64Array::from_iter_values(numbers().map(|row| row.wrapping_mul(2_654_435_761) % 1_000_003));
    let texts = StringArray::from_iter_values(numbers().map(|row| format!("row {row:08}")));
    let values = Int64Array::from_iter_values(numbers());
    Ok(Batch::inserts(RecordBatch::try_new(schema(), vec![Arc::new(keys), Arc::new(values), Arc::new(texts)])?))
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;
    use crate::clock::SystemClock;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn all_rows_arrive_and_both_rates_are_measured() {
        let options = Options { rows: 200_000, receivers: 3, ..Options::default() };
        let (announce, announced) = oneshot::channel();
        let receiving = receive(&options, |addresses| announce.send(addresses.clone()).unwrap());
        let sending = async { send(&options, &announced.await.unwrap(), Arc::new(SystemClock::default())).await };
        let (received, sent) = tokio::join!(receiving, sending);
        received.unwrap();
        let report = sent.unwrap();
        assert_eq!(report.rows, 49 * 4096);
        assert!(report.bytes > report.rows * 34 && report.bytes < report.rows * 40, "{report:?}");
        assert!(report.share > 0.0 && report.share.is_finite(), "{report:?}");
    }

    #[tokio::test]
    async fn options_that_make_no_sense_are_refused() {
        let error = receive(&Options { receivers: 0, ..Options::default() }, |_| {}).await.unwrap_err();
        assert_eq!(error.to_string(), "cannot measure with receivers: it must be at least 1");
    }
}
