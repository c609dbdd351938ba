//! What a checkpoint is. A manifest file has two lines of JSON: a header with format version, length and CRC-32 of the second
//! line, and the manifest itself. It is complete: nothing else is needed to start the job again.
use std::collections::BTreeMap;

use bytes::Bytes;
use millstream_api::id::{Epoch, Generation, KeyGroup, TaskId, Term};
use millstream_api::owner::OwnerTable;
use serde::{Deserialize, Serialize};

use super::Error;
use super::mapping::{Planned, map};
use super::paths::ManifestId;
use crate::sink::Committable;
use crate::source::Split;
use crate::state::StateOrdinal;

/// Version of the format that this program writes, and the newest that it reads.
pub const FORMAT_VERSION: u32 = 1;

/// A complete checkpoint of a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Random number of the job, the same through all restarts.
    pub job_id: u64,
    /// Name of the job.
    pub job_name: String,
    /// Of the stage graph: a checkpoint fits only the graph it was made with.
    pub fingerprint: u64,
    /// Hash of the SQL text, to say whether text or planner changed when the fingerprint differs.
    pub sql_hash: String,
    /// Number of the barrier.
    pub epoch: Epoch,
    /// Incarnation of the coordinator that commits it.
    pub term: Term,
    /// Incarnation of the task set.
    pub generation: Generation,
    /// Whether a person asked for it.
    pub savepoint: bool,
    /// Name of the request that it was taken for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<String>,
    /// Whether the input has ended and this is the job's last output.
    #[serde(rename = "final")]
    pub final_: bool,
    /// Time it was made, ms since 1970.
    pub created_at_ms: i64,
    /// Time of the job's first start, ms since 1970.
    pub started_at_ms: i64,
    /// Number of key groups of the job.
    pub key_groups: u32,
    /// Least task id that was never used.
    pub next_task_id: TaskId,
    /// In the order of the stage graph.
    pub stages: Vec<StageManifest>,
    /// Elements that were in the channels; empty while checkpoints are aligned.
    #[serde(default)]
    pub in_flight: Vec<serde_json::Value>,
    /// Plan of a rescale that was going on; absent while there are restarts only.
    #[serde(default)]
    pub rescale_plan: Option<serde_json::Value>,
}

/// One stage of a checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageManifest {
    /// Stable name.
    pub name: String,
    /// Who owned which group at the barrier.
    pub table: OwnerTable,
    /// Tasks by id.
    pub tasks: Vec<TaskManifest>,
    /// The keyed states of its ops, by ordinal.
    pub states: Vec<StateRegistration>,
    /// Hash of the table it reads; 0 if it reads none.
    #[serde(default)]
    pub input: u64,
}

/// One task of a checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskManifest {
    /// Its id.
    pub task: TaskId,
    /// Name of the worker that ran it.
    pub worker: String,
    /// Groups it owned, ascending.
    pub groups: Vec<KeyGroup>,
    /// Groups that were on their way to it: its files may have some of them, which is of no use to anyone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arriving: Vec<KeyGroup>,
    /// Random number of its store, drawn when the store was made or opened.
    pub store_incarnation: u64,
    /// Files of its cut.
    pub files: Vec<FileEntry>,
    /// Bytes of its keyed state, an estimate.
    pub state_bytes: u64,
    /// State of ops that is not by key, by op id.
    pub operator_state: BTreeMap<String, serde_json::Value>,
    /// Splits it reads, with positions.
    pub splits: Vec<Split>,
    /// Output to commit once this manifest is committed.
    pub committables: Vec<Committable>,
    /// Whether its input had ended.
    pub ended: bool,
}

/// A file of a cut in the checkpoint store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Its name within the cut.
    pub name: String,
    /// Its path in the checkpoint store.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// CRC-32 (IEEE) of its content.
    pub crc32: u32,
    /// Whether later cuts of the same store may refer to this upload.
    pub immutable: bool,
}

/// A keyed state of an op: how it is found again.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StateRegistration {
    /// Part of every key.
    pub ordinal: StateOrdinal,
    /// Stable id of the op.
    pub op: String,
    /// Name of the state within the op.
    pub name: String,
    /// Version of how its keys and values are encoded.
    pub codec_version: u32,
    /// Hash of the op and all that comes before it: what the entries mean.
    #[serde(default)]
    pub lineage: u64,
}

#[derive(Serialize, Deserialize)]
struct Header {
    millstream_manifest: u32,
    bytes: usize,
    crc32: u32,
}

/// The job a manifest is to be used for.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// Name of the job, for messages.
    pub job_name: &'a str,
    /// Its number, if it has one already (a job that starts from a savepoint takes over the savepoint's).
    pub job_id: Option<u64>,
    /// As planned now.
    pub planned: &'a Planned,
    /// Ops whose state may be lost.
    pub drop_state: &'a [String],
    /// Number of key groups.
    pub key_groups: u32,
}

impl Manifest {
    /// Its name among the manifests of the job.
    pub fn id(&self) -> ManifestId {
        ManifestId { epoch: self.epoch, term: self.term }
    }

    /// The stage with this name.
    pub fn stage(&self, name: &str) -> Option<&StageManifest> {
        self.stages.iter().find(|stage| stage.name == name)
    }

    /// Paths in the checkpoint store of all files it needs.
    pub fn files(&self) -> impl Iterator<Item = &FileEntry> {
        self.stages.iter().flat_map(|stage| &stage.tasks).flat_map(|task| &task.files)
    }

    /// Bytes of keyed state, an estimate.
    pub fn state_bytes(&self) -> u64 {
        self.stages.iter().flat_map(|stage| &stage.tasks).map(|task| task.state_bytes).sum()
    }

    /// The file. The same manifest gives the same bytes.
    pub fn encode(&self) -> Result<Bytes, Error> {
        let corrupt =
            |error: serde_json::Error| Error::Corrupt { path: self.id().to_string(), reason: error.to_string() };
        let body = serde_json::to_vec(self).map_err(corrupt)?;
        let header = Header { millstream_manifest: FORMAT_VERSION, bytes: body.len(), crc32: crc32fast::hash(&body) };
        let mut file = serde_json::to_vec(&header).map_err(corrupt)?;
        file.push(b'\n');
        file.extend(body);
        file.push(b'\n');
        Ok(file.into())
    }

    /// Reads the file at `path`.
    pub fn decode(path: &str, file: &[u8]) -> Result<Self, Error> {
        let corrupt = |reason: String| Error::Corrupt { path: path.to_owned(), reason };
        let line_end = file.iter().position(|byte| *byte == b'\n').unwrap_or(file.len());
        let (line, rest) = file.split_at(line_end);
        let header: Header = serde_json::from_slice(line).map_err(|error| corrupt(format!("its header: {error}")))?;
        if header.millstream_manifest > FORMAT_VERSION {
            let (found, supported) = (header.millstream_manifest, FORMAT_VERSION);
            return Err(Error::NewerFormat { path: path.to_owned(), found, supported });
        }
        let body = rest.get(1..).and_then(|rest| rest.strip_suffix(b"\n")).unwrap_or_default();
        if body.len() != header.bytes {
            return Err(corrupt(format!("it has {} bytes after its header instead of {}", body.len(), header.bytes)));
        }
        if crc32fast::hash(body) != header.crc32 {
            return Err(corrupt("its checksum is wrong".to_owned()));
        }
        serde_json::from_slice(body).map_err(|error| corrupt(error.to_string()))
    }

    /// Refuses to be used for another job.
    pub fn check_job(&self, expected: &Expected<'_>) -> Result<(), Error> {
        let epoch = self.epoch;
        let refuse = |why: String| {
            let (saved, wanted) = (&self.job_name, expected.job_name);
            Err(Error::OtherJob(format!("checkpoint {epoch} of job '{saved}' does not fit job '{wanted}': {why}")))
        };
        if let Some(job_id) = expected.job_id.filter(|job_id| *job_id != self.job_id) {
            return refuse(format!("it belongs to job id {:016x}, not {job_id:016x}", self.job_id));
        }
        if self.key_groups != expected.key_groups {
            let (saved, wanted) = (self.key_groups, expected.key_groups);
            return refuse(format!("it has {saved} key groups, the job is set to {wanted}; they cannot change"));
        }
        map(self, expected.planned, expected.drop_state).map(drop).map_err(Error::StateMismatch)
    }
}
