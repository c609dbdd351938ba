//! `docs/job-reference.md`: every field of the resources with its type, default and bounds, every rule, every condition.
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use millstream_api::crd::{self, ConditionType, OperationKind, OperationStep, SnapshotResult, rule};
use serde_json::Value;

use crate::reference::{code, row};

/// The whole page.
pub fn markdown() -> String {
    let mut page = String::from(
        "# Job reference\n\nGenerated from the code by `make generate`. Every field of a StreamJob and a StreamJobSnapshot. \
         `millstream validate FILE` and the API server apply the same bounds and rules. What settings there are is in \
         [reference.md](reference.md#settings).\n",
    );
    for definition in crd::definitions() {
        resource(&definition, &mut page);
    }
    conditions(&mut page);
    page
}

fn resource(definition: &CustomResourceDefinition, page: &mut String) {
    let version = &definition.spec.versions[0];
    let schema = version.schema.as_ref().and_then(|schema| schema.open_api_v3_schema.as_ref());
    let schema = serde_json::to_value(schema).unwrap_or_default();
    let names = &definition.spec.names;
    let short = names.short_names.iter().flatten().map(|name| code(name)).collect::<Vec<_>>().join(", ");
    page.push_str(&format!("\n## {}\n\n{}\n\n", names.kind, words(&schema["description"])));
    page.push_str(&format!("`apiVersion: {}/{}`, short name {short}.\n", definition.spec.group, version.name));
    rules(&schema, page);
    page.push_str("\nColumns of `kubectl get`; those marked * with `-o wide`:\n\n| column | from | meaning |\n| --- | --- | --- |\n");
    for column in version.additional_printer_columns.iter().flatten() {
        let mark = if column.priority.unwrap_or(0) > 0 { "*" } else { "" };
        let name = format!("{}{mark}", column.name.to_uppercase());
        page.push_str(&row(&[
            &name,
            &code(&column.json_path),
            column.description.as_deref().unwrap_or("Since it was created."),
        ]));
    }
    for part in ["spec", "status"] {
        table(&schema["properties"][part], &format!("{}.{part}", names.kind), part, page);
    }
}

/// The fields of an object, then of the objects in it. Headings are unique, since the resource is named in each.
fn table(schema: &Value, heading: &str, path: &str, page: &mut String) {
    page.push_str(&format!("\n### {heading}\n\n{}\n\n", words(&schema["description"])));
    page.push_str("| field | type | default | bounds | meaning |\n| --- | --- | --- | --- | --- |\n");
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let fields = || schema["properties"].as_object().into_iter().flatten();
    for (name, field) in fields() {
        let must = required.contains(&name.as_str()) && path.starts_with("spec");
        let default = if must { "required".to_owned() } else { default(field) };
        page.push_str(&row(&[&code(name), &kind(field), &default, &bounds(field), words(&field["description"])]));
    }
    rules(schema, page);
    for (name, field) in fields() {
        let (inner, suffix) = if field["items"].is_object() { (&field["items"], "[]") } else { (field, "") };
        // The fields of a condition are those of Kubernetes.
        if inner["properties"].is_object() && name != "conditions" {
            table(inner, &format!("{heading}.{name}{suffix}"), &format!("{path}.{name}"), page);
        }
    }
}

/// Rules between fields, and from one version to the next.
fn rules(schema: &Value, page: &mut String) {
    let mut text = String::new();
    for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
        let field = rule["fieldPath"].as_str().map(|path| format!("{} ", code(path.trim_start_matches('.'))));
        text.push_str(&format!("- {}{}.\n", field.unwrap_or_default(), words(&rule["message"])));
    }
    if !text.is_empty() {
        page.push_str(&format!("\nWhat is said when a rule is broken:\n\n{text}"));
    }
}

fn has(field: &Value, rules: &[kube::core::Rule]) -> bool {
    serde_json::to_value(rules).is_ok_and(|rules| field["x-kubernetes-validations"] == rules)
}

fn kind(field: &Value) -> String {
    if let Some(words) = field["enum"].as_array() {
        return words.iter().filter_map(Value::as_str).map(code).collect::<Vec<_>>().join(", ");
    }
    match field["type"].as_str() {
        Some("string") if has(field, &rule::duration()) => "duration".to_owned(),
        Some("string") if has(field, &rule::quantity()) => "quantity of bytes".to_owned(),
        Some("string") if field["format"] == "date-time" => "time".to_owned(),
        Some("array") => format!("list of {}s", kind(&field["items"])),
        Some("object") if field["additionalProperties"].is_object() => "map of amounts".to_owned(),
        Some("object") if field["x-kubernetes-preserve-unknown-fields"] == true => "pod template".to_owned(),
        Some(other) => other.to_owned(),
        None => "amount".to_owned(),
    }
}

fn default(field: &Value) -> String {
    match &field["default"] {
        Value::Null | Value::Object(_) => String::new(),
        Value::String(text) => code(text),
        other => code(&other.to_string()),
    }
}

fn bounds(field: &Value) -> String {
    let mut said = Vec::new();
    let number = |name: &str| field[name].as_f64();
    if let (Some(min), Some(max)) = (number("minimum"), number("maximum")) {
        // The bounds of the integer types themselves say nothing.
        said.push(if max < f64::from(i32::MAX) { format!("{min} to {max}") } else { format!("at least {min}") });
    }
    let is_text = has(field, &rule::duration()) || has(field, &rule::quantity());
    if is_text {
        said.push("above 0".to_owned());
    }
    for (name, of) in [("maxLength", "characters"), ("maxItems", "entries"), ("maxProperties", "entries")] {
        if let Some(max) = number(name).filter(|_| !is_text) {
            said.push(format!("at most {max} {of}"));
        }
    }
    let own = field["type"] != "object" && !is_text;
    for rule in field["x-kubernetes-validations"].as_array().into_iter().flatten().filter(|_| own) {
        said.push(words(&rule["message"]).to_owned());
    }
    said.join("; ")
}

fn conditions(page: &mut String) {
    page.push_str("\n## Conditions\n\nEach has the reason `Unknown` until it is known.\n");
    for kind in ConditionType::ALL {
        page.push_str(&format!("\n### {kind}\n\n{}\n\n| reason | meaning |\n| --- | --- |\n", kind.doc()));
        for reason in kind.reasons() {
            page.push_str(&row(&[&code(reason.as_str()), reason.doc()]));
        }
    }
    let operations = OperationKind::ALL.iter().map(|word| (word.as_str(), word.doc()));
    let steps = OperationStep::ALL.iter().map(|word| (word.as_str(), word.doc()));
    let results = SnapshotResult::ALL.iter().map(|word| (word.as_str(), word.doc()));
    let sections: [(&str, Vec<(&str, &str)>); 3] = [
        ("Operations", operations.collect()),
        ("Steps of operations", steps.collect()),
        ("Results of snapshots", results.collect()),
    ];
    for (heading, words) in sections {
        page.push_str(&format!("\n## {heading}\n\n| word | meaning |\n| --- | --- |\n"));
        for (word, doc) in words {
            page.push_str(&row(&[&code(word), doc]));
        }
    }
}

fn words(text: &Value) -> &str {
    text.as_str().unwrap_or_default()
}
