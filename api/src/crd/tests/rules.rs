//! Good and bad jobs: what the API server refuses, the rules in Rust refuse too, and the other way round.
use kube::core::cel::Validator;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::check::by_definition;
use super::super::{check, check_update};
use crate::duration::Duration;
use crate::job::tests::table::{BAD, BAD_BY_DEFINITION, BAD_NAMES, BAD_SQL, GOOD, GOOD_NAMES, SMALL, WHOLE};
use crate::job::{StreamJob, parse_yaml};

fn small(more: &str) -> StreamJob {
    parse_yaml(&format!("{SMALL}  {more}\n")).unwrap_or_else(|error| panic!("{more}: {error}"))
}

#[test]
fn good_jobs_break_no_rule() {
    let named = GOOD_NAMES.iter().map(|name| SMALL.replace("name: small", &format!("name: {name}")));
    let more = GOOD.iter().map(|more| format!("{SMALL}  {more}\n"));
    for text in named.chain(more).chain([WHOLE.to_owned(), SMALL.to_owned()]) {
        let job = parse_yaml(&text).unwrap();
        check(&job).unwrap_or_else(|invalid| panic!("{text}\n{invalid}"));
    }
}

#[test]
fn what_the_api_server_refuses_the_rules_in_rust_refuse() {
    for (more, path, said) in BAD {
        let job = small(more);
        let found = by_definition(&job, None);
        let error = found.first().unwrap_or_else(|| panic!("{more} is refused by no rule"));
        assert!(found.iter().all(|other| other.path == error.path), "{more}: {found:?}");
        assert!(
            error.path == *path && error.message.contains(said),
            "{more}\n  wanted {path}: {said}\n  got    {error}"
        );
        let invalid = job.validate().expect_err(more);
        assert!(invalid.errors[0].path.starts_with(path), "{more}: {invalid}");
        assert_eq!(check(&job).unwrap_err(), invalid, "{more}: said once, in the words of Rust");
    }
    for (sql, path) in BAD_SQL {
        let job = parse_yaml(&SMALL.replace("{inline: SELECT}", sql)).unwrap();
        let found = by_definition(&job, None);
        assert!(found.len() == 1 && found[0].path == *path, "{sql}: {found:?}");
        job.validate().expect_err(sql);
    }
    // 70 000 letters of two bytes each: more bytes than fit, though not more letters.
    let job = StreamJob::from_sql("small", "ä".repeat(70_000));
    assert!(by_definition(&job, None)[0].message.starts_with("is more than 131072 bytes"));
    job.validate().unwrap_err();
    for name in BAD_NAMES {
        let job = StreamJob::from_sql(name, "SELECT".into());
        let found = by_definition(&job, None);
        assert!(found.len() == 1 && found[0].path == "metadata.name", "{name}: {found:?}");
        assert!(found[0].message.starts_with("must be 1 to 40 lower-case letters"), "{name}: {found:?}");
        job.validate().expect_err(name);
    }
}

#[test]
fn what_only_the_definition_says_is_said_to_all() {
    for (more, said) in BAD_BY_DEFINITION {
        let invalid = check(&small(more)).expect_err(more).to_string();
        assert!(invalid.starts_with(said) && !invalid.contains('\n'), "{more}\n  wanted {said}\n  got    {invalid}");
    }
    let many: Vec<String> = (0..65).map(|at| format!("{{name: v{at}, value: x}}")).collect();
    let invalid = check(&small(&format!("variables: [{}]", many.join(", ")))).unwrap_err();
    assert_eq!(invalid.to_string(), "spec.variables: has 65 entries; there can be 64");
}

#[test]
fn several_mistakes_are_all_said() {
    let job = small("parallelism: 0\n  store: {uri: bucket}\n  settings: [{name: nope, value: \"1\"}]");
    let invalid = check(&job).unwrap_err();
    let paths: Vec<&str> = invalid.errors.iter().map(|error| error.path.as_str()).collect();
    assert_eq!(paths, ["spec.parallelism", "spec.settings[0].name", "spec.store.uri"]);
}

#[test]
fn some_fields_stay_what_they_are() {
    let before = small("parallelism: 2");
    check_update(&small("parallelism: 3"), &before).unwrap();
    check_update(&small("keyGroups: 256"), &before).unwrap();
    let invalid = check_update(&small("keyGroups: 128"), &before).unwrap_err().to_string();
    assert!(invalid.starts_with("spec.keyGroups: cannot be changed, since state is kept by key group"), "{invalid}");
    check(&small("keyGroups: 128")).unwrap();
}

#[test]
fn amounts_are_read_as_the_pattern_reads_them() {
    let read = |limit: &str| parse_yaml(&format!("{SMALL}  worker: {{resources: {{limits: {{cpu: {limit}}}}}}}\n"));
    for (limit, amount) in [("2", "2"), ("500m", "500m"), ("\"0.5\"", "0.5"), ("1e3", "1e3"), ("1.5Gi", "1.5Gi")] {
        let job = read(&format!("\"{}\"", limit.trim_matches('"'))).unwrap();
        assert_eq!(job.spec.worker.resources.limits["cpu"].0, amount);
    }
    assert_eq!(read("2").unwrap().spec.worker.resources.limits["cpu"].0, "2");
    for limit in ["lots", "1 Gi", "1.2.3", "Mi", "-1x", "e", "1e", "\"\""] {
        let error = read(limit).unwrap_err().to_string();
        assert!(error.contains("spec.worker.resources.limits.cpu: ") && error.contains("is not an amount"), "{error}");
    }
    let error = read("0.5").unwrap_err().to_string();
    assert!(error.contains("write the fraction 0.5 as text"), "{error}");
}

proptest! {
    /// A duration that the API server lets through and nobody can read would hide the whole job from the operator.
    #[test]
    fn a_duration_that_is_let_through_can_be_read(text in "[ ]?([0-9.]{1,9}(d|h|m|s|ms)){1,3}[ ]?") {
        let schema: Value = schemars::schema_for!(Duration).into();
        let passes = Validator::new().validate(&schema, &json!(text), None).is_ok();
        let read = text.parse::<Duration>();
        prop_assert!(!passes || read.is_ok(), "{text} passes, but {read:?}");
    }
}
