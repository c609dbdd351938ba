//! What ends a cluster when its test process has ended, however it ended.
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};

/// `cluster.sh` for the cluster in a folder.
pub fn script(state: &Path) -> Command {
    let mut command = Command::new("bash");
    command.arg(folder().join("cluster.sh")).env("STATE", state).stdin(Stdio::null());
    command
}

/// Runs a command of `cluster.sh` to its end.
pub async fn run(state: &Path, args: &[&str]) -> Result<()> {
    let mut command = tokio::process::Command::from(script(state));
    let output = command.args(args).output().await?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "cluster.sh {}: {}\n{said}", args.join(" "), output.status);
    Ok(())
}

/// The script's own folder.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("cluster")
}

/// A process that waits for the end of its input, which is the end of this one or of this value, and takes the cluster down.
#[derive(Debug)]
pub struct Keeper(Child);

impl Keeper {
    /// Has the cluster's lock when this returns, and nothing of an earlier cluster in that folder is left.
    pub fn start(state: &Path) -> Result<Self> {
        let mut command = script(state);
        command.arg("keep").stdin(Stdio::piped()).stdout(Stdio::piped());
        // In a process group of its own: an interrupt from the terminal is for the tests, and this outlives them.
        let mut child = command.process_group(0).spawn()?;
        let output = child.stdout.as_mut().context("no output")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        ensure!(line == "ready\n", "no cluster can be in {} now: cluster.sh has said above why", state.display());
        Ok(Self(child))
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        // Nothing can be done about one that fails, and the next run removes what it left.
        let _ = self.0.wait();
    }
}
