//! The disruption budget: whoever evicts pods on purpose takes one worker at a time. The coordinator has none: it comes back
//! within seconds and its tasks run on meanwhile, while a budget of one pod would block every drain.
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::meta;
use crate::name::{Identity, Role};

/// The budget of a job's workers.
pub fn budget(job: &Identity) -> PodDisruptionBudget {
    let selector = LabelSelector { match_labels: Some(job.selector(Role::Worker)), ..LabelSelector::default() };
    PodDisruptionBudget {
        metadata: meta(job, job.budget(), Some(Role::Worker), None),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(1)),
            selector: Some(selector),
            // A worker that is not ready has nothing to hand over and must not hold up a drain.
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".into()),
            ..PodDisruptionBudgetSpec::default()
        }),
        ..PodDisruptionBudget::default()
    }
}
