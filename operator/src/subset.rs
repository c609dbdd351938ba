//! Whether an object is as it should be: what is wanted is a subset of what is there. The server adds defaults and writes
//! quantities its own way; neither is a difference. Pure.
use std::cmp::Ordering;

use serde_json::{Map, Value};

/// Names under which every value of a map is a quantity.
const QUANTITIES: &[&str] = &["requests", "limits", "hard", "sizeLimit"];
/// Keys that name the elements of a list, in the order they are tried.
const LIST_KEYS: &[&str] = &["name", "mountPath", "topologyKey", "key", "uid"];

/// The first difference: a path such as `spec.template.spec.containers[0].image`; `None` if all that is wanted is there.
pub fn difference(wanted: &Value, live: &Value) -> Option<String> {
    compare(wanted, live, false)
}

/// The path is made on the way back: mostly there is no difference.
fn compare(wanted: &Value, live: &Value, is_quantity: bool) -> Option<String> {
    match (wanted, live) {
        (Value::Object(wanted), Value::Object(live)) => object(wanted, live, is_quantity),
        (Value::Array(wanted), Value::Array(live)) => list(wanted, live),
        // A field that is null is one that is not wanted.
        (Value::Null, _) => None,
        _ if wanted == live => None,
        (Value::Number(wanted), Value::Number(live)) if wanted.as_f64() == live.as_f64() => None,
        _ if is_quantity && same_quantity(wanted, live) => None,
        _ => Some(String::new()),
    }
}

fn object(wanted: &Map<String, Value>, live: &Map<String, Value>, is_quantity: bool) -> Option<String> {
    wanted.iter().find_map(|(name, value)| match live.get(name) {
        Some(found) => {
            let inner = compare(value, found, is_quantity || QUANTITIES.contains(&name.as_str()))?;
            Some(join(name, &inner))
        }
        None if is_empty(value) => None,
        None => Some(name.clone()),
    })
}

/// Lists whose elements have a key may have more elements, put there by others; all other lists are equal or different.
fn list(wanted: &[Value], live: &[Value]) -> Option<String> {
    let is_keyed = |key: &&&str| wanted.iter().chain(live).all(|element| element.get(**key).is_some());
    let Some(key) = LIST_KEYS.iter().find(is_keyed).filter(|_| !wanted.is_empty()) else {
        if wanted.len() != live.len() {
            return Some(String::new());
        }
        let mut pairs = wanted.iter().zip(live).enumerate();
        return pairs.find_map(|(at, (wanted, live))| Some(join(&format!("[{at}]"), &compare(wanted, live, false)?)));
    };
    wanted.iter().enumerate().find_map(|(at, wanted)| {
        let found = live.iter().find(|live| live.get(*key) == wanted.get(*key));
        let inner = found.map_or(Some(String::new()), |live| compare(wanted, live, false))?;
        Some(join(&format!("[{at}]"), &inner))
    })
}

/// A path with what is before it.
fn join(outer: &str, inner: &str) -> String {
    let dot = if inner.is_empty() || inner.starts_with('[') { "" } else { "." };
    format!("{outer}{dot}{inner}")
}

/// The server leaves out what is empty.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(fields) => fields.is_empty(),
        Value::Array(elements) => elements.is_empty(),
        Value::String(text) => text.is_empty(),
        _ => false,
    }
}

fn same_quantity(wanted: &Value, live: &Value) -> bool {
    match (quantity(wanted), quantity(live)) {
        (Some(wanted), Some(live)) => wanted.total_cmp(&live) == Ordering::Equal,
        _ => false,
    }
}

/// `500m`, `2`, `1.5Gi` and `1e3` as numbers. Equal quantities give equal numbers: both are rounded the same way.
fn quantity(value: &Value) -> Option<f64> {
    let text = match value {
        Value::String(text) => text.as_str(),
        Value::Number(number) => return number.as_f64(),
        _ => return None,
    };
    const SUFFIXES: [(&str, f64); 15] = [
        ("Ki", 1024.0),
        ("Mi", 1_048_576.0),
        ("Gi", 1_073_741_824.0),
        ("Ti", 1_099_511_627_776.0),
        ("Pi", 1_125_899_906_842_624.0),
        ("Ei", 1_152_921_504_606_846_976.0),
        ("n", 1e-9),
        ("u", 1e-6),
        ("m", 1e-3),
        ("k", 1e3),
        ("M", 1e6),
        ("G", 1e9),
        ("T", 1e12),
        ("P", 1e15),
        ("E", 1e18),
    ];
    let found = SUFFIXES.iter().find_map(|(suffix, factor)| Some((text.strip_suffix(suffix)?, *factor)));
    let (number, factor) = found.unwrap_or((text, 1.0));
    let value = number.parse::<f64>().ok()? * factor;
    // A billionth is the finest step there is.
    Some((value * 1e9).round())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn defaults_and_additions_of_others_are_no_difference() {
        let wanted = json!({"spec": {"replicas": 2, "empty": {}, "list": [], "off": null, "containers": [
            {"name": "millstream", "image": "a", "env": [{"name": "A", "value": ""}]}]}});
        let live = json!({"spec": {"replicas": 2.0, "added": true, "containers": [
            {"name": "sidecar"}, {"name": "millstream", "image": "a", "env": [{"name": "A"}], "more": 1}]}, "status": {}});
        assert_eq!(difference(&wanted, &live), None);
    }

    #[test]
    fn a_difference_says_where() {
        let live = json!({"spec": {"replicas": 2, "args": ["a", "b"], "containers": [{"name": "m", "image": "a"}]}});
        for (wanted, path) in [
            (json!({"spec": {"replicas": 3}}), "spec.replicas"),
            (json!({"spec": {"args": ["a"]}}), "spec.args"),
            (json!({"spec": {"args": ["a", "c"]}}), "spec.args[1]"),
            (json!({"spec": {"containers": [{"name": "n"}]}}), "spec.containers[0]"),
            (json!({"spec": {"containers": [{"name": "m", "image": "b"}]}}), "spec.containers[0].image"),
            (json!({"spec": {"paused": false}}), "spec.paused"),
            (json!({"metadata": {"labels": {"a": "b"}}}), "metadata"),
        ] {
            assert_eq!(difference(&wanted, &live).as_deref(), Some(path), "{wanted}");
        }
    }

    #[test]
    fn quantities_are_equal_however_they_are_written() {
        for (wanted, live, equal) in [
            ("1", "1000m", true),
            ("0.5", "500m", true),
            ("1024Mi", "1Gi", true),
            ("1.5Gi", "1536Mi", true),
            ("1e3", "1k", true),
            ("100m", "100M", false),
            ("1Gi", "1G", false),
        ] {
            let of = |amount: &str| json!({"resources": {"limits": {"memory": amount}}});
            assert_eq!(difference(&of(wanted), &of(live)).is_none(), equal, "{wanted} {live}");
        }
        assert!(
            difference(&json!({"data": {"a": "1"}}), &json!({"data": {"a": "1000m"}})).is_some(),
            "only quantities"
        );
    }
}
