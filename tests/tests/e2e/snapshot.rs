//! A savepoint as an object, the end of its job with all the job has, and a job that goes on from the savepoint.
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use millstream_runtime::clock::{Clock, SystemClock};

use crate::job::{Job, NAME, is_running};

/// Files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

/// Where the S3 server of the cluster has its bucket: it is a process of this machine.
fn bucket() -> Result<PathBuf> {
    for entry in fs::read_dir("/proc")? {
        let process = entry?.path();
        // A process may vanish while it is looked at.
        let line = fs::read(process.join("cmdline")).unwrap_or_default();
        let bucket = process.join("root/data/millstream");
        if line.starts_with(b"/usr/local/bin/versitygw") && bucket.is_dir() {
            return Ok(bucket);
        }
    }
    anyhow::bail!("no S3 server runs here")
}

impl Job<'_> {
    /// Objects of all jobs of its namespace.
    fn objects(&self) -> Result<Vec<PathBuf>> {
        Ok(files(&bucket()?.join("jobs").join(&self.namespace)))
    }

    fn apply_text(&self, name: &str, text: &str) -> Result<()> {
        let file = self.folder().join(name);
        fs::write(&file, text)?;
        self.kubectl(&["apply", "-f", &file.to_string_lossy()]).map(drop)
    }

    fn snapshot_field(&self, path: &str) -> Result<String> {
        self.kubectl(&["get", "streamjobsnapshot", "noon", "-o", &format!("jsonpath={{{path}}}")])
    }
}

/// The epoch a file of the result was committed with.
fn epoch_of(file: &Path) -> Option<u64> {
    file.file_stem()?.to_str()?.split('-').nth(4)?.parse().ok()
}

#[tokio::test]
async fn a_job_goes_on_from_the_savepoint_of_one_that_went_with_all_it_had() -> Result<()> {
    let cluster = crate::cluster().await?;
    let job = Job::apply(&cluster, "1500 for 25s, 6000").await?;
    // In place: what runs stays.
    let policy = r#"{"spec": {"deletionPolicy": "Delete"}}"#;
    job.kubectl(&["patch", "streamjob", NAME, "--type", "merge", "-p", policy])?;
    job.wait_for("Ready", is_running).await?;
    job.two_checkpoints().await?;
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/kubernetes/snapshot.yaml");
    let snapshot = fs::read_to_string(example)?.replace("popular-noon", "noon");
    let snapshot = snapshot.replace("jobName: popular", &format!("jobName: {NAME}"));
    job.apply_text("noon.yaml", &snapshot)?;
    let done = ["wait", "--for=jsonpath={.status.result}=Succeeded", "streamjobsnapshot/noon", "--timeout=60s"];
    job.kubectl(&done).with_context(|| job.explain())?;
    let path = job.snapshot_field(".status.path")?;
    let epoch: u64 = job.snapshot_field(".status.epoch")?.parse()?;
    let uid = job.snapshot_field(".status.jobUid")?;
    ensure!(path.starts_with(&format!("s3://millstream/jobs/{}/{NAME}/{uid}/manifests/", job.namespace)), "{path}");
    println!("{}", job.kubectl(&["get", "streamjobsnapshots", "-o", "wide"])?);

    // The job goes with all it has, but for the savepoint of the snapshot.
    let clock = SystemClock::default();
    let begun_ms = clock.now_ms();
    job.kubectl(&["delete", "streamjob", NAME, "--timeout", "60s"]).with_context(|| job.explain())?;
    println!("the first job was gone after {} ms", clock.now_ms() - begun_ms);
    let left = job.objects()?;
    let is_savepoint = |file: &PathBuf| path.ends_with(file.file_name().and_then(|name| name.to_str()).unwrap_or("?"));
    ensure!(
        left.iter().any(is_savepoint) && left.iter().all(|file| !file.to_string_lossy().contains("/terms/")),
        "{left:?}"
    );
    ensure!(left.iter().filter(|file| file.to_string_lossy().contains("/manifests/")).count() == 1, "{left:?}");

    // What it has put out after the savepoint, the next one puts out again.
    for file in files(&job.result()) {
        if epoch_of(&file).is_none_or(|committed| committed > epoch) {
            fs::remove_file(file)?;
        }
    }
    let text = fs::read_to_string(job.folder().join("job.yaml"))?;
    let more = "  startFrom: {mode: Snapshot, snapshotName: noon}\n  deletionPolicy: Delete\n";
    job.apply_text("again.yaml", &(text + more))?;
    let started = job.wait_for("its beginning", |now| is_running(now) && started_from(now).is_some()).await?;
    assert_eq!(started_from(&started), Some(path));
    let done = job.completes().await?;
    println!("{}", job.kubectl(&["get", "streamjobs", "-o", "wide"])?);

    // One that has no pods any more is erased by a pod of its own, and so is the savepoint of a job that is gone.
    let begun_ms = clock.now_ms();
    job.kubectl(&["delete", "streamjob", NAME, "--timeout", "60s"]).with_context(|| job.explain())?;
    println!("the second job was gone after {} ms", clock.now_ms() - begun_ms);
    let second = done.metadata.uid.context("no uid")?;
    ensure!(job.objects()?.iter().all(|file| !file.to_string_lossy().contains(&second)), "{:?}", job.objects()?);
    job.kubectl(&["delete", "streamjobsnapshot", "noon", "--timeout", "60s"]).with_context(|| job.explain())?;
    assert_eq!(job.objects()?, Vec::<PathBuf>::new());
    println!("{}", job.kubectl(&["get", "events", "--sort-by", ".lastTimestamp"])?);
    ensure!(job.kubectl(&["get", "pods", "-o", "name"])?.is_empty());
    Ok(())
}

fn started_from(job: &millstream_api::crd::StreamJob) -> Option<String> {
    job.status.as_ref()?.started_from.clone()
}
