//! The operator as a process, and what it takes.
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use millstream_api::metric;
use tokio::process::{Child, Command};

use crate::bench::usage::{Usage, rss_bytes};

/// From its start to its first answer.
const START: Duration = Duration::from_secs(60);
/// Between two looks at whether it is ready.
const LOOK: Duration = Duration::from_millis(100);
/// Bytes of its log that an error shows.
const TAIL: usize = 2_000;

/// The process; dropping it ends it.
pub struct Operator {
    child: Child,
    pid: u32,
    admin: SocketAddr,
    log: PathBuf,
    http: reqwest::Client,
}

/// What it has taken so far.
#[derive(Debug, Clone)]
pub struct Sample {
    pub at_us: u64,
    pub cpu_s: f64,
    pub rss_bytes: u64,
    pub rss_peak_bytes: u64,
    /// Requests to the API server by verb.
    pub requests: BTreeMap<String, f64>,
    pub status_writes: f64,
    pub reconciles: f64,
    pub failures: f64,
}

impl Operator {
    /// Starts it for the jobs of this namespace and waits until it looks after them.
    pub async fn start(namespace: &str, folder: &Path) -> Result<Self> {
        // The port is free, and nobody else takes it at once.
        let admin = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let log = folder.join("operator.log");
        let file = File::create(&log)?;
        let named = format!("{namespace}/bench");
        let child = Command::new(std::env::current_exe().context("cannot find the millstream binary")?)
            .args(["operator", "--watch", namespace, "--installation", &named, "--lease", &named])
            .args(["--default-image", "millstream.dev/bench:1", "--admin", &admin.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .kill_on_drop(true)
            .spawn()
            .context("cannot start the operator")?;
        let pid = child.id().context("the operator has no process")?;
        let mut operator = Self { child, pid, admin, log, http: reqwest::Client::builder().no_proxy().build()? };
        let ready = async {
            let mut looks = tokio::time::interval(LOOK);
            loop {
                looks.tick().await;
                // Ready, and acting: it has the lease.
                let is_leader = format!("{} 1", metric::OPERATOR_LEADER.name);
                if operator.metrics().await.is_ok_and(|text| text.lines().any(|line| line == is_leader)) {
                    return;
                }
            }
        };
        let is_ready = tokio::time::timeout(START, ready).await.is_ok();
        if is_ready { Ok(operator) } else { Err(operator.failed("it is not ready in time")) }
    }

    /// Waits for `work`, for as long as `limit` and the operator last. `None`: it took too long.
    pub async fn during<T>(&mut self, limit: Duration, work: impl Future<Output = T>) -> Result<Option<T>> {
        tokio::select! {
            done = tokio::time::timeout(limit, work) => Ok(done.ok()),
            ended = self.child.wait() => {
                let words = format!("it ended: {ended:?}");
                Err(self.failed(&words))
            }
        }
    }

    fn failed(&mut self, what: &str) -> anyhow::Error {
        let log = fs::read(&self.log).unwrap_or_default();
        let tail = String::from_utf8_lossy(&log[log.len().saturating_sub(TAIL)..]).into_owned();
        anyhow::anyhow!("the operator does not do: {what}\n{tail}")
    }

    async fn metrics(&self) -> Result<String> {
        Ok(self.http.get(format!("http://{}/metrics", self.admin)).send().await?.text().await?)
    }

    /// What it has taken until now.
    pub async fn sample(&self, at_us: u64) -> Result<Sample> {
        let text = self.metrics().await.context("the operator says nothing about itself")?;
        let sum = |name: &str| by_label(&text, name).values().sum::<f64>();
        let mut usage = Usage::default();
        usage.read([self.pid]);
        if usage.max_rss_bytes() == 0 {
            bail!("the operator's process cannot be measured");
        }
        Ok(Sample {
            at_us,
            cpu_s: usage.cpu_s(),
            rss_bytes: rss_bytes([self.pid]),
            rss_peak_bytes: usage.max_rss_bytes(),
            requests: by_label(&text, metric::OPERATOR_REQUESTS.name),
            status_writes: sum(metric::OPERATOR_STATUS_WRITES.name),
            reconciles: sum(metric::OPERATOR_RECONCILES.name),
            failures: sum(metric::OPERATOR_FAILURES.name),
        })
    }
}

/// Values of a metric by the value of its one label.
fn by_label(text: &str, name: &str) -> BTreeMap<String, f64> {
    let lines = text.lines().filter_map(|line| line.strip_prefix(name));
    // Another metric may have a name that begins like this one's.
    let values = lines.filter(|line| line.starts_with(['{', ' '])).filter_map(|line| {
        let (label, value) = line.rsplit_once(' ')?;
        Some((label.split('"').nth(1).unwrap_or_default().to_owned(), value.parse().ok()?))
    });
    values.collect()
}
