//! The user's pod template on top of ours. What cannot be merged, or would break what the operator relies on, is refused with
//! its path. Pure.
use k8s_openapi::DeepMerge;
use k8s_openapi::api::core::v1::{Container, PodTemplateSpec, Toleration};
use millstream_api::crd::GROUP;
use serde::Deserialize;
use serde_json::Value;

use crate::name::CONTAINER;

/// A part of a pod template that is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
pub struct Refused {
    /// Such as `spec.worker.podTemplate.spec.restartPolicy`.
    pub path: String,
    /// What is wrong and what to do.
    pub message: String,
}

/// `template` with `user` on top; `path` is where the user wrote it.
pub fn merge(mut template: PodTemplateSpec, user: &Value, path: &str) -> Result<PodTemplateSpec, Vec<Refused>> {
    let mut track = serde_path_to_error::Track::new();
    let read = PodTemplateSpec::deserialize(serde_path_to_error::Deserializer::new(user, &mut track));
    let overlay = read.map_err(|error| {
        let at = track.path().to_string();
        vec![Refused { path: if at == "." { path.into() } else { format!("{path}.{at}") }, message: error.to_string() }]
    })?;
    let mut refused = Vec::new();
    // What the types do not know is not in what they write.
    let known = serde_json::to_value(&overlay).unwrap_or_default();
    unknown(user, &known, path, &mut refused);
    pod(&overlay, path, &mut refused);
    if !refused.is_empty() {
        return Err(refused);
    }
    let ours = template.spec.as_ref().and_then(|spec| spec.tolerations.clone());
    template.merge_from(overlay);
    keep_tolerations(&mut template, ours.unwrap_or_default());
    Ok(template)
}

/// A list of tolerations is merged as a whole; ours stay, but for those of taints that the user's are about.
fn keep_tolerations(template: &mut PodTemplateSpec, ours: Vec<Toleration>) {
    let Some(all) = template.spec.as_mut().and_then(|spec| spec.tolerations.as_mut()) else { return };
    for one in ours {
        if !all.iter().any(|theirs| theirs.key == one.key && (theirs.effect.is_none() || theirs.effect == one.effect)) {
            all.push(one);
        }
    }
}

/// Fields the user wrote that no pod has.
fn unknown(user: &Value, known: &Value, path: &str, refused: &mut Vec<Refused>) {
    match (user, known) {
        (Value::Object(user), Value::Object(known)) => {
            for (name, value) in user.iter().filter(|(_, value)| !value.is_null()) {
                let path = format!("{path}.{name}");
                match known.get(name) {
                    Some(known) => unknown(value, known, &path, refused),
                    None => refused.push(Refused { path, message: "no pod template has such a field".into() }),
                }
            }
        }
        (Value::Array(user), Value::Array(known)) => {
            for (at, (user, known)) in user.iter().zip(known).enumerate() {
                unknown(user, known, &format!("{path}[{at}]"), refused);
            }
        }
        _ => {}
    }
}

/// What the operator relies on.
fn pod(overlay: &PodTemplateSpec, path: &str, refused: &mut Vec<Refused>) {
    let mut refuse = |is_given: bool, at: String, message: &str| {
        if is_given {
            refused.push(Refused { path: format!("{path}.{at}"), message: message.into() });
        }
    };
    let labels = overlay.metadata.iter().flat_map(|meta| meta.labels.iter().flatten());
    for (label, _) in labels.filter(|(label, _)| label.starts_with(GROUP) || label.starts_with("app.kubernetes.io/")) {
        refuse(true, format!("metadata.labels.{label}"), "selectors use this label; choose another name");
    }
    let Some(spec) = &overlay.spec else { return };
    refuse(spec.restart_policy.is_some(), "spec.restartPolicy".into(), "is always Always; remove it");
    refuse(
        spec.service_account_name.is_some() || spec.service_account.is_some(),
        "spec.serviceAccountName".into(),
        "write it as spec.serviceAccountName of the job",
    );
    refuse(
        spec.automount_service_account_token == Some(true),
        "spec.automountServiceAccountToken".into(),
        "the pods of a job never get a token; remove it",
    );
    refuse(
        spec.termination_grace_period_seconds.is_some(),
        "spec.terminationGracePeriodSeconds".into(),
        "write it as spec.worker.terminationGracePeriodSeconds of the job",
    );
    for (at, volume) in spec.volumes.iter().flatten().enumerate() {
        let ours = volume.name.starts_with("millstream-");
        refuse(ours, format!("spec.volumes[{at}]"), "names that begin with millstream- are the operator's");
    }
    for (at, container) in spec.containers.iter().enumerate().filter(|(_, one)| one.name == CONTAINER) {
        for (field, message) in overrides(container) {
            refuse(true, format!("spec.containers[{at}].{field}"), message);
        }
    }
    let named = spec.init_containers.iter().flatten().any(|container| container.name == CONTAINER);
    refuse(named, "spec.initContainers".into(), "the container millstream is no init container");
}

/// Fields of our container that are not the user's to set.
fn overrides(container: &Container) -> Vec<(String, &'static str)> {
    let mut fields = Vec::new();
    for (is_given, field, message) in [
        (container.command.is_some(), "command", "is the operator's"),
        (container.args.is_some(), "args", "are the operator's"),
        (container.ports.is_some(), "ports", "are the operator's"),
        (container.image.is_some(), "image", "write it as spec.image of the job"),
        (container.resources.is_some(), "resources", "write them as resources beside podTemplate"),
    ] {
        if is_given {
            fields.push((field.to_owned(), message));
        }
    }
    for (at, variable) in container.env.iter().flatten().enumerate() {
        if variable.name.starts_with("MILLSTREAM_") && variable.name != "MILLSTREAM_LOG" {
            fields.push((format!("env[{at}]"), "names that begin with MILLSTREAM_ are the operator's"));
        }
    }
    for (at, mount) in container.volume_mounts.iter().flatten().enumerate() {
        if mount.name.starts_with("millstream-") {
            fields.push((format!("volumeMounts[{at}]"), "names that begin with millstream- are the operator's"));
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ours() -> PodTemplateSpec {
        serde_json::from_value(json!({
            "metadata": {"labels": {"millstream.dev/job": "orders"}},
            "spec": {"containers": [{"name": "millstream", "args": ["worker"], "env": [{"name": "A", "value": "1"}]}],
                     "tolerations": [{"key": "k", "operator": "Exists"}]}
        }))
        .unwrap()
    }

    #[test]
    fn what_the_user_adds_is_merged_into_the_container_of_that_name() {
        let user = json!({
            "metadata": {"labels": {"team": "orders"}},
            "spec": {
                "nodeSelector": {"disk": "ssd"},
                "containers": [
                    {"name": "millstream", "env": [{"name": "B", "value": "2"}], "livenessProbe": {"periodSeconds": 60}},
                    {"name": "logs", "image": "logs:1", "args": ["-f"]}
                ]
            }
        });
        let merged = merge(ours(), &user, "spec.worker.podTemplate").unwrap();
        let spec = merged.spec.unwrap();
        let main = &spec.containers[0];
        assert_eq!(main.args.as_deref(), Some(&["worker".to_owned()][..]));
        assert_eq!(main.env.as_ref().unwrap().len(), 2);
        assert_eq!((spec.containers.len(), spec.node_selector.unwrap()["disk"].as_str()), (2, "ssd"));
        assert_eq!(merged.metadata.unwrap().labels.unwrap().len(), 2);
    }

    #[test]
    fn our_tolerations_stay_unless_the_user_has_some_of_the_same_taint() {
        let merged = |user: Value| {
            let template = merge(ours(), &json!({"spec": {"tolerations": user}}), "spec.worker.podTemplate").unwrap();
            serde_json::to_value(template.spec.unwrap().tolerations).unwrap()
        };
        let ours = json!({"key": "k", "operator": "Exists"});
        let other = json!({"key": "dedicated", "operator": "Exists"});
        assert_eq!(merged(json!([other])), json!([other, ours]));
        let same = json!({"key": "k", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5});
        assert_eq!(merged(json!([same, other])), json!([same, other, ours]), "of another effect");
        let all = json!({"key": "k", "operator": "Exists", "tolerationSeconds": 5});
        assert_eq!(merged(json!([all])), json!([all]));
    }

    #[test]
    fn each_override_is_refused_with_its_path() {
        let user = json!({
            "metadata": {"labels": {"millstream.dev/job": "x"}},
            "spec": {
                "restartPolicy": "Never",
                "serviceAccountName": "admin",
                "automountServiceAccountToken": true,
                "volumes": [{"name": "fine", "emptyDir": {}}, {"name": "millstream-tls", "emptyDir": {}}],
                "containers": [{"name": "millstream", "command": ["sh"], "image": "x",
                                "ports": [{"containerPort": 1}], "env": [{"name": "MILLSTREAM_POD_IP", "value": "x"}]}],
                "priorityClas": "high",
                "dnsConfig": {"nameserver": ["1.1.1.1"]}
            }
        });
        let refused = merge(ours(), &user, "spec.worker.podTemplate").unwrap_err();
        let paths: Vec<&str> =
            refused.iter().map(|refused| refused.path.trim_start_matches("spec.worker.podTemplate.")).collect();
        assert_eq!(
            paths,
            [
                "spec.priorityClas",
                "spec.dnsConfig.nameserver",
                "metadata.labels.millstream.dev/job",
                "spec.restartPolicy",
                "spec.serviceAccountName",
                "spec.automountServiceAccountToken",
                "spec.volumes[1]",
                "spec.containers[0].command",
                "spec.containers[0].ports",
                "spec.containers[0].image",
                "spec.containers[0].env[0]",
            ]
        );
    }

    #[test]
    fn a_value_of_the_wrong_type_says_where() {
        let user = json!({"spec": {"containers": [{"name": "millstream", "env": "none"}]}});
        let refused = merge(ours(), &user, "spec.worker.podTemplate").unwrap_err();
        assert_eq!(refused[0].path, "spec.worker.podTemplate.spec.containers[0].env");
        assert!(refused[0].message.contains("invalid type"), "{}", refused[0].message);
    }
}
