//! What `millstream up` shows: a live view on a terminal, JSON lines elsewhere, and a summary at the end.

#[allow(dead_code)] // Until the command below shows with it.
pub mod headless;
#[allow(dead_code)] // Until the command below shows with it.
pub mod model;
#[allow(dead_code)] // Until the command below shows with it.
pub mod summary;
#[allow(dead_code)] // Until the command below shows with it.
pub mod view;

use anyhow::Result;

use crate::args::UpArgs;

/// Runs a job under the operator.
pub fn up(_args: UpArgs) -> Result<()> {
    anyhow::bail!("being built")
}
