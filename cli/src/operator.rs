//! The operator as a process: what it is told, its logs, and the signals that end it.
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result};
use millstream_operator::context::Settings;
use millstream_operator::lease::Candidate;
use millstream_operator::name::port;
use millstream_operator::{random, run};
use millstream_runtime::net::tls;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;

use crate::args::{LogFormat, OperatorArgs};

/// Looks after jobs until TERM or Ctrl-C.
pub fn operator(args: OperatorArgs) -> Result<()> {
    log(args.log_format);
    tls::install_provider();
    // Most of the work is waiting for answers.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let (stop, stopped) = watch::channel(false);
        let (mut term, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        tokio::spawn(async move {
            tokio::select! {
                _ = term.recv() => {}
                _ = interrupt.recv() => {}
            }
            tracing::info!("told to end");
            stop.send_replace(true);
        });
        let client = run::connect().await.context("there is no way to a cluster")?;
        run::run(client, options(args)?, stopped).await.context("the operator cannot go on")
    })
}

fn options(args: OperatorArgs) -> Result<run::Options> {
    let instance = match args.instance {
        Some(instance) => instance,
        None => format!("millstream-{}", random::token()?.get(..8).unwrap_or_default()),
    };
    let lease = args.lease.map(|(namespace, name)| Candidate { namespace, name, holder: instance.clone() });
    let everywhere =
        [SocketAddr::from((Ipv6Addr::UNSPECIFIED, port::ADMIN)), (Ipv4Addr::UNSPECIFIED, port::ADMIN).into()];
    let life_ms = u64::try_from(args.certificate_life.as_ms()).unwrap_or_default();
    let settings = Settings {
        installation: format!("{}/{}", args.installation.0, args.installation.1),
        default_image: args.default_image,
        leaf_life: Duration::from_millis(life_ms),
        api_port: port::API,
    };
    let admin = args.admin.map_or_else(|| everywhere.to_vec(), |address| vec![address]);
    Ok(run::Options { namespaces: args.watch, lease, instance, admin, settings })
}

/// Logs go to standard error.
fn log(format: LogFormat) {
    let level = std::env::var("MILLSTREAM_LOG").unwrap_or_else(|_| "info".into());
    // The controller's own spans say at each line what the line says; who wants them names them.
    let level = if level.contains("kube") { level } else { format!("{level},kube_runtime=warn") };
    let filter = EnvFilter::try_new(level).unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false);
    match format {
        LogFormat::Text => lines.init(),
        LogFormat::Json => lines.json().init(),
    }
}
