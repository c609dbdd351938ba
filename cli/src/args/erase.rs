//! Options of the command that removes what a job has in its store.
use std::path::PathBuf;

use clap::Args as ClapArgs;

#[derive(ClapArgs)]
pub struct EraseArgs {
    /// The checkpoint store: s3://BUCKET/PREFIX, file:///FOLDER or a folder
    #[arg(long)]
    pub store: String,
    /// Address of an S3-compatible server; that of AWS unless given
    #[arg(long)]
    pub endpoint: Option<String>,
    /// Region of the bucket
    #[arg(long)]
    pub region: Option<String>,
    /// The job's folder in the store
    #[arg(long)]
    pub prefix: String,
    /// Remove this savepoint and nothing else
    #[arg(long, value_name = "PATH", conflicts_with = "keep")]
    pub savepoint: Option<String>,
    /// A savepoint that stays
    #[arg(long, value_name = "PATH")]
    pub keep: Vec<String>,
    /// File for the reason of the end
    #[arg(long, default_value = "/dev/termination-log")]
    pub termination_log: PathBuf,
}
