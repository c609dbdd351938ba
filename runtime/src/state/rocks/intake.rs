//! Key groups that come from elsewhere, written as tables of their own and taken into the database as files, on a thread of its
//! own: what reads and writes the database meanwhile waits for none of it but the moment in which files become part of it.
//!
//! A table holds one group: its range has no key of another, so that it goes below everything that is there, and no write that is
//! still in memory has to become a file before it. Groups too small for a table are written like other changes.
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use bytes::Bytes;
use millstream_api::id::KeyGroup;
use rocksdb::{DB, Options, WriteBatch};

use super::bulk::{Imports, TABLE_FROM_BYTES, Table};
use super::cut::Cuts;
use super::{Error, backend, entry_bytes, group_of, options};
use crate::exchange::Wake;
use crate::priority::background;
use crate::state::part::{self, Entries};
use crate::state::parts::Urgency;
use crate::state::{Arrival, check_group};

/// Tables become part of the database when they have so many bytes together: each time its writers wait until it is on disk.
const INGEST_FROM_BYTES: usize = 64 << 20;

enum Order {
    Take(u64, Arrival),
    Settle,
}

/// The end of the store's owner.
pub(super) struct Intake {
    orders: Option<Sender<Order>>,
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
    settling: bool,
}

/// What both ends know.
struct State {
    /// Given and not taken in yet.
    waiting_bytes: AtomicUsize,
    entries: AtomicU64,
    /// Bytes of groups that are in no file yet.
    written: Mutex<BTreeMap<KeyGroup, usize>>,
    settled: AtomicBool,
    forsaken: AtomicBool,
    ended: AtomicBool,
    failure: Mutex<Option<Error>>,
    wake: Arc<dyn Wake>,
}

impl Intake {
    pub(super) fn begin(
        (db, cuts): (Arc<DB>, Arc<Cuts>),
        imports: Imports,
        urgency: Urgency,
        wake: Arc<dyn Wake>,
    ) -> Result<Self, Error> {
        let state = Arc::new(State {
            waiting_bytes: AtomicUsize::new(0),
            entries: AtomicU64::new(0),
            written: Mutex::default(),
            settled: AtomicBool::new(false),
            forsaken: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            failure: Mutex::default(),
            wake,
        });
        let (orders, incoming) = channel();
        let shared = Arc::clone(&state);
        let thread = std::thread::Builder::new()
            .name("state-intake".to_owned())
            .spawn(move || {
                if urgency == Urgency::Ahead {
                    background();
                }
                let _ended = Ended(&shared);
                serve((&db, &cuts), &imports, &shared, &incoming);
            })
            .map_err(|error| Error::Backend { attempt: "start to take key groups in", reason: error.to_string() })?;
        Ok(Self { orders: Some(orders), state, thread: Some(thread), settling: false })
    }

    /// Queues a part. How many may wait is up to the caller.
    pub(super) fn take(&self, from: u64, arrival: Arrival) -> Result<(), Error> {
        self.check()?;
        self.state.waiting_bytes.fetch_add(arrival.bytes(), Ordering::AcqRel);
        self.send(Order::Take(from, arrival))
    }

    /// None once it has ended: whoever waits for them would wait for ever, and hears of it with what is given next.
    pub(super) fn waiting_bytes(&self) -> usize {
        if self.state.ended.load(Ordering::Acquire) { 0 } else { self.state.waiting_bytes.load(Ordering::Acquire) }
    }

    /// Entries taken in so far.
    pub(super) fn entries(&self) -> u64 {
        self.state.entries.load(Ordering::Acquire)
    }

    /// Bytes of groups, as far as they were written like other changes.
    pub(super) fn written(&self) -> BTreeMap<KeyGroup, usize> {
        std::mem::take(&mut self.state.written.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Ends it. Whether everything is in the database.
    pub(super) fn settle(&mut self) -> Result<bool, Error> {
        self.check()?;
        if !self.settling {
            self.settling = true;
            self.send(Order::Settle)?;
        }
        Ok(self.state.settled.load(Ordering::Acquire))
    }

    fn send(&self, order: Order) -> Result<(), Error> {
        let gone =
            || Error::Backend { attempt: "take key groups in", reason: "the thread for it has ended".to_owned() };
        let Some(orders) = &self.orders else { return Err(gone()) };
        orders.send(order).or_else(|_| {
            self.check()?;
            Err(gone())
        })
    }

    fn check(&self) -> Result<(), Error> {
        self.state.failure.lock().unwrap_or_else(PoisonError::into_inner).take().map_or(Ok(()), Err)
    }
}

impl Drop for Intake {
    /// What has not been taken in is forgotten.
    fn drop(&mut self) {
        self.state.forsaken.store(true, Ordering::Release);
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            // It does not panic; if it did, it has ended all the same.
            let _ = thread.join();
        }
    }
}

fn serve((db, cuts): (&DB, &Cuts), imports: &Imports, state: &State, orders: &Receiver<Order>) {
    let options = options::of_import();
    let mut tables =
        Tables { db, cuts, imports, options: &options, open: HashMap::new(), done: Vec::new(), done_bytes: 0 };
    let mut outcome = Ok(());
    for order in orders {
        if state.forsaken.load(Ordering::Acquire) {
            break;
        }
        let (bytes, settles) = match &order {
            Order::Take(_, arrival) => (arrival.bytes(), false),
            Order::Settle => (0, true),
        };
        outcome = match order {
            Order::Take(from, Arrival::Entries(group, entries)) => tables.entries(from, group, entries, state),
            Order::Take(from, Arrival::Changes(changes)) => tables.changes(from, &changes, state),
            Order::Settle => tables.settle(state),
        };
        if outcome.is_err() {
            break;
        }
        state.waiting_bytes.fetch_sub(bytes, Ordering::AcqRel);
        state.settled.store(settles, Ordering::Release);
        state.wake.wake();
    }
    tables.remove_files();
    if let Err(error) = outcome {
        *state.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }
}

/// Tells who waits that nothing is taken in any more, however that has come.
struct Ended<'a>(&'a State);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.ended.store(true, Ordering::Release);
        self.0.wake.wake();
    }
}

/// The tables on their way into the database.
struct Tables<'a> {
    db: &'a DB,
    cuts: &'a Cuts,
    imports: &'a Imports,
    options: &'a Options,
    /// By where it comes from: the group that is being written.
    open: HashMap<u64, Group<'a>>,
    /// Complete ones.
    done: Vec<PathBuf>,
    done_bytes: usize,
}

struct Group<'a> {
    group: KeyGroup,
    bytes: usize,
    /// While it is too small for a table.
    parts: Vec<Bytes>,
    table: Option<Table<'a>>,
}

impl<'a> Tables<'a> {
    fn entries(&mut self, from: u64, group: KeyGroup, entries: Bytes, state: &State) -> Result<(), Error> {
        if self.open.get(&from).is_some_and(|table| table.group != group) {
            self.close(from, state)?;
        }
        let empty = || Group { group, bytes: 0, parts: Vec::new(), table: None };
        let open = self.open.entry(from).or_insert_with(empty);
        open.bytes += entries.len();
        open.parts.push(entries);
        if open.bytes < TABLE_FROM_BYTES {
            return Ok(());
        }
        let table = match open.table.take() {
            Some(table) => table,
            None => Table::begin(self.db, self.imports, self.options)?,
        };
        let table = open.table.insert(table);
        let mut count = 0;
        for part in open.parts.drain(..) {
            let mut entries = Entries::of(&part);
            while let Some((key, value)) = entries.read()? {
                check_group(group, key)?;
                table.put(key, value.unwrap_or_default())?;
                count += 1;
            }
        }
        state.entries.fetch_add(count, Ordering::Relaxed);
        Ok(())
    }

    /// The group that was coming from there is complete.
    fn close(&mut self, from: u64, state: &State) -> Result<(), Error> {
        let Some(open) = self.open.remove(&from) else { return Ok(()) };
        for part in &open.parts {
            part::check(open.group, part)?;
            self.write(part, state)?;
        }
        let Some(table) = open.table else { return Ok(()) };
        self.done.push(table.finish()?);
        self.done_bytes += open.bytes;
        if self.done_bytes < INGEST_FROM_BYTES { Ok(()) } else { self.ingest() }
    }

    fn changes(&mut self, from: u64, changes: &Bytes, state: &State) -> Result<(), Error> {
        self.close(from, state)?;
        // They would be covered by what comes later into the database.
        self.ingest()?;
        self.write(changes, state)
    }

    fn settle(&mut self, state: &State) -> Result<(), Error> {
        let places: Vec<u64> = self.open.keys().copied().collect();
        places.into_iter().try_for_each(|from| self.close(from, state))?;
        self.ingest()
    }

    fn ingest(&mut self) -> Result<(), Error> {
        if self.done.is_empty() {
            return Ok(());
        }
        self.done_bytes = 0;
        self.imports.ingest(self.db, &self.cuts.settle(), std::mem::take(&mut self.done))
    }

    fn write(&self, changes: &Bytes, state: &State) -> Result<(), Error> {
        let (mut batch, mut written) = (WriteBatch::default(), BTreeMap::<KeyGroup, usize>::new());
        let mut entries = Entries::of(changes);
        while let Some((key, value)) = entries.read()? {
            *written.entry(group_of(key)?).or_default() += entry_bytes(key, value);
            match value {
                Some(value) => batch.put(key, value),
                None => batch.delete(key),
            }
        }
        state.entries.fetch_add(batch.len() as u64, Ordering::Relaxed);
        let mut all = state.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.into_iter().for_each(|(group, bytes)| *all.entry(group).or_default() += bytes);
        drop(all);
        // The task counts what it writes itself while a cut is pending.
        let _settled = self.cuts.settle();
        self.db.write_opt(batch, &options::unlogged()).map_err(backend("write an import"))
    }

    fn remove_files(&mut self) {
        let open = self.open.drain().filter_map(|(_, open)| open.table.map(Table::forsake));
        for path in open.chain(self.done.drain(..)) {
            // What stays behind goes with the folder of the store.
            let _ = std::fs::remove_file(path);
        }
    }
}
