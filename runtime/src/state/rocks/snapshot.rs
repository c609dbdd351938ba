//! Views of a database that later writes do not change.
//!
//! A RocksDB snapshot borrows its database, and what borrows cannot be boxed beside what it borrows from. So each snapshot
//! lives on the stack of a thread of its own, which reads ranges when asked. Making one costs a thread and no flush; the
//! alternative without `unsafe`, a cut opened for reading, would flush the memtable each time.
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread::JoinHandle;

use millstream_api::id::KeyGroup;
use rocksdb::{DB, ReadOptions};

use bytes::Bytes;

use super::{Error, KeyRange, Snapshot, group_range, scan};
use crate::exchange::Wake;
use crate::priority::background;
use crate::state::part::Builder;
use crate::state::parts::{Next, OnDemand, Parts, Urgency, Wanted};

/// The reader hands entries over in parts of about this size.
const PART_BYTES: usize = 256 << 10;
/// It is so many parts ahead of who asked for them.
const PARTS_AHEAD: usize = 4;

type Part = Vec<(Vec<u8>, Vec<u8>)>;
/// A part of a group, as it is sent.
type Encoded = Result<(KeyGroup, Bytes), Error>;

/// What to read, and where it goes. The last is followed by the end of the channel.
enum Request {
    Range { from: Vec<u8>, to: Vec<u8>, parts: SyncSender<Result<Part, Error>> },
    Groups { wanted: Wanted, parts: SyncSender<Encoded>, wake: Arc<dyn Wake> },
}

/// The present content of a database that is written on.
pub(super) struct LiveSnapshot {
    requests: Option<SyncSender<Request>>,
    reader: Option<JoinHandle<()>>,
    _alive: Arc<()>,
}

impl LiveSnapshot {
    /// Returns when the snapshot has been taken.
    pub(super) fn new(db: Arc<DB>, alive: Arc<()>) -> Result<Self, Error> {
        let (requests, incoming) = sync_channel(1);
        let (taken, ready) = sync_channel(1);
        let reader = std::thread::Builder::new()
            .name("state-snapshot".to_owned())
            .spawn(move || serve(&db, &taken, &incoming))
            .map_err(|error| Error::Backend { attempt: "start the reader of a snapshot", reason: error.to_string() })?;
        ready.recv().map_err(|_| gone())?;
        Ok(Self { requests: Some(requests), reader: Some(reader), _alive: alive })
    }
}

fn gone() -> Error {
    Error::Backend { attempt: "read a snapshot", reason: "its reader has ended".to_owned() }
}

/// Takes the snapshot, then reads ranges until nobody can ask any more.
fn serve(db: &DB, taken: &SyncSender<()>, requests: &Receiver<Request>) {
    let snapshot = db.snapshot();
    if taken.send(()).is_err() {
        return;
    }
    for request in requests {
        let options = || {
            let mut options = ReadOptions::default();
            options.set_snapshot(&snapshot);
            options.fill_cache(false);
            options
        };
        match request {
            Request::Range { from, to, parts } => read_range(db, options(), (&from, &to), &parts),
            Request::Groups { wanted, parts, wake } => {
                if wanted.urgency == Urgency::Ahead {
                    background();
                }
                let read = |group| read_group(db, options(), (group, wanted.part_bytes), (&parts, wake.as_ref()));
                if let Err(Some(error)) = wanted.groups.iter().try_for_each(|group| read(*group)) {
                    // Whoever asked may have enough already.
                    let _ = parts.send(Err(error));
                }
                drop(parts);
                wake.wake();
            }
        }
    }
}

fn read_range(db: &DB, options: ReadOptions, (from, to): (&[u8], &[u8]), parts: &SyncSender<Result<Part, Error>>) {
    let (mut part, mut bytes, mut wanted) = (Part::new(), 0, true);
    let mut visit = |key: &[u8], value: &[u8]| {
        part.push((key.to_vec(), value.to_vec()));
        bytes += key.len() + value.len();
        if bytes >= PART_BYTES {
            bytes = 0;
            wanted = parts.send(Ok(std::mem::take(&mut part))).is_ok();
        }
        wanted
    };
    let outcome = scan(db, options, from, Some(to), &mut visit);
    // Whoever asked may have enough already.
    let _ = parts.send(outcome.map(|()| part));
}

/// Ends early, without an error, if nobody wants the parts any more.
fn read_group(
    db: &DB,
    options: ReadOptions,
    (group, part_bytes): (KeyGroup, usize),
    (parts, wake): (&SyncSender<Encoded>, &dyn Wake),
) -> Result<(), Option<Error>> {
    let (from, to) = group_range(group)?;
    let (mut builder, mut wanted) = (Builder::default(), true);
    let hand_over = |builder: &mut Builder| {
        let sent = parts.send(Ok((group, std::mem::take(builder).finish()))).is_ok();
        wake.wake();
        sent
    };
    scan(db, options, &from, Some(&to), &mut |key, value| {
        builder.push(key, Some(value));
        if builder.is_full(part_bytes) {
            wanted = hand_over(&mut builder);
        }
        wanted
    })?;
    match wanted && (builder.bytes() == 0 || hand_over(&mut builder)) {
        true => Ok(()),
        false => Err(None),
    }
}

/// Parts that the reader of a snapshot reads ahead.
struct ReadAhead {
    /// Goes first, so that the reader does not wait for room.
    incoming: Receiver<Encoded>,
    _snapshot: Box<LiveSnapshot>,
}

impl Parts for ReadAhead {
    fn next(&mut self) -> Result<Next, Error> {
        match self.incoming.try_recv() {
            Ok(part) => part.map(|(group, part)| Next::Part(group, part)),
            Err(TryRecvError::Empty) => Ok(Next::Later),
            Err(TryRecvError::Disconnected) => Ok(Next::End),
        }
    }
}

impl Snapshot for LiveSnapshot {
    fn export(
        &self,
        group: KeyGroup,
        from: Option<&[u8]>,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), Error> {
        let (from, to) = range_from(group, from)?;
        let (parts, incoming) = sync_channel(1);
        let requests = self.requests.as_ref().ok_or_else(gone)?;
        requests.send(Request::Range { from, to, parts }).map_err(|_| gone())?;
        for part in incoming {
            if !part?.iter().all(|(key, value)| visit(key, value)) {
                break;
            }
        }
        Ok(())
    }

    fn into_parts(self: Box<Self>, wanted: Wanted, wake: Arc<dyn Wake>) -> Result<Box<dyn Parts>, Error> {
        let (parts, incoming) = sync_channel(PARTS_AHEAD);
        let requests = self.requests.as_ref().ok_or_else(gone)?;
        requests.send(Request::Groups { wanted, parts, wake }).map_err(|_| gone())?;
        Ok(Box::new(ReadAhead { incoming, _snapshot: self }))
    }
}

impl Drop for LiveSnapshot {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(reader) = self.reader.take() {
            // The reader does not panic; if it did, the snapshot is gone all the same.
            let _ = reader.join();
        }
    }
}

/// The content of a cut.
pub(super) struct CutSnapshot {
    db: DB,
}

impl CutSnapshot {
    pub(super) fn new(db: DB) -> Self {
        Self { db }
    }
}

impl Snapshot for CutSnapshot {
    fn export(
        &self,
        group: KeyGroup,
        from: Option<&[u8]>,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), Error> {
        let (from, to) = range_from(group, from)?;
        let mut options = ReadOptions::default();
        options.fill_cache(false);
        scan(&self.db, options, &from, Some(&to), visit)
    }

    fn into_parts(self: Box<Self>, wanted: Wanted, _wake: Arc<dyn Wake>) -> Result<Box<dyn Parts>, Error> {
        Ok(Box::new(OnDemand::new(self, wanted)))
    }
}

fn range_from(group: KeyGroup, from: Option<&[u8]>) -> Result<KeyRange, Error> {
    let (first, to) = group_range(group)?;
    Ok((from.map_or(first.clone(), |from| first.max(from.to_vec())), to))
}
