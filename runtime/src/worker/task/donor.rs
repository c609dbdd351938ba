//! A task that gives key groups away: snapshots ahead while it serves, then, with the last marker, what has changed since.
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use millstream_api::id::{KeyGroup, TaskId};

use super::{Parts as TaskParts, Task};
use crate::batch::{Element, PartKind, StatePart};
use crate::exchange::Outlet;
use crate::exchange::Wake;
use crate::message::live::{HandOver, Step};
use crate::stage::Flow;
use crate::state::part::Builder;
use crate::state::parts::{Next, Parts, Wanted};
use crate::state::{Store, group_of};
use crate::worker::{Failed, TaskEvent};

/// Values of changed keys are read this many at a time.
const KEYS_AT_A_TIME: usize = 64;
/// Changes are sent ahead at most so often: each time there is less, as far as they come slower than they are sent.
const ROUNDS_MAX: u32 = 4;
/// Fewer changed keys are not worth another time: they are sent within a millisecond or so.
const WORTH_A_ROUND: usize = 256;

/// So many keys of each op, at most, are worth having in memory at the next owner,
const HOT_KEYS_MAX: usize = 8192;
/// and telling them takes at most this part of the bytes that have been sent,
const HOT_SHARE: u64 = 64;
/// or so many, which are nothing beside the rest of a hand-over.
const HOT_BYTES_MIN: u64 = 256;

/// The donor's side of a hand-over.
pub(super) struct Donor {
    order: Arc<HandOver>,
    /// Groups with their next owners.
    gifts: Vec<(TaskId, KeyGroup)>,
    phase: Phase,
    /// Routers have been told to switch.
    flipped: bool,
    /// What has yet to be sent of the snapshot.
    snapshot: Option<Box<dyn Parts>>,
    /// The next part of it, which waits for credit.
    ready: Option<(TaskId, StatePart)>,
    /// Keys that have changed since and have yet to be sent.
    changed: VecDeque<(TaskId, KeyGroup, std::vec::IntoIter<Vec<u8>>)>,
    /// How often changes have been sent ahead.
    rounds: u32,
    /// The receivers have been told what is in memory here, and that nothing else comes ahead.
    told: bool,
    /// The last parts.
    parts: VecDeque<(TaskId, StatePart)>,
    bytes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Snapshots are on their way.
    Copying,
    /// Waits for markers.
    Waiting,
    /// The groups are no longer its own; the rest of them is on its way.
    Shipping,
    /// All of them is, and the store is letting go of them.
    Dropping,
}

impl Donor {
    fn new(order: Arc<HandOver>, task: TaskId) -> Self {
        let own = order.moves.iter().filter(|give| give.from == task);
        let gifts = own.flat_map(|give| give.groups.iter().map(|group| (give.to, *group))).collect();
        Self {
            order,
            gifts,
            phase: Phase::Copying,
            flipped: false,
            snapshot: None,
            ready: None,
            changed: VecDeque::new(),
            rounds: 0,
            told: false,
            parts: VecDeque::new(),
            bytes: 0,
        }
    }

    /// The receivers will be told these keys, as far as they are few beside what has been sent.
    fn send_hot(&mut self, keys: Vec<Vec<u8>>, part_bytes: usize) {
        let bytes_max = usize::try_from((self.bytes / HOT_SHARE).max(HOT_BYTES_MIN)).unwrap_or(usize::MAX);
        let next: BTreeMap<KeyGroup, TaskId> = self.gifts.iter().map(|(to, group)| (*group, *to)).collect();
        let (mut builders, mut bytes) = (BTreeMap::<TaskId, Builder>::new(), 0);
        for key in keys {
            let Some(to) = group_of(&key).ok().and_then(|group| next.get(&group)) else { continue };
            bytes += key.len();
            if bytes > bytes_max {
                break;
            }
            let builder = builders.entry(*to).or_default();
            builder.push(&key, None);
            if builder.bytes() >= part_bytes {
                let part = std::mem::take(builder);
                self.parts.push_back((*to, self.part(0, PartKind::Hot, part)));
            }
        }
        for (to, builder) in builders {
            self.parts.push_back((to, self.part(0, PartKind::Hot, builder)));
        }
    }

    fn receivers(&self) -> Vec<TaskId> {
        let receivers: BTreeSet<TaskId> = self.gifts.iter().map(|(to, _)| *to).collect();
        receivers.into_iter().collect()
    }

    /// Each receiver will be told this behind everything else.
    fn send_to_all(&mut self, kind: PartKind) {
        for to in self.receivers() {
            self.parts.push_back((to, self.part(0, kind, Builder::default())));
        }
    }

    fn groups(&self) -> Vec<KeyGroup> {
        let mut groups: Vec<KeyGroup> = self.gifts.iter().map(|(_, group)| *group).collect();
        groups.sort_unstable();
        groups
    }

    /// The state as it is now will be sent, group by group.
    fn send_snapshot(&mut self, store: &mut dyn Store, part_bytes: usize, wake: &Arc<dyn Wake>) -> Result<(), Failed> {
        let groups = self.gifts.iter().map(|(_, group)| *group).collect();
        let wanted = Wanted { groups, part_bytes, urgency: self.order.urgency() };
        self.snapshot = Some(store.snapshot()?.into_parts(wanted, Arc::clone(wake))?);
        Ok(())
    }

    /// What has changed of the groups since the snapshot, or since this was called last, will be sent. Says how many keys. `again`: the
    /// groups go on changing.
    fn send_changes(&mut self, store: &mut dyn Store, again: bool) -> Result<usize, Failed> {
        let mut count = 0;
        for (to, group) in &self.gifts {
            let keys = store.take_changed_keys(*group)?;
            if again {
                store.track(*group)?;
            }
            count += keys.len();
            if !keys.is_empty() {
                self.changed.push_back((*to, *group, keys.into_iter()));
            }
        }
        Ok(count)
    }

    /// The next part of the changes, with their present values.
    fn cut_changes(&mut self, store: &mut dyn Store, part_bytes: usize) -> Result<Option<(TaskId, StatePart)>, Failed> {
        let Some((to, group, keys)) = self.changed.front_mut() else { return Ok(None) };
        let (to, group, mut builder) = (*to, *group, Builder::default());
        while builder.bytes() < part_bytes {
            let some: Vec<Vec<u8>> = keys.by_ref().take(KEYS_AT_A_TIME).collect();
            if some.is_empty() {
                break;
            }
            let wanted: Vec<&[u8]> = some.iter().map(Vec::as_slice).collect();
            let values = store.multi_get(&wanted)?;
            some.iter().zip(&values).for_each(|(key, value)| builder.push(key, value.as_deref()));
        }
        if keys.len() == 0 {
            self.changed.pop_front();
        }
        Ok(Some((to, self.part(group, PartKind::Changes, builder))))
    }

    fn part(&self, group: KeyGroup, kind: PartKind, builder: Builder) -> StatePart {
        StatePart { version: self.order.version, group, kind, entries: builder.finish() }
    }

    /// Has the next part of the snapshot ready. Says whether there is one; if not, it comes later or there is none.
    fn fetch(&mut self) -> Result<bool, Failed> {
        while let (None, Some(snapshot)) = (&self.ready, &mut self.snapshot) {
            match snapshot.next()? {
                Next::Part(group, entries) => {
                    let to = self.gifts.iter().find(|(_, gift)| *gift == group).map(|(to, _)| *to);
                    let part = StatePart { version: self.order.version, group, kind: PartKind::Snapshot, entries };
                    self.ready = to.map(|to| (to, part));
                }
                Next::Later => return Ok(false),
                Next::End => self.snapshot = None,
            }
        }
        Ok(self.ready.is_some())
    }

    /// Sends at most one part, to a receiver that has credit for it.
    fn ship(
        &mut self,
        outlets: &BTreeMap<TaskId, Outlet>,
        store: &mut dyn Store,
        part_bytes: usize,
    ) -> Result<bool, Failed> {
        if !self.fetch()? && self.snapshot.is_some() {
            return Ok(false);
        }
        let snapshot = self.ready.as_ref().map(|(to, _)| *to);
        let changes = self.changed.front().map(|(to, _, _)| *to);
        let to = snapshot.or(changes).or_else(|| self.parts.front().map(|(to, _)| *to));
        let Some(outlet) = to.and_then(|to| outlets.get(&to)).filter(|outlet| outlet.credit() > 0) else {
            return Ok(false);
        };
        let mut part = self.ready.take();
        if part.is_none() {
            part = self.cut_changes(store, part_bytes)?;
        }
        let Some((_, part)) = part.or_else(|| self.parts.pop_front()) else { return Ok(false) };
        let says_something = matches!(part.kind, PartKind::Ahead | PartKind::Last) || !part.entries.is_empty();
        if !says_something {
            return Ok(true);
        }
        self.bytes += outlet.send(Element::State(part))? as u64;
        Ok(true)
    }

    fn is_through(&self) -> bool {
        self.ready.is_none() && self.snapshot.is_none() && self.changed.is_empty() && self.parts.is_empty()
    }
}

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

    /// Sends what is due to the receivers, one part at a time. Says whether it did.
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
