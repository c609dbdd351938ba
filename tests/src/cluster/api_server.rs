//! etcd and kube-apiserver on a loopback address of their own: ready in five seconds, without nodes.
use std::ops::Deref;
use std::time::Duration;

use anyhow::Result;
use kube::Api;
use kube::api::ListParams;
use millstream_api::crd::{StreamJob, StreamJobSnapshot};
use tokio::sync::OnceCell;

use super::Access;
use super::keeper::{self, Keeper};
use crate::process::until;

/// The definitions, as a person without helm installs them.
const DEFINITIONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../manifests/crds.yaml");
/// How long it may take until a definition is in force.
const ESTABLISHED: Duration = Duration::from_secs(20);

/// What stands before the name of a server's folder.
const PREFIX: &str = "millstream-api-";

static SHARED: OnceCell<ApiServer> = OnceCell::const_new();

/// A real API server with its store. Without `controllers` nothing acts on objects: no owner's deletion takes what it owns
/// along, no StatefulSet makes pods, no namespace gets a service account.
#[derive(Debug)]
pub struct ApiServer {
    access: Access,
    controllers: OnceCell<()>,
    resources: OnceCell<()>,
    _keeper: Keeper,
}

impl ApiServer {
    /// The one that all tests of a binary share. It ends with the process.
    pub async fn shared() -> Result<&'static Self> {
        SHARED.get_or_try_init(Self::start).await
    }

    /// One that ends when it is dropped: for tests that stop it, or count requests.
    pub async fn start() -> Result<Self> {
        // Where cluster.sh looks for what a killed run has left.
        let state = tempfile::Builder::new().prefix(PREFIX).tempdir_in("/tmp")?.keep();
        let keeper = Keeper::start(&state)?;
        keeper::run(&state, &["api"]).await?;
        let (controllers, resources) = (OnceCell::new(), OnceCell::new());
        Ok(Self { access: Access::new(state), controllers, resources, _keeper: keeper })
    }

    /// Starts kube-controller-manager, unless it runs: then objects go with their owners, and StatefulSets and Deployments
    /// make pods, which stay Pending.
    pub async fn controllers(&self) -> Result<&Self> {
        let started = self.controllers.get_or_try_init(|| keeper::run(self.state(), &["controllers"]));
        started.await?;
        Ok(self)
    }

    /// Installs StreamJob and StreamJobSnapshot, unless they are there.
    pub async fn resources(&self) -> Result<&Self> {
        self.resources.get_or_try_init(|| self.install()).await?;
        Ok(self)
    }

    async fn install(&self) -> Result<()> {
        self.kubectl(&["apply", "-f", DEFINITIONS])?.success()?;
        let client = self.client().await?;
        let (jobs, snapshots) = (Api::<StreamJob>::all(client.clone()), Api::<StreamJobSnapshot>::all(client));
        let first = ListParams::default().limit(1);
        until("the definitions in force", ESTABLISHED, async || {
            let are_served = jobs.list(&first).await.is_ok() && snapshots.list(&first).await.is_ok();
            Ok(are_served.then_some(()))
        })
        .await
    }
}

impl Deref for ApiServer {
    type Target = Access;

    fn deref(&self) -> &Access {
        &self.access
    }
}
