//! The two secrets of a job: its authority, and what its pods prove themselves with.
use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::jiff::Timestamp;

use super::meta;
use crate::authority::Pair;
use crate::name::{Identity, Role};

/// Annotation: when the leaves are renewed.
pub const RENEW_AT: &str = "millstream.dev/renew-at";
/// Annotation: since when the token is what it is, if the secret was made anew with the token it had.
pub const TOKEN_SINCE: &str = "millstream.dev/token-since";
/// Key of the bundle of authorities.
pub const BUNDLE: &str = "ca.crt";
/// Key of the authority's own key.
const AUTHORITY_KEY: &str = "ca.key";
/// Key of the API's bearer token.
pub const TOKEN: &str = "token";

/// What the pods prove themselves with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// Bundle of the authorities that are trusted, PEM.
    pub bundle: String,
    /// The coordinator's leaf.
    pub coordinator: Pair,
    /// The workers' leaf.
    pub worker: Pair,
    /// The API's bearer token. A renewal of leaves keeps it.
    pub token: String,
    /// Since when the token is what it is, by the clock of the API server: pods that are older know another one.
    pub token_since_ms: Option<i64>,
    /// When the leaves are due for renewal.
    pub renew_at_ms: i64,
}

/// The secret that is mounted nowhere.
pub fn authority(job: &Identity, authority: &Pair) -> Secret {
    let data = [(BUNDLE, &authority.certificate), (AUTHORITY_KEY, &authority.key)];
    secret(job, job.authority_secret(), data.map(|(key, value)| (key.to_owned(), value.clone())).into())
}

/// The secret that is mounted in every pod.
pub fn tls(job: &Identity, tls: &Tls) -> Secret {
    let mut data: BTreeMap<String, String> =
        [(BUNDLE.to_owned(), tls.bundle.clone()), (TOKEN.to_owned(), tls.token.clone())].into();
    for (role, pair) in [(Role::Coordinator, &tls.coordinator), (Role::Worker, &tls.worker)] {
        data.insert(format!("{}.crt", role.as_str()), pair.certificate.clone());
        data.insert(format!("{}.key", role.as_str()), pair.key.clone());
    }
    let mut secret = secret(job, job.tls_secret(), data);
    let times = [(RENEW_AT, Some(tls.renew_at_ms)), (TOKEN_SINCE, tls.token_since_ms)].into_iter();
    let text = |at_ms| Timestamp::from_millisecond(at_ms).unwrap_or_default().to_string();
    secret.metadata.annotations = Some(times.filter_map(|(key, at_ms)| Some((key.to_owned(), text(at_ms?)))).collect());
    secret
}

fn secret(job: &Identity, name: String, data: BTreeMap<String, String>) -> Secret {
    let data = data.into_iter().map(|(key, value)| (key, ByteString(value.into_bytes()))).collect();
    Secret {
        metadata: meta(job, name, None, None),
        type_: Some("Opaque".into()),
        data: Some(data),
        ..Secret::default()
    }
}

/// Reads an authority; `None` if the secret is not one of ours, or was damaged.
pub fn read_authority(secret: &Secret) -> Option<Pair> {
    Some(Pair { certificate: text(secret, BUNDLE)?, key: text(secret, AUTHORITY_KEY)? })
}

/// Reads what the pods have; `None` if something is missing, which makes all of it new. A secret whose annotation was lost is
/// due for renewal.
pub fn read_tls(secret: &Secret) -> Option<Tls> {
    let pair = |role: Role| {
        let name = role.as_str();
        Some(Pair { certificate: text(secret, &format!("{name}.crt"))?, key: text(secret, &format!("{name}.key"))? })
    };
    let time = |key: &str| {
        let text = secret.metadata.annotations.as_ref()?.get(key)?;
        Some(text.parse::<Timestamp>().ok()?.as_millisecond())
    };
    Some(Tls {
        bundle: text(secret, BUNDLE)?,
        coordinator: pair(Role::Coordinator)?,
        worker: pair(Role::Worker)?,
        token: text(secret, TOKEN)?,
        token_since_ms: time(TOKEN_SINCE).or_else(|| made_ms(secret)),
        renew_at_ms: time(RENEW_AT).unwrap_or(0),
    })
}

/// When the API server was given the secret.
pub fn made_ms(secret: &Secret) -> Option<i64> {
    Some(secret.metadata.creation_timestamp.as_ref()?.0.as_millisecond())
}

fn text(secret: &Secret, key: &str) -> Option<String> {
    let bytes = secret.data.as_ref()?.get(key)?;
    String::from_utf8(bytes.0.clone()).ok().filter(|text| !text.is_empty())
}
