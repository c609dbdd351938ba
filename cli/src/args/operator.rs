//! What the operator is told.
use std::net::SocketAddr;

use clap::{Args as ClapArgs, ValueEnum};

#[derive(ClapArgs)]
pub struct OperatorArgs {
    /// Namespaces to look after, comma separated; all unless given
    #[arg(long, value_name = "NAMESPACE", value_delimiter = ',')]
    pub watch: Vec<String>,
    /// This installation, as NAMESPACE/NAME: jobs of another are left alone
    #[arg(long, value_name = "NAMESPACE/NAME", default_value = "default/millstream", value_parser = named)]
    pub installation: (String, String),
    /// Name of this process, as events and the lease show it; one that is drawn unless given
    #[arg(long, value_name = "NAME")]
    pub instance: Option<String>,
    /// The Lease that decides which of several operators acts; unless given, this one does
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = named)]
    pub lease: Option<(String, String)>,
    /// Image of jobs that name none
    #[arg(long, value_name = "IMAGE", default_value = "")]
    pub default_image: String,
    /// Address of /metrics, /healthz and /readyz; port 7080 of all addresses unless given
    #[arg(long, value_name = "HOST:PORT")]
    pub admin: Option<SocketAddr>,
    /// How long the certificates of jobs are valid; they are renewed at two thirds of it
    #[arg(long, value_name = "DURATION", default_value = "90d")]
    pub certificate_life: millstream_api::duration::Duration,
    /// How log lines are written
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people
    Text,
    /// One object a line
    Json,
}

fn named(text: &str) -> Result<(String, String), String> {
    match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
            Ok((namespace.to_owned(), name.to_owned()))
        }
        _ => Err("must be NAMESPACE/NAME".to_owned()),
    }
}
