//! `millstream bench`.
use anyhow::Result;

use crate::args::BenchArgs;

/// Measures.
pub fn bench(_args: BenchArgs) -> Result<()> {
    anyhow::bail!("being built")
}
