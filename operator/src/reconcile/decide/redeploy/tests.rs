use std::sync::Arc;

use millstream_api::crd::{Reason, StreamJob};
use millstream_api::job::{StartFrom, StartMode};
use millstream_api::wire::StopRequest;
use serde_json::{Value, json};

use super::super::{Call, Decision, Phase};
use super::*;
use crate::reconcile::observe::Answer;
use crate::reconcile::testing::{NOW_MS, decision, observed, pod, revision, running};

const TIMEOUT_MS: i64 = 300_000;

fn ended(code: i32, reason: &str) -> Value {
    let line = format!("{{\"reason\":\"{reason}\",\"message\":\"why\"}}");
    let state = json!({"terminated": {"exitCode": code, "message": line, "finishedAt": "2023-11-14T22:12:00Z"}});
    json!({"phase": if code == 0 { "Succeeded" } else { "Failed" }, "containerStatuses": [
        {"name": "millstream", "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": state}]})
}

fn target(decision: &Decision) -> &Revision {
    decision.target.as_ref().unwrap()
}

fn replicas(decision: &Decision, revision: &Revision) -> Option<u32> {
    decision.replicas.get(&(revision.name.clone(), Role::Worker)).copied()
}

#[test]
fn the_first_revision_is_not_checked() {
    let first = decision(&observed("a", Vec::new()));
    assert_eq!((first.phase, first.check.is_none(), target(&first).number), (Phase::Up, true, 1));
    assert_eq!(target(&first).trial, Some(Trial::default()), "it has not been healthy, and nothing could come back");
}

#[test]
fn a_job_that_is_stopped_and_should_not_be_begins_again() {
    let current = revision("a", 1);
    let seen = running(observed("a", vec![current.clone()]), &current, JobState::Stopping, Some(5));
    assert_eq!(replicas(&decision(&seen), &current), Some(1), "it is not known yet what there will be to begin from");
    // As it was with spec.suspend, which is taken back.
    let seen = running(observed("a", vec![current.clone()]), &current, JobState::Stopped, Some(5));
    let again = decision(&seen);
    assert_eq!((replicas(&again, &current), again.phase), (Some(0), Phase::Redeploying));
    let mut gone = Observed { answer: Answer::Absent, ..seen };
    gone.workloads.iter_mut().for_each(|workload| workload.replicas = 0);
    let up = decision(&gone);
    assert_eq!((replicas(&up, &current), up.phase), (Some(1), Phase::Up));
}

#[test]
fn pods_that_are_over_stand_in_nobodys_way() {
    let (old, mut new) = (revision("a", 1), revision("b", 2));
    new.trial = Some(Trial { replaces: Some(old.name.clone()), ..Trial::default() });
    let mut seen = observed("b", vec![old.clone(), new.clone()]);
    // A coordinator that its kubelet has evicted: its Deployment, which is at 0, leaves it there.
    seen.pods.push(pod("coordinator", &old, json!({"phase": "Failed", "reason": "Evicted"})));
    let up = decision(&seen);
    assert_eq!((target(&up).name.as_str(), up.phase), (new.name.as_str(), Phase::Up));
    seen.pods = vec![pod("coordinator", &old, json!({"phase": "Running"}))];
    assert_eq!(decision(&seen).phase, Phase::Redeploying);
}

#[test]
fn what_was_healthy_once_is_not_given_up_for_what_a_start_says() {
    let (older, current) = (revision("a", 1), revision("b", 2));
    let mut seen = observed("b", vec![older, current.clone()]);
    // A Secret has changed under it.
    let mut status = ended(2, "InvalidSql");
    status["phase"] = json!("Running");
    seen.pods.push(pod("coordinator", &current, status));
    let stays = decision(&seen);
    assert_eq!((&target(&stays).name, &target(&stays).verdict), (&current.name, &None));
}

#[test]
fn another_revision_is_checked_while_the_old_one_runs_on() {
    let old = revision("a", 1);
    let seen = running(observed("b", vec![old.clone()]), &old, JobState::Running, Some(5));
    let checking = decision(&seen);
    let check = checking.check.as_ref().unwrap();
    assert_eq!(check.pod, Some(format!("orders-check-{}", check.revision.name)));
    assert_eq!((target(&checking).name.as_str(), checking.phase), (old.name.as_str(), Phase::Up));
    assert_eq!((replicas(&checking, &old), checking.calls.len()), (Some(1), 0));
    assert_eq!(checking.operation, Some((OperationKind::Redeploy, OperationStep::Checking)));
    let written: Vec<_> = checking.revisions.iter().map(|revision| (revision.name.clone(), revision.number)).collect();
    assert_eq!(written, [(check.revision.name.clone(), 0), (old.name.clone(), 1)]);
    // Whatever keeps the check from its end, the old pods are as they were.
    let new = Revision { number: 0, ..check.revision.clone() };
    let unschedulable = json!({"phase": "Pending", "conditions": [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/2 nodes"}]});
    for (status, reason) in [
        (json!({"phase": "Running"}), Reason::Checking),
        (unschedulable, Reason::Unschedulable),
        (ended(1, "StoreUnreachable"), Reason::StoreUnreachable),
        (ended(137, "x"), Reason::CrashLoop),
    ] {
        let mut seen = running(observed("b", vec![old.clone(), new.clone()]), &old, JobState::Running, Some(5));
        seen.pods.push(pod("check", &new, status));
        let waiting = decision(&seen);
        let check = waiting.check.as_ref().unwrap();
        assert_eq!((check.pod.clone(), check.why().0), (None, reason));
        assert_eq!((target(&waiting).name.as_str(), replicas(&waiting, &old)), (old.name.as_str(), Some(1)));
        // What may come to another end begins again after a while, which has passed here.
        assert_eq!(
            waiting.checked.len(),
            usize::from(reason == Reason::StoreUnreachable || reason == Reason::CrashLoop)
        );
    }
    let mut refused = seen;
    refused.refused =
        Some((new.name.clone(), NOW_MS, Trouble::new(Reason::QuotaExceeded, None, "exceeded quota".into())));
    let check = decision(&refused).check.unwrap();
    assert_eq!((check.pod.is_some(), check.why().0), (true, Reason::QuotaExceeded));
}

#[test]
fn what_the_api_server_does_not_take_is_not_run() {
    let (old, new) = (revision("a", 1), Revision { number: 0, ..revision("b", 0) });
    let word = Trouble { is_final: true, ..Trouble::new(Reason::InvalidPodTemplate, None, "spec.coordinator".into()) };
    let verdict = |decision: &Decision, name: &str| {
        let written = decision.revisions.iter().find(|revision| revision.name == name);
        written.and_then(|written| written.verdict.clone())
    };
    let rejected = Verdict::Rejected { reason: Reason::InvalidPodTemplate, message: "spec.coordinator".into() };
    let mut seen = running(observed("b", vec![old.clone(), new.clone()]), &old, JobState::Running, Some(5));
    seen.refused = Some((new.name.clone(), NOW_MS, word.clone()));
    let spared = decision(&seen);
    assert_eq!(verdict(&spared, &new.name).as_ref(), Some(&rejected));
    assert_eq!((target(&spared).name.as_str(), replicas(&spared, &old)), (old.name.as_str(), Some(1)));
    // The first revision of a job has nothing to spare, and is not tried again either.
    let first = Revision { trial: Some(Trial::default()), ..old.clone() };
    let mut seen = observed("a", vec![first.clone()]);
    seen.refused = Some((first.name.clone(), NOW_MS, word));
    let refused = decision(&seen);
    assert_eq!((verdict(&refused, &first.name).as_ref(), refused.phase), (Some(&rejected), Phase::Refused));
}

#[test]
fn only_what_has_passed_takes_over() {
    let old = revision("a", 1);
    let new = Revision { number: 0, ..revision("b", 0) };
    let mut seen = running(observed("b", vec![old.clone(), new.clone()]), &old, JobState::Running, Some(5));
    seen.pods.push(pod("check", &new, ended(0, "Valid")));
    let passed = decision(&seen);
    assert_eq!((target(&passed).name.as_str(), target(&passed).number), (new.name.as_str(), 2));
    assert_eq!(target(&passed).trial, Some(Trial { replaces: Some(old.name.clone()), since_ms: None }));
    assert!(matches!(passed.calls.as_slice(), [Call::Stop(StopRequest { savepoint: true, .. })]), "{:?}", passed.calls);
    assert_eq!((passed.phase, replicas(&passed, &old)), (Phase::Redeploying, Some(1)));
    assert!(passed.checked.is_empty(), "until it is written that it passed, the pod says so");
    seen.revisions = vec![old.clone(), target(&passed).clone()];
    assert_eq!(decision(&seen).checked.len(), 1);

    seen.revisions = vec![old.clone(), new.clone()];
    seen.pods = vec![pod("check", &new, ended(2, "StateMismatch"))];
    let failed = decision(&seen);
    let verdict = Some(Verdict::Rejected { reason: Reason::StateMismatch, message: "why".into() });
    let written = failed.revisions.iter().find(|revision| revision.name == new.name).unwrap();
    assert_eq!((&written.verdict, written.number), (&verdict, 0));
    assert_eq!((target(&failed).name.as_str(), failed.calls.len(), failed.phase), (old.name.as_str(), 0, Phase::Up));
    assert!(failed.check.is_none() && failed.checked.is_empty());
    // It is not tried again, and its pod goes.
    seen.revisions = vec![old.clone(), written.clone()];
    let after = decision(&seen);
    assert_eq!(
        (target(&after).name.as_str(), after.check.is_none(), after.checked.len()),
        (old.name.as_str(), true, 1)
    );
}

/// What is seen of a revision on trial beside the one it replaced.
fn on_trial(since_ms: i64, state: JobState, epoch: Option<u64>) -> (Observed, Revision, Revision) {
    let old = revision("a", 1);
    let trial = Trial { replaces: Some(old.name.clone()), since_ms: Some(since_ms) };
    let new = Revision { trial: Some(trial), ..revision("b", 2) };
    let seen = running(observed("b", vec![old.clone(), new.clone()]), &new, state, epoch);
    (seen, old, new)
}

#[test]
fn a_revision_is_good_with_its_first_checkpoint() {
    let (seen, _, new) = on_trial(NOW_MS - TIMEOUT_MS, JobState::Running, Some(6));
    let healthy = decision(&seen);
    assert_eq!((target(&healthy).name.as_str(), &target(&healthy).trial), (new.name.as_str(), &None));
    assert_eq!((healthy.phase, healthy.operation), (Phase::Up, None));
    // It takes its time from when it has the place to itself, and not from anything before.
    let (mut seen, _, new) = on_trial(0, JobState::Running, None);
    seen.revisions[1].trial.as_mut().unwrap().since_ms = None;
    let begun = decision(&seen);
    assert_eq!(begun.operation, Some((OperationKind::Redeploy, OperationStep::WaitingForHealth)));
    let written = begun.revisions.iter().find(|revision| revision.name == new.name).unwrap();
    assert_eq!(written.trial.as_ref().unwrap().since_ms, Some(NOW_MS));
}

#[test]
fn what_does_not_become_healthy_gives_way_without_a_trace() {
    for (since_ms, state, said) in [
        (NOW_MS - TIMEOUT_MS, JobState::Running, "had no checkpoint after 300 s"),
        (NOW_MS - TIMEOUT_MS, JobState::Deploying, "had no checkpoint after 300 s"),
        (NOW_MS - 1_000, JobState::Failed, "failed before its first checkpoint"),
    ] {
        let (seen, old, new) = on_trial(since_ms, state, None);
        let back = decision(&seen);
        assert_eq!((target(&back).name.as_str(), target(&back).number), (old.name.as_str(), 3));
        assert_eq!((target(&back).is_good(), back.phase), (true, Phase::Redeploying));
        let judged = back.revisions.iter().find(|revision| revision.name == new.name).unwrap();
        let Some(Verdict::Rejected { reason: Reason::RolledBack, message }) = &judged.verdict else {
            panic!("{judged:?}")
        };
        assert!(message.contains(said), "{message}");
        assert_eq!(back.operation.map(|(kind, _)| kind), Some(OperationKind::Rollback));
        // Its pods would take a checkpoint on their way.
        let stops = back.calls.iter().any(|call| matches!(call, Call::Stop(StopRequest { savepoint: false, .. })));
        assert_eq!((stops, back.calls.len()), (state != JobState::Failed, usize::from(state != JobState::Failed)));
        // It is what the spec asks for, and stays where it is.
        let mut seen = running(seen, &old, JobState::Running, None);
        seen.revisions = back.revisions.clone();
        seen.workloads.retain(|workload| workload.revision == old.name);
        let after = decision(&seen);
        assert_eq!((target(&after).name.as_str(), after.phase), (old.name.as_str(), Phase::Up));
        assert!(after.check.is_none());
    }
    let (seen, _, new) = on_trial(NOW_MS - TIMEOUT_MS + 1, JobState::Running, None);
    assert_eq!(target(&decision(&seen)).name, new.name, "there is time left");
    let (mut seen, _, new) = on_trial(NOW_MS - TIMEOUT_MS, JobState::Running, None);
    let mut job = seen.job.as_ref().clone();
    job.spec.upgrade.rollback = Rollback::Never;
    seen.job = Arc::new(job);
    assert_eq!(target(&decision(&seen)).name, new.name);
}

#[test]
fn a_revision_that_was_not_healthy_is_left_as_if_it_had_not_been() {
    let (seen, old, new) = on_trial(NOW_MS, JobState::Running, None);
    let third = Revision { number: 0, ..revision("c", 0) };
    let mut other = observed("c", seen.revisions.clone());
    (other.answer, other.workloads) = (seen.answer, seen.workloads);
    other.revisions.push(third.clone());
    other.pods.push(pod("check", &third, ended(0, "Valid")));
    let passed = decision(&other);
    assert_eq!(target(&passed).trial.as_ref().unwrap().replaces, Some(old.name));
    assert!(
        matches!(passed.calls.as_slice(), [Call::Stop(StopRequest { savepoint: false, .. })]),
        "{:?}",
        passed.calls
    );
    assert_ne!(target(&passed).name, new.name);
}

#[test]
fn what_takes_the_job_back_is_checked_against_that_and_not_rolled_back() {
    let path = "s3://b/n/orders/u/manifests/00000000000000000012-0000000003.json";
    let old = revision("a", 1);
    let back = |revisions: Vec<Revision>| {
        let mut seen = observed("a", revisions);
        let mut job = StreamJob::clone(&seen.job);
        job.spec.start_from = StartFrom { mode: StartMode::Path, path: Some(path.into()), snapshot_name: None };
        job.metadata.generation = Some(8);
        seen.job = Arc::new(job);
        seen
    };
    let checking = decision(&running(back(vec![old.clone()]), &old, JobState::Running, Some(5)));
    assert_eq!(checking.operation, Some((OperationKind::Restore, OperationStep::Checking)));
    let new = Revision { number: 0, ..checking.check.unwrap().revision };
    let seen = running(back(vec![old.clone(), new.clone()]), &old, JobState::Running, Some(5));
    assert_eq!(decision(&seen).check.unwrap().revision.name, new.name, "it is the same at the next turn");
    let pod = crate::resource::check::pod(&seen.identity, &new, "check".into(), false).unwrap();
    let args = pod.spec.unwrap().containers.remove(0).args.unwrap();
    assert!(args.windows(3).any(|args| args == ["--against", path, "--required"]), "{args:?}");
    let trial = Some(Trial { replaces: Some(old.name.clone()), since_ms: Some(NOW_MS - TIMEOUT_MS) });
    let late = Revision { number: 2, trial, ..new };
    let seen = running(back(vec![old, late.clone()]), &late, JobState::WaitingForWorkers, None);
    assert_eq!(target(&decision(&seen)).name, late.name, "the state of the old one is no more");
}
