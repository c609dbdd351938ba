use std::collections::BTreeMap;

use millstream_sql::PlanOptions;

use super::*;
use crate::checkpoint::manifest::TaskManifest;
use crate::job::{JobSpec, Tuning};
use crate::source::Split;

const TABLES: &str =
    "CREATE TABLE bid (auction BIGINT, price BIGINT, at TIMESTAMP(3), WATERMARK FOR at AS at - INTERVAL '1' SECOND)
  WITH ('connector' = 'datagen', 'rows-per-second' = '10', 'number-of-rows' = '100');
CREATE TABLE out1 (auction BIGINT, n BIGINT) WITH ('connector' = 'blackhole');
CREATE TABLE out2 (auction BIGINT, n BIGINT) WITH ('connector' = 'blackhole');
";
const COUNT: &str = "INSERT INTO out1 SELECT auction, COUNT(*) FROM bid GROUP BY auction;";

/// The job of this text, as its coordinator knows it.
fn planned(sql: &str) -> Planned {
    let job = JobSpec {
        name: "j".into(),
        sql: format!("{TABLES}{sql}"),
        parallelism: 1,
        stages: BTreeMap::new(),
        key_groups: 8,
        checkpoint_interval_ms: None,
        checkpoint_timeout_ms: 1,
        checkpoint_keep: 1,
        restart_max_failures: 1,
        restart_window_ms: 1,
        answer_timeout_ms: 1,
        state_backend: "memory".into(),
        state_memory_bytes: 1,
        tuning: Tuning::default(),
        table_options: BTreeMap::new(),
        drop_state: Vec::new(),
    };
    millstream_sql::plan(&job.sql, &PlanOptions::default()).unwrap();
    crate::coordinator::shape::shape(&job).unwrap().planned()
}

/// A checkpoint of it.
fn saved(planned: &Planned) -> Manifest {
    let split =
        Split { id: 0, descriptor: serde_json::Value::Null, position: serde_json::Value::Null, finished: false };
    let mut manifest = crate::checkpoint::tests::empty();
    manifest.fingerprint = planned.fingerprint;
    let stages = planned.stages.iter().map(|stage| {
        let splits = if stage.input == 0 { Vec::new() } else { vec![split.clone()] };
        let task = TaskManifest { splits, ..crate::checkpoint::tests::task(0, Vec::new(), 1, Vec::new()) };
        let StageManifest { table, .. } = manifest.stages[0].clone();
        let (name, states) = (stage.name.clone(), stage.states.clone());
        StageManifest { name, table, tasks: vec![task], states, input: stage.input }
    });
    manifest.stages = stages.collect();
    manifest
}

fn of(before: &str, after: &str, drop_state: &[&str]) -> Result<Mapping, String> {
    let drop_state: Vec<String> = drop_state.iter().map(|op| (*op).to_owned()).collect();
    map(&saved(&planned(before)), &planned(after), &drop_state).map_err(|mismatch| mismatch.to_string())
}

#[test]
fn what_means_the_same_goes_on_and_what_is_new_begins_empty() {
    let same = of(COUNT, COUNT, &[]).unwrap();
    assert_eq!(
        (same.kept, same.new),
        (vec!["bid.source".into(), "aggregate-1.group-aggregate".into()], Vec::<String>::new())
    );
    // What comes behind an op is not its state.
    let behind = "INSERT INTO out1 SELECT auction, COUNT(*) + 1 FROM bid GROUP BY auction HAVING COUNT(*) > 5;";
    assert_eq!(of(COUNT, behind, &[]).unwrap().new, Vec::<String>::new());
    let more = format!(
        "{COUNT}INSERT INTO out2 SELECT auction, n FROM (SELECT auction, MAX(price) AS n FROM bid GROUP BY auction);"
    );
    let more = of(COUNT, &more, &[]).unwrap();
    assert!(more.kept.contains(&"aggregate-1.group-aggregate".to_owned()), "{more:?}");
    assert!(more.new.contains(&"aggregate-2.group-aggregate".to_owned()), "{more:?}");
}

#[test]
fn what_has_no_place_is_named_and_given_up_only_with_consent() {
    let other = "INSERT INTO out1 SELECT auction, MAX(price) FROM bid GROUP BY auction;";
    let refusal = of(COUNT, other, &[]).unwrap_err();
    assert!(refusal.contains("aggregate-1.group-aggregate/"), "{refusal}");
    assert!(refusal.contains("what comes before it, is another one now"), "{refusal}");
    assert!(refusal.ends_with("upgrade.dropState: [aggregate-1.group-aggregate]"), "{refusal}");
    let given = of(COUNT, other, &["aggregate-1.group-aggregate"]).unwrap();
    assert_eq!(
        (given.kept, given.dropped),
        (vec!["bid.source".to_owned()], vec!["aggregate-1.group-aggregate".to_owned()])
    );
    // Consent is not asked for twice, and what fits is never given up.
    assert_eq!(of(other, other, &["aggregate-1.group-aggregate"]).unwrap().dropped, Vec::<String>::new());
    let filtered = "INSERT INTO out1 SELECT auction, COUNT(*) FROM bid WHERE price > 5 GROUP BY auction;";
    assert!(of(COUNT, filtered, &[]).is_err(), "counts of other rows are other counts");
    let stateless = "INSERT INTO out1 SELECT auction, price FROM bid;";
    assert!(of(COUNT, stateless, &[]).unwrap_err().contains("there is no such op any more"));
    // Two that have changed places: the ids are the same, what they mean is not.
    let (a, b) = (
        "INSERT INTO out1 SELECT auction, COUNT(*) FROM bid WHERE price > 5 GROUP BY auction;",
        "INSERT INTO out2 SELECT auction, COUNT(*) FROM bid WHERE price < 5 GROUP BY auction;",
    );
    assert!(of(&format!("{a}{b}"), &format!("{b}{a}"), &[]).is_err());
}
