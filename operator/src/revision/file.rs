//! The job file of a revision: the StreamJob as its processes run it, with everything that was looked up filled in. JSON is YAML.
use millstream_api::job::{
    API_VERSION, KIND, Metadata, RESTORE_ANNOTATION, Spec, Sql, StartFrom, StreamJob, parse_yaml,
};

use super::{Error, Make, Revision};

/// What state a revision starts with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Start {
    /// Without snapshots: those are paths.
    pub from: StartFrom,
    /// Names the wish to go back to that, if the job has begun before. It is granted once.
    pub restore: Option<String>,
}

/// The text of the file.
pub fn text(make: Make<'_>, image: &str) -> Result<String, Error> {
    let start_from = make.start.from.clone();
    let mut spec = Spec { image: Some(image.to_owned()), start_from, ..make.spec.clone() };
    if let Some(sql) = make.sql {
        spec.sql = Sql { inline: Some(sql.to_owned()), ..Sql::default() };
    }
    // Processes have no use for how their pods look.
    spec.worker.pod_template = None;
    spec.coordinator.pod_template = None;
    let restore = make.start.restore.iter().map(|wish| (RESTORE_ANNOTATION.to_owned(), wish.clone()));
    let metadata = Metadata {
        name: make.job.name.clone(),
        namespace: Some(make.job.namespace.clone()),
        annotations: restore.collect(),
        ..Metadata::default()
    };
    let job = StreamJob { api_version: API_VERSION.to_owned(), kind: KIND.to_owned(), metadata, spec };
    serde_json::to_string_pretty(&job).map_err(|error| Error::Write(error.to_string()))
}

/// What state a revision starts with. `None` if a newer operator wrote what this one cannot read.
pub fn begun_of(revision: &Revision) -> Option<Start> {
    let mut job = parse_yaml(&revision.data.file).ok()?;
    Some(Start { from: job.spec.start_from, restore: job.metadata.annotations.remove(RESTORE_ANNOTATION) })
}

/// Where the job goes back to with this revision, if it does.
pub fn goes_back(revision: &Revision) -> Option<StartFrom> {
    let start = begun_of(revision)?;
    // Another revision that only goes on has the wish of the one before.
    (start.restore? == revision.data.generation.to_string()).then_some(start.from)
}

/// The spec a revision started with. `None` if a newer operator wrote what this one cannot read.
pub fn start_of(revision: &Revision) -> Option<Spec> {
    Some(parse_yaml(&revision.data.file).ok()?.spec)
}
