//! Rescales into the checkpoint store, beside the loop: as they stand now, whenever that has changed.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use millstream_api::error::chain;
use millstream_api::id::Term;
use millstream_api::wire::{RescaleState, RescaleStatus};
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;

use super::{Error, blocking};
use crate::checkpoint::store::CheckpointStore;
use crate::checkpoint::{self, past};
use crate::clock::back_off;

/// Pause before a store that does not answer is tried again.
const STORE_AGAIN: Duration = Duration::from_secs(2);
/// So long a coordinator that ends waits for what it has noted last.
const FINISH: Duration = Duration::from_secs(2);

/// The newest rescale, how far it has come, and where it is.
type Seen = (u64, u32, RescaleState);

/// See the module.
pub struct Past {
    latest: watch::Sender<Vec<RescaleStatus>>,
    seen: Option<Seen>,
    /// Nothing is noted any more.
    closed: Arc<AtomicBool>,
    writer: JoinHandle<()>,
}

struct Writer {
    store: Arc<dyn CheckpointStore>,
    prefix: String,
    term: Term,
    /// Held while something is written, and by whoever removes what the job has.
    alone: Arc<Mutex<()>>,
    closed: Arc<AtomicBool>,
}

impl Past {
    pub fn begin(store: Arc<dyn CheckpointStore>, prefix: String, term: Term, alone: Arc<Mutex<()>>) -> Self {
        let (latest, changes) = watch::channel(Vec::new());
        let closed = Arc::new(AtomicBool::new(false));
        let writer = Writer { store, prefix, term, alone, closed: Arc::clone(&closed) };
        Self { latest, seen: None, closed, writer: tokio::spawn(writer.run(changes)) }
    }

    /// Whether the newest rescale has not been seen like that.
    pub fn is_news(&mut self, newest: Option<&RescaleStatus>) -> bool {
        let seen = newest.map(|newest| (newest.id, newest.batches_done, newest.state));
        std::mem::replace(&mut self.seen, seen) != seen
    }

    /// All that are remembered, for the store.
    pub fn note(&self, rescales: Vec<RescaleStatus>) {
        self.latest.send_replace(rescales);
    }

    /// All that the job has is to go.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// Waits for what is on its way.
    pub async fn finish(self) {
        drop(self.latest);
        if tokio::time::timeout(FINISH, self.writer).await.is_err() {
            tracing::warn!("the last rescales are not noted in the checkpoint store, which does not answer");
        }
    }
}

impl Writer {
    /// Until nothing comes any more.
    async fn run(self, mut changes: watch::Receiver<Vec<RescaleStatus>>) {
        let mut is_first = true;
        while changes.changed().await.is_ok() {
            let rescales = changes.borrow_and_update().clone();
            match self.write(rescales, is_first).await {
                Ok(Ok(())) => is_first = false,
                Ok(Err(error)) => {
                    tracing::warn!("cannot note the rescales: {}", chain(&error));
                    if error.is_transient() {
                        changes.mark_changed();
                        back_off(STORE_AGAIN).await;
                    }
                }
                Err(_) => return, // The process is going down.
            }
        }
    }

    async fn write(
        &self,
        rescales: Vec<RescaleStatus>,
        is_first: bool,
    ) -> Result<Result<(), checkpoint::Error>, Error> {
        let _alone = self.alone.lock().await;
        if self.closed.load(Ordering::Acquire) {
            return Ok(Ok(()));
        }
        let (store, prefix, term) = (Arc::clone(&self.store), self.prefix.clone(), self.term);
        blocking(move || {
            past::note(store.as_ref(), &prefix, term, &rescales)?;
            if is_first { past::forget_before(store.as_ref(), &prefix, term) } else { Ok(()) }
        })
        .await
    }
}
