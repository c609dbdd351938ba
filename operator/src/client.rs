//! Client of a job's REST API (see `millstream_api::wire` for the calls).
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use millstream_api::wire::{
    CheckpointStatus, EraseRequest, EraseSavepointRequest, EraseStatus, ErrorBody, JobStatus, KeepRequest,
    ReleaseRequest, RescaleRequest, RescaleStatus, SavepointRequest, StageStatus, StopRequest,
};
use reqwest::{Method, StatusCode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

mod trust;

/// Name of the file in a working directory that says where the job's API is.
pub const API_FILE: &str = "api.json";
/// Limit for establishing a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Limit for calls that only ask.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);
/// Limit for calls that wait for a checkpoint.
const CHECKPOINT_TIMEOUT: Duration = Duration::from_secs(600);
/// Limit for calls that can be made again as often as it takes, by one who has others to look after.
const AGAIN_TIMEOUT: Duration = Duration::from_secs(20);

/// What `api.json` holds.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// `HOST:PORT`.
    pub address: String,
    /// Bearer token.
    pub token: String,
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Where the API of a job in a cluster is, and how its coordinator proves itself.
#[derive(Clone)]
pub struct Secure {
    /// Name in the coordinator's certificate.
    pub host: String,
    /// Where that is now: no name is looked up.
    pub address: SocketAddr,
    /// The job's authority, PEM; nothing else is trusted.
    pub authority: String,
    /// Bearer token.
    pub token: String,
}

impl std::fmt::Debug for Secure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secure").field("host", &self.host).field("address", &self.address).finish_non_exhaustive()
    }
}

/// A job's API.
#[derive(Debug)]
pub struct Client {
    http: reqwest::Client,
    scheme: &'static str,
    /// From a working directory: read again when a call fails, since a restarted coordinator listens elsewhere.
    file: Option<PathBuf>,
    endpoint: Mutex<Option<Endpoint>>,
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing says where the API is.
    #[error("no job runs in {}: {} cannot be read ({reason}); give the --workdir of a running job", dir.display(), API_FILE)]
    NoJob {
        /// The working directory.
        dir: PathBuf,
        /// Why the file cannot be read.
        reason: String,
    },
    /// Nobody answers.
    #[error("the job's API at {address} does not answer ({reason}); its coordinator may have ended or be starting")]
    Unreachable {
        /// `HOST:PORT`.
        address: String,
        /// The cause.
        reason: String,
    },
    /// It answers with an error.
    #[error("the job's API refused: {message} (HTTP {status})")]
    Refused {
        /// HTTP status.
        status: u16,
        /// What the API said.
        message: String,
    },
    /// It answers with something else than it should.
    #[error("the API at {address} gave an answer that is none of Millstream's: {reason}")]
    Answer {
        /// `HOST:PORT`.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The authority of a job is none.
    #[error("the job's authority is no certificate: {reason}")]
    Authority {
        /// What is wrong with it.
        reason: String,
    },
    /// No HTTP client on this machine.
    #[error("cannot set up an HTTP client")]
    Setup(#[source] reqwest::Error),
}

impl Error {
    /// Whether the token is not the right one.
    pub fn is_unauthorized(&self) -> bool {
        matches!(self, Self::Refused { status: 401, .. })
    }

    /// Whether the API refused because the job is not (any more) what the request was made for.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Refused { status: 409, .. })
    }
}

impl Client {
    /// The API at `address` (`HOST:PORT`).
    pub fn new(address: &str, token: &str) -> Result<Self, Error> {
        let address = address.trim_start_matches("http://").trim_end_matches('/').to_owned();
        let endpoint = Endpoint { address, token: token.to_owned() };
        Ok(Self { http: build(builder())?, scheme: "http", file: None, endpoint: Mutex::new(Some(endpoint)) })
    }

    /// The API of the job that runs in `workdir`. Its `api.json` is read at the first call.
    pub fn in_workdir(workdir: &Path) -> Result<Self, Error> {
        let file = Some(workdir.join(API_FILE));
        Ok(Self { http: build(builder())?, scheme: "http", file, endpoint: Mutex::new(None) })
    }

    /// The API of a job in a cluster: TLS that trusts the job's own authority alone, at a known address.
    pub fn secure(secure: &Secure) -> Result<Self, Error> {
        let builder = builder()
            .https_only(true)
            .tls_backend_preconfigured(trust::only(&secure.authority)?)
            .resolve(&secure.host, secure.address)
            // One connection a job is enough for one that is asked in turn.
            .pool_max_idle_per_host(1);
        let address = format!("{}:{}", secure.host, secure.address.port());
        let endpoint = Endpoint { address, token: secure.token.clone() };
        Ok(Self { http: build(builder)?, scheme: "https", file: None, endpoint: Mutex::new(Some(endpoint)) })
    }

    /// The job as a whole.
    pub async fn job(&self) -> Result<JobStatus, Error> {
        self.get("job").await
    }

    /// Its stages with all counters.
    pub async fn stages(&self) -> Result<Vec<StageStatus>, Error> {
        self.get("stages").await
    }

    /// Its checkpoints, newest first.
    pub async fn checkpoints(&self) -> Result<Vec<CheckpointStatus>, Error> {
        self.get("checkpoints").await
    }

    /// Its rescales, newest first.
    pub async fn rescales(&self) -> Result<Vec<RescaleStatus>, Error> {
        self.get("rescales").await
    }

    /// The same, once rescale `id` is over or has done other than `batches` batches, or after some seconds.
    pub async fn rescales_beyond(&self, id: u64, batches: u32) -> Result<Vec<RescaleStatus>, Error> {
        self.get(&format!("rescales?id={id}&batches={batches}")).await
    }

    /// Takes a savepoint and waits until it is complete.
    pub async fn savepoint(&self) -> Result<CheckpointStatus, Error> {
        self.post("savepoints", &SavepointRequest::default(), CHECKPOINT_TIMEOUT).await
    }

    /// Asks for a savepoint with a name and waits a while. One that takes longer is asked for again, and is the same.
    pub async fn named_savepoint(&self, request: &SavepointRequest) -> Result<CheckpointStatus, Error> {
        self.post("savepoints", request, AGAIN_TIMEOUT).await
    }

    /// Removes a savepoint from the store.
    pub async fn erase_savepoint(&self, request: &EraseSavepointRequest) -> Result<EraseStatus, Error> {
        self.post("savepoints/erase", request, AGAIN_TIMEOUT).await
    }

    /// Removes from the store all that a job has which is over.
    pub async fn erase(&self, request: &EraseRequest) -> Result<EraseStatus, Error> {
        self.post("erase", request, AGAIN_TIMEOUT).await
    }

    /// Asks for other parallelisms; answers when that is accepted.
    pub async fn rescale(&self, request: &RescaleRequest) -> Result<RescaleStatus, Error> {
        self.post("rescale", request, CHECKPOINT_TIMEOUT).await
    }

    /// Ends the rescale under way.
    pub async fn cancel_rescale(&self) -> Result<RescaleStatus, Error> {
        self.post("rescale/cancel", &(), CHECKPOINT_TIMEOUT).await
    }

    /// Stops the job, with a savepoint if wanted.
    pub async fn stop(&self, savepoint: bool) -> Result<JobStatus, Error> {
        self.post("stop", &StopRequest { savepoint, ..StopRequest::default() }, CHECKPOINT_TIMEOUT).await
    }

    /// Asks the job to stop and does not wait for it: a savepoint may take its time.
    pub async fn begin_stop(&self, request: &StopRequest) -> Result<JobStatus, Error> {
        self.post("stop", request, ASK_TIMEOUT).await
    }

    /// Has workers that host nothing placed on no more.
    pub async fn release(&self, request: &ReleaseRequest) -> Result<JobStatus, Error> {
        self.post("workers/release", request, ASK_TIMEOUT).await
    }

    /// Has another number of checkpoints kept.
    pub async fn keep(&self, request: &KeepRequest) -> Result<JobStatus, Error> {
        self.post("checkpoints/keep", request, ASK_TIMEOUT).await
    }

    async fn get<T: DeserializeOwned>(&self, call: &str) -> Result<T, Error> {
        let endpoint = self.endpoint()?;
        match self.once::<(), T>(&endpoint, Method::GET, call, None, ASK_TIMEOUT).await {
            Err(error) => match self.moved(&endpoint, &error) {
                Some(endpoint) => self.once::<(), T>(&endpoint, Method::GET, call, None, ASK_TIMEOUT).await,
                None => Err(error),
            },
            answer => answer,
        }
    }

    /// Repeated only at another address: at the same one the first try may have had its effect.
    async fn post<B: Serialize, T: DeserializeOwned>(&self, call: &str, body: &B, limit: Duration) -> Result<T, Error> {
        let endpoint = self.endpoint()?;
        match self.once(&endpoint, Method::POST, call, Some(body), limit).await {
            Err(error) => match self.moved(&endpoint, &error) {
                Some(endpoint) => self.once(&endpoint, Method::POST, call, Some(body), limit).await,
                None => Err(error),
            },
            answer => answer,
        }
    }

    fn endpoint(&self) -> Result<Endpoint, Error> {
        let mut known = self.endpoint.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(endpoint) = known.as_ref() {
            return Ok(endpoint.clone());
        }
        let endpoint = self.read()?;
        *known = Some(endpoint.clone());
        Ok(endpoint)
    }

    /// The endpoint in the file now, if `error` may come from an outdated one and the file says something new.
    fn moved(&self, tried: &Endpoint, error: &Error) -> Option<Endpoint> {
        // Without a file there is nothing else to try.
        self.file.as_ref()?;
        let outdated = match error {
            Error::Unreachable { .. } | Error::Answer { .. } => true,
            Error::Refused { status, .. } => *status == StatusCode::UNAUTHORIZED.as_u16(),
            Error::NoJob { .. } | Error::Authority { .. } | Error::Setup(_) => false,
        };
        let now = outdated.then(|| self.read().ok()).flatten().filter(|now| now != tried)?;
        *self.endpoint.lock().unwrap_or_else(PoisonError::into_inner) = Some(now.clone());
        Some(now)
    }

    fn read(&self) -> Result<Endpoint, Error> {
        let file = self.file.as_deref().unwrap_or(Path::new(API_FILE));
        let dir = file.parent().unwrap_or(Path::new("")).to_owned();
        let no_job = |reason: String| Error::NoJob { dir: dir.clone(), reason };
        let text = std::fs::read_to_string(file).map_err(|error| no_job(error.to_string()))?;
        serde_json::from_str(&text).map_err(|error| no_job(error.to_string()))
    }

    async fn once<B: Serialize, T: DeserializeOwned>(
        &self,
        endpoint: &Endpoint,
        method: Method,
        call: &str,
        body: Option<&B>,
        limit: Duration,
    ) -> Result<T, Error> {
        let address = &endpoint.address;
        let unreachable =
            |error: reqwest::Error| Error::Unreachable { address: address.clone(), reason: cause(&error) };
        let url = format!("{}://{address}/api/v1/{call}", self.scheme);
        let mut request = self.http.request(method, url).bearer_auth(&endpoint.token).timeout(limit);
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        let bytes = response.bytes().await.map_err(unreachable)?;
        if !status.is_success() {
            let message = serde_json::from_slice::<ErrorBody>(&bytes)
                .map(|body| body.error)
                .unwrap_or_else(|_| status.canonical_reason().unwrap_or("no reason given").to_lowercase());
            return Err(Error::Refused { status: status.as_u16(), message });
        }
        serde_json::from_slice(&bytes)
            .map_err(|error| Error::Answer { address: address.clone(), reason: error.to_string() })
    }
}

/// The API is on loopback or in the cluster: a proxy from the environment must not see the token.
fn builder() -> reqwest::ClientBuilder {
    reqwest::Client::builder().connect_timeout(CONNECT_TIMEOUT).no_proxy()
}

fn build(builder: reqwest::ClientBuilder) -> Result<reqwest::Client, Error> {
    builder.build().map_err(Error::Setup)
}

/// The innermost cause, which says more than reqwest's own text and does not repeat the URL.
fn cause(error: &reqwest::Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

#[cfg(test)]
mod tests;
