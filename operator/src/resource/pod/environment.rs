//! What a process is told beside its job file: who it is, and values that no file should hold.
use k8s_openapi::api::core::v1::{EnvVar, EnvVarSource, ObjectFieldSelector, SecretKeySelector};

use millstream_api::job::Spec;

use crate::name::Role;
use crate::resource::Source;

/// Prefix of the variables of `spec.variables`.
const VARIABLE: &str = "MILLSTREAM_VAR_";

pub fn environment(source: Source<'_>, grace_seconds: i64) -> Vec<EnvVar> {
    let (job, spec) = (source.job, source.spec);
    let mut all = vec![
        field("MILLSTREAM_POD_NAME", "metadata.name"),
        field("MILLSTREAM_POD_IP", "status.podIP"),
        value("MILLSTREAM_NAMESPACE", &job.namespace),
        value("MILLSTREAM_JOB_UID", &job.uid),
        value("MILLSTREAM_COORDINATOR", &job.host(Role::Coordinator)),
        value("MILLSTREAM_GRACE_SECONDS", &grace_seconds.to_string()),
    ];
    for variable in &spec.variables {
        let name = format!("{VARIABLE}{}", variable.name);
        all.push(match (&variable.value, &variable.secret_key_ref) {
            (_, Some(secret)) => from_secret(&name, &secret.name, &secret.key),
            (text, None) => value(&name, text.as_deref().unwrap_or_default()),
        });
    }
    all.extend(credentials(spec));
    all
}

/// What the store asks for.
pub fn credentials(spec: &Spec) -> Vec<EnvVar> {
    let secret = spec.store.as_ref().and_then(|store| store.credentials_secret_name.as_ref());
    let keys = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];
    secret.iter().flat_map(|secret| keys.map(|key| from_secret(key, secret, key))).collect()
}

fn value(name: &str, value: &str) -> EnvVar {
    EnvVar { name: name.to_owned(), value: Some(value.to_owned()), ..EnvVar::default() }
}

fn field(name: &str, path: &str) -> EnvVar {
    let field = ObjectFieldSelector { field_path: path.to_owned(), ..ObjectFieldSelector::default() };
    from(name, EnvVarSource { field_ref: Some(field), ..EnvVarSource::default() })
}

fn from_secret(name: &str, secret: &str, key: &str) -> EnvVar {
    let key = SecretKeySelector { name: secret.to_owned(), key: key.to_owned(), optional: None };
    from(name, EnvVarSource { secret_key_ref: Some(key), ..EnvVarSource::default() })
}

fn from(name: &str, source: EnvVarSource) -> EnvVar {
    EnvVar { name: name.to_owned(), value_from: Some(source), ..EnvVar::default() }
}
