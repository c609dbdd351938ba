//! Revisions: what a job's pods are made from, kept as ControllerRevisions so that nothing restarts by accident. Whether a spec
//! needs another revision is judged by what the user wrote, never by what this operator would render today. Pure.
use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use millstream_api::crd::{REVISION_LABEL, Reason};
use millstream_api::job::{Autoscaling, Checkpoint, DeletionPolicy, Rescale, Spec, Sql, Upgrade};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::name::Identity;
use crate::resource::overlay::Refused;
use crate::resource::{Source, deployment, owner, stateful_set};
use crate::subset::difference;

mod file;

pub use file::{Start, Wish, begun_of, goes_back, is_going_back, start_of};

/// Revisions that are kept to go back to.
pub const KEPT: usize = 5;
/// Characters of names: without vowels and what looks alike, as Kubernetes has it.
const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
/// Characters in a name.
const NAME_LENGTH: usize = 5;
/// Annotation: what became of this revision.
pub const VERDICT: &str = "millstream.dev/verdict";
/// Annotation: this revision has not been healthy yet.
pub const TRIAL: &str = "millstream.dev/trial";

/// What a user wrote that pods are made from. Two specs with equal inputs need no other pods.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Inputs {
    /// The spec without the fields that change live or in place, and without the SQL text.
    pub spec: Spec,
    /// SHA-256 of the SQL text, wherever it comes from; empty if it is a file in the image.
    pub sql: String,
    /// The restart annotation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart: Option<String>,
}

impl Inputs {
    /// Of a spec with the text of its SQL, if that is not in the image.
    pub fn of(spec: &Spec, sql: Option<&str>, restart: Option<&str>) -> Self {
        let live = Spec::default();
        let spec = Spec {
            sql: if sql.is_some() { Sql::default() } else { spec.sql.clone() },
            parallelism: live.parallelism,
            stages: Vec::new(),
            autoscaling: Autoscaling::default(),
            rescale: Rescale::default(),
            checkpoint: Checkpoint { keep: live.checkpoint.keep, ..spec.checkpoint.clone() },
            upgrade: Upgrade { drop_state: spec.upgrade.drop_state.clone(), ..Upgrade::default() },
            suspend: false,
            deletion_policy: DeletionPolicy::default(),
            ..spec.clone()
        };
        Self { spec, sql: sql.map(hash).unwrap_or_default(), restart: restart.map(str::to_owned) }
    }

    /// Whether `stored`, maybe by an operator with other fields in its types, is the same.
    fn are(&self, stored: &Value) -> bool {
        match Self::deserialize(stored) {
            Ok(stored) => *self == stored,
            // A newer operator knew fields that this one does not: those it knows decide.
            Err(_) => serde_json::to_value(self).is_ok_and(|inputs| difference(&inputs, stored).is_none()),
        }
    }
}

/// What became of a revision. It is kept with the revision, so that nobody who looks at it later tries again what is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum Verdict {
    /// The job has run to its end.
    Completed,
    /// It cannot be run.
    Rejected {
        /// Why.
        reason: Reason,
        /// In words.
        message: String,
    },
}

/// The time before the first checkpoint of a revision. Nothing of it is visible so far, so what it replaces can come back exactly.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Trial {
    /// The revision that comes back if this one does not become healthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<String>,
    /// Since when it has had the place to itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since_ms: Option<i64>,
}

/// A revision, as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Revision {
    /// 5 characters.
    pub name: String,
    /// Grows; the highest number is the revision that is to run. 0: it never was.
    pub number: i64,
    /// What became of it; `None` while it is to run.
    pub verdict: Option<Verdict>,
    /// It has not been healthy yet.
    pub trial: Option<Trial>,
    /// What it consists of. Never changes.
    pub data: Arc<Data>,
}

/// What a revision consists of. No secret value is in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Data {
    /// [`Inputs`] as they were written.
    pub inputs: Value,
    /// Generation of the job that brought it about.
    pub generation: i64,
    /// Image of the pods.
    pub image: String,
    /// The job file, to the letter.
    pub file: String,
    /// The Deployment, to the letter, without replicas.
    pub coordinator: Value,
    /// The StatefulSet, to the letter, without replicas.
    pub workers: Value,
}

/// Why there is no revision of a spec.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A pod template.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Template(Vec<Refused>),
    /// A value that cannot be written.
    #[error("cannot write the revision: {0}")]
    Write(String),
}

/// The revision with these inputs: that which this generation of the job brought about, or else the newest. Another value of the
/// restart annotation asks for the image to be resolved again: what ran with that value before is not gone back to.
pub fn find<'a>(revisions: &'a [Revision], inputs: &Inputs, generation: i64) -> Option<&'a Revision> {
    let restarts = current(revisions).is_some_and(|current| current.restart() != inputs.restart.as_deref());
    let is_spent = |revision: &Revision| restarts && revision.number > 0 && !revision.is_rejected();
    let same = revisions.iter().filter(|revision| inputs.are(&revision.data.inputs) && !is_spent(revision));
    same.max_by_key(|revision| (revision.data.generation == generation, revision.number))
}

/// The revision that is to run: that with the highest number. Those that are being checked have none.
pub fn current(revisions: &[Revision]) -> Option<&Revision> {
    revisions.iter().filter(|revision| revision.number > 0).max_by_key(|revision| revision.number)
}

/// The number of the next revision.
pub fn next_number(revisions: &[Revision]) -> i64 {
    current(revisions).map_or(1, |revision| revision.number.saturating_add(1))
}

/// What a revision is made from, beside the inputs.
#[derive(Debug, Clone, Copy)]
pub struct Make<'a> {
    /// Which job.
    pub job: &'a Identity,
    /// Its spec as the user wrote it.
    pub spec: &'a Spec,
    /// The SQL text, if it is not in the image.
    pub sql: Option<&'a str>,
    /// Image, if the spec names none.
    pub default_image: &'a str,
    /// Generation of the job.
    pub generation: i64,
    /// What state it starts with.
    pub start: &'a Start,
}

/// A new revision, with a name that none of `revisions` has.
pub fn make(make: Make<'_>, inputs: &Inputs, revisions: &[Revision]) -> Result<Revision, Error> {
    let image = make.spec.image.as_deref().unwrap_or(make.default_image);
    let write = |error: serde_json::Error| Error::Write(error.to_string());
    let stored = serde_json::to_value(inputs).map_err(write)?;
    let seed = format!("{stored}\n{image}\n{}", make.job.uid);
    let is_free = |name: &String| revisions.iter().all(|revision| revision.name != *name);
    let mut salts = 0u32..;
    let name = salts.find_map(|salt| Some(short(&format!("{seed}\n{salt}"))).filter(is_free)).unwrap_or_default();
    let source = Source { job: make.job, spec: make.spec, revision: &name, image };
    let data = Data {
        inputs: stored,
        generation: make.generation,
        image: image.to_owned(),
        file: file::text(make, image, &name)?,
        coordinator: serde_json::to_value(deployment::coordinator(source).map_err(Error::Template)?).map_err(write)?,
        workers: serde_json::to_value(stateful_set::workers(source).map_err(Error::Template)?).map_err(write)?,
    };
    Ok(Revision { name, number: next_number(revisions), verdict: None, trial: None, data: Arc::new(data) })
}

impl Revision {
    /// As an object.
    pub fn object(&self, job: &Identity) -> Result<ControllerRevision, Error> {
        let data = serde_json::to_value(self.data.as_ref()).map_err(|error| Error::Write(error.to_string()))?;
        let mut object =
            ControllerRevision { revision: self.number, data: Some(RawExtension(data)), ..Default::default() };
        object.metadata.name = Some(job.revision(&self.name));
        object.metadata.namespace = Some(job.namespace.clone());
        object.metadata.labels = Some(job.labels(None, Some(&self.name)));
        object.metadata.owner_references = Some(vec![owner(job)]);
        let write = |error: serde_json::Error| Error::Write(error.to_string());
        let verdict = self.verdict.as_ref().map(serde_json::to_string).transpose().map_err(write)?;
        let trial = self.trial.as_ref().map(serde_json::to_string).transpose().map_err(write)?;
        let said = [(VERDICT, verdict), (TRIAL, trial)];
        let said: BTreeMap<_, _> = said.into_iter().filter_map(|(key, text)| Some((key.to_owned(), text?))).collect();
        object.metadata.annotations = Some(said).filter(|said| !said.is_empty());
        Ok(object)
    }

    /// From an object; `None` if it is none of ours or was damaged.
    pub fn read(object: ControllerRevision) -> Option<Self> {
        let name = object.metadata.labels.as_ref()?.get(REVISION_LABEL)?.clone();
        let data = Arc::new(serde_json::from_value(object.data?.0).ok()?);
        let said = |key: &str| object.metadata.annotations.as_ref().and_then(|all| all.get(key));
        let verdict = said(VERDICT).and_then(|text| serde_json::from_str(text).ok());
        let trial = said(TRIAL).and_then(|text| serde_json::from_str(text).ok());
        Some(Self { name, number: object.revision, verdict, trial, data })
    }

    /// The restart annotation it was made for.
    fn restart(&self) -> Option<&str> {
        self.data.inputs.get("restart")?.as_str()
    }

    /// Whether it cannot be run.
    pub fn is_rejected(&self) -> bool {
        matches!(self.verdict, Some(Verdict::Rejected { .. }))
    }

    /// Whether it did not become healthy, and something else came back for it.
    pub fn is_rolled_back(&self) -> bool {
        matches!(self.verdict, Some(Verdict::Rejected { reason: Reason::RolledBack, .. }))
    }

    /// Whether it ran well once and can be gone back to.
    pub fn is_good(&self) -> bool {
        self.number > 0 && self.trial.is_none() && !self.is_rejected()
    }

    /// The same, to run as the newest of `revisions`.
    pub fn activated(&self, revisions: &[Self]) -> Self {
        Self { number: next_number(revisions), verdict: None, trial: None, ..self.clone() }
    }
}

/// Five characters of a hash.
fn short(seed: &str) -> String {
    let digest = Sha256::digest(seed.as_bytes());
    digest.iter().take(NAME_LENGTH).map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()])).collect()
}

fn hash(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
