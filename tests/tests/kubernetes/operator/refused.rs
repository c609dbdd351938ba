//! What a quota refuses of a job that has just begun.
use anyhow::{Result, ensure};
use k8s_openapi::api::apps::v1::{ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams};
use kube::{Api, ResourceExt};
use millstream_api::crd::{ConditionType, StreamJob};
use millstream_tests::process::until;
use serde_json::json;

use super::{LIMIT, Place, condition, is};

const TOUCHED: &str = "millstream.dev/asked-again";

#[tokio::test]
async fn a_job_whose_objects_are_refused_says_which_and_why() -> Result<()> {
    let place = Place::new("objects").await?;
    place.server.controllers().await?;
    let quotas = place.forbid("services").await?;
    let operator = place.operator().await?;
    let job = place.apply(json!({})).await?;
    let is_refused = |job: &StreamJob| is(job, ConditionType::Ready, "False", "QuotaExceeded");
    let seen = until("what is refused", LIMIT, async || Ok(Some(place.jobs.get("orders").await?).filter(is_refused)));
    let seen = seen.await?;
    let words = condition(&seen, ConditionType::Ready).2;
    ensure!(words.contains("cannot apply the Service orders") && words.contains("exceeded quota: none"), "{words}");
    quotas.delete("none", &DeleteParams::default()).await?;
    place.dealt(&job).await?;
    operator.stop().await
}

#[tokio::test]
async fn pods_that_are_refused_are_asked_for_again_every_half_minute() -> Result<()> {
    let place = Place::new("refused").await?;
    place.server.controllers().await?;
    let quotas = place.forbid("pods").await?;
    let operator = place.operator().await?;
    let job = place.apply(json!({})).await?;
    let is_refused = |job: &StreamJob| is(job, ConditionType::Ready, "False", "QuotaExceeded");
    place.status(&job, "what is refused", is_refused).await?;
    let sets = Api::<StatefulSet>::namespaced(place.client.clone(), &place.namespace);
    let replica_sets = Api::<ReplicaSet>::namespaced(place.client.clone(), &place.namespace);
    let all = ListParams::default();
    let touched = async || {
        let of_workers = sets.list(&all).await?.iter().all(|set| set.annotations().contains_key(TOUCHED));
        let of_coordinators = replica_sets.list(&all).await?.iter().all(|set| set.annotations().contains_key(TOUCHED));
        Ok((of_workers && of_coordinators).then_some(()))
    };
    until("what makes their controllers try again", LIMIT * 2, touched).await?;
    quotas.delete("none", &DeleteParams::default()).await?;
    let pods = Api::<Pod>::namespaced(place.client.clone(), &place.namespace);
    let made = async || Ok((pods.list(&all).await?.items.len() == 2).then_some(()));
    until("pods", LIMIT * 2, made).await?;
    operator.stop().await
}
