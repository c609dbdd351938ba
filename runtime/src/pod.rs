//! Coordinators and workers in pods: what is fixed there, and what each pod is told by its environment. The other side of it is the
//! operator's, which builds the pods.
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::checkpoint::store::Location;
use crate::coordinator::protocol::Patience;
use crate::coordinator::run::{ApiPort, Ended, Home, Origin, Setup as CoordinatorSetup};
use crate::job::JobSpec;
use crate::net::handshake::Secret;
use crate::net::tls::{Certificates, Error, TlsNetwork};
use crate::redact::Redaction;
use crate::worker::run::{Coordinator, Limits, Setup as WorkerSetup};

/// Port of data connections between workers.
pub const DATA_PORT: u16 = 7071;
/// Port at which a coordinator listens for workers.
pub const CONTROL_PORT: u16 = 7072;
/// Port of the job's API.
pub const API_PORT: u16 = 7073;
/// Port of probes and metrics, plain HTTP.
pub const ADMIN_PORT: u16 = 7080;
/// Where a claim is mounted that is the job's checkpoint store.
pub const CLAIM_FOLDER: &str = "/var/lib/millstream-store";

/// Time between the end of a drain and the moment Kubernetes kills the process.
const KILL_RESERVE: Duration = Duration::from_secs(5);
/// New pods are scheduled, pull an image and start within this time, or the job starts with those there are.
const START_PATIENCE_MS: i64 = 60_000;
/// A lost worker is not waited for, but for one whose container just starts again.
const LOST_PATIENCE_MS: i64 = 2_000;
/// Workers find a coordinator that comes back once its Service leads to the new pod. A host that is gone with it delays the job so long.
const ADOPT_PATIENCE_MS: i64 = 10_000;
/// A coordinator is back within this time, also that of a dead node: Kubernetes finds it dead after up to 50 s, our pods tolerate that
/// for 30 s, and another one starts. Its tasks go on meanwhile.
const LEASE: Duration = Duration::from_secs(120);
/// A worker that drains waits so long for a coordinator to come back: when a job is deleted, all pods are told to end at once.
const ALONE: Duration = Duration::from_secs(30);

/// A pod of a job.
#[derive(Debug, Clone)]
pub struct Pod {
    /// Its name, which is the worker's.
    pub name: String,
    /// Its address.
    pub ip: String,
    /// Where it listens; the unspecified address but in tests.
    pub listen: String,
    /// Of the job.
    pub namespace: String,
    /// Name of the job.
    pub job: String,
    /// Of the job's object.
    pub uid: String,
    /// Host of the coordinator, `NAME-coordinator.NAMESPACE.svc`.
    pub coordinator: String,
    /// From TERM to KILL.
    pub grace: Duration,
    /// Folder with certificates and token.
    pub tls: PathBuf,
    /// Folder for what lives as long as the pod.
    pub data: PathBuf,
}

/// Number of the job with this uid.
pub fn job_id(uid: &str) -> u64 {
    let digest = Sha256::digest(uid.as_bytes());
    digest.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// `host:port`, also of IPv6 addresses.
fn at(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// The token of the job's API, from its file.
pub fn token(folder: &Path) -> std::io::Result<String> {
    Ok(std::fs::read_to_string(folder.join("token"))?.trim().to_owned())
}

impl Pod {
    /// Its job's folder in the checkpoint store.
    pub fn prefix(&self) -> String {
        format!("{}/{}/{}", self.namespace, self.job, self.uid)
    }

    fn name_of(&self, role: &str) -> String {
        format!("{}-{role}.{}.svc", self.job, self.namespace)
    }

    fn secret(token: &str) -> Secret {
        let digest = Sha256::new().chain_update("millstream handshake v1").chain_update(token).finalize();
        Secret::new(digest.to_vec())
    }

    /// The coordinator of a job. `ended` is told how the job has ended, and why.
    pub fn coordinator_setup(
        &self,
        (job, store, (origin, restore)): (JobSpec, Location, (Origin, Option<String>)),
        token: String,
        redaction: Redaction,
        ended: Ended,
    ) -> Result<CoordinatorSetup, Error> {
        let certificates = Arc::new(Certificates::load(&self.tls, "coordinator")?);
        Ok(CoordinatorSetup {
            job,
            job_id: job_id(&self.uid),
            started_at_ms: None,
            origin,
            restore,
            store,
            prefix: self.prefix(),
            secret: Self::secret(&token),
            token,
            network: Arc::new(TlsNetwork::new(Arc::clone(&certificates), &self.name_of("worker"))?),
            control_address: at(&self.listen, CONTROL_PORT),
            api: ApiPort::Tls {
                certificates,
                address: at(&self.listen, API_PORT),
                admin: at(&self.listen, ADMIN_PORT),
            },
            home: Home::Pod { ended, data: self.data.clone() },
            patience: Some(Patience {
                start_ms: START_PATIENCE_MS,
                lost_ms: LOST_PATIENCE_MS,
                adopt_ms: ADOPT_PATIENCE_MS,
            }),
            redaction,
        })
    }

    /// A worker of a job.
    pub fn worker_setup(&self, slots: u32, store: Location, token: &str) -> Result<WorkerSetup, Error> {
        let certificates = Arc::new(Certificates::load(&self.tls, "worker")?);
        let network = |role| TlsNetwork::new(Arc::clone(&certificates), &self.name_of(role));
        Ok(WorkerSetup {
            name: self.name.clone(),
            slots,
            folder: self.data.clone(),
            job_id: job_id(&self.uid),
            secret: Self::secret(token),
            store,
            data_network: Arc::new(network("worker")?),
            control_network: Arc::new(network("coordinator")?),
            data_address: at(&self.listen, DATA_PORT),
            admin_address: at(&self.listen, ADMIN_PORT),
            host: Some(if self.ip.contains(':') { format!("[{}]", self.ip) } else { self.ip.clone() }),
            coordinator: Coordinator::Address(at(&self.coordinator, CONTROL_PORT)),
            limits: Limits {
                lease: LEASE,
                // Of a grace too short for it, half.
                drain: self.grace.saturating_sub(KILL_RESERVE).max(self.grace / 2),
                alone: ALONE,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_numbered_by_its_uid() {
        // printf 7d3c... | sha256sum | cut -c1-16
        assert_eq!(job_id(""), 0xe3b0_c442_98fc_1c14);
        assert_eq!(job_id("abc"), 0xba78_16bf_8f01_cfea);
    }

    #[test]
    fn addresses_of_both_families_are_written() {
        assert_eq!(at("10.0.0.7", DATA_PORT), "10.0.0.7:7071");
        assert_eq!(at("fd00::7", ADMIN_PORT), "[fd00::7]:7080");
    }
}
