use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use millstream_api::crd::{ConditionType, Observation, Reason, find};
use millstream_api::wire::{Blocked, JobState};
use serde_json::{Value, json};

use super::*;
use crate::reconcile::observe::Answer;
use crate::reconcile::testing::{NOW_MS, admitted, decision, observed, pod, revision, running};

/// What is said of what is seen, with what was said `before`.
fn status_of(seen: &Observed, before: &StreamJobStatus) -> StreamJobStatus {
    status(Facts {
        observed: seen,
        admitted: &admitted(seen),
        decision: &decision(seen),
        applied: &Applied::default(),
        control: &Memory::default(),
        installation: "m/m",
        before,
    })
}

/// Status, reason and message of a condition.
fn told(seen: &Observed, before: &StreamJobStatus, kind: ConditionType) -> (String, String, String) {
    let found = find(&status_of(seen, before).conditions, kind).cloned().unwrap();
    (found.status, found.reason, found.message)
}

/// What was said of Ready so long ago.
fn before(holds: bool, reason: Reason, age_ms: i64) -> StreamJobStatus {
    let ready = Observation { kind: ConditionType::Ready, holds: Some(holds), reason, message: String::new() };
    let conditions = vec![ready.condition(Some(7), &[], &second(NOW_MS - age_ms))];
    StreamJobStatus { conditions, ..StreamJobStatus::default() }
}

fn aged(role: &str, revision: &Revision, age_ms: i64, status: Value) -> Arc<Pod> {
    let mut pod = Pod::clone(&pod(role, revision, status));
    pod.metadata.creation_timestamp = Some(second(NOW_MS - age_ms));
    Arc::new(pod)
}

/// A job with one worker that is ready, whose coordinator says this.
fn up(state: JobState) -> Observed {
    let current = revision("a", 1);
    let mut seen = running(observed("a", vec![current.clone()]), &current, state, Some(5));
    let ready =
        json!({"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2023-11-14T22:00:00Z"}]});
    seen.pods.push(pod("worker", &current, ready));
    seen
}

fn said(seen: &mut Observed) -> &mut Said {
    let Answer::Said(said) = &mut seen.answer else { panic!("nobody says anything") };
    said
}

/// What is seen, what was told before, and the status, the reason and a part of the message of Ready.
type ReadyRow<'a> = (Observed, &'a StreamJobStatus, &'a str, &'a str, &'a str);

fn assert_ready(rows: Vec<ReadyRow>) {
    for (seen, before, status, reason, message) in rows {
        let found = told(&seen, before, ConditionType::Ready);
        assert_eq!((found.0.as_str(), found.1.as_str()), (status, reason), "{found:?}");
        assert!(found.2.contains(message), "{found:?} without {message:?}");
    }
}

#[test]
fn ready_says_what_a_person_should_hear_first() {
    let current = revision("a", 1);
    let with = |change: &dyn Fn(&mut Said)| {
        let mut seen = up(JobState::Running);
        change(said(&mut seen));
        seen
    };
    let evicted = |at: &str| {
        let ended = json!({"exitCode": 137, "finishedAt": at});
        let container = json!({"name": "millstream", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
                               "state": {"terminated": ended}});
        let status = json!({"phase": "Failed", "reason": "Evicted", "message": "low on memory", "containerStatuses": [container]});
        Observed { pods: vec![pod("worker", &current, status)], ..up(JobState::Recovering) }
    };
    let (new, runs) = (StreamJobStatus::default(), before(true, Reason::Running, 100_000));
    assert_ready(vec![
        (up(JobState::Running), &new, "True", "Running", "all tasks run"),
        (Observed { pods: Vec::new(), ..up(JobState::Running) }, &runs, "True", "Degraded", "on 0 of 1 workers"),
        (up(JobState::Deploying), &new, "False", "Deploying", "tasks are being placed"),
        (up(JobState::Recovering), &runs, "False", "Recovering", "going back to the last checkpoint"),
        (evicted("2023-11-14T22:13:00Z"), &runs, "False", "Evicted", "low on memory"),
        (evicted("2023-11-14T22:12:00Z"), &runs, "False", "Recovering", "going back to the last checkpoint"),
        (up(JobState::WaitingForWorkers), &runs, "False", "Recovering", "waiting for workers"),
        (up(JobState::Completed), &runs, "False", "Completed", "everything is committed"),
        (up(JobState::Stopped), &runs, "False", "Redeploying", "pods of the old revision go"),
        (
            with(&|said| {
                (said.job.blocked, said.job.error) = (Some(Blocked::StoreUnreachable), Some("refused".into()))
            }),
            &runs,
            "False",
            "StoreUnreachable",
            "refused",
        ),
        (
            with(&|said| (said.job.state, said.job.error) = (JobState::Failed, Some("line 3".into()))),
            &runs,
            "False",
            "RestartsExhausted",
            "line 3",
        ),
    ]);
}

#[test]
fn ready_tells_a_coordinator_on_its_way_from_one_that_is_silent() {
    let current = revision("a", 1);
    let of = |answer: Answer, pods: Vec<Arc<Pod>>| Observed { answer, pods, ..up(JobState::Running) };
    let silent = |ms: i64| Answer::Silent { reason: "no answer".into(), since_ms: NOW_MS - ms };
    let no_node = json!({"conditions": [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/2 nodes"}]});
    let runs = before(true, Reason::Running, 100_000);
    let unreachable = before(false, Reason::CoordinatorUnreachable, 5_000);
    assert_ready(vec![
        // A short silence is no news; a long one is, for as long as it lasts.
        (of(silent(1_000), Vec::new()), &runs, "True", "Running", "all tasks run"),
        (of(silent(11_000), Vec::new()), &runs, "False", "CoordinatorUnreachable", "no answer"),
        (of(silent(60_000), Vec::new()), &unreachable, "False", "CoordinatorUnreachable", "no answer"),
        // Nor is a coordinator in the place of another, unless it does not come.
        (
            of(Answer::Absent, vec![aged("coordinator", &current, 3_000, json!({}))]),
            &runs,
            "True",
            "Running",
            "replaced",
        ),
        (
            of(Answer::Absent, vec![aged("coordinator", &current, 60_000, json!({}))]),
            &runs,
            "False",
            "Recovering",
            "not there yet",
        ),
        (
            of(Answer::Absent, vec![aged("coordinator", &current, 3_000, no_node)]),
            &runs,
            "False",
            "Unschedulable",
            "0/2 nodes",
        ),
    ]);
}

#[test]
fn checkpoints_are_late_when_the_job_has_run_for_long_without_one() {
    let hour = 3_600_000;
    let ran = |ready_ms: i64, checkpoint_ms: Option<i64>| {
        let checkpoint =
            checkpoint_ms.map(|ms| CheckpointStatus { epoch: 4, time: second(NOW_MS - ms), path: "p".into() });
        StreamJobStatus { checkpoint, ..before(true, Reason::Running, ready_ms) }
    };
    let deploying = before(false, Reason::Deploying, hour);
    for (completed_ms, before, status, reason) in [
        (None, &deploying, "Unknown", "NoCheckpoint"),
        (None, &ran(50_000, None), "Unknown", "NoCheckpoint"),
        (None, &ran(61_000, None), "False", "CheckpointFailed"),
        (Some(1_000), &ran(hour, None), "True", "Committed"),
        (Some(61_000), &ran(hour, None), "False", "CheckpointFailed"),
        // A coordinator that has just taken over, of a job that was told of a minute ago.
        (None, &ran(hour, Some(61_000)), "True", "Committed"),
        (None, &ran(hour, Some(130_000)), "False", "CheckpointFailed"),
        // A job that was suspended for an hour.
        (None, &ran(5_000, Some(hour)), "True", "Committed"),
    ] {
        let mut seen = up(JobState::Running);
        let job = &mut said(&mut seen).job;
        match completed_ms {
            Some(ms) => job.checkpoint.iter_mut().for_each(|newest| newest.completed_at_ms = NOW_MS - ms),
            None => job.checkpoint = None,
        }
        let found = told(&seen, before, ConditionType::CheckpointsHealthy);
        assert_eq!((found.0.as_str(), found.1.as_str()), (status, reason), "{completed_ms:?} {found:?}");
    }
}

#[test]
fn the_readiness_of_the_last_good_spec_is_not_that_of_one_that_is_refused() {
    let generations = |seen: &Observed, before: &StreamJobStatus| {
        let status = status_of(seen, before);
        let of = |kind| find(&status.conditions, kind).unwrap().observed_generation;
        assert_eq!(find(&status.conditions, ConditionType::Ready).unwrap().status, "True");
        (of(ConditionType::Accepted), of(ConditionType::Ready), status.observed_generation)
    };
    let mut seen = up(JobState::Running);
    let runs = before(true, Reason::Running, 100_000);
    assert_eq!(generations(&seen, &runs), (Some(7), Some(7), Some(7)));
    let job = Arc::make_mut(&mut seen.job);
    (job.metadata.generation, job.spec.store) = (Some(9), None);
    assert_eq!(generations(&seen, &runs), (Some(9), Some(7), Some(9)));
    // The last good spec changed only what changes live.
    let mut live = runs.clone();
    live.conditions[0].observed_generation = Some(8);
    assert_eq!(generations(&seen, &live), (Some(9), Some(8), Some(9)));
    assert_eq!(generations(&seen, &StreamJobStatus::default()), (Some(9), Some(7), Some(9)), "it was erased");
}

#[test]
fn what_follows_the_load_alone_is_written_twice_a_minute_at_most() {
    let before = StreamJobStatus { operator: Some("m/m".into()), ..before(true, Reason::Running, 100_000) };
    let lags = StreamJobStatus { lag: Some("10s".into()), ..before.clone() };
    let grown = StreamJobStatus { parallelism: Some(2), ..lags.clone() };
    let quiet = |status: &StreamJobStatus, age_ms: Option<i64>| {
        is_quiet(status, &before, age_ms.map(|age_ms| NOW_MS - age_ms), NOW_MS)
    };
    assert!(quiet(&before, None) && quiet(&before, Some(600_000)));
    assert!(quiet(&lags, Some(29_999)) && !quiet(&lags, Some(30_000)) && !quiet(&lags, None));
    assert!(!quiet(&grown, Some(0)));
}

#[test]
fn a_write_that_is_ignored_is_said_beside_whatever_the_autoscaler_does() {
    let mut seen = up(JobState::Running);
    let job = Arc::make_mut(&mut seen.job);
    job.spec.autoscaling.mode = crate::control::Mode::Auto;
    let (kind, new) = (ConditionType::AutoscalingActive, StreamJobStatus::default());
    assert_eq!(ignored(&told(&seen, &new, kind).2), None);
    let job = Arc::make_mut(&mut seen.job);
    (job.metadata.generation, job.spec.parallelism) = (Some(8), 5);
    let (_, reason, message) = told(&seen, &new, kind);
    assert_eq!(reason, "NoInformation");
    assert_eq!(ignored(&message), Some("5 in spec.parallelism would be where it begins"), "{message}");
}
