use serde_json::{Value, json};

use super::*;

const NOW_MS: i64 = 1_700_000_100_000;

fn pod(status: Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": "orders-w-5f7c9-1", "labels": {ROLE_LABEL: "worker", REVISION_LABEL: "5f7c9"}},
        "status": status
    }))
    .unwrap()
}

fn container(state: Value, last: Value) -> Value {
    json!({"name": "millstream", "image": "r/m:1", "imageID": "", "ready": false, "restartCount": 1,
           "state": state, "lastState": last})
}

fn ended(code: i32, reason: &str, message: &str) -> Value {
    json!({"terminated": {"exitCode": code, "reason": reason, "message": message, "finishedAt": "2023-11-14T22:14:00Z"}})
}

#[test]
fn each_trouble_has_its_word() {
    let line = r#"{"reason":"InvalidSql","message":"line 3: no table x"}"#;
    let waiting = |reason: &str, message: &str| json!({"waiting": {"reason": reason, "message": message}});
    for (status, reason, message) in [
        (json!({"phase": "Failed", "reason": "Evicted", "message": "low on memory"}), Reason::Evicted, "low on memory"),
        (
            json!({"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/2 nodes"}]}),
            Reason::Unschedulable,
            "0/2 nodes",
        ),
        (
            json!({"containerStatuses": [container(waiting("ImagePullBackOff", "not found"), json!({}))]}),
            Reason::ImagePull,
            "r/m:1: not found",
        ),
        (
            json!({"containerStatuses": [container(waiting("CreateContainerConfigError", "secret \"s3\" not found"), json!({}))]}),
            Reason::ReferenceNotFound,
            "secret \"s3\" not found",
        ),
        (
            json!({"containerStatuses": [container(waiting("CrashLoopBackOff", "x"), ended(137, "OOMKilled", ""))]}),
            Reason::OOMKilled,
            "container millstream exceeded its memory limit",
        ),
        (
            json!({"containerStatuses": [container(ended(2, "Error", line), json!({}))]}),
            Reason::InvalidSql,
            "line 3: no table x",
        ),
        (
            json!({"containerStatuses": [container(json!({"running": {}}), ended(101, "Error", "a\nthread panicked\n"))]}),
            Reason::CrashLoop,
            "container millstream ended with exit code 101: thread panicked",
        ),
    ] {
        let found = trouble(&pod(status), NOW_MS).unwrap();
        assert_eq!((found.reason, found.message.as_str()), (reason, message));
        assert_eq!(found.is_final, reason == Reason::InvalidSql);
    }
}

#[test]
fn a_crash_is_over_when_its_pod_was_ready_for_a_minute_and_stays_the_last_failure() {
    let ready = |since: &str| {
        pod(json!({
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": since}],
            "containerStatuses": [container(json!({"running": {}}), ended(137, "OOMKilled", ""))]
        }))
    };
    let just = ready("2023-11-14T22:14:30Z");
    assert_eq!(trouble(&just, NOW_MS).unwrap().reason, Reason::OOMKilled);
    let long = ready("2023-11-14T22:13:30Z");
    assert_eq!(NOW_MS, 1_700_000_100_000, "that is 22:15:00");
    assert!(trouble(&long, NOW_MS).is_none());
    let failure = last_failure([&long]).unwrap();
    assert_eq!((failure.reason, failure.at_ms), (Reason::OOMKilled, Some(1_700_000_040_000)));
}

#[test]
fn an_eviction_is_told_and_not_the_end_it_brought() {
    let status = json!({"phase": "Failed", "reason": "Evicted", "message": "low on memory",
                        "containerStatuses": [container(ended(137, "Error", ""), json!({}))]});
    let failure = last_failure([&pod(status)]).unwrap();
    assert_eq!((failure.reason, failure.message.as_str()), (Reason::Evicted, "low on memory"));
    assert_eq!(failure.at_ms, Some(1_700_000_040_000));
}

#[test]
fn healthy_and_leaving_pods_have_no_trouble() {
    assert_eq!(trouble(&pod(json!({"phase": "Running"})), NOW_MS), None);
    let done = pod(json!({"containerStatuses": [container(ended(0, "Completed", ""), json!({}))]}));
    assert_eq!((trouble(&done, NOW_MS), last_failure([&done])), (None, None));
    let mut going = pod(json!({"reason": "Evicted"}));
    going.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
    assert_eq!(trouble(&going, NOW_MS), None);
}

#[test]
fn refusals_are_told_apart_by_their_words() {
    assert_eq!(refusal("pods \"x\" is forbidden: exceeded quota: q").reason, Reason::QuotaExceeded);
    assert_eq!(refusal("violates PodSecurity \"restricted:latest\"").reason, Reason::PodSecurity);
    assert_eq!(refusal("anything").reason, Reason::Deploying);
}
