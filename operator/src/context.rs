//! What all reconciles share, and what is remembered of each job. All of the latter can be lost: the next turns rebuild it.
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use millstream_api::crd;

use crate::backoff::Failures;
use crate::cache::Kind;
use crate::client::Client;
use crate::control;
use crate::event::{Events, News};
use crate::lease::Claim;
use crate::metrics::Metrics;
use crate::resource::secret::Tls;

/// What the operator is told at its start.
#[derive(Debug, Clone)]
pub struct Settings {
    /// This installation, as `namespace/name`: it leaves jobs of others alone.
    pub installation: String,
    /// Image of jobs that name none.
    pub default_image: String,
    /// Life of the leaves of a job.
    pub leaf_life: Duration,
    /// Port of the jobs' API.
    pub api_port: u16,
}

/// What all reconciles share.
pub struct Context {
    /// The API server.
    pub client: kube::Client,
    /// What is known of the cluster.
    pub cache: crate::cache::Cache,
    /// Whether this process may act.
    pub claim: Claim,
    /// What the operator was told.
    pub settings: Settings,
    /// Where events go.
    pub events: Events,
    /// Where things are counted.
    pub metrics: Metrics,
    /// Failures in a row by job.
    pub failures: Mutex<Failures<String>>,
    jobs: Mutex<HashMap<String, Arc<tokio::sync::Mutex<Memory>>>>,
}

impl Context {
    /// A context that remembers nothing yet.
    pub fn new(
        client: kube::Client,
        cache: crate::cache::Cache,
        claim: Claim,
        settings: Settings,
        events: Events,
        metrics: Metrics,
    ) -> Self {
        let (failures, jobs) = (Mutex::default(), Mutex::default());
        Self { client, cache, claim, settings, events, metrics, failures, jobs }
    }

    /// What is remembered of a job. Another job of that name begins anew.
    pub fn memory(&self, uid: &str) -> Arc<tokio::sync::Mutex<Memory>> {
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(jobs.entry(uid.to_owned()).or_default())
    }

    /// Forgets the jobs that are gone.
    pub fn retain(&self, is_there: impl Fn(&str) -> bool) {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).retain(|uid, _| is_there(uid));
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).retain(|uid| is_there(uid));
    }
}

/// A status as it was written.
#[derive(Debug, Clone)]
pub struct Written {
    /// The status.
    pub status: crd::StreamJobStatus,
    /// Version of the job in the cache at that time: as long as the cache shows it, it is behind.
    pub over: Option<String>,
    /// When.
    pub at_ms: i64,
}

/// What is remembered of a job.
#[derive(Debug, Default)]
pub struct Memory {
    /// Whether its spec keeps the rules.
    pub checked: crate::reconcile::check::Checked,
    /// The control loop's.
    pub control: control::Memory,
    /// Its credentials, and when they were read.
    pub tls: Option<(Tls, i64)>,
    /// The credentials as they were when they were there last.
    pub tls_before: Option<Tls>,
    /// The client of its API, with what it was made for.
    pub client: Option<(SocketAddr, String, Arc<Client>)>,
    /// The stages of the revision whose coordinator answered last.
    pub stages: Option<crate::reconcile::observe::StageNames>,
    /// SQL text out of a ConfigMap, and when it was read.
    pub sql: Option<(String, String, String, i64)>,
    /// When an object was applied and what version it had before, to see that somebody else changes it back.
    pub applied: BTreeMap<(Kind, String), (i64, Option<String>)>,
    /// The status as it was written last: the cache may be behind.
    pub status: Option<Written>,
    /// Since when the coordinator has not answered.
    pub silent_since_ms: Option<i64>,
    /// When pods that the API server refuses were looked for, and what was found.
    pub refusals: Option<(i64, Vec<crate::diagnose::Trouble>)>,
    /// When their controllers were made to try again, or since when pods are refused.
    pub touched_ms: Option<i64>,
    /// The revision the API server will not have: what its pods are made from, or the pod that was to check it. When, and why.
    pub refused: Option<(String, i64, crate::diagnose::Trouble)>,
    /// The revision that the API server takes.
    pub rehearsed: Option<String>,
    /// The pod that is being made to check a revision, and since when.
    pub checking: Option<(String, i64)>,
    /// What the last turn found and decided, for the snapshots of the job.
    pub standing: Option<crate::snapshot::Standing>,
    /// The store's claim as it was read last, and when.
    pub claim: Option<(i64, crate::reconcile::reference::Claim)>,
    /// What is known of the erasing of a job that goes.
    pub erasing: crate::deletion::Memory,
    /// News that were told lately, with the time.
    pub told: HashMap<News, i64>,
}

impl Memory {
    /// Credentials were read, or made. Those who know a token know it however often its Secret is made anew.
    pub fn know(&mut self, tls: Option<Tls>, now_ms: i64) {
        let before = self.tls_before.take();
        let known = tls.map(|tls| match &before {
            Some(before) if before.token == tls.token => Tls { token_since_ms: before.token_since_ms, ..tls },
            _ => tls,
        });
        self.tls_before = known.clone().or(before);
        self.tls = known.map(|tls| (tls, now_ms));
    }
}
