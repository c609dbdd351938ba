//! The examples run and give what they say; the commands in README and docs are ones that the binary knows.
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use arrow::array::RecordBatch;
use datafusion::datasource::MemTable;
use datafusion::prelude::{SessionConfig, SessionContext};
use millstream_sql::{PlanOptions, plan, sink_tables, source_tables};
use millstream_tests::golden::oracle;
use millstream_tests::process::{Job, committed_lines, millstream, rows_read};

/// Rows of delays.sql.
const WEEKS: usize = 1748;
/// Flights of 2013.
const FLIGHTS: u64 = 336_776;
/// The longest an example may take.
const LIMIT: Duration = Duration::from_secs(120);

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Folder of the flights; fetched once.
fn flights() -> Result<String> {
    let done = Command::new("bash").arg(root().join("scripts/flights.sh")).output()?;
    ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    Ok(String::from_utf8(done.stdout)?.trim().to_owned())
}

fn files(folder: &Path, extensions: &[&str]) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            found.extend(files(&path, extensions)?);
        } else if path.extension().is_some_and(|extension| extensions.iter().any(|one| extension == *one)) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

#[test]
fn every_example_is_valid() -> Result<()> {
    let data = format!("FLIGHTS_DIR={}", flights()?);
    let examples = files(&root().join("examples"), &["sql", "yaml"])?;
    assert!(examples.len() >= 11, "{examples:?}");
    let is_job = |example: &PathBuf| -> Result<bool> {
        // Other objects of Kubernetes are tried by the tests that apply them.
        let is_sql = example.extension().is_some_and(|extension| extension == "sql");
        Ok(is_sql || fs::read_to_string(example)?.contains("kind: StreamJob\n"))
    };
    for example in examples {
        if !is_job(&example)? {
            continue;
        }
        let shown = example.to_string_lossy();
        let done = millstream(&["validate", &shown, "--set", &data])?;
        assert!(done.status.success(), "{shown}: {}", done.stderr);
    }
    Ok(())
}

/// What batch execution gives for a job: all rows of the one table it writes, as its sink writes them, without header.
async fn batch_execution(sql: &str, query: &str, folder: &Path) -> Result<Vec<String>> {
    let graph = plan(sql, &PlanOptions::default())?;
    let mut config = SessionConfig::new();
    config.options_mut().sql_parser.enable_ident_normalization = false;
    let session = SessionContext::new_with_config(config);
    for table in source_tables(&graph) {
        let rows = MemTable::try_new(Arc::clone(&table.schema), vec![oracle::read(table)?])?;
        session.register_table(table.name.as_str(), Arc::new(rows))?;
    }
    let rows: Vec<RecordBatch> = session.sql(query).await?.collect().await?;
    let (mut table, _) =
        sink_tables(&graph).next().map(|(table, is)| (table.clone(), is)).context("no table is written")?;
    table.options.remove("csv.header");
    oracle::written(&table, &rows, folder)
}

#[tokio::test]
async fn the_first_job_gives_what_batch_execution_gives() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = root().join("examples/first.sql");
    let sql = fs::read_to_string(&file)?;
    let query = "SELECT date_bin(INTERVAL '1 second', dateTime) AS w, channel, count(*), max(price) FROM bid
                 WHERE channel IN ('Apple', 'Baidu', 'Facebook', 'Google') GROUP BY w, channel";
    let expected = batch_execution(&sql, query, folder.path()).await?;
    assert_eq!(expected.len(), 20, "four channels in each of five seconds");
    for parallelism in ["1", "4"] {
        let done = millstream(&["run", &file.to_string_lossy(), "--parallelism", parallelism])?.success()?;
        let row = |line: &str| line.strip_prefix("+I[")?.strip_suffix(']').map(|row| row.replace(", ", ","));
        let mut lines: Vec<String> = done.stdout.lines().filter_map(row).collect();
        lines.sort();
        assert_eq!(lines, expected, "at parallelism {parallelism}");
    }
    Ok(())
}

#[tokio::test]
async fn the_delays_of_flights_are_the_same_at_any_parallelism() -> Result<()> {
    let (folder, data) = (tempfile::tempdir()?, flights()?);
    let file = root().join("examples/flights/delays.sql");
    let text = fs::read_to_string(&file)?;
    let sql = text.replace("${FLIGHTS_DIR:-examples/flights/data}", &data).replace("${RESULT_DIR:-out}", "/nowhere");
    let query = "SELECT w, origin, name, flights, cancelled, mean, latest FROM (
        SELECT date_bin(INTERVAL '7 days', time_hour) AS w, origin, carrier, count(*) AS flights,
          count(*) FILTER (WHERE dep_time IS NULL) AS cancelled, avg(CAST(dep_delay AS DOUBLE)) AS mean, max(dep_delay) AS latest
        FROM flights GROUP BY w, origin, carrier) AS weekly JOIN airlines ON weekly.carrier = airlines.carrier";
    let expected = batch_execution(&sql, query, &folder.path().join("oracle")).await?;
    assert_eq!(expected.len(), WEEKS);
    for parallelism in ["1", "2", "4"] {
        let folder = folder.path().join(parallelism);
        let (data, result) = (format!("FLIGHTS_DIR={data}"), format!("RESULT_DIR={}", folder.join("result").display()));
        let mut job = Job::start(
            &folder,
            &[&file.to_string_lossy(), "--set", &data, "--set", &result, "--parallelism", parallelism],
        )?;
        job.end(LIMIT).await?.success()?;
        let outcome = job.outcome()?;
        assert_eq!((outcome.job.late_rows, outcome.job.bad_records), (0, 0));
        assert_eq!(rows_read(&outcome.stages), FLIGHTS + 16);
        let mut lines = committed_lines(&folder.join("result/delays"))?;
        lines.retain(|line| !line.starts_with("week_start"));
        check(&lines, &expected).with_context(|| format!("at parallelism {parallelism}"))?;
    }
    Ok(())
}

/// Lines must be the same but for the mean, which depends on the order of summing.
fn check(lines: &[String], expected: &[String]) -> Result<()> {
    ensure!(lines.len() == expected.len(), "{} rows instead of {}", lines.len(), expected.len());
    for (line, wanted) in lines.iter().zip(expected) {
        ensure!(millstream_tests::golden::is_same(line, wanted), "{line} instead of {wanted}");
    }
    Ok(())
}

/// Commands of the binary, without comments: lines of shell in fenced blocks of the documentation, and what the examples say of
/// how they are run.
fn documented_commands() -> Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    let mut pages = files(&root().join("docs"), &["md"])?;
    pages.push(root().join("README.md"));
    for page in pages {
        let mut is_shell = false;
        for line in fs::read_to_string(&page)?.lines() {
            if let Some(language) = line.strip_prefix("```") {
                is_shell = language.starts_with("sh");
            }
            let command = line.split('#').next().unwrap_or_default().trim();
            let command = command.strip_prefix("target/release/").unwrap_or(command);
            if let Some(args) = command.strip_prefix("millstream ").filter(|_| is_shell) {
                found.push((page.display().to_string(), args.to_owned()));
            }
        }
    }
    for example in files(&root().join("examples"), &["sql", "yaml"])? {
        let text = fs::read_to_string(&example)?;
        let lines =
            text.lines().filter_map(|line| line.split_once("Run it: ")).flat_map(|(_, commands)| commands.split("&&"));
        let commands = lines.filter_map(|command| command.trim().strip_prefix("millstream "));
        found.extend(commands.map(|args| (example.display().to_string(), args.to_owned())));
    }
    Ok(found)
}

#[test]
fn documented_commands_are_known() -> Result<()> {
    let commands = documented_commands()?;
    assert!(commands.len() >= 7, "{commands:?}");
    assert!(!millstream(&["run", "examples/first.sql", "--no-such-option", "--help"])?.status.success());
    for (page, command) in commands {
        let args: Vec<&str> = command.split_whitespace().collect();
        // What is wrong before --help is an error; what is right is not run.
        let done = millstream(&[&args[..], &["--help"]].concat())?;
        assert!(done.status.success(), "{page}: millstream {command}\n{}", done.stderr);
        for file in args.iter().filter(|arg| arg.starts_with("examples/")) {
            assert!(root().join(file).exists(), "{page}: there is no {file}");
        }
    }
    Ok(())
}

#[test]
fn the_first_job_of_the_readme_is_the_example() -> Result<()> {
    let readme = fs::read_to_string(root().join("README.md"))?;
    let example = fs::read_to_string(root().join("examples/first.sql"))?;
    let blocks: Vec<&str> = readme.split("```sql\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(blocks.len() >= 3);
    for block in blocks {
        assert!(example.contains(block.trim()), "not in examples/first.sql:\n{block}");
    }
    Ok(())
}
