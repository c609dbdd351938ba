//! Key groups of a snapshot as parts, for their way to another owner.
use std::collections::VecDeque;

use bytes::Bytes;
use millstream_api::id::KeyGroup;

use super::part::Builder;
use super::{Error, Snapshot};

/// What there is of the parts at the moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Entries of a group, behind those of the parts before (see [`super::part`]).
    Part(KeyGroup, Bytes),
    /// None yet: the wake will tell.
    Later,
    /// No more.
    End,
}

/// The parts of some groups: one group after the other, each in order. Groups without entries have none.
pub trait Parts: Send {
    /// The next part.
    fn next(&mut self) -> Result<Next, Error>;
}

/// Whether rows wait for key groups that move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    /// They flow meanwhile: whoever moves the groups yields to them.
    Ahead,
    /// They do, and whoever moves the groups yields to nobody.
    Awaited,
}

/// What parts are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Groups, in this order.
    pub groups: Vec<KeyGroup>,
    /// A part is about this large.
    pub part_bytes: usize,
    /// Of them all.
    pub urgency: Urgency,
}

/// Reads each part when it is asked for it.
pub(super) struct OnDemand<S> {
    snapshot: Box<S>,
    left: VecDeque<KeyGroup>,
    part_bytes: usize,
    /// Where the first group goes on.
    cursor: Option<Vec<u8>>,
}

impl<S: Snapshot> OnDemand<S> {
    pub(super) fn new(snapshot: Box<S>, wanted: Wanted) -> Self {
        Self { snapshot, left: wanted.groups.into(), part_bytes: wanted.part_bytes, cursor: None }
    }
}

impl<S: Snapshot> Parts for OnDemand<S> {
    fn next(&mut self) -> Result<Next, Error> {
        while let Some(group) = self.left.front().copied() {
            let (mut builder, mut next) = (Builder::default(), None);
            self.snapshot.export(group, self.cursor.as_deref(), &mut |key, value| {
                if builder.is_full(self.part_bytes) {
                    next = Some(key.to_vec());
                    return false;
                }
                builder.push(key, Some(value));
                true
            })?;
            self.cursor = next;
            if self.cursor.is_none() {
                self.left.pop_front();
            }
            if builder.bytes() > 0 {
                return Ok(Next::Part(group, builder.finish()));
            }
        }
        Ok(Next::End)
    }
}
