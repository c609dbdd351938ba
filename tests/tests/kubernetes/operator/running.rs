//! A job that runs, and what others do to it.
use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{Namespace, Pod, Service};
use k8s_openapi::api::events::v1::Event;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use millstream_api::crd::{ConditionType, StreamJob};
use millstream_tests::operator::check::Passing;
use millstream_tests::operator::wire::Wire;
use millstream_tests::operator::{Operator, check, options};
use millstream_tests::process::until;
use serde_json::json;

use super::{LIMIT, Place, is, runs};

/// Name and uid of each pod.
async fn pods(place: &Place) -> Result<Vec<(String, Option<String>)>> {
    let pods = Api::<Pod>::namespaced(place.client.clone(), &place.namespace).list(&ListParams::default()).await?;
    Ok(pods.into_iter().map(|pod| (pod.name_any(), pod.uid())).collect())
}

#[tokio::test]
async fn a_status_that_is_erased_changes_nothing_of_a_job_that_runs() -> Result<()> {
    let place = Place::new("erased").await?;
    let wire = Wire::new(None);
    let (coordinator, _kubelets) = place.played(&wire).await?;
    let operator = Operator::on(place.server, options(&place.namespace), wire).await?;
    let job = place.apply(json!({"parallelism": 2})).await?;
    let job = place.status(&job, "two tasks", |job| runs(job, 2)).await?;
    let (objects, before, changes) = (place.objects(&job).await?, pods(&place).await?, coordinator.changes());
    assert_eq!(changes, ["begins", "rescale to 2"]);
    // By an operator that remembers it, and by one that does not.
    let mut operator = Some(operator);
    for remembers in [true, false] {
        if !remembers && let Some(operator) = operator.take() {
            operator.stop().await?;
        }
        place.jobs.patch_status("orders", &PatchParams::default(), &Patch::Merge(json!({"status": null}))).await?;
        if operator.is_none() {
            operator = Some(place.operator().await?);
        }
        let rebuilt = place.status(&job, "the same status", |job| runs(job, 2)).await?;
        let known =
            |job: &StreamJob| job.status.clone().map(|status| (status.revision, status.stages, status.operator));
        assert_eq!(known(&rebuilt), known(&job));
        assert_eq!(pods(&place).await?, before);
        ensure!(place.objects(&job).await? == objects, "an object is another one");
        assert_eq!(coordinator.changes(), changes);
    }
    Ok(())
}

#[tokio::test]
async fn what_changes_in_place_needs_no_other_pod() -> Result<()> {
    let place = Place::new("kept").await?;
    let wire = Wire::new(None);
    let (coordinator, _kubelets) = place.played(&wire).await?;
    let operator = Operator::on(place.server, options(&place.namespace), wire).await?;
    place.status(&place.apply(json!({})).await?, "a job that runs", |job| runs(job, 1)).await?;
    let before = pods(&place).await?;
    place.apply(json!({"checkpoint": {"keep": 7}})).await?;
    let asked = async || Ok((coordinator.changes() == ["begins", "keep 7"]).then_some(()));
    until("another number of checkpoints", LIMIT, asked).await?;
    operator.look().await?;
    assert_eq!(coordinator.changes(), ["begins", "keep 7"], "once");
    assert_eq!(pods(&place).await?, before);
    operator.stop().await
}

#[tokio::test]
async fn a_job_that_has_grown_begins_again_as_large() -> Result<()> {
    let place = Place::new("grown").await?;
    let _checks = Passing::begin(&place.client, &place.namespace);
    let wire = Wire::new(None);
    let (coordinator, _kubelets) = place.played(&wire).await?;
    let operator = Operator::on(place.server, options(&place.namespace), wire).await?;
    place.status(&place.apply(json!({"parallelism": 2})).await?, "two tasks", |job| runs(job, 2)).await?;
    // From now on the spec says where a job begins that has nothing to go on from.
    let job = place.apply(json!({"parallelism": 1, "autoscaling": {"mode": "Auto", "maxParallelism": 4}})).await?;
    let job = place.status(&job, "the same tasks", |job| runs(job, 2)).await?;
    let revision = |job: &StreamJob| job.status.clone().and_then(|status| status.revision);
    let again = json!({"metadata": {"annotations": {"millstream.dev/restart": "1"}}});
    place.jobs.patch("orders", &PatchParams::default(), &Patch::Merge(again)).await?;
    let begun = place.status(&job, "as many tasks", |now| runs(now, 2) && revision(now) != revision(&job)).await?;
    ensure!(begun.spec.parallelism == 1);
    assert_eq!(coordinator.changes(), ["begins", "rescale to 2", "stop, leaves Checkpoint", "begins"]);
    operator.stop().await
}

#[tokio::test]
async fn what_somebody_changes_back_at_once_is_applied_no_more_than_once_a_minute() -> Result<()> {
    let place = Place::new("contested").await?;
    let operator = place.operator().await?;
    place.dealt(&place.apply(json!({})).await?).await?;
    let services = Api::<Service>::namespaced(place.client.clone(), &place.namespace);
    let role = "millstream.dev/role";
    let change = async |to: &str| {
        let other = Patch::Merge(json!({"spec": {"selector": {role: to}}}));
        services.patch("orders-coordinator", &PatchParams::default(), &other).await
    };
    let selected = async || {
        let selector = services.get("orders-coordinator").await?.spec.and_then(|spec| spec.selector);
        anyhow::Ok(selector.and_then(|selector| selector.get(role).cloned()).unwrap_or_default())
    };
    change("theirs").await?;
    until("our selector", LIMIT, async || Ok((selected().await? == "coordinator").then_some(()))).await?;
    change("theirs-again").await?;
    let events = Api::<Event>::namespaced(place.client.clone(), &place.namespace);
    let told = async || {
        let all = events.list(&ListParams::default()).await?;
        Ok(all.into_iter().find(|event| event.reason.as_deref() == Some("Contested")))
    };
    let event = until("an event", LIMIT, told).await?;
    let note = event.note.unwrap_or_default();
    ensure!(note.contains("Service orders-coordinator") && note.contains("spec.selector"), "{note}");
    operator.look().await?;
    assert_eq!(selected().await?, "theirs-again");
    operator.stop().await
}

/// Allows no pods that ask for much.
async fn restrict(place: &Place) -> Result<()> {
    let namespaces = Api::<Namespace>::all(place.client.clone());
    let enforce = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}});
    namespaces.patch(&place.namespace, &PatchParams::default(), &Patch::Merge(enforce)).await?;
    Ok(())
}

#[tokio::test]
async fn a_coordinator_that_the_namespace_forbids_takes_no_place() -> Result<()> {
    let place = Place::new("forbidden").await?;
    restrict(&place).await?;
    let operator = place.operator().await?;
    let job = place.dealt(&place.apply(json!({})).await?).await?;
    let before = place.objects(&job).await?;
    let other = place.apply(json!({"coordinator": {"podTemplate": {"spec": {"hostNetwork": true}}}})).await?;
    let mut last = None;
    until("why it is not run", LIMIT, async || {
        let now = place.jobs.get("orders").await?;
        last = Some(super::condition(&now, ConditionType::Accepted));
        Ok(is(&now, ConditionType::Accepted, "Unknown", "PodSecurity").then_some(()))
    })
    .await
    .with_context(|| format!("{last:?}"))?;
    operator.look().await?;
    let after = place.objects(&other).await?;
    let workloads = |objects: &std::collections::BTreeMap<String, serde_json::Value>| {
        objects.keys().filter(|name| name.starts_with("Deployment/") || name.starts_with("StatefulSet/")).count()
    };
    assert_eq!(workloads(&after), workloads(&before));
    ensure!(check::pods(&place.client, &place.namespace).await?.is_empty(), "there is nothing to check yet");
    operator.stop().await
}

#[tokio::test]
async fn pods_that_the_namespace_forbids_are_told_by_their_reason() -> Result<()> {
    let place = Place::new("forbidden").await?;
    place.server.controllers().await?;
    restrict(&place).await?;
    let operator = place.operator().await?;
    let job = place.apply(json!({"worker": {"podTemplate": {"spec": {"hostNetwork": true}}}})).await?;
    let is_forbidden = |job: &StreamJob| is(job, ConditionType::Ready, "False", "PodSecurity");
    let told = place.status(&job, "why there are no workers", is_forbidden).await?;
    let message = super::condition(&told, ConditionType::Ready).2;
    ensure!(message.contains("restricted") && message.contains("host"), "{message}");
    operator.stop().await
}
