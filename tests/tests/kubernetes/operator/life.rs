//! What becomes of the objects of a job as its spec changes, and who may change them.
use anyhow::{Context, Result, ensure};
use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use millstream_api::crd::{ConditionType, StreamJob};
use millstream_tests::operator::check::Passing;
use millstream_tests::operator::wire::Wire;
use millstream_tests::operator::{IMAGE, Operator, options};
use millstream_tests::process::until;
use serde_json::json;

use super::{LIMIT, Place, condition, is, replicas};

/// Workloads of the revisions, as many as these numbers, with so many coordinators and workers.
fn workloads(of: &[(usize, u64, u64)]) -> Vec<(String, u64)> {
    let coordinators = of.iter().map(|(at, count, _)| (format!("Deployment/orders-c-rev{at}"), *count));
    let workers = of.iter().map(|(at, _, count)| (format!("StatefulSet/orders-w-rev{at}"), *count));
    coordinators.chain(workers).collect()
}

#[tokio::test]
async fn other_pods_are_another_revision_and_everything_else_is_none() -> Result<()> {
    let place = Place::new("revisions").await?;
    let _checks = Passing::begin(&place.client, &place.namespace);
    let operator = place.operator().await?;
    let job = place.dealt(&place.apply(json!({"parallelism": 2})).await?).await?;
    let first = job.status.clone().and_then(|status| status.revision).context("no revision")?;
    assert_eq!((first.generation, first.image.as_str()), (1, IMAGE));
    assert_eq!(replicas(&place, &job).await?, workloads(&[(0, 1, 2)]));

    // These need no other pods.
    let live = json!({"parallelism": 3, "autoscaling": {"mode": "Advise"}, "rescale": {"podTimeout": "1m"},
                      "checkpoint": {"keep": 7}});
    let job = place.dealt(&place.apply(live).await?).await?;
    assert_eq!(job.status.clone().and_then(|status| status.revision), Some(first.clone()));
    assert_eq!(replicas(&place, &job).await?, workloads(&[(0, 1, 2)]), "the running job decides about its workers");

    // An operator with other defaults changes nothing of what there is.
    operator.stop().await?;
    let mut others = options(&place.namespace);
    others.settings.default_image = "millstream.test/millstream:newer".into();
    let operator = Operator::start(place.server, others).await?;
    operator.look().await?;
    ensure!(operator.wire().writes().is_empty(), "{:?}", operator.wire().writes());

    let image = json!({"image": "r/m:2", "parallelism": 3});
    let job = place.apply(image).await?;
    let job =
        place.status(&job, "the second revision", |job| is(job, ConditionType::Ready, "False", "Redeploying")).await?;
    let second = job.status.clone().and_then(|status| status.revision).context("no revision")?;
    ensure!(second.name != first.name && second.image == "r/m:2", "{second:?}");
    let up = workloads(&[(0, 0, 0), (1, 1, 3)]);
    until("the pods of the second", LIMIT, async || Ok((replicas(&place, &job).await? == up).then_some(()))).await?;

    // What was there before is not made again: it is the same objects.
    let job = place.apply(json!({"parallelism": 2})).await?;
    let job = place.status(&job, "the first again", |job| {
        job.status.as_ref().and_then(|status| status.revision.as_ref()).is_some_and(|now| now.name == first.name)
    });
    let job = job.await?;
    // It has the highest number now.
    let up = workloads(&[(0, 0, 0), (1, 1, 2)]);
    until("the pods of the first", LIMIT, async || Ok((replicas(&place, &job).await? == up).then_some(()))).await?;

    let again = json!({"metadata": {"annotations": {"millstream.dev/restart": "1"}}});
    place.jobs.patch("orders", &PatchParams::default(), &Patch::Merge(again)).await?;
    let up = workloads(&[(0, 0, 0), (1, 0, 0), (2, 1, 2)]);
    until("another revision", LIMIT, async || Ok((replicas(&place, &job).await? == up).then_some(()))).await?;
    let job = place.jobs.get("orders").await?;
    let third = job.status.as_ref().and_then(|status| status.revision.as_ref()).context("no revision")?;
    assert_eq!(third.image, "millstream.test/millstream:newer", "the image is resolved again");

    // Five are kept.
    for at in 0..5 {
        let job = place.apply(json!({"image": format!("r/m:more-{at}")})).await?;
        let workers = |job: &StreamJob| job.status.as_ref().and_then(|status| status.workers.clone());
        place.status(&job, "its pods", |job| workers(job).is_some_and(|workers| workers.desired == 1)).await?;
    }
    let kept = async || {
        let objects = place.objects(&job).await?;
        let count = |kind: &str| objects.keys().filter(|name| name.starts_with(kind)).count();
        let all = [count("ControllerRevision/"), count("ConfigMap/"), count("Deployment/"), count("StatefulSet/")];
        Ok((all == [5, 5, 5, 5]).then_some(()))
    };
    until("five revisions", LIMIT, kept).await?;
    operator.stop().await
}

#[tokio::test]
async fn a_suspended_job_has_no_pods_and_comes_back() -> Result<()> {
    let place = Place::new("suspended").await?;
    let operator = place.operator().await?;
    let job = place.dealt(&place.apply(json!({"suspend": true})).await?).await?;
    ensure!(is(&job, ConditionType::Ready, "False", "Suspended"), "{:?}", job.status);
    assert_eq!(replicas(&place, &job).await?, []);
    let job = place.apply(json!({})).await?;
    let job = place.status(&job, "pods", |job| is(job, ConditionType::Ready, "False", "Deploying")).await?;
    assert_eq!(replicas(&place, &job).await?, workloads(&[(0, 1, 1)]));
    let job = place.apply(json!({"suspend": true})).await?;
    let job = place.status(&job, "no pods", |job| is(job, ConditionType::Ready, "False", "Suspended")).await?;
    let none = workloads(&[(0, 0, 0)]);
    until("no pods", LIMIT, async || Ok((replicas(&place, &job).await? == none).then_some(()))).await?;
    operator.stop().await
}

#[tokio::test]
async fn a_status_that_was_erased_is_rebuilt_and_what_is_changed_by_hand_is_changed_back() -> Result<()> {
    let place = Place::new("erased").await?;
    let operator = place.operator().await?;
    let job = place.dealt(&place.apply(json!({"parallelism": 2})).await?).await?;
    let objects = place.objects(&job).await?;
    place.jobs.patch_status("orders", &PatchParams::default(), &Patch::Merge(json!({"status": null}))).await?;
    let rebuilt = place.dealt(&job).await?;
    let revision = |job: &StreamJob| job.status.clone().and_then(|status| status.revision);
    assert_eq!(revision(&rebuilt), revision(&job));
    for what in [["service", "orders-coordinator"], ["statefulset", "--all"]] {
        let delete = [&["-n", &place.namespace, "delete"], what.as_slice(), &["--wait=false"]].concat();
        place.server.kubectl(&delete)?.success()?;
    }
    place.server.kubectl(&["-n", &place.namespace, "scale", "deployment", "--all", "--replicas", "4"])?.success()?;
    let same = async || Ok((place.objects(&job).await? == objects).then_some(()));
    until("the same objects", LIMIT, same).await?;
    operator.stop().await
}

#[tokio::test]
async fn what_changes_while_no_watch_hears_of_it_is_found() -> Result<()> {
    let place = Place::new("gap").await?;
    let operator = place.operator().await?;
    let job = place.dealt(&place.apply(json!({"parallelism": 2})).await?).await?;
    operator.look().await?;
    let objects = place.objects(&job).await?;
    operator.wire().begin_gap();
    ensure!(operator.wire().missed().len() > 5, "{:?}", operator.wire().missed());
    let writes = operator.wire().writes();
    let job = place.apply(json!({"parallelism": 2, "checkpoint": {"keep": 7}})).await?;
    for what in [["service", "orders-coordinator"], ["statefulset", "--all"]] {
        let delete = [&["-n", &place.namespace, "delete"], what.as_slice(), &["--wait=false"]].concat();
        place.server.kubectl(&delete)?.success()?;
    }
    // It takes its turns, and knows nothing.
    operator.look().await?;
    assert_eq!(operator.wire().writes(), writes);
    operator.wire().end_gap();
    place.dealt(&job).await?;
    let same = async || Ok(place.objects(&job).await?.keys().eq(objects.keys()).then_some(()));
    until("the same objects", LIMIT, same).await?;
    // Nothing is known that is not there any more.
    operator.wire().begin_gap();
    place.jobs.delete("orders", &DeleteParams::default()).await?;
    operator.wire().end_gap();
    let known = async || Ok(operator.get("/metrics").await?.contains("millstream_operator_jobs 0").then_some(()));
    until("no job", LIMIT, known).await?;
    // One that was about to begin when the gap did begins later: after two gaps, up to 30 s (kube's default).
    until("all watches", 2 * LIMIT, async || Ok(operator.wire().missed().is_empty().then_some(()))).await?;
    operator.stop().await
}

#[tokio::test]
async fn an_operator_that_has_not_read_everything_ends_when_it_is_told_to() -> Result<()> {
    let place = Place::new("early").await?;
    let wire = Wire::new(None);
    wire.begin_gap();
    let operator = Operator::on(place.server, options(&place.namespace), wire).await?;
    let reads = async || Ok((operator.wire().watched().len() > 5).then_some(()));
    until("what it reads first", LIMIT, reads).await?;
    ensure!(operator.get("/readyz").await?.contains("the objects of"), "it is ready");
    operator.stop().await
}

#[tokio::test]
async fn what_a_job_has_goes_with_it() -> Result<()> {
    let place = Place::new("deleted").await?;
    place.server.controllers().await?;
    let operator = place.operator().await?;
    let job = place.dealt(&place.apply(json!({"parallelism": 2})).await?).await?;
    let objects = place.objects(&job).await?;
    ensure!(objects.len() == 10, "{:?}", objects.keys());
    place.jobs.delete("orders", &DeleteParams::default()).await?;
    let none = async || Ok(place.objects(&job).await?.is_empty().then_some(()));
    until("the end of all objects", LIMIT, none).await?;
    operator.stop().await
}

#[tokio::test]
async fn what_has_a_name_that_a_job_needs_is_told_and_left_as_it_is() -> Result<()> {
    let place = Place::new("obstacle").await?;
    place.server.controllers().await?;
    let operator = place.operator().await?;
    let kubectl = |args: &[&str]| place.server.kubectl(&[&["-n", &place.namespace], args].concat())?.success();
    kubectl(&["create", "service", "clusterip", "orders-coordinator", "--tcp=80"])?;
    kubectl(&["create", "secret", "generic", "orders-tls", "--from-literal=mine=1"])?;
    let job = place.apply(json!({})).await?;
    let events = Api::<Event>::namespaced(place.client.clone(), &place.namespace);
    for (kind, name) in [("Service", "orders-coordinator"), ("Secret", "orders-tls")] {
        let words = format!("the {kind} {name} belongs to something else");
        let told = async || {
            let all = events.list(&ListParams::default()).await?.into_iter();
            let mut notes =
                all.filter(|event| event.reason.as_deref() == Some("ReconcileFailed")).filter_map(|event| event.note);
            Ok(notes.find(|note| note.contains(&words)))
        };
        until("an event", LIMIT, told).await?;
        let says = |job: &StreamJob| condition(job, ConditionType::Ready).2.contains(&words);
        let obstructed = until("a condition", LIMIT, async || Ok(Some(place.jobs.get("orders").await?).filter(says)));
        ensure!(is(&obstructed.await?, ConditionType::Ready, "False", "Deploying"));
        ensure!(!place.objects(&job).await?.keys().any(|object| object.starts_with(&format!("{kind}/{name}"))));
        // Once it is gone, the job gets its own without being touched.
        kubectl(&["delete", &kind.to_lowercase(), name])?;
    }
    place.dealt(&job).await?;
    ensure!(place.objects(&job).await?.len() == 10, "{:?}", place.objects(&job).await?.keys());
    operator.stop().await
}

#[tokio::test]
async fn the_job_of_another_installation_is_left_alone() -> Result<()> {
    let place = Place::new("foreign").await?;
    let job = place.apply(json!({})).await?;
    let status = json!({"status": {"operator": "elsewhere/millstream"}});
    place.jobs.patch_status("orders", &PatchParams::default(), &Patch::Merge(status)).await?;
    let operator = place.operator().await?;
    let events = Api::<Event>::namespaced(place.client.clone(), &place.namespace);
    let told = async || {
        let all = events.list(&ListParams::default()).await?;
        let found = all.into_iter().find(|event| event.reason.as_deref() == Some("ForeignOperator"));
        Ok(found.and_then(|event| event.note))
    };
    let note = until("an event", LIMIT, told).await?;
    ensure!(note.contains("elsewhere/millstream looks after this job"), "{note}");
    ensure!(place.objects(&job).await?.is_empty());
    operator.stop().await
}
