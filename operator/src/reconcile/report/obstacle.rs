//! What a person is told when a turn cannot be finished before somebody else acts.
use millstream_api::crd::{ConditionType, Observation, Reason, StreamJobStatus, find};

use super::second;

/// The status of a job that something is in the way of. All else that was said of it stands, since nobody has looked further.
pub fn obstacle(
    before: &StreamJobStatus,
    (generation, installation): (Option<i64>, &str),
    (reason, message): (Reason, String),
    now_ms: i64,
) -> StreamJobStatus {
    let kind = ConditionType::Ready;
    let ready = find(&before.conditions, kind);
    // Pods that run go on without it, as what they were made for.
    let running = ready.filter(|ready| ready.status == "True");
    let runs = running.is_some();
    let generation = running.map_or(generation, |ready| ready.observed_generation);
    // What it is on its way to stays: the next turns go by it.
    let underway = [Reason::Redeploying, Reason::Recovering];
    let underway = underway.into_iter().find(|reason| ready.is_some_and(|ready| ready.reason == reason.as_str()));
    let reason = if runs { Reason::Degraded } else { underway.unwrap_or(reason) };
    let observation = Observation { kind, holds: Some(runs), reason, message };
    let condition = observation.condition(generation, &before.conditions, &second(now_ms));
    let mut status = StreamJobStatus { operator: Some(installation.to_owned()), ..before.clone() };
    match status.conditions.iter_mut().find(|known| known.type_ == kind.as_str()) {
        Some(known) => *known = condition,
        None => status.conditions.push(condition),
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(status: &StreamJobStatus) -> (&str, &str, &str) {
        let found = find(&status.conditions, ConditionType::Ready).unwrap();
        (&found.status, &found.reason, &found.message)
    }

    #[test]
    fn what_is_in_the_way_is_said_and_pods_that_run_go_on() {
        let say = |before: &StreamJobStatus, reason: Reason, message: &str| {
            obstacle(before, (Some(1), "m/m"), (reason, message.to_owned()), 5_000)
        };
        let tell = |before: &StreamJobStatus, message: &str| say(before, Reason::Deploying, message);
        let first = tell(&StreamJobStatus::default(), "a Service");
        assert_eq!((ready(&first), first.operator.as_deref()), (("False", "Deploying", "a Service"), Some("m/m")));
        assert_eq!(tell(&first, "a Service"), first, "it is written once");
        let mut runs = tell(&first, "all tasks run");
        runs.conditions[0].status = "True".into();
        assert_eq!(ready(&tell(&runs, "a Service")), ("True", "Degraded", "a Service"));
        assert_eq!(runs.conditions.len(), 1);
        let quota = say(&StreamJobStatus::default(), Reason::QuotaExceeded, "exceeded quota");
        assert_eq!(ready(&quota), ("False", "QuotaExceeded", "exceeded quota"));
        let mut redeploys = tell(&first, "the pods of the old revision go");
        redeploys.conditions[0].reason = "Redeploying".into();
        assert_eq!(ready(&tell(&redeploys, "a Service")), ("False", "Redeploying", "a Service"));
    }
}
