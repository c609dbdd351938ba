use clap::Parser;

use super::*;
use crate::args::{Args, Command, JobCommand};

fn status() -> RescaleStatus {
    RescaleStatus {
        id: 3,
        from: [("a".into(), 1), ("window-1".into(), 2)].into(),
        to: [("a".into(), 1), ("window-1".into(), 4)].into(),
        ..RescaleStatus::default()
    }
}

fn asked(args: &[&str]) -> Result<RescaleArgs, String> {
    let args = Args::try_parse_from([&["millstream", "job", "rescale"], args].concat());
    match args.map_err(|error| error.to_string())?.command {
        Command::Job(job) => match job.command {
            JobCommand::Rescale(rescale) => Ok(rescale),
            _ => Err("another command".into()),
        },
        _ => Err("another command".into()),
    }
}

#[test]
fn the_plan_stands_beside_the_least_there_is() {
    let estimate = RescaleEstimate {
        groups: 130,
        groups_min: 128,
        bytes: 3 << 20,
        bytes_min: 3 << 19,
        duration_ms: 12_340,
        pause_ms: 130,
    };
    let plan = RescaleStatus { id: 0, state: RescaleState::Planned, estimate: Some(estimate), ..status() };
    assert_eq!(
        plan_text(&plan),
        "plan  window-1 2 -> 4  incremental\n  moves 130 key groups (at least 128), 3.0 MiB of state (at least 1.5 MiB)\n  \
         takes about 12.3 s, a key group is held for up to 130 ms"
    );
    let nothing = RescaleStatus { estimate: Some(RescaleEstimate::default()), to: status().from, ..plan };
    assert_eq!(plan_text(&nothing), "plan  the same tasks  incremental  no key group moves");
}

#[test]
fn progress_and_result_read_as_lines() {
    let running = RescaleStatus {
        batches_done: 2,
        batches: Some(12),
        bytes_moved: 1536,
        pause_ms_max: Some(40),
        step: "copying".into(),
        ..status()
    };
    assert_eq!(
        progress_text(&running),
        "rescale 3  running  batch 3 of 12  1.5 KiB moved  longest pause 40 ms  copying"
    );
    assert_eq!(result_text(&running), "rescale 3  running  window-1 2 -> 4");
    let done = RescaleStatus {
        state: RescaleState::Done,
        duration_ms: Some(640),
        groups_moved: 128,
        groups_moved_min: 128,
        pause_ms_p50: Some(12),
        ..running
    };
    assert_eq!(
        result_text(&done),
        "rescale 3  done  window-1 2 -> 4  640 ms  128 key groups moved, 128 had to  1.5 KiB in 2 batches  \
         held for 12 ms mostly, 40 ms at most"
    );
    let failed = RescaleStatus { state: RescaleState::Failed, reason: Some("w1 was lost".into()), ..status() };
    let expected = "rescale 3  failed  window-1 2 -> 4  (w1 was lost)  0 key groups moved, 0 had to";
    assert_eq!(result_text(&failed), expected);
}

#[test]
fn options_become_the_request() {
    let args = asked(&["--stage", "a=2", "--rebalance", "b", "--batch", "fluid", "--no-wait"]).unwrap();
    let expected = RescaleRequest {
        stages: [("a".into(), 2)].into(),
        expect: Some(Expect::at(7)),
        rebalance: vec!["b".into()],
        batch: Batching::Fluid,
        ..RescaleRequest::default()
    };
    assert_eq!(request(&args, 7).unwrap(), expected);
    let args = asked(&["--stage", "a=2", "--strategy", "restart", "--batch", "fluid"]).unwrap();
    let error = request(&args, 7).unwrap_err().to_string();
    assert_eq!(error, "--batch is for --strategy incremental; the others move all at once");
    for (args, part) in
        [(&[][..], "--stage"), (&["--cancel", "--stage", "a=1"], "cannot be used"), (&["--dry-run"], "--stage")]
    {
        let error = asked(args).err().unwrap_or_default();
        assert!(error.contains(part), "{args:?}: {error}");
    }
    assert!(asked(&["--cancel"]).unwrap().cancel);
}

#[test]
fn a_table_is_read_or_refused_with_what_to_write() {
    let folder = std::env::temp_dir().join(format!("millstream-table-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("table.json");
    std::fs::write(&file, r#"{"window-1": [1, 2]}"#).unwrap();
    assert_eq!(read_tables(&file).unwrap(), [("window-1".into(), vec![1, 2])].into());
    std::fs::write(&file, "[1]").unwrap();
    let error = read_tables(&file).unwrap_err().to_string();
    assert!(error.contains("table.json: ") && error.contains("{\"window-1\": [4, 4, 5, 5]}"), "{error}");
    let error = read_tables(&folder.join("none")).unwrap_err().to_string();
    assert!(error.contains("cannot be read"), "{error}");
    std::fs::remove_dir_all(folder).unwrap();
}
