use serde_json::json;

use super::*;

const NOW_MS: i64 = 1_800_000_000_000;

/// A worker's pod that was asked to go so many seconds ago, with this much grace.
fn pod(number: u32, asked_s: i64, grace_s: i64, status: serde_json::Value) -> Arc<Pod> {
    let deadline = k8s_openapi::jiff::Timestamp::from_millisecond(NOW_MS + (grace_s - asked_s) * 1000).unwrap();
    let labels =
        json!({"millstream.dev/job": "orders", "millstream.dev/role": "worker", "millstream.dev/revision": "5f7c9"});
    let metadata = json!({
        "name": format!("orders-w-5f7c9-{number}"), "labels": labels,
        "deletionTimestamp": deadline.to_string(), "deletionGracePeriodSeconds": grace_s,
    });
    Arc::new(serde_json::from_value(json!({"metadata": metadata, "status": status})).unwrap())
}

fn lost(pods: Vec<Arc<Pod>>, registered: &[&str]) -> Vec<u32> {
    let workers = registered.iter().map(|name| WorkerStatus { id: (*name).to_owned(), ..WorkerStatus::default() });
    let workers: Vec<_> = workers.collect();
    numbers(&pods, "5f7c9", &workers, NOW_MS).lost.into_iter().collect()
}

#[test]
fn only_pods_that_nobody_can_end_are_passed_over() {
    let taken =
        json!({"conditions": [{"type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager"}]});
    let evicted =
        json!({"conditions": [{"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}]});
    let mut ended = taken.clone();
    ended["containerStatuses"] = json!([{"name": "millstream", "image": "", "imageID": "", "ready": false, "restartCount": 0,
        "state": {"terminated": {"exitCode": 0}}}]);
    for (what, (asked_s, grace_s), status, registered, is_lost) in [
        ("its node does not answer", (6, 120), &taken, &[][..], true),
        ("just now", (4, 120), &taken, &[], false),
        ("it talks to its coordinator", (6, 120), &taken, &["orders-w-5f7c9-1"], false),
        ("another one does", (6, 120), &taken, &["orders-w-5f7c9-0", "orders-w-5f7c9-11"], true),
        ("its node has said that it has ended", (60, 120), &ended, &[], false),
        ("it drains", (60, 120), &evicted, &[], false),
        ("its time is over long since", (126, 120), &evicted, &[], true),
        ("its time is just over", (124, 120), &evicted, &[], false),
        ("as little time as can be", (7, 1), &evicted, &[], true),
    ] {
        let found = lost(vec![pod(1, asked_s, grace_s, status.clone())], registered);
        assert_eq!(found, [1].into_iter().filter(|_| is_lost).collect::<Vec<_>>(), "{what}");
    }
    let mut stays = (*pod(2, 60, 1, taken.clone())).clone();
    stays.metadata.deletion_timestamp = None;
    let mut other = (*pod(3, 60, 1, taken.clone())).clone();
    other.metadata.labels.as_mut().unwrap().insert("millstream.dev/revision".into(), "other".into());
    let pods = vec![pod(0, 60, 1, taken.clone()), Arc::new(stays), Arc::new(other), pod(4, 60, 1, taken)];
    assert_eq!(lost(pods, &[]), [0, 4]);
}
