//! Nodes that are emptied, and nodes that lose their power.
use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use kube::ResourceExt;
use millstream_api::wire::{JobState, JobStatus, StageStatus};

use crate::job::{Job, is_running};

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

    /// Sees that the node has the coordinator and a worker with tasks.
    async fn is_burdened(&self, job: &JobStatus) -> Result<()> {
        let (coordinators, workers) = (self.on(NODE, "coordinator").await?, self.on(NODE, "worker").await?);
        ensure!(coordinators.len() == 1 && workers.len() == 1, "{coordinators:?} {workers:?}");
        let worker = workers.into_iter().next().context("no worker")?;
        let has_tasks = job.workers.iter().any(|known| known.id == worker && !known.tasks.is_empty());
        ensure!(has_tasks, "{worker} has no tasks: {job:?}");
        Ok(())
    }
}

#[tokio::test]
async fn a_node_that_is_drained_hands_over_its_coordinator_and_its_groups() -> Result<()> {
    let cluster = crate::cluster().await?;
    let job = Job::apply(&cluster, "1500").await?;
    job.wait_for("Ready", is_running).await?;
    let (before, _) = job.two_checkpoints().await?;
    job.is_burdened(&before).await?;
    let drain = ["drain", NODE, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout", "90s"];
    let drained = job.kubectl(&drain).with_context(|| job.explain());
    let outcome = async {
        println!("{}", drained?);
        job.wait_for("all of it on the other node", is_running).await?;
        let (after, _) = job.two_checkpoints().await?;
        ensure!(after.term > before.term, "{before:?}\n{after:?}");
        let went_on = (after.generation, after.recoveries) == (before.generation, before.recoveries);
        ensure!(went_on, "it went back to a checkpoint: {before:?}\n{after:?}\n{}", job.explain());
        ensure!(job.on(NODE, "worker").await?.is_empty() && job.on(NODE, "coordinator").await?.is_empty());
        Ok(())
    };
    let outcome = outcome.await;
    job.kubectl(&["uncordon", NODE])?;
    outcome?;
    job.completes().await.map(drop)
}

#[tokio::test]
async fn a_node_that_dies_takes_no_row_along() -> Result<()> {
    let cluster = crate::cluster().await?;
    // It takes forty seconds until a node is given up. There is input left then, and the end is not far.
    let job = Job::apply(&cluster, "1500 for 20s, 200 for 60s, 2500").await?;
    job.wait_for("Ready", is_running).await?;
    let (before, _) = job.two_checkpoints().await?;
    job.is_burdened(&before).await?;
    let epoch = job.rows_to_lose().await?;
    cluster.kill_node(2).await?;
    let outcome = async {
        let recovered = |job: &JobStatus, _: &[StageStatus]| {
            let is_later = job.term > before.term && job.generation > before.generation;
            (job.state == JobState::Running && is_later).then_some(job.restored_epoch)
        };
        let restored = job.until("a recovery on the other node", recovered).await?;
        ensure!(restored == Some(epoch), "{restored:?} instead of {epoch:?}");
        let (after, _) = job.two_checkpoints().await?;
        let there = job.on("node1", "worker").await?;
        let elsewhere = after.workers.iter().find(|worker| !worker.tasks.is_empty() && !there.contains(&worker.id));
        ensure!(elsewhere.is_none(), "{after:?}");
        println!("{}", job.kubectl(&["get", "streamjobs", "-o", "wide"])?);
        println!("{}", job.kubectl(&["get", "pods", "-o", "wide"])?);
        Ok(())
    };
    let outcome = outcome.await;
    cluster.start_node(2).await?;
    job.kubectl(&["wait", "--for=condition=Ready", &format!("node/{NODE}"), "--timeout=60s"])?;
    outcome?;
    job.wait_for("what it had before", is_running).await?;
    job.completes().await.map(drop)
}
