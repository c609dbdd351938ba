//! The rules that the API server applies, without one: bounds of the schema, rules in CEL, and those in Rust, which know
//! more and say more.
use std::sync::LazyLock;

use kube::core::CustomResourceExt;
use kube::core::cel::{CompiledSchema, ErrorKind, ValidationError, Validator, compile_schema};
use serde_json::Value;

use super::{StreamJob, bounds};
use crate::job::{self, FieldError, Invalid, Settings};

/// The schema of a resource with its rules compiled.
struct Definition {
    schema: Value,
    rules: CompiledSchema,
}

static STREAM_JOB: LazyLock<Definition> = LazyLock::new(|| {
    let version = StreamJob::crd().spec.versions.into_iter().next();
    let schema = version.and_then(|version| version.schema?.open_api_v3_schema);
    let schema = serde_json::to_value(schema).unwrap_or_default();
    let rules = compile_schema(&schema);
    Definition { schema, rules }
});

/// Checks every rule that needs no more than the job itself and answers its settings.
pub fn check(job: &job::StreamJob) -> Result<Settings, Invalid> {
    together(job.validate(), by_definition(job, None))
}

/// As [`check`], and whether the job may become this from what it was `before`.
pub fn check_update(job: &job::StreamJob, before: &job::StreamJob) -> Result<Settings, Invalid> {
    together(job.validate(), by_definition(job, Some(before)))
}

/// What the definition of the resource alone finds wrong.
pub(super) fn by_definition(job: &job::StreamJob, before: Option<&job::StreamJob>) -> Vec<FieldError> {
    let as_value = |job: &job::StreamJob| serde_json::to_value(job).unwrap_or_default();
    let (object, before) = (as_value(job), before.map(as_value));
    let mut errors = Vec::new();
    bounds::check(&STREAM_JOB.schema, &object, "", &mut errors);
    if let Err(broken) = Validator::new().validate_compiled(&STREAM_JOB.rules, &object, before.as_ref()) {
        errors.extend(broken.into_iter().map(field_error));
    }
    errors
}

/// Rules of the root are about the name, and say so in their message: no path of a rule leads into the metadata.
fn field_error(error: ValidationError) -> FieldError {
    let message = match error.kind {
        ErrorKind::ValidationFailure => error.message,
        _ => format!("the rule `{}` cannot be applied: {}", error.rule, error.message),
    };
    match message.strip_prefix("metadata.name ") {
        Some(rest) if error.field_path.is_empty() => FieldError::new("metadata.name", rest),
        _ => FieldError::new(error.field_path, message),
    }
}

/// All that is wrong; of what several rules find at one place, what the rules in Rust say.
fn together(rust: Result<Settings, Invalid>, definition: Vec<FieldError>) -> Result<Settings, Invalid> {
    let (settings, mut errors) = match rust {
        Ok(settings) => (Some(settings), Vec::new()),
        Err(invalid) => (None, invalid.errors),
    };
    for error in definition {
        let said = errors.iter().any(|other| within(&other.path, &error.path) || within(&error.path, &other.path));
        if !said {
            errors.push(error);
        }
    }
    match settings {
        Some(settings) if errors.is_empty() => Ok(settings),
        _ => Err(Invalid { errors }),
    }
}

/// Whether `path` is `outer` or a field in it.
fn within(path: &str, outer: &str) -> bool {
    path.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}
