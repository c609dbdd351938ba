//! State in memory: a sorted map per key group. Groups are shared copy-on-write, so that a snapshot costs one pointer per
//! group and a group is copied only when it is written while a snapshot holds it.
use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use millstream_api::id::KeyGroup;

use super::disk::{Disk, RealDisk};
use super::parts::{OnDemand, Parts, Urgency, Wanted};
use super::tracking::Tracker;
use super::{Arrival, Backend, Changes, Cut, CutFile, Error, Operations, Snapshot, Store, group_of, group_range, part};
use crate::exchange::Wake;

mod file;

/// Makes stores in memory; cuts are files on the given disk.
#[derive(Clone)]
pub struct MemoryBackend {
    disk: Arc<dyn Disk>,
}

impl MemoryBackend {
    /// Cuts go to this disk.
    pub fn new(disk: Arc<dyn Disk>) -> Self {
        Self { disk }
    }
}

impl Default for MemoryBackend {
    fn default() -> Self {
        Self::new(Arc::new(RealDisk))
    }
}

#[derive(Debug, Clone, Default)]
struct Group {
    entries: BTreeMap<Vec<u8>, Vec<u8>>,
    bytes: u64,
}

impl Group {
    fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        let key_bytes = key.len() as u64;
        self.bytes += value.len() as u64;
        match self.entries.insert(key, value) {
            Some(old) => self.bytes -= old.len() as u64,
            None => self.bytes += key_bytes,
        }
    }

    fn remove(&mut self, key: &[u8]) {
        if let Some(old) = self.entries.remove(key) {
            self.bytes -= (key.len() + old.len()) as u64;
        }
    }
}

type Groups = BTreeMap<KeyGroup, Arc<Group>>;

/// The group of the least key that is not below `from`.
fn first_group(from: &[u8]) -> KeyGroup {
    let byte = |at: usize| from.get(at).copied().unwrap_or(0);
    KeyGroup::from_be_bytes([byte(0), byte(1)])
}

/// Visits entries in order; false once `visit` answers false.
fn scan(groups: &Groups, from: &[u8], to: Option<&[u8]>, visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> bool {
    for group in groups.range(first_group(from)..).map(|(_, group)| group) {
        for (key, value) in group.entries.range::<[u8], _>((Bound::Included(from), Bound::Unbounded)) {
            if to.is_some_and(|to| key.as_slice() >= to) || !visit(key, value) {
                return false;
            }
        }
    }
    true
}

struct MemoryStore {
    disk: Arc<dyn Disk>,
    groups: Groups,
    tracker: Tracker,
    operations: Operations,
}

impl MemoryStore {
    fn new(disk: Arc<dyn Disk>, groups: Groups) -> Self {
        Self { disk, groups, tracker: Tracker::default(), operations: Operations::default() }
    }

    fn keys(&self, from: &[u8], to: &[u8]) -> Vec<Vec<u8>> {
        let mut keys = Vec::new();
        scan(&self.groups, from, Some(to), &mut |key, _| {
            keys.push(key.to_vec());
            true
        });
        keys
    }

    fn note_range(&mut self, from: &[u8], to: &[u8]) -> Result<(), Error> {
        for (from, to) in self.tracker.parts(from, to)? {
            for key in self.keys(&from, &to) {
                self.tracker.note(&key);
            }
        }
        Ok(())
    }

    fn remove(&mut self, key: &[u8]) -> Result<(), Error> {
        let group = group_of(key)?;
        if let Some(entries) = self.groups.get_mut(&group) {
            Arc::make_mut(entries).remove(key);
            if entries.entries.is_empty() {
                self.groups.remove(&group);
            }
        }
        Ok(())
    }
}

impl Store for MemoryStore {
    fn multi_get(&mut self, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>, Error> {
        self.operations.reads += keys.len() as u64;
        let get = |key: &&[u8]| Ok(self.groups.get(&group_of(key)?).and_then(|group| group.entries.get(*key)).cloned());
        keys.iter().map(get).collect()
    }

    fn write(&mut self, changes: Changes) -> Result<(), Error> {
        for (key, _) in &changes {
            group_of(key)?;
        }
        self.operations.writes += changes.len() as u64;
        for (key, value) in changes {
            if self.tracker.is_active() {
                self.tracker.note(&key);
            }
            match value {
                Some(value) => Arc::make_mut(self.groups.entry(group_of(&key)?).or_default()).put(key, value),
                None => self.remove(&key)?,
            }
        }
        Ok(())
    }

    fn scan(
        &mut self,
        from: &[u8],
        to: Option<&[u8]>,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), Error> {
        scan(&self.groups, from, to, visit);
        Ok(())
    }

    fn delete_range(&mut self, from: &[u8], to: &[u8]) -> Result<(), Error> {
        self.note_range(from, to)?;
        for key in self.keys(from, to) {
            self.operations.writes += 1;
            self.remove(&key)?;
        }
        Ok(())
    }

    fn cut(&mut self, folder: &Path) -> Result<Cut, Error> {
        let (path, bytes) = file::write(self.disk.as_ref(), folder, &self.groups)?;
        let file = CutFile { name: file::NAME.to_owned(), path, bytes, immutable: false };
        Ok(Cut { state_bytes: self.bytes(), files: Box::new(|| Ok(vec![file])) })
    }

    fn snapshot(&mut self) -> Result<Box<dyn Snapshot>, Error> {
        Ok(Box::new(MemorySnapshot { groups: self.groups.clone() }))
    }

    fn track(&mut self, group: KeyGroup) -> Result<(), Error> {
        self.tracker.start(group);
        Ok(())
    }

    fn take_changed_keys(&mut self, group: KeyGroup) -> Result<Vec<Vec<u8>>, Error> {
        self.tracker.take(group)
    }

    fn take_in(&mut self, _from: u64, arrival: Arrival, _urgency: Urgency, _wake: &Arc<dyn Wake>) -> Result<(), Error> {
        match arrival {
            Arrival::Changes(changes) => self.write(part::decode(&changes)?),
            Arrival::Entries(group, entries) => {
                part::check(group, &entries)?;
                self.write(part::decode(&entries)?)
            }
        }
    }

    fn waiting_bytes(&self) -> usize {
        0
    }

    fn settle(&mut self) -> Result<bool, Error> {
        Ok(true)
    }

    fn forsake(&mut self) {}

    fn drop_groups(&mut self, groups: &[KeyGroup]) -> Result<(), Error> {
        for group in groups {
            let (from, to) = group_range(*group)?;
            self.note_range(&from, &to)?;
            self.groups.remove(group);
        }
        Ok(())
    }

    fn let_go(&mut self, groups: &[KeyGroup], kept: &[KeyGroup], wake: &Arc<dyn Wake>) -> Result<(), Error> {
        self.drop_groups(groups)?;
        self.groups.retain(|group, _| kept.binary_search(group).is_ok());
        wake.wake();
        Ok(())
    }

    fn has_let_go(&mut self) -> Result<bool, Error> {
        Ok(true)
    }

    fn group_bytes(&mut self, group: KeyGroup) -> Result<u64, Error> {
        Ok(self.groups.get(&group).map_or(0, |group| group.bytes))
    }

    fn bytes(&self) -> u64 {
        self.groups.values().map(|group| group.bytes).sum()
    }

    fn operations(&self) -> Operations {
        self.operations
    }
}

struct MemorySnapshot {
    groups: Groups,
}

impl Snapshot for MemorySnapshot {
    fn export(
        &self,
        group: KeyGroup,
        from: Option<&[u8]>,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), Error> {
        let (first, end) = group_range(group)?;
        let from = from.map_or(first.clone(), |from| first.max(from.to_vec()));
        scan(&self.groups, &from, Some(&end), visit);
        Ok(())
    }

    fn into_parts(self: Box<Self>, wanted: Wanted, _wake: Arc<dyn Wake>) -> Result<Box<dyn Parts>, Error> {
        Ok(Box::new(OnDemand::new(self, wanted)))
    }
}

impl Backend for MemoryBackend {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn create(&self, _folder: &Path) -> Result<Box<dyn Store>, Error> {
        Ok(Box::new(MemoryStore::new(self.disk.clone(), Groups::new())))
    }

    fn open(&self, _folder: &Path, cut: &Path) -> Result<Box<dyn Store>, Error> {
        Ok(Box::new(MemoryStore::new(self.disk.clone(), file::read(self.disk.as_ref(), cut)?)))
    }

    fn read(&self, cut: &Path) -> Result<Box<dyn Snapshot>, Error> {
        Ok(Box::new(MemorySnapshot { groups: file::read(self.disk.as_ref(), cut)? }))
    }
}

fn disk_error(attempt: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path: PathBuf = path.to_path_buf();
    move |source| Error::Disk { attempt, path, source }
}

#[cfg(test)]
mod tests {
    use super::super::conformance;
    use super::super::disk::MemoryDisk;
    use super::*;

    #[test]
    fn conforms_on_the_real_disk() {
        let folder = tempfile::tempdir().unwrap();
        conformance::check(&MemoryBackend::default(), &RealDisk, folder.path());
    }

    #[test]
    fn conforms_on_a_simulated_disk() {
        let disk = MemoryDisk::default();
        conformance::check(&MemoryBackend::new(Arc::new(disk.clone())), &disk, Path::new("/sim"));
    }

    #[test]
    fn random_operations_agree_with_a_map() {
        let disk = MemoryDisk::default();
        conformance::check_random(&MemoryBackend::new(Arc::new(disk)), Path::new("/sim"), 256);
    }
}
