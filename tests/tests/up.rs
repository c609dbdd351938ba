//! The demo without a terminal: a job that grows under load, shrinks after it, and whose result is that of a one-task run.
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use millstream_tests::process::binary;
use serde_json::Value;

fn up(args: &[&str]) -> Result<(Vec<Value>, String, Option<i32>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the tests are in a workspace")?;
    let output = Command::new(binary()?).current_dir(root).arg("up").args(args).output()?;
    let stdout = String::from_utf8(output.stdout)?;
    let lines = stdout.lines().map(|line| serde_json::from_str(line).with_context(|| format!("not JSON: {line}")));
    Ok((lines.collect::<Result<_>>()?, String::from_utf8(output.stderr)?, output.status.code()))
}

fn of_kind<'a>(lines: &'a [Value], kind: &'a str) -> impl Iterator<Item = &'a Value> {
    lines.iter().filter(move |line| line["kind"] == kind)
}

#[test]
fn the_elastic_example_grows_shrinks_and_proves_its_result() {
    let folder = tempfile::tempdir().unwrap();
    let result = format!("RESULT_DIR={}", folder.path().join("out").display());
    let workdir = folder.path().join("work");
    let (lines, errors, code) = up(&[
        "examples/elastic.yaml",
        "--headless",
        "--workdir",
        workdir.to_str().unwrap(),
        "--set",
        "RATE=2000 for 8s, 10000 for 16s, 2000 for 22s",
        "--set",
        "EVENTS=220000",
        "--set",
        &result,
        "--set",
        "autoscaler.scale-down-delay=4s",
    ])
    .unwrap();
    assert_eq!(code, Some(0), "{errors}");
    assert!(lines.iter().all(|line| line["at_ms"].is_i64() && line["kind"].is_string()));
    let decisions: Vec<&Value> = of_kind(&lines, "decision").collect();
    for decision in &decisions {
        assert_eq!(decision["stage"], "window-1", "{decision}");
        assert!(decision["reason"].is_string() && decision["inputs"]["offered_per_s"].is_number(), "{decision}");
    }
    let step = |decision: &&Value| (decision["from"].as_u64().unwrap(), decision["to"].as_u64().unwrap());
    let steps: Vec<(u64, u64)> = decisions.iter().map(step).collect();
    let highest = steps.iter().map(|(_, to)| *to).max().unwrap_or(0);
    // 9,200 bids a second at 3,000 a task need 3.1 tasks, 3.9 at the target utilisation of 80 %.
    assert!((4..=6).contains(&highest), "{steps:?}");
    assert!(steps.iter().any(|(from, to)| to < from), "it shrank: {steps:?}");
    assert!(of_kind(&lines, "rescale").filter(|rescale| rescale["state"] == "done").count() >= 2);
    assert!(of_kind(&lines, "checkpoint").count() >= 3);
    assert!(of_kind(&lines, "sample").count() >= 20);
    let end = lines.last().unwrap();
    assert_eq!((&end["kind"], &end["equal_to_oracle"]), (&Value::from("end"), &Value::from(true)), "{end}");
    assert_eq!(end["late_rows"], 0);
    assert!(errors.contains("Proof: all"), "{errors}");
    assert!(!left_over(&workdir), "a process of the job is left");
}

/// Whether any process still has the work folder on its command line.
fn left_over(workdir: &Path) -> bool {
    let shown = workdir.to_string_lossy();
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut lines = processes.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    lines.any(|line| String::from_utf8_lossy(&line).contains(&*shown))
}
