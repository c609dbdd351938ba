//! More workers and fewer, while the job goes on.
use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::StatefulSet;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use millstream_api::crd::{ConditionType, JOB_LABEL, ROLE_LABEL, StreamJob, find};
use millstream_api::wire::RescaleState;
use millstream_operator::name::ordinal;
use millstream_tests::process::until;

use crate::job::{Job, LIMIT, NAME, runs_on};
use crate::pods::kill;

impl Job<'_> {
    /// Pods that its workers' StatefulSet is told to have.
    pub async fn workers_wanted(&self) -> Result<i32> {
        let sets = Api::<StatefulSet>::namespaced(self.cluster.client().await?, &self.namespace);
        let labels = format!("{JOB_LABEL}={NAME},{ROLE_LABEL}=worker");
        let sets = sets.list(&ListParams::default().labels(&labels)).await?.items;
        Ok(sets.iter().filter_map(|set| set.spec.as_ref()?.replicas).sum())
    }

    fn scale(&self, workers: u32) -> Result<()> {
        self.kubectl(&["scale", "streamjob", NAME, &format!("--replicas={workers}")]).map(drop)
    }

    /// Ends the operator's process, which its container then begins anew.
    async fn without_operator(&self) -> Result<()> {
        kill(&crate::operator(self.cluster).await?.name_any())
    }

    /// Asks for a worker that no node takes: the job goes on as it is and says why, and gives it up.
    async fn wants_one_too_many(&self) -> Result<()> {
        self.kubectl(&["cordon", "node1", "node2"])?;
        let short = "{\"spec\":{\"rescale\":{\"podTimeout\":\"10s\"}}}";
        self.kubectl(&["patch", "streamjob", NAME, "--type=merge", "--patch", short])?;
        self.scale(3)?;
        let outcome = async {
            let says = |job: &StreamJob, words: &str| {
                let ready = find(&job.status.as_ref()?.conditions, ConditionType::Ready)?;
                (ready.reason == "Degraded" && ready.message.contains(words)).then(|| ready.message.clone())
            };
            let waits = self.wait_for("a worker that no node takes", |job| says(job, "on 2 of 3 workers").is_some());
            println!("{:?}", says(&waits.await?, ""));
            let left = self.wait_for("the end of the wait", |job| says(job, "given up after 10s").is_some()).await?;
            ensure!(left.status.and_then(|status| status.parallelism) == Some(2));
            let fewer = async || Ok((self.workers_wanted().await? == 2).then_some(()));
            until("as many pods as before", LIMIT, fewer).await.with_context(|| self.explain())
        };
        let outcome = outcome.await;
        self.kubectl(&["uncordon", "node1", "node2"])?;
        outcome?;
        self.scale(2)?;
        self.wait_for("what it had before", |job| runs_on(job, 2)).await.map(drop)
    }
}

#[tokio::test]
async fn a_job_that_is_scaled_keeps_its_pods_and_moves_its_groups() -> Result<()> {
    let cluster = crate::cluster().await?;
    let job = Job::apply(&cluster, "1000 for 65s, 6000").await?;
    job.wait_for("Ready", |job| runs_on(job, 2)).await?;
    let (begun, _) = job.two_checkpoints().await?;
    let lives = job.lives().await?;
    ensure!(lives.len() == 3 && begun.recoveries == 0, "{lives:?} {begun:?}");

    job.wants_one_too_many().await?;

    // One more: it is given tasks and groups, and the others stay what they are, even if the operator dies meanwhile.
    job.scale(3)?;
    let more = async || Ok((job.workers_wanted().await? == 3).then_some(()));
    until("one more pod", LIMIT, more).await?;
    job.without_operator().await?;
    let up = job.rescaled("the way up", |rescale| rescale.to.values().any(|tasks| *tasks == 3)).await?;
    job.wait_for("three workers", |job| runs_on(job, 3)).await?;
    let (grown, _) = job.two_checkpoints().await?;
    let idle = grown.workers.iter().find(|worker| worker.tasks.is_empty());
    ensure!(grown.workers.len() == 3 && idle.is_none(), "{:?}", grown.workers);
    let mut more = job.lives().await?;
    more.retain(|name, life| lives.get(name) != Some(life));
    ensure!(more.len() == 1 && more.keys().all(|name| ordinal(name) == Some(2)), "{lives:?} {more:?}");

    // And one less: it goes when it owns nothing any more, even if the operator dies while its groups move.
    job.scale(2)?;
    let moves = async || {
        let Some(api) = job.api().await? else { return Ok(None) };
        Ok(api.rescales().await?.into_iter().find(|rescale| rescale.id > up.id).map(|rescale| rescale.state))
    };
    println!("the operator dies at {:?}", until("the way down", LIMIT, moves).await?);
    job.without_operator().await?;
    let shrunk = until("fewer pods", LIMIT, async || {
        let Some(api) = job.api().await? else { return Ok(None) };
        let (Ok(said), Ok(rescales)) = (api.job().await, api.rescales().await) else { return Ok(None) };
        // Looked at last: what was seen of the job before has to allow it.
        Ok((job.workers_wanted().await? == 2).then_some((said, rescales)))
    });
    let (said, rescales) = shrunk.await.with_context(|| job.explain())?;
    let down = rescales.first().filter(|rescale| rescale.id > up.id && rescale.state == RescaleState::Done);
    let down = down.with_context(|| format!("fewer pods before the tables have settled: {rescales:?}"))?;
    ensure!(down.groups_moved > 0 && down.bytes_moved > 0, "{down:?}");
    let last = said.workers.iter().filter(|worker| ordinal(&worker.id) == Some(2));
    ensure!(last.flat_map(|worker| &worker.tasks).next().is_none(), "it went with tasks: {said:?}");
    job.wait_for("two workers", |job| runs_on(job, 2)).await?;
    let (after, _) = job.two_checkpoints().await?;
    ensure!((after.recoveries, after.generation, after.term) == (0, begun.generation, begun.term), "{after:?}");
    assert_eq!(job.lives().await?, lives);
    let rescales = job.api().await?.context("no coordinator")?.rescales().await?;
    ensure!(rescales.iter().all(|rescale| rescale.drains.is_empty()), "a worker left with groups: {rescales:?}");
    job.completes().await.map(drop)
}
