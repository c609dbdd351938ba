//! A cluster with two nodes, each of which can lose its power or its network.
use std::ops::Deref;
use std::path::{Path, PathBuf};

use anyhow::Result;
use tokio::sync::{Mutex, MutexGuard, OnceCell};

use super::Access;
use super::keeper::{self, Keeper};

/// There is one on a machine at a time: it has names of interfaces and ranges of addresses. `make cluster-up` has others.
const STATE: &str = "/var/lib/millstream-test";

static SHARED: OnceCell<Mutex<Cluster>> = OnceCell::const_new();

/// Two nodes with kubelets, DNS, and an S3 server that jobs in any namespace reach as `http://s3.default.svc:9000`. DNS and S3
/// are on node 1, so that a test may do to node 2 whatever it likes.
#[derive(Debug)]
pub struct Cluster {
    access: Access,
    _keeper: Keeper,
}

impl Cluster {
    /// The image of this workspace's binary, as all nodes have it.
    pub const IMAGE: &str = "millstream.test/millstream:dev";

    /// The one that all tests of a binary share, one after the other. It ends with the process.
    pub async fn shared() -> Result<MutexGuard<'static, Self>> {
        let cluster = SHARED.get_or_try_init(async || Self::start().await.map(Mutex::new));
        Ok(cluster.await?.lock().await)
    }

    /// Starts it, after what a killed run may have left is gone. It ends when it is dropped.
    pub async fn start() -> Result<Self> {
        // Its images are made of this build.
        crate::process::binary()?;
        let state = PathBuf::from(STATE);
        let keeper = Keeper::start(&state)?;
        keeper::run(&state, &["up"]).await?;
        Ok(Self { access: Access::new(state), _keeper: keeper })
    }

    /// Node `node` loses its power: all that ran there is gone at once, and nobody is told.
    pub async fn kill_node(&self, node: u32) -> Result<()> {
        self.run_on("kill", node).await
    }

    /// Switches a node on, after it lost its power.
    pub async fn start_node(&self, node: u32) -> Result<()> {
        self.run_on("start", node).await
    }

    /// Cuts a node off the network; its pods go on.
    pub async fn cut_node(&self, node: u32) -> Result<()> {
        self.run_on("cut", node).await
    }

    /// Gives a node its network back.
    pub async fn heal_node(&self, node: u32) -> Result<()> {
        self.run_on("heal", node).await
    }

    async fn run_on(&self, command: &str, node: u32) -> Result<()> {
        keeper::run(self.state(), &[command, &node.to_string()]).await
    }

    /// Gives all nodes an image from an archive.
    pub async fn load(&self, archive: &Path) -> Result<()> {
        keeper::run(self.state(), &["load", &archive.to_string_lossy()]).await
    }
}

impl Deref for Cluster {
    type Target = Access;

    fn deref(&self) -> &Access {
        &self.access
    }
}
