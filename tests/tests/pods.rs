//! A job in pods, as processes on this machine with certificates, a token, and an S3 server: what it commits is what an unbroken
//! run commits, whatever happens to its pods.
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use millstream_api::wire::{Blocked, JobState, JobStatus, RescaleState};
use millstream_tests::pods::{Pods, S3, TOKEN};
use millstream_tests::popular::{check_result, spec};
use millstream_tests::process::{committed_lines, until};
use rustix::process::Signal;
use serde_json::json;

#[path = "pods/savepoint.rs"]
mod savepoint;

/// The longest a job may take with all that happens to it.
const LIMIT: Duration = Duration::from_secs(90);

fn job(folder: &Path, parallelism: u32, store: &str) -> Result<String> {
    let file = spec(folder, parallelism, "RocksDB")?;
    let text = format!("{}  store: {store}\n", std::fs::read_to_string(&file)?);
    // The rate comes from outside, as a secret does.
    let variables = "  variables: [{name: RATE, secretKeyRef: {name: rates, key: rate}}]\n";
    std::fs::write(&file, text + variables)?;
    Ok(file)
}

/// The job has input for 20 s, unless it is held up.
const RATE: (&str, &str) = ("MILLSTREAM_VAR_RATE", "5000");

fn is_running(job: &JobStatus) -> Option<JobStatus> {
    (job.state == JobState::Running && job.checkpoint.is_some()).then(|| job.clone())
}

/// Waits until at least one more checkpoint is committed.
async fn next_checkpoint(pods: &mut Pods) -> Result<JobStatus> {
    let before = pods.until("a checkpoint", is_running).await?.checkpoint.map_or(0, |done| done.epoch);
    let is_next =
        |job: &JobStatus| is_running(job).filter(|job| job.checkpoint.as_ref().is_some_and(|c| c.epoch > before));
    pods.until("the next checkpoint", is_next).await
}

async fn completed(pods: &mut Pods, folder: &Path) -> Result<JobStatus> {
    let job = pods.until("the end", |job| (job.state == JobState::Completed).then(|| job.clone())).await?;
    let lines = committed_lines(&folder.join("result"))?;
    check_result(&lines).map_err(|error| pods.explain(error))?;
    Ok(job)
}

/// What the pods 0 to 2 serve, and what they refuse.
async fn check_ports(pods: &Pods) -> Result<()> {
    for number in 0..3 {
        assert_eq!((pods.probe(number, "readyz").await?, pods.probe(number, "healthz").await?), (200, 200));
        assert_eq!(pods.probe(number, "metrics").await?, 200);
    }
    assert_eq!(pods.probe(0, "api/v1/job").await?, 404, "the admin port has no API");
    assert_eq!(pods.call("wrong", "job", None).await?.0, 401);
    Ok(())
}

#[tokio::test]
async fn pods_come_and_go_and_the_result_is_that_of_an_unbroken_run() -> Result<()> {
    let (folder, mut s3) = (tempfile::tempdir()?, S3::new()?);
    s3.start()?;
    let folder = folder.path();
    let mut pods = Pods::new(folder, "popular", &job(folder, 2, &s3.store())?)?;
    pods.start("coordinator", 0, 30, &[RATE])?;
    let first = pods.start("worker", 1, 30, &[RATE])?;
    let second = pods.start("worker", 2, 30, &[RATE])?;
    let begun = next_checkpoint(&mut pods).await?;
    ensure!(begun.workers.iter().all(|worker| worker.slots == 1 && worker.tasks.len() == 2), "{begun:?}");
    ensure!(begun.workers[0].data_address.ends_with(".1:7071"), "{begun:?}");
    assert!(s3.objects().join("space/popular").is_dir(), "where the store should have the job");
    check_ports(&pods).await?;
    // Drained: what it owns moves, and nothing is read again.
    pods.authority.renew("popular")?;
    pods.signal(&second, Signal::TERM)?;
    assert_eq!(pods.end(&second, LIMIT).await?.code(), Some(0), "it owns nothing");
    let drained = next_checkpoint(&mut pods).await?;
    assert_eq!((drained.generation, drained.recoveries), (begun.generation, 0));
    let rescale = pods.rescales().await?.remove(0);
    assert_eq!((rescale.state, rescale.drains.as_slice()), (RescaleState::Done, &[second.clone()][..]));
    assert!(rescale.groups_moved > 0 && rescale.bytes_moved > 0, "{rescale:?}");
    assert!(pods.stages().await?.iter().all(|stage| stage.tasks.len() == 1));
    // Back: as many tasks as before, if the job is still what that was decided on.
    pods.start("worker", 2, 30, &[RATE])?;
    pods.until("the worker that is back", |job| (job.workers.len() == 2).then_some(())).await?;
    let stages = pods.stages().await?;
    let names = stages.iter().map(|stage| (stage.name.clone(), json!(2))).collect::<serde_json::Map<_, _>>();
    let versions = |add: u64| -> serde_json::Map<_, _> {
        stages.iter().map(|stage| (stage.name.clone(), json!(stage.table_version + add))).collect()
    };
    let hosts = pods.release(&first).await?;
    ensure!(hosts.0 == 409 && hosts.1.contains("hosts tasks"), "{hosts:?}");
    let ask =
        |add| json!({"stages": names, "expect": {"generation": begun.generation, "table_versions": versions(add)}});
    assert_eq!(pods.call(TOKEN, "rescale", Some(ask(1))).await?.0, 409);
    let (status, body) = pods.call(TOKEN, "rescale", Some(ask(0))).await?;
    ensure!(status == 200, "{body}");
    until("the end of the rescale", LIMIT, async || {
        let rescales = pods.rescales().await.unwrap_or_default();
        Ok(rescales.first().filter(|rescale| rescale.state == RescaleState::Done).map(drop))
    })
    .await?;
    // A coordinator that comes back takes over what runs; the certificates are others again.
    next_checkpoint(&mut pods).await?;
    pods.authority.renew("popular")?;
    pods.signal("coordinator", Signal::KILL)?;
    pods.end("coordinator", LIMIT).await?;
    pods.start("coordinator", 0, 30, &[RATE])?;
    let again = next_checkpoint(&mut pods).await?;
    let went_on = (again.generation, again.term) == (begun.generation, 2);
    ensure!(went_on, pods.explain(anyhow::anyhow!("its tasks were not taken over: {again:?}")));
    // Lost: the job goes on with the slots there are.
    pods.signal(&first, Signal::KILL)?;
    let lost = pods.until("a recovery", |job| is_running(job).filter(|job| job.recoveries == 1)).await?;
    assert_eq!(lost.workers.len(), 1);
    let idle = pods.start("worker", 3, 30, &[RATE])?;
    pods.until("another worker", |job| (job.workers.len() == 2).then_some(())).await?;
    let (status, body) = pods.release(&idle).await?;
    let released = serde_json::from_str::<JobStatus>(&body)?.workers.into_iter().find(|worker| worker.released);
    assert_eq!((status, released.map(|worker| worker.id)), (200, Some(idle)), "{body}");
    let done = completed(&mut pods, folder).await?;
    assert_eq!(done.recoveries, 1);
    // The coordinator of a job that has ended stays, until it is told to go.
    assert_eq!(pods.probe(0, "healthz").await?, 200);
    pods.signal("coordinator", Signal::TERM)?;
    assert_eq!(pods.end("coordinator", LIMIT).await?.code(), Some(0));
    Ok(())
}

#[tokio::test]
async fn without_the_time_to_drain_a_worker_leaves_a_checkpoint() -> Result<()> {
    let (folder, mut s3) = (tempfile::tempdir()?, S3::new()?);
    s3.start()?;
    let folder = folder.path();
    let mut pods = Pods::new(folder, "popular", &job(folder, 1, &s3.store())?)?;
    pods.start("coordinator", 0, 30, &[RATE])?;
    let only = pods.start("worker", 1, 30, &[RATE])?;
    let begun = next_checkpoint(&mut pods).await?;
    pods.signal(&only, Signal::TERM)?;
    assert_eq!(pods.end(&only, LIMIT).await?.code(), Some(0), "all is in a checkpoint");
    pods.start("worker", 1, 30, &[RATE])?;
    let again = next_checkpoint(&mut pods).await?;
    assert!(again.generation > begun.generation && again.recoveries == 0, "{again:?}");
    completed(&mut pods, folder).await?;
    Ok(())
}

/// Stops a running job with a savepoint, and says where that is.
async fn stopped(pods: &mut Pods) -> Result<String> {
    next_checkpoint(pods).await?;
    let (status, body) = pods.call(TOKEN, "stop", Some(json!({"savepoint": true}))).await?;
    ensure!(status == 200, "{body}");
    let end = pods.until("the stop", |job| (job.state == JobState::Stopped).then(|| job.clone())).await?;
    let last = end.checkpoint.filter(|last| last.savepoint);
    Ok(last.context("no savepoint")?.path)
}

#[tokio::test]
async fn a_job_begins_where_another_of_its_name_has_ended() -> Result<()> {
    let (folder, mut s3) = (tempfile::tempdir()?, S3::new()?);
    s3.start()?;
    let folder = folder.path();
    let begin = |name: &str, parallelism: u32, from: &str| -> Result<Pods> {
        let file = job(folder, parallelism, &s3.store())?;
        std::fs::write(&file, format!("{}  startFrom: {from}\n", std::fs::read_to_string(&file)?))?;
        let mut pods = Pods::new(&folder.join(name), "popular", &file)?.with_uid(name);
        pods.start("coordinator", 0, 30, &[RATE])?;
        for number in 0..parallelism {
            pods.start("worker", 1 + number as u8, 30, &[RATE])?;
        }
        Ok(pods)
    };
    // Nothing is there yet to begin from.
    let mut first = begin("one", 1, "{mode: Latest}")?;
    let path = stopped(&mut first).await?;
    ensure!(path.starts_with("s3://bucket/jobs/space/popular/one/manifests/"), "{path}");
    let mut second = begin("two", 2, &format!("{{mode: Path, path: \"{path}\"}}"))?;
    let other = stopped(&mut second).await?;
    ensure!(other.starts_with("s3://bucket/jobs/space/popular/two/manifests/"), "{other}");
    let mut third = begin("three", 1, "{mode: Latest}")?;
    let running = next_checkpoint(&mut third).await?;
    ensure!(running.restored_epoch.is_some() && running.recoveries == 0, "{running:?}");
    completed(&mut third, folder).await?;
    assert!(s3.objects().join("space/popular/one/manifests").is_dir(), "it is another job's");
    Ok(())
}

#[tokio::test]
async fn what_stands_in_the_way_is_said() -> Result<()> {
    let (folder, mut s3) = (tempfile::tempdir()?, S3::new()?);
    let folder = folder.path();
    let file = job(folder, 1, &s3.store())?;
    let secret = ("MILLSTREAM_VAR_RATE", "not-a-rate-987");
    let mut pods = Pods::new(folder, "popular", &file)?;
    pods.start("coordinator", 0, 30, &[secret])?;
    assert_eq!(pods.end("coordinator", LIMIT).await?.code(), Some(2));
    let told = pods.termination("coordinator")?;
    assert_eq!(told["reason"], "InvalidSql", "{told}");
    let said = format!("{told} {}", pods.log("coordinator")?);
    assert!(said.contains("${RATE}") && !said.contains("not-a-rate-987"), "{said}");
    // A store that is down: the coordinator says so, and goes on once it is up.
    pods.start("coordinator", 0, 30, &[RATE])?;
    pods.start("worker", 1, 30, &[RATE])?;
    let blocked = |job: &JobStatus| job.blocked.map(|blocked| (blocked, job.error.clone().unwrap_or_default()));
    let (blocked, error) = pods.until("what is in the way", blocked).await?;
    assert!(blocked == Blocked::StoreUnreachable && error.contains("127.0.0.1"), "{error}");
    assert_eq!((pods.probe(0, "readyz").await?, pods.probe(0, "healthz").await?), (200, 200));
    assert_eq!(pods.call(TOKEN, "stop", Some(json!({}))).await?.0, 503);
    assert_eq!(pods.probe(1, "readyz").await?, 200, "a worker is ready without its coordinator");
    s3.start()?;
    let running = next_checkpoint(&mut pods).await?;
    assert_eq!(running.blocked, None);
    // One that goes while the job runs: no task can store what it has.
    s3.stop();
    let away = |job: &JobStatus| job.blocked.map(|blocked| (blocked, job.state, job.recoveries));
    assert_eq!(pods.until("what is in the way", away).await?, (Blocked::StoreUnreachable, JobState::Running, 0));
    s3.start()?;
    let back = |job: &JobStatus| job.blocked.is_none().then_some(job.recoveries);
    assert_eq!(pods.until("a checkpoint after that", back).await?, 0);
    Ok(())
}
