//! A golden job as real processes: straight, with checkpoints, and stopped with a savepoint and restored.
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use millstream_api::id::KeyGroup;
use millstream_runtime::checkpoint::manifest::Manifest;
use millstream_runtime::state::Backend;
use millstream_runtime::state::memory::MemoryBackend;

use super::Case;
use super::changelog::{fold, fold_restored};
use crate::process::{Job, committed_lines, millstream, rows_read};

/// The longest a golden job may take.
const LIMIT: Duration = Duration::from_secs(60);

/// A golden job in a folder of its own.
pub struct Real<'a> {
    case: &'a Case,
    folder: &'a Path,
}

impl<'a> Real<'a> {
    /// For this job in this empty folder.
    pub fn new(case: &'a Case, folder: &'a Path) -> Result<Self> {
        fs::write(folder.join("job.sql"), &case.sql)?;
        Ok(Self { case, folder })
    }

    /// Starts it; its processes have their files in the folder `name`.
    fn start(&self, name: &str, more: &[&str]) -> Result<Job> {
        let file = self.folder.join("job.sql").to_string_lossy().into_owned();
        let out = format!("OUT={}", self.folder.join("out").display());
        let batch = format!("batch.rows={}", self.case.batch_rows.unwrap_or(16));
        let args = [&[file.as_str(), "--set", &out, "--set", &batch], more].concat();
        Job::start(&self.folder.join(name), &args)
    }

    /// The result of a run from beginning to end.
    pub async fn run(&self, options: &[&str]) -> Result<Vec<String>> {
        let mut job = self.start("run", options)?;
        let done = job.end(LIMIT).await?.success()?;
        let status = job.outcome()?.job;
        let counted = (status.late_rows, status.bad_records);
        let (late, bad) = (self.case.late, self.case.bad);
        ensure!(counted == (late, bad), "late rows and malformed records are {counted:?}, not {:?}", (late, bad));
        match self.case.keys {
            Some(keys) => fold(&done.stdout, keys),
            None => self.written(),
        }
    }

    /// The result of a run at two tasks a stage that is stopped with a savepoint in its middle and restored at three.
    pub async fn run_restored(&self) -> Result<Vec<String>> {
        let slow = format!("task.records-per-second={}", self.case.rate.unwrap_or(700));
        let two = [
            "--parallelism",
            "2",
            "--workers",
            "2",
            "--state",
            "memory",
            "--checkpoint-interval",
            "100ms",
            "--set",
            &slow,
        ];
        let mut job = self.start("before", &two)?;
        job.until("a checkpoint", |status| status.checkpoint.as_ref().filter(|done| done.epoch >= 2).cloned()).await?;
        let workdir = job.workdir().path().to_string_lossy().into_owned();
        millstream(&["job", "stop", "--savepoint", "--workdir", &workdir])?.success()?;
        let before = job.end(LIMIT).await?.success()?;
        let outcome = job.outcome()?;
        let savepoint = outcome.job.checkpoint.filter(|done| done.savepoint).context("no savepoint")?;
        ensure!(rows_read(&outcome.stages) > 0, "stopped before the first row");
        let three = ["--parallelism", "3", "--workers", "2", "--state", "memory", "--restore", &savepoint.path];
        let mut job = self.start("after", &three)?;
        let after = job.end(LIMIT).await?.success()?;
        let outcome = job.outcome()?;
        ensure!(rows_read(&outcome.stages) > 0, "the whole input was read before the savepoint");
        ensure!(outcome.job.restored_epoch == Some(savepoint.epoch), "not restored: {:?}", outcome.job);
        let last = outcome.job.checkpoint.context("no last checkpoint")?;
        let moved = moved_groups_with_state(&savepoint.path, &last.path)?;
        ensure!(moved > 0 || self.case.is_stateless, "no group with state was restored at another task");
        match self.case.keys {
            Some(keys) => fold_restored(&before.stdout, &after.stdout, keys, &self.case.expected()?),
            None => self.written(),
        }
    }

    /// All lines of all written tables.
    fn written(&self) -> Result<Vec<String>> {
        let mut lines = Vec::new();
        for entry in fs::read_dir(self.folder.join("out"))? {
            lines.extend(committed_lines(&entry?.path())?);
        }
        lines.sort();
        Ok(lines)
    }
}

/// How many key groups had entries at a task in the first checkpoint and belong to another task in the second one. State is that
/// of the memory backend.
fn moved_groups_with_state(before: &str, after: &str) -> Result<usize> {
    let read = |path: &str| -> Result<Manifest> { Ok(Manifest::decode(path, &fs::read(path)?)?) };
    let (old, new) = (read(before)?, read(after)?);
    // ROOT/PREFIX/manifests/NAME
    let root = Path::new(before).ancestors().nth(3).context("no checkpoint store")?;
    let mut moved = 0;
    for stage in &old.stages {
        let table = &new.stage(&stage.name).context("another stage")?.table;
        for task in stage.tasks.iter().filter(|task| !task.files.is_empty()) {
            let folder = tempfile::tempdir()?;
            for file in &task.files {
                fs::copy(root.join(&file.path), folder.path().join(&file.name))?;
            }
            let (groups, kept) = (groups_with_state(folder.path(), &task.groups)?, table.groups_of(task.task));
            moved += groups.iter().filter(|group| !kept.contains(group)).count();
        }
    }
    Ok(moved)
}

fn groups_with_state(cut: &Path, groups: &[KeyGroup]) -> Result<BTreeSet<KeyGroup>> {
    let snapshot = MemoryBackend::default().read(cut)?;
    let mut found = BTreeSet::new();
    for group in groups {
        snapshot.export(*group, None, &mut |_, _| {
            found.insert(*group);
            false
        })?;
    }
    Ok(found)
}
