//! The exchange between two processes beside its ceiling.
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;

use anyhow::{Context, Result};
use millstream_runtime::clock::SystemClock;
use millstream_runtime::exchange::bench::{self, Addresses, Options};

/// The sending side; starts the receiving one.
pub fn bench(rows: u64, key_groups: u32, json: bool) -> Result<()> {
    let options = Options { rows, key_groups, ..Options::default() };
    let program = std::env::current_exe().context("cannot find the millstream binary")?;
    let mut peer = Command::new(program)
        .args(["bench", "exchange-peer", "--rows", &rows.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start the receiving process")?;
    let measured = measure(&options, peer.stdout.take());
    if measured.is_err() {
        // It may wait for rows that will never come.
        let _ = peer.kill();
    }
    let _ = peer.wait();
    let report = measured?;
    if json {
        crate::say::line(&serde_json::to_string(&report)?)?;
    } else {
        let text = format!(
            "{:.1} M rows/s, {:.0} MB/s, {:.0} % of the {:.0} MB/s of a plain copy and socket",
            report.rows_per_s / 1e6,
            report.bytes_per_s / 1e6,
            report.share * 100.0,
            report.ceiling_bytes_per_s / 1e6
        );
        crate::say::line(&text)?;
    }
    Ok(())
}

fn measure(options: &Options, peer: Option<impl std::io::Read>) -> Result<bench::Report> {
    let mut line = String::new();
    BufReader::new(peer.context("the receiving process has no output")?).read_line(&mut line)?;
    let addresses: Addresses = serde_json::from_str(&line).context("the receiving process did not say where it is")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    Ok(runtime.block_on(bench::send(options, &addresses, Arc::new(SystemClock::default())))?)
}

/// The receiving side: says where it listens, then receives.
pub fn peer(rows: u64) -> Result<()> {
    let options = Options { rows, ..Options::default() };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let announce = |addresses: &Addresses| {
        if let Ok(line) = serde_json::to_string(addresses) {
            // A parent that does not read will find out that nobody came.
            let _ = crate::say::line(&line);
        }
    };
    Ok(runtime.block_on(bench::receive(&options, announce))?)
}
