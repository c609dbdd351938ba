//! Who acts, when there are several operators: one Lease, and every write to it carries the resource version that was seen, so
//! that of two candidates only one can win. The lease elects and no more: what it guards is fenced by versions of its own.
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::watch;

use crate::clock::{back_off, now_ms, steady_ms};

/// How long a claim lasts without renewal.
pub const DURATION: Duration = Duration::from_secs(15);
/// From one renewal to the next: several may fail before the claim is over.
pub const RENEWAL: Duration = Duration::from_secs(5);
/// Part of the duration after which a holder that could not renew stops acting, before anyone else begins.
const MARGIN: Duration = Duration::from_secs(3);
/// Renewals that wait longer for an answer are given up: the next may fare better.
const ANSWER: Duration = Duration::from_secs(4);

/// Who wants which lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Namespace of the lease.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Unique to this process: the pod's name, or a random one.
    pub holder: String,
}

/// Until when this process may act, as it knows. Cheap to clone and to ask; every writer asks before each write.
#[derive(Debug, Clone)]
pub struct Claim(watch::Receiver<Option<i64>>);

impl Claim {
    /// A claim that always holds: for an operator that needs no lease, because there is only one.
    pub fn always() -> Self {
        // A receiver goes on showing the last value when its sender is gone.
        Self(watch::channel(Some(i64::MAX)).1)
    }

    /// Whether this process may act now.
    pub fn holds(&self) -> bool {
        self.holds_at(steady_ms())
    }

    fn holds_at(&self, steady_ms: i64) -> bool {
        self.0.borrow().is_some_and(|until_ms| steady_ms < until_ms)
    }

    /// Waits until it may act, or the election has ended.
    pub async fn acquired(&mut self) {
        // An error means the election has ended: `holds` says what became of it.
        let _ = self.0.wait_for(Option::is_some).await;
    }
}

/// What to do about a lease. Pure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// There is none: create it.
    Create,
    /// It is ours, or free, or its holder has not renewed it for its duration.
    Take,
    /// Somebody holds it.
    Wait,
}

/// The last state of the lease as it was seen, with the time on *our* clock: clocks of others are not compared with ours, and ours
/// is one that nobody sets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Seen {
    resource_version: Option<String>,
    /// Whose it was.
    owner: String,
    /// How long that holds without renewal.
    duration_s: i64,
    since_ms: i64,
}

fn step(lease: Option<&Lease>, holder: &str, seen: &mut Seen, now_ms: i64) -> Step {
    if let Some(lease) = lease.filter(|lease| seen.resource_version != lease.metadata.resource_version) {
        *seen = see(lease, now_ms);
    }
    let lapsed = now_ms - seen.since_ms >= seen.duration_s.saturating_mul(1000);
    let is_free = seen.owner.is_empty() || seen.owner == holder || lapsed;
    match lease {
        Some(_) if is_free => Step::Take,
        None if is_free => Step::Create,
        // Somebody's claim holds, also where somebody else has removed the lease: whoever holds it makes it again.
        _ => Step::Wait,
    }
}

fn see(lease: &Lease, now_ms: i64) -> Seen {
    let spec = lease.spec.clone().unwrap_or_default();
    Seen {
        resource_version: lease.metadata.resource_version.clone(),
        owner: spec.holder_identity.unwrap_or_default(),
        duration_s: spec.lease_duration_seconds.map_or(DURATION.as_secs() as i64, i64::from),
        since_ms: now_ms,
    }
}

/// The lease as `holder` wants it.
fn taken(lease: Option<&Lease>, candidate: &Candidate, now_ms: i64) -> Lease {
    let now = MicroTime(Timestamp::from_millisecond(now_ms).unwrap_or_default());
    let before = lease.and_then(|lease| lease.spec.clone()).unwrap_or_default();
    let is_new = before.holder_identity.as_deref() != Some(&candidate.holder);
    let transitions = before.lease_transitions.unwrap_or(if lease.is_some() { 0 } else { -1 }) + i32::from(is_new);
    let metadata = lease.map_or_else(
        || ObjectMeta {
            name: Some(candidate.name.clone()),
            namespace: Some(candidate.namespace.clone()),
            ..ObjectMeta::default()
        },
        // With the resource version that was seen: this is what makes the election safe.
        |lease| lease.metadata.clone(),
    );
    let spec = LeaseSpec {
        holder_identity: Some(candidate.holder.clone()),
        lease_duration_seconds: Some(i32::try_from(DURATION.as_secs()).unwrap_or(i32::MAX)),
        acquire_time: if is_new { Some(now.clone()) } else { before.acquire_time },
        renew_time: Some(now),
        lease_transitions: Some(transitions.max(0)),
        ..LeaseSpec::default()
    };
    Lease { metadata, spec: Some(spec) }
}

/// Takes part in the election until `stop`, then gives the lease back. The claim says when this process may act.
#[derive(Debug)]
pub struct Election {
    api: Api<Lease>,
    candidate: Candidate,
    claim: watch::Sender<Option<i64>>,
    seen: Seen,
}

impl Election {
    /// A candidate that has not asked yet.
    pub fn new(client: Client, candidate: Candidate) -> (Self, Claim) {
        let (claim, claimed) = watch::channel(None);
        let api = Api::namespaced(client, &candidate.namespace);
        (Self { api, candidate, claim, seen: Seen::default() }, Claim(claimed))
    }

    /// Runs until `stop` becomes true, or a claim that was held is lost: then this process must end, since others may act.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        loop {
            match tokio::time::timeout(ANSWER, self.turn()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(%error, lease = %self.candidate.name, "the lease cannot be renewed"),
                Err(_) => tracing::warn!(lease = %self.candidate.name, "no answer about the lease"),
            }
            let held = *self.claim.borrow();
            if held.is_some_and(|until_ms| steady_ms() >= until_ms) {
                tracing::error!(lease = %self.candidate.name, "the lease is lost");
                return;
            }
            tokio::select! {
                () = back_off(if held.is_some() { RENEWAL } else { RENEWAL / 2 }) => {}
                _ = stop.wait_for(|stop| *stop) => break,
            }
        }
        self.release().await;
    }

    /// Looks at the lease once and takes or renews it, if it is to be had.
    async fn turn(&mut self) -> Result<(), kube::Error> {
        let lease = self.api.get_opt(&self.candidate.name).await?;
        let now = steady_ms();
        let written = match step(lease.as_ref(), &self.candidate.holder, &mut self.seen, now) {
            Step::Wait => {
                self.lose(lease.as_ref());
                return Ok(());
            }
            // What people read is on their clocks.
            Step::Create => self.api.create(&PostParams::default(), &taken(None, &self.candidate, now_ms())).await,
            Step::Take => {
                let wanted = taken(lease.as_ref(), &self.candidate, now_ms());
                self.api.replace(&self.candidate.name, &PostParams::default(), &wanted).await
            }
        };
        match written {
            Ok(written) => {
                self.seen = see(&written, now);
                if self.claim.borrow().is_none() {
                    tracing::info!(holder = %self.candidate.holder, lease = %self.candidate.name, "took the lease");
                }
                // Counted from before the write: others count from when they see it, which is later.
                let until_ms = now + i64::try_from((DURATION - MARGIN).as_millis()).unwrap_or_default();
                self.claim.send_replace(Some(until_ms));
                Ok(())
            }
            // Somebody was faster. The next turn sees who.
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Somebody else holds it: whatever we held is over now.
    fn lose(&self, lease: Option<&Lease>) {
        if self.claim.borrow().is_some() {
            let holder = lease.and_then(|lease| lease.spec.as_ref()?.holder_identity.clone()).unwrap_or_default();
            tracing::error!(%holder, "another operator has the lease");
            self.claim.send_replace(Some(i64::MIN));
        }
    }

    /// Gives the lease back, so that the next operator need not wait. Only if it is still ours.
    async fn release(self) {
        if !self.claim.borrow().is_some_and(|until_ms| steady_ms() < until_ms) {
            return;
        }
        self.claim.send_replace(Some(i64::MIN));
        let free = async {
            let mut lease = self.api.get(&self.candidate.name).await?;
            let spec = lease.spec.get_or_insert_default();
            if spec.holder_identity.as_ref() == Some(&self.candidate.holder) {
                spec.holder_identity = None;
                self.api.replace(&self.candidate.name, &PostParams::default(), &lease).await?;
            }
            Ok::<(), kube::Error>(())
        };
        match tokio::time::timeout(ANSWER, free).await {
            Ok(Ok(())) => tracing::info!(lease = %self.candidate.name, "gave the lease back"),
            // It lapses by itself.
            _ => tracing::warn!(lease = %self.candidate.name, "could not give the lease back"),
        }
    }
}

#[cfg(test)]
mod tests;
