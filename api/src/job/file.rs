//! A StreamJob as a file holds it: the text that `millstream up` and `kubectl apply` both take.
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::spec::{Spec, Sql};

/// The only API version.
pub const API_VERSION: &str = "millstream.dev/v1alpha1";
/// The kind of a job.
pub const KIND: &str = "StreamJob";

/// The annotation of a job file that names the wish to go back to what `startFrom` says, though the job has begun before. The
/// operator writes it; a wish is granted once.
pub const RESTORE_ANNOTATION: &str = "millstream.dev/restore";

/// SQL text plus settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StreamJob {
    /// `millstream.dev/v1alpha1`.
    pub api_version: String,
    /// `StreamJob`.
    pub kind: String,
    /// Its name.
    pub metadata: Metadata,
    /// What it should be.
    pub spec: Spec,
}

/// Who it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Metadata {
    /// Unique in its namespace.
    pub name: String,
    /// Namespace; means nothing on the local platform.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Annotations, `millstream.dev/restart` among them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

impl StreamJob {
    /// A job that is nothing but SQL text.
    pub fn from_sql(name: &str, sql: String) -> Self {
        Self {
            api_version: API_VERSION.to_owned(),
            kind: KIND.to_owned(),
            metadata: Metadata { name: name.to_owned(), ..Metadata::default() },
            spec: Spec { sql: Sql { inline: Some(sql), ..Sql::default() }, ..Spec::default() },
        }
    }
}
