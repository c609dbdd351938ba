//! `bench rescale` end to end, small: what it reports is there and adds up, and nothing is lost.
use millstream_tests::process::millstream;
use serde_json::Value;

fn number(object: &Value, path: &str) -> u64 {
    object.pointer(path).and_then(Value::as_u64).unwrap_or_else(|| panic!("no {path} in {object}"))
}

#[test]
fn a_restart_is_measured_out_and_back() {
    let folder = tempfile::tempdir().unwrap();
    let svg = folder.path().join("latency.svg");
    let picture = svg.to_str().unwrap();
    let size = ["--keys", "20000", "--value-bytes", "32", "--rate", "2000", "--seconds", "1", "--state", "memory"];
    let how = ["bench", "rescale", "--preset", "flink", "--strategy", "restart", "--json", "--svg", picture];
    let done = millstream(&[&how[..], &size].concat()).unwrap().success().unwrap();
    let objects: Vec<Value> = done.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(objects.len(), 2, "{}", done.stdout);
    for (object, (from, to)) in objects.iter().zip([(1, 2), (2, 1)]) {
        assert_eq!(
            (object["strategy"].as_str(), number(object, "/from"), number(object, "/to")),
            (Some("restart"), from, to)
        );
        let faults = ["/lost", "/duplicated", "/reordered"].map(|name| number(object, name));
        assert_eq!(faults, [0, 0, 0], "{object}");
        assert_eq!((number(object, "/groups_moved"), number(object, "/min_groups")), (128, 128));
        let (state, least, moved) =
            (number(object, "/state_bytes"), number(object, "/min_bytes"), number(object, "/bytes_moved"));
        assert_eq!(least, state / 2);
        // A restart reads all state again; what an entry takes is known within few bytes.
        assert!(moved.abs_diff(state) < state / 50, "{object}");
        for phase in ["before", "during"] {
            let latency =
                ["p50", "p99", "p999", "max"].map(|name| number(object, &format!("/latency_ms/{phase}/{name}")));
            assert!(latency.is_sorted(), "{object}");
            assert!(number(object, &format!("/output_gap_ms_max/{phase}")) > 0);
        }
        assert!(number(object, "/latency_ms/during/max") >= number(object, "/latency_ms/before/p50"));
        assert!(number(object, "/duration_ms") > 0 && number(object, "/copy_bytes_per_s") > 0);
        assert!(object["rss_peak_extra_bytes"].is_u64() && object["latency_ms"]["after"]["max"].is_u64(), "{object}");
    }
    let drawn = std::fs::read_to_string(svg).unwrap();
    assert!(drawn.starts_with("<svg ") && drawn.contains("restart: 20,000 keys of 32 bytes"));
}

#[test]
fn a_mistake_on_the_command_line_starts_nothing() {
    let done = millstream(&["bench", "rescale", "--from", "2", "--to", "2"]).unwrap();
    assert_eq!(done.status.code(), Some(2));
    assert_eq!(done.stderr.lines().last(), Some("error: --from 2 --to 2: give two different numbers from 1 to 256"));
}
