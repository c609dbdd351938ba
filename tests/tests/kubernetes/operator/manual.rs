//! Commands of docs/operations.md, as they stand there.
use std::process::Command;

use anyhow::{Context, Result, ensure};
use millstream_tests::cluster::ApiServer;

use super::LIMIT;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
/// What needs more than an API server; `make e2e` empties a node, and tests/kubernetes/operator/bench.rs runs the bench.
const ELSEWHERE: [&str; 2] = ["kubectl drain ", "make "];

/// Lines of all blocks of shell.
fn commands(page: &str) -> Vec<&str> {
    let blocks = page.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    blocks.flat_map(str::lines).filter(|line| !line.trim().is_empty()).collect()
}

fn shell(server: &ApiServer, folder: &std::path::Path, command: &str) -> Result<()> {
    let path = format!("{}:{}", server.programs()?.display(), std::env::var("PATH")?);
    let mut shell = Command::new("bash");
    shell.args(["-euc", &command.replace("charts/millstream", &format!("{ROOT}/charts/millstream"))]);
    shell.current_dir(folder).env("PATH", path).env("KUBECONFIG", server.kubeconfig()).env("HOME", folder);
    let output = shell.output()?;
    let said = [output.stdout, output.stderr].concat();
    ensure!(output.status.success(), "{command}\n{}", String::from_utf8_lossy(&said));
    Ok(())
}

#[tokio::test]
async fn what_the_manual_says_can_be_typed() -> Result<()> {
    let server = ApiServer::start().await?;
    // Helm waits for what the Deployment's controller says.
    server.controllers().await?;
    let folder = tempfile::tempdir()?;
    let run = |command: &str| shell(&server, folder.path(), command);
    let place = "--namespace millstream-system --create-namespace --set replicas=0";
    run(&format!("helm install millstream charts/millstream {place}"))?;
    let job = r#"{"apiVersion": "millstream.dev/v1alpha1", "kind": "StreamJob", "metadata": {"name": "orders"},
                  "spec": {"sql": {"inline": "SELECT 1"}, "store": {"uri": "s3://bucket/jobs"}}}"#;
    // Until the definition is in force.
    millstream_tests::process::until(
        "a job",
        LIMIT,
        async || Ok(run(&format!("kubectl create -f - <<< '{job}'")).ok()),
    )
    .await?;
    let lease = r#"{"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                    "metadata": {"name": "millstream", "namespace": "millstream-system"}}"#;
    run(&format!("kubectl create -f - <<< '{lease}'"))?;
    let page = std::fs::read_to_string(format!("{ROOT}/docs/operations.md"))?;
    let all = commands(&page);
    ensure!(all.len() >= 7, "{all:?}");
    for command in all.iter().filter(|command| !ELSEWHERE.iter().any(|other| command.starts_with(other))) {
        run(command).with_context(|| format!("docs/operations.md: {command}"))?;
    }
    for other in ELSEWHERE {
        ensure!(all.iter().any(|command| command.starts_with(other)), "there is no {other}any more");
    }
    Ok(())
}
