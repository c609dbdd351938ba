//! Nodes that are emptied, lose their power, or are cut off.
use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use kube::ResourceExt;
use millstream_api::id::Epoch;
use millstream_api::wire::{JobState, JobStatus, RescaleState, RescaleStatus, StageStatus};
use millstream_operator::client::Client;
use millstream_operator::name::ordinal;
use millstream_tests::process::until;
use tokio::runtime::Builder;

use crate::job::{Job, LIMIT, is_running};
use crate::pods::process_of;

/// The one that harm is done to: DNS and S3 are on the other one.
const NODE: &str = "node2";

impl Job<'_> {
    /// Its pods of a role that are on a node.
    async fn on(&self, node: &str, role: &str) -> Result<BTreeSet<String>> {
        let pods = self.pods(role).await?;
        let there =
            pods.iter().filter(|pod| pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) == Some(node));
        Ok(there.map(ResourceExt::name_any).collect())
    }

    /// Sees that the node has the coordinator and a worker with tasks, and says which worker.
    async fn is_burdened(&self, job: &JobStatus) -> Result<String> {
        let (coordinators, workers) = (self.on(NODE, "coordinator").await?, self.on(NODE, "worker").await?);
        ensure!(coordinators.len() == 1 && workers.len() == 1, "{coordinators:?} {workers:?}");
        let worker = workers.into_iter().next().context("no worker")?;
        let has_tasks = job.workers.iter().any(|known| known.id == worker && !known.tasks.is_empty());
        ensure!(has_tasks, "{worker} has no tasks: {job:?}");
        Ok(worker)
    }
}

impl Job<'_> {
    /// Empties the node as a person does, sees what is told of it, and that all of the job is on the other one then.
    async fn drained(&self, more: &[&str], told: impl AsyncFnOnce() -> Result<()>) -> Result<()> {
        let drain = ["drain", NODE, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout", "90s"];
        let drained = self.kubectl(&[drain.as_slice(), more].concat());
        let outcome = async {
            println!("{}", drained.with_context(|| self.explain())?);
            told().await?;
            self.wait_for("all of it on the other node", is_running).await?;
            ensure!(self.on(NODE, "worker").await?.is_empty() && self.on(NODE, "coordinator").await?.is_empty());
            Ok(())
        };
        let outcome = outcome.await;
        self.kubectl(&["uncordon", NODE])?;
        outcome
    }
}

/// The hand-over of a worker that drains, as this coordinator knows it until it is gone.
async fn handed_over(api: Client, worker: String) -> Result<Option<RescaleStatus>> {
    let mut last = None;
    let gone = until("the end of a coordinator", LIMIT, async || {
        let Ok(rescales) = api.rescales().await else { return Ok(Some(())) };
        last = rescales.into_iter().find(|rescale| rescale.drains.contains(&worker)).or(last.take());
        Ok(None)
    });
    gone.await.map(|()| last)
}

#[tokio::test]
async fn a_node_that_is_drained_hands_over_its_coordinator_and_its_groups() -> Result<()> {
    let cluster = crate::cluster().await?;
    let job = Job::apply(&cluster, "1500 for 40s, 6000").await?;
    job.wait_for("Ready", is_running).await?;
    let (before, _) = job.two_checkpoints().await?;
    let worker = job.is_burdened(&before).await?;
    let (api, drains) = (job.api().await?.context("no coordinator")?, worker.clone());
    // While this thread waits for kubectl.
    let looks_on = Builder::new_current_thread().enable_all().build()?;
    let first = std::thread::spawn(move || looks_on.block_on(handed_over(api, drains)));
    let handed = async || {
        let first = first.join().map_err(|_| anyhow::anyhow!("whoever looked on has panicked"))??;
        let next = job.api().await?.context("no coordinator")?.rescales().await?;
        // Either of them does all of it, or the first begins and the next ends it; then each knows its part. That nothing went
        // back to a checkpoint is seen below.
        let known: Vec<_> = first.into_iter().chain(next).collect();
        let of_worker: Vec<_> = known.iter().filter(|rescale| rescale.drains.contains(&worker)).collect();
        ensure!(!of_worker.is_empty(), "{worker} has handed nothing over: {known:?}");
        // Half of the 256 groups of the one stage that has any, with what is in them.
        let is_whole = |rescale: &RescaleStatus| rescale.groups_moved == 128 && rescale.bytes_moved > 0;
        let mut done = of_worker.iter().filter(|rescale| rescale.state == RescaleState::Done);
        ensure!(known.len() > 1 || done.all(|rescale| is_whole(rescale)), "{known:?}");
        Ok(())
    };
    job.drained(&[], handed).await?;
    let (after, _) = job.two_checkpoints().await?;
    ensure!(after.term > before.term, "{before:?}\n{after:?}");
    let went_on = (after.generation, after.recoveries) == (before.generation, before.recoveries);
    ensure!(went_on, "it went back to a checkpoint: {before:?}\n{after:?}\n{}", job.explain());
    job.completes().await.map(drop)
}

#[tokio::test]
async fn a_node_that_is_drained_in_a_second_costs_no_more_than_a_restore() -> Result<()> {
    let cluster = crate::cluster().await?;
    let job = Job::apply(&cluster, "1500 for 35s, 6000").await?;
    job.wait_for("Ready", is_running).await?;
    let (before, _) = job.two_checkpoints().await?;
    job.is_burdened(&before).await?;
    let epoch = job.rows_to_lose().await?;
    let restored = async || {
        let restored = job.restored(&before).await?;
        ensure!(restored == Some(epoch), "{restored:?} instead of {epoch:?}");
        Ok(())
    };
    job.drained(&["--grace-period=1"], restored).await?;
    job.completes().await.map(drop)
}

/// For as long as it takes until a node is given up, which is forty seconds, there is input left, and then the end is not far.
const RATE: &str = "1500 for 20s, 200 for 90s, 8000";

impl Job<'_> {
    /// Waits until another coordinator has taken the job back to a checkpoint, and says which one.
    async fn restored(&self, before: &JobStatus) -> Result<Option<Epoch>> {
        let recovered = |job: &JobStatus, _: &[StageStatus]| {
            let is_later = job.term > before.term && job.generation > before.generation;
            (job.state == JobState::Running && is_later).then_some(job.restored_epoch)
        };
        self.until("a recovery on the other node", recovered).await
    }

    /// Waits until the job has gone back to this checkpoint on the other node, and has as many workers there as it had before:
    /// one was added for the one that is lost.
    async fn recovers_elsewhere(&self, before: &JobStatus, epoch: Epoch) -> Result<RescaleStatus> {
        let restored = self.restored(before).await?;
        ensure!(restored == Some(epoch), "{restored:?} instead of {epoch:?}");
        let up =
            self.rescaled("tasks on a worker that was added", |up| up.to.values().all(|tasks| *tasks == 2)).await?;
        self.wait_for("two workers", is_running).await?;
        let (after, _) = self.two_checkpoints().await?;
        let there = self.on("node1", "worker").await?;
        let hosts: BTreeSet<String> =
            after.workers.iter().filter(|worker| !worker.tasks.is_empty()).map(|worker| worker.id.clone()).collect();
        ensure!(hosts == there && hosts.iter().any(|name| ordinal(name) == Some(2)), "{hosts:?} {there:?} {after:?}");
        for look in [["get", "streamjobs"], ["get", "pods"]] {
            println!("{}", self.kubectl(&[look.as_slice(), &["-o", "wide"]].concat())?);
        }
        Ok(up)
    }

    /// Waits until the node is back, and with it the worker that was lost: the added one has gone, and owned nothing then.
    async fn is_as_before(&self, up: &RescaleStatus) -> Result<()> {
        self.kubectl(&["wait", "--for=condition=Ready", &format!("node/{NODE}"), "--timeout=60s"])?;
        self.rescaled("the added worker's tasks on the one that is back", |back| back.id > up.id).await?;
        let fewer = until("fewer pods", LIMIT, async || {
            let Some(api) = self.api().await? else { return Ok(None) };
            let Ok(said) = api.job().await else { return Ok(None) };
            // Looked at last: what was seen of the job before has to allow it.
            Ok((self.workers_wanted().await? == 2).then_some(said))
        });
        let said = fewer.await.with_context(|| self.explain())?;
        let last = said.workers.iter().filter(|worker| ordinal(&worker.id) == Some(2));
        ensure!(last.flat_map(|worker| &worker.tasks).next().is_none(), "it went with tasks: {said:?}");
        self.wait_for("what it had before", is_running).await.map(drop)
    }
}

#[tokio::test]
async fn a_node_that_dies_takes_no_row_along() -> Result<()> {
    let cluster = crate::cluster().await?;
    let job = Job::apply(&cluster, RATE).await?;
    job.wait_for("Ready", is_running).await?;
    let (before, _) = job.two_checkpoints().await?;
    job.is_burdened(&before).await?;
    let epoch = job.rows_to_lose().await?;
    cluster.kill_node(2).await?;
    let recovered = job.recovers_elsewhere(&before, epoch).await;
    cluster.start_node(2).await?;
    job.is_as_before(&recovered?).await?;
    job.completes().await.map(drop)
}

#[tokio::test]
async fn a_node_that_is_cut_off_changes_nothing_any_more() -> Result<()> {
    let cluster = crate::cluster().await?;
    let job = Job::apply(&cluster, RATE).await?;
    job.wait_for("Ready", is_running).await?;
    let (before, _) = job.two_checkpoints().await?;
    job.is_burdened(&before).await?;
    let apart: Vec<_> = job.on(NODE, "coordinator").await?.into_iter().chain(job.on(NODE, "worker").await?).collect();
    let uids = job.lives().await?;
    let epoch = job.rows_to_lose().await?;
    cluster.cut_node(2).await?;
    let recovered = async {
        let up = job.recovers_elsewhere(&before, epoch).await?;
        for pod in &apart {
            ensure!(process_of(pod)?.is_some(), "{pod} should live on behind the cut");
        }
        let (after, _) = job.two_checkpoints().await?;
        Ok((up, after))
    };
    let recovered = recovered.await;
    cluster.heal_node(2).await?;
    let (up, after) = recovered?;
    // A coordinator and a worker that know nothing of what has happened meanwhile, and can reach everything again.
    job.is_as_before(&up).await?;
    let pods = job.lives().await?;
    ensure!(apart.iter().all(|pod| pods.get(pod) != uids.get(pod)), "{uids:?} {pods:?}");
    let (now, _) = job.two_checkpoints().await?;
    let are_same = (now.term, now.generation, now.recoveries) == (after.term, after.generation, after.recoveries);
    ensure!(are_same, "what was cut off has changed something: {after:?}\n{now:?}");
    job.completes().await.map(drop)
}
