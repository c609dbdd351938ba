//! Prepares a work folder and says how the processes of its job are started.
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use millstream_api::error::chain;
use millstream_operator::platform::local::Launch;
use millstream_operator::platform::process::ProcessSpec;
use millstream_runtime::checkpoint::manifest::Expected;
use millstream_runtime::checkpoint::store::ObjectCheckpoints;
use millstream_runtime::checkpoint::{history, paths};
use millstream_runtime::clock::{Clock, SystemClock};
use millstream_runtime::coordinator::shape;
use millstream_runtime::job::JobSpec;
use millstream_runtime::message::RestoreFrom;
use millstream_runtime::random::{Random, SystemRandom};
use millstream_runtime::workdir::{JobFile, Workdir, random_hex, write_private};

use crate::fail::user;

/// A work folder, removed at the end if nobody asked for it.
pub struct Folder {
    /// The folder.
    pub workdir: Workdir,
    temporary: bool,
}

impl Folder {
    /// The folder given, or a new temporary one.
    pub fn make(given: Option<&Path>) -> Result<Self> {
        let path = match given {
            Some(path) => std::path::absolute(path)?,
            None => std::env::temp_dir().join(format!("millstream-{:016x}", SystemRandom.next_u64())),
        };
        let cannot = |error| {
            let shown = path.display();
            user(format!("--workdir {shown}: cannot use the folder: {error}; give a folder that can be written"))
        };
        std::fs::create_dir_all(path.join("logs")).map_err(cannot)?;
        for name in ["api.json", "coordinator.json", "outcome.json"] {
            match std::fs::remove_file(path.join(name)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(cannot(error)),
                _ => {}
            }
        }
        Ok(Self { workdir: Workdir::new(path), temporary: given.is_none() })
    }

    /// Keeps the folder, for someone to look at.
    pub fn keep(&mut self) {
        self.temporary = false;
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.temporary {
            // What is left is in the system's folder for temporary files.
            let _ = std::fs::remove_dir_all(self.workdir.path());
        }
    }
}

/// Writes the job file that coordinator and workers read.
pub fn prepare(workdir: &Workdir, job: &JobSpec, restore: Option<&Path>) -> Result<()> {
    let random = SystemRandom;
    let file = JobFile {
        job: job.clone(),
        job_id: random.next_u64(),
        prefix: format!("{:016x}", random.next_u64()),
        started_at_ms: SystemClock::default().now_ms(),
        secret: random_hex(&random),
        token: random_hex(&random),
        restore: restore.map(|path| check_restore(path, job)).transpose()?,
    };
    let path = workdir.job_file();
    write_private(&path, &file).with_context(|| format!("cannot write {}", path.display()))
}

/// Refuses a checkpoint that is not there or does not fit, before anything is started.
fn check_restore(path: &Path, job: &JobSpec) -> Result<RestoreFrom> {
    let shown = path.display();
    let refuse = |what: &str| user(format!("--restore {shown}: {what}"));
    let absolute = std::path::absolute(path)?;
    if !absolute.is_file() {
        return Err(refuse(
            "there is no such checkpoint; `millstream job checkpoints` prints the paths of a running job",
        ));
    }
    let located = paths::locate(&absolute.to_string_lossy());
    let not_one = || refuse("is not the path of a checkpoint: it ends in manifests/EPOCH-TERM.json");
    let (root, prefix, id) = located.ok_or_else(not_one)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let store = ObjectCheckpoints::local(Path::new(&root), runtime.handle().clone());
    let manifest = store
        .map_err(|error| refuse(&chain(&error)))
        .and_then(|store| history::load(&store, &prefix, id).map_err(|error| refuse(&chain(&error))))?;
    let shape = shape::shape(job).map_err(|error| refuse(&error))?;
    let expected = Expected {
        job_name: &job.name,
        job_id: None,
        planned: &shape.planned(),
        drop_state: &job.drop_state,
        key_groups: job.key_groups,
    };
    manifest.check_job(&expected).map_err(|error| refuse(&chain(&error)))?;
    Ok(RestoreFrom { root: Some(root), prefix, id })
}

/// How the processes of the job in this folder are started. `forward_stdout`: what the print sink writes is this process's stdout.
pub fn launch(workdir: &Workdir, slots: u32, forward_stdout: bool) -> Result<Launch> {
    let program = std::env::current_exe().context("cannot find the millstream binary")?;
    let coordinator = process(&program, workdir, "coordinator", Vec::new());
    let workdir = workdir.clone();
    let worker = move |n: u32| {
        let name = format!("w{n}");
        let args = vec!["--name".to_owned(), name.clone(), "--slots".to_owned(), slots.to_string()];
        ProcessSpec { forward_stdout, ..process(&program, &workdir, &name, args) }
    };
    Ok(Launch { coordinator, worker: Box::new(worker) })
}

fn process(program: &Path, workdir: &Workdir, name: &str, more: Vec<String>) -> ProcessSpec {
    let role = if name == "coordinator" { "coordinator" } else { "worker" };
    let mut args = vec![role.to_owned(), "--workdir".to_owned(), workdir.path().display().to_string()];
    args.extend(more);
    ProcessSpec {
        name: name.to_owned(),
        program: PathBuf::from(program),
        args,
        env: Vec::new(),
        log: workdir.log(name),
        forward_stdout: false,
    }
}
