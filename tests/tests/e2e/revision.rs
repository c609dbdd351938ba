//! Changes of spec: what fails its check costs nothing, and what does not become healthy gives way without a trace.
use anyhow::{Context, Result, ensure};
use kube::Api;
use millstream_api::crd::{ConditionType, Reason, StreamJob, StreamJobStatus, find};
use millstream_tests::process::until;
use serde_json::{Value, json};

use crate::job::{Job, LIMIT, NAME, is, is_running};

impl Job<'_> {
    /// Someone changes the spec; the generation it has now.
    async fn patch(&self, spec: Value) -> Result<i64> {
        let patch = json!({"spec": spec}).to_string();
        self.kubectl(&["patch", "streamjob", NAME, "--type", "merge", "--patch", &patch])?;
        let jobs = Api::<StreamJob>::namespaced(self.cluster.client().await?, &self.namespace);
        jobs.get(NAME).await?.metadata.generation.context("no generation")
    }

    /// Waits until Accepted is like this for a generation.
    async fn accepted(&self, generation: i64, status: &str, reason: Reason) -> Result<StreamJob> {
        let what = format!("Accepted={status} {}", reason.as_str());
        let holds = |job: &StreamJob| {
            let conditions = job.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
            let found = find(conditions, ConditionType::Accepted);
            let is_about = found.is_some_and(|found| found.observed_generation == Some(generation));
            is_about && is(job, ConditionType::Accepted, status, reason.as_str())
        };
        self.wait_for(&what, holds).await
    }

    async fn revision(&self) -> Result<(StreamJobStatus, String)> {
        let jobs = Api::<StreamJob>::namespaced(self.cluster.client().await?, &self.namespace);
        let status = jobs.get(NAME).await?.status.context("no status")?;
        let name = status.revision.as_ref().context("no revision")?.name.clone();
        Ok((status, name))
    }
}

#[tokio::test]
async fn a_spec_that_cannot_be_run_costs_nothing_and_a_good_one_takes_over() -> Result<()> {
    let cluster = crate::cluster().await?;
    let job = Job::apply(&cluster, "1000").await?;
    let first = job.wait_for("Ready", is_running).await?;
    let (begun, _) = job.two_checkpoints().await?;
    let lives = job.lives().await?;
    let sql = first.spec.sql.inline.clone().context("no SQL")?;
    let other_state = sql.replace("MAX(price)", "MIN(price)");
    ensure!(sql != other_state);

    for (spec, status, reason, said) in [
        (json!({"sql": {"inline": "INSERT INTO nowhere SELECT 1;"}}), "False", Reason::InvalidSql, "nowhere"),
        (json!({"sql": {"inline": other_state}}), "False", Reason::StateMismatch, "upgrade.dropState: [window-1."),
        (json!({"sql": {"inline": sql}, "image": "millstream.invalid/none:1"}), "Unknown", Reason::ImagePull, "none:1"),
    ] {
        let generation = job.patch(spec).await?;
        let seen = job.accepted(generation, status, reason).await?;
        let now = seen.status.clone().unwrap_or_default();
        let accepted = find(&now.conditions, ConditionType::Accepted).context("no condition")?;
        ensure!(accepted.message.contains(said), "{}", accepted.message);
        ensure!(is(&seen, ConditionType::Ready, "True", "Running"), "{now:?}");
        // Only what is decided is told as being about the new spec.
        let is_decided = status == "False";
        ensure!((now.observed_generation == Some(generation)) == is_decided, "{now:?}");
        let rejected = now.rejected.map(|rejected| (rejected.generation, rejected.reason));
        assert_eq!(rejected, is_decided.then_some((generation, reason)));
        let (after, _) = job.two_checkpoints().await?;
        assert_eq!((after.generation, after.term, after.recoveries), (begun.generation, begun.term, 0));
        assert_eq!(job.lives().await?, lives);
    }

    // A good one is taken, and whoever waits for it is not told of the old one.
    let (_, before) = job.revision().await?;
    job.patch(json!({"image": null, "checkpoint": {"interval": "1s"}})).await?;
    job.kubectl(&["wait", "streamjob", NAME, "--for=condition=Ready", "--timeout", "90s"])
        .with_context(|| job.explain())?;
    let (status, after) = job.revision().await?;
    ensure!(after != before && status.rejected.is_none(), "{status:?}");
    let (restored, _) = job.two_checkpoints().await?;
    ensure!(restored.restored_epoch.is_some() && restored.term > begun.term, "{restored:?}");
    let stayed = job.lives().await?.into_keys().filter(|name| lives.contains_key(name)).count();
    assert_eq!(stayed, 0);
    ensure!(job.pods("check").await?.is_empty(), "a check was left");
    job.completes().await.map(drop)
}

#[tokio::test]
async fn a_version_that_does_not_become_healthy_gives_way_to_the_one_before() -> Result<()> {
    let cluster = crate::cluster().await?;
    let job = Job::apply(&cluster, "1200").await?;
    job.wait_for("Ready", is_running).await?;
    let (begun, _) = job.two_checkpoints().await?;
    let (_, good) = job.revision().await?;

    // No node takes its coordinator, which a check in the place of a worker cannot find.
    let nowhere = json!({"podTemplate": {"spec": {"nodeSelector": {"disk": "none"}}}});
    job.patch(json!({"coordinator": nowhere, "upgrade": {"healthTimeout": "15s"}})).await?;
    let other = job.wait_for("the other revision", |job| {
        let revision = job.status.as_ref().and_then(|status| status.revision.as_ref());
        revision.is_some_and(|revision| revision.name != good)
    });
    let other = other.await?;
    ensure!(!is(&other, ConditionType::Ready, "True", "Running"), "{:?}", other.status);
    let back = job.wait_for("the good revision", |job| is(job, ConditionType::Ready, "True", "RolledBack")).await?;
    let status = back.status.clone().unwrap_or_default();
    assert_eq!(status.revision.map(|revision| revision.name), Some(good.clone()));
    let rejected = status.rejected.context("not rejected")?;
    ensure!(
        rejected.reason == Reason::RolledBack && rejected.message.contains("after 15 s: Unschedulable"),
        "{rejected:?}"
    );
    ensure!(is(&back, ConditionType::Accepted, "False", "RolledBack"), "{:?}", back.status);
    // It goes on exactly where it was, and the other is not tried again.
    let (after, _) = job.two_checkpoints().await?;
    let restored = after.restored_epoch.context("it began anew")?;
    ensure!(after.term > begun.term && restored >= begun.checkpoint.map_or(0, |newest| newest.epoch), "{after:?}");
    let quiet = async || Ok(job.pods("check").await?.is_empty().then_some(()));
    until("the end of the check", LIMIT, quiet).await?;
    assert_eq!(job.revision().await?.1, good);
    job.completes().await.map(drop)
}
