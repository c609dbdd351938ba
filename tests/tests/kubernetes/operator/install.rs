//! The chart over time: an upgrade brings definitions up to date under the jobs there are, what goes with it and what stays, and rights
//! in some namespaces only.
use std::fs;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use millstream_api::crd::{ConditionType, StreamJob, find};
use millstream_tests::cluster::ApiServer;
use millstream_tests::operator::{Operator, options};
use millstream_tests::process::until;
use serde_json::json;

use super::{CHART, LIMIT};

const ARGS: [&str; 6] = ["--namespace", "system", "--create-namespace", "--set", "replicas=0", "millstream"];

fn helm(server: &ApiServer, command: &str, chart: &str, more: &[&str]) -> Result<String> {
    Ok(server.helm(&[&[command], &ARGS[..], &[chart], more].concat())?.success()?.stdout)
}

/// A copy of the chart whose StreamJobs have no `upgrade`, as an earlier one may not have had it.
fn earlier(folder: &std::path::Path) -> Result<String> {
    let chart = folder.join("earlier");
    let copied = std::process::Command::new("cp").arg("-r").arg(CHART).arg(&chart).status()?;
    ensure!(copied.success(), "the chart cannot be copied");
    let path = chart.join("files/crds/streamjobs.yaml");
    let text = fs::read_to_string(&path)?;
    let mut definition: serde_json::Value = serde_saphyr::from_str(&text)?;
    let fields = definition.pointer_mut("/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties");
    let fields = fields.and_then(serde_json::Value::as_object_mut).context("no schema")?;
    fields.remove("upgrade").context("no such field")?;
    // JSON is YAML.
    fs::write(&path, serde_json::to_string(&definition)?)?;
    Ok(chart.display().to_string())
}

fn job(name: &str) -> serde_json::Value {
    json!({
        "apiVersion": "millstream.dev/v1alpha1", "kind": "StreamJob", "metadata": {"name": name},
        "spec": {
            "sql": {"inline": "SELECT 1"}, "store": {"uri": "s3://bucket/jobs"}, "upgrade": {"healthTimeout": "7m"},
        },
    })
}

#[tokio::test]
async fn an_upgrade_of_the_chart_brings_new_fields_and_an_uninstall_leaves_the_jobs() -> Result<()> {
    let server = ApiServer::start().await?;
    let folder = tempfile::tempdir()?;
    helm(&server, "install", &earlier(folder.path())?, &[])?;
    let jobs = Api::<StreamJob>::namespaced(server.client().await?, "default");
    // Not applied: the server refuses to own a field that it does not know. Created, it drops it, with a warning.
    let create = async |name: &str| -> Result<Option<StreamJob>> {
        let job = serde_json::from_value(job(name))?;
        Ok(jobs.create(&PostParams::default(), &job).await.ok())
    };
    let kept = async |name: &str| -> Result<String> {
        let path = "jsonpath={.metadata.uid} {.spec.upgrade.healthTimeout}";
        Ok(server.kubectl(&["get", "streamjob", name, "-o", path])?.success()?.stdout)
    };
    // Until the definition is in force.
    let old = until("an old job", LIMIT, async || create("old").await).await?;
    let uid = old.uid().context("no uid")?;
    assert_eq!(kept("old").await?, format!("{uid} "), "the field is not there yet");
    helm(&server, "upgrade", CHART, &[])?;
    let mut tries = 0;
    let has_field = async || {
        tries += 1;
        let name = format!("new-{tries}");
        create(&name).await?;
        Ok(kept(&name).await.is_ok_and(|text| text.ends_with(" 7m")).then_some(name))
    };
    let new = until("the new field", LIMIT, has_field).await?;
    ensure!(kept("old").await?.starts_with(&uid), "the old job is another one");
    server.helm(&["uninstall", "millstream", "--namespace", "system", "--wait"])?.success()?;
    ensure!(kept("old").await?.starts_with(&uid), "the old job has gone with the chart");
    // And back: what stayed is taken over again.
    helm(&server, "install", CHART, &[])?;
    ensure!(kept(&new).await?.ends_with(" 7m"));
    Ok(())
}

#[tokio::test]
async fn the_server_takes_what_the_chart_says_of_networks() -> Result<()> {
    let server = ApiServer::start().await?;
    // No network here enforces policies: that they say what they should is all that is shown.
    helm(&server, "install", CHART, &["--set", super::chart::NETWORK])?;
    let policies = Api::<NetworkPolicy>::namespaced(server.client().await?, "default");
    let spec = serde_json::to_value(policies.get("millstream-jobs").await?.spec)?;
    let ports = |rule: usize| -> Vec<u64> {
        let ports = spec["ingress"][rule]["ports"].as_array().cloned().unwrap_or_default();
        ports.iter().filter_map(|port| port["port"].as_u64()).collect()
    };
    assert_eq!([ports(0), ports(1), ports(2)], [vec![7071, 7072], vec![7073], vec![7080]]);
    let from = |rule: usize| spec["ingress"][rule]["from"][0].clone();
    assert_eq!(from(0)["podSelector"], spec["podSelector"], "pods of jobs alone");
    assert_eq!(from(1)["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"], "system");
    assert_eq!(from(2)["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"], "monitoring");
    Ok(())
}

#[tokio::test]
async fn in_the_namespaces_it_watches_an_operator_has_all_it_needs_and_elsewhere_nothing() -> Result<()> {
    let server = ApiServer::start().await?;
    let (one, two) = (server.namespace("watched").await?, server.namespace("watched").await?);
    let watched = format!("watchNamespaces={{{one},{two}}}");
    // The account that operators of these tests have.
    let place = ["--namespace", "millstream", "--create-namespace", "--set", "replicas=0", "--set", &watched];
    server.helm(&[&["install", "millstream", CHART], &place[..]].concat())?.success()?;
    let client = server.client().await?;
    let roles = server.kubectl(&["get", "clusterrolebindings", "-o", "name"])?.success()?.stdout;
    ensure!(!roles.contains("millstream"), "it has rights in the whole cluster: {roles}");
    let other = server.namespace("elsewhere").await?;
    let mut both = options(&one);
    both.namespaces.push(two.clone());
    let operator = Operator::start(&server, both).await?;
    for namespace in [&one, &two, &other] {
        let jobs = Api::<StreamJob>::namespaced(client.clone(), namespace);
        let apply = async || {
            let applied = jobs.patch("orders", &PatchParams::apply("someone"), &Patch::Apply(job("orders"))).await;
            Ok(applied.ok())
        };
        until("a job", LIMIT, apply).await?;
    }
    for namespace in [&one, &two] {
        let jobs = Api::<StreamJob>::namespaced(client.clone(), namespace);
        let deployed = async || {
            let status = jobs.get("orders").await?.status.unwrap_or_default();
            Ok(find(&status.conditions, ConditionType::Ready).map(|ready| ready.reason.clone()))
        };
        assert_eq!(until("a status", LIMIT, deployed).await?, "Deploying");
    }
    operator.look().await?;
    let elsewhere = Api::<StreamJob>::namespaced(client, &other).get("orders").await?;
    ensure!(elsewhere.status.is_none(), "{:?}", elsewhere.status);
    let refused: Vec<_> = server
        .requests()?
        .into_iter()
        .filter(|request| request.user.ends_with(":millstream:millstream") && request.code == 403)
        .collect();
    ensure!(refused.is_empty(), "{refused:?}");
    operator.stop().await
}
