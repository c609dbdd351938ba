//! The job file of a revision: the StreamJob as its processes run it, with everything that was looked up filled in. JSON is YAML.
use millstream_api::job::{API_VERSION, KIND, Metadata, Spec, Sql, StreamJob, parse_yaml};

use super::{Error, Make, Revision};

/// The text of the file.
pub fn text(make: Make<'_>, image: &str) -> Result<String, Error> {
    let mut spec = Spec { image: Some(image.to_owned()), ..make.spec.clone() };
    if let Some(sql) = make.sql {
        spec.sql = Sql { inline: Some(sql.to_owned()), ..Sql::default() };
    }
    // Processes have no use for how their pods look.
    spec.worker.pod_template = None;
    spec.coordinator.pod_template = None;
    let metadata =
        Metadata { name: make.job.name.clone(), namespace: Some(make.job.namespace.clone()), ..Metadata::default() };
    let job = StreamJob { api_version: API_VERSION.to_owned(), kind: KIND.to_owned(), metadata, spec };
    serde_json::to_string_pretty(&job).map_err(|error| Error::Write(error.to_string()))
}

/// The spec a revision started with. `None` if a newer operator wrote what this one cannot read.
pub fn start_of(revision: &Revision) -> Option<Spec> {
    Some(parse_yaml(&revision.data.file).ok()?.spec)
}
