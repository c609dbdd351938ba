//! A load that grows and falls: workers come and go by themselves.
use std::fs;

use anyhow::{Context, Result, ensure};
use millstream_api::crd::{ConditionType, StreamJob};
use millstream_tests::popular::compare;
use millstream_tests::process::{committed_lines, millstream};

use crate::job::{Job, NAME, is};

/// The example that everybody begins with.
const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/elastic.yaml");
/// Its load, for less long.
const LOAD: (&str, &str) = ("2000 for 30s, 10000 for 50s, 2000 for 50s", "2000 for 20s, 9000 for 30s, 2000 for 40s");
const EVENTS: (&str, &str) = ("\"660000\"", "\"390000\"");

/// The text with another in the place of one that is in it.
fn exchange(text: &str, (from, to): (&str, &str)) -> Result<String> {
    ensure!(text.contains(from), "no {from} in the example");
    Ok(text.replace(from, to))
}

/// What an unbroken run of the same SQL commits.
fn unbroken(text: &str) -> Result<Vec<String>> {
    let folder = tempfile::tempdir()?;
    let spec = millstream_api::job::parse_yaml(text)?.spec;
    let file = folder.path().join("elastic.sql");
    fs::write(&file, spec.sql.inline.context("no SQL")?)?;
    let (file, result) = (file.to_string_lossy().into_owned(), folder.path().join("result"));
    let mut args = vec!["run".to_owned(), file];
    for set in [&format!("RESULT_DIR={}", result.display()), "EVENTS=390000", "RATE=1000000000"] {
        args.extend(["--set".to_owned(), set.to_owned()]);
    }
    millstream(&args.iter().map(String::as_str).collect::<Vec<_>>())?.success()?;
    committed_lines(&result)
}

/// How many it has, when all is as it should be.
fn workers(job: &StreamJob) -> Option<u32> {
    let status = job.status.as_ref().filter(|status| status.operation.is_none())?;
    let workers = status.workers.as_ref().filter(|workers| workers.ready == workers.desired)?;
    is(job, ConditionType::Ready, "True", "Running").then_some(workers.ready)
}

#[tokio::test]
async fn a_load_that_grows_brings_workers_and_one_that_falls_takes_them_away() -> Result<()> {
    let cluster = crate::cluster().await?;
    let job = Job::new(&cluster).await?;
    let result = job.result().display().to_string();
    let text = fs::read_to_string(EXAMPLE)?;
    let text = exchange(&exchange(&text, LOAD)?, EVENTS)?;
    let expected = unbroken(&text)?;
    let named = exchange(&exchange(&text, ("name: elastic", &format!("name: {NAME}")))?, ("out/elastic", &result))?;
    job.create(&named)?;
    job.wait_for("Ready", |job| workers(job) == Some(1)).await?;
    let (begun, _) = job.two_checkpoints().await?;
    let lives = job.lives().await?;

    let up = job.rescaled("the way up", |rescale| rescale.to.values().any(|tasks| *tasks > 2)).await?;
    let grown = job.wait_for("more workers", |job| workers(job) > Some(1)).await?;
    println!("{}", job.kubectl(&["get", "streamjobs", "-o", "wide"])?);
    println!("{:?}", grown.status.and_then(|status| status.recommendation).context("nobody says why")?);
    // Who writes a parallelism now is told that it is not for him to say.
    job.kubectl(&["scale", "streamjob", NAME, "--replicas=3"])?;
    let is_told = |job: &StreamJob| is(job, ConditionType::AutoscalingActive, "True", "WriteIgnored");
    job.wait_for("a write that is ignored", is_told).await?;
    let events = job.kubectl(&["get", "events", "-o", "jsonpath={.items[*].reason}"])?;
    ensure!(events.contains("WriteIgnored") && events.contains("ScalingDecided"), "{events}");
    let more = job.lives().await?;
    ensure!(lives.iter().all(|(name, life)| more.get(name) == Some(life)), "{lives:?} {more:?}");

    job.rescaled("the way down", |down| down.id > up.id && down.to.values().all(|tasks| *tasks <= 2)).await?;
    job.wait_for("fewer workers", |job| workers(job) == Some(1)).await?;
    assert_eq!(job.lives().await?, lives);
    let after = job.until("what it says", |job, _| Some(job.clone())).await?;
    ensure!((after.recoveries, after.generation, after.term) == (0, begun.generation, begun.term), "{after:?}");
    job.ends().await?;
    compare(&committed_lines(&job.result())?, &expected).with_context(|| job.explain())
}
