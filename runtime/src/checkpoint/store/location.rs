//! Checkpoint stores by URI: `s3://BUCKET/PREFIX` or `file:///FOLDER`; a path without a scheme is a local folder.
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey, S3ConditionalPut};
use object_store::path::Path as ObjectPath;
use object_store::prefix::PrefixStore;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig};
use tokio::runtime::Handle;

use super::object::ObjectCheckpoints;
use super::{CheckpointStore, Error};

/// One request may take this long: a part of an upload over a slow line included.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// A server that cannot be connected to in this time is taken as down.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Tries after the first of one request, within `RETRY_TIMEOUT`. Whoever calls has a plan for what fails for longer.
const RETRIES_MAX: usize = 4;
/// See `RETRIES_MAX`.
const RETRY_TIMEOUT: Duration = Duration::from_secs(15);

/// Where a checkpoint store is. Credentials come from the environment, as AWS names them (`AWS_ACCESS_KEY_ID`, ...).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Location {
    /// Its root.
    pub uri: String,
    /// Address of an S3-compatible server; none: that of AWS.
    pub endpoint: Option<String>,
    /// Region of the bucket.
    pub region: Option<String>,
}

impl Location {
    /// A local folder.
    pub fn folder(path: &Path) -> Self {
        Self { uri: path.display().to_string(), ..Self::default() }
    }

    /// Another root, reached in the same way.
    pub fn at(&self, root: &str) -> Self {
        Self { uri: root.to_owned(), ..self.clone() }
    }

    /// Where an object of this store is, for people and for restores.
    pub fn path_of(&self, path: &str) -> String {
        format!("{}/{path}", self.uri.trim_end_matches('/'))
    }

    /// Opens the store; nothing is asked of a server yet. I/O runs on `runtime`.
    pub fn open(&self, runtime: Handle) -> Result<Arc<dyn CheckpointStore>, Error> {
        self.open_in(runtime, std::env::vars())
    }

    /// The same in another environment.
    pub(super) fn open_in(
        &self,
        runtime: Handle,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Arc<dyn CheckpointStore>, Error> {
        match self.uri.split_once("://") {
            None => Ok(Arc::new(ObjectCheckpoints::local(Path::new(&self.uri), runtime)?)),
            Some(("file", path)) if path.starts_with('/') => {
                Ok(Arc::new(ObjectCheckpoints::local(Path::new(path), runtime)?))
            }
            Some(("s3", rest)) => Ok(Arc::new(ObjectCheckpoints::new(self.bucket(rest, environment)?, runtime))),
            Some(_) => Err(self.refused("write s3://BUCKET/PREFIX or file:///FOLDER".into())),
        }
    }

    fn bucket(
        &self,
        rest: &str,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Arc<dyn ObjectStore>, Error> {
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() {
            return Err(self.refused("the bucket is missing; write s3://BUCKET/PREFIX".into()));
        }
        let prefix = ObjectPath::parse(prefix.trim_end_matches('/')).map_err(|error| self.refused(error.into()))?;
        let bucket = self.s3(bucket, environment)?;
        Ok(if prefix.as_ref().is_empty() { Arc::new(bucket) } else { Arc::new(PrefixStore::new(bucket, prefix)) })
    }

    fn s3(&self, bucket: &str, environment: impl Iterator<Item = (String, String)>) -> Result<AmazonS3, Error> {
        let backoff = BackoffConfig {
            init_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(3),
            ..BackoffConfig::default()
        };
        let client = ClientOptions::new().with_timeout(REQUEST_TIMEOUT).with_connect_timeout(CONNECT_TIMEOUT);
        let known = environment.filter_map(|(name, value)| {
            let name = Some(name).filter(|name| name.starts_with("AWS_"))?;
            Some((name.to_ascii_lowercase().parse::<AmazonS3ConfigKey>().ok()?, value))
        });
        let mut builder = known
            .fold(AmazonS3Builder::new(), |builder, (key, value)| builder.with_config(key, value))
            .with_client_options(client)
            .with_bucket_name(bucket)
            // Claims and manifests are created if absent: of several callers, one must win.
            .with_conditional_put(S3ConditionalPut::ETagMatch)
            // One request an object is what every server knows.
            .with_disable_bulk_delete(true)
            .with_retry(RetryConfig { backoff, max_retries: RETRIES_MAX, retry_timeout: RETRY_TIMEOUT });
        if let Some(region) = &self.region {
            builder = builder.with_region(region);
        }
        if let Some(endpoint) = &self.endpoint {
            builder = builder.with_endpoint(endpoint.trim_end_matches('/'));
            builder = builder.with_allow_http(endpoint.starts_with("http://"));
        }
        builder.build().map_err(|error| self.refused(error.into()))
    }

    fn refused(&self, source: Box<dyn std::error::Error + Send + Sync>) -> Error {
        Error { attempt: "open the checkpoint store", path: self.uri.clone(), transient: false, source }
    }
}
