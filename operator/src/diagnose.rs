//! What pods suffer from, in the words of the status. Pure.
use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use millstream_api::crd::{REVISION_LABEL, ROLE_LABEL, Reason};
use serde::Deserialize;

use crate::name::{CONTAINER, Role};
use crate::resource::pod::JOB_FILE;

/// A crash or a full memory counts until its pod has been ready for this long.
const CURED_MS: i64 = 60_000;
/// Role of a pod that checks a revision. It is none of the job's own.
pub const CHECK: &str = "check";
/// Exit code of a process that no restart cures.
const USER_ERROR: i32 = 2;

/// What is wrong with a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// In one word.
    pub reason: Reason,
    /// Which pod, if there is one.
    pub pod: Option<String>,
    /// In words.
    pub message: String,
    /// When, if it has a time: it ended then.
    pub at_ms: Option<i64>,
    /// No restart cures it: the spec is wrong.
    pub is_final: bool,
}

impl Trouble {
    /// One that has no time and may pass.
    pub fn new(reason: Reason, pod: Option<&Pod>, message: String) -> Self {
        Self { reason, pod: pod.map(ResourceExt::name_any), message, at_ms: None, is_final: false }
    }
}

/// The line that our processes leave when they end.
#[derive(Debug, Deserialize)]
struct LastWords {
    reason: String,
    message: String,
}

/// The role of a pod.
pub fn role(pod: &Pod) -> Option<Role> {
    match pod.labels().get(ROLE_LABEL).map(String::as_str) {
        Some("coordinator") => Some(Role::Coordinator),
        Some("worker") => Some(Role::Worker),
        _ => None,
    }
}

/// Whether it is there to check a revision.
pub fn is_check(pod: &Pod) -> bool {
    pod.labels().get(ROLE_LABEL).is_some_and(|role| role == CHECK)
}

/// The revision of a pod.
pub fn revision(pod: &Pod) -> Option<&str> {
    pod.labels().get(REVISION_LABEL).map(String::as_str)
}

/// Whether it is about to go.
pub fn is_going(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

/// Whether nothing of it will ever run again: a kubelet has evicted or refused it. A Deployment leaves such pods there.
pub fn is_over(pod: &Pod) -> bool {
    pod.status.as_ref().is_some_and(|status| matches!(status.phase.as_deref(), Some("Failed" | "Succeeded")))
}

/// Whether it is ready.
pub fn is_ready(pod: &Pod) -> bool {
    ready_since_ms(pod).is_some()
}

fn ready_since_ms(pod: &Pod) -> Option<i64> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let ready = conditions.iter().find(|condition| condition.type_ == "Ready" && condition.status == "True")?;
    Some(ready.last_transition_time.as_ref().map_or(0, ms))
}

fn ms(time: &Time) -> i64 {
    Timestamp::as_millisecond(time.0)
}

/// What stands in the way of a pod now.
pub fn trouble(pod: &Pod, now_ms: i64) -> Option<Trouble> {
    if is_going(pod) {
        return None;
    }
    let status = pod.status.as_ref()?;
    let say = |reason: Reason, message: String| Trouble::new(reason, Some(pod), message);
    if status.reason.as_deref() == Some("Evicted") {
        return Some(say(Reason::Evicted, status.message.clone().unwrap_or_default()));
    }
    let unschedulable = status.conditions.iter().flatten().find(|condition| {
        condition.type_ == "PodScheduled"
            && condition.status == "False"
            && condition.reason.as_deref() == Some("Unschedulable")
    });
    if let Some(condition) = unschedulable {
        return Some(say(Reason::Unschedulable, condition.message.clone().unwrap_or_default()));
    }
    let containers = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
    containers.filter_map(|container| in_container(pod, container, now_ms)).next()
}

fn in_container(pod: &Pod, container: &ContainerStatus, now_ms: i64) -> Option<Trouble> {
    let waiting = container.state.as_ref().and_then(|state| state.waiting.as_ref());
    let why = waiting.and_then(|waiting| waiting.reason.as_deref()).unwrap_or_default();
    let words = || waiting.and_then(|waiting| waiting.message.clone()).unwrap_or_else(|| why.to_owned());
    let say = |reason: Reason, message: String| Trouble::new(reason, Some(pod), message);
    match why {
        "ErrImagePull"
        | "ImagePullBackOff"
        | "InvalidImageName"
        | "ErrImageNeverPull"
        | "ImageInspectError"
        | "RegistryUnavailable" => {
            return Some(say(Reason::ImagePull, format!("{}: {}", container.image, words())));
        }
        "CreateContainerConfigError" => return Some(say(Reason::ReferenceNotFound, words())),
        "CreateContainerError" | "RunContainerError" => return Some(say(Reason::CrashLoop, words())),
        _ => {}
    }
    let ended = terminated(container)?;
    // A pod that has been well for a while has got over it.
    if ready_since_ms(pod).is_some_and(|since_ms| now_ms - since_ms >= CURED_MS) {
        return None;
    }
    failure(pod, container, ended)
}

/// How the container ended the last time.
fn terminated(container: &ContainerStatus) -> Option<&ContainerStateTerminated> {
    let now = container.state.as_ref().and_then(|state| state.terminated.as_ref());
    now.or_else(|| container.last_state.as_ref().and_then(|state| state.terminated.as_ref()))
}

/// What an end says; `None` if it is none to speak of.
fn failure(pod: &Pod, container: &ContainerStatus, ended: &ContainerStateTerminated) -> Option<Trouble> {
    if ended.exit_code == 0 {
        return None;
    }
    let text = ended.message.clone().unwrap_or_default();
    let words = (container.name == CONTAINER).then(|| last_words(&text)).flatten();
    let is_final = ended.exit_code == USER_ERROR && words.is_some();
    let said =
        words.as_ref().and_then(|words| Reason::ALL.iter().copied().find(|reason| reason.as_str() == words.reason));
    let reason = match ended.reason.as_deref() {
        Some("OOMKilled") => Reason::OOMKilled,
        _ => said.unwrap_or(Reason::CrashLoop),
    };
    let message = match (reason, words) {
        (Reason::OOMKilled, _) => format!("container {} exceeded its memory limit", container.name),
        // Which file it was is of no use to anyone outside the pod.
        (_, Some(words)) => words.message.trim_start_matches(&format!("{JOB_FILE}: ")).to_owned(),
        _ => format!("container {} ended with exit code {}{}", container.name, ended.exit_code, tail(&text)),
    };
    let at_ms = ended.finished_at.as_ref().map(ms);
    Some(Trouble { at_ms, is_final, ..Trouble::new(reason, Some(pod), message) })
}

fn last_words(text: &str) -> Option<LastWords> {
    text.lines().rev().find_map(|line| serde_json::from_str(line.trim()).ok())
}

/// The last line of a log, if that is what there is.
fn tail(text: &str) -> String {
    let line = text.lines().rev().find(|line| !line.trim().is_empty());
    line.map(|line| format!(": {}", line.trim())).unwrap_or_default()
}

/// The newest failure of any pod that is there, overcome or not.
pub fn last_failure<'a>(pods: impl IntoIterator<Item = &'a Pod>) -> Option<Trouble> {
    let ends = pods.into_iter().filter(|pod| !is_check(pod)).flat_map(|pod| {
        let containers = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
        let ends = containers.filter_map(move |container| failure(pod, container, terminated(container)?));
        eviction(pod).into_iter().chain(ends)
    });
    // Of two at a time the first is told: the eviction, and not the end it brought.
    ends.filter(|trouble| trouble.at_ms.is_some()).min_by_key(|trouble| std::cmp::Reverse(trouble.at_ms))
}

/// That a kubelet took a pod's place away, and when its last container had ended.
pub fn eviction(pod: &Pod) -> Option<Trouble> {
    let trouble = trouble(pod, i64::MAX).filter(|trouble| trouble.reason == Reason::Evicted)?;
    let containers = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    let at_ms = containers.filter_map(|container| failure(pod, container, terminated(container)?)?.at_ms).max();
    Some(Trouble { at_ms, ..trouble })
}

/// Why the API server refuses pods, from the words of the controller that wanted them.
pub fn refusal(message: &str) -> Trouble {
    let reason = if message.contains("exceeded quota") {
        Reason::QuotaExceeded
    } else if message.contains("PodSecurity") || message.contains("violates") {
        Reason::PodSecurity
    } else {
        Reason::Deploying
    };
    Trouble::new(reason, None, message.to_owned())
}

/// Which trouble is told first: what a person has to mend, then what may pass.
pub fn rank(reason: Reason) -> u8 {
    match reason {
        Reason::InvalidSql | Reason::UnknownStage | Reason::StateMismatch | Reason::ReferenceNotFound => 0,
        Reason::ImagePull | Reason::QuotaExceeded | Reason::PodSecurity => 1,
        Reason::OOMKilled => 2,
        Reason::StoreUnreachable => 3,
        Reason::CrashLoop => 4,
        Reason::Unschedulable => 5,
        _ => 6,
    }
}

#[cfg(test)]
mod tests;
