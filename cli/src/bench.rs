//! `millstream bench`: figures, with the product's own processes.
use anyhow::Result;

use crate::args::{BenchArgs, BenchCommand};

mod exchange;
mod nexmark;
mod operator;
mod rescale;
mod usage;

/// Measures.
pub fn bench(args: BenchArgs) -> Result<()> {
    match args.command {
        BenchCommand::Nexmark(args) => nexmark::bench(&args),
        BenchCommand::Rescale(args) => rescale::bench(&args),
        BenchCommand::Operator(args) => operator::bench(&args),
        BenchCommand::Exchange { rows, key_groups, json } => exchange::bench(rows, key_groups, json),
        BenchCommand::ExchangePeer { rows } => exchange::peer(rows),
    }
}
