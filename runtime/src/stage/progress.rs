//! How far event time has been acted upon, per key group. Tasks of a stage need not be at the same watermark when a cut
//! is made, and a group may come back at a task that starts from a lower one: what was fired or late before must stay so.
//! One entry per group, written at barriers: watermark (8 bytes, order-preserving), next sequence number (8 bytes).
use std::collections::BTreeMap;

use millstream_api::id::KeyGroup;

use super::{Error, OpContext};
use crate::state::{Changes, StateOrdinal, Store, prefix, prefix_end};

/// Codec version of the state.
pub(crate) const VERSION: u32 = 1;

/// Watermark of a task, and of those of its groups that are ahead of it.
#[derive(Debug)]
pub(crate) struct Progress {
    ordinal: StateOrdinal,
    watermark_ms: i64,
    ahead: BTreeMap<KeyGroup, i64>,
    next: u64,
    /// Watermark and next number when all entries were last written; none if they have to be, whatever these are now.
    written: Option<(i64, u64)>,
}

/// Order-preserving bytes of a time.
pub(crate) fn time_bytes(time_ms: i64) -> [u8; 8] {
    (time_ms ^ i64::MIN).to_be_bytes()
}

/// The time that `time_bytes` encoded at the front of `bytes`.
pub(crate) fn time_of(bytes: &[u8]) -> Option<i64> {
    bytes.first_chunk::<8>().map(|chunk| i64::from_be_bytes(*chunk) ^ i64::MIN)
}

impl Progress {
    pub fn new(ordinal: StateOrdinal) -> Self {
        let never = i64::MIN;
        Self { ordinal, watermark_ms: never, ahead: BTreeMap::new(), next: 0, written: Some((never, 0)) }
    }

    /// What has been acted upon for every group.
    pub fn watermark_ms(&self) -> i64 {
        self.watermark_ms
    }

    /// What has been acted upon for this group.
    pub fn of(&self, group: KeyGroup) -> i64 {
        if self.ahead.is_empty() {
            return self.watermark_ms;
        }
        self.ahead.get(&group).copied().unwrap_or(self.watermark_ms)
    }

    /// Whether all groups are where the task is.
    pub fn is_even(&self) -> bool {
        self.ahead.is_empty()
    }

    pub fn advance(&mut self, watermark_ms: i64) {
        self.watermark_ms = self.watermark_ms.max(watermark_ms);
        self.ahead.retain(|_, ahead| *ahead > watermark_ms);
    }

    /// A number not yet used with any of the task's groups.
    pub fn next(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }

    /// Entries that have changed since the last call.
    pub fn write(&mut self, groups: &[KeyGroup], changes: &mut Changes) {
        let present = Some((self.watermark_ms, self.next));
        if std::mem::replace(&mut self.written, present) == present {
            return;
        }
        self.write_groups(groups, changes);
    }

    fn write_groups(&self, groups: &[KeyGroup], changes: &mut Changes) {
        for group in groups {
            let mut value = time_bytes(self.of(*group)).to_vec();
            value.extend_from_slice(&self.next.to_be_bytes());
            changes.push((prefix(*group, self.ordinal).to_vec(), Some(value)));
        }
    }

    /// Entries of groups that leave, changed or not: whoever takes them over has nothing else to go by.
    pub fn leave(&mut self, groups: &[KeyGroup], changes: &mut Changes) {
        self.write_groups(groups, changes);
        groups.iter().for_each(|group| _ = self.ahead.remove(group));
    }

    /// Reads the entries of groups that have arrived. One may be ahead of the task. One may also be behind it: a task that
    /// starts from a checkpoint is as far as its groups were, before any watermark reaches it. Then all others are ahead.
    pub fn arrive(&mut self, op: &str, groups: &[KeyGroup], context: &mut OpContext<'_>) -> Result<(), Error> {
        let found = self.read(op, groups, context.store)?;
        let least = found.values().copied().min().unwrap_or(i64::MAX);
        if least < self.watermark_ms {
            let others = context.groups.iter().filter(|group| !found.contains_key(group));
            for group in others {
                self.ahead.entry(*group).or_insert(self.watermark_ms);
            }
            self.watermark_ms = least;
        }
        self.ahead.extend(found.into_iter().filter(|(_, time)| *time > self.watermark_ms));
        // The watermark may come back to where it was when the others were written.
        self.written = None;
        Ok(())
    }

    /// Reads the entries of all groups.
    pub fn restore(&mut self, op: &str, groups: &[KeyGroup], store: &mut dyn Store) -> Result<(), Error> {
        let mut found = self.read(op, groups, store)?;
        self.watermark_ms = found.values().copied().min().unwrap_or(i64::MIN);
        found.retain(|_, time| *time > self.watermark_ms);
        self.ahead = found;
        Ok(())
    }

    /// How far groups are by their entries; sequence numbers go on after theirs.
    fn read(&mut self, op: &str, groups: &[KeyGroup], store: &mut dyn Store) -> Result<BTreeMap<KeyGroup, i64>, Error> {
        let keys: Vec<[u8; 4]> = groups.iter().map(|group| prefix(*group, self.ordinal)).collect();
        let values = store.multi_get(&keys.iter().map(|key| &key[..]).collect::<Vec<_>>())?;
        let mut found = BTreeMap::new();
        for (group, value) in groups.iter().zip(values) {
            let Some(value) = value else {
                found.insert(*group, i64::MIN);
                continue;
            };
            let (Some(time), Some(next)) = (time_of(&value), value.last_chunk::<8>().filter(|_| value.len() == 16))
            else {
                let what = format!("progress of {} bytes", value.len());
                return Err(Error::Corrupt { op: op.to_string(), what });
            };
            found.insert(*group, time);
            self.next = self.next.max(u64::from_be_bytes(*next));
        }
        Ok(found)
    }
}

/// Times that stand right after the prefix in the keys of a state, with their groups: one seek per group and time.
pub(crate) fn pending(
    op: &str,
    ordinal: StateOrdinal,
    groups: &[KeyGroup],
    store: &mut dyn Store,
) -> Result<BTreeMap<i64, Vec<KeyGroup>>, Error> {
    let mut times = BTreeMap::<i64, Vec<KeyGroup>>::new();
    for group in groups {
        let start = prefix(*group, ordinal);
        let end = prefix_end(&start);
        let mut from = start.to_vec();
        loop {
            let mut found = None;
            store.scan(&from, end.as_deref(), &mut |key, _| {
                found = Some(time_of(&key[start.len()..]));
                false
            })?;
            let Some(time) = found else { break };
            let time = time.ok_or_else(|| Error::Corrupt { op: op.to_string(), what: "a key too short".into() })?;
            times.entry(time).or_default().push(*group);
            from = [&start[..], &time_bytes(time + 1)].concat();
        }
    }
    Ok(times)
}

#[cfg(test)]
mod tests;
