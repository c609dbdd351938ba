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
    /// To go back to that, if the job has begun before.
    pub restore: Option<Wish>,
}

/// A wish to go back to something. It is granted once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// This revision brings it.
    Own,
    /// One before has brought it, and this one only goes on: its name.
    Before(String),
}

/// The name of the wish that a revision brings, if it brings one.
fn own_wish(generation: i64, revision: &str) -> String {
    format!("{generation}-{revision}")
}

/// The text of the file of the revision of this name.
pub fn text(make: Make<'_>, image: &str, name: &str) -> Result<String, Error> {
    let start_from = make.start.from.clone();
    let mut spec = Spec { image: Some(image.to_owned()), start_from, ..make.spec.clone() };
    if let Some(sql) = make.sql {
        spec.sql = Sql { inline: Some(sql.to_owned()), ..Sql::default() };
    }
    // Processes have no use for how their pods look.
    spec.worker.pod_template = None;
    spec.coordinator.pod_template = None;
    let wish = make.start.restore.as_ref().map(|wish| match wish {
        Wish::Own => own_wish(make.generation, name),
        Wish::Before(wish) => wish.clone(),
    });
    let metadata = Metadata {
        name: make.job.name.clone(),
        namespace: Some(make.job.namespace.clone()),
        annotations: wish.into_iter().map(|wish| (RESTORE_ANNOTATION.to_owned(), wish)).collect(),
        ..Metadata::default()
    };
    let job = StreamJob { api_version: API_VERSION.to_owned(), kind: KIND.to_owned(), metadata, spec };
    serde_json::to_string_pretty(&job).map_err(|error| Error::Write(error.to_string()))
}

/// What state one that follows this revision starts with, if it goes on. `None` if a newer operator wrote what this one cannot read.
pub fn begun_of(revision: &Revision) -> Option<Start> {
    let mut job = parse_yaml(&revision.data.file).ok()?;
    let restore = job.metadata.annotations.remove(RESTORE_ANNOTATION).map(Wish::Before);
    Some(Start { from: job.spec.start_from, restore })
}

/// Where the job goes back to with this revision, if this revision is the one that brings the wish.
pub fn goes_back(revision: &Revision) -> Option<StartFrom> {
    let start = begun_of(revision)?;
    let own = own_wish(revision.data.generation, &revision.name);
    (start.restore? == Wish::Before(own)).then_some(start.from)
}

/// Whether the job may be on its way back with this revision: with its own wish, or with that of one of `revisions` that has not been
/// healthy.
pub fn is_going_back(revision: &Revision, revisions: &[Revision]) -> bool {
    let Some(Start { restore: Some(Wish::Before(wish)), .. }) = begun_of(revision) else { return false };
    let brings = |one: &Revision| wish == own_wish(one.data.generation, &one.name);
    brings(revision) || revisions.iter().any(|one| brings(one) && !one.is_good())
}

/// The spec a revision started with. `None` if a newer operator wrote what this one cannot read.
pub fn start_of(revision: &Revision) -> Option<Spec> {
    Some(parse_yaml(&revision.data.file).ok()?.spec)
}
