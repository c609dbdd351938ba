use super::*;

pub(crate) mod table;

use table::{SMALL, WHOLE};

#[test]
fn the_whole_resource_is_read_and_valid() {
    let job = parse_yaml(WHOLE).unwrap();
    assert_eq!(job.spec.stages[0].max_parallelism, Some(8));
    assert_eq!(job.spec.autoscaling.mode, AutoscalingMode::Auto);
    assert_eq!(job.spec.checkpoint.timeout.ms, 600_000);
    assert_eq!(job.validate().unwrap().batch_rows, 2048);
    let again: StreamJob = serde_json::from_value(serde_json::to_value(&job).unwrap()).unwrap();
    assert_eq!(again, job);
}

#[test]
fn what_is_left_out_has_its_default() {
    let job = parse_yaml(SMALL).unwrap();
    assert_eq!((job.spec.parallelism, job.spec.key_groups, job.spec.slots_per_worker), (1, 256, 1));
    assert_eq!(job.spec.checkpoint.interval.to_string(), "10s");
    assert_eq!((job.spec.autoscaling.mode, job.spec.state.backend), (AutoscalingMode::Off, Backend::RocksDB));
    job.validate().unwrap();
}

#[test]
fn mistakes_of_shape_have_line_column_and_path() {
    for (text, said) in [
        ("  parallelsm: 4\n", "line 6, column 3: spec: unknown field `parallelsm`; did you mean `parallelism`?"),
        ("  parallelism: many\n", "line 6, column 16: spec.parallelism: "),
        ("  parallelism: -1\n", "line 6, column 16: spec.parallelism: "),
        ("  checkpoint: {interval: 10}\n", "line 6, column 26: spec.checkpoint.interval: `10` is not a duration"),
        (
            "  stages: [{name: a}, {name: b, paralelism: 2}]\n",
            "spec.stages[1]: unknown field `paralelism`; did you mean `parallelism`?",
        ),
        ("  autoscaling: {mode: auto}\n", "spec.autoscaling.mode: unknown value `auto`; did you mean `Auto`?"),
        ("  stages: [{parallelism: 2}]\n", "spec.stages[0]: field `name` is missing"),
        ("  zzzzzzzzzzzzz: 1\n", "spec: unknown field `zzzzzzzzzzzzz`; there are sql, variables"),
        ("  parallelism: 1\n  parallelism: 2\n", "line 7, column 3"),
        (" sql: [\n", "line "),
        ("---\na: b\n", "more than one document"),
    ] {
        let error = parse_yaml(&format!("{SMALL}{text}")).unwrap_err().to_string();
        assert!(error.contains(said), "{text}\n  wanted {said}\n  got    {error}");
    }
    for text in ["", "\0", "[]", "just text", "{a: &a [*a]}", "kind: StreamJob"] {
        assert!(!parse_yaml(text).unwrap_err().to_string().is_empty(), "{text:?}");
    }
    let deep = format!("spec: {}", "[".repeat(100_000));
    assert!(parse_yaml(&deep).unwrap_err().to_string().len() < 300);
    let error = parse_yaml(&SMALL.replace("v1alpha1", "v1")).unwrap_err().to_string();
    assert_eq!(error, "apiVersion: `millstream.dev/v1` is not known; write millstream.dev/v1alpha1");
}

#[test]
fn rules_across_fields_name_the_field() {
    for (text, said) in [
        (
            "  stages: [{name: a}, {name: b, minParallelism: 3, maxParallelism: 2}]",
            "spec.stages[1].maxParallelism: 2 is below minParallelism 3",
        ),
        ("  stages: [{name: a}, {name: a}]", "spec.stages[1].name: `a` has an entry already"),
        (
            "  stages: [{name: a, minParallelism: 17}]",
            "spec.stages[0].minParallelism: 17 is above spec.autoscaling.maxParallelism 16",
        ),
        ("  parallelism: 0", "spec.parallelism: 0 must be at least 1"),
        (
            "  parallelism: 257",
            "spec.parallelism: 257 is more than the 256 key groups there are to share (spec.keyGroups)",
        ),
        ("  keyGroups: 0", "spec.keyGroups: 0 must be from 1 to 32768"),
        ("  keyGroups: 40000", "spec.keyGroups: 40000 must be from 1 to 32768"),
        ("  slotsPerWorker: 0", "spec.slotsPerWorker: 0 must be at least 1"),
        (
            "  autoscaling: {minParallelism: 4, maxParallelism: 2}",
            "spec.autoscaling.maxParallelism: 2 is below minParallelism 4",
        ),
        (
            "  autoscaling: {targetUtilizationPercent: 0}",
            "spec.autoscaling.targetUtilizationPercent: 0 must be from 1 to 100",
        ),
        ("  checkpoint: {interval: 0s}", "spec.checkpoint.interval: 0s must be longer than 0"),
        ("  checkpoint: {keep: 0}", "spec.checkpoint.keep: 0 must be at least 1"),
        ("  state: {memory: lots}", "spec.state.memory: `lots` is not a quantity of bytes; write one such as 256Mi"),
        ("  store: {region: r}", "spec.store: give exactly one of uri and claimName"),
        ("  startFrom: {mode: Path}", "spec.startFrom.path: mode Path needs path"),
        ("  startFrom: {path: x}", "spec.startFrom.path: is only for mode Path, not Empty"),
        (
            "  variables: [{name: 1a, value: x}]",
            "spec.variables[0].name: must be letters, digits and _, not beginning with a digit",
        ),
        ("  variables: [{name: a}]", "spec.variables[0]: give exactly one of value and secretKeyRef"),
        ("  settings: [{name: nope, value: 1}]", "spec.settings[0].name: unknown setting `nope`"),
    ] {
        let invalid = parse_yaml(&format!("{SMALL}{text}")).unwrap().validate().unwrap_err();
        assert!(invalid.to_string().starts_with(said), "{text}\n  wanted {said}\n  got    {invalid}");
        assert_eq!(invalid.errors.len(), 1, "{invalid}");
    }
    for (sql, said) in [
        ("{}", "spec.sql: 0 of inline, configMap and imagePath are given; give exactly one"),
        ("{inline: x, imagePath: y}", "spec.sql: 2 of inline"),
        ("{inline: \" \"}", "spec.sql.inline: is empty"),
    ] {
        let invalid = parse_yaml(&SMALL.replace("{inline: SELECT}", sql)).unwrap().validate().unwrap_err().to_string();
        assert!(invalid.starts_with(said), "{invalid}");
    }
    for name in ["", "A", "1a", "a-", "a_b", "a23456789-123456789-123456789-123456789-1"] {
        let invalid = parse_yaml(&SMALL.replace("name: small", &format!("name: \"{name}\""))).unwrap().validate();
        assert!(invalid.unwrap_err().to_string().starts_with("metadata.name: "), "{name}");
    }
}
