//! Exchange: FIFO channels between tasks, with credit in bytes, over one connection per pair of workers.
//!
//! ```text
//! task -> Router -> Outlet (one per channel) ---- local ----> Gate -> task
//!                       |                                      ^
//!                     Link (one per peer) -- frames -> Hub ----+
//! ```
//!
//! * A [`Router`] hashes a batch once, cuts it by owner and coalesces the pieces per channel.
//! * An [`Outlet`] may send rows while its credit is above zero, so at most a window and one batch is queued at the other
//!   end. All but rows and state needs no credit, and never passes a row that was sent before. A marker is sent before what
//!   waits for credit, which goes where the new owner table says; all other elements wait behind the rows before them.
//! * A [`Gate`] is the input of a task: all its channels, read fairly; taking rows gives their credit back.
//! * A [`Hub`] stands for one generation on one worker: it knows the gates, opens outlets, and turns frames from peers
//!   into elements. It runs without threads: TCP (`tcp`) and simulation both bring a [`Link`] and call `Hub::receive`.
pub mod bench;
mod columns;
mod counters;
pub mod frame;
mod gate;
mod hub;
mod lane;
mod outlet;
mod ports;
mod router;
pub mod tcp;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// What frames are made of, for those who bring a [`Link`].
pub use bytes::Bytes;
use millstream_api::id::TaskId;
use serde::{Deserialize, Serialize};

pub use counters::EdgeCounters;
pub use gate::{Gate, Inlet};
pub use hub::{Hub, LostPeer};
pub use outlet::{Credit, Outlet};
pub use router::{Router, RouterOptions};

/// One FIFO channel: from one task to another over one edge of the stage graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ChannelId {
    /// Index of the edge in the stage graph.
    pub edge: u16,
    /// Task that sends.
    pub from: TaskId,
    /// Task that receives.
    pub to: TaskId,
}

/// The edge of channels that are not in the stage graph: on them key groups move between tasks of one stage.
pub const TRANSFER_EDGE: u16 = u16::MAX;

/// Its channels have windows so many times as wide: no barrier or marker has to pass what is sent on them, and a sender who always has
/// more to send should not wait for each part to be taken.
const TRANSFER_WINDOWS: usize = 8;

impl ChannelId {
    /// The channel on which key groups move from one task to another.
    pub fn transfer(from: TaskId, to: TaskId) -> Self {
        Self { edge: TRANSFER_EDGE, from, to }
    }

    /// Whether key groups move on it.
    pub fn is_transfer(&self) -> bool {
        self.edge == TRANSFER_EDGE
    }

    /// Bytes that may be in flight on it; `window_bytes`: of a channel for rows.
    fn window_bytes(&self, window_bytes: usize) -> usize {
        if self.is_transfer() { window_bytes.saturating_mul(TRANSFER_WINDOWS) } else { window_bytes }
    }
}

impl std::fmt::Display for ChannelId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.is_transfer() {
            return write!(f, "for key groups from task {} to task {}", self.from, self.to);
        }
        write!(f, "edge {} from task {} to task {}", self.edge, self.from, self.to)
    }
}

/// Wakes a task's thread. A call that comes before the thread waits must not be lost (as with `Thread::unpark`).
pub trait Wake: Send + Sync {
    /// There may be something to do.
    fn wake(&self);
}

impl Wake for std::thread::Thread {
    fn wake(&self) {
        self.unpark();
    }
}

/// The way to one peer: frames arrive whole and in order at its `Hub::receive`, or the peer is reported lost.
pub trait Link: Send + Sync {
    /// Queues a frame. What is queued is bounded by the credit of the channels.
    fn send(&self, frame: Bytes);

    /// Ends the connection.
    fn close(&self);
}

/// What can go wrong in an exchange.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The key of a batch cannot be hashed.
    #[error("cannot find the key groups of a batch")]
    Hash(#[from] crate::batch::hash::Error),
    /// Rows could not be cut or put together.
    #[error("cannot cut or join record batches")]
    Arrow(#[from] arrow::error::ArrowError),
    /// A frame cannot be written or is malformed.
    #[error("cannot exchange a frame")]
    Frame(#[from] frame::Error),
    /// An element or credit for a channel that is not there: the two ends disagree about the plan.
    #[error("there is no channel {0} here")]
    NoSuchChannel(ChannelId),
    /// A gate or outlet was registered twice.
    #[error("channel {0} exists already")]
    DuplicateChannel(ChannelId),
    /// An owner table names a task for which there is no channel.
    #[error("key group {group} belongs to task {task}, to which there is no channel")]
    NoSuchTask {
        /// The group.
        group: usize,
        /// The task.
        task: TaskId,
    },
    /// The channel to a task that owns something cannot go.
    #[error("key group {group} still belongs to task {task}, to which the channel was to be removed")]
    StillOwner {
        /// A group it owns.
        group: usize,
        /// The task.
        task: TaskId,
    },
    /// The task is none of those that a router sends to.
    #[error("there is no channel to task {0}")]
    NoChannelTo(TaskId),
    /// An owner table does not have the job's number of key groups.
    #[error("the owner table has {found} key groups, the job {expected}")]
    KeyGroups {
        /// In the table.
        found: usize,
        /// In the job.
        expected: u32,
    },
    /// There is no connection to the worker at the other end.
    #[error("there is no connection to worker {0}")]
    NoSuchPeer(String),
    /// There is a connection to that worker already.
    #[error("worker {0} is connected already")]
    AlreadyConnected(String),
    /// Rows were sent without credit, which would break the bound on memory.
    #[error("channel {0} has no credit left")]
    NoCredit(ChannelId),
    /// A peer sent more than its credit allows.
    #[error("channel {channel} holds {queued} bytes, more than its window of {window} allows")]
    Overrun {
        /// The channel.
        channel: ChannelId,
        /// Bytes queued before this element.
        queued: usize,
        /// The window.
        window: usize,
    },
    /// The generation has ended.
    #[error("the exchange is closed")]
    Closed,
}

/// A poisoned lock means that a thread panicked while it held it; every critical section here leaves its data whole.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
