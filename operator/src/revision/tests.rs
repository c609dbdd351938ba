use millstream_api::job::{Setting, Stage};
use serde_json::json;

use super::*;

const SQL: &str = "SELECT 1";

fn job() -> Identity {
    Identity { namespace: "team".into(), name: "orders".into(), uid: "u-1".into() }
}

fn spec() -> Spec {
    Spec { sql: Sql { inline: Some(SQL.into()), ..Sql::default() }, ..Spec::default() }
}

fn inputs(spec: &Spec) -> Inputs {
    Inputs::of(spec, Some(SQL), None)
}

fn revision(spec: &Spec, default_image: &str, revisions: &[Revision]) -> Revision {
    made(spec, &inputs(spec), default_image, revisions)
}

fn made(spec: &Spec, inputs: &Inputs, default_image: &str, revisions: &[Revision]) -> Revision {
    let start = Start { from: spec.start_from.clone(), restore: None };
    let make_ = Make { job: &job(), spec, sql: Some(SQL), default_image, generation: 7, start: &start };
    make(make_, inputs, revisions).unwrap()
}

#[test]
fn live_and_in_place_changes_need_no_other_pods() {
    let before = inputs(&spec());
    let mut live = spec();
    live.parallelism = 4;
    live.stages = vec![Stage { name: "a".into(), parallelism: Some(2), ..Stage::default() }];
    live.autoscaling.max_parallelism = 8;
    live.checkpoint.keep = 9;
    live.suspend = true;
    assert_eq!(inputs(&live), before);
    let from_a_map = Spec {
        sql: Sql { config_map: Some(millstream_api::job::KeyReference::default()), ..Sql::default() },
        ..spec()
    };
    assert_eq!(inputs(&from_a_map), before, "where the text comes from is not what it says");
}

#[test]
fn everything_else_does() {
    let before = inputs(&spec());
    let setting = Setting { name: "batch.rows".into(), value: "1".into() };
    let mut graceful = spec();
    graceful.worker.termination_grace_period_seconds = 5;
    for other in [
        Spec { image: Some("x".into()), ..spec() },
        Spec { settings: vec![setting], ..spec() },
        Spec { slots_per_worker: 2, ..spec() },
        graceful,
    ] {
        assert_ne!(inputs(&other), before, "{other:?}");
    }
    assert_ne!(Inputs::of(&spec(), Some("SELECT 2"), None), before);
    assert_ne!(Inputs::of(&spec(), Some(SQL), Some("1")), before, "the restart annotation");
}

#[test]
fn an_operator_with_other_defaults_finds_the_revision_of_the_old_one() {
    let old = revision(&spec(), "millstream:1", &[]);
    let object = old.object(&job()).unwrap();
    let read = Revision::read(object).unwrap();
    assert_eq!(read, old, "what is stored is read back");
    let revisions = [read];
    assert_eq!(find(&revisions, &inputs(&spec()), 8), Some(&old));
    assert_ne!(revision(&spec(), "millstream:2", &[]).name, old.name, "though it would render another");
    // One that knows a field this one does not.
    let mut newer = old.clone();
    Arc::make_mut(&mut newer.data).inputs["spec"]["fromTheFuture"] = json!(true);
    assert!(find(&[newer], &inputs(&spec()), 8).is_some());
}

#[test]
fn a_value_of_the_restart_annotation_that_comes_back_restarts_with_the_image_of_today() {
    let restarted = |value: &str| Inputs::of(&spec(), Some(SQL), Some(value));
    let found = |revisions: &[Revision], value: &str| {
        find(revisions, &restarted(value), 7).map(|revision| revision.data.image.clone())
    };
    let mut revisions = vec![made(&spec(), &restarted("1"), "millstream:1", &[])];
    revisions.push(made(&spec(), &restarted("2"), "millstream:2", &revisions));
    assert_eq!(found(&revisions, "2").as_deref(), Some("millstream:2"), "it runs");
    assert_eq!(found(&revisions, "1"), None);
    // The new one is checked, then it runs, and both times it is what is meant.
    let again = made(&spec(), &restarted("1"), "millstream:3", &revisions);
    revisions.push(Revision { number: 0, ..again.clone() });
    assert_eq!(found(&revisions, "1").as_deref(), Some("millstream:3"));
    revisions[2].number = again.number;
    assert_eq!(found(&revisions, "1").as_deref(), Some("millstream:3"));
    // One that was taken back is not tried again by itself.
    let rolled_back = Verdict::Rejected { reason: Reason::RolledBack, message: String::new() };
    revisions[2].verdict = Some(rolled_back);
    revisions[1].number = 4;
    assert_eq!(found(&revisions, "1").as_deref(), Some("millstream:3"));
}

#[test]
fn names_are_short_stable_and_never_taken() {
    let first = revision(&spec(), "i", &[]);
    assert_eq!((first.name.len(), first.number), (5, 1));
    assert_eq!(revision(&spec(), "i", &[]).name, first.name);
    let again = revision(&spec(), "i", std::slice::from_ref(&first));
    assert_ne!(again.name, first.name);
    assert_eq!(again.number, 2);
    assert_eq!(current(&[again.clone(), first]).unwrap().name, again.name);
}

#[test]
fn the_job_file_is_what_the_processes_read() {
    let mut given = spec();
    given.sql = Sql { config_map: Some(millstream_api::job::KeyReference::default()), ..Sql::default() };
    given.worker.pod_template = Some(json!({"spec": {"nodeSelector": {"a": "b"}}}));
    let revision = revision(&given, "millstream:1", &[]);
    let read = start_of(&revision).unwrap();
    assert_eq!(read.sql.inline.as_deref(), Some(SQL));
    assert_eq!((read.image.as_deref(), read.worker.pod_template), (Some("millstream:1"), None));
    assert_eq!(revision.data.workers["spec"]["template"]["spec"]["nodeSelector"]["a"], "b");
    assert!(revision.data.workers["spec"].get("replicas").is_none());
}
