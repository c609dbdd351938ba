//! The resources on a real API server: what it takes, what it refuses and says, what it shows.
use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use kube::Api;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use millstream_api::crd::{StreamJob, StreamJobSnapshot, definitions};
use millstream_api::job::parse_yaml;
use millstream_tests::cluster::ApiServer;
use serde_json::{Value, json};

#[path = "../../../api/src/job/tests/table.rs"]
mod table;

use table::{BAD, BAD_BY_DEFINITION, BAD_NAMES, BAD_SQL, GOOD, GOOD_NAMES, SMALL, WHOLE};

/// What is not even read into the types of Rust, and where the API server finds it wrong.
const UNREADABLE: &[(&str, &str)] = &[
    ("checkpoint: {interval: soon}", "spec.checkpoint.interval"),
    ("worker: {resources: {limits: {cpu: lots}}}", "spec.worker.resources.limits.cpu"),
    ("autoscaling: {mode: Sometimes}", "spec.autoscaling.mode"),
];

/// A server with the definitions, a namespace, and the jobs in it as what was written and not as the types of Rust.
async fn jobs(stem: &str) -> Result<(&'static ApiServer, String, Api<DynamicObject>)> {
    let server = ApiServer::shared().await?.resources().await?;
    let namespace = server.namespace(stem).await?;
    let jobs = Api::namespaced_with(server.client().await?, &namespace, &ApiResource::erase::<StreamJob>(&()));
    Ok((server, namespace, jobs))
}

fn read(text: &str) -> Result<DynamicObject> {
    let value: Value = serde_saphyr::from_str(text).with_context(|| text.to_owned())?;
    Ok(serde_json::from_value(value)?)
}

/// Field and message of each mistake that was found; none if there is none.
fn mistakes<T>(result: kube::Result<T>) -> Result<Vec<(String, String)>> {
    match result {
        Ok(_) => Ok(Vec::new()),
        Err(kube::Error::Api(status)) if status.code == 422 => {
            let causes = status.details.context("no details")?.causes.into_iter();
            // Where a mistake keeps rules from being checked, that is said as well.
            let causes = causes.filter(|cause| !cause.message.contains("some validation rules were not checked"));
            Ok(causes.map(|cause| (cause.field, cause.message)).collect())
        }
        Err(error) => Err(error.into()),
    }
}

/// What the server says to a job, which it does not keep.
async fn refusal(jobs: &Api<DynamicObject>, text: &str) -> Result<Vec<(String, String)>> {
    let params = PostParams { dry_run: true, ..PostParams::default() };
    mistakes(jobs.create(&params, &read(text)?).await)
}

fn small(more: &str) -> String {
    format!("{SMALL}  {more}\n")
}

/// The message of every rule in a schema.
fn messages(schema: &Value, found: &mut BTreeSet<String>) {
    let rules = schema["x-kubernetes-validations"].as_array();
    found.extend(rules.into_iter().flatten().filter_map(|rule| Some(rule["message"].as_str()?.to_owned())));
    match schema {
        Value::Object(fields) => fields.values().for_each(|field| messages(field, found)),
        Value::Array(entries) => entries.iter().for_each(|entry| messages(entry, found)),
        _ => {}
    }
}

#[tokio::test]
async fn good_jobs_are_taken() -> Result<()> {
    let (_, _, jobs) = jobs("good").await?;
    let named = GOOD_NAMES.iter().map(|name| SMALL.replace("name: small", &format!("name: {name}")));
    for text in named.chain(GOOD.iter().map(|more| small(more))).chain([WHOLE.to_owned()]) {
        let found = refusal(&jobs, &text).await?;
        ensure!(found.is_empty(), "{text}\n{found:?}");
    }
    Ok(())
}

#[tokio::test]
async fn every_rule_refuses_what_breaks_it_and_says_what_to_do() -> Result<()> {
    let (server, namespace, jobs) = jobs("bad").await?;
    let mut rules = BTreeSet::new();
    messages(&serde_json::to_value(definitions())?, &mut rules);
    ensure!(rules.len() > 15, "only {} messages", rules.len());
    let mut said = String::new();
    let bad = BAD.iter().map(|(more, path, message)| (*more, *path, *message));
    let by_definition = BAD_BY_DEFINITION.iter().filter_map(|(more, said)| {
        let (path, message) = said.split_once(": ")?;
        Some((*more, path, message))
    });
    let unreadable = UNREADABLE.iter().map(|(more, path)| (*more, *path, ""));
    for (more, path, message) in bad.chain(by_definition).chain(unreadable) {
        let found = refusal(&jobs, &small(more)).await?;
        // The server words what is no rule of ours (a bound, a type, a second entry) and names an entry where we name its key.
        let is_rule = rules.iter().any(|rule| rule.starts_with(message)) && !message.is_empty();
        let is_said = |(field, text): &(String, String)| {
            path.starts_with(field.as_str()) && !field.is_empty() && (!is_rule || text.contains(message))
        };
        ensure!(found.iter().any(is_said), "{more}\n  wanted {path}: {message}\n  got    {found:?}");
        ensure!(found.iter().all(|(field, _)| path.starts_with(field.as_str())), "{more}: {found:?}");
        found.iter().for_each(|(_, text)| said.push_str(text));
    }
    for (more, _) in UNREADABLE {
        parse_yaml(&small(more)).expect_err(more);
    }
    let long = format!("{{inline: {}}}", "ä".repeat(70_000));
    for (sql, path) in BAD_SQL.iter().copied().chain([(long.as_str(), "spec.sql.inline")]) {
        let found = refusal(&jobs, &SMALL.replace("{inline: SELECT}", sql)).await?;
        ensure!(matches!(found.as_slice(), [(field, _)] if field == path), "{path}: {found:?}");
        said.push_str(&found[0].1);
    }
    for name in BAD_NAMES {
        let found = refusal(&jobs, &SMALL.replace("name: small", &format!("name: \"{name}\""))).await?;
        ensure!(!found.is_empty(), "the name `{name}` is taken");
        found.iter().for_each(|(_, text)| said.push_str(text));
    }
    said.push_str(&transitions(server, &namespace, &jobs).await?);
    let unsaid: Vec<_> = rules.iter().filter(|rule| !said.contains(rule.as_str())).collect();
    ensure!(unsaid.is_empty(), "nothing above breaks these rules: {unsaid:#?}");
    Ok(())
}

/// What is said to changes of what stays as it is.
async fn transitions(server: &ApiServer, namespace: &str, jobs: &Api<DynamicObject>) -> Result<String> {
    let (create, patch) = (PostParams::default(), PatchParams::default());
    jobs.create(&create, &read(SMALL)?).await?;
    let mut said = String::new();
    let change = async |spec| mistakes(jobs.patch("small", &patch, &Patch::Merge(json!({"spec": spec}))).await);
    ensure!(change(json!({"parallelism": 3, "keyGroups": 256})).await?.is_empty());
    let found = change(json!({"keyGroups": 128})).await?;
    ensure!(matches!(found.as_slice(), [(field, _)] if field == "spec.keyGroups"), "{found:?}");
    said.push_str(&found[0].1);

    let snapshots = Api::<DynamicObject>::namespaced_with(
        server.client().await?,
        namespace,
        &ApiResource::erase::<StreamJobSnapshot>(&()),
    );
    let snapshot = "apiVersion: millstream.dev/v1alpha1
kind: StreamJobSnapshot
metadata: {name: before}
spec: {jobName: small}
";
    let kept = snapshots.create(&create, &read(snapshot)?).await?;
    ensure!(kept.data["spec"]["deletionPolicy"] == "Retain", "{kept:?}");
    let other = Patch::Merge(json!({"spec": {"jobName": "other"}}));
    let found = mistakes(snapshots.patch("before", &patch, &other).await)?;
    ensure!(matches!(found.as_slice(), [(field, _)] if field == "spec.jobName"), "{found:?}");
    said.push_str(&found[0].1);
    Ok(said)
}

#[tokio::test]
async fn what_is_kept_is_what_a_file_means() -> Result<()> {
    let (server, namespace, jobs) = jobs("kept").await?;
    let typed = Api::<StreamJob>::namespaced(server.client().await?, &namespace);
    for text in [SMALL, WHOLE] {
        let written = read(text)?;
        let kept = jobs.create(&PostParams::default(), &written).await?;
        // Nothing that was written is dropped or changed; the defaults that are added are those of the types.
        let (kept_spec, written_spec) = (&kept.data["spec"], &written.data["spec"]);
        for (field, value) in written_spec.as_object().context("no spec")? {
            ensure!(contains(&kept_spec[field], value), "{field}: {value} became {}", kept_spec[field]);
        }
        let name = written.metadata.name.context("no name")?;
        assert_eq!(typed.get(&name).await?.spec, parse_yaml(text)?.spec, "{text}");
    }
    let done = server.kubectl(&["apply", "-n", &namespace, "-f", &misspelt(server)?])?;
    ensure!(!done.status.success() && done.stderr.contains("unknown field \"spec.paralelism\""), "{done:?}");
    Ok(())
}

fn contains(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            part.iter().all(|(name, value)| whole.get(name).is_some_and(|found| contains(found, value)))
        }
        (Value::Array(whole), Value::Array(part)) => {
            whole.len() == part.len() && whole.iter().zip(part).all(|(whole, part)| contains(whole, part))
        }
        _ => whole == part,
    }
}

fn misspelt(server: &ApiServer) -> Result<String> {
    let path = server.state().join("misspelt.yaml");
    std::fs::write(&path, small("paralelism: 2"))?;
    Ok(path.to_string_lossy().into_owned())
}

#[tokio::test]
async fn a_job_is_scaled_and_shown_as_other_workloads_are() -> Result<()> {
    let (server, namespace, jobs) = jobs("shown").await?;
    jobs.create(&PostParams::default(), &read(SMALL)?).await?;
    let kubectl = |args: &[&str]| {
        let all: Vec<&str> = args.iter().copied().chain(["--namespace", &namespace]).collect();
        Ok::<_, anyhow::Error>(server.kubectl(&all)?.success()?.stdout)
    };
    kubectl(&["scale", "streamjob/small", "--replicas", "3"])?;
    let time = "2026-01-01T00:00:00Z";
    let status = json!({
        "parallelism": 2, "targetParallelism": 3, "selector": "millstream.dev/job=small", "lag": "10s",
        "checkpoint": {"epoch": 7, "time": time, "path": "p"},
        "conditions": [{"type": "Ready", "status": "False", "reason": "Deploying", "message": "waits", "lastTransitionTime": time}],
    });
    // A change of the status changes nothing else, and the other way round.
    let both = Patch::Merge(json!({"status": status, "spec": {"parallelism": 9}}));
    let kept = jobs.patch_status("small", &PatchParams::default(), &both).await?;
    assert_eq!((&kept.data["spec"]["parallelism"], &kept.data["status"]["parallelism"]), (&json!(3), &json!(2)));
    let erased = Patch::Merge(json!({"status": null, "spec": {"slotsPerWorker": 2}}));
    let kept = jobs.patch("small", &PatchParams::default(), &erased).await?;
    assert_eq!((&kept.data["spec"]["slotsPerWorker"], &kept.data["status"]), (&json!(2), &status));

    let scale = jobs.get_scale("small").await?;
    assert_eq!(scale.spec.context("no spec")?.replicas, Some(3));
    let scaled = scale.status.context("no status")?;
    assert_eq!((scaled.replicas, scaled.selector.as_deref()), (2, Some("millstream.dev/job=small")));

    let shown = kubectl(&["get", "sj", "small"])?;
    let lines: Vec<Vec<&str>> = shown.lines().map(|line| line.split_whitespace().collect()).collect();
    let [head, row] = lines.as_slice() else { panic!("{shown}") };
    assert_eq!(head, &["NAME", "READY", "STATUS", "PARALLELISM", "TARGET", "LAG", "CHECKPOINT", "AGE"]);
    assert_eq!(row[..6], ["small", "False", "Deploying", "2", "3", "10s"]);
    assert!(kubectl(&["get", "millstream", "--output", "wide"])?.contains("waits"));
    assert!(kubectl(&["explain", "streamjob.spec.parallelism"])?.contains("DESCRIPTION"));
    Ok(())
}
