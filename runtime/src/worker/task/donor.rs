//! A task that gives key groups away: snapshots ahead while it serves, then, with the last marker, what has changed since.
use std::sync::Arc;

use millstream_api::id::KeyGroup;

use super::{Parts as TaskParts, Task};
use crate::batch::{Element, PartKind};
use crate::message::live::{HandOver, Step};
use crate::stage::Flow;
use crate::worker::{Failed, TaskEvent};

mod sending;

pub(super) use sending::Donor;
use sending::Phase;

/// Changes are sent ahead at most so often: each time there is less, as far as they come slower than they are sent.
const ROUNDS_MAX: u32 = 4;
/// Fewer changed keys are not worth another time: they are sent within a millisecond or so.
const WORTH_A_ROUND: usize = 256;
/// So many keys of each op, at most, are worth having in memory at the next owner.
const HOT_KEYS_MAX: usize = 8192;

impl Task {
    /// Groups are to be given away; `ahead`: a snapshot is sent first.
    pub(super) fn copy(&mut self, order: Arc<HandOver>) -> Result<(), Failed> {
        if self.ending || self.donor.is_some() {
            self.moved(order.version, Step::Declined);
            return Ok(());
        }
        let _span = tracing::debug_span!("begin to copy key groups", task = self.parts.task, order.version).entered();
        let mut donor = Donor::new(order, self.parts.task);
        if donor.order.ahead {
            let groups = donor.groups();
            self.run(|chain, env| chain.flush_groups(&groups, env).map(|()| Flow::Done))?;
            for group in groups {
                self.parts.store.track(group)?;
            }
            donor.send_snapshot(self.parts.store.as_mut(), self.parts.part_bytes, &self.parts.wake)?;
        }
        self.donor = Some(donor);
        Ok(())
    }

    /// All of the snapshot is sent, or of the changes since: what has changed meanwhile is sent ahead too, until that is little or
    /// changes as fast as it is sent. Says whether there is more to send.
    fn send_ahead(&mut self) -> Result<bool, Failed> {
        let Some(donor) = self.donor.as_mut().filter(|donor| donor.order.ahead && donor.rounds < ROUNDS_MAX) else {
            return Ok(false);
        };
        donor.rounds += 1;
        let groups = donor.groups();
        if self.flowing {
            return Ok(false); // No time to ask the ops; the rest follows behind the markers.
        }
        self.run(|chain, env| chain.flush_groups(&groups, env).map(|()| Flow::Done))?;
        let Some(donor) = &mut self.donor else { return Ok(false) };
        if donor.send_changes(self.parts.store.as_mut(), true)? < WORTH_A_ROUND {
            donor.rounds = ROUNDS_MAX;
        }
        Ok(!donor.is_through())
    }

    /// Tells the receivers, once, what is in memory here, and that nothing else comes ahead. Says whether there is more to send.
    fn send_hot(&mut self) -> bool {
        let is_untold = |donor: &&mut Donor| donor.order.ahead && !donor.told;
        let Some(donor) = self.donor.as_mut().filter(is_untold) else { return false };
        donor.told = true;
        donor.send_hot(self.parts.chain.hot_keys(&donor.groups(), HOT_KEYS_MAX), self.parts.part_bytes);
        donor.send_to_all(PartKind::Ahead);
        !donor.is_through()
    }

    /// A hand-over will not happen.
    pub(super) fn keep(&mut self, version: u64) -> Result<(), Failed> {
        let Some(donor) = self.donor.take_if(|donor| donor.order.version == version) else { return Ok(()) };
        if donor.order.ahead {
            for group in donor.groups() {
                self.parts.store.take_changed_keys(group)?;
            }
        }
        self.end_of_input()
    }

    /// Routers have been told to switch: markers will come.
    pub(super) fn flipped(&mut self, stage: usize, version: u64) {
        if let Some(donor) = &mut self.donor
            && (donor.order.stage, donor.order.version) == (stage, version)
        {
            donor.flipped = true;
        }
    }

    /// A marker: rows of the groups end on this channel.
    pub(super) fn marked(&mut self, channel: usize, version: u64) {
        if self.donor.as_ref().is_some_and(|donor| donor.order.version == version) {
            self.inputs.mark(channel);
        }
    }

    /// Sends some of what is due to the receivers. Says whether it did.
    pub(super) fn ship(&mut self) -> Result<bool, Failed> {
        let Some(donor) = &mut self.donor else { return Ok(false) };
        let shipped = donor.ship(&self.transfers, self.parts.store.as_mut(), self.parts.part_bytes)?;
        if !donor.is_through() || (donor.phase == Phase::Copying && (self.send_ahead()? || self.send_hot())) {
            return Ok(shipped);
        }
        let Some(donor) = &mut self.donor else { return Ok(shipped) };
        let (version, bytes) = (donor.order.version, donor.bytes);
        match donor.phase {
            Phase::Copying => {
                donor.phase = Phase::Waiting;
                self.moved(version, Step::Copied { bytes });
            }
            Phase::Waiting => {}
            Phase::Shipping => {
                donor.phase = Phase::Dropping;
                let coming = self.receiver.iter().flat_map(|receiver| receiver.groups());
                let mut kept: Vec<KeyGroup> = self.parts.groups.iter().chain(coming).copied().collect();
                kept.sort_unstable();
                self.parts.store.let_go(&donor.groups(), &kept, &self.parts.wake)?;
            }
            Phase::Dropping if self.parts.store.has_let_go()? => {
                self.donor = None;
                self.moved(version, Step::HandedOver { bytes });
                self.end_of_input()?;
            }
            Phase::Dropping => {}
        }
        Ok(shipped)
    }

    /// With the last marker the groups are no longer this task's.
    pub(super) fn hand_over_if_due(&mut self) -> Result<bool, Failed> {
        let is_due = |donor: &Donor| donor.flipped && donor.phase == Phase::Waiting;
        let Some(donor) = self.donor.as_ref().filter(|donor| is_due(donor) && self.inputs.all_marked()) else {
            return Ok(false);
        };
        let (version, groups) = (donor.order.version, donor.groups());
        let receivers = Arc::from(donor.receivers());
        let _span = tracing::debug_span!("give key groups away", task = self.parts.task, version).entered();
        self.run(|chain, env| chain.disown(&groups, env).map(|()| Flow::Done))?;
        self.parts.output.control(&Element::Closing { version, receivers })?;
        self.own(self.parts.groups.iter().copied().filter(|group| groups.binary_search(group).is_err()).collect());
        let TaskParts { store, part_bytes, wake, .. } = &mut self.parts;
        let store = store.as_mut();
        if let Some(donor) = &mut self.donor {
            if donor.order.ahead {
                donor.send_changes(store, false)?;
            } else {
                donor.send_snapshot(store, *part_bytes, wake)?;
            }
            donor.send_to_all(PartKind::Last);
            donor.phase = Phase::Shipping;
        }
        let progress = self.inputs.unmark();
        self.progress(progress)?;
        Ok(true)
    }

    pub(super) fn moved(&self, version: u64, step: Step) {
        let (task, groups) = (self.parts.task, self.parts.groups.clone());
        self.tell(TaskEvent::Moved { task, version, step, groups });
    }
}
