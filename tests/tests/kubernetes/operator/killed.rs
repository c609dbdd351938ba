//! Killed at each of its writes, or refused at each of them: what is there in the end is what an unbroken run leaves.
use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::stream::{self, StreamExt};
use kube::api::{Patch, PatchParams};
use millstream_api::crd::{ConditionType, StreamJob};
use millstream_tests::operator::check::{self, Passing};
use millstream_tests::operator::wire::{Fault, Wire};
use millstream_tests::operator::{Operator, options};
use millstream_tests::process::until;
use serde_json::{Value, json};

use super::{LIMIT, Place, is, runs};

/// A rescale that was not taken is asked for again after half a minute.
const REFUSED: Duration = Duration::from_secs(70);
/// From one thing that happens to the next.
const PAUSE: Duration = Duration::from_millis(200);
/// What a call of the coordinator is noted as.
const CALL: &str = "POST to the coordinator";

/// What a job goes through.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Life {
    /// Its coordinator never answers.
    Silent,
    /// Its pods run, and its coordinator does what it is asked.
    Played,
}

/// What a run leaves, and what it wrote.
struct End {
    objects: BTreeMap<String, Value>,
    status: Value,
    /// What the coordinators did.
    changes: Vec<String>,
    writes: Vec<String>,
}

/// A job is applied, its image is changed to one that fails its check, and then to a good one.
async fn silent(place: &Place) -> Result<StreamJob> {
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

/// A job runs, grows, shrinks, gives a savepoint, gets another image and is suspended.
async fn played(place: &Place) -> Result<StreamJob> {
    for tasks in [1, 2, 1] {
        let job = place.apply(json!({"parallelism": tasks})).await?;
        let reached =
            async || Ok(place.jobs.get("orders").await.ok().filter(|now| runs(now, tasks) && told(now, &job)));
        until(&format!("{tasks} tasks"), REFUSED, reached).await?;
    }
    place.snapshot("noon", "Retain").await?;
    place.seen("noon", |now| now.status.as_ref().is_some_and(|status| status.path.is_some())).await?;
    let job = place.apply(json!({"image": "r/m:2"})).await?;
    place.status(&job, "the second revision", |job| runs(job, 1)).await?;
    let job = place.apply(json!({"image": "r/m:2", "suspend": true})).await?;
    place.status(&job, "its end", is_suspended).await
}

/// Whether the status is about the job as it was applied.
fn told(now: &StreamJob, applied: &StreamJob) -> bool {
    now.status.as_ref().and_then(|status| status.observed_generation) == applied.metadata.generation
}

fn is_suspended(job: &StreamJob) -> bool {
    let workers = job.status.as_ref().and_then(|status| status.workers.clone()).unwrap_or_default();
    is(job, ConditionType::Ready, "False", "Suspended") && workers.ready == 0
}

impl Life {
    /// Runs at a time.
    const fn runs(self) -> usize {
        match self {
            Self::Silent => 8,
            Self::Played => 4,
        }
    }

    async fn live(self, place: &Place) -> Result<StreamJob> {
        match self {
            Self::Silent => silent(place).await,
            Self::Played => played(place).await,
        }
    }

    /// How a job ends that has gone through it.
    fn is_over(self, job: &StreamJob) -> bool {
        match self {
            Self::Silent => is_up(job),
            Self::Played => is_suspended(job),
        }
    }

    /// Such a life, in which this happens to a write of the operator. If it dies of it, another goes on.
    async fn run(self, fault: Option<(usize, Fault)>) -> Result<End> {
        let place = Place::new("killed").await?;
        let _checks = Passing::begin(&place.client, &place.namespace);
        let wire = Wire::new(fault);
        let played = if self == Self::Played { Some(place.played(&wire).await?) } else { None };
        let options = options(&place.namespace);
        let mut operator = Operator::on(place.server, options.clone(), wire).await?;
        let mut writes = Vec::new();
        let mut life = std::pin::pin!(self.live(&place));
        let mut can_die = matches!(fault, Some((_, Fault::DiesBefore | Fault::DiesAfter)));
        let mut lived = None;
        loop {
            let wire = operator.wire().clone();
            // It may die of the very write that the job's life waits for.
            let end = async {
                if lived.is_none() {
                    lived = Some(life.as_mut().await?);
                }
                looked(&place, &operator).await
            };
            tokio::select! {
                ended = end => break ended?,
                () = wire.fault(), if can_die => {
                    can_die = false;
                    writes.extend(wire.writes());
                    drop(operator);
                    let wire = Wire::new(None);
                    if let Some((coordinator, _)) = &played {
                        coordinator.called_on(wire.clone());
                    }
                    operator = Operator::on(place.server, options.clone(), wire).await?;
                }
            }
        }
        let job = lived.context("no job")?;
        writes.extend(operator.wire().writes());
        let none = async || Ok(check::pods(&place.client, &place.namespace).await?.is_empty().then_some(()));
        until("the end of all checks", LIMIT, none).await?;
        let objects = place.objects(&job).await?;
        // Controllers, if another test has started them, may make pods of the first revision late, and then these have to go.
        let job = place.status(&job, "what it ends with", |job| self.is_over(job)).await?;
        let mut status = serde_json::to_value(job.status)?;
        without_times(&mut status);
        // Whoever dies after the last savepoint, and before it is told of, leaves it to the store to know.
        status.as_object_mut().context("no status")?.remove("checkpoint");
        let revision = status["revision"]["name"].as_str().context("no revision")?.to_owned();
        let status = serde_json::from_str(&status.to_string().replace(&revision, "orders-REV"))?;
        operator.stop().await?;
        let changes = played.map(|(coordinator, _)| coordinator.changes()).unwrap_or_default();
        Ok(End { objects, status, changes, writes })
    }
}

/// Waits until an operator has looked at everything once more. It looks at a job without pods once a minute, unless something
/// happens.
async fn looked(place: &Place, operator: &Operator) -> Result<()> {
    let happens = async {
        let mut times = tokio::time::interval(PAUSE);
        for number in 0.. {
            times.tick().await;
            let note = json!({"metadata": {"annotations": {"test": number.to_string()}}});
            place.jobs.patch("orders", &PatchParams::default(), &Patch::Merge(note)).await?;
        }
        anyhow::Ok(())
    };
    tokio::select! {
        looked = operator.look() => looked,
        failed = happens => failed,
    }
}

/// Times differ from run to run.
fn without_times(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                if ["lastTransitionTime", "time", "startedAt"].contains(&name.as_str()) {
                    *value = json!("");
                }
                without_times(value);
            }
        }
        Value::Array(values) => values.iter_mut().for_each(without_times),
        _ => {}
    }
}

/// Runs with each of these faults, and says in what they end otherwise than an unbroken one.
async fn wrong(life: Life, unbroken: &End, cases: Vec<(usize, Fault)>) -> Vec<String> {
    let runs = cases.into_iter().map(async |(number, fault)| (number, fault, life.run(Some((number, fault))).await));
    let mut runs = std::pin::pin!(stream::iter(runs).buffer_unordered(life.runs()));
    let mut wrong = Vec::new();
    while let Some((number, fault, end)) = runs.next().await {
        let differs = match end {
            Err(error) => format!("{error:#}"),
            Ok(end) if end.objects != unbroken.objects => {
                let differing = unbroken.objects.iter().find(|(name, object)| end.objects.get(*name) != Some(object));
                let name = differing.map_or("more objects", |(name, _)| name);
                format!("another {name}: {:?}", end.objects.get(name))
            }
            Ok(end) if end.status != unbroken.status => format!("another status: {}", end.status),
            Ok(end) if end.changes != unbroken.changes => format!("other changes: {:?}", end.changes),
            Ok(_) => continue,
        };
        wrong.push(format!("{fault:?} at {}: {differs}", unbroken.writes[number - 1]));
    }
    wrong
}

#[tokio::test]
async fn nothing_is_doubled_or_lost_wherever_it_is_interrupted() -> Result<()> {
    let unbroken = Life::Silent.run(None).await?;
    let is_there = |kind: &str, count| unbroken.objects.keys().filter(|name| name.starts_with(kind)).count() == count;
    ensure!(is_there("ControllerRevision/", 2) && is_there("StatefulSet/", 2), "{:?}", unbroken.objects.keys());
    let cases = (1..=unbroken.writes.len()).flat_map(|number| {
        let other = [Fault::Refused(409), Fault::Refused(500), Fault::AnswerLost][number % 3];
        [Fault::DiesBefore, Fault::DiesAfter, other].map(|fault| (number, fault))
    });
    let cases: Vec<_> = cases.collect();
    let count = cases.len();
    let wrong = wrong(Life::Silent, &unbroken, cases).await;
    ensure!(wrong.is_empty(), "{} of {count} runs:\n{}", wrong.len(), wrong.join("\n"));
    Ok(())
}

/// Whether a write is of what pods come from, or of what is to be.
fn is_step(write: &str) -> bool {
    ["/deployments/", "/statefulsets/", "/controllerrevisions/"].iter().any(|of| write.contains(of))
}

/// `MILLSTREAM_KILLS=all` interrupts every write.
#[tokio::test]
async fn a_job_that_runs_is_asked_everything_once_wherever_its_operator_is_interrupted() -> Result<()> {
    let unbroken = Life::Played.run(None).await?;
    let asked = [
        "begins",
        "rescale to 2",
        "rescale to 1",
        "release",
        "savepoint",
        "stop, leaves Checkpoint",
        "begins",
        "stop, leaves Checkpoint",
    ];
    assert_eq!(unbroken.changes, asked);
    let is_call = |write: &String| write.contains(CALL);
    // What comes before it grows is as in the other life.
    let first = unbroken.writes.iter().position(is_call).context("no call")?;
    let all = std::env::var_os("MILLSTREAM_KILLS").is_some_and(|kills| kills == "all");
    let cases = unbroken.writes.iter().zip(1..).skip(first.saturating_sub(2)).flat_map(|(write, number)| {
        let others = [Fault::Refused(500), Fault::AnswerLost, Fault::Refused(409)];
        let faults = [Fault::DiesBefore, Fault::DiesAfter, others[number % 3]];
        let faults = match () {
            () if all => faults.to_vec(),
            () if is_call(write) => vec![Fault::DiesBefore, Fault::DiesAfter],
            () if is_step(write) => vec![faults[number % 2]],
            () => Vec::new(),
        };
        faults.into_iter().map(move |fault| (number, fault))
    });
    let cases: Vec<_> = cases.collect();
    let count = cases.len();
    let wrong = wrong(Life::Played, &unbroken, cases).await;
    ensure!(wrong.is_empty(), "{} of {count} runs:\n{}", wrong.len(), wrong.join("\n"));
    Ok(())
}
