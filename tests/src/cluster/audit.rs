//! The API server's own log of requests.
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

/// A request that the API server has answered.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Request {
    /// Who asked, as in `system:serviceaccount:NAMESPACE:NAME`; if it impersonated somebody, that one.
    pub user: String,
    /// get, list, watch, create, update, patch, delete or deletecollection.
    pub verb: String,
    /// Group of the resource; empty for the oldest ones.
    pub group: String,
    /// Plural, with `/` and the sub-resource if it was about one.
    pub resource: String,
    /// Empty if it was about none or all.
    pub namespace: String,
    /// Empty if it was about many, or about one that the server named.
    pub name: String,
    /// Status code of the answer.
    pub code: u16,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    verb: String,
    user: User,
    impersonated_user: Option<User>,
    object_ref: Option<Object>,
    response_status: Option<Status>,
}

#[derive(Deserialize)]
struct User {
    username: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Object {
    api_group: String,
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
}

#[derive(Deserialize)]
struct Status {
    code: u16,
}

/// All requests of a log, in the order of their answers. A watch is answered when it ends and when it begins, and counts once.
pub fn read(log: &Path) -> Result<Vec<Request>> {
    let text = fs::read_to_string(log).with_context(|| format!("cannot read {}", log.display()))?;
    // The last line may be half written.
    let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
    whole.lines().filter_map(|line| parse(line).transpose()).collect()
}

fn parse(line: &str) -> Result<Option<Request>> {
    let event: Event = serde_json::from_str(line).with_context(|| format!("not an audit event: {line}"))?;
    let (Some(object), Some(status)) = (event.object_ref, event.response_status) else { return Ok(None) };
    let is_end_of_watch = event.verb == "watch" && line.contains(r#""stage":"ResponseComplete""#);
    if is_end_of_watch {
        return Ok(None);
    }
    let slash = if object.subresource.is_empty() { "" } else { "/" };
    Ok(Some(Request {
        user: event.impersonated_user.unwrap_or(event.user).username,
        verb: event.verb,
        group: object.api_group,
        resource: format!("{}{slash}{}", object.resource, object.subresource),
        namespace: object.namespace,
        name: object.name,
        code: status.code,
    }))
}
