//! Builders shared by the tests of this module.
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use millstream_api::id::{Epoch, KeyGroup, TaskId, Term};
use millstream_api::owner::OwnerTable;

use super::manifest::{FileEntry, Manifest, StageManifest, StateRegistration, TaskManifest};
use super::paths::ManifestId;
use super::store::{CheckpointStore, MemoryCheckpoints};
use super::upload::{Uploaded, Uploader};
use crate::state::disk::{Disk, MemoryDisk};
use crate::state::memory::MemoryBackend;
use crate::state::{Backend, Store, conformance};

mod erase;
mod files;
mod garbage;
mod history;
mod manifest;
mod origin;
mod restore;

fn id(epoch: Epoch, term: Term) -> ManifestId {
    ManifestId { epoch, term }
}

fn registration(ordinal: u16, op: &str, codec_version: u32) -> StateRegistration {
    StateRegistration { ordinal, op: op.to_owned(), name: "slices".to_owned(), codec_version, lineage: 1 }
}

/// A task with some groups and an uploaded cut.
pub(super) fn task(task: TaskId, groups: Vec<KeyGroup>, store_incarnation: u64, files: Vec<FileEntry>) -> TaskManifest {
    TaskManifest {
        task,
        worker: "w0".to_owned(),
        groups,
        arriving: Vec::new(),
        store_incarnation,
        files,
        state_bytes: 10,
        operator_state: BTreeMap::from([("watermark-1".to_owned(), serde_json::json!({"ms": 7}))]),
        splits: Vec::new(),
        committables: Vec::new(),
        ended: false,
    }
}

/// A manifest with one stage of 8 groups.
fn manifest(id: ManifestId, tasks: Vec<TaskManifest>) -> Manifest {
    let mut owners = vec![0; 8];
    for task in &tasks {
        task.groups.iter().for_each(|group| owners[usize::from(*group)] = task.task);
    }
    let table = OwnerTable { version: 1, owners };
    let states = vec![registration(0, "window-1", 1)];
    Manifest {
        job_id: u64::MAX - 1,
        job_name: "clicks".to_owned(),
        fingerprint: u64::MAX,
        sql_hash: "abc".to_owned(),
        epoch: id.epoch,
        term: id.term,
        generation: 1,
        savepoint: false,
        asked: None,
        final_: false,
        created_at_ms: 1_000,
        started_at_ms: 500,
        key_groups: 8,
        next_task_id: 10,
        stages: vec![StageManifest { name: "window-1".to_owned(), table, tasks, states, input: 0 }],
        in_flight: Vec::new(),
        rescale_plan: None,
    }
}

/// A manifest whose one stage has nothing.
pub(super) fn empty() -> Manifest {
    manifest(id(7, 2), Vec::new())
}

/// A worker's disk, its backend and a checkpoint store, all in memory.
struct Simulated {
    disk: MemoryDisk,
    backend: MemoryBackend,
    store: MemoryCheckpoints,
}

impl Simulated {
    fn new() -> Self {
        let disk = MemoryDisk::default();
        Self { backend: MemoryBackend::new(Arc::new(disk.clone())), disk, store: MemoryCheckpoints::default() }
    }

    fn world(&self) -> World<'_> {
        World { backend: &self.backend, disk: &self.disk, store: &self.store, folder: PathBuf::from("/w") }
    }
}

/// Where checkpoints are taken and restored.
struct World<'a> {
    backend: &'a dyn Backend,
    disk: &'a dyn Disk,
    store: &'a dyn CheckpointStore,
    folder: PathBuf,
}

impl World<'_> {
    fn local(&self) -> PathBuf {
        self.folder.join("cuts")
    }

    /// Cuts a store and uploads the cut.
    fn checkpoint(&self, store: &mut dyn Store, uploader: &mut Uploader, id: ManifestId) -> Uploaded {
        let folder = super::download::local_cut(&self.local(), uploader.incarnation(), id);
        let cut = conformance::cut(store, &folder);
        uploader.upload(self.store, self.disk, "job", id, &cut).unwrap()
    }

    fn at(&self, name: &str) -> PathBuf {
        Path::new(&self.folder).join(name)
    }
}
