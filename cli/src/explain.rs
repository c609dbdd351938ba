//! `millstream explain`.
use anyhow::Result;

use crate::args::FileArgs;
use crate::{load, say};

/// Prints the logical plan and the stage graph.
pub fn explain(args: &FileArgs) -> Result<()> {
    let loaded = load::load(args)?;
    say::print(&millstream_sql::explain(&loaded.graph))
}
