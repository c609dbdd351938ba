//! A job for tests with real processes: it has something to lose at every moment, and its result is known.
use std::path::Path;
use std::sync::OnceLock;

use anyhow::{Result, ensure};

use crate::process::{Job, committed_lines, millstream};

/// Counts of bids per auction and second: state in nearly every key group, output in every checkpoint.
const SQL: &str = "
CREATE TABLE bid (
  auction BIGINT, price BIGINT, dateTime TIMESTAMP(3),
  WATERMARK FOR dateTime AS dateTime - INTERVAL '1' SECOND
) WITH (
  'connector' = 'nexmark', 'nexmark.table' = 'bid', 'nexmark.events' = '100000',
  'nexmark.event-rate' = '10000', 'nexmark.rate' = '${RATE:-30000}'
);
CREATE TABLE popular (window_start TIMESTAMP(3), auction BIGINT, bids BIGINT, highest BIGINT)
WITH ('connector' = 'filesystem', 'path' = '${RESULT_DIR}', 'format' = 'csv');
INSERT INTO popular
SELECT window_start, auction, COUNT(*), MAX(price)
FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(dateTime), INTERVAL '1' SECOND))
GROUP BY window_start, window_end, auction;
";
/// Of 50 events 46 are bids.
pub const ROWS: u64 = 92_000;

fn options(folder: &Path, more: &[&str]) -> Result<Vec<String>> {
    std::fs::create_dir_all(folder)?;
    let file = folder.join("popular.sql");
    std::fs::write(&file, SQL)?;
    let set = format!("RESULT_DIR={}", folder.join("result").display());
    let mut options = vec![file.to_string_lossy().into_owned(), "--set".into(), set];
    if !more.contains(&"--checkpoint-interval") {
        options.extend(["--checkpoint-interval".into(), "300ms".into()]);
    }
    options.extend(more.iter().map(ToString::to_string));
    Ok(options)
}

/// Starts the job with its files in this folder.
pub fn start(folder: &Path, more: &[&str]) -> Result<Job> {
    let options = options(folder, more)?;
    Job::start(folder, &options.iter().map(String::as_str).collect::<Vec<_>>())
}

/// What an unbroken run commits, one task a stage.
fn unbroken() -> Result<&'static [String]> {
    static LINES: OnceLock<Vec<String>> = OnceLock::new();
    if let Some(lines) = LINES.get() {
        return Ok(lines);
    }
    let folder = tempfile::tempdir()?;
    let options = options(folder.path(), &["--set", "RATE=1000000000"])?;
    let mut args = vec!["run"];
    args.extend(options.iter().map(String::as_str));
    millstream(&args)?.success()?;
    let lines = committed_lines(&folder.path().join("result"))?;
    ensure!(lines.len() > 5_000, "only {} rows", lines.len());
    Ok(LINES.get_or_init(|| lines))
}

/// Refuses a result that is not the one of an unbroken run.
pub fn check_result(lines: &[String]) -> Result<()> {
    let expected = unbroken()?;
    if lines != expected {
        let missing: Vec<_> = expected.iter().filter(|line| lines.binary_search(line).is_err()).take(5).collect();
        let extra: Vec<_> = lines.iter().filter(|line| expected.binary_search(line).is_err()).take(5).collect();
        let (found, wanted) = (lines.len(), expected.len());
        anyhow::bail!("{found} rows instead of {wanted}; missing: {missing:?}; not expected: {extra:?}");
    }
    Ok(())
}
