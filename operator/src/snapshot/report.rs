//! The status of a snapshot. Pure.
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use millstream_api::crd::{
    ConditionType, Observation, Reason, SnapshotResult, StreamJob, StreamJobSnapshot, StreamJobSnapshotStatus,
};
use millstream_api::wire::CheckpointStatus;

/// What is said of it.
#[derive(Debug, Clone)]
pub enum Said<'a> {
    /// There is no such job.
    NoJob,
    /// It is not taken yet, for this reason.
    Pending(&'a str),
    /// The coordinator of this revision is asked for it.
    Asked(&'a StreamJob, Option<&'a str>),
    /// It is taken.
    Taken(&'a CheckpointStatus),
    /// There will be none, for this reason.
    Failed(&'a str),
}

/// The status; what it says of a time already passed stays.
pub fn status(snapshot: &StreamJobSnapshot, said: &Said<'_>, now_ms: i64) -> StreamJobSnapshotStatus {
    let mut status = snapshot.status.clone().unwrap_or_default();
    status.observed_generation = snapshot.metadata.generation;
    let name = &snapshot.spec.job_name;
    let accepted =
        |holds, reason, message: String| Observation { kind: ConditionType::Accepted, holds, reason, message };
    let completed = |reason, message: &str| Observation {
        kind: ConditionType::Completed,
        holds: Some(reason == Reason::SavepointTaken),
        reason,
        message: message.to_owned(),
    };
    let (accepted, completed) = match said {
        Said::NoJob => {
            let message = format!("spec.jobName: there is no StreamJob {name}");
            let completed = completed(Reason::SavepointPending, &message);
            (accepted(Some(false), Reason::ReferenceNotFound, message), completed)
        }
        Said::Pending(why) => (valid(), completed(Reason::SavepointPending, why)),
        Said::Asked(job, revision) => {
            status.started_at.get_or_insert_with(|| second(now_ms));
            status.job_uid.clone_from(&job.metadata.uid);
            status.store = job.spec.store.clone().map(Into::into);
            status.revision = revision.map(str::to_owned);
            (valid(), completed(Reason::SavepointPending, "the savepoint is being taken"))
        }
        Said::Taken(taken) => {
            status.result = Some(SnapshotResult::Succeeded);
            status.path = Some(taken.path.clone());
            status.epoch = Some(taken.epoch);
            status.state_bytes = Some(taken.state_bytes);
            status.completed_at = Some(second(taken.completed_at_ms));
            (valid(), completed(Reason::SavepointTaken, "the savepoint is taken and can be restored"))
        }
        Said::Failed(why) => {
            status.result = Some(SnapshotResult::Failed);
            status.completed_at = Some(second(now_ms));
            let is_missing = status.job_uid.is_none() && why.starts_with("there is no");
            let reason = if is_missing { Reason::ReferenceNotFound } else { Reason::Valid };
            let message = if is_missing { format!("spec.jobName: {why}") } else { "the job is there".into() };
            (accepted(Some(!is_missing), reason, message), completed(Reason::SavepointFailed, why))
        }
    };
    let (before, now) = (std::mem::take(&mut status.conditions), second(now_ms));
    let conditions = [accepted, completed];
    status.conditions = conditions.map(|one| one.condition(snapshot.metadata.generation, &before, &now)).into();
    status
}

fn valid() -> Observation {
    let message = "the job is there".to_owned();
    Observation { kind: ConditionType::Accepted, holds: Some(true), reason: Reason::Valid, message }
}

fn second(ms: i64) -> Time {
    Time(Timestamp::from_second(ms.div_euclid(1000)).unwrap_or_default())
}
