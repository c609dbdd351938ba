//! Snapshots without a job that runs: what becomes of them, and of jobs that start from them.
use anyhow::{Context, Result, ensure};
use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use millstream_api::crd::{ConditionType, SnapshotResult, StreamJobSnapshot, find};
use millstream_tests::operator::check::Passing;
use millstream_tests::process::until;
use serde_json::{Value, json};

use super::{LIMIT, Place, condition, is};

/// Where a savepoint is.
const PATH: &str = "s3://bucket/jobs/n/orders/u-1/manifests/00000000000000000012-0000000003.json";

impl Place {
    pub fn snapshots(&self) -> Api<StreamJobSnapshot> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Someone applies a snapshot of the job.
    pub async fn snapshot(&self, name: &str, policy: &str) -> Result<StreamJobSnapshot> {
        let snapshot = json!({
            "apiVersion": "millstream.dev/v1alpha1", "kind": "StreamJobSnapshot", "metadata": {"name": name},
            "spec": {"jobName": "orders", "deletionPolicy": policy},
        });
        Ok(self.snapshots().patch(name, &PatchParams::apply("someone"), &Patch::Apply(snapshot)).await?)
    }

    /// Writes what an operator would have written.
    pub async fn snapshot_status(&self, name: &str, status: Value) -> Result<()> {
        let patch = Patch::Merge(json!({"status": status}));
        self.snapshots().patch_status(name, &PatchParams::default(), &patch).await?;
        Ok(())
    }

    /// Waits until a snapshot is as it should be.
    pub async fn seen(&self, name: &str, holds: impl Fn(&StreamJobSnapshot) -> bool) -> Result<StreamJobSnapshot> {
        let mut last = None;
        let seen = until("the snapshot", LIMIT * 2, async || {
            let now = self.snapshots().get(name).await?;
            last = Some(now.clone());
            Ok(holds(&now).then_some(now))
        });
        let seen = seen.await;
        seen.with_context(|| serde_json::to_string_pretty(&last.and_then(|now| now.status)).unwrap_or_default())
    }
}

fn reasons(snapshot: &StreamJobSnapshot) -> (String, String) {
    let conditions = snapshot.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let reason = |kind| find(conditions, kind).map(|found| found.reason.clone()).unwrap_or_default();
    (reason(ConditionType::Accepted), reason(ConditionType::Completed))
}

#[tokio::test]
async fn a_snapshot_of_what_does_not_run_says_so_and_fails_after_a_while() -> Result<()> {
    let place = Place::new("snapshot").await?;
    let operator = place.operator().await?;
    place.snapshot("early", "Retain").await?;
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/kubernetes/snapshot.yaml");
    place.server.kubectl(&["-n", &place.namespace, "apply", "-f", example])?.success()?;
    let pending = |snapshot: &StreamJobSnapshot| {
        let (accepted, completed) = reasons(snapshot);
        (accepted.as_str(), completed.as_str()) == ("ReferenceNotFound", "SavepointPending")
    };
    let early = place.seen("early", pending).await?;
    ensure!(early.status.is_some_and(|status| status.result.is_none()), "the job may have been applied with it");
    place.apply(json!({"suspend": true})).await?;
    let failed = place.seen("early", |now| now.status.as_ref().is_some_and(|status| status.result.is_some())).await?;
    let status = failed.status.clone().context("no status")?;
    ensure!(status.result == Some(SnapshotResult::Failed) && status.path.is_none(), "{status:?}");
    let message = find(&status.conditions, ConditionType::Completed).map(|found| found.message.clone());
    assert_eq!(message.as_deref(), Some("the job is suspended; a savepoint needs a running job"));
    assert_eq!(reasons(&failed), ("Valid".into(), "SavepointFailed".into()));
    let events = Api::<Event>::namespaced(place.client.clone(), &place.namespace);
    let told = async || {
        let all = events.list(&ListParams::default()).await?;
        Ok(all.into_iter().find(|event| event.reason.as_deref() == Some("SavepointFailed")))
    };
    let event = until("an event", LIMIT, told).await?;
    assert_eq!(event.regarding.and_then(|about| about.name).as_deref(), Some("early"));
    let shown =
        place.server.kubectl(&["-n", &place.namespace, "get", "streamjobsnapshots", "early"])?.success()?.stdout;
    let columns: Vec<&str> = shown.lines().last().unwrap_or_default().split_whitespace().collect();
    ensure!(columns.starts_with(&["early", "orders", "Failed", "SavepointFailed"]), "{shown}");
    operator.stop().await
}

#[tokio::test]
async fn a_job_starts_from_a_snapshot_once_that_is_taken_and_again_when_the_value_changes() -> Result<()> {
    let place = Place::new("start").await?;
    let _checks = Passing::begin(&place.client, &place.namespace);
    let operator = place.operator().await?;
    let from = json!({"startFrom": {"mode": "Snapshot", "snapshotName": "noon"}});
    let job = place.apply(from.clone()).await?;
    let refused = place.dealt(&job).await?;
    let (_, reason, message) = condition(&refused, ConditionType::Accepted);
    assert_eq!(
        (reason.as_str(), message.as_str()),
        ("ReferenceNotFound", "spec.startFrom.snapshotName: there is no StreamJobSnapshot noon")
    );
    place.snapshot("noon", "Retain").await?;
    place.snapshot_status("noon", json!({"result": "Succeeded", "path": PATH, "epoch": 12, "jobUid": "u-1"})).await?;
    let job = place.status(&job, "the snapshot", |job| is(job, ConditionType::Accepted, "True", "Valid")).await?;
    let file = async |number: usize| -> Result<String> {
        let objects = place.objects(&job).await?;
        let map = objects.get(&format!("ConfigMap/orders-rev{number}")).context("no job file")?;
        Ok(map["data"]["job.yaml"].as_str().unwrap_or_default().to_owned())
    };
    let first = file(0).await?;
    ensure!(first.contains(PATH) && !first.contains("millstream.dev/restore"), "{first}");

    // An image needs neither the snapshot nor another restore.
    place.snapshots().delete("noon", &Default::default()).await?;
    let up = |image: &'static str| {
        move |job: &millstream_api::crd::StreamJob| {
            let status = job.status.clone().unwrap_or_default();
            let workers = status.workers.unwrap_or_default();
            workers.desired == 1 && status.revision.is_some_and(|revision| revision.image == image)
        }
    };
    let mut image = from.clone();
    image["image"] = json!("r/m:2");
    place.status(&place.apply(image).await?, "another image", up("r/m:2")).await?;
    let second = file(1).await?;
    ensure!(second.contains(PATH) && !second.contains("millstream.dev/restore"), "{second}");

    // Another value is a wish to go back, and so is the first one once more.
    let path = json!({"startFrom": {"mode": "Path", "path": PATH}, "image": "r/m:3"});
    let job_ = place.apply(path).await?;
    place.status(&job_, "another value", up("r/m:3")).await?;
    let third = file(2).await?;
    ensure!(
        third.contains(&format!("\"millstream.dev/restore\": \"{}-", job_.metadata.generation.unwrap_or(0))),
        "{third}"
    );
    place.snapshot("noon", "Retain").await?;
    place.snapshot_status("noon", json!({"result": "Succeeded", "path": PATH, "epoch": 12, "jobUid": "u-1"})).await?;
    let job_ = place.apply(from).await?;
    place.status(&job_, "the first value again", up(millstream_tests::operator::IMAGE)).await?;
    let fourth = file(3).await?;
    ensure!(
        fourth.contains(&format!("\"millstream.dev/restore\": \"{}-", job_.metadata.generation.unwrap_or(0))),
        "{fourth}"
    );
    operator.stop().await
}

#[tokio::test]
async fn a_claim_that_one_node_can_mount_is_refused_with_the_way_out() -> Result<()> {
    let place = Place::new("claim").await?;
    let operator = place.operator().await?;
    let job = place.apply(json!({"store": {"claimName": "state"}})).await?;
    let (_, reason, message) = condition(&place.dealt(&job).await?, ConditionType::Accepted);
    assert_eq!(
        (reason.as_str(), message.as_str()),
        ("ReferenceNotFound", "spec.store.claimName: there is no PersistentVolumeClaim state")
    );
    let claims =
        Api::<k8s_openapi::api::core::v1::PersistentVolumeClaim>::namespaced(place.client.clone(), &place.namespace);
    let claim = |name: &str, mode: &str| {
        serde_json::from_value(json!({"metadata": {"name": name}, "spec": {
            "accessModes": [mode], "resources": {"requests": {"storage": "1Gi"}},
        }}))
    };
    claims.create(&PostParams::default(), &claim("state", "ReadWriteOnce")?).await?;
    claims.create(&PostParams::default(), &claim("shared", "ReadWriteMany")?).await?;
    let refused = |job: &millstream_api::crd::StreamJob| is(job, ConditionType::Accepted, "False", "VolumeNotShared");
    let job = place.status(&job, "the claim", refused).await?;
    let (_, _, message) = condition(&job, ConditionType::Accepted);
    ensure!(
        message.contains("has ReadWriteOnce and not ReadWriteMany") && message.contains("s3://BUCKET"),
        "{message}"
    );
    let job = place.apply(json!({"store": {"claimName": "shared"}})).await?;
    place.status(&job, "the other claim", |job| is(job, ConditionType::Accepted, "True", "Valid")).await?;
    operator.stop().await
}
