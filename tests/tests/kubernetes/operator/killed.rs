//! Killed at each of its writes, or refused at each of them: what is there in the end is what an unbroken run leaves.
use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use futures::stream::{self, StreamExt};
use millstream_api::crd::{ConditionType, StreamJob};
use millstream_tests::operator::check::{self, Passing};
use millstream_tests::operator::wire::Fault;
use millstream_tests::operator::{Operator, options};
use millstream_tests::process::until;
use serde_json::{Value, json};

use super::{LIMIT, Place, is};

/// Runs at a time.
const RUNS: usize = 8;

/// What a run leaves, and what it wrote.
struct End {
    objects: BTreeMap<String, Value>,
    status: Value,
    writes: Vec<String>,
}

/// A job is applied, its image is changed to one that fails its check, and then to a good one.
async fn life(place: &Place) -> Result<StreamJob> {
    let job = place.apply(json!({"parallelism": 2})).await?;
    place.status(&job, "the first status", |job| is(job, ConditionType::Ready, "False", "Deploying")).await?;
    let job = place.apply(json!({"parallelism": 2, "image": "r/m:bad"})).await?;
    place.status(&job, "the verdict", |job| is(job, ConditionType::Accepted, "False", "InvalidSql")).await?;
    let job = place.apply(json!({"parallelism": 2, "image": "r/m:2"})).await?;
    place.status(&job, "the second revision", is_up).await
}

/// Whether the second revision is told to have its pods.
fn is_up(job: &StreamJob) -> bool {
    let workers = job.status.as_ref().and_then(|status| status.workers.clone()).unwrap_or_default();
    is(job, ConditionType::Ready, "False", "Redeploying") && workers.desired == 2
}

/// Such a life, in which this happens to a write of the operator. If it dies of it, another goes on.
async fn run(fault: Option<(usize, Fault)>) -> Result<End> {
    let place = Place::new("killed").await?;
    let _checks = Passing::begin(&place.client, &place.namespace);
    let options = options(&place.namespace);
    let mut operator = Operator::with_fault(place.server, options.clone(), fault).await?;
    let mut writes = Vec::new();
    let mut life = std::pin::pin!(life(&place));
    let mut can_die = matches!(fault, Some((_, Fault::DiesBefore | Fault::DiesAfter)));
    let mut lived = None;
    loop {
        let wire = operator.wire().clone();
        // It may die of the very write that the job's life waits for.
        let end = async {
            if lived.is_none() {
                lived = Some(life.as_mut().await?);
            }
            operator.look().await
        };
        tokio::select! {
            ended = end => break ended?,
            () = wire.fault(), if can_die => {
                can_die = false;
                writes.extend(wire.writes());
                drop(operator);
                operator = Operator::start(place.server, options.clone()).await?;
            }
        }
    }
    let job = lived.context("no job")?;
    writes.extend(operator.wire().writes());
    let none = async || Ok(check::pods(&place.client, &place.namespace).await?.is_empty().then_some(()));
    until("the end of all checks", LIMIT, none).await?;
    let objects = place.objects(&job).await?;
    // Controllers, if another test has started them, may make pods of the first revision late, and then these have to go.
    let job = place.status(&job, "the second revision at the end", is_up).await?;
    let mut status = serde_json::to_value(job.status)?;
    for condition in status["conditions"].as_array_mut().context("no conditions")? {
        condition["lastTransitionTime"] = json!("");
    }
    let revision = status["revision"]["name"].as_str().context("no revision")?.to_owned();
    let status = serde_json::from_str(&status.to_string().replace(&revision, "orders-REV"))?;
    operator.stop().await?;
    Ok(End { objects, status, writes })
}

#[tokio::test]
async fn nothing_is_doubled_or_lost_wherever_it_is_interrupted() -> Result<()> {
    let unbroken = run(None).await?;
    let is_there = |kind: &str, count| unbroken.objects.keys().filter(|name| name.starts_with(kind)).count() == count;
    ensure!(is_there("ControllerRevision/", 2) && is_there("StatefulSet/", 2), "{:?}", unbroken.objects.keys());
    let cases = (1..=unbroken.writes.len()).flat_map(|number| {
        let other = [Fault::Refused(409), Fault::Refused(500), Fault::AnswerLost][number % 3];
        [Fault::DiesBefore, Fault::DiesAfter, other].map(|fault| (number, fault))
    });
    let runs = cases.map(async |(number, fault)| (number, fault, run(Some((number, fault))).await));
    let mut runs = std::pin::pin!(stream::iter(runs).buffer_unordered(RUNS));
    let mut wrong = Vec::new();
    while let Some((number, fault, end)) = runs.next().await {
        let at = &unbroken.writes[number - 1];
        match end {
            Err(error) => wrong.push(format!("{fault:?} at {at}: {error:#}")),
            Ok(end) if end.objects != unbroken.objects => {
                let differing = unbroken.objects.iter().find(|(name, object)| end.objects.get(*name) != Some(object));
                let name = differing.map_or("more objects", |(name, _)| name);
                wrong.push(format!("{fault:?} at {at}: another {name}: {:?}", end.objects.get(name)));
            }
            Ok(end) if end.status != unbroken.status => {
                wrong.push(format!("{fault:?} at {at}: another status: {}", end.status));
            }
            Ok(_) => {}
        }
    }
    ensure!(wrong.is_empty(), "{} of {} runs:\n{}", wrong.len(), 3 * unbroken.writes.len(), wrong.join("\n"));
    Ok(())
}
