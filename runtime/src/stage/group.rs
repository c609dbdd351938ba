//! Sets of key groups: which groups a call is about, and which groups a cache does not have all of.
use millstream_api::id::KeyGroup;

use crate::state::{self, StateOrdinal, Store, prefix, prefix_end};

/// A set of key groups. A bit per group rather than a tree: it is asked once per row or slot.
#[derive(Debug, Clone, Default)]
pub(crate) struct GroupSet {
    members: Vec<bool>,
    len: usize,
}

impl GroupSet {
    pub fn insert(&mut self, group: KeyGroup) {
        let at = usize::from(group);
        if at >= self.members.len() {
            self.members.resize(at + 1, false);
        }
        self.len += usize::from(!std::mem::replace(&mut self.members[at], true));
    }

    pub fn remove(&mut self, group: KeyGroup) {
        if let Some(member) = self.members.get_mut(usize::from(group)) {
            self.len -= usize::from(std::mem::take(member));
        }
    }

    pub fn contains(&self, group: KeyGroup) -> bool {
        self.members.get(usize::from(group)).copied().unwrap_or(false)
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The groups, ascending.
    pub fn iter(&self) -> impl Iterator<Item = KeyGroup> + '_ {
        (0..self.members.len()).filter(|group| self.members[*group]).map(|group| group as KeyGroup)
    }
}

impl FromIterator<KeyGroup> for GroupSet {
    fn from_iter<I: IntoIterator<Item = KeyGroup>>(groups: I) -> Self {
        let mut set = Self::default();
        groups.into_iter().for_each(|group| set.insert(group));
        set
    }
}

/// Groups that may have entries in the store which a cache lacks. What is not in the cache has to be looked up for them, and
/// for them alone: a few groups that have arrived do not make the others slow.
#[derive(Debug, Clone)]
pub(crate) enum Absent {
    /// All groups: the cache has been emptied, or has never been filled.
    All,
    /// These groups.
    Some(GroupSet),
}

impl Absent {
    pub fn none() -> Self {
        Self::Some(GroupSet::default())
    }

    pub fn is_none(&self) -> bool {
        matches!(self, Self::Some(groups) if groups.is_empty())
    }

    pub fn contains(&self, group: KeyGroup) -> bool {
        match self {
            Self::All => true,
            Self::Some(groups) => groups.contains(group),
        }
    }

    pub fn insert(&mut self, group: KeyGroup) {
        if let Self::Some(groups) = self {
            groups.insert(group);
        }
    }

    /// Groups have left.
    pub fn leave(&mut self, left: &[KeyGroup]) {
        if let Self::Some(groups) = self {
            left.iter().for_each(|group| groups.remove(*group));
        }
    }

    /// Groups have arrived: those of them that have entries of this state. One seek per group.
    pub fn arrive(
        &mut self,
        arrived: &[KeyGroup],
        ordinal: StateOrdinal,
        store: &mut dyn Store,
    ) -> Result<(), state::Error> {
        for group in arrived {
            let from = prefix(*group, ordinal);
            store.scan(&from, prefix_end(&from).as_deref(), &mut |_, _| {
                self.insert(*group);
                false
            })?;
        }
        Ok(())
    }
}
