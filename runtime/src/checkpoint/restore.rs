//! The store of one task out of a checkpoint, at whatever parallelism the job has now.
//!
//! A task may take over the cut of one task of the checkpoint (its *base*): that cut is opened as it is, groups that went
//! elsewhere are dropped, and groups that came from elsewhere are read out of the other cuts. Without a base all its groups
//! are read.
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use millstream_api::id::{KeyGroup, TaskId};

use super::download::{Fetched, fetch};
use super::manifest::{StageManifest, TaskManifest};
use super::paths::ManifestId;
use super::store::CheckpointStore;
use super::{Error, disk_error};
use crate::exchange::Wake;
use crate::state::disk::Disk;
use crate::state::parts::{Next, Parts, Urgency, Wanted};
use crate::state::{Arrival, Backend, Store};

/// Groups are copied in parts of about this size,
const PART_BYTES: usize = 1 << 20;
/// of which so many wait to be written.
const PARTS_WAITING: usize = 8;

/// What a restore needs.
pub struct Restore<'a> {
    /// Makes the store.
    pub backend: &'a dyn Backend,
    /// Where the files are.
    pub store: &'a dyn CheckpointStore,
    /// Where they go.
    pub disk: &'a dyn Disk,
    /// The task's stage in the checkpoint.
    pub stage: &'a StageManifest,
    /// The checkpoint.
    pub id: ManifestId,
    /// Groups the task owns now, ascending.
    pub groups: &'a [KeyGroup],
    /// Task of the checkpoint whose cut it takes over; see [`choose_base`].
    pub base: Option<TaskId>,
    /// Folder of the cuts that this worker has (see `download::local_cut`).
    pub local: Option<&'a Path>,
    /// Folder of the new store; must not exist, and is on the same file system as `local`.
    pub folder: &'a Path,
}

/// What a restore did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RestoreStats {
    /// Groups that came with the base.
    pub groups_kept: u32,
    /// Groups read out of other cuts.
    pub groups_read: u32,
    /// Bytes read from the checkpoint store.
    pub bytes_read: u64,
    /// Bytes that were on this worker.
    pub bytes_local: u64,
}

/// The task of a checkpoint that shares most groups with a task of now, if taking over its cut is less work than reading the
/// groups one by one: if the task keeps at least half of what is in it.
pub fn choose_base(stage: &StageManifest, groups: &[KeyGroup]) -> Option<TaskId> {
    let groups: BTreeSet<_> = groups.iter().collect();
    let shared = |task: &TaskManifest| task.groups.iter().filter(|group| groups.contains(group)).count();
    let worth = stage.tasks.iter().filter(|task| shared(task) > 0 && shared(task) * 2 >= task.groups.len());
    worth.max_by_key(|task| (shared(task), std::cmp::Reverse(task.task))).map(|task| task.task)
}

/// Builds the store of a task. Files it needed only for that are removed again.
pub fn restore_task(restore: &Restore<'_>) -> Result<(Box<dyn Store>, RestoreStats), Error> {
    let mut name = restore.folder.file_name().unwrap_or_default().to_os_string();
    name.push(".restore");
    let scratch = restore.folder.with_file_name(name);
    let remove = || restore.disk.remove_folder(&scratch).map_err(disk_error("remove", &scratch));
    remove()?;
    let restored = build(restore, &scratch);
    remove()?;
    restored
}

fn build(restore: &Restore<'_>, scratch: &Path) -> Result<(Box<dyn Store>, RestoreStats), Error> {
    let sources = plan(restore)?;
    let mut stats = RestoreStats::default();
    let mut store = match restore.base {
        None => restore.backend.create(restore.folder)?,
        Some(base) => {
            let base = task(restore.stage, base)?;
            let cut = fetch_cut(restore, base, scratch, &mut stats)?;
            let mut store = restore.backend.open(restore.folder, &cut)?;
            let mut gone = base.arriving.clone();
            for group in &base.groups {
                match restore.groups.binary_search(group) {
                    Ok(_) => stats.groups_kept += 1,
                    Err(_) => gone.push(*group),
                }
            }
            gone.sort_unstable();
            store.drop_groups(&gone)?;
            store
        }
    };
    let wake: Arc<dyn Wake> = Arc::new(thread::current());
    for (source, groups) in sources {
        let cut = fetch_cut(restore, task(restore.stage, source)?, scratch, &mut stats)?;
        stats.groups_read += groups.len() as u32;
        let wanted = Wanted { groups, part_bytes: PART_BYTES, urgency: Urgency::Awaited };
        let mut parts = restore.backend.read(&cut)?.into_parts(wanted, Arc::clone(&wake))?;
        copy(parts.as_mut(), source, store.as_mut(), &wake)?;
    }
    while !store.settle()? {
        thread::park();
    }
    Ok((store, stats))
}

/// Which groups to read out of which task's cut. Every group of the task must be in exactly one.
fn plan(restore: &Restore<'_>) -> Result<BTreeMap<TaskId, Vec<KeyGroup>>, Error> {
    let corrupt = |reason: String| {
        let path = format!("checkpoint {}", restore.id.epoch);
        Error::Corrupt { path, reason: format!("in stage '{}' {reason}", restore.stage.name) }
    };
    let mut holders: BTreeMap<KeyGroup, TaskId> = BTreeMap::new();
    for task in &restore.stage.tasks {
        for group in &task.groups {
            if let Some(other) = holders.insert(*group, task.task) {
                return Err(corrupt(format!("tasks {other} and {} both hold key group {group}", task.task)));
            }
        }
    }
    let mut sources: BTreeMap<TaskId, Vec<KeyGroup>> = BTreeMap::new();
    for group in restore.groups {
        let holder = holders.get(group).ok_or_else(|| corrupt(format!("no task holds key group {group}")))?;
        if Some(*holder) != restore.base {
            sources.entry(*holder).or_default().push(*group);
        }
    }
    Ok(sources)
}

fn task(stage: &StageManifest, id: TaskId) -> Result<&TaskManifest, Error> {
    stage.tasks.iter().find(|task| task.task == id).ok_or_else(|| Error::Corrupt {
        path: format!("stage '{}' of the checkpoint", stage.name),
        reason: format!("there is no task {id}"),
    })
}

fn fetch_cut(
    restore: &Restore<'_>,
    task: &TaskManifest,
    scratch: &Path,
    stats: &mut RestoreStats,
) -> Result<PathBuf, Error> {
    let folder = scratch.join(task.task.to_string());
    let Fetched { bytes_read, bytes_local } =
        fetch(restore.store, restore.disk, restore.local, (task, restore.id), &folder)?;
    stats.bytes_read += bytes_read;
    stats.bytes_local += bytes_local;
    Ok(folder)
}

/// Copies groups part by part: while one is read here, those before it are written by the store.
fn copy(parts: &mut dyn Parts, from: TaskId, to: &mut dyn Store, wake: &Arc<dyn Wake>) -> Result<(), Error> {
    loop {
        while to.waiting_bytes() > PARTS_WAITING * PART_BYTES {
            thread::park();
        }
        match parts.next()? {
            Next::Part(group, entries) => {
                to.take_in(from.into(), Arrival::Entries(group, entries), Urgency::Awaited, wake)?;
            }
            Next::Later => thread::park(),
            Next::End => return Ok(()),
        }
    }
}
