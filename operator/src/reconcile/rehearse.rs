//! Whether the API server would take what a new revision consists of: it is asked with a dry run before anything else is done with
//! the revision. What it refuses cannot be run, and costs nothing. Pure.
//!
//! It is asked about a pod of each role, too: it takes a StatefulSet whatever its pods are, and any object whose pods the namespace
//! forbids.
use k8s_openapi::api::core::v1::PodTemplateSpec;
use kube::api::DynamicObject;
use kube::core::Status;
use millstream_api::crd::Reason;

use super::build::Sized;
use super::decide::Decision;
use super::observe::Observed;
use crate::diagnose::{self, Trouble};
use crate::name::Role;
use crate::revision::Revision;

/// The objects of a revision that is new.
#[derive(Debug, Clone, PartialEq)]
pub struct Rehearsal {
    /// Name of the revision.
    pub revision: String,
    /// A pod of each role.
    pub pods: Vec<(Role, DynamicObject)>,
    /// Its workloads.
    pub workloads: [Sized; 2],
    /// Whether something runs meanwhile that can go on until this can have its pods.
    pub may_wait: bool,
}

/// What was asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// A Deployment or StatefulSet.
    Workload(Role),
    /// A pod.
    Pod(Role),
}

impl About {
    /// Its kind.
    pub fn kind(self) -> String {
        match self {
            Self::Workload(Role::Coordinator) => "Deployment",
            Self::Workload(Role::Worker) => "StatefulSet",
            Self::Pod(_) => "Pod",
        }
        .to_owned()
    }
}

/// A pod as a controller would make it from this workload.
pub fn pod(workload: &Sized, namespace: &str) -> Result<DynamicObject, serde_json::Error> {
    let template = workload.object.pointer("/spec/template").cloned().unwrap_or_default();
    let PodTemplateSpec { metadata, spec } = serde_json::from_value(template)?;
    let mut metadata = metadata.unwrap_or_default();
    (metadata.name, metadata.namespace) = (Some(workload.name.clone()), Some(namespace.to_owned()));
    let data = serde_json::json!({"spec": spec});
    Ok(DynamicObject { types: None, metadata, data })
}

/// The revision that has to be rehearsed: one that is checked, or one that gets its first pods without a check.
pub fn new_revision<'a>(observed: &Observed, decision: &'a Decision) -> Option<&'a Revision> {
    if let Some(check) = &decision.check {
        return Some(&check.revision);
    }
    let target = decision.target.as_ref().filter(|target| target.trial.is_some())?;
    let lacks = |((name, role), replicas): (&(String, Role), &u32)| {
        *name == target.name && *replicas > 0 && observed.workload(name, *role).is_none()
    };
    decision.replicas.iter().any(lacks).then_some(target)
}

/// What the API server says against an object. What is wrong with the object itself is final; what a namespace or a policy forbids
/// may be allowed later. A quota says nothing of the revision: it counts pods that will have gone by then.
pub fn refused(about: About, status: &Status) -> Option<Trouble> {
    if status.code == 403 || is_policy(status) {
        return Some(diagnose::refusal(&status.message)).filter(|trouble| trouble.reason != Reason::QuotaExceeded);
    }
    if ![400, 422].contains(&status.code) {
        return None;
    }
    let causes = status.details.as_ref().map(|details| details.causes.as_slice()).unwrap_or_default();
    let named = causes.iter().filter(|cause| !cause.field.is_empty());
    let said: Vec<String> = named.map(|cause| format!("{}: {}", path(about, &cause.field), cause.message)).collect();
    let message = if said.is_empty() { status.message.clone() } else { said.join("; ") };
    Some(Trouble { is_final: true, ..Trouble::new(Reason::InvalidPodTemplate, None, message) })
}

/// Whether a policy speaks, or a webhook: whatever code these have, what they forbid today they may allow tomorrow. (The API server gives
/// 422 for a policy without a reason, 400 for a webhook without a code; the words are its own.)
fn is_policy(status: &Status) -> bool {
    [400, 422].contains(&status.code)
        && ["ValidatingAdmissionPolicy '", "admission webhook \""].iter().any(|said| status.message.contains(said))
}

/// Where the user wrote it.
fn path(about: About, field: &str) -> String {
    let (role, inner) = match about {
        About::Pod(role) => (role, Some(field)),
        About::Workload(role) => (role, field.strip_prefix("spec.template.")),
    };
    inner.map_or_else(|| field.to_owned(), |inner| format!("spec.{}.podTemplate.{inner}", role.as_str()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(code: u16, causes: &serde_json::Value) -> Status {
        let status = json!({"code": code, "message": "all of it", "details": {"causes": causes}});
        serde_json::from_value(status).unwrap()
    }

    #[test]
    fn what_the_object_is_refused_for_is_told_where_the_user_wrote_it() {
        let selector = json!([
            {"field": "spec.template.spec.nodeSelector", "message": "Invalid value: \"a b\"", "reason": "FieldValueInvalid"},
            {"field": "metadata.labels", "message": "Too long", "reason": "FieldValueTooLong"}]);
        let found = refused(About::Workload(Role::Coordinator), &said(422, &selector)).unwrap();
        assert_eq!((found.is_final, found.reason), (true, Reason::InvalidPodTemplate));
        let message =
            "spec.coordinator.podTemplate.spec.nodeSelector: Invalid value: \"a b\"; metadata.labels: Too long";
        assert_eq!(found.message, message);
        let worker = About::Pod(Role::Worker);
        assert_eq!(refused(worker, &said(400, &json!([]))).unwrap().message, "all of it");
        let name = json!([{"field": "metadata.annotations", "message": "Too long", "reason": "FieldValueTooLong"}]);
        let message = "spec.worker.podTemplate.metadata.annotations: Too long";
        assert_eq!(refused(worker, &said(422, &name)).unwrap().message, message);
        assert_eq!(refused(worker, &said(409, &selector)), None, "it says nothing of the object");
        let quota = Status { message: "exceeded quota: small".into(), ..said(403, &json!([])) };
        assert_eq!(refused(worker, &quota), None);
        let policy = Status { message: "admission webhook denied the request".into(), ..said(403, &json!([])) };
        assert!(!refused(worker, &policy).unwrap().is_final);
        for (code, message) in [
            (
                422,
                "pods \"a\" is forbidden: ValidatingAdmissionPolicy 'team' with binding 'team' denied request: no team",
            ),
            (400, "admission webhook \"team.example.com\" denied the request: no team"),
        ] {
            let found = refused(worker, &Status { message: message.into(), ..said(code, &json!([])) }).unwrap();
            assert_eq!((found.is_final, found.message.as_str()), (false, message));
        }
        let forbids = Status { message: "violates PodSecurity \"restricted:latest\"".into(), ..said(403, &json!([])) };
        let found = refused(worker, &forbids).unwrap();
        assert_eq!((found.is_final, found.reason), (false, Reason::PodSecurity));
    }
}
