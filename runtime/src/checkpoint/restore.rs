//! The store of one task out of a checkpoint, at whatever parallelism the job has now.
//!
//! A task may take over the cut of one task of the checkpoint (its *base*): that cut is opened as it is, groups that went
//! elsewhere are dropped, and groups that came from elsewhere are read out of the other cuts. Without a base all its groups
//! are read.
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use millstream_api::id::{KeyGroup, TaskId};

use super::download::{Fetched, fetch};
use super::manifest::{StageManifest, TaskManifest};
use super::paths::ManifestId;
use super::store::CheckpointStore;
use super::{Error, disk_error};
use crate::state::disk::Disk;
use crate::state::{Backend, Snapshot, Store};

/// Groups are imported in parts of about this size.
const PART_BYTES: usize = 4 << 20;

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
    for (source, groups) in sources {
        let source = task(restore.stage, source)?;
        let cut = fetch_cut(restore, source, scratch, &mut stats)?;
        let snapshot = restore.backend.read(&cut)?;
        for group in groups {
            import(snapshot.as_ref(), store.as_mut(), group)?;
            stats.groups_read += 1;
        }
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

/// Copies a group part by part.
fn import(from: &dyn Snapshot, to: &mut dyn Store, group: KeyGroup) -> Result<(), Error> {
    let (mut part, mut bytes, mut imported) = (Vec::new(), 0, Ok(()));
    from.export(group, None, &mut |key, value| {
        part.push((key.to_vec(), value.to_vec()));
        bytes += key.len() + value.len();
        if bytes >= PART_BYTES {
            bytes = 0;
            imported = to.import(group, std::mem::take(&mut part));
        }
        imported.is_ok()
    })?;
    imported?;
    Ok(to.import(group, part)?)
}
