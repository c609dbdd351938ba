//! Bounds of a schema, as the API server applies them: sizes, lengths, and lists whose entries have different names.
use std::collections::BTreeSet;

use serde_json::Value;

use crate::job::FieldError;

/// Adds what `value` at `path` breaks of the bounds in `schema`. Types, required fields and words are not its matter: what is
/// checked has been read into types.
pub fn check(schema: &Value, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let mut refuse = |message: String| errors.push(FieldError::new(path, message));
    let bound = |name: &str| schema.get(name).and_then(Value::as_f64);
    match value {
        Value::Number(number) => {
            let (min, max) = (bound("minimum").unwrap_or(f64::MIN), bound("maximum").unwrap_or(f64::MAX));
            if !number.as_f64().is_some_and(|number| (min..=max).contains(&number)) {
                refuse(format!("{number} must be from {min} to {max}"));
            }
        }
        Value::String(text) => {
            let length = text.chars().count();
            if bound("minLength").is_some_and(|min| (length as f64) < min) {
                refuse("is too short; it cannot be empty".into());
            }
            if let Some(max) = bound("maxLength").filter(|max| length as f64 > *max) {
                refuse(format!("has {length} characters; there can be {max}"));
            }
        }
        Value::Array(list) => {
            if let Some(max) = bound("maxItems").filter(|max| list.len() as f64 > *max) {
                refuse(format!("has {} entries; there can be {max}", list.len()));
            }
            names(schema, list, path, errors);
            let items = schema.get("items").unwrap_or(&Value::Null);
            for (at, item) in list.iter().enumerate() {
                check(items, item, &format!("{path}[{at}]"), errors);
            }
        }
        Value::Object(fields) => {
            if let Some(max) = bound("maxProperties").filter(|max| fields.len() as f64 > *max) {
                refuse(format!("has {} entries; there can be {max}", fields.len()));
            }
            for (name, field) in fields {
                let known = schema.get("properties").and_then(|properties| properties.get(name));
                if let Some(of_field) = known.or_else(|| schema.get("additionalProperties")) {
                    let dot = if path.is_empty() { "" } else { "." };
                    check(of_field, field, &format!("{path}{dot}{name}"), errors);
                }
            }
        }
        Value::Null | Value::Bool(_) => {}
    }
}

/// Entries of a list that is a map differ in their keys, those of a set as a whole.
fn names(schema: &Value, list: &[Value], path: &str, errors: &mut Vec<FieldError>) {
    let key = schema.get("x-kubernetes-list-map-keys").and_then(|keys| keys.get(0)).and_then(Value::as_str);
    let is_set = schema.get("x-kubernetes-list-type").and_then(Value::as_str) == Some("set");
    let mut seen = BTreeSet::new();
    for (at, item) in list.iter().enumerate() {
        let (name, field) = match key {
            Some(key) => (item.get(key), format!(".{key}")),
            None if is_set => (Some(item), String::new()),
            None => return,
        };
        if let Some(name) = name.and_then(Value::as_str).filter(|name| !seen.insert(*name)) {
            errors.push(FieldError::new(format!("{path}[{at}]{field}"), format!("`{name}` is there already")));
        }
    }
}
