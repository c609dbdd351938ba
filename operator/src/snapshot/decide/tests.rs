use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use millstream_api::crd::{SnapshotResult, StreamJobSnapshotSpec, StreamJobSnapshotStatus};
use millstream_api::job::{self, DeletionPolicy};

use super::*;

/// When the snapshot was created.
const CREATED_MS: i64 = 1_000_000;

fn job() -> StreamJob {
    let mut job = StreamJob::from(job::StreamJob::from_sql("orders", String::new()));
    job.metadata.uid = Some("u-1".into());
    job
}

fn snapshot(status: StreamJobSnapshotStatus) -> StreamJobSnapshot {
    let spec = StreamJobSnapshotSpec { job_name: "orders".into(), deletion_policy: DeletionPolicy::Retain };
    let mut snapshot = StreamJobSnapshot::new("s", spec);
    snapshot.metadata.creation_timestamp = Some(Time(Timestamp::from_millisecond(CREATED_MS).unwrap()));
    snapshot.status = Some(status);
    snapshot
}

fn asked() -> StreamJobSnapshotStatus {
    let started_at = Some(Time(Timestamp::from_millisecond(CREATED_MS).unwrap()));
    StreamJobSnapshotStatus { started_at, job_uid: Some("u-1".into()), ..StreamJobSnapshotStatus::default() }
}

fn standing(phase: Phase, operation: Option<OperationKind>, state: Option<JobState>) -> Standing {
    Standing { revision: None, phase, operation, said: state.map(|state| (state, Expect::at(3))) }
}

/// What is done this long after it was created.
fn step(age_ms: i64, status: StreamJobSnapshotStatus, job: Option<&StreamJob>, standing: Option<&Standing>) -> Step {
    let snapshot = snapshot(status);
    decide(Facts { now_ms: CREATED_MS + age_ms, snapshot: &snapshot, job, standing, installation: "a/b" })
}

#[test]
fn a_running_job_is_asked_once_nothing_else_is_done_to_it() {
    use JobState::{Recovering, Running};
    let none = StreamJobSnapshotStatus::default;
    let wait = |why: &str| Step::Wait(why.into());
    for (phase, operation, state, expected) in [
        (Phase::Up, None, Some(Running), Step::Ask(Expect::at(3))),
        (Phase::Up, Some(OperationKind::Savepoint), Some(Running), Step::Ask(Expect::at(3))),
        (Phase::Up, Some(OperationKind::Rescale), Some(Running), wait("the job is at a Rescale")),
        (
            Phase::Redeploying,
            Some(OperationKind::Redeploy),
            Some(Running),
            wait("another version of the job takes over"),
        ),
        (Phase::Up, None, Some(Recovering), wait("the job is recovering")),
        (Phase::Up, None, None, wait("the coordinator does not answer")),
    ] {
        let standing = standing(phase, operation, state);
        assert_eq!(step(60_000, none(), Some(&job()), Some(&standing)), expected, "{phase:?} {operation:?} {state:?}");
    }
    assert_eq!(step(0, none(), Some(&job()), None), wait("the job is being looked at"));
}

#[test]
fn what_cannot_be_has_a_reason_after_a_while() {
    let none = StreamJobSnapshotStatus::default;
    assert_eq!(step(29_000, none(), None, None), Step::NoJob);
    assert_eq!(step(30_000, none(), None, None), Step::Fail("there is no StreamJob orders".into()));
    for (phase, why) in [
        (Phase::Suspending, "the job is suspended; a savepoint needs a running job"),
        (Phase::Suspended, "the job is suspended; a savepoint needs a running job"),
        (Phase::Completed, "the job has completed; a savepoint needs a running job"),
        (Phase::Refused, "the job's spec is not accepted; a savepoint needs a running job"),
    ] {
        let standing = standing(phase, None, None);
        assert_eq!(step(1_000, none(), Some(&job()), Some(&standing)), Step::Wait(why.into()));
        assert_eq!(step(31_000, none(), Some(&job()), Some(&standing)), Step::Fail(why.into()));
    }
    let recovers = standing(Phase::Up, None, Some(JobState::Recovering));
    let late = Step::Fail("it could not be taken in time: the job is recovering".into());
    // The job allows a checkpoint ten minutes.
    assert_eq!(step(630_001, none(), Some(&job()), Some(&recovers)), late);
    assert_eq!(step(630_001, asked(), Some(&job()), Some(&recovers)), late);
    let mut going = job();
    going.metadata.deletion_timestamp = Some(Time(Timestamp::from_millisecond(CREATED_MS).unwrap()));
    assert_eq!(step(0, none(), Some(&going), None), Step::Fail("the StreamJob orders is being deleted".into()));
}

#[test]
fn who_was_asked_is_asked_what_became_of_it() {
    let rescales = standing(Phase::Up, Some(OperationKind::Rescale), Some(JobState::Rescaling));
    assert_eq!(step(60_000, asked(), Some(&job()), Some(&rescales)), Step::Ask(Expect::at(3)));
    let mut other = job();
    other.metadata.uid = Some("u-2".into());
    let why = "the StreamJob orders was deleted and is another one now";
    assert_eq!(step(0, asked(), Some(&other), Some(&rescales)), Step::Fail(why.into()));
    let done = StreamJobSnapshotStatus { result: Some(SnapshotResult::Succeeded), ..asked() };
    assert_eq!(step(0, done, Some(&other), None), Step::Done);
    let mut foreign = job();
    foreign.status = Some(millstream_api::crd::StreamJobStatus { operator: Some("c/d".into()), ..Default::default() });
    assert_eq!(step(0, asked(), Some(&foreign), Some(&rescales)), Step::Leave);
}
