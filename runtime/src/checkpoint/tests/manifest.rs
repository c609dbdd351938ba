use super::super::Error;
use super::super::manifest::{Expected, Manifest, check_states};
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
    let right = Expected {
        job_name: "orders",
        job_id: Some(manifest.job_id),
        fingerprint: manifest.fingerprint,
        sql_hash: "abc",
        key_groups: 8,
    };
    manifest.check_job(&right).unwrap();
    manifest.check_job(&Expected { job_id: None, ..right }).unwrap();
    let refusal = |expected| manifest.check_job(&expected).unwrap_err().to_string();
    let start = "checkpoint 7 of job 'clicks' does not fit job 'orders': ";
    let job_id = refusal(Expected { job_id: Some(1), ..right });
    assert_eq!(job_id, format!("{start}it belongs to job id fffffffffffffffe, not 0000000000000001"));
    assert!(refusal(Expected { fingerprint: 1, ..right }).contains("this release plans it differently"));
    assert!(refusal(Expected { fingerprint: 1, sql_hash: "def", ..right }).contains("the SQL is not the one"));
    assert!(refusal(Expected { key_groups: 16, ..right }).contains("it has 8 key groups, the job is set to 16"));
}

#[test]
fn differing_states_are_listed() {
    let saved = [registration(0, "window-1", 1), registration(1, "join-1", 1)];
    check_states("s", &saved, &saved).unwrap();
    let planned = [registration(0, "window-1", 2), registration(1, "join-1", 1)];
    let error = check_states("s", &saved, &planned).unwrap_err().to_string();
    assert_eq!(
        error,
        "the states of stage 's' are not those of the checkpoint: \
         saved only: window-1/slices (ordinal 0, codec version 1); \
         planned only: window-1/slices (ordinal 0, codec version 2)"
    );
}
