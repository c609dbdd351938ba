//! What a donor sends, and in which order: the snapshot, changes, what it has in memory, ends.
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use millstream_api::id::{KeyGroup, TaskId};

use crate::batch::{Element, PartKind, StatePart};
use crate::exchange::{Outlet, Wake};
use crate::message::live::HandOver;
use crate::state::part::Builder;
use crate::state::parts::{Next, Parts, Wanted};
use crate::state::{Store, group_of};
use crate::worker::Failed;
use crate::worker::task::receiver::TOGETHER_BYTES;

/// Values of changed keys are read this many at a time,
const KEYS_AT_A_TIME: usize = 64;
/// and a part has at most so many, however small they are: each may be a read of the disk, and no row is looked at meanwhile.
const KEYS_MAX: usize = 512;
/// Small parts that rows wait for are sent together, with fewer changed keys than this, and one part more.
const TOGETHER_KEYS: u64 = 1024;
/// Telling keys that are worth having in memory takes at most this part of the bytes that have been sent,
const HOT_SHARE: u64 = 64;
/// or so many, which are nothing beside the rest of a hand-over.
const HOT_BYTES_MIN: u64 = 256;

/// The donor's side of a hand-over.
pub(in crate::worker::task) struct Donor {
    pub(super) order: Arc<HandOver>,
    /// Groups with their next owners.
    pub(super) gifts: Vec<(TaskId, KeyGroup)>,
    pub(super) phase: Phase,
    /// Routers have been told to switch.
    pub(super) flipped: bool,
    /// What has yet to be sent of the snapshot.
    snapshot: Option<Box<dyn Parts>>,
    /// The next part of it, which waits for credit.
    ready: Option<(TaskId, StatePart)>,
    /// Keys that have changed since and have yet to be sent.
    changed: VecDeque<(TaskId, KeyGroup, std::vec::IntoIter<Vec<u8>>)>,
    /// How often changes have been sent ahead.
    pub(super) rounds: u32,
    /// The receivers have been told what is in memory here, and that nothing else comes ahead.
    pub(super) told: bool,
    /// The last parts.
    parts: VecDeque<(TaskId, StatePart)>,
    pub(super) bytes: u64,
    /// Changed keys whose values have been read.
    keys: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
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
    pub(super) fn new(order: Arc<HandOver>, task: TaskId) -> Self {
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
            keys: 0,
        }
    }

    /// The receivers will be told these keys, as far as they are few beside what has been sent.
    pub(super) fn send_hot(&mut self, keys: Vec<Vec<u8>>, part_bytes: usize) {
        let bytes_max = usize::try_from((self.bytes / HOT_SHARE).max(HOT_BYTES_MIN)).unwrap_or(usize::MAX);
        let next: BTreeMap<KeyGroup, TaskId> = self.gifts.iter().map(|(to, group)| (*group, *to)).collect();
        let (mut builders, mut bytes) = (BTreeMap::<TaskId, Builder>::new(), 0);
        for key in keys {
            let Some(to) = group_of(&key).ok().and_then(|group| next.get(&group)) else { continue };
            let builder = builders.entry(*to).or_default();
            let before = builder.bytes();
            builder.push(&key, None);
            bytes += builder.bytes() - before;
            if bytes > bytes_max {
                break;
            }
            if builder.is_full(part_bytes) {
                let part = std::mem::take(builder);
                self.parts.push_back((*to, self.part(0, PartKind::Hot, part)));
            }
        }
        for (to, builder) in builders {
            self.parts.push_back((to, self.part(0, PartKind::Hot, builder)));
        }
    }

    pub(super) fn receivers(&self) -> Vec<TaskId> {
        let receivers: BTreeSet<TaskId> = self.gifts.iter().map(|(to, _)| *to).collect();
        receivers.into_iter().collect()
    }

    /// Each receiver will be told this behind everything else.
    pub(super) fn send_to_all(&mut self, kind: PartKind) {
        for to in self.receivers() {
            self.parts.push_back((to, self.part(0, kind, Builder::default())));
        }
    }

    pub(super) fn groups(&self) -> Vec<KeyGroup> {
        let mut groups: Vec<KeyGroup> = self.gifts.iter().map(|(_, group)| *group).collect();
        groups.sort_unstable();
        groups
    }

    /// The state as it is now will be sent, group by group.
    pub(super) fn send_snapshot(
        &mut self,
        store: &mut dyn Store,
        part_bytes: usize,
        wake: &Arc<dyn Wake>,
    ) -> Result<(), Failed> {
        let groups = self.gifts.iter().map(|(_, group)| *group).collect();
        let wanted = Wanted { groups, part_bytes, urgency: self.order.urgency() };
        self.snapshot = Some(store.snapshot()?.into_parts(wanted, Arc::clone(wake))?);
        Ok(())
    }

    /// What has changed of the groups since the snapshot, or since this was called last, will be sent. Says how many keys. `again`: the
    /// groups go on changing.
    pub(super) fn send_changes(&mut self, store: &mut dyn Store, again: bool) -> Result<usize, Failed> {
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
        let mut left = KEYS_MAX;
        while !builder.is_full(part_bytes) && left > 0 {
            let some: Vec<Vec<u8>> = keys.by_ref().take(KEYS_AT_A_TIME.min(left)).collect();
            if some.is_empty() {
                break;
            }
            left -= some.len();
            self.keys += some.len() as u64;
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

    /// Sends a part, or several small ones if rows wait for them, to receivers that have credit for them. Says whether it did.
    pub(super) fn ship(
        &mut self,
        outlets: &BTreeMap<TaskId, Outlet>,
        store: &mut dyn Store,
        part_bytes: usize,
    ) -> Result<bool, Failed> {
        let (mut shipped, bytes, keys) = (false, self.bytes, self.keys);
        while self.ship_one(outlets, store, part_bytes)? {
            shipped = true;
            let enough = self.bytes - bytes >= TOGETHER_BYTES as u64 || self.keys - keys >= TOGETHER_KEYS;
            if enough || self.phase != Phase::Shipping {
                break;
            }
        }
        Ok(shipped)
    }

    fn ship_one(
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

    pub(super) fn is_through(&self) -> bool {
        self.ready.is_none() && self.snapshot.is_none() && self.changed.is_empty() && self.parts.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::rescale::plan::Move;
    use crate::state::Backend;
    use crate::state::disk::MemoryDisk;
    use crate::state::memory::MemoryBackend;
    use crate::state::part::decode;

    #[test]
    fn changes_are_sent_in_parts_that_are_soon_read() {
        let backend = MemoryBackend::new(Arc::new(MemoryDisk::default()));
        let mut store = backend.create(Path::new("/state")).unwrap();
        let moves = vec![Move { from: 1, to: 2, groups: vec![3, 4] }];
        let order = HandOver { version: 7, stage: 0, moves, ahead: true, bytes: 0 };
        let mut donor = Donor::new(Arc::new(order), 1);
        donor.groups().iter().for_each(|group| store.track(*group).unwrap());
        let key = |group: u8, number: u32| [&[0, group, 0, 0], &number.to_be_bytes()[..]].concat();
        let written: Vec<_> = (0..1300).map(|number| (key(3, number), Some(vec![1]))).collect();
        store.write([written.clone(), vec![(key(4, 0), Some(vec![2; 5000])), (key(4, 1), None)]].concat()).unwrap();
        assert_eq!(donor.send_changes(store.as_mut(), false).unwrap(), 1302);
        let mut parts = Vec::new();
        while let Some((to, part)) = donor.cut_changes(store.as_mut(), 64 << 10).unwrap() {
            assert_eq!((to, part.kind, part.version), (2, PartKind::Changes, 7));
            parts.push((part.group, decode(&part.entries).unwrap()));
        }
        let sizes: Vec<_> = parts.iter().map(|(group, changes)| (*group, changes.len())).collect();
        assert_eq!(sizes, [(3, 512), (3, 512), (3, 276), (4, 2)]);
        let sent: Vec<_> =
            parts.iter().filter(|(group, _)| *group == 3).flat_map(|(_, changes)| changes.clone()).collect();
        assert!(sent == written);
    }
}
