//! Savepoints by name, a job that goes back to one, and the end of all that a job has in its store.
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use millstream_api::wire::{CheckpointStatus, EraseStatus, JobState};
use millstream_tests::pods::{Pods, S3, TOKEN};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::{LIMIT, RATE, is_running, job, next_checkpoint};

/// All files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

async fn post<T: serde::de::DeserializeOwned>(pods: &Pods, path: &str, body: Value) -> Result<T> {
    let (status, text) = pods.call(TOKEN, path, Some(body)).await?;
    ensure!(status == 200, "{path}: {status} {text}");
    Ok(serde_json::from_str(&text)?)
}

async fn savepoint(pods: &Pods, name: &str) -> Result<CheckpointStatus> {
    post(pods, "savepoints", json!({"name": name})).await
}

/// A job with one worker in a folder of its own, with more lines of its file.
fn begin(folder: &Path, name: &str, s3: &S3, more: impl Fn(String) -> String) -> Result<Pods> {
    let file = job(folder, 1, &s3.store())?;
    std::fs::write(&file, more(std::fs::read_to_string(&file)?))?;
    let mut pods = Pods::new(&folder.join(name), "popular", &file)?;
    pods.start("coordinator", 0, 30, &[RATE])?;
    pods.start("worker", 1, 30, &[RATE])?;
    Ok(pods)
}

#[tokio::test]
async fn a_named_savepoint_is_taken_once_and_a_job_goes_back_to_it_once() -> Result<()> {
    let (folder, mut s3) = (tempfile::tempdir()?, S3::new()?);
    s3.start()?;
    let folder = folder.path();
    let mut pods = begin(folder, "first", &s3, |text| text)?;
    next_checkpoint(&mut pods).await?;
    let (one, same) = tokio::join!(savepoint(&pods, "noon"), savepoint(&pods, "noon"));
    // The one that was asked for before it was complete may be told that the other one is answered.
    let taken = one.or(same)?;
    ensure!(taken.savepoint && taken.name.as_deref() == Some("noon"), "{taken:?}");
    assert_eq!(savepoint(&pods, "noon").await?, taken);
    // Another coordinator finds it in the store.
    pods.signal("coordinator", Signal::KILL)?;
    pods.end("coordinator", LIMIT).await?;
    pods.start("coordinator", 0, 30, &[RATE])?;
    pods.until("its return", is_running).await?;
    let found = savepoint(&pods, "noon").await?;
    assert_eq!((found.path.as_str(), found.epoch), (taken.path.as_str(), taken.epoch));
    let other = savepoint(&pods, "evening").await?;
    ensure!(other.epoch > taken.epoch, "{other:?}");
    next_checkpoint(&mut pods).await?;
    drop(pods);

    let back = |text: String| {
        let text = text.replace("{name: popular}", "{name: popular, annotations: {millstream.dev/restore: \"2\"}}");
        format!("{text}  startFrom: {{mode: Path, path: \"{}\"}}\n", taken.path)
    };
    let mut pods = begin(folder, "second", &s3, back)?;
    let restored = next_checkpoint(&mut pods).await?;
    assert_eq!((restored.restored_epoch, restored.started_from.as_deref()), (Some(taken.epoch), Some(&*taken.path)));
    drop(pods);
    // Those who come later go on from where it is then.
    let mut pods = begin(folder, "third", &s3, back)?;
    let later = next_checkpoint(&mut pods).await?;
    ensure!(later.restored_epoch > restored.restored_epoch, "{later:?}");
    assert_eq!(later.started_from.as_deref(), Some(&*taken.path));
    Ok(())
}

#[tokio::test]
async fn what_is_erased_is_gone_and_does_not_come_back() -> Result<()> {
    let (folder, mut s3) = (tempfile::tempdir()?, S3::new()?);
    s3.start()?;
    let mut pods = begin(folder.path(), "first", &s3, |text| text)?;
    next_checkpoint(&mut pods).await?;
    let (kept, gone) = (savepoint(&pods, "kept").await?, savepoint(&pods, "gone").await?);
    next_checkpoint(&mut pods).await?;
    // One savepoint, while the job runs: nothing that others need goes with it.
    let manifest = |path: &str| s3.objects().join(path.trim_start_matches("s3://bucket/jobs/"));
    post::<EraseStatus>(&pods, "savepoints/erase", json!({"path": gone.path})).await?;
    ensure!(!manifest(&gone.path).exists() && manifest(&kept.path).exists());
    let (status, text) = pods.call(TOKEN, "savepoints/erase", Some(json!({"path": "s3://bucket/jobs/x"}))).await?;
    ensure!(status == 400 && text.contains("no path of a checkpoint of this job"), "{status} {text}");
    next_checkpoint(&mut pods).await?;
    let (status, text) = pods.call(TOKEN, "erase", Some(json!({}))).await?;
    ensure!(status == 409 && text.contains("the job is not over"), "{status} {text}");

    post::<Value>(&pods, "stop", json!({})).await?;
    pods.until("the stop", |job| (job.state == JobState::Stopped).then_some(())).await?;
    // Its workers may still have to end.
    let keep = json!({"keep": [kept.path]});
    while pods.call(TOKEN, "erase", Some(keep.clone())).await?.0 != 200 {
        tokio::task::yield_now().await;
    }
    let left = files(&s3.objects());
    ensure!(left.len() > 1 && left.contains(&manifest(&kept.path)), "{left:?}");
    ensure!(left.iter().all(|file| !file.to_string_lossy().contains("/terms/")), "{left:?}");
    post::<EraseStatus>(&pods, "erase", json!({})).await?;
    assert_eq!(files(&s3.objects()), Vec::<PathBuf>::new());
    // A process that is started again in the same pod writes nothing.
    pods.signal("coordinator", Signal::KILL)?;
    pods.end("coordinator", LIMIT).await?;
    pods.start("coordinator", 0, 30, &[RATE])?;
    ensure!(!pods.end("coordinator", LIMIT).await?.success());
    let words = pods.termination("coordinator")?["message"].as_str().context("no message")?.to_owned();
    ensure!(words.contains("was erased"), "{words}");
    assert_eq!(files(&s3.objects()), Vec::<PathBuf>::new());
    Ok(())
}
