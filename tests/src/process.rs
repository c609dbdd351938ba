//! The real `millstream` binary as a test drives it: started in a folder of its own, looked at through the job's API, killed by
//! pid, and never left behind. Waiting is for something to happen, with a deadline.
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use millstream_api::metric;
use millstream_api::wire::{JobState, JobStatus, RescaleStatus, StageStatus};
use millstream_operator::client::Client;
use millstream_runtime::workdir::{Outcome, Workdir, read};
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{MissedTickBehavior, interval, timeout};

/// Pause between two looks at something.
const LOOK: Duration = Duration::from_millis(5);
/// How long what a job starts may outlive it: a killed process needs a moment to vanish.
const VANISH: Duration = Duration::from_secs(10);
/// Bytes of a log that an error shows.
const LOG_TAIL_BYTES: usize = 2_000;

/// Looks again and again until `look` finds what it looks for, at most for this long.
pub async fn until<T>(what: &str, limit: Duration, mut look: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let looking = async {
        loop {
            looks.tick().await;
            if let Some(found) = look().await? {
                return Ok(found);
            }
        }
    };
    timeout(limit, looking).await.with_context(|| format!("{what}: not within {limit:?}"))?
}

/// The binary of this workspace, from the same build as the running test.
pub fn binary() -> Result<PathBuf> {
    let test = std::env::current_exe()?;
    let profile = test.parent().and_then(Path::parent).context("the test is in no target folder")?;
    let program = profile.join("millstream");
    let built = |path: &Path| path.metadata().and_then(|metadata| metadata.modified());
    let made = built(&program).with_context(|| format!("{} is missing: cargo build --workspace", program.display()))?;
    // Cargo lists next to a binary every source it was made of.
    let sources = fs::read_to_string(program.with_extension("d"))?.replace("\\ ", "\0");
    for source in sources.split_whitespace().skip(1).map(|source| PathBuf::from(source.replace('\0', " "))) {
        let is_newer = built(&source).is_ok_and(|changed| changed > made);
        ensure!(!is_newer, "{} is older than {}: cargo build --workspace", program.display(), source.display());
    }
    Ok(program)
}

/// What a command that ended has left.
#[derive(Debug)]
pub struct Done {
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

impl Done {
    /// This, if it ended with code 0; else an error with what it said.
    pub fn success(self) -> Result<Self> {
        ensure!(self.status.success(), "ended with {}\n{}\n{}", self.status, self.stdout, self.stderr);
        Ok(self)
    }
}

/// Runs a command of the binary to its end.
pub fn millstream(args: &[&str]) -> Result<Done> {
    let output = Command::new(binary()?).args(args).stdin(Stdio::null()).output()?;
    let (stdout, stderr) = (String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?);
    Ok(Done { status: output.status, stdout, stderr })
}

/// A job under `millstream run`. Dropping it kills the parent, with which its children die.
pub struct Job {
    child: Child,
    folder: PathBuf,
    workdir: Workdir,
    client: Client,
}

impl Job {
    /// `millstream run ARGS... --workdir FOLDER/work`; standard output and error go to files in the folder.
    pub fn start(folder: &Path, args: &[&str]) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let workdir = Workdir::new(folder.join("work"));
        let mut command = Command::new(binary()?);
        command.arg("run").args(args).arg("--workdir").arg(workdir.path()).stdin(Stdio::null());
        command.stdout(File::create(folder.join("stdout"))?).stderr(File::create(folder.join("stderr"))?);
        // A terminal or another run must not choose what is logged.
        let child = command.env_remove("RUST_LOG").spawn()?;
        let client = Client::in_workdir(workdir.path())?;
        Ok(Self { child, folder: folder.to_owned(), workdir, client })
    }

    /// Its work folder.
    pub fn workdir(&self) -> &Workdir {
        &self.workdir
    }

    /// The job as a whole; none while no coordinator answers.
    pub async fn status(&self) -> Option<JobStatus> {
        self.client.job().await.ok()
    }

    /// Its stages; none while no coordinator answers.
    pub async fn stages(&self) -> Option<Vec<StageStatus>> {
        self.client.stages().await.ok()
    }

    /// Its rescales, newest first.
    pub async fn rescales(&self) -> Result<Vec<RescaleStatus>> {
        Ok(self.client.rescales().await?)
    }

    /// Waits until `look` finds something in the job's status. Fails at once if the job ends before.
    pub async fn until<T>(&mut self, what: &str, mut look: impl FnMut(&JobStatus) -> Option<T>) -> Result<T> {
        let limit = Duration::from_secs(30);
        let child = &mut self.child;
        let client = &self.client;
        let found = until(what, limit, async || {
            let found = client.job().await.ok().and_then(|status| look(&status));
            if found.is_none() && child.try_wait()?.is_some() {
                bail!("{what}: the job ended before");
            }
            Ok(found)
        });
        found.await.map_err(|error| self.explain(error))
    }

    /// Waits until it runs and has this checkpoint or a later one.
    pub async fn until_checkpoint(&mut self, epoch: u64) -> Result<JobStatus> {
        let has_it = |status: &JobStatus| {
            let enough = status.checkpoint.as_ref().is_some_and(|done| done.epoch >= epoch);
            (status.state == JobState::Running && enough).then(|| status.clone())
        };
        self.until("checkpoints", has_it).await
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Kills a process of this job with SIGKILL; one that is not of this job is an error.
    pub fn kill(&self, pid: u32) -> Result<()> {
        self.signal(pid, Signal::KILL)
    }

    /// Tells a process of this job to end.
    pub fn terminate(&self, pid: u32) -> Result<()> {
        self.signal(pid, Signal::TERM)
    }

    /// Holds processes of this job where they are, until `proceed`. None of their threads runs any more when this returns.
    pub async fn hold(&self, pids: &[u32]) -> Result<()> {
        for pid in pids {
            self.signal(*pid, Signal::STOP)?;
        }
        let held = async || Ok(pids.iter().all(|pid| is_held(*pid)).then_some(()));
        until("processes that stand still", VANISH, held).await
    }

    /// Lets processes of this job go on.
    pub fn proceed(&self, pids: &[u32]) -> Result<()> {
        pids.iter().try_for_each(|pid| self.signal(*pid, Signal::CONT))
    }

    fn signal(&self, pid: u32, signal: Signal) -> Result<()> {
        ensure!(self.is_own(pid), "process {pid} is not of this job");
        let pid = Pid::from_raw(i32::try_from(pid)?).context("pid 0")?;
        Ok(kill_process(pid, signal)?)
    }

    /// Whether it is over, all its output committed or not.
    pub fn is_over(&self) -> bool {
        self.workdir.outcome_file().exists()
    }

    /// What Ctrl-C in its terminal does.
    pub fn interrupt(&self) -> Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.child.id())?).context("pid 0")?;
        Ok(kill_process(pid, Signal::INT)?)
    }

    /// Coordinator and workers that run now, found by the work folder in their command lines.
    pub fn processes(&self) -> Result<Vec<u32>> {
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            if self.is_own(pid) {
                found.push(pid);
            }
        }
        Ok(found)
    }

    fn is_own(&self, pid: u32) -> bool {
        let workdir = self.workdir.path().as_os_str().as_encoded_bytes();
        // A process may vanish while it is looked at.
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        pid != self.child.id() && line.split(|byte| *byte == 0).any(|arg| arg == workdir)
    }

    /// Waits for its end and sees to it that no process is left.
    pub async fn end(&mut self, limit: Duration) -> Result<Done> {
        let child = &mut self.child;
        let ended = until("the end of the job", limit, async || Ok(child.try_wait()?)).await;
        let status = ended.map_err(|error| self.explain(error))?;
        until("the end of its processes", VANISH, async || Ok(self.processes()?.is_empty().then_some(()))).await?;
        let text = |name: &str| fs::read_to_string(self.folder.join(name));
        Ok(Done { status, stdout: text("stdout")?, stderr: text("stderr")? })
    }

    /// How the job was at its end.
    pub fn outcome(&self) -> Result<Outcome> {
        Ok(read(&self.workdir.outcome_file())?)
    }

    /// An error with the ends of all logs.
    pub fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        let mut files = vec![self.folder.join("stderr")];
        let logs = fs::read_dir(self.workdir.path().join("logs"));
        files.extend(logs.into_iter().flatten().flatten().map(|entry| entry.path()));
        let mut text = format!("{error:#}");
        for file in files {
            let log = fs::read(&file).unwrap_or_default();
            let tail = String::from_utf8_lossy(&log[log.len().saturating_sub(LOG_TAIL_BYTES)..]).into_owned();
            text.push_str(&format!("\n--- {}\n{tail}", file.display()));
        }
        anyhow::anyhow!(text)
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether SIGSTOP has reached every thread of a process.
fn is_held(pid: u32) -> bool {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    // The state follows the name, which is in parentheses and may hold anything. A thread may end meanwhile.
    let state = |stat: &str| stat.rsplit(')').next().and_then(|rest| rest.trim_start().chars().next());
    let states = threads.filter_map(|thread| state(&fs::read_to_string(thread.path().join("stat")).ok()?));
    states.into_iter().all(|state| matches!(state, 'T' | 'Z' | 'X'))
}

/// Rows the tasks of these stages have read on each worker, by the workers' own word: it needs no coordinator.
pub async fn rows_read_on_workers(status: &JobStatus, stages: &[String]) -> Result<Vec<u64>> {
    let labels: Vec<_> = stages.iter().map(|stage| format!("stage=\"{stage}\"")).collect();
    let mut rows = Vec::new();
    for worker in &status.workers {
        let text = reqwest::get(format!("http://{}/metrics", worker.admin_address)).await?.text().await?;
        let counts = text.lines().filter(|line| line.starts_with(metric::TASK_RECORDS_IN.name));
        let counts = counts.filter(|line| labels.iter().any(|label| line.contains(label)));
        let counts = counts.map(|line| line.rsplit(' ').next().unwrap_or_default().parse::<f64>());
        rows.push(counts.sum::<Result<f64, _>>()? as u64);
    }
    Ok(rows)
}

/// Rows the present tasks of all sources have read.
pub fn rows_read(stages: &[StageStatus]) -> u64 {
    let tasks = stages.iter().filter(|stage| stage.source).flat_map(|stage| &stage.tasks);
    tasks.map(|task| task.counters.records_in).sum()
}

/// All lines of the files that a sink has made visible in a folder, sorted. A hidden file is an error: at the end of a job, none is
/// left.
pub fn committed_lines(folder: &Path) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("no folder {}", folder.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        ensure!(!name.starts_with('.'), "{name} is left in {}", folder.display());
        lines.extend(fs::read_to_string(&path)?.lines().map(str::to_owned));
    }
    lines.sort();
    Ok(lines)
}
