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
  'connector' = 'nexmark', 'nexmark.table' = 'bid', 'nexmark.events' = '${EVENTS:-100000}',
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

/// The job as a StreamJob that is not given up however often it fails; its files are in this folder.
pub fn spec(folder: &Path, parallelism: u32, backend: &str) -> Result<String> {
    std::fs::create_dir_all(folder)?;
    let sql = SQL.trim().replace('\n', "\n      ").replace("${RESULT_DIR}", &folder.join("result").to_string_lossy());
    let file = folder.join("popular.yaml");
    let text = format!(
        "apiVersion: millstream.dev/v1alpha1
kind: StreamJob
metadata: {{name: popular}}
spec:
  sql:
    inline: |
      {sql}
  parallelism: {parallelism}
  state: {{backend: {backend}}}
  checkpoint: {{interval: 500ms}}
  restart: {{maxFailures: 10000, window: 1h}}
"
    );
    std::fs::write(&file, text)?;
    Ok(file.to_string_lossy().into_owned())
}

/// Starts the job with its files in this folder.
pub fn start(folder: &Path, more: &[&str]) -> Result<Job> {
    let options = options(folder, more)?;
    Job::start(folder, &options.iter().map(String::as_str).collect::<Vec<_>>())
}

/// What an unbroken run over so many events commits, one task a stage.
pub fn unbroken(events: u64) -> Result<Vec<String>> {
    let folder = tempfile::tempdir()?;
    let events = format!("EVENTS={events}");
    let options = options(folder.path(), &["--set", "RATE=1000000000", "--set", &events])?;
    let mut args = vec!["run"];
    args.extend(options.iter().map(String::as_str));
    millstream(&args)?.success()?;
    let lines = committed_lines(&folder.path().join("result"))?;
    ensure!(lines.len() > 5_000, "only {} rows", lines.len());
    Ok(lines)
}

/// Refuses a result that is not the one of an unbroken run over 100,000 events.
pub fn check_result(lines: &[String]) -> Result<()> {
    static LINES: OnceLock<Vec<String>> = OnceLock::new();
    match LINES.get() {
        Some(expected) => compare(lines, expected),
        None => {
            let expected = unbroken(100_000)?;
            compare(lines, LINES.get_or_init(|| expected))
        }
    }
}

/// Refuses lines that are not the expected ones; both are sorted.
pub fn compare(lines: &[String], expected: &[String]) -> Result<()> {
    if lines != expected {
        let missing: Vec<_> = expected.iter().filter(|line| lines.binary_search(line).is_err()).take(5).collect();
        let extra: Vec<_> = lines.iter().filter(|line| expected.binary_search(line).is_err()).take(5).collect();
        let (found, wanted) = (lines.len(), expected.len());
        anyhow::bail!("{found} rows instead of {wanted}; missing: {missing:?}; not expected: {extra:?}");
    }
    Ok(())
}
