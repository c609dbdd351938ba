//! The workers of a revision.
use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetSpec, StatefulSetUpdateStrategy};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::{Source, meta, overlay, pod};
use crate::name::Role;

/// The StatefulSet, without a number of replicas: that is decided at each turn.
pub fn workers(source: Source<'_>) -> Result<StatefulSet, Vec<overlay::Refused>> {
    let (job, revision) = (source.job, source.revision);
    Ok(StatefulSet {
        metadata: meta(job, job.workload(Role::Worker, revision), Some(Role::Worker), Some(revision)),
        spec: Some(StatefulSetSpec {
            service_name: Some(job.workers_service()),
            // Workers do not wait for each other, neither up nor down.
            pod_management_policy: Some("Parallel".into()),
            update_strategy: Some(StatefulSetUpdateStrategy {
                // The template never changes; if someone changes it by hand, running pods stay as they are.
                type_: Some("OnDelete".into()),
                ..StatefulSetUpdateStrategy::default()
            }),
            revision_history_limit: Some(0),
            selector: LabelSelector {
                match_labels: Some(job.selector_of(Role::Worker, revision)),
                ..LabelSelector::default()
            },
            template: pod::template(source, Role::Worker)?,
            ..StatefulSetSpec::default()
        }),
        ..StatefulSet::default()
    })
}
