//! Which key groups are a task's.
use millstream_api::id::KeyGroup;

use super::receiver::Receiver;
use super::{Failed, Task};
use crate::batch::Batch;
use crate::message::Failure;

/// By key group: whether it is among these.
pub(super) fn by_group(groups: &[KeyGroup]) -> Vec<bool> {
    let mut owned = vec![false; groups.last().map_or(0, |last| usize::from(*last) + 1)];
    for group in groups {
        owned[usize::from(*group)] = true;
    }
    owned
}

impl Task {
    /// Key groups it owns, ascending.
    pub fn owned(&self) -> &[KeyGroup] {
        &self.parts.groups
    }

    /// Key groups that are on their way to it, ascending.
    pub fn awaited(&self) -> &[KeyGroup] {
        self.receiver.as_ref().map_or(&[], Receiver::groups)
    }

    /// A row of a group that is neither owned nor awaited means that the protocol is broken.
    pub(super) fn refuse_foreign(&self, batch: &Batch) -> Result<(), Failed> {
        let owns = |group: &KeyGroup| self.owned.get(usize::from(*group)).is_some_and(|owned| *owned);
        match batch.groups.iter().flat_map(|groups| groups.iter()).find(|group| !owns(group)) {
            Some(group) => {
                let message = format!("a row of key group {group} came, which is neither owned nor awaited");
                Err(Failed(Failure { message, user: false }))
            }
            None => Ok(()),
        }
    }

    /// The groups are these from now on.
    pub(super) fn own(&mut self, groups: Vec<KeyGroup>) {
        self.owned = by_group(&groups);
        self.parts.groups = groups;
    }
}
