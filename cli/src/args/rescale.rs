//! Asking a job for another parallelism, or other owners.
use std::path::PathBuf;

use clap::{Args as ClapArgs, ValueEnum};
use millstream_api::wire;

#[derive(ClapArgs)]
pub struct RescaleArgs {
    pub job: Option<String>,
    /// STAGE=TASKS, may be given several times
    #[arg(long = "stage", value_name = "STAGE=TASKS", required_unless_present_any = ["rebalance", "table", "cancel"])]
    pub stages: Vec<String>,
    /// Spread the key groups of a stage by the load measured, may be given several times
    #[arg(long, value_name = "STAGE")]
    pub rebalance: Vec<String>,
    /// JSON: by stage, the task that is to own each key group
    #[arg(long, value_name = "FILE")]
    pub table: Option<PathBuf>,
    /// How
    #[arg(long, value_enum, default_value_t = Strategy::Incremental)]
    pub strategy: Strategy,
    /// How many key groups move at a time
    #[arg(long, value_enum, default_value_t = Batching::Auto)]
    pub batch: Batching,
    /// Show the plan and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// End the rescale under way; what has moved stays where it is
    #[arg(long, conflicts_with_all = ["stages", "rebalance", "table", "strategy", "batch", "dry_run"])]
    pub cancel: bool,
    /// Return at once instead of when the rescale is over
    #[arg(long)]
    pub no_wait: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Strategy {
    /// Live: key groups move in batches while everything else goes on
    Incremental,
    /// Live, all key groups in one batch
    AllAtOnce,
    /// Savepoint, stop, redeploy, restore
    Restart,
}

impl Strategy {
    /// All of them, the least disturbing first.
    pub const ALL: [Self; 3] = [Self::Incremental, Self::AllAtOnce, Self::Restart];

    /// Its name in the API and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Incremental => "incremental",
            Self::AllAtOnce => "all-at-once",
            Self::Restart => "restart",
        }
    }

    /// As the API has it.
    pub fn wire(self) -> wire::RescaleStrategy {
        match self {
            Self::Incremental => wire::RescaleStrategy::Incremental,
            Self::AllAtOnce => wire::RescaleStrategy::AllAtOnce,
            Self::Restart => wire::RescaleStrategy::Restart,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Batching {
    /// As many bytes as the pauses seen allow
    Auto,
    /// One key group, then the next
    Fluid,
    /// One key group a task at a time
    Batched,
}

impl Batching {
    /// As the API has it.
    pub fn wire(self) -> wire::Batching {
        match self {
            Self::Auto => wire::Batching::Auto,
            Self::Fluid => wire::Batching::Fluid,
            Self::Batched => wire::Batching::Batched,
        }
    }
}
