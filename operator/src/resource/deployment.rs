//! The coordinator of a revision.
use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::{Source, meta, overlay, pod};
use crate::name::Role;

/// The Deployment, without a number of replicas: that is decided at each turn.
pub fn coordinator(source: Source<'_>) -> Result<Deployment, Vec<overlay::Refused>> {
    let (job, revision) = (source.job, source.revision);
    Ok(Deployment {
        metadata: meta(job, job.workload(Role::Coordinator, revision), Some(Role::Coordinator), Some(revision)),
        spec: Some(DeploymentSpec {
            // Never two coordinators by plan; a term in the store fences those that are there by accident.
            strategy: Some(DeploymentStrategy { type_: Some("Recreate".into()), ..DeploymentStrategy::default() }),
            selector: LabelSelector {
                match_labels: Some(job.selector_of(Role::Coordinator, revision)),
                ..LabelSelector::default()
            },
            template: pod::template(source, Role::Coordinator)?,
            // Old ReplicaSets are of no use: another template is another Deployment.
            revision_history_limit: Some(0),
            ..DeploymentSpec::default()
        }),
        ..Deployment::default()
    })
}
