//! Pods that come to harm, one after the other.
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use kube::ResourceExt;
use millstream_api::crd::Reason;
use millstream_api::wire::{JobStatus, StageStatus};
use millstream_tests::process::until;
use rustix::process::{Pid, Signal, kill_process};

use crate::job::{Job, LIMIT, NAME, is_running};

/// The process in a pod, wherever it runs on this machine.
pub fn process_of(pod: &str) -> Result<Option<Pid>> {
    let needle = format!("POD_NAME={pod}");
    for entry in fs::read_dir("/proc")? {
        let path = entry?.path();
        let Some(pid) = path.file_name().and_then(|name| name.to_str()?.parse().ok()) else { continue };
        // A process may vanish while it is looked at.
        let environment = fs::read(Path::new(&path).join("environ")).unwrap_or_default();
        if environment.split(|byte| *byte == 0).any(|variable| variable.ends_with(needle.as_bytes())) {
            return Ok(Pid::from_raw(pid));
        }
    }
    Ok(None)
}

pub fn kill(pod: &str) -> Result<()> {
    let process = process_of(pod)?.with_context(|| format!("no process of {pod} runs here"))?;
    Ok(kill_process(process, Signal::KILL)?)
}

/// The control group that a process' memory is counted in, with the names of its limit and of what it uses.
fn memory_of(process: Pid) -> Result<(PathBuf, &'static str, &'static str)> {
    let groups = fs::read_to_string(format!("/proc/{}/cgroup", process.as_raw_nonzero()))?;
    let of = |controller: &str| groups.lines().find_map(|line| line.split_once(':')?.1.strip_prefix(controller));
    Ok(match of("memory:") {
        Some(group) => {
            (format!("/sys/fs/cgroup/memory{group}").into(), "memory.limit_in_bytes", "memory.usage_in_bytes")
        }
        None => (format!("/sys/fs/cgroup{}", of(":").context("no group")?).into(), "memory.max", "memory.current"),
    })
}

/// Has the kernel end the process in a pod for want of memory: there is a little left, and something else takes it, which is not what
/// the kernel ends first, since kubelets put all of a pod in front.
async fn starve(pod: &str) -> Result<()> {
    let process = process_of(pod)?.with_context(|| format!("no process of {pod} runs here"))?;
    let (group, limit, usage) = memory_of(process)?;
    let used: u64 = fs::read_to_string(group.join(usage))?.trim().parse()?;
    fs::write(group.join(limit), (used + (16 << 20)).to_string())?;
    let mut hog = Command::new("tail").arg("/dev/zero").stdout(Stdio::null()).spawn()?;
    let starved = async {
        fs::write(group.join("cgroup.procs"), hog.id().to_string())?;
        let ended = async || Ok(process_of(pod)?.filter(|now| *now == process).is_none().then_some(()));
        until("the end of a process without memory", LIMIT, ended).await
    };
    let starved = starved.await;
    hog.kill()?;
    hog.wait()?;
    starved
}

#[tokio::test]
async fn a_job_survives_its_pods_and_its_result_is_that_of_an_unbroken_run() -> Result<()> {
    assert_eq!(NAME.len(), 40);
    let cluster = crate::cluster().await?;
    // For a minute, if nothing happened.
    let job = Job::apply(&cluster, "1500").await?;
    job.wait_for("Ready", is_running).await?;
    let shown = job.kubectl(&["get", "streamjobs"])?;
    ensure!(shown.contains("True") && shown.contains("Running"), "{shown}");

    // A worker's pod is deleted: its groups move to the other one, and nothing is read again.
    let (begun, _) = job.two_checkpoints().await?;
    let workers = job.pods("worker").await?;
    ensure!(workers.len() == 2 && begun.recoveries == 0, "{begun:?}");
    job.kubectl(&["delete", "pod", &workers[1].name_any(), "--wait=false"])?;
    job.rescaled("the drain", |rescale| !rescale.drains.is_empty()).await?;
    job.wait_for("the worker that is back, and its tasks", is_running).await?;

    // One has too little memory: the job goes back to its checkpoint and reads again what came after it.
    let (before, _) = job.two_checkpoints().await?;
    ensure!((before.recoveries, before.generation) == (0, begun.generation), "{before:?}");
    let epoch = job.rows_to_lose().await?;
    starve(&workers[0].name_any()).await?;
    let recovered = |job: &JobStatus, _: &[StageStatus]| {
        let newest = job.checkpoint.as_ref().map(|newest| newest.epoch);
        (job.recoveries == 1).then_some(newest)
    };
    assert_eq!(job.until("a recovery", recovered).await?, Some(epoch), "these rows should have been read again");
    let failed = job.wait_for("what has happened", |job| {
        job.status.as_ref().is_some_and(|status| status.last_failure.is_some()) && is_running(job)
    });
    let failure = failed.await?.status.and_then(|status| status.last_failure).context("no failure")?;
    let of = (failure.pod.as_deref(), failure.reason);
    assert_eq!(of, (Some(workers[0].name_any().as_str()), Reason::OOMKilled), "{failure:?}");

    // The coordinator's pod is deleted: another one takes over what runs.
    let (before, _) = job.two_checkpoints().await?;
    job.kubectl(&["delete", "pod", &job.pods("coordinator").await?[0].name_any(), "--wait=false"])?;
    let (after, _) = job.two_checkpoints().await?;
    let went_on = after.term > before.term && after.generation == before.generation;
    ensure!(went_on, "its tasks were not taken over: {before:?}\n{after:?}");

    job.completes().await?;
    let none =
        async || Ok((job.pods("worker").await?.is_empty() && job.pods("coordinator").await?.is_empty()).then_some(()));
    until("the end of all pods", LIMIT, none).await?;
    for look in [&["get", "streamjobs", "-o", "wide"][..], &["describe", "streamjob", NAME], &["get", "pods"]] {
        println!("{}", job.kubectl(look)?);
    }
    println!("{}", job.kubectl(&["-n", "millstream-system", "logs", "deployment/millstream"])?);

    job.kubectl(&["delete", "streamjob", NAME, "--timeout", "60s"])?;
    let kinds = "deployments,statefulsets,services,poddisruptionbudgets,controllerrevisions";
    let none = async || Ok(job.kubectl(&["get", kinds, "-o", "name"])?.is_empty().then_some(()));
    until("the end of its objects", LIMIT, none).await
}
