//! What `millstream up` shows: a live view on a terminal, JSON lines elsewhere, and a summary at the end.

pub mod headless;
pub mod model;
pub mod summary;
pub mod view;

use anyhow::Result;

use crate::args::UpArgs;

/// Runs a job under the operator.
pub fn up(_args: UpArgs) -> Result<()> {
    anyhow::bail!("being built")
}
