//! The sending end of a channel, and the credit that bounds it.
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use bytes::Bytes;

use super::gate::{Gate, Grant};
use super::{ChannelId, Error, Link, Wake, frame};
use crate::batch::Element;

/// Bytes that a channel may still send. Rows may be sent while it is above zero, and may take it below by one batch.
pub struct Credit {
    available: AtomicI64,
    wake: Arc<dyn Wake>,
}

impl Credit {
    /// A full window; `wake` is told when spent credit comes back.
    pub fn new(window_bytes: usize, wake: Arc<dyn Wake>) -> Arc<Self> {
        Arc::new(Self { available: AtomicI64::new(signed(window_bytes)), wake })
    }

    /// What is left.
    pub fn available(&self) -> i64 {
        self.available.load(Ordering::Acquire)
    }

    /// Tells the sending task to look around: the channel is no more.
    pub(super) fn wake(&self) {
        self.wake.wake();
    }

    fn spend(&self, bytes: usize) {
        self.available.fetch_sub(signed(bytes), Ordering::AcqRel);
    }
}

impl Grant for Credit {
    fn grant(&self, bytes: usize) {
        let before = self.available.fetch_add(signed(bytes), Ordering::AcqRel);
        if before <= 0 && before + signed(bytes) > 0 {
            self.wake.wake();
        }
    }
}

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// The sending end of a channel.
pub struct Outlet {
    id: ChannelId,
    credit: Arc<Credit>,
    target: Target,
}

enum Target {
    Local { gate: Arc<Gate>, channel: usize },
    Remote { link: Arc<dyn Link> },
}

impl Outlet {
    /// A channel to a gate in the same process: elements are handed over, not copied.
    pub fn local(id: ChannelId, gate: Arc<Gate>, wake: Arc<dyn Wake>) -> Result<Self, Error> {
        let credit = Credit::new(id.window_bytes(gate.window_bytes()), wake);
        let channel = gate.connect(id, Arc::clone(&credit) as Arc<dyn Grant>, 0)?;
        Ok(Self { id, credit, target: Target::Local { gate, channel } })
    }

    /// A channel over a link; grants from the peer reach `credit` through the hub.
    pub(super) fn remote(id: ChannelId, link: Arc<dyn Link>, credit: Arc<Credit>) -> Self {
        Self { id, credit, target: Target::Remote { link } }
    }

    /// Which channel this is.
    pub fn id(&self) -> ChannelId {
        self.id
    }

    /// Bytes that may still be sent; at zero or below only what needs no credit may.
    pub fn credit(&self) -> i64 {
        self.credit.available()
    }

    /// Sends an element behind all that were sent before, and answers its size as credit counts it (control: 0).
    pub fn send(&self, element: Element) -> Result<usize, Error> {
        let needs_credit = element.needs_credit();
        if needs_credit && self.credit() <= 0 {
            return Err(Error::NoCredit(self.id));
        }
        let (bytes, frame) = match (&self.target, &element) {
            (Target::Local { .. }, Element::Rows(batch)) => (batch.bytes().max(1), Bytes::new()),
            (Target::Local { .. }, Element::State(part)) => (part.entries.len().max(1), Bytes::new()),
            (Target::Local { .. }, _) => (0, Bytes::new()),
            (Target::Remote { .. }, _) => {
                let frame = frame::encode(self.id, &element)?;
                (if needs_credit { frame.len() } else { 0 }, frame)
            }
        };
        // Spent before it can be granted back.
        self.credit.spend(bytes);
        match &self.target {
            Target::Local { gate, channel } => gate.deliver(*channel, element, bytes)?,
            Target::Remote { link } => link.send(frame),
        }
        Ok(bytes)
    }
}
