//! The chart: what it refuses, that both Helms render it alike, and that it grants what the operator uses and no more.
use std::collections::BTreeSet;
use std::process::Command;

use anyhow::{Result, ensure};
use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::Api;
use kube::api::{Patch, PatchParams};
use millstream_api::crd::ConditionType;
use millstream_tests::operator::{ACCOUNT, check};
use millstream_tests::process::until;
use serde_json::json;

use super::{CHART, LIMIT, Place, is};

/// Rights that a single life of a job does not take, and why they are granted.
const RESERVED: [(&str, &str, &str); 13] = [
    // Server-side apply of what is not there yet asks for both verbs; the log has the one.
    ("create", "apps", "controllerrevisions deployments statefulsets"),
    ("create", "", "serviceaccounts services configmaps"),
    ("create", "policy", "poddisruptionbudgets"),
    // Renewal of certificates, at two thirds of their life.
    ("update", "", "secrets"),
    // SQL text that a job refers to.
    ("get", "", "configmaps"),
    // Asked of whoever names an owner, by clusters with the admission plugin OwnerReferencesPermissionEnforcement.
    ("update", "millstream.dev", "streamjobs/finalizers"),
    // Why pods of a StatefulSet are refused, while some are missing.
    ("list", "", "events"),
    // What is held until its files are erased, and savepoints that are asked for.
    ("patch", "millstream.dev", "streamjobs streamjobsnapshots streamjobsnapshots/status"),
    // Erasing files when no coordinator can.
    ("create", "", "pods"),
    ("delete", "", "pods"),
    // The claim of a store.
    ("get", "", "persistentvolumeclaims"),
    // The sixth revision before the newest.
    ("delete", "apps", "controllerrevisions deployments statefulsets"),
    ("delete", "", "configmaps"),
];

/// Policies for the operator and the jobs of one namespace.
pub const NETWORK: &str = "networkPolicy.enabled=true,networkPolicy.jobNamespaces={default},\
                       networkPolicy.adminFrom[0].namespaceSelector.matchLabels.kubernetes\\.io/metadata\\.name=monitoring";

/// Verb, group and resource.
type Right = (String, String, String);

#[tokio::test]
async fn what_is_rendered_from_the_chart_is_up_to_date_and_the_same_by_helm_3_and_4() -> Result<()> {
    let place = Place::new("chart").await?;
    let helm = |args: &[&str]| place.server.helm(args);
    helm(&["lint", "--strict", CHART])?.success()?;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/manifests.sh");
    let checked = Command::new("bash").args([script, "--check"]).output()?;
    ensure!(checked.status.success(), "{}{}", from(&checked.stdout), from(&checked.stderr));
    for values in [
        &[][..],
        &["--set", "watchNamespaces={a,b}"],
        &["--set", "rbac.create=false,crds.keep=false,replicas=2"],
        &["--set", NETWORK],
        &["--set", "metrics.podMonitor.enabled=true,metrics.podMonitor.labels.release=p,watchNamespaces={a}"],
    ] {
        let args = [&["template", "other", CHART, "--namespace", "elsewhere"], values].concat();
        let by_three = Command::new(place.server.programs()?.join("helm3")).args(&args).output()?;
        ensure!(by_three.status.success(), "{}", from(&by_three.stderr));
        assert_eq!(helm(&args)?.success()?.stdout, from(&by_three.stdout), "{values:?}");
    }
    for (value, said) in [
        ("replicas=-1", "'/replicas': minimum"),
        ("replica=1", "'replica' not allowed"),
        ("image.pullPolicy=Sometimes", "'/image/pullPolicy': value must be one of"),
        ("logging.format=xml", "'/logging/format': value must be one of"),
        ("networkPolicy.jobNamespaces={A}", "'/networkPolicy/jobNamespaces/0': 'A' does not match pattern"),
        ("networkPolicy.adminFrom={a}", "'/networkPolicy/adminFrom/0': got string, want object"),
        ("metrics.podMonitor.interval=often", "'/metrics/podMonitor/interval': 'often' does not match pattern"),
        ("watchNamespaces={A}", "'/watchNamespaces/0': 'A' does not match pattern"),
    ] {
        let refused = helm(&["template", "other", CHART, "--set", value])?;
        ensure!(!refused.status.success() && refused.stderr.contains(said), "{value}: {}", refused.stderr);
    }
    Ok(())
}

#[tokio::test]
async fn what_the_chart_installs_is_what_the_server_takes() -> Result<()> {
    let place = Place::new("chart").await?;
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../manifests/operator.yaml");
    // A namespace that is only made by the same file cannot hold anything in a dry run.
    place.server.kubectl(&["create", "namespace", "millstream-system"])?.success()?;
    let apply =
        ["apply", "--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict", "-f", manifest];
    let applied = place.server.kubectl(&apply)?.success()?;
    ensure!(applied.stderr.is_empty(), "the Deployment has to meet `restricted`: {}", applied.stderr);
    Ok(())
}

#[tokio::test]
async fn every_right_is_used_or_has_its_reason() -> Result<()> {
    let place = Place::new("rights").await?;
    let operator = place.operator().await?;
    place.dealt(&place.apply(json!({})).await?).await?;
    let again = json!({"metadata": {"annotations": {"millstream.dev/restart": "1"}}});
    let job = place.jobs.patch("orders", &PatchParams::default(), &Patch::Merge(again)).await?;
    check::play(&place.client, &place.namespace, &check::ended(0, "Valid", "")).await?;
    place.status(&job, "another revision", |job| is(job, ConditionType::Ready, "False", "Redeploying")).await?;
    let none = async || Ok(check::pods(&place.client, &place.namespace).await?.is_empty().then_some(()));
    until("the end of the check", LIMIT, none).await?;
    operator.look().await?;
    operator.stop().await?;
    let user = format!("system:serviceaccount:{}:{}", ACCOUNT.0, ACCOUNT.1);
    let requests = place.server.requests()?;
    let own = requests.iter().filter(|request| request.user == user && request.namespace == place.namespace);
    let used: BTreeSet<Right> =
        own.map(|request| (request.verb.clone(), request.group.clone(), request.resource.clone())).collect();
    let role = Api::<ClusterRole>::all(place.client.clone()).get(ACCOUNT.1).await?;
    let mut granted = BTreeSet::new();
    for rule in role.rules.unwrap_or_default() {
        let groups = rule.api_groups.unwrap_or_default();
        for resource in rule.resources.unwrap_or_default() {
            let of = |group: &String| {
                rule.verbs.iter().map(|verb| (verb.clone(), group.clone(), resource.clone())).collect()
            };
            granted.extend(groups.iter().flat_map::<Vec<Right>, _>(of));
        }
    }
    let reserved: BTreeSet<Right> = RESERVED
        .iter()
        .flat_map(|(verb, group, all)| all.split(' ').map(|one| ((*verb).into(), (*group).into(), one.into())))
        .collect();
    let beyond: Vec<_> = used.difference(&granted).collect();
    ensure!(beyond.is_empty(), "used and not granted: {beyond:?}");
    let idle: Vec<_> = granted.iter().filter(|right| !used.contains(*right) && !reserved.contains(*right)).collect();
    ensure!(idle.is_empty(), "granted and not used: {idle:?}");
    let gone: Vec<_> = reserved.difference(&granted).collect();
    ensure!(gone.is_empty(), "reserved and not granted: {gone:?}");
    Ok(())
}

fn from(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
