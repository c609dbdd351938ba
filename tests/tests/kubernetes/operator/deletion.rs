//! Jobs and snapshots that go with their files. No pod runs here: what erases them is said to have done so by the test.
use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use millstream_api::crd::{ERASE_FINALIZER, StreamJob};
use millstream_tests::operator::Operator;
use millstream_tests::operator::options;
use millstream_tests::operator::wire::Fault;
use millstream_tests::process::until;
use serde_json::json;

use super::{LIMIT, Place, replicas};

const PATH: &str = "s3://bucket/jobs/n/orders/u-1/manifests/00000000000000000012-0000000003.json";

impl Place {
    /// The pod that erases files.
    async fn clean_up(&self) -> Result<Pod> {
        let pods = Api::<Pod>::namespaced(self.client.clone(), &self.namespace);
        let labels = ListParams::default().labels("app.kubernetes.io/component=cleanup");
        let found = async || Ok(pods.list(&labels).await?.items.pop());
        until("a pod that erases", LIMIT, found).await
    }

    async fn phase(&self, pod: &Pod, phase: &str) -> Result<()> {
        let pods = Api::<Pod>::namespaced(self.client.clone(), &self.namespace);
        let name = pod.metadata.name.clone().unwrap_or_default();
        let status = Patch::Merge(json!({"status": {"phase": phase}}));
        pods.patch_status(&name, &PatchParams::default(), &status).await.map(drop).map_err(Into::into)
    }

    async fn is_gone(&self) -> Result<()> {
        let gone = async || Ok(self.jobs.get_opt("orders").await?.is_none().then_some(()));
        until("the end of the job", LIMIT, gone).await
    }

    async fn note(&self, reason: &str) -> Result<String> {
        let events = Api::<Event>::namespaced(self.client.clone(), &self.namespace);
        let told = async || {
            let mut all = events.list(&ListParams::default()).await?.into_iter();
            Ok(all.find(|event| event.reason.as_deref() == Some(reason)).and_then(|event| event.note))
        };
        until(reason, LIMIT, told).await
    }
}

fn is_held(job: &StreamJob) -> bool {
    job.metadata.finalizers.iter().flatten().any(|finalizer| finalizer == ERASE_FINALIZER)
}

#[tokio::test]
async fn a_job_goes_when_its_files_are_erased_and_its_policy_acts_in_place() -> Result<()> {
    let place = Place::new("erase").await?;
    let operator = place.operator().await?;
    let job = place.dealt(&place.apply(json!({"deletionPolicy": "Delete"})).await?).await?;
    ensure!(is_held(&job), "{:?}", job.metadata);
    let objects = place.objects(&job).await?;
    // The policy changes nothing but the finalizer.
    for (policy, held) in [("Retain", false), ("Delete", true)] {
        place.apply(json!({"deletionPolicy": policy})).await?;
        let put = async || Ok((is_held(&place.jobs.get("orders").await?) == held).then_some(()));
        until("the finalizer", LIMIT, put).await?;
    }
    operator.look().await?;
    assert_eq!(place.objects(&job).await?, objects);

    place.jobs.delete("orders", &DeleteParams::default()).await?;
    let pod = place.clean_up().await?;
    ensure!(replicas(&place, &job).await?.iter().all(|(_, count)| *count == 0), "its pods go first");
    let container = &pod.spec.as_ref().context("no spec")?.containers[0];
    let uid = job.metadata.uid.clone().unwrap_or_default();
    let args = ["erase", "--store", "s3://bucket/jobs", "--prefix", &format!("{}/orders/{uid}", place.namespace)];
    assert_eq!(container.args.as_deref().unwrap_or_default(), args);
    place.phase(&pod, "Succeeded").await?;
    place.is_gone().await?;
    let note = place.note("Erased").await?;
    ensure!(note.ends_with(&format!("/orders/{uid} is erased")), "{note}");
    let pods = Api::<Pod>::namespaced(place.client.clone(), &place.namespace);
    ensure!(pods.list(&ListParams::default()).await?.items.is_empty());
    operator.stop().await
}

#[tokio::test]
async fn what_cannot_be_erased_is_named_and_what_never_ran_just_goes() -> Result<()> {
    let place = Place::new("left").await?;
    let operator = place.operator().await?;
    let wrong = json!({"deletionPolicy": "Delete", "settings": [{"name": "batch.row", "value": "1"}]});
    let job = place.dealt(&place.apply(wrong).await?).await?;
    ensure!(is_held(&job));
    place.jobs.delete("orders", &DeleteParams::default()).await?;
    place.is_gone().await?;

    let job = place.dealt(&place.apply(json!({"deletionPolicy": "Delete"})).await?).await?;
    place.jobs.delete("orders", &DeleteParams::default()).await?;
    place.phase(&place.clean_up().await?, "Failed").await?;
    place.is_gone().await?;
    let note = place.note("NotErased").await?;
    let uid = job.metadata.uid.unwrap_or_default();
    ensure!(note.contains(&format!("s3://bucket/jobs/{}/orders/{uid} is left", place.namespace)), "{note}");
    operator.stop().await
}

#[tokio::test]
async fn a_namespace_that_goes_is_not_held_up() -> Result<()> {
    let place = Place::new("going").await?;
    place.server.controllers().await?;
    let operator = place.operator().await?;
    place.dealt(&place.apply(json!({"deletionPolicy": "Delete"})).await?).await?;
    let namespaces = Api::<Namespace>::all(place.client.clone());
    namespaces.delete(&place.namespace, &DeleteParams::default()).await?;
    let gone = async || Ok(namespaces.get_opt(&place.namespace).await?.is_none().then_some(()));
    until("the end of the namespace", LIMIT, gone).await?;
    drop(operator);
    Ok(())
}

#[tokio::test]
async fn a_snapshot_takes_its_savepoint_along_if_it_says_so() -> Result<()> {
    let place = Place::new("snapshot").await?;
    let operator = place.operator().await?;
    let job = place.dealt(&place.apply(json!({"suspend": true})).await?).await?;
    let uid = job.metadata.uid.context("no uid")?;
    let snapshots = place.snapshots();
    for (name, policy) in [("kept", "Retain"), ("gone", "Delete")] {
        place.snapshot(name, policy).await?;
        let store = json!({"uri": "s3://bucket/jobs"});
        let status = json!({"result": "Succeeded", "path": PATH, "jobUid": uid, "store": store});
        place.snapshot_status(name, status).await?;
    }
    let held = |now: &millstream_api::crd::StreamJobSnapshot| {
        now.metadata.finalizers.iter().flatten().any(|finalizer| finalizer == ERASE_FINALIZER)
    };
    place.seen("gone", held).await?;
    ensure!(!held(&snapshots.get("kept").await?));
    snapshots.delete("kept", &DeleteParams::default()).await?;
    ensure!(snapshots.get_opt("kept").await?.is_none(), "nothing holds it");
    snapshots.delete("gone", &DeleteParams::default()).await?;
    let pod = place.clean_up().await?;
    let args = pod.spec.as_ref().and_then(|spec| spec.containers[0].args.clone()).unwrap_or_default();
    ensure!(args.ends_with(&["--savepoint".into(), PATH.into()]), "{args:?}");
    place.phase(&pod, "Succeeded").await?;
    let gone = async || Ok(snapshots.get_opt("gone").await?.is_none().then_some(()));
    until("the end of the snapshot", LIMIT, gone).await?;
    operator.stop().await
}

/// A job with the policy Delete comes and goes, while this happens to a write of the operator.
async fn run(fault: Option<(usize, Fault)>) -> Result<Vec<String>> {
    let place = Place::new("killed").await?;
    let options = options(&place.namespace);
    let mut operator = Operator::with_fault(place.server, options.clone(), fault).await?;
    let mut writes = Vec::new();
    let mut can_die = matches!(fault, Some((_, Fault::DiesBefore | Fault::DiesAfter)));
    let life = async {
        place.dealt(&place.apply(json!({"deletionPolicy": "Delete"})).await?).await?;
        place.jobs.delete("orders", &DeleteParams::default()).await?;
        let pods = Api::<Pod>::namespaced(place.client.clone(), &place.namespace);
        let erasing = ListParams::default().labels("app.kubernetes.io/component=cleanup");
        // A pod that was removed may be made once more, by one who does not know that all is erased.
        let end = async || {
            for pod in pods.list(&erasing).await? {
                place.phase(&pod, "Succeeded").await.ok();
            }
            Ok(place.jobs.get_opt("orders").await?.is_none().then_some(()))
        };
        until("the end of the job", LIMIT * 2, end).await?;
        ensure!(pods.list(&erasing).await?.items.is_empty(), "a pod is left");
        Ok(())
    };
    let mut life = std::pin::pin!(life);
    loop {
        let wire = operator.wire().clone();
        tokio::select! {
            ended = &mut life => break ended?,
            () = wire.fault(), if can_die => {
                can_die = false;
                writes.extend(wire.writes());
                drop(operator);
                operator = Operator::start(place.server, options.clone()).await?;
            }
        }
    }
    writes.extend(operator.wire().writes());
    let wire = operator.wire().clone();
    // The job may have gone before it is seen that the operator died at its last write, or before that write.
    tokio::select! {
        stopped = operator.stop() => stopped?,
        () = wire.fault(), if can_die => {}
    }
    Ok(writes)
}

#[tokio::test]
async fn a_job_goes_wherever_its_end_is_interrupted() -> Result<()> {
    use futures::stream::{self, StreamExt};
    let unbroken = run(None).await?;
    // What comes before is the matter of another test.
    let first = unbroken.iter().position(|write| write.contains("/pods")).context("no pod")?;
    let finalizer = unbroken.iter().position(|write| write.ends_with("/streamjobs/orders")).context("no finalizer")?;
    let numbers = (first..unbroken.len()).chain([finalizer]).map(|at| at + 1);
    let cases = numbers.flat_map(|number| {
        let other = [Fault::Refused(409), Fault::Refused(500), Fault::AnswerLost][number % 3];
        [Fault::DiesBefore, Fault::DiesAfter, other].map(|fault| (number, fault))
    });
    let runs = cases.map(async |(number, fault)| (number, fault, run(Some((number, fault))).await));
    let mut runs = std::pin::pin!(stream::iter(runs).buffer_unordered(6));
    let mut wrong = Vec::new();
    while let Some((number, fault, end)) = runs.next().await {
        let at = &unbroken[number - 1];
        wrong.extend(end.err().map(|error| format!("{fault:?} at {at}: {error:#}")));
    }
    ensure!(wrong.is_empty(), "{unbroken:?}\n{}", wrong.join("\n"));
    Ok(())
}
