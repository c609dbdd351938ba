//! Standard output. A reader that has left (`millstream job status | head -1`) ends the command quietly.
use std::io::{ErrorKind, Write};

use anyhow::{Context, Result};

/// Writes the text as it is.
pub fn print(text: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        written => written.context("cannot write to standard output"),
    }
}

/// Writes a line.
pub fn line(text: &str) -> Result<()> {
    print(&format!("{text}\n"))
}
