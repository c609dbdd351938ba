//! Cuts between a worker's disk and the checkpoint store: what is uploaded, what is kept here for local recovery, and how a
//! task's store is made out of a checkpoint.
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use millstream_api::error::chain;
use millstream_api::id::{Epoch, Generation, KeyGroup, TaskId, Term};

use super::build::Deployment;
use super::{Doors, Event, Failed, TaskCut, Uploaded, Worker};
use crate::checkpoint::history;
use crate::checkpoint::manifest::{Manifest, StageManifest, TaskManifest};
use crate::checkpoint::mapping::keeps_state;
use crate::checkpoint::paths::ManifestId;
use crate::checkpoint::restore::{Restore, choose_base, restore_task};
use crate::checkpoint::store::CheckpointStore;
use crate::checkpoint::upload::Uploader;
use crate::message::{CutFailure, Failure, Report, RestoreFrom};
use crate::state::disk::Disk;
use crate::state::{Backend, CutFile, Error, Store};

impl Worker {
    /// What the coordinator is told of an upload that has ended.
    pub(super) fn uploaded(
        &mut self,
        generation: Generation,
        epoch: Epoch,
        task: TaskId,
        result: Result<Uploaded, CutFailure>,
    ) -> Report {
        match result {
            Err(failure) => Report::CutFailed { generation, epoch, task, failure },
            Ok(Uploaded { manifest, bytes }) => {
                let stage =
                    self.current.as_ref().and_then(|current| current.tasks.get(&task)).map_or(0, |task| task.stage);
                Report::Cut { generation, epoch, stage, task: Box::new(manifest), uploaded_bytes: bytes }
            }
        }
    }
}

/// Folder of the cuts of this worker, for local recovery.
pub fn local_folder(folder: &Path) -> PathBuf {
    folder.join("cuts")
}

/// Folder of the cuts of one store; each is in a sub-folder named after its checkpoint.
pub fn cut_folder(folder: &Path, incarnation: u64) -> PathBuf {
    local_folder(folder).join(format!("{incarnation:016x}"))
}

/// The store that has the checkpoint a job is restored from: the job's own, unless it names another.
pub fn store_of(doors: &Doors, from: &RestoreFrom) -> Result<Arc<dyn CheckpointStore>, String> {
    match &from.root {
        None => Ok(Arc::clone(&doors.store)),
        Some(root) => (doors.other_store)(root),
    }
}

/// Reads the manifest a job is restored from.
pub fn load_manifest(doors: &Doors, from: &RestoreFrom) -> Result<Manifest, String> {
    let store = store_of(doors, from)?;
    history::load(store.as_ref(), &from.prefix, from.id).map_err(|error| chain(&error))
}

/// What this worker knows of uploads.
#[derive(Default)]
pub struct Ledger {
    stores: BTreeMap<TaskId, StoreRecord>,
    /// Folders of stores whose tasks have left; they may still be open.
    left: Vec<PathBuf>,
}

struct StoreRecord {
    generation: Generation,
    incarnation: u64,
    uploader: Arc<Mutex<Uploader>>,
    folder: PathBuf,
}

/// What a task's store is made from.
pub struct Origin<'a> {
    /// The task's stage in the checkpoint, and where that checkpoint is; none: from nothing.
    pub old: Option<(&'a StageManifest, &'a RestoreFrom)>,
    /// Keyed states as planned now.
    pub states: &'a [crate::checkpoint::manifest::StateRegistration],
    /// Key groups the task owns.
    pub groups: &'a [KeyGroup],
}

impl Ledger {
    /// Makes the store of a task; gives it with its new incarnation.
    pub fn open(
        &mut self,
        backend: &dyn Backend,
        doors: &Doors,
        (task, generation): (TaskId, Generation),
        origin: &Origin<'_>,
    ) -> Result<(Box<dyn Store>, u64), Failed> {
        let fail = |message: String| Failed(Failure { message, user: false });
        let incarnation = doors.random.next_u64();
        let folder = doors.folder.join("state").join(format!("{incarnation:016x}"));
        let disk = doors.disk.as_ref();
        let (store, uploader) = match origin.old {
            None => (backend.create(&folder)?, Uploader::new(incarnation)),
            // The coordinator has been told that it may be lost.
            Some((stage, _)) if !keeps_state(stage, origin.states) => {
                tracing::warn!(task, stage = stage.name, "state of the checkpoint is dropped");
                (backend.create(&folder)?, Uploader::new(incarnation))
            }
            Some((stage, from)) => {
                let base = choose_base(stage, origin.groups);
                let remote = store_of(doors, from).map_err(fail)?;
                let local = local_folder(&doors.folder);
                let restore = Restore {
                    backend,
                    store: remote.as_ref(),
                    disk,
                    stage,
                    id: from.id,
                    groups: origin.groups,
                    base,
                    local: Some(&local),
                    folder: &folder,
                };
                let (store, stats) = restore_task(&restore).map_err(|error| fail(chain(&error)))?;
                tracing::info!(task, ?stats, "state restored");
                let base = stage.tasks.iter().find(|old| Some(old.task) == base && from.root.is_none());
                let uploader =
                    base.map_or_else(|| Uploader::new(incarnation), |base| Uploader::restored(incarnation, base));
                (store, uploader)
            }
        };
        let record = StoreRecord { generation, incarnation, uploader: Arc::new(Mutex::new(uploader)), folder };
        if let Some(old) = self.stores.insert(task, record) {
            remove(doors, &old.folder);
        }
        Ok((store, incarnation))
    }

    /// Sends a cut on its way; `Event::Uploaded` says how it ended.
    pub fn begin(&self, worker: &str, deployment: &Deployment, cut: TaskCut, doors: &Doors) {
        let Some(record) = self.stores.get(&cut.task) else { return };
        let generation = deployment.generation;
        if record.generation != generation {
            return;
        }
        let id = ManifestId { epoch: cut.epoch, term: deployment.deploy.term };
        let (uploader, incarnation) = (Arc::clone(&record.uploader), record.incarnation);
        let (worker, prefix) = (worker.to_owned(), deployment.deploy.prefix.clone());
        let (store, disk, events) = (Arc::clone(&doors.store), Arc::clone(&doors.disk), doors.events.clone());
        doors.background.run(Box::new(move || {
            let (task, epoch, state_bytes) = (cut.task, cut.epoch, cut.cut.state_bytes);
            let upload = |files: Vec<CutFile>| {
                let mut uploader = uploader.lock().unwrap_or_else(PoisonError::into_inner);
                let uploaded = uploader.upload(store.as_ref(), disk.as_ref(), &prefix, id, &files);
                uploaded.map_err(|error| CutFailure { message: chain(&error), is_store_away: error.is_transient() })
            };
            let cut_failed = |error: Error| CutFailure { message: chain(&error), is_store_away: false };
            let result = cut.cut.files().map_err(cut_failed).and_then(upload).map(|uploaded| Uploaded {
                bytes: uploaded.uploaded_bytes,
                manifest: TaskManifest {
                    task,
                    worker,
                    groups: cut.groups,
                    arriving: cut.arriving,
                    store_incarnation: incarnation,
                    files: uploaded.files,
                    state_bytes,
                    operator_state: cut.operator_state,
                    splits: cut.splits,
                    committables: cut.committables,
                    ended: cut.ended,
                },
            });
            // A worker that no longer listens is going down.
            let _ = events.send(Event::Uploaded { generation, epoch, task, result });
        }));
    }

    /// An epoch is committed: cuts before it, and those of stores that are gone, are of no use any more.
    pub fn committed(&self, epoch: Epoch, term: Term, doors: &Doors) {
        let id = ManifestId { epoch, term };
        let stores: Vec<String> = self.stores.values().map(|record| format!("{:016x}", record.incarnation)).collect();
        let (disk, local) = (Arc::clone(&doors.disk), local_folder(&doors.folder));
        doors.background.run(Box::new(move || {
            if let Err(error) = prune(disk.as_ref(), &local, &stores, id) {
                tracing::warn!("cannot remove old cuts: {error}");
            }
        }));
    }

    /// The stores of cancelled tasks are closed: their folders go, their cuts stay.
    pub fn close(&mut self, doors: &Doors) {
        let folders = std::mem::take(&mut self.stores).into_values().map(|record| record.folder);
        folders.chain(std::mem::take(&mut self.left)).for_each(|folder| remove(doors, &folder));
    }

    /// A task has left.
    pub fn forget(&mut self, task: TaskId) {
        self.left.extend(self.stores.remove(&task).map(|record| record.folder));
    }
}

fn remove(doors: &Doors, folder: &Path) {
    if let Err(error) = doors.disk.remove_folder(folder) {
        tracing::warn!("cannot remove {}: {error}", folder.display());
    }
}

/// Removes cuts older than `id`, and all cuts of stores not in `stores`. Later ones may be in the making.
fn prune(disk: &dyn Disk, local: &Path, stores: &[String], id: ManifestId) -> std::io::Result<()> {
    for store in disk.folders(local)? {
        let folder = local.join(&store);
        if !stores.contains(&store) {
            disk.remove_folder(&folder)?;
            continue;
        }
        for cut in disk.folders(&folder)? {
            if ManifestId::parse(&cut).is_some_and(|found| found < id) {
                disk.remove_folder(&folder.join(cut))?;
            }
        }
    }
    Ok(())
}
