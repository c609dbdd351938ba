//! From YAML to a job, with the line, the column and the field path of whatever is wrong.
use super::{API_VERSION, KIND, StreamJob};

/// Most errors quote the text they are about; no more of it than this.
const QUOTE_MAX: usize = 60;

/// Why a text is no StreamJob.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{message}", self.place())]
pub struct Error {
    /// Where, if known: line and column, from 1.
    pub position: Option<(u64, u64)>,
    /// Field path such as `spec.stages[1].parallelism`; empty at the top.
    pub path: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl Error {
    fn place(&self) -> String {
        let position =
            self.position.map(|(line, column)| format!("line {line}, column {column}: ")).unwrap_or_default();
        if self.path.is_empty() { position } else { format!("{position}{}: ", self.path) }
    }
}

/// Reads one StreamJob. Only its shape is checked: see [`StreamJob::validate`] for the rest.
pub fn parse_yaml(text: &str) -> Result<StreamJob, Error> {
    let mut track = serde_path_to_error::Track::new();
    let read = serde_saphyr::with_deserializer_from_str(text, |deserializer| {
        serde::Deserialize::deserialize(serde_path_to_error::Deserializer::new(deserializer, &mut track))
    });
    let job: StreamJob = read.map_err(|error| describe(&error, &track.path().to_string()))?;
    for (path, found, wanted) in [("apiVersion", &job.api_version, API_VERSION), ("kind", &job.kind, KIND)] {
        if found != wanted {
            let message = format!("`{}` is not known; write {wanted}", quote(found));
            return Err(Error { position: None, path: path.to_owned(), message });
        }
    }
    Ok(job)
}

fn describe(error: &serde_saphyr::Error, path: &str) -> Error {
    use serde_saphyr::Error as Yaml;
    let error = error.without_snippet();
    let position = error.location().map(|location| (location.line(), location.column()));
    let message = match error {
        Yaml::SerdeUnknownField { field, expected, .. } => {
            format!("unknown field `{}`; {}", quote(field), suggest(field, expected))
        }
        Yaml::SerdeUnknownVariant { variant, expected, .. } => {
            format!("unknown value `{}`; {}", quote(variant), suggest(variant, expected))
        }
        Yaml::SerdeMissingField { field, .. } => format!("field `{field}` is missing"),
        Yaml::SerdeInvalidType { unexpected, expected, .. } | Yaml::SerdeInvalidValue { unexpected, expected, .. } => {
            format!("expected {expected}, found {unexpected}")
        }
        Yaml::Message { msg, .. } => msg.clone(),
        Yaml::Eof { .. } => "the text ends where a StreamJob should be".to_owned(),
        Yaml::MultipleDocuments { .. } => "there is more than one document; one file holds one StreamJob".to_owned(),
        Yaml::DuplicateMappingKey { .. } => "this key is there twice".to_owned(),
        other => plain(&other.to_string()),
    };
    // The path of an unknown field ends with the field itself, which the message names.
    let path = match error {
        Yaml::SerdeUnknownField { field, .. } => {
            path.strip_suffix(field.as_str()).unwrap_or(path).trim_end_matches('.')
        }
        _ => path,
    };
    Error { position, path: if path == "." || path == "?" { String::new() } else { path.to_owned() }, message }
}

/// A reader's own words, without the place it adds, which is said already.
fn plain(text: &str) -> String {
    let text = text.split_once(" at line ").map_or(text, |(text, _)| text);
    match text.strip_prefix("invalid ") {
        Some("u16" | "u32" | "u64" | "usize") => "expected a whole number that is not negative".to_owned(),
        _ => text.to_owned(),
    }
}

fn quote(text: &str) -> String {
    let mut short: String = text.chars().take(QUOTE_MAX).flat_map(char::escape_debug).collect();
    if text.chars().count() > QUOTE_MAX {
        short.push('…');
    }
    short
}

fn suggest(found: &str, expected: &[&'static str]) -> String {
    match closest(found, expected.iter().copied()) {
        Some(name) => format!("did you mean `{name}`?"),
        None => format!("there are {}", expected.join(", ")),
    }
}

/// The candidate that `found` is most likely a slip of: at most a third of it is wrong.
pub(super) fn closest<'a>(found: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let found = found.to_ascii_lowercase();
    candidates
        .map(|candidate| (distance(&found, &candidate.to_ascii_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Levenshtein distance in characters; of texts beyond any name, only the difference in length.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    if a.len() > 200 || b.len() > 200 {
        return a.len().abs_diff(b.len());
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
