//! The pods of both roles: what they run, what they are given, what they may do.
use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Capabilities, ConfigMapVolumeSource, Container, ContainerPort, EmptyDirVolumeSource, HTTPGetAction,
    LocalObjectReference, PersistentVolumeClaimVolumeSource, PodSecurityContext, PodSpec, PodTemplateSpec, Probe,
    ResourceRequirements, SeccompProfile, SecretVolumeSource, SecurityContext, Toleration, TopologySpreadConstraint,
    Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use millstream_api::job::{Resources, parse_quantity};

use super::{Source, overlay};
use crate::name::{CONTAINER, Role, port};

mod environment;
mod volume;

pub(super) use environment::credentials;
pub use volume::{DATA_VOLUME, JOB_FILE, STORE};
pub(super) use volume::{shared_mounts, shared_volumes};

/// The user of the image, who owns nothing.
const USER: i64 = 65_532;
/// A node that is gone this long has lost its pods: jobs restore on what is left instead of waiting for it.
const NODE_LOSS_SECONDS: i64 = 30;
/// Time a coordinator has to end; it hands nothing over.
const COORDINATOR_GRACE_SECONDS: i64 = 30;

/// The template of a role's pods, with the user's on top.
pub fn template(source: Source<'_>, role: Role) -> Result<PodTemplateSpec, Vec<overlay::Refused>> {
    let (job, spec) = (source.job, source.spec);
    let mut annotations = BTreeMap::new();
    if role == Role::Worker {
        // It hands its groups over when it is asked to go, so a node may be emptied for it.
        annotations.insert("cluster-autoscaler.kubernetes.io/safe-to-evict".to_owned(), "true".to_owned());
    }
    let grace = match role {
        Role::Coordinator => COORDINATOR_GRACE_SECONDS,
        Role::Worker => i64::from(spec.worker.termination_grace_period_seconds),
    };
    let template = PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(job.labels(Some(role), Some(source.revision))),
            annotations: Some(annotations).filter(|annotations| !annotations.is_empty()),
            ..ObjectMeta::default()
        }),
        spec: Some(PodSpec {
            containers: vec![container(source, role, grace)],
            volumes: Some(volume::volumes(source, role)),
            service_account_name: Some(spec.service_account_name.clone().unwrap_or_else(|| job.account())),
            automount_service_account_token: Some(false),
            enable_service_links: Some(false),
            image_pull_secrets: pull_secrets(source),
            security_context: Some(pod_security()),
            termination_grace_period_seconds: Some(grace),
            tolerations: Some(tolerations()),
            topology_spread_constraints: (role == Role::Worker).then(|| spread(source)),
            ..PodSpec::default()
        }),
    };
    let (path, user) = match role {
        Role::Coordinator => ("spec.coordinator.podTemplate", &spec.coordinator.pod_template),
        Role::Worker => ("spec.worker.podTemplate", &spec.worker.pod_template),
    };
    match user {
        Some(user) => overlay::merge(template, user, path),
        None => Ok(template),
    }
}

fn container(source: Source<'_>, role: Role, grace: i64) -> Container {
    let spec = source.spec;
    let ports: &[(&str, u16)] = match role {
        Role::Coordinator => &[("control", port::CONTROL), ("api", port::API), ("admin", port::ADMIN)],
        Role::Worker => &[("data", port::DATA), ("admin", port::ADMIN)],
    };
    let ports = ports.iter().map(|(name, port)| ContainerPort {
        name: Some((*name).to_owned()),
        container_port: i32::from(*port),
        protocol: Some("TCP".into()),
        ..ContainerPort::default()
    });
    let args = ["--job", volume::JOB_FILE, "--tls", volume::TLS, "--data", volume::DATA];
    let args = std::iter::once(role.as_str()).chain(args).map(str::to_owned).collect();
    let resources = match role {
        Role::Coordinator => resources(&spec.coordinator.resources, "50m", 128 << 20),
        Role::Worker => {
            let memory = parse_quantity(&spec.state.memory).unwrap_or_default();
            resources(&spec.worker.resources, "100m", memory + (256 << 20))
        }
    };
    Container {
        name: CONTAINER.into(),
        image: Some(source.image.to_owned()),
        image_pull_policy: Some(format!("{:?}", spec.image_pull_policy)),
        args: Some(args),
        env: Some(environment::environment(source, grace)),
        ports: Some(ports.collect()),
        resources: Some(resources),
        readiness_probe: Some(probe("/readyz", 2, 3)),
        // Ten misses in a row: a process that is slow under load is not to be killed.
        liveness_probe: Some(Probe { initial_delay_seconds: Some(10), ..probe("/healthz", 6, 10) }),
        security_context: Some(container_security()),
        // Errors come as a line in the termination message; a panic or the linker's words come from the log.
        termination_message_policy: Some("FallbackToLogsOnError".into()),
        volume_mounts: Some(volume::mounts(source)),
        ..Container::default()
    }
}

fn probe(path: &str, period_seconds: i32, failures: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String("admin".into()),
            scheme: Some("HTTP".into()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period_seconds),
        timeout_seconds: Some(2),
        failure_threshold: Some(failures),
        ..Probe::default()
    }
}

/// What the user says, or requests that make a pod schedulable where quotas want some.
pub(super) fn resources(given: &Resources, cpu: &str, memory_bytes: u64) -> ResourceRequirements {
    let quantities = |amounts: &BTreeMap<String, millstream_api::job::Amount>| {
        amounts.iter().map(|(name, amount)| (name.clone(), Quantity(amount.0.clone()))).collect()
    };
    if given.is_empty() {
        let memory = format!("{}Mi", memory_bytes.div_ceil(1 << 20));
        let requests = [("cpu", cpu.to_owned()), ("memory", memory)];
        let requests = requests.map(|(name, amount)| (name.to_owned(), Quantity(amount)));
        return ResourceRequirements { requests: Some(requests.into()), ..ResourceRequirements::default() };
    }
    ResourceRequirements {
        requests: Some(quantities(&given.requests)).filter(|requests: &BTreeMap<_, _>| !requests.is_empty()),
        limits: Some(quantities(&given.limits)).filter(|limits: &BTreeMap<_, _>| !limits.is_empty()),
        ..ResourceRequirements::default()
    }
}

pub(super) fn pull_secrets(source: Source<'_>) -> Option<Vec<LocalObjectReference>> {
    let secrets = source.spec.image_pull_secrets.iter();
    let secrets: Vec<_> = secrets.map(|secret| LocalObjectReference { name: secret.name.clone() }).collect();
    Some(secrets).filter(|secrets| !secrets.is_empty())
}

/// What the Pod Security level `restricted` asks of a pod.
pub(super) fn pod_security() -> PodSecurityContext {
    PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: Some(USER),
        run_as_group: Some(USER),
        fs_group: Some(USER),
        seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".into(), ..SeccompProfile::default() }),
        ..PodSecurityContext::default()
    }
}

/// What it asks of a container, and a root file system that cannot be written.
pub(super) fn container_security() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        capabilities: Some(Capabilities { drop: Some(vec!["ALL".into()]), ..Capabilities::default() }),
        read_only_root_filesystem: Some(true),
        ..SecurityContext::default()
    }
}

pub(super) fn tolerations() -> Vec<Toleration> {
    let toleration = |taint: &str| Toleration {
        key: Some(format!("node.kubernetes.io/{taint}")),
        operator: Some("Exists".into()),
        effect: Some("NoExecute".into()),
        toleration_seconds: Some(NODE_LOSS_SECONDS),
        ..Toleration::default()
    };
    ["not-ready", "unreachable"].map(toleration).into()
}

/// Spread over nodes and zones where that is possible: a node that fails then takes few workers along.
fn spread(source: Source<'_>) -> Vec<TopologySpreadConstraint> {
    let labels = source.job.selector_of(Role::Worker, source.revision);
    let constraint = |topology_key: &str| TopologySpreadConstraint {
        max_skew: 1,
        topology_key: topology_key.to_owned(),
        when_unsatisfiable: "ScheduleAnyway".into(),
        label_selector: Some(LabelSelector { match_labels: Some(labels.clone()), ..LabelSelector::default() }),
        ..TopologySpreadConstraint::default()
    };
    vec![constraint("kubernetes.io/hostname"), constraint("topology.kubernetes.io/zone")]
}

fn volume(name: &str) -> Volume {
    Volume { name: name.to_owned(), ..Volume::default() }
}

fn empty_dir(name: &str, size: &str) -> Volume {
    let source =
        EmptyDirVolumeSource { size_limit: Some(Quantity(size.to_owned())), ..EmptyDirVolumeSource::default() };
    Volume { empty_dir: Some(source), ..volume(name) }
}

fn config_map(name: &str, map: String) -> Volume {
    Volume { config_map: Some(ConfigMapVolumeSource { name: map, ..ConfigMapVolumeSource::default() }), ..volume(name) }
}

fn secret(name: &str, secret: String) -> Volume {
    // Readable for the group of the pod alone: the files hold keys.
    let source =
        SecretVolumeSource { secret_name: Some(secret), default_mode: Some(0o440), ..SecretVolumeSource::default() };
    Volume { secret: Some(source), ..volume(name) }
}

fn claim(name: &str, claim: &str) -> Volume {
    let source = PersistentVolumeClaimVolumeSource { claim_name: claim.to_owned(), read_only: None };
    Volume { persistent_volume_claim: Some(source), ..volume(name) }
}

fn mount(name: &str, path: &str, read_only: bool) -> VolumeMount {
    VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: read_only.then_some(true),
        ..VolumeMount::default()
    }
}
