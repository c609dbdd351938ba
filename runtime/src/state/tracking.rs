//! Which keys of tracked groups have changed. Costs one branch per write while no group is tracked.
use std::collections::BTreeMap;

use hashbrown::HashSet;
use millstream_api::id::KeyGroup;

use super::{Error, KeyRange, group_of, group_range};

/// Keys written or removed since their group was tracked. A list of changes has no ranges, so a store notes every key of a
/// range before it removes the range.
#[derive(Debug, Default)]
pub(super) struct Tracker {
    groups: BTreeMap<KeyGroup, HashSet<Vec<u8>>>,
}

impl Tracker {
    /// Begins anew for a group.
    pub(super) fn start(&mut self, group: KeyGroup) {
        self.groups.insert(group, HashSet::new());
    }

    /// Whether any group is tracked.
    pub(super) fn is_active(&self) -> bool {
        !self.groups.is_empty()
    }

    /// Notes a key that is written or removed.
    pub(super) fn note(&mut self, key: &[u8]) {
        let Ok(group) = group_of(key) else { return };
        if let Some(keys) = self.groups.get_mut(&group)
            && !keys.contains(key)
        {
            keys.insert(key.to_vec());
        }
    }

    /// The parts of a range that lie in tracked groups.
    pub(super) fn parts(&self, from: &[u8], to: &[u8]) -> Result<Vec<KeyRange>, Error> {
        let mut parts = Vec::new();
        for group in self.groups.keys() {
            let (first, end) = group_range(*group)?;
            let (first, end) = (first.max(from.to_vec()), end.min(to.to_vec()));
            if first < end {
                parts.push((first, end));
            }
        }
        Ok(parts)
    }

    /// Ends tracking of a group and gives its keys, ascending.
    pub(super) fn take(&mut self, group: KeyGroup) -> Result<Vec<Vec<u8>>, Error> {
        let keys = self.groups.remove(&group).ok_or_else(|| Error::Backend {
            attempt: "take the changes of a key group",
            reason: format!("group {group} is not tracked"),
        })?;
        let mut keys: Vec<_> = keys.into_iter().collect();
        keys.sort_unstable();
        Ok(keys)
    }
}
