//! The command line.
use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};

mod bench;
mod erase;
mod operator;
mod rescale;

pub use bench::{OperatorBenchArgs, Preset, RescaleBenchArgs};
pub use erase::EraseArgs;
pub use operator::{LogFormat, OperatorArgs};
pub use rescale::{Batching, RescaleArgs, Strategy};

/// Elastic stream processing: streaming SQL jobs that scale by themselves.
#[derive(Parser)]
#[command(version, propagate_version = true)]
pub struct Args {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Run a job on this machine until its bounded input ends or Ctrl-C
    Run(RunArgs),
    /// Run a job on this machine with the operator in charge of its parallelism
    Up(UpArgs),
    /// Show the logical plan and the stage graph of a job
    Explain(FileArgs),
    /// Check a job without running it
    Validate(ValidateArgs),
    /// Look after a running job
    Job(JobArgs),
    /// Measure
    Bench(BenchArgs),
    /// Look after the StreamJobs of a Kubernetes cluster
    Operator(OperatorArgs),
    /// The coordinator of a job (started by the platform)
    #[command(hide = true)]
    Coordinator(CoordinatorArgs),
    /// A worker of a job (started by the platform)
    #[command(hide = true)]
    Worker(WorkerArgs),
    /// Remove what a job has in its checkpoint store (started by the platform)
    #[command(hide = true)]
    Erase(EraseArgs),
}

/// A job's file and what is set from outside.
#[derive(ClapArgs, Clone)]
pub struct FileArgs {
    /// FILE.sql, or a StreamJob as YAML
    pub file: PathBuf,
    /// Set a variable (`${NAME}` in the SQL text) or, if the name has a dot, a setting such as `batch.rows`
    #[arg(long = "set", value_name = "NAME=VALUE")]
    pub set: Vec<String>,
}

#[derive(ClapArgs)]
pub struct ValidateArgs {
    #[command(flatten)]
    pub file: FileArgs,
    /// Also check that the job can go on from a checkpoint or savepoint: its path, or the job's folder in the store for the newest
    #[arg(long, value_name = "PATH")]
    pub against: Option<String>,
    /// That there is none in the folder is an error
    #[arg(long, hide = true, requires = "against")]
    pub required: bool,
    /// In a pod: variables are in the environment, and what is found goes to this file
    #[arg(long, hide = true, value_name = "FILE")]
    pub termination_log: Option<PathBuf>,
    /// Print one JSON object instead of text
    #[arg(long)]
    pub json: bool,
}

#[derive(ClapArgs)]
pub struct RunArgs {
    #[command(flatten)]
    pub file: FileArgs,
    /// Tasks of every stage
    #[arg(long, value_name = "N")]
    pub parallelism: Option<u32>,
    /// Worker processes
    #[arg(long, value_name = "N")]
    pub workers: Option<u32>,
    /// Where keyed state is kept
    #[arg(long, value_enum)]
    pub state: Option<State>,
    /// Folder for logs, checkpoints and api.json; a temporary one, removed at the end, unless given
    #[arg(long, value_name = "DIR")]
    pub workdir: Option<PathBuf>,
    /// Time between checkpoints, such as 2s
    #[arg(long, value_name = "DURATION")]
    pub checkpoint_interval: Option<String>,
    /// Start from a checkpoint or savepoint: the path that `job checkpoints` prints
    #[arg(long, value_name = "PATH")]
    pub restore: Option<PathBuf>,
    /// Print progress as JSON lines on stdout; rows of print tables go to the workers' logs
    #[arg(long)]
    pub json: bool,
}

#[derive(ClapArgs)]
pub struct UpArgs {
    #[command(flatten)]
    pub file: FileArgs,
    /// JSON lines instead of the live view
    #[arg(long)]
    pub headless: bool,
    /// Folder for logs, checkpoints and api.json; a temporary one, removed at the end, unless given
    #[arg(long, value_name = "DIR")]
    pub workdir: Option<PathBuf>,
    /// Do not compare the result with that of a one-task run without rate limits when the input has ended
    #[arg(long)]
    pub no_verify: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum State {
    Memory,
    Rocksdb,
}

impl State {
    /// As `JobSpec::state_backend` spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Rocksdb => "rocksdb",
        }
    }
}

#[derive(ClapArgs)]
pub struct JobArgs {
    #[command(subcommand)]
    pub command: JobCommand,
    /// Work folder of the job: its api.json tells address and token
    #[arg(long, global = true, value_name = "DIR")]
    pub workdir: Option<PathBuf>,
    /// Address of the job's API, HOST:PORT
    #[arg(long, global = true)]
    pub address: Option<String>,
    /// Token of the job's API
    #[arg(long, global = true)]
    pub token: Option<String>,
    /// One JSON object a line and nothing else on stdout
    #[arg(long, global = true)]
    pub json: bool,
}

#[derive(Subcommand)]
pub enum JobCommand {
    /// The job as a whole
    Status { job: Option<String> },
    /// Its stages with their tasks
    Stages { job: Option<String> },
    /// Its complete checkpoints, newest first
    Checkpoints { job: Option<String> },
    /// Take a savepoint and print where it is
    Savepoint { job: Option<String> },
    /// Change the parallelism of stages, or who owns what at the same parallelism
    Rescale(RescaleArgs),
    /// Stop the job
    Stop {
        job: Option<String>,
        /// Take a savepoint first
        #[arg(long)]
        savepoint: bool,
    },
}

#[derive(ClapArgs)]
pub struct BenchArgs {
    #[command(subcommand)]
    pub command: BenchCommand,
}

#[derive(Subcommand)]
pub enum BenchCommand {
    /// Nexmark queries with worker processes and checkpoints on
    Nexmark(NexmarkArgs),
    /// What a rescale does to the latency of a job with state, on schedule, with worker processes and checkpoints on
    Rescale(RescaleBenchArgs),
    /// The operator with many jobs, on the API server that KUBECONFIG names; it must have no nodes (make bench-operator starts one)
    Operator(OperatorBenchArgs),
    /// Rows and bytes a second through a hash exchange between two processes
    Exchange {
        /// Rows to send
        #[arg(long, default_value_t = 40_000_000)]
        rows: u64,
        /// Key groups they are in
        #[arg(long, value_name = "N", default_value_t = 256)]
        key_groups: u32,
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
    /// The other end of the exchange benchmark
    #[command(hide = true)]
    ExchangePeer {
        #[arg(long)]
        rows: u64,
    },
}

#[derive(ClapArgs)]
pub struct NexmarkArgs {
    /// Queries, comma separated
    #[arg(long, default_value = "q0,q1,q2,q3,q5,q8", value_delimiter = ',')]
    pub query: Vec<String>,
    /// How long each query reads
    #[arg(long, default_value_t = 40)]
    pub seconds: u64,
    /// Read this many events of all kinds instead of for a time
    #[arg(long)]
    pub events: Option<u64>,
    /// Tasks of every stage
    #[arg(long, default_value_t = 2)]
    pub parallelism: u32,
    /// Worker processes
    #[arg(long, default_value_t = 2)]
    pub workers: u32,
    /// Where keyed state is kept
    #[arg(long, value_enum, default_value_t = State::Rocksdb)]
    pub state: State,
    /// One JSON object a query
    #[arg(long)]
    pub json: bool,
}

#[derive(ClapArgs)]
pub struct CoordinatorArgs {
    /// Work folder with job.json, of a process on this machine
    #[arg(long, required_unless_present = "job", conflicts_with = "job")]
    pub workdir: Option<PathBuf>,
    #[command(flatten)]
    pub pod: PodArgs,
}

#[derive(ClapArgs)]
pub struct WorkerArgs {
    /// Its name; in a pod, the pod's
    #[arg(long, required_unless_present = "job")]
    pub name: Option<String>,
    /// Tasks of each stage it can host; in a pod, as the job says
    #[arg(long, required_unless_present = "job")]
    pub slots: Option<u32>,
    /// Work folder of the job, of a process on this machine
    #[arg(long, required_unless_present = "job", conflicts_with = "job")]
    pub workdir: Option<PathBuf>,
    #[command(flatten)]
    pub pod: PodArgs,
}

/// A role in a pod; what differs from pod to pod is in its environment.
#[derive(ClapArgs)]
pub struct PodArgs {
    /// The StreamJob that the pod is of
    #[arg(long, requires = "tls", requires = "data")]
    pub job: Option<PathBuf>,
    /// Folder with certificates and token
    #[arg(long)]
    pub tls: Option<PathBuf>,
    /// Folder for what lives as long as the pod
    #[arg(long)]
    pub data: Option<PathBuf>,
    /// Address to listen at; all of them unless given
    #[arg(long)]
    pub listen: Option<String>,
    /// File for the reason of the end
    #[arg(long, default_value = "/dev/termination-log")]
    pub termination_log: PathBuf,
}
