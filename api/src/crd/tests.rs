use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::*;
use crate::job::parse_yaml;
use crate::job::tests::table::WHOLE;

mod rules;

fn schema(definition: &CustomResourceDefinition) -> Value {
    let version = &definition.spec.versions[0];
    serde_json::to_value(version.schema.as_ref().unwrap().open_api_v3_schema.as_ref().unwrap()).unwrap()
}

/// Calls `see` with the path and schema of every field.
fn walk(schema: &Value, path: &str, see: &mut impl FnMut(&str, &Value)) {
    see(path, schema);
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        walk(field, &format!("{path}.{name}"), see);
    }
    for (field, suffix) in [("items", "[]"), ("additionalProperties", "{}")] {
        if schema[field].is_object() {
            walk(&schema[field], &format!("{path}{suffix}"), see);
        }
    }
}

#[test]
fn a_definition_says_how_a_job_is_called_and_shown() {
    let definition = StreamJob::crd();
    assert_eq!(definition.metadata.name.as_deref(), Some("streamjobs.millstream.dev"));
    let spec = &definition.spec;
    assert_eq!((spec.group.as_str(), spec.scope.as_str()), (GROUP, "Namespaced"));
    assert_eq!(spec.names.short_names.as_deref(), Some(&["sj".to_owned()][..]));
    assert_eq!(spec.names.categories.as_deref(), Some(&["millstream".to_owned()][..]));
    let version = &spec.versions[0];
    assert_eq!(format!("{GROUP}/{}", version.name), job::API_VERSION);
    let columns: Vec<String> = version
        .additional_printer_columns
        .iter()
        .flatten()
        .map(|column| {
            let wide = if column.priority.unwrap_or(0) > 0 { " (wide)" } else { "" };
            format!("{}{wide}: {} {}", column.name.to_uppercase(), column.type_, column.json_path)
        })
        .collect();
    assert_eq!(
        columns,
        [
            "READY: string .status.conditions[?(@.type==\"Ready\")].status",
            "STATUS: string .status.conditions[?(@.type==\"Ready\")].reason",
            "PARALLELISM: integer .status.parallelism",
            "TARGET: integer .status.targetParallelism",
            "LAG: string .status.lag",
            "CHECKPOINT: date .status.checkpoint.time",
            "AGE: date .metadata.creationTimestamp",
            "MESSAGE (wide): string .status.conditions[?(@.type==\"Ready\")].message",
        ]
    );
    let sub = version.subresources.as_ref().unwrap();
    let scale = sub.scale.as_ref().unwrap();
    assert!(sub.status.is_some());
    assert_eq!(
        (&*scale.spec_replicas_path, &*scale.status_replicas_path, scale.label_selector_path.as_deref()),
        (".spec.parallelism", ".status.parallelism", Some(".status.selector"))
    );
}

#[test]
fn every_field_has_a_description_a_type_and_a_bound() {
    for definition in definitions() {
        let schema = schema(&definition);
        walk(&schema, "", &mut |path, field| {
            let is_entry = path.ends_with("[]") || path.ends_with("{}");
            assert!(is_entry || field["description"].is_string(), "{path} has no description");
            let open = field["x-kubernetes-int-or-string"] == json!(true);
            assert!(open || field["type"].is_string(), "{path} has no single type: {field}");
            assert!(path.is_empty() || path == ".status" || field.get("nullable").is_none(), "{path} may be null");
            let formats = ["int32", "int64", "date-time"];
            assert!(field["format"].as_str().is_none_or(|format| formats.contains(&format)), "{path}: {field}");
            for combination in ["oneOf", "anyOf", "allOf", "not"] {
                assert!(field.get(combination).is_none(), "{path}: {combination}");
            }
            if !path.starts_with(".spec") {
                return;
            }
            let bound = match field["type"].as_str() {
                Some("string") if field.get("enum").is_some() => return,
                Some("string") | None => "maxLength",
                Some("array") => "maxItems",
                Some("integer") => "maximum",
                Some("object") if field["additionalProperties"].is_object() => "maxProperties",
                _ => return,
            };
            assert!(field[bound].is_number(), "{path} has no {bound}: {field}");
        });
    }
}

#[test]
fn every_rule_says_what_to_do_and_where() {
    let mut rules = 0;
    for definition in definitions() {
        walk(&schema(&definition), "", &mut |path, field| {
            for rule in field["x-kubernetes-validations"].as_array().into_iter().flatten() {
                rules += 1;
                let message = rule["message"].as_str().unwrap_or_default();
                assert!(message.len() > 20 && !message.contains('\n'), "{path}: {rule}");
                if let Some(leads_to) = rule["fieldPath"].as_str() {
                    let pointer =
                        format!("/properties/{}", leads_to.trim_start_matches('.').replace('.', "/properties/"));
                    assert!(field.pointer(&pointer).is_some(), "{path}: {leads_to} leads nowhere");
                }
            }
        });
    }
    assert!(rules > 25, "only {rules} rules were found");
}

#[test]
fn a_definition_is_small_enough_to_be_applied_and_written_the_same_each_time() {
    for (definition, again) in definitions().iter().zip(definitions().iter()) {
        let text = serde_json::to_string(definition).unwrap();
        assert_eq!(text, serde_json::to_string(again).unwrap());
        // `kubectl apply` keeps a copy in an annotation, of which all together have at most 256 KiB.
        assert!(text.len() < 100_000, "{} bytes", text.len());
    }
}

#[test]
fn defaults_are_those_of_the_types() {
    let spec = &schema(&StreamJob::crd())["properties"]["spec"]["properties"];
    assert_eq!(spec["parallelism"]["default"], json!(1));
    assert_eq!(spec["keyGroups"]["default"], json!(256));
    assert_eq!(spec["imagePullPolicy"]["default"], json!("IfNotPresent"));
    assert_eq!(spec["rescale"]["default"], json!({"strategy": "Incremental", "podTimeout": "10m"}));
    assert_eq!(spec["rescale"]["properties"]["podTimeout"]["default"], json!("10m"));
    assert_eq!(spec["worker"]["default"], json!({"terminationGracePeriodSeconds": 120}));
    assert_eq!(spec["autoscaling"]["properties"]["mode"]["enum"], json!(["Off", "Advise", "Auto"]));
    assert_eq!(spec["worker"]["properties"]["podTemplate"]["x-kubernetes-preserve-unknown-fields"], json!(true));
    for optional in ["image", "store", "serviceAccountName", "stages"] {
        assert_eq!(spec[optional].get("default"), None, "{optional}");
    }
}

#[test]
fn a_file_and_a_resource_are_one_job() {
    let file = parse_yaml(WHOLE).unwrap();
    let resource = StreamJob::from(file.clone());
    assert_eq!(job::StreamJob::from(&resource), file);
    let text = serde_json::to_string(&resource).unwrap();
    assert_eq!(parse_yaml(&text).unwrap(), file);
    assert_eq!(serde_json::from_str::<StreamJob>(&text).unwrap(), resource);
}

#[test]
fn words_exist_once_and_are_used() {
    let reasons: BTreeSet<_> = ConditionType::ALL.iter().flat_map(|kind| kind.reasons()).collect();
    for reason in Reason::ALL {
        assert!(*reason == Reason::Unknown || reasons.contains(reason), "no condition has the reason {reason}");
        assert!(reason.doc().len() > 10, "{reason}");
    }
    assert_eq!(serde_json::from_value::<Reason>(json!("OfTheNextVersion")).unwrap(), Reason::Unknown);
    assert_eq!(serde_json::to_value(Reason::OOMKilled).unwrap(), json!("OOMKilled"));
}

#[test]
fn the_time_of_a_condition_moves_with_its_status_only() {
    let (early, late) = ("2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z");
    let time = |text: &str| serde_json::from_value(json!(text)).unwrap();
    let observe = |holds, reason, before: &[_], now| {
        let observed = Observation { kind: ConditionType::Ready, holds, reason, message: "x".repeat(10_000) };
        observed.condition(Some(3), before, &time(now))
    };
    let first = observe(Some(false), Reason::Deploying, &[], early);
    assert_eq!((first.type_.as_str(), first.status.as_str(), first.message.len()), ("Ready", "False", 4096));
    let second = observe(Some(false), Reason::ImagePull, std::slice::from_ref(&first), late);
    assert_eq!((second.reason.as_str(), second.last_transition_time), ("ImagePull", time(early)));
    let third = observe(Some(true), Reason::Running, std::slice::from_ref(&first), late);
    assert_eq!((third.status.as_str(), &third.last_transition_time), ("True", &time(late)));
    assert_eq!(observe(None, Reason::Unknown, &[third], late).status, "Unknown");
}

#[test]
fn a_status_has_the_fields_that_are_promised() {
    let status = json!({
        "observedGeneration": 7,
        "conditions": [{"type": "Ready", "status": "True", "reason": "Running", "message": "", "observedGeneration": 7,
            "lastTransitionTime": "2026-01-01T00:00:00Z"}],
        "parallelism": 4,
        "targetParallelism": 6,
        "selector": "millstream.dev/job=orders,millstream.dev/role=worker",
        "workers": {"ready": 4, "desired": 6},
        "stages": [{"name": "bids", "parallelism": 2, "target": 4}],
        "revision": {"name": "orders-5f7c9", "generation": 7, "image": "r/millstream@sha256:0"},
        "rejected": {"generation": 8, "reason": "InvalidSql", "message": "m"},
        "operation": {"kind": "Rescale", "step": "WaitingForPods", "startedAt": "2026-01-01T00:00:00Z"},
        "lag": "10s",
        "checkpoint": {"epoch": 812, "time": "2026-01-01T00:00:00Z", "path": "p"},
        "startedFrom": "s3://b/p",
        "recommendation": {"parallelism": 6, "reason": "RateStep", "time": "2026-01-01T00:00:00Z"},
        "lastFailure": {"time": "2026-01-01T00:00:00Z", "pod": "orders-w-5f7c9-1", "reason": "OOMKilled", "message": "m"},
        "operator": "millstream/millstream"
    });
    let read: StreamJobStatus = serde_json::from_value(status.clone()).unwrap();
    assert_eq!(serde_json::to_value(&read).unwrap(), status);
    let properties = &schema(&StreamJob::crd())["properties"]["status"]["properties"];
    let names: BTreeSet<_> = properties.as_object().unwrap().keys().collect();
    assert_eq!(names, status.as_object().unwrap().keys().collect());
    assert_eq!(serde_json::to_value(StreamJobStatus::default()).unwrap(), json!({}));
}
