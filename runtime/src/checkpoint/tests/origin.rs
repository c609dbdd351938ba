//! A job begins with something once.
use super::super::history::{StartFrom, begin_term, claim_term, commit, latest_beside};
use super::super::origin::{Beginning, Begun, beginning};
use super::*;

fn begun(restore: Option<&str>, from: Option<&str>) -> Begun {
    Begun { restore: restore.map(str::to_owned), from: from.map(str::to_owned) }
}

#[test]
fn a_job_begins_once_and_goes_back_once_for_each_wish() {
    let store = MemoryCheckpoints::default();
    let known = |restore| beginning(&store, "n/j/u", restore).unwrap();
    assert_eq!(known(None), Beginning::First);
    let first = begun(None, Some("s3://b/p"));
    begin_term(&store, "n/j/u", (StartFrom::Newest, Some(first.clone())), "", 0).unwrap();
    assert_eq!(known(None), Beginning::Past(Some(first.clone())));
    commit(&store, "n/j/u", &manifest(id(1, 1), vec![])).unwrap();
    claim_term(&store, "n/j/u", StartFrom::Newest, "", 0).unwrap();
    assert_eq!(known(None), Beginning::Past(Some(first)));
    assert_eq!(known(Some("2")), Beginning::Again);
    let back = begun(Some("2"), None);
    let claimed = begin_term(&store, "n/j/u", (StartFrom::Nothing, Some(back.clone())), "", 0).unwrap();
    assert_eq!(claimed.start.map(|manifest| manifest.id()), None);
    assert_eq!(known(Some("2")), Beginning::Past(Some(back.clone())));
    // Whoever comes before its first checkpoint begins with the same.
    let claimed = claim_term(&store, "n/j/u", StartFrom::Newest, "", 0).unwrap();
    assert_eq!(claimed.start.map(|manifest| manifest.id()), None);
    assert_eq!(known(Some("2")), Beginning::Past(Some(back)));
    assert_eq!(known(Some("5")), Beginning::Again);
}

#[test]
fn a_job_of_an_earlier_release_has_begun() {
    let store = MemoryCheckpoints::default();
    claim_term(&store, "n/j/u", StartFrom::Newest, "", 0).unwrap();
    assert_eq!(beginning(&store, "n/j/u", None).unwrap(), Beginning::First);
    commit(&store, "n/j/u", &manifest(id(1, 1), vec![])).unwrap();
    assert_eq!(beginning(&store, "n/j/u", None).unwrap(), Beginning::Past(None));
}

#[test]
fn the_latest_is_of_any_job_of_that_name() {
    let store = MemoryCheckpoints::default();
    for (prefix, created_at_ms) in [("n/j/u", 5), ("n/j/v", 7), ("n/j2/w", 9)] {
        claim_term(&store, prefix, StartFrom::Newest, "", 0).unwrap();
        let mut one = manifest(id(3, 1), vec![]);
        one.created_at_ms = created_at_ms;
        commit(&store, prefix, &one).unwrap();
    }
    let latest = |prefix, own| latest_beside(&store, prefix, own).unwrap().map(|(prefix, _)| prefix);
    assert_eq!(latest("n/j/v", false).as_deref(), Some("n/j/u"));
    assert_eq!(latest("n/j/v", true).as_deref(), Some("n/j/v"));
    assert_eq!(latest("n/j/new", true).as_deref(), Some("n/j/v"));
}
