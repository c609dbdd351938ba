//! The operator in this process, with the rights of its chart's account. All it shares with a test is the API server: it has a
//! runtime of its own, so that it can be killed at any moment as a process can.
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use anyhow::{Context, Result};
use kube::Config;
use millstream_api::metric;
use millstream_operator::context::Settings;
use millstream_operator::metrics::Outcome;
use millstream_operator::run::{self, Options};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::cluster::Access;
use crate::process::until;

pub mod check;
pub mod coordinator;
pub mod kubelet;
pub mod objects;
pub mod wire;

use wire::{Fault, Wire};

/// Image of jobs that name none.
pub const IMAGE: &str = "millstream.test/millstream:default";
/// Namespace and name of the account.
pub const ACCOUNT: (&str, &str) = ("millstream", "millstream");
/// This installation.
pub const INSTALLATION: &str = "millstream/millstream";
/// How long an operator may take to end: a turn that has begun is finished, and given up after a minute.
const END: Duration = Duration::from_secs(70);

/// An operator that runs.
pub struct Operator {
    runtime: Option<Runtime>,
    stop: watch::Sender<bool>,
    running: JoinHandle<Result<(), run::Error>>,
    wire: Wire,
    admin: SocketAddr,
}

/// What an operator for the jobs of this namespace is told. Without a lease: there is one of them.
pub fn options(namespace: &str) -> Options {
    Options {
        namespaces: vec![namespace.to_owned()],
        lease: None,
        instance: "test".into(),
        admin: Vec::new(),
        settings: Settings {
            installation: INSTALLATION.into(),
            default_image: IMAGE.into(),
            leaf_life: Duration::from_secs(90 * 86_400),
            api_port: millstream_operator::name::port::API,
        },
    }
}

impl Operator {
    /// Starts one.
    pub async fn start(access: &Access, options: Options) -> Result<Self> {
        Self::on(access, options, Wire::new(None)).await
    }

    /// Starts one to whose n-th write this happens.
    pub async fn with_fault(access: &Access, options: Options, fault: Option<(usize, Fault)>) -> Result<Self> {
        Self::on(access, options, Wire::new(fault)).await
    }

    /// Starts one whose requests go this way.
    pub async fn on(access: &Access, mut options: Options, wire: Wire) -> Result<Self> {
        millstream_runtime::net::tls::install_provider();
        let config = access.config_as(ACCOUNT.0, ACCOUNT.1).await?;
        // The port is free, and nobody else takes it at once.
        let admin = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        options.admin = vec![admin];
        let (stop, stopped) = watch::channel(false);
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let running = runtime.spawn(run(config, wire.clone(), options, stopped));
        Ok(Self { runtime: Some(runtime), stop, running, wire, admin })
    }

    /// Its requests.
    pub fn wire(&self) -> &Wire {
        &self.wire
    }

    /// What its admin port says.
    pub async fn get(&self, path: &str) -> Result<String> {
        let client = reqwest::Client::builder().no_proxy().build()?;
        Ok(client.get(format!("http://{}{path}", self.admin)).send().await?.text().await?)
    }

    /// Turns so far that did not fail.
    pub async fn turns(&self) -> Result<u64> {
        let metrics = self.get("/metrics").await?;
        let turns = metrics.lines().filter(|line| {
            line.starts_with(metric::OPERATOR_RECONCILES.name) && !line.contains(Outcome::Failed.as_str())
        });
        let counts = turns.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
        Ok(counts.sum::<f64>() as u64)
    }

    /// Waits until it has looked at everything once more, beginning now.
    pub async fn look(&self) -> Result<()> {
        // The first turn that ends may have begun before.
        let wanted = self.turns().await? + 2;
        until("two turns", END, async || Ok((self.turns().await? >= wanted).then_some(()))).await
    }

    /// Ends it as TERM does.
    pub async fn stop(mut self) -> Result<()> {
        self.stop.send_replace(true);
        let ended = tokio::time::timeout(END, &mut self.running).await.context("the operator does not end")?;
        Ok(ended??)
    }
}

impl Drop for Operator {
    /// As KILL does.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn run(config: Config, wire: Wire, options: Options, stop: watch::Receiver<bool>) -> Result<(), run::Error> {
    let client = wire.client(config).map_err(run::Error::Client)?;
    run::run(client, options, stop).await
}
