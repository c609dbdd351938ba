//! A job's certificates over their life: made once, renewed at two thirds of it, by one of two operators that try at once.
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{Pod, Secret};
use k8s_openapi::api::events::v1::Event;
use kube::api::{DeleteParams, ListParams};
use kube::{Api, ResourceExt};
use millstream_api::crd::ConditionType;
use millstream_operator::clock::now_ms;
use millstream_operator::credential::{Change, ensure as credentials, read};
use millstream_operator::name::Identity;
use millstream_tests::operator::wire::Wire;
use millstream_tests::operator::{Operator, options};
use millstream_tests::process::until;
use serde_json::json;

use super::{LIMIT, Place, is, runs};

const LIFE: Duration = Duration::from_secs(3 * 86_400);
const DAY_MS: i64 = 86_400_000;

#[tokio::test]
async fn leaves_are_renewed_at_two_thirds_of_their_life_and_everything_else_stays() -> Result<()> {
    let place = Place::new("renewal").await?;
    let job = place.apply(json!({"suspend": true})).await?;
    let (name, uid) = (job.name_any(), job.uid().context("no uid")?);
    let identity = Identity { namespace: place.namespace.clone(), name, uid };
    let (client, now) = (&place.client, now_ms());
    let at = async |days: f64| credentials(client, &identity, None, now + (days * DAY_MS as f64) as i64, LIFE).await;

    let (made, change) = at(0.0).await?;
    assert_eq!((change, made.renew_at_ms), (Change::Made, now + 2 * DAY_MS));
    assert_eq!(at(1.99).await?, (made.clone(), Change::None));
    assert_eq!(read(client, &identity).await?.map(|tls| tls.token), Some(made.token.clone()));

    let (renewed, change) = at(2.01).await?;
    assert_eq!(change, Change::Renewed);
    assert_eq!((&renewed.bundle, &renewed.token), (&made.bundle, &made.token), "who holds these goes on");
    ensure!(renewed.worker != made.worker && renewed.coordinator != made.coordinator, "the leaves are the old ones");
    ensure!(renewed.renew_at_ms > now + 4 * DAY_MS, "{}", renewed.renew_at_ms);

    // Two at once: one write is refused, or comes first and is read; there is one result.
    let (one, two) = tokio::join!(at(4.1), at(4.1));
    ensure!(one.is_ok() || two.is_ok(), "{one:?} {two:?}");
    let kept = read(client, &identity).await?.context("no certificates")?;
    let changes = [one, two].into_iter().flatten().filter(|(tls, _)| *tls == kept).count();
    ensure!(changes >= 1, "neither has what is there");

    // The authority's key is in a Secret of its own, which no renewal writes.
    let secrets = Api::<Secret>::namespaced(client.clone(), &place.namespace);
    let authority = secrets.get(&identity.authority_secret()).await?;
    assert_eq!(authority.metadata.managed_fields.map(|fields| fields.len()), Some(1));
    let keys: Vec<_> = secrets.get(&identity.tls_secret()).await?.data.unwrap_or_default().into_keys().collect();
    assert_eq!(keys, ["ca.crt", "coordinator.crt", "coordinator.key", "token", "worker.crt", "worker.key"]);
    Ok(())
}

#[tokio::test]
async fn a_secret_that_is_removed_comes_back_with_the_token_that_is_remembered() -> Result<()> {
    let place = Place::new("removed").await?;
    let job = place.apply(json!({"suspend": true})).await?;
    let (name, uid) = (job.name_any(), job.uid().context("no uid")?);
    let identity = Identity { namespace: place.namespace.clone(), name, uid };
    let (client, now) = (&place.client, now_ms());
    let secrets = Api::<Secret>::namespaced(client.clone(), &place.namespace);
    let remove = async || secrets.delete(&identity.tls_secret(), &DeleteParams::default()).await;
    let (first, _) = credentials(client, &identity, None, now, LIFE).await?;
    ensure!(first.token_since_ms.is_some(), "{first:?}");
    remove().await?;
    let (again, change) = credentials(client, &identity, Some(&first), now, LIFE).await?;
    assert_eq!((change, &again.token, again.token_since_ms), (Change::Made, &first.token, first.token_since_ms));
    assert_eq!(read(client, &identity).await?.as_ref(), Some(&again));
    remove().await?;
    let (other, _) = credentials(client, &identity, None, now, LIFE).await?;
    ensure!(other.token != first.token && other.token_since_ms >= first.token_since_ms, "{other:?}");
    Ok(())
}

#[tokio::test]
async fn pods_that_know_a_token_which_is_lost_begin_anew() -> Result<()> {
    let place = Place::new("lost").await?;
    let wire = Wire::new(None);
    let (_coordinator, _kubelets) = place.played(&wire).await?;
    let operator = Operator::on(place.server, options(&place.namespace), wire).await?;
    place.status(&place.apply(json!({})).await?, "a job that runs", |job| runs(job, 1)).await?;
    let pods = Api::<Pod>::namespaced(place.client.clone(), &place.namespace);
    let known = async || {
        let all = pods.list(&ListParams::default()).await?.into_iter();
        let times = all.map(|pod| (pod.metadata.uid.clone(), pod.metadata.creation_timestamp.map(|time| time.0)));
        anyhow::Ok(times.collect::<Vec<_>>())
    };
    let before = known().await?;
    operator.stop().await?;
    // Clocks may differ by some seconds.
    let newest = before.iter().filter_map(|(_, made)| *made).max().context("no pod")?.as_millisecond();
    until("later", LIMIT, async || Ok((now_ms() > newest + 8_000).then_some(()))).await?;
    let secrets = Api::<Secret>::namespaced(place.client.clone(), &place.namespace);
    secrets.delete("orders-tls", &DeleteParams::default()).await?;
    let operator = place.operator().await?;
    let replaced = async || {
        let now = known().await?;
        let is_other = now.iter().all(|(uid, _)| before.iter().all(|(old, _)| old != uid));
        Ok((is_other && now.len() == before.len()).then_some(()))
    };
    until("other pods", LIMIT, replaced).await?;
    let events = Api::<Event>::namespaced(place.client.clone(), &place.namespace);
    let told = async || {
        let all = events.list(&ListParams::default()).await?;
        Ok(all.into_iter().find(|event| event.reason.as_deref() == Some("CredentialsLost")))
    };
    until("an event", LIMIT, told).await?;
    operator.stop().await
}

#[tokio::test]
async fn a_suspended_job_whose_secret_was_removed_comes_back_with_another() -> Result<()> {
    let place = Place::new("resumed").await?;
    let operator = place.operator().await?;
    place.dealt(&place.apply(json!({})).await?).await?;
    let job = place.apply(json!({"suspend": true})).await?;
    place.status(&job, "its end", |job| is(job, ConditionType::Ready, "False", "Suspended")).await?;
    let secrets = Api::<Secret>::namespaced(place.client.clone(), &place.namespace);
    secrets.delete("orders-tls", &DeleteParams::default()).await?;
    place.apply(json!({})).await?;
    until("its secret", LIMIT, async || Ok(secrets.get_opt("orders-tls").await?)).await?;
    operator.stop().await
}
