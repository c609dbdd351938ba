//! What tests of turns begin with: a job, its revisions, and what is seen of them.
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use kube::api::DynamicObject;
use millstream_api::crd::{REVISION_LABEL, ROLE_LABEL, StreamJob};
use millstream_api::wire::{CheckpointStatus, JobState, JobStatus};
use serde_json::{Value, json};

use super::admit::{Admitted, Rejection, admit};
use super::check::check;
use super::decide::{Decision, decide};
use super::observe::{Answer, Observed, Said, SqlText, Workload};
use super::reference::References;
use crate::control;
use crate::name::{Identity, Role};
use crate::revision::Revision;

/// When it is in these tests.
pub const NOW_MS: i64 = 1_700_000_000_000;

pub fn admitted(observed: &Observed) -> Result<Admitted, Rejection> {
    admit(observed, check(&observed.job, &mut None), "")
}

/// A job whose image is `image`, and what is observed of it.
pub fn observed(image: &str, revisions: Vec<Revision>) -> Observed {
    let job: StreamJob = serde_json::from_value(json!({
        "apiVersion": "millstream.dev/v1alpha1", "kind": "StreamJob",
        "metadata": {"name": "orders", "namespace": "team", "uid": "u-1", "generation": 7},
        "spec": {"sql": {"inline": "SELECT 1"}, "image": image, "store": {"uri": "s3://b/p"}},
    }))
    .unwrap();
    Observed {
        now_ms: NOW_MS,
        job: Arc::new(job),
        identity: Identity { namespace: "team".into(), name: "orders".into(), uid: "u-1".into() },
        sql: SqlText::Text("SELECT 1".into()),
        revisions,
        workloads: Vec::new(),
        pods: Vec::new(),
        refusals: Vec::new(),
        refused: None,
        answer: Answer::Absent,
        stages: None,
        references: References::default(),
    }
}

/// A revision with this image that ran well.
pub fn revision(image: &str, number: i64) -> Revision {
    let observed = observed(image, Vec::new());
    Revision { number, ..admitted(&observed).unwrap().revision }
}

pub fn pod(role: &str, revision: &Revision, status: Value) -> Arc<Pod> {
    let pod = json!({
        "metadata": {"name": format!("orders-{role}-{}", revision.name), "ownerReferences": [
                         {"apiVersion": "millstream.dev/v1alpha1", "kind": "StreamJob", "name": "orders", "uid": "u-1"}],
                     "labels": {ROLE_LABEL: role, REVISION_LABEL: revision.name}},
        "status": status
    });
    Arc::new(serde_json::from_value(pod).unwrap())
}

/// The job runs this revision, and its coordinator says so.
pub fn running(mut observed: Observed, revision: &Revision, state: JobState, epoch: Option<u64>) -> Observed {
    let object: DynamicObject =
        serde_json::from_value(json!({"metadata": {"name": "x"}, "apiVersion": "v1", "kind": "x"})).unwrap();
    for role in [Role::Coordinator, Role::Worker] {
        observed.workloads.push(Workload {
            role,
            revision: revision.name.clone(),
            replicas: 1,
            made: 1,
            is_behind: false,
            object: Arc::new(object.clone()),
        });
    }
    let checkpoint = epoch.map(|epoch| CheckpointStatus {
        name: None,
        epoch,
        savepoint: false,
        completed_at_ms: NOW_MS,
        duration_ms: 1,
        uploaded_bytes: 1,
        state_bytes: 1,
        path: "p".into(),
    });
    let job: JobStatus = serde_json::from_value(json!({
        "name": "orders", "state": state, "generation": 1, "term": 1, "recoveries": 0, "coordinator": {"pid": 1},
        "workers": [], "checkpoint": checkpoint, "late_rows": 0, "bad_records": 0,
    }))
    .unwrap();
    let said = Said { revision: revision.name.clone(), job, stages: Vec::new(), rescales: Vec::new() };
    observed.answer = Answer::Said(Box::new(said));
    observed
}

pub fn decision(observed: &Observed) -> Decision {
    decide(observed, &admitted(observed), &mut control::Memory::default())
}
