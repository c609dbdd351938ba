//! Child processes on this machine: started, watched, started again with back-off, and never left behind.
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use millstream_api::error::chain;
use rustix::process::{Pid, Signal, getppid, kill_process, set_parent_process_death_signal};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::clock::{back_off, now_ms};

/// Environment variable with the pid a child expects as its parent.
pub const PARENT_ENV: &str = "MILLSTREAM_PARENT_PID";
/// Exit code for mistakes of the user, which another start does not cure.
pub const USER_ERROR: i32 = 2;
/// First delay but one before a restart (the first restart is at once); doubles from there.
const BACK_OFF_MS: u64 = 200;
/// Longest delay before a restart.
const BACK_OFF_MAX_MS: u64 = 5_000;
/// A process that ran this long begins again without delay.
const STABLE_MS: i64 = 20_000;
/// Events kept for a reader that is busy.
const EVENTS: usize = 256;

/// How to run one process.
#[derive(Debug, Clone)]
pub struct ProcessSpec {
    /// Unique name, such as `coordinator` or `w0`.
    pub name: String,
    /// The binary.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Environment on top of this process's own.
    pub env: Vec<(String, String)>,
    /// File that gets what it writes to stderr (appended).
    pub log: PathBuf,
    /// Whether its stdout is this process's stdout (results of the print sink); else it goes to the log as well.
    pub forward_stdout: bool,
}

/// Something happened to a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProcessEvent {
    /// It runs.
    Started {
        /// Its name.
        name: String,
        /// Its pid.
        pid: u32,
    },
    /// It ended by itself or was killed by someone else.
    Exited {
        /// Its name.
        name: String,
        /// Its pid.
        pid: u32,
        /// Exit code, or 128 + signal.
        code: i32,
        /// Delay until it is started again; `None`: it is not.
        restart_in: Option<Duration>,
        /// Where its messages are.
        log: PathBuf,
    },
    /// It could not be started; tried again after a delay.
    NotStarted {
        /// Its name.
        name: String,
        /// Why.
        reason: String,
    },
}

/// Why a process cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its log file.
    #[error("cannot write the log {}", path.display())]
    Log {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The process itself.
    #[error("cannot start {name} ({})", program.display())]
    Spawn {
        /// Its name.
        name: String,
        /// The binary.
        program: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// This process's parent is not the one that started it.
    #[error("the parent process {expected} is gone; this process is started only by its parent")]
    Orphan {
        /// The parent it should have.
        expected: u32,
    },
    /// The system does not offer parent-death signals.
    #[error("cannot bind to the parent process")]
    Bind(#[source] std::io::Error),
}

/// Called by a child at its very start: it then dies with its parent, also if that is killed with SIGKILL. The check after
/// the request closes the gap in which the parent may have died.
pub fn bind_to_parent(expected: u32) -> Result<(), Error> {
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(|error| Error::Bind(error.into()))?;
    let parent = getppid().map(|pid| pid.as_raw_nonzero().get().unsigned_abs());
    if parent == Some(expected) { Ok(()) } else { Err(Error::Orphan { expected }) }
}

/// [`bind_to_parent`] with the pid from [`PARENT_ENV`]; does nothing if that is not set (a role started by hand).
pub fn bind_to_parent_of_env() -> Result<(), Error> {
    match std::env::var(PARENT_ENV).ok().and_then(|pid| pid.parse().ok()) {
        Some(expected) => bind_to_parent(expected),
        None => Ok(()),
    }
}

/// The children of this process. Dropping it kills them; [`shutdown`](Self::shutdown) lets them finish first.
///
/// Children get the parent-death signal of the *thread* that started them: use this inside a runtime that lives as long as
/// the children should.
#[derive(Debug)]
pub struct LocalProcesses {
    events: mpsc::Sender<ProcessEvent>,
    children: BTreeMap<String, Supervised>,
}

#[derive(Debug)]
struct Supervised {
    stop: watch::Sender<Option<Duration>>,
    pid: Arc<Mutex<Option<u32>>>,
    supervisor: JoinHandle<()>,
}

impl LocalProcesses {
    /// No children yet, and the stream of what will happen to them. When nobody reads it, the oldest 256 events are kept.
    pub fn new() -> (Self, mpsc::Receiver<ProcessEvent>) {
        let (events, received) = mpsc::channel(EVENTS);
        (Self { events, children: BTreeMap::new() }, received)
    }

    /// Starts a process and keeps it running until it ends with code 0 or 2, or is stopped. Replaces none: a name that is
    /// already there is left alone.
    pub fn start(&mut self, spec: ProcessSpec) -> Result<(), Error> {
        if self.children.get(&spec.name).is_some_and(|child| !child.supervisor.is_finished()) {
            return Ok(());
        }
        let child = spawn(&spec)?;
        let (stop, stopped) = watch::channel(None);
        let pid = Arc::new(Mutex::new(child.id()));
        let name = spec.name.clone();
        let supervisor = Supervisor { spec, events: self.events.clone(), pid: Arc::clone(&pid), stopped };
        let supervisor = tokio::spawn(supervisor.run(child));
        self.children.insert(name, Supervised { stop, pid, supervisor });
        Ok(())
    }

    /// Names and pids of the processes that run now.
    pub fn pids(&self) -> BTreeMap<String, u32> {
        let pid = |child: &Supervised| *child.pid.lock().unwrap_or_else(PoisonError::into_inner);
        self.children.iter().filter_map(|(name, child)| Some((name.clone(), pid(child)?))).collect()
    }

    /// Names of the processes that are kept running.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.children.iter().filter(|(_, child)| !child.supervisor.is_finished()).map(|(name, _)| name.as_str())
    }

    /// Stops these processes: TERM, up to `grace` for them to finish, KILL.
    pub async fn stop(&mut self, names: &[String], grace: Duration) {
        let children: Vec<Supervised> = names.iter().filter_map(|name| self.children.remove(name)).collect();
        for child in &children {
            child.stop.send_replace(Some(grace));
        }
        for child in children {
            // The supervisor ends within the grace and a kill; if it panicked, its child was killed with it.
            let _ = child.supervisor.await;
        }
    }

    /// Stops all of them.
    pub async fn shutdown(mut self, grace: Duration) {
        let names: Vec<String> = self.children.keys().cloned().collect();
        self.stop(&names, grace).await;
    }
}

impl Drop for LocalProcesses {
    fn drop(&mut self) {
        for child in self.children.values() {
            child.supervisor.abort();
        }
    }
}

/// Keeps one process running.
struct Supervisor {
    spec: ProcessSpec,
    events: mpsc::Sender<ProcessEvent>,
    pid: Arc<Mutex<Option<u32>>>,
    stopped: watch::Receiver<Option<Duration>>,
}

impl Supervisor {
    async fn run(mut self, child: Child) {
        let (mut child, mut failures) = (Some(child), 0u32);
        loop {
            let Some(running) = child.take() else {
                match spawn(&self.spec) {
                    Ok(started) => child = Some(started),
                    Err(error) => {
                        self.tell(ProcessEvent::NotStarted { name: self.spec.name.clone(), reason: chain(&error) });
                        failures += 1;
                        if self.wait(delay(failures)).await {
                            return;
                        }
                    }
                }
                continue;
            };
            let (pid, started_ms) = (running.id().unwrap_or_default(), now_ms());
            self.know(Some(pid));
            self.tell(ProcessEvent::Started { name: self.spec.name.clone(), pid });
            let ended = self.watch(running).await;
            self.know(None);
            let Some(status) = ended else { return };
            let code = exit_code(status);
            failures = if now_ms() - started_ms >= STABLE_MS { 1 } else { failures + 1 };
            let restart_in = (code != 0 && code != USER_ERROR).then(|| delay(failures));
            let (name, log) = (self.spec.name.clone(), self.spec.log.clone());
            self.tell(ProcessEvent::Exited { name, pid, code, restart_in, log });
            match restart_in {
                Some(delay) if !self.wait(delay).await => {}
                _ => return,
            }
        }
    }

    /// Waits for the end of the process; `None` if it was stopped on request.
    async fn watch(&mut self, mut child: Child) -> Option<ExitStatus> {
        let grace = tokio::select! {
            status = child.wait() => return Some(status.unwrap_or_default()),
            grace = stop_request(&mut self.stopped) => grace,
        };
        signal(&child, Signal::TERM);
        if tokio::time::timeout(grace, child.wait()).await.is_err() {
            signal(&child, Signal::KILL);
            let _ = child.wait().await;
        }
        None
    }

    /// Waits before a restart; true if the process was stopped meanwhile.
    async fn wait(&mut self, delay: Duration) -> bool {
        tokio::select! {
            () = back_off(delay) => false,
            _ = stop_request(&mut self.stopped) => true,
        }
    }

    fn know(&self, pid: Option<u32>) {
        *self.pid.lock().unwrap_or_else(PoisonError::into_inner) = pid;
    }

    fn tell(&self, event: ProcessEvent) {
        tracing::info!(?event, "child process");
        // A full queue means nobody reads: supervision must not wait for that.
        let _ = self.events.try_send(event);
    }
}

async fn stop_request(stopped: &mut watch::Receiver<Option<Duration>>) -> Duration {
    match stopped.wait_for(Option::is_some).await {
        Ok(grace) => grace.unwrap_or_default(),
        // The owner is gone without a word: stop at once.
        Err(_) => Duration::ZERO,
    }
}

/// Delay before the restart after the n-th failure in a row: none, then 0.2 s doubling up to 5 s.
fn delay(failures: u32) -> Duration {
    match failures {
        0 | 1 => Duration::ZERO,
        more => Duration::from_millis((BACK_OFF_MS << (more - 2).min(10)).min(BACK_OFF_MAX_MS)),
    }
}

fn exit_code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
}

fn signal(child: &Child, signal: Signal) {
    // No pid: it has been waited for. A failure means it is gone.
    if let Some(pid) = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed())) {
        let _ = kill_process(pid, signal);
    }
}

fn spawn(spec: &ProcessSpec) -> Result<Child, Error> {
    let log = open(&spec.log)?;
    let stdout = if spec.forward_stdout { Stdio::inherit() } else { open(&spec.log)?.into() };
    Command::new(&spec.program)
        .args(&spec.args)
        .envs(spec.env.iter().map(|(name, value)| (name, value)))
        .env(PARENT_ENV, std::process::id().to_string())
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(log)
        // A group of its own: Ctrl-C in the terminal reaches only this process, which then stops the children in order.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|source| Error::Spawn { name: spec.name.clone(), program: spec.program.clone(), source })
}

fn open(path: &Path) -> Result<File, Error> {
    let error = |source| Error::Log { path: path.to_owned(), source };
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).map_err(error)?;
    }
    OpenOptions::new().create(true).append(true).open(path).map_err(error)
}

#[cfg(test)]
mod tests;
