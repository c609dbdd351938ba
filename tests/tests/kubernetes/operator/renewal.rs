//! A job's certificates over their life: made once, renewed at two thirds of it, by one of two operators that try at once.
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, ResourceExt};
use millstream_operator::clock::now_ms;
use millstream_operator::credential::{Change, ensure as credentials, read};
use millstream_operator::name::Identity;
use serde_json::json;

use super::Place;

const LIFE: Duration = Duration::from_secs(3 * 86_400);
const DAY_MS: i64 = 86_400_000;

#[tokio::test]
async fn leaves_are_renewed_at_two_thirds_of_their_life_and_everything_else_stays() -> Result<()> {
    let place = Place::new("renewal").await?;
    let job = place.apply(json!({"suspend": true})).await?;
    let (name, uid) = (job.name_any(), job.uid().context("no uid")?);
    let identity = Identity { namespace: place.namespace.clone(), name, uid };
    let (client, now) = (&place.client, now_ms());
    let at = async |days: f64| credentials(client, &identity, now + (days * DAY_MS as f64) as i64, LIFE).await;

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
