//! What a person sees of the jobs: a watch of them all.
use std::collections::BTreeMap;
use std::sync::Arc;

use futures::StreamExt;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, watcher};
use kube::{Api, Client, ResourceExt};
use millstream_api::crd::{ConditionType, StreamJob, StreamJobStatus, find};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A job as it was seen last.
#[derive(Debug, Clone, Default)]
pub struct Row {
    /// Generation that its status is about.
    pub observed: i64,
    /// It is Ready, for the reason Running.
    pub is_running: bool,
    /// How often its status was another.
    pub writes: u64,
    status: Option<StreamJobStatus>,
}

/// Jobs by name.
pub type Rows = BTreeMap<String, Row>;

/// A watch that ends with this.
pub struct Follow {
    rows: Arc<watch::Sender<Rows>>,
    running: JoinHandle<()>,
}

impl Follow {
    pub fn start(client: Client, namespace: &str) -> Self {
        let rows = Arc::new(watch::channel(Rows::new()).0);
        let jobs = Api::<StreamJob>::namespaced(client, namespace);
        let sender = Arc::clone(&rows);
        let running = tokio::spawn(async move {
            let mut seen =
                std::pin::pin!(watcher(jobs, watcher::Config::default()).default_backoff().applied_objects());
            while let Some(seen) = seen.next().await {
                match seen {
                    Ok(job) => sender.send_modify(|rows| note(rows, job)),
                    Err(error) => eprintln!("note: the watch of jobs begins again: {error}"),
                }
            }
        });
        Self { rows, running }
    }

    /// Waits until this holds of all jobs.
    pub async fn until(&self, holds: impl FnMut(&Rows) -> bool) {
        // The sender is in this value.
        let _ = self.rows.subscribe().wait_for(holds).await;
    }

    /// How many run.
    pub fn running(&self) -> usize {
        self.rows.borrow().values().filter(|row| row.is_running).count()
    }

    /// Writes of each job's status so far.
    pub fn writes(&self) -> BTreeMap<String, u64> {
        self.rows.borrow().iter().map(|(name, row)| (name.clone(), row.writes)).collect()
    }

    /// Writes of each job's status since then.
    pub fn since(&self, before: &BTreeMap<String, u64>) -> Vec<u64> {
        let now = self.writes();
        now.iter().map(|(name, writes)| writes - before.get(name).copied().unwrap_or_default()).collect()
    }

    /// How far the jobs are, for an error.
    pub fn text(&self) -> String {
        let rows = self.rows.borrow();
        let other = rows.values().find(|row| !row.is_running).and_then(|row| row.status.as_ref());
        let words = other.and_then(|status| find(&status.conditions, ConditionType::Ready));
        let words = words.map(|ready| format!("{}: {}", ready.reason, ready.message)).unwrap_or_default();
        drop(rows);
        format!("{} jobs of those that were seen run; another: {words}", self.running())
    }
}

impl Drop for Follow {
    fn drop(&mut self) {
        self.running.abort();
    }
}

fn note(rows: &mut Rows, job: StreamJob) {
    let row = rows.entry(job.name_any()).or_default();
    if job.status == row.status {
        return;
    }
    let status = job.status.clone().unwrap_or_default();
    let ready = find(&status.conditions, ConditionType::Ready);
    row.is_running = ready.is_some_and(|ready| (ready.status.as_str(), ready.reason.as_str()) == ("True", "Running"));
    row.observed = status.observed_generation.unwrap_or_default();
    row.writes += 1;
    row.status = job.status;
}
