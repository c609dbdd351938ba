use std::sync::Mutex;

use proptest::prelude::*;

use super::super::Error;
use super::super::history::{Chain, StartFrom, claim_term, commit, newest};
use super::super::paths;
use super::super::store::{Call, Failure, Operation};
use super::*;

fn claim(store: &MemoryCheckpoints, from: StartFrom) -> (Term, Option<ManifestId>) {
    let claimed = claim_term(store, "job", from, "test", 0).unwrap();
    (claimed.term, claimed.start.map(|manifest| manifest.id()))
}

fn commit_empty(store: &MemoryCheckpoints, epoch: Epoch, term: Term) -> Result<String, Error> {
    commit(store, "job", &manifest(id(epoch, term), Vec::new()))
}

fn newest_id(store: &MemoryCheckpoints) -> Option<ManifestId> {
    newest(store, "job").unwrap().manifest.map(|manifest| manifest.id())
}

#[test]
fn a_new_term_goes_on_where_the_last_one_ended() {
    let store = MemoryCheckpoints::default();
    assert_eq!(claim(&store, StartFrom::Newest), (1, None));
    assert_eq!(newest_id(&store), None);
    let path = commit_empty(&store, 1, 1).unwrap();
    assert_eq!(path, "job/manifests/00000000000000000001-0000000001.json");
    commit_empty(&store, 2, 1).unwrap();
    commit_empty(&store, 2, 1).unwrap();
    assert_eq!(newest_id(&store), Some(id(2, 1)));
    assert_eq!(claim(&store, StartFrom::Newest), (2, Some(id(2, 1))));
    // The old coordinator does not know yet.
    assert!(matches!(commit_empty(&store, 9, 1), Err(Error::Fenced { term: 1, by: 2 })));
    assert_eq!(newest_id(&store), Some(id(2, 1)), "its last manifest does not count");
    commit_empty(&store, 3, 2).unwrap();
    assert_eq!(claim(&store, StartFrom::Newest), (3, Some(id(3, 2))));
}

#[test]
fn two_coordinators_of_one_term_are_noticed() {
    let store = MemoryCheckpoints::default();
    claim(&store, StartFrom::Newest);
    commit_empty(&store, 1, 1).unwrap();
    let mut other = manifest(id(1, 1), Vec::new());
    other.generation = 5;
    assert!(matches!(commit(&store, "job", &other), Err(Error::Conflict { .. })));
}

#[test]
fn an_older_manifest_can_be_gone_back_to() {
    let store = MemoryCheckpoints::default();
    claim(&store, StartFrom::Newest);
    (1..5).for_each(|epoch| drop(commit_empty(&store, epoch, 1).unwrap()));
    assert_eq!(claim(&store, StartFrom::Exactly(id(2, 1))), (2, Some(id(2, 1))));
    assert_eq!(newest_id(&store), Some(id(2, 1)), "what came after it does not count any more");
    assert!(matches!(claim_term(&store, "job", StartFrom::Exactly(id(9, 1)), "", 0), Err(Error::NotFound { .. })));
    assert_eq!(claim(&store, StartFrom::Newest), (4, Some(id(2, 1))), "a term without a start is passed over");
    assert_eq!(claim(&store, StartFrom::Nothing), (5, None));
    assert_eq!(newest_id(&store), None);
}

#[test]
fn corrupt_manifests_are_passed_over_with_the_reason_and_newer_formats_are_not() {
    let store = MemoryCheckpoints::default();
    claim(&store, StartFrom::Newest);
    commit_empty(&store, 1, 1).unwrap();
    store.put(&paths::manifest("job", id(2, 1)), "{}".into()).unwrap();
    let mut misplaced = manifest(id(1, 1), Vec::new()).encode().unwrap().to_vec();
    store.put(&paths::manifest("job", id(3, 1)), misplaced.clone().into()).unwrap();
    let found = newest(&store, "job").unwrap();
    assert_eq!(found.manifest.unwrap().id(), id(1, 1));
    assert_eq!(found.skipped.iter().map(|skipped| skipped.id).collect::<Vec<_>>(), [id(3, 1), id(2, 1)]);
    assert!(found.skipped[1].reason.contains("header"), "{:?}", found.skipped);
    misplaced[b"{\"millstream_manifest\":".len()] = b'7';
    store.put(&paths::manifest("job", id(4, 1)), misplaced.into()).unwrap();
    assert!(matches!(newest(&store, "job"), Err(Error::NewerFormat { found: 7, .. })));
}

#[test]
fn a_chain_ends_where_a_term_started_from_nothing() {
    let starts = BTreeMap::from([(1, None), (2, Some(id(4, 1))), (3, None), (5, Some(id(9, 3))), (6, Some(id(12, 5)))]);
    let chain = Chain::new(&starts);
    let all = [id(13, 6), id(12, 5), id(14, 5), id(9, 3), id(8, 3), id(10, 3), id(4, 1), id(5, 2)];
    assert_eq!(chain.order(all), [id(13, 6), id(12, 5), id(9, 3), id(8, 3)]);
    assert!(!Chain::default().has(id(1, 1)));
}

/// A zombie commits at the worst moment: at any call that its successor makes while it claims its term. Either the successor
/// starts from the zombie's manifest, or the zombie is told that it has ended.
#[test]
fn a_commit_during_a_claim_is_seen_by_one_of_the_two() {
    for moment in 0..12 {
        let store = MemoryCheckpoints::default();
        claim(&store, StartFrom::Newest);
        let (calls, outcome) = (Arc::new(Mutex::new(0)), Arc::new(Mutex::new(None)));
        let (zombie, seen) = (store.clone(), outcome.clone());
        store.set_fault(Some(Arc::new(move |_: Call<'_>| {
            *calls.lock().unwrap() += 1;
            if *calls.lock().unwrap() == moment + 1 {
                zombie.set_fault(None);
                *seen.lock().unwrap() = Some(commit_empty(&zombie, 1, 1).is_ok());
            }
            None
        })));
        let (term, start) = claim(&store, StartFrom::Newest);
        store.set_fault(None);
        let acted = *outcome.lock().unwrap();
        assert_eq!(term, 2);
        match acted {
            None => assert_eq!(start, None),
            Some(true) => assert_eq!(start, Some(id(1, 1)), "moment {moment}"),
            Some(false) => {}
        }
        if moment < 4 {
            assert!(acted.is_some(), "the claim makes at least four calls");
        }
    }
}

#[derive(Debug, Clone)]
enum Act {
    Claim(usize),
    Commit(usize),
}

proptest! {
    /// Several coordinators claim and commit in turn, with calls that fail before or after their effect. Whatever a coordinator
    /// was told is committed stays on the chain of everybody later.
    #[test]
    fn what_was_acknowledged_is_never_lost(
        acts in proptest::collection::vec(
            prop_oneof![(0usize..3).prop_map(Act::Claim), (0usize..3).prop_map(Act::Commit), (0usize..3).prop_map(Act::Commit)],
            1..30,
        ),
        failures in proptest::collection::vec(0u8..20, 200),
    ) {
        let store = MemoryCheckpoints::default();
        let failures = Mutex::new(failures.into_iter());
        store.set_fault(Some(Arc::new(move |call: Call<'_>| {
            let failure = match failures.lock().unwrap().next() {
                Some(0) => Some(Failure::Before),
                Some(1) => Some(Failure::After),
                _ => None,
            };
            failure.filter(|_| call.operation != Operation::Delete)
        })));
        let mut terms: [Option<Term>; 3] = [None; 3];
        let (mut epoch, mut acknowledged) = (0, Vec::<ManifestId>::new());
        for act in acts {
            match act {
                Act::Claim(who) => {
                    terms[who] = None;
                    if let Ok(claimed) = claim_term(&store, "job", StartFrom::Newest, "", 0) {
                        let start = claimed.start.map(|manifest| manifest.id());
                        prop_assert!(acknowledged.last() <= start.as_ref(), "{:?} is passed over for {:?}", acknowledged, start);
                        terms[who] = Some(claimed.term);
                    }
                }
                Act::Commit(who) => {
                    let Some(term) = terms[who] else { continue };
                    epoch += 1;
                    if commit_empty(&store, epoch, term).is_ok() {
                        acknowledged.push(id(epoch, term));
                    }
                }
            }
        }
        store.set_fault(None);
        let chain = Chain::new(&super::super::history::terms(&store, "job").unwrap().starts);
        for id in acknowledged {
            prop_assert!(chain.has(id), "{} is lost", id);
        }
    }
}
