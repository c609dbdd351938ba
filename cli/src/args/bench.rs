//! Options of `millstream bench rescale`.
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{Batching, State, Strategy};

/// What is not given has the preset's value, or the default named.
#[derive(Args)]
pub struct RescaleBenchArgs {
    /// Published comparisons: megaphone (64 M counts, a quarter of the groups out and back) or flink (1 M and 10 M keys, one task to two
    /// and back)
    #[arg(long, value_enum)]
    pub preset: Option<Preset>,
    /// Keys, all of which have state before anything is measured [default: 1000000]
    #[arg(long)]
    pub keys: Option<u64>,
    /// Random bytes in the state of a key [default: 256]
    #[arg(long)]
    pub value_bytes: Option<u64>,
    /// Records a second, offered on schedule whatever happens [default: 20000]
    #[arg(long)]
    pub rate: Option<u64>,
    /// Tasks of the keyed stage before [default: 2]
    #[arg(long)]
    pub from: Option<u32>,
    /// Tasks of the keyed stage after [default: 3]
    #[arg(long)]
    pub to: Option<u32>,
    /// How the rescale is done
    #[arg(long, value_enum, default_value_t = Strategy::Incremental)]
    pub strategy: Strategy,
    /// Where keyed state is kept
    #[arg(long, value_enum, default_value_t = State::Rocksdb)]
    pub state: State,
    /// Key groups of the job
    #[arg(long, default_value_t = 256)]
    pub key_groups: u32,
    /// How many key groups strategy incremental moves at a time
    #[arg(long, value_enum, default_value_t = Batching::Auto)]
    pub batch: Batching,
    /// Runs of each strategy
    #[arg(long, default_value_t = 1)]
    pub runs: u32,
    /// Length of the quiet phases before and after the rescale [default: 20; 60 with --preset flink]
    #[arg(long)]
    pub seconds: Option<u64>,
    /// All strategies in turn, and a table of medians
    #[arg(long)]
    pub compare: bool,
    /// Draw the latency of each strategy over time
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
    /// One JSON object a rescale on stdout
    #[arg(long)]
    pub json: bool,
}

/// A published comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Preset {
    Megaphone,
    Flink,
}

/// Options of `millstream bench operator`.
#[derive(Args)]
pub struct OperatorBenchArgs {
    /// Jobs, all created at once
    #[arg(long, default_value_t = 1000)]
    pub jobs: u32,
    /// How long the operator is watched once all jobs run
    #[arg(long, default_value_t = 120)]
    pub seconds: u64,
    /// How long it is left alone before that: what it writes about a job's beginning is written by then
    #[arg(long, default_value_t = 40)]
    pub quiet: u64,
    /// Changes of a job each, whose way to the job's status is timed
    #[arg(long, default_value_t = 300)]
    pub changes: u32,
    /// One JSON object on stdout
    #[arg(long)]
    pub json: bool,
}
