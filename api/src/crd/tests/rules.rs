//! Good and bad jobs: what the API server refuses, the rules in Rust refuse too, and the other way round.
use kube::core::cel::Validator;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::check::by_definition;
use super::super::{check, check_update};
use crate::duration::Duration;
use crate::job::tests::{SMALL, WHOLE};
use crate::job::{StreamJob, parse_yaml};

fn small(more: &str) -> StreamJob {
    parse_yaml(&format!("{SMALL}  {more}\n")).unwrap_or_else(|error| panic!("{more}: {error}"))
}

#[test]
fn good_jobs_break_no_rule() {
    let names: Vec<String> = ["a", "a1", "a-b"].map(str::to_owned).into_iter().chain(["x".repeat(40)]).collect();
    let named = names.iter().map(|name| SMALL.replace("name: small", &format!("name: {name}")));
    let more = [
        "store: {claimName: shared}",
        "store: {uri: \"file:///var/checkpoints\"}",
        "store: {uri: \"s3://bucket\", endpoint: \"https://s3.example.com/\"}",
        "startFrom: {mode: Latest}",
        "startFrom: {mode: Snapshot, snapshotName: before}",
        "checkpoint: {interval: 100ms, timeout: 2d}",
        "checkpoint: {interval: \".5s\", timeout: \" 1m30s \"}",
        "state: {memory: \"1048576\", disk: 1.5G}",
        "worker: {resources: {limits: {memory: 268435457}}}",
        "parallelism: 32768\n  keyGroups: 32768",
        "variables: [{name: _a1, value: x}]",
    ];
    let more = more.iter().map(|more| format!("{SMALL}  {more}\n"));
    for text in named.chain(more).chain([WHOLE.to_owned(), SMALL.to_owned()]) {
        let job = parse_yaml(&text).unwrap();
        check(&job).unwrap_or_else(|invalid| panic!("{text}\n{invalid}"));
    }
}

/// What is added to a small job, where the API server finds it wrong, what it says.
const BAD: &[(&str, &str, &str)] = &[
    ("parallelism: 257", "spec.parallelism", "is more than the key groups there are to share"),
    ("parallelism: 0", "spec.parallelism", "0 must be from 1 to 32768"),
    ("keyGroups: 32769", "spec.keyGroups", "32769 must be from 1 to 32768"),
    ("slotsPerWorker: 0", "spec.slotsPerWorker", "0 must be from 1 to 256"),
    (
        "autoscaling: {minParallelism: 4, maxParallelism: 2}",
        "spec.autoscaling.maxParallelism",
        "is below minParallelism",
    ),
    (
        "autoscaling: {minParallelism: 300, maxParallelism: 300}",
        "spec.autoscaling.minParallelism",
        "is more than the key",
    ),
    ("autoscaling: {maxParallelism: 0}", "spec.autoscaling.maxParallelism", "0 must be from 1 to 32768"),
    (
        "autoscaling: {targetUtilizationPercent: 101}",
        "spec.autoscaling.targetUtilizationPercent",
        "101 must be from 1 to 100",
    ),
    ("stages: [{name: a}, {name: a}]", "spec.stages[1].name", "`a` is there already"),
    ("stages: [{name: \"\"}]", "spec.stages[0].name", "it cannot be empty"),
    ("stages: [{name: a, minParallelism: 3, maxParallelism: 2}]", "spec.stages", "a minParallelism is above"),
    ("stages: [{name: a, minParallelism: 17}]", "spec.stages", "a minParallelism is above"),
    (
        "stages: [{name: a, maxParallelism: 1}]\n  autoscaling: {minParallelism: 2}",
        "spec.stages",
        "a minParallelism is above",
    ),
    ("stages: [{name: a, parallelism: 257}]", "spec.stages", "a parallelism or minParallelism is more than"),
    ("stages: [{name: a, parallelism: 0}]", "spec.stages[0].parallelism", "0 must be from 1 to 32768"),
    ("checkpoint: {interval: 0s}", "spec.checkpoint.interval", "must be longer than 0"),
    ("checkpoint: {timeout: 0ms}", "spec.checkpoint.timeout", "must be longer than 0"),
    ("checkpoint: {keep: 0}", "spec.checkpoint.keep", "0 must be from 1 to 1000"),
    ("restart: {window: 0s}", "spec.restart.window", "must be longer than 0"),
    ("upgrade: {healthTimeout: 0s}", "spec.upgrade.healthTimeout", "must be longer than 0"),
    ("rescale: {podTimeout: 0s}", "spec.rescale.podTimeout", "must be longer than 0"),
    ("state: {memory: lots}", "spec.state.memory", "is not a quantity of bytes above 0; write one such as 256Mi"),
    ("state: {disk: 0Gi}", "spec.state.disk", "is not a quantity of bytes above 0; write one such as 256Mi"),
    ("store: {region: r}", "spec.store", "give exactly one of uri and claimName"),
    ("store: {uri: \"s3://b\", claimName: c}", "spec.store", "give exactly one of uri and claimName"),
    ("startFrom: {mode: Path}", "spec.startFrom.path", "goes with mode Path"),
    ("startFrom: {mode: Snapshot}", "spec.startFrom.snapshotName", "goes with mode Snapshot"),
    ("startFrom: {path: x}", "spec.startFrom.path", "goes with mode Path"),
    ("startFrom: {mode: Latest, snapshotName: x}", "spec.startFrom.snapshotName", "goes with mode Snapshot"),
    ("variables: [{name: 1a, value: x}]", "spec.variables[0].name", "must be letters, digits and _"),
    ("variables: [{name: a}]", "spec.variables[0]", "give exactly one of value and secretKeyRef"),
    ("variables: [{name: a, value: x}, {name: a, value: z}]", "spec.variables[1].name", "`a` is there already"),
];

#[test]
fn what_the_api_server_refuses_the_rules_in_rust_refuse() {
    for (more, path, said) in BAD {
        let job = small(more);
        let found = by_definition(&job, None);
        let error = found.first().unwrap_or_else(|| panic!("{more} is refused by no rule"));
        assert!(found.iter().all(|other| other.path == error.path), "{more}: {found:?}");
        assert!(
            error.path == *path && error.message.contains(said),
            "{more}\n  wanted {path}: {said}\n  got    {error}"
        );
        let invalid = job.validate().expect_err(more);
        assert!(invalid.errors[0].path.starts_with(path), "{more}: {invalid}");
        assert_eq!(check(&job).unwrap_err(), invalid, "{more}: said once, in the words of Rust");
    }
    for (sql, path) in
        [("{}", "spec.sql"), ("{inline: x, imagePath: z}", "spec.sql"), ("{inline: \" \"}", "spec.sql.inline")]
    {
        let job = parse_yaml(&SMALL.replace("{inline: SELECT}", sql)).unwrap();
        let found = by_definition(&job, None);
        assert!(found.len() == 1 && found[0].path == path, "{sql}: {found:?}");
        job.validate().expect_err(sql);
    }
    // 70 000 letters of two bytes each: more bytes than fit, though not more letters.
    let job = StreamJob::from_sql("small", "ä".repeat(70_000));
    assert!(by_definition(&job, None)[0].message.starts_with("is more than 131072 bytes"));
    job.validate().unwrap_err();
    for name in ["", "A", "1a", "a-", "a_b", &"a".repeat(41), "a.b"] {
        let job = StreamJob::from_sql(name, "SELECT".into());
        let found = by_definition(&job, None);
        assert!(found.len() == 1 && found[0].path == "metadata.name", "{name}: {found:?}");
        assert!(found[0].message.starts_with("must be 1 to 40 lower-case letters"), "{name}: {found:?}");
        job.validate().expect_err(name);
    }
}

#[test]
fn what_only_the_definition_says_is_said_to_all() {
    for (more, said) in [
        (
            "worker: {resources: {limits: {memory: 256Mi}}}",
            "spec.state.memory: must be less than worker.resources.limits.memory, which also holds batches",
        ),
        ("worker: {resources: {limits: {memory: 1000}}}", "spec.state.memory: must be less than"),
        ("store: {claimName: c, region: r}", "spec.store: endpoint, region and credentialsSecretName belong to uri"),
        ("store: {uri: bucket}", "spec.store.uri: must be s3://BUCKET/PREFIX"),
        ("store: {uri: \"s3://key:secret@bucket\"}", "spec.store.uri: must be s3://BUCKET/PREFIX"),
        ("store: {uri: \"s3://b\", endpoint: s3:9000}", "spec.store.endpoint: must be http://HOST:PORT"),
        (
            "worker: {terminationGracePeriodSeconds: 0}",
            "spec.worker.terminationGracePeriodSeconds: 0 must be from 1 to",
        ),
        ("restart: {maxFailures: 10001}", "spec.restart.maxFailures: 10001 must be from 0 to 10000"),
        ("image: \"\"", "spec.image: is too short; it cannot be empty"),
        ("upgrade: {dropState: [a, a]}", "spec.upgrade.dropState[1]: `a` is there already"),
        ("imagePullSecrets: [{name: a}, {name: a}]", "spec.imagePullSecrets[1].name: `a` is there already"),
    ] {
        let invalid = check(&small(more)).expect_err(more).to_string();
        assert!(invalid.starts_with(said) && !invalid.contains('\n'), "{more}\n  wanted {said}\n  got    {invalid}");
    }
    let many: Vec<String> = (0..65).map(|at| format!("{{name: v{at}, value: x}}")).collect();
    let invalid = check(&small(&format!("variables: [{}]", many.join(", ")))).unwrap_err();
    assert_eq!(invalid.to_string(), "spec.variables: has 65 entries; there can be 64");
}

#[test]
fn several_mistakes_are_all_said() {
    let job = small("parallelism: 0\n  store: {uri: bucket}\n  settings: [{name: nope, value: \"1\"}]");
    let invalid = check(&job).unwrap_err();
    let paths: Vec<&str> = invalid.errors.iter().map(|error| error.path.as_str()).collect();
    assert_eq!(paths, ["spec.parallelism", "spec.settings[0].name", "spec.store.uri"]);
}

#[test]
fn some_fields_stay_what_they_are() {
    let before = small("parallelism: 2");
    check_update(&small("parallelism: 3"), &before).unwrap();
    check_update(&small("keyGroups: 256"), &before).unwrap();
    let invalid = check_update(&small("keyGroups: 128"), &before).unwrap_err().to_string();
    assert!(invalid.starts_with("spec.keyGroups: cannot be changed, since state is kept by key group"), "{invalid}");
    check(&small("keyGroups: 128")).unwrap();
}

#[test]
fn amounts_are_read_as_the_pattern_reads_them() {
    let read = |limit: &str| parse_yaml(&format!("{SMALL}  worker: {{resources: {{limits: {{cpu: {limit}}}}}}}\n"));
    for (limit, amount) in [("2", "2"), ("500m", "500m"), ("\"0.5\"", "0.5"), ("1e3", "1e3"), ("1.5Gi", "1.5Gi")] {
        let job = read(&format!("\"{}\"", limit.trim_matches('"'))).unwrap();
        assert_eq!(job.spec.worker.resources.limits["cpu"].0, amount);
    }
    assert_eq!(read("2").unwrap().spec.worker.resources.limits["cpu"].0, "2");
    for limit in ["lots", "1 Gi", "1.2.3", "Mi", "-1x", "e", "1e", "\"\""] {
        let error = read(limit).unwrap_err().to_string();
        assert!(error.contains("spec.worker.resources.limits.cpu: ") && error.contains("is not an amount"), "{error}");
    }
    let error = read("0.5").unwrap_err().to_string();
    assert!(error.contains("write the fraction 0.5 as text"), "{error}");
}

proptest! {
    /// A duration that the API server lets through and nobody can read would hide the whole job from the operator.
    #[test]
    fn a_duration_that_is_let_through_can_be_read(text in "[ ]?([0-9.]{1,9}(d|h|m|s|ms)){1,3}[ ]?") {
        let schema: Value = schemars::schema_for!(Duration).into();
        let passes = Validator::new().validate(&schema, &json!(text), None).is_ok();
        let read = text.parse::<Duration>();
        prop_assert!(!passes || read.is_ok(), "{text} passes, but {read:?}");
    }
}
