use super::super::Error;
use super::super::manifest::{Expected, Manifest};
use super::super::mapping::{Planned, PlannedStage};
use super::*;

fn example() -> Manifest {
    let file = FileEntry { name: "a".into(), path: "job/files/a".into(), bytes: 3, crc32: u32::MAX, immutable: true };
    manifest(id(7, 2), vec![task(4, (0..8).collect(), u64::MAX, vec![file])])
}

#[test]
fn what_is_written_is_read_back() {
    let manifest = example();
    let file = manifest.encode().unwrap();
    assert_eq!(Manifest::decode("m", &file).unwrap(), manifest);
    assert_eq!(file, Manifest::decode("m", &file).unwrap().encode().unwrap(), "the same manifest gives the same bytes");
    assert_eq!((manifest.files().count(), manifest.state_bytes()), (1, 10));
    assert!(manifest.stage("window-1").is_some() && manifest.stage("window-2").is_none());
}

#[test]
fn every_flipped_byte_and_every_cut_is_noticed() {
    let file = example().encode().unwrap();
    for at in 0..file.len() {
        let mut broken = file.to_vec();
        broken[at] ^= 0x01;
        if let Ok(read) = Manifest::decode("m", &broken) {
            // White space between header fields means nothing.
            assert_eq!(read, example(), "flip at {at}");
        }
        assert!(matches!(Manifest::decode("m", &file[..at]), Err(Error::Corrupt { .. })), "cut at {at}");
    }
}

#[test]
fn a_newer_format_is_refused_by_number() {
    let file = example().encode().unwrap();
    let text =
        std::str::from_utf8(&file).unwrap().replacen("\"millstream_manifest\":1", "\"millstream_manifest\":2", 1);
    let error = Manifest::decode("cp/m.json", text.as_bytes()).unwrap_err().to_string();
    assert_eq!(error, "cp/m.json has manifest format version 2; this program reads up to 1: use a newer release");
}

#[test]
fn another_jobs_checkpoint_is_refused_with_the_reason() {
    let manifest = example();
    let stages = manifest.stages.iter().map(|stage| PlannedStage {
        name: stage.name.clone(),
        input: stage.input,
        states: stage.states.clone(),
    });
    let same = Planned { fingerprint: manifest.fingerprint, stages: stages.collect() };
    let right =
        Expected { job_name: "orders", job_id: Some(manifest.job_id), planned: &same, drop_state: &[], key_groups: 8 };
    manifest.check_job(&right).unwrap();
    manifest.check_job(&Expected { job_id: None, ..right }).unwrap();
    let refusal = |expected| manifest.check_job(&expected).unwrap_err().to_string();
    let start = "checkpoint 7 of job 'clicks' does not fit job 'orders': ";
    let job_id = refusal(Expected { job_id: Some(1), ..right });
    assert_eq!(job_id, format!("{start}it belongs to job id fffffffffffffffe, not 0000000000000001"));
    assert!(refusal(Expected { key_groups: 16, ..right }).contains("it has 8 key groups, the job is set to 16"));
    // Another graph with the same state fits; with other state it does not.
    let mut other = Planned { fingerprint: 1, ..same.clone() };
    manifest.check_job(&Expected { planned: &other, ..right }).unwrap();
    other.stages[0].states[0].codec_version = 2;
    assert_eq!(
        refusal(Expected { planned: &other, ..right }),
        "state of checkpoint 7 has no place in this job: window-1/slices (it is stored in another way now); leave these parts of \
         the SQL as they were, or give their state up: upgrade.dropState: [window-1]"
    );
}
