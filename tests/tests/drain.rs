//! A worker process that is told to end while it has work gives everything away first: nothing restarts, and no byte changes.
use std::time::Duration;

use anyhow::{Context, Result};
use millstream_api::wire::RescaleState;
use millstream_operator::client::Client;
use millstream_tests::popular::{check_result, start};
use millstream_tests::process::{committed_lines, until};

/// The longest a job may take.
const LIMIT: Duration = Duration::from_secs(90);

#[tokio::test]
async fn a_worker_told_to_end_owns_nothing_when_it_does() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let options = ["--parallelism", "3", "--workers", "3", "--state", "rocksdb", "--set", "RATE=12000"];
    let mut job = start(folder.path(), &options)?;
    let begun = job.until_checkpoint(2).await?;
    let leaves = begun.workers.iter().find(|worker| worker.id == "w1").context("no w1")?;
    assert!(!leaves.tasks.is_empty());
    job.terminate(leaves.pid)?;
    let client = Client::in_workdir(job.workdir().path())?;
    let rescale = until("the end of the drain", LIMIT, async || {
        let rescales = client.rescales().await.unwrap_or_default();
        Ok(rescales.into_iter().find(|rescale| rescale.state.is_final()))
    });
    let rescale = rescale.await.map_err(|error| job.explain(error))?;
    assert_eq!((rescale.state, rescale.drains.as_slice()), (RescaleState::Done, &["w1".to_owned()][..]), "{rescale:?}");
    assert!(rescale.groups_moved > 0 && rescale.bytes_moved > 0, "{rescale:?}");
    // With another code than 0 its parent would have started it again.
    let gone = job.until("a job without it", |status| (status.workers.len() == 2).then(|| status.clone())).await?;
    assert_eq!((gone.generation, gone.recoveries), (begun.generation, 0));
    assert!(gone.workers.iter().all(|worker| worker.id != "w1" && !worker.tasks.is_empty()), "{gone:?}");
    job.end(LIMIT).await?.success()?;
    let outcome = job.outcome()?;
    assert_eq!((outcome.job.generation, outcome.job.workers.len()), (begun.generation, 2));
    assert!(outcome.stages.iter().all(|stage| stage.parallelism == 2), "{:?}", outcome.stages);
    check_result(&committed_lines(&folder.path().join("result"))?)
}
