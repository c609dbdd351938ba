use millstream_api::crd::{StreamJobSnapshotSpec, StreamJobSnapshotStatus};
use millstream_api::job::DeletionPolicy;

use super::*;
use crate::name::Identity;
use crate::revision::{self, Make, Trial, make};
use std::sync::Arc;

fn spec(mode: StartMode, snapshot_name: Option<&str>) -> Spec {
    let snapshot_name = snapshot_name.map(str::to_owned);
    Spec { start_from: StartFrom { mode, snapshot_name, path: None }, ..Spec::default() }
}

fn snapshot(result: Option<SnapshotResult>, path: Option<&str>) -> References {
    let spec = StreamJobSnapshotSpec { job_name: "orders".into(), deletion_policy: DeletionPolicy::Retain };
    let mut snapshot = StreamJobSnapshot::new("s", spec);
    let path = path.map(str::to_owned);
    snapshot.status = Some(StreamJobSnapshotStatus { result, path, ..StreamJobSnapshotStatus::default() });
    References { start: Some(Arc::new(snapshot)), ..References::default() }
}

fn inputs(spec: &Spec) -> Inputs {
    Inputs::of(spec, Some("SELECT 1"), None)
}

/// The revision of a spec that is applied after others.
fn after(revisions: &[Revision], spec: &Spec, references: &References, generation: i64) -> Result<Revision, Rejection> {
    let job = Identity { namespace: "n".into(), name: "orders".into(), uid: "u".into() };
    let current = crate::revision::current(revisions);
    let start = start(spec, &inputs(spec), current, references)?;
    let one = Make { job: &job, spec, sql: Some("SELECT 1"), default_image: "m", generation, start: &start };
    Ok(make(one, &inputs(spec), revisions).unwrap())
}

#[test]
fn a_value_acts_at_the_first_start_and_when_it_changes() {
    let none = References::default();
    let first = after(&[], &spec(StartMode::Latest, None), &none, 1).unwrap();
    let begun = begun_of(&first).unwrap();
    assert_eq!((begun.from.mode, begun.restore), (StartMode::Latest, None), "it has not begun before");
    // Another image: the job goes on from where it is.
    let image = Spec { image: Some("m:2".into()), ..spec(StartMode::Latest, None) };
    let second = after(std::slice::from_ref(&first), &image, &none, 2).unwrap();
    assert_eq!(begun_of(&second).unwrap().restore, None);
    // Another value.
    let empty = Spec { image: Some("m:2".into()), ..spec(StartMode::Empty, None) };
    let third = after(&[first.clone(), second.clone()], &empty, &none, 3).unwrap();
    assert_eq!(begun_of(&third).unwrap().restore, Some(Wish::Before(format!("3-{}", third.name))));
    assert_eq!(revision::goes_back(&third).unwrap().mode, StartMode::Empty);
    // Another image again: the wish is the same, and granted once.
    let all = [first.clone(), second.clone(), third.clone()];
    let fourth = after(&all, &spec(StartMode::Empty, None), &none, 4).unwrap();
    assert_eq!(begun_of(&fourth).unwrap(), begun_of(&third).unwrap());
    assert_eq!(revision::goes_back(&fourth), None);
    // Back to the first value: what ran then is not that revision again.
    assert!(goes_back(&first, Some(&fourth)) && goes_back(&second, Some(&fourth)));
    assert!(!goes_back(&first, Some(&second)) && !goes_back(&fourth, Some(&fourth)) && !goes_back(&first, None));
}

#[test]
fn a_snapshot_is_resolved_when_its_revision_is_made_and_not_needed_later() {
    let from = spec(StartMode::Snapshot, Some("s"));
    for (references, why) in [
        (References::default(), "there is no StreamJobSnapshot s"),
        (snapshot(None, None), "the savepoint of the StreamJobSnapshot s is not taken yet"),
        (
            snapshot(Some(SnapshotResult::Failed), None),
            "the StreamJobSnapshot s has failed: there is no savepoint; create another one",
        ),
    ] {
        let rejection = after(&[], &from, &references, 1).unwrap_err();
        assert_eq!(rejection.reason, Reason::ReferenceNotFound);
        assert_eq!(rejection.message, format!("spec.startFrom.snapshotName: {why}"));
    }
    let path = "s3://b/n/orders/u/manifests/00000000000000000012-0000000003.json";
    let first = after(&[], &from, &snapshot(Some(SnapshotResult::Succeeded), Some(path)), 1).unwrap();
    let begun = begun_of(&first).unwrap();
    assert_eq!((begun.from.mode, begun.from.path.as_deref()), (StartMode::Path, Some(path)));
    let image = Spec { image: Some("m:2".into()), ..from };
    let second = after(&[first], &image, &References::default(), 2).unwrap();
    assert_eq!(begun_of(&second).unwrap(), begun);
}

#[test]
fn a_restart_of_the_same_generation_does_not_go_back_again() {
    let none = References::default();
    let first = after(&[], &spec(StartMode::Empty, None), &none, 1).unwrap();
    let back = after(std::slice::from_ref(&first), &spec(StartMode::Latest, None), &none, 2).unwrap();
    assert!(revision::goes_back(&back).is_some());
    // The restart annotation, and the text of a ConfigMap, are no part of the spec.
    let spec = spec(StartMode::Latest, None);
    let restarted = Inputs::of(&spec, Some("SELECT 1"), Some("again"));
    let start = start(&spec, &restarted, Some(&back), &none).unwrap();
    let job = Identity { namespace: "n".into(), name: "orders".into(), uid: "u".into() };
    let all = [first, Revision { trial: Some(Trial::default()), ..back.clone() }];
    let one = Make { job: &job, spec: &spec, sql: Some("SELECT 1"), default_image: "m", generation: 2, start: &start };
    let again = make(one, &restarted, &all).unwrap();
    assert_eq!(again.data.generation, back.data.generation);
    assert_eq!(revision::goes_back(&again), None);
    assert!(revision::is_going_back(&again, &all), "nobody has gone back so far");
    assert!(!revision::is_going_back(&again, &[back]));
}
