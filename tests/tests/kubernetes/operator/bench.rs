//! `bench operator`, small: its jobs run, its figures are there and add up, and what it does not suit is refused.
use std::process::Command;

use anyhow::{Context, Result, ensure};
use millstream_tests::cluster::ApiServer;
use millstream_tests::process::{Done, binary};
use serde_json::Value;

/// The bench on this API server.
async fn bench(server: &ApiServer, args: &[&str]) -> Result<Done> {
    let mut command = Command::new(binary()?);
    command.args(["bench", "operator"]).args(args).env("KUBECONFIG", server.kubeconfig());
    let output = tokio::task::spawn_blocking(move || command.output()).await??;
    let (stdout, stderr) = (String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?);
    Ok(Done { status: output.status, stdout, stderr })
}

#[tokio::test]
async fn the_operator_is_measured_with_jobs_that_run() -> Result<()> {
    // One without controllers, which would make pods of their own.
    let server = ApiServer::start().await?;
    let refused = bench(&server, &["--jobs", "1"]).await?;
    ensure!(refused.status.code() == Some(2), "{}", refused.stderr);
    ensure!(refused.stderr.contains("kubectl apply -f manifests/crds.yaml"), "{}", refused.stderr);
    server.resources().await?;
    let args = ["--jobs", "5", "--seconds", "6", "--quiet", "0", "--changes", "10", "--json"];
    let done = bench(&server, &args).await?.success()?;
    let report: Value = serde_json::from_str(&done.stdout)?;
    let number = |path: &str| report.pointer(path).and_then(Value::as_f64).with_context(|| format!("no {path}"));
    ensure!(number("/creation/requests/patch")? >= 5.0 * 8.0, "each job has objects: {report}");
    ensure!(number("/creation/status_writes")? >= 5.0, "{report}");
    // Every job is asked three things, at least once in these seconds.
    ensure!((number("/steady/polls_per_s")? * number("/steady/seconds")?).round() >= 15.0, "{report}");
    ensure!(number("/steady/reconciles_per_s")? > 0.0 && number("/steady/rss_mib")? > 1.0, "{report}");
    ensure!(
        number("/change_ms/changes")? == 10.0 && number("/change_ms/p50")? <= number("/change_ms/p99")?,
        "{report}"
    );
    ensure!(number("/steady/failed_steps")? == 0.0, "{report}");
    Ok(())
}
