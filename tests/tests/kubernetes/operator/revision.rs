//! A change of spec: checked by a pod before anything of the old revision is touched.
use anyhow::{Context, Result, ensure};
use kube::ResourceExt;
use kube::api::DeleteParams;
use millstream_api::crd::{ConditionType, StreamJob};
use millstream_tests::operator::check::{ended, play, pods};
use millstream_tests::process::until;
use serde_json::json;

use super::{LIMIT, Place, condition, is, replicas};

/// Waits until the condition Accepted has this status and reason for the job as it was applied.
async fn accepted(place: &Place, job: &StreamJob, status: &str, reason: &str) -> Result<StreamJob> {
    until(reason, LIMIT, async || {
        let now = place.jobs.get("orders").await?;
        let conditions = now.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
        let found = conditions.iter().find(|condition| condition.type_ == "Accepted");
        let is_about = found.is_some_and(|found| found.observed_generation == job.metadata.generation);
        Ok((is_about && is(&now, ConditionType::Accepted, status, reason)).then_some(now))
    })
    .await
    .with_context(|| format!("{status} {reason}"))
}

fn told(job: &StreamJob) -> Option<i64> {
    job.status.as_ref()?.observed_generation
}

#[tokio::test]
async fn a_spec_that_fails_its_check_touches_nothing_and_a_good_one_takes_over() -> Result<()> {
    let place = Place::new("checked").await?;
    let operator = place.operator().await?;
    let first = place.dealt(&place.apply(json!({"parallelism": 2})).await?).await?;
    let before = place.objects(&first).await?;
    ensure!(pods(&place.client, &place.namespace).await?.is_empty(), "there is nothing to spare at the first start");

    let bad = place.apply(json!({"parallelism": 2, "image": "r/m:bad"})).await?;
    let checking = accepted(&place, &bad, "Unknown", "Checking").await?;
    ensure!(told(&checking) == told(&first), "whoever waits for the new spec must not be told of the old one");
    let operation = checking.status.as_ref().and_then(|status| status.operation.clone()).context("no operation")?;
    assert_eq!(format!("{:?} {:?}", operation.kind, operation.step), "Redeploy Checking");

    // Its image cannot be pulled: nobody knows whether it is good.
    let waiting = json!({"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}});
    let pulling = json!({"phase": "Pending", "containerStatuses": [
        {"name": "millstream", "image": "r/m:bad", "imageID": "", "ready": false, "restartCount": 0, "state": waiting}]});
    let pod = play(&place.client, &place.namespace, &pulling).await?;
    let spec = pod.spec.as_ref().context("no spec")?;
    let args = spec.containers[0].args.clone().unwrap_or_default().join(" ");
    let uid = first.metadata.uid.clone().unwrap_or_default();
    let folder = format!("--against s3://bucket/jobs/{}/orders/{uid} ", place.namespace);
    ensure!(args.starts_with("validate /etc/millstream/job/job.yaml --json") && args.contains(&folder), "{args}");
    ensure!(spec.restart_policy.as_deref() == Some("Never") && spec.containers[0].image.as_deref() == Some("r/m:bad"));
    accepted(&place, &bad, "Unknown", "ImagePull").await?;

    play(&place.client, &place.namespace, &ended(2, "StateMismatch", "window-1/slices has no place")).await?;
    let rejected = place.status(&bad, "a verdict", |job| is(job, ConditionType::Accepted, "False", "StateMismatch"));
    let rejected = rejected.await?.status.and_then(|status| status.rejected).context("not rejected")?;
    assert_eq!((Some(rejected.generation), rejected.reason.as_str()), (bad.metadata.generation, "StateMismatch"));
    ensure!(rejected.message.contains("window-1/slices has no place"), "{}", rejected.message);
    let gone = async || Ok(pods(&place.client, &place.namespace).await?.is_empty().then_some(()));
    until("the end of the check", LIMIT, gone).await?;
    let after = place.objects(&first).await?;
    let changed: Vec<_> = before.iter().filter(|(name, object)| after.get(*name) != Some(object)).collect();
    let added = after.keys().filter(|name| !before.contains_key(*name)).count();
    // Names of revisions are numbered: the one that never ran is the first, so names differ and nothing else.
    ensure!(added <= 2 + changed.len(), "{:?}", after.keys());
    let up = [1, 2];
    let counts: Vec<_> = replicas(&place, &first).await?.into_iter().map(|(_, count)| count).collect();
    assert_eq!(counts, up);

    // It is not tried again, by nobody.
    operator.stop().await?;
    let operator = place.operator().await?;
    operator.look().await?;
    ensure!(pods(&place.client, &place.namespace).await?.is_empty(), "a rejected spec was tried again");

    // A good one takes over, and says so at once.
    let good = place.apply(json!({"parallelism": 2, "image": "r/m:good"})).await?;
    play(&place.client, &place.namespace, &ended(0, "Valid", "")).await?;
    let taken = place.status(&good, "the new revision", |job| is(job, ConditionType::Ready, "False", "Redeploying"));
    let taken = taken.await?;
    ensure!(is(&taken, ConditionType::Accepted, "True", "Valid"), "{:?}", condition(&taken, ConditionType::Accepted));
    let moved = async || {
        let mut counts: Vec<_> = replicas(&place, &taken).await?.into_iter().map(|(_, count)| count).collect();
        counts.sort_unstable();
        Ok((counts == [0, 0, 1, 2]).then_some(()))
    };
    until("the new pods", LIMIT, moved).await?;
    operator.stop().await
}

#[tokio::test]
async fn a_check_that_is_refused_says_why_and_is_tried_again() -> Result<()> {
    let place = Place::new("quota").await?;
    let operator = place.operator().await?;
    let first = place.dealt(&place.apply(json!({})).await?).await?;
    let quotas = place.forbid("pods").await?;
    let job = place.apply(json!({"image": "r/m:2"})).await?;
    let refused = accepted(&place, &job, "Unknown", "QuotaExceeded").await?;
    ensure!(told(&refused) == told(&first));
    // Another spec is another check; the one before is forgotten.
    quotas.delete("none", &DeleteParams::default()).await?;
    let job = place.apply(json!({"image": "r/m:3"})).await?;
    accepted(&place, &job, "Unknown", "Checking").await?;
    let [pod] = pods(&place.client, &place.namespace).await?.try_into().map_err(|pods| anyhow::anyhow!("{pods:?}"))?;
    ensure!(pod.spec.as_ref().is_some_and(|spec| spec.containers[0].image.as_deref() == Some("r/m:3")));
    // And the old spec again is none.
    let job = place.apply(json!({})).await?;
    place.dealt(&job).await?;
    let gone = async || Ok(pods(&place.client, &place.namespace).await?.is_empty().then_some(()));
    until("the end of the check", LIMIT, gone).await?;
    ensure!(pod.name_any().starts_with("orders-check-"));
    operator.stop().await
}

#[tokio::test]
async fn what_no_server_takes_is_refused_before_anything_is_done() -> Result<()> {
    let place = Place::new("rehearsed").await?;
    let operator = place.operator().await?;
    let selector = json!({"spec": {"nodeSelector": {"a b": "c d"}}});
    let refused = async |role: &str| {
        let job = place.apply(json!({role: {"podTemplate": selector}})).await?;
        let is_refused = |job: &StreamJob| condition(job, ConditionType::Accepted).1 == "InvalidPodTemplate";
        let job = place.status(&job, "a verdict", is_refused).await?;
        let message = condition(&job, ConditionType::Accepted).2;
        ensure!(message.contains(&format!("spec.{role}.podTemplate.spec.nodeSelector: Invalid value")), "{message}");
        let pods = pods(&place.client, &place.namespace).await?;
        ensure!(pods.is_empty(), "there is nothing to check: {pods:?}");
        Ok(job)
    };
    // The workers of the first revision: its coordinator alone would be of no use.
    let job = refused("worker").await?;
    ensure!(replicas(&place, &job).await?.is_empty(), "{:?}", replicas(&place, &job).await?);
    let job = place.dealt(&place.apply(json!({})).await?).await?;
    // Names of revisions are numbered, and that which never ran goes.
    let counts =
        async |job| anyhow::Ok(replicas(&place, job).await?.into_iter().map(|(_, count)| count).collect::<Vec<_>>());
    let before = counts(&job).await?;
    // What runs is not stopped for a coordinator that cannot be.
    let job = refused("coordinator").await?;
    operator.look().await?;
    assert_eq!(counts(&job).await?, before);
    operator.stop().await
}
