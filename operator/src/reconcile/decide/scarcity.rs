//! Why workers that a job should have do not come. Pure.
use k8s_openapi::api::core::v1::Pod;
use millstream_api::crd::Reason;

use crate::diagnose::{self, Trouble, rank};

/// What keeps a pod from starting, and no waiting may cure. What passes, or what has started and failed, is told elsewhere.
const STANDING: [Reason; 4] = [Reason::ImagePull, Reason::Unschedulable, Reason::QuotaExceeded, Reason::PodSecurity];

/// The worst of what keeps workers from starting, if anything does: those that are there, and those that are refused.
pub fn why<'a>(workers: impl Iterator<Item = &'a Pod>, refusals: &[Trouble], now_ms: i64) -> Option<String> {
    let unready = workers.filter(|pod| !diagnose::is_ready(pod));
    let troubles = unready.filter_map(|pod| diagnose::trouble(pod, now_ms)).chain(refusals.iter().cloned());
    let standing = troubles.filter(|trouble| STANDING.contains(&trouble.reason));
    let Trouble { reason, pod, message, .. } = standing.min_by_key(|trouble| rank(trouble.reason))?;
    let pod = pod.map(|pod| format!("{pod}: ")).unwrap_or_default();
    Some(format!("{pod}{message} ({reason})"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_stands_in_the_way_is_told_and_what_passes_is_not() {
        let pod = |number: u32, conditions: serde_json::Value| -> Pod {
            let metadata = json!({"name": format!("orders-w-5f7c9-{number}")});
            serde_json::from_value(json!({"metadata": metadata, "status": {"conditions": conditions}})).unwrap()
        };
        let no_node = |message: &str| json!([{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}]);
        let ready = pod(0, json!([{"type": "Ready", "status": "True"}]));
        let (starts, waits) = (pod(1, json!([])), pod(2, no_node("0/2 nodes are available")));
        let say = |pods: &[&Pod], refusals: &[Trouble]| why(pods.iter().copied(), refusals, 0);
        assert_eq!(say(&[&ready, &starts], &[]), None);
        let expected = "orders-w-5f7c9-2: 0/2 nodes are available (Unschedulable)";
        assert_eq!(say(&[&ready, &starts, &waits], &[]).as_deref(), Some(expected));
        let refused = diagnose::refusal("orders-w-5f7c9: exceeded quota: pods");
        let expected = "orders-w-5f7c9: exceeded quota: pods (QuotaExceeded)";
        assert_eq!(say(&[&waits], &[refused]).as_deref(), Some(expected));
    }
}
