//! Groups on their way from store to store while both are used.
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use millstream_api::id::KeyGroup;

use super::{Content, changes, content, cut, key, of_group, put};
use crate::exchange::Wake;
use crate::state::part::Builder;
use crate::state::parts::{Next, Urgency, Wanted};
use crate::state::{Arrival, Backend, Changes, Store};

const PART_BYTES: usize = 64 << 10;

fn wake() -> Arc<dyn Wake> {
    Arc::new(std::thread::current())
}

/// The parts of these groups. Meanwhile, the store is written to.
fn parts(store: &mut dyn Store, groups: &[KeyGroup], urgency: Urgency) -> Vec<(KeyGroup, Bytes)> {
    let wanted = Wanted { groups: groups.to_vec(), part_bytes: PART_BYTES, urgency };
    let mut parts = store.snapshot().unwrap().into_parts(wanted, wake()).unwrap();
    let mut all: Vec<(KeyGroup, Bytes)> = Vec::new();
    loop {
        match parts.next().unwrap() {
            Next::Part(group, part) => {
                assert!(part.len() < PART_BYTES + 4096 && groups.contains(&group), "{} of {group}", part.len());
                all.push((group, part));
                groups.iter().for_each(|group| put(store, *group, &[("meanwhile", &format!("{}", all.len()))]));
            }
            Next::Later => std::thread::park(),
            Next::End => return all,
        }
    }
}

fn encoded(changes: &Changes) -> Bytes {
    let mut builder = Builder::default();
    changes.iter().for_each(|(key, value)| builder.push(key, value.as_deref()));
    builder.finish()
}

/// Loads entries of a group, and waits until they can be read.
pub fn import(store: &mut dyn Store, group: KeyGroup, entries: Vec<(Vec<u8>, Vec<u8>)>) {
    let changes: Changes = entries.into_iter().map(|(key, value)| (key, Some(value))).collect();
    store.take_in(0, Arrival::Entries(group, encoded(&changes)), Urgency::Awaited, &wake()).unwrap();
    settle(store);
}

fn settle(store: &mut dyn Store) {
    while !store.settle().unwrap() {
        std::thread::park();
    }
    assert_eq!(store.waiting_bytes(), 0);
}

/// Groups large and small, from two places at once, with changes behind them, into a store that goes on with another group whose number
/// is in between.
pub(super) fn groups_come_while_stores_are_used(backend: &dyn Backend, folder: &Path) {
    let value = "x".repeat(500);
    let names: Vec<String> = (0..5000).map(|number| format!("{number:05}")).collect();
    let large: Vec<_> = names.iter().map(|name| (name.as_str(), value.as_str())).collect();
    let mut homes: Vec<_> =
        ["one", "two"].map(|name| backend.create(&folder.join(name)).unwrap()).into_iter().collect();
    let groups: [&[KeyGroup]; 2] = [&[1, 2, 6], &[3, 7]];
    put(&mut *homes[0], 1, &large);
    put(&mut *homes[0], 2, &large[..3]);
    put(&mut *homes[0], 6, &large);
    put(&mut *homes[1], 3, &large);
    let mut away = backend.create(&folder.join("away")).unwrap();
    put(&mut *away, 4, &[("own", "0")]);
    let mut expected = Content::new();
    let mut arriving = Vec::new();
    for (from, (home, groups)) in homes.iter_mut().zip(groups).enumerate() {
        groups.iter().for_each(|group| home.track(*group).unwrap());
        arriving.extend(
            parts(&mut **home, groups, Urgency::Ahead)
                .into_iter()
                .enumerate()
                .map(|(at, part)| (at, from as u64, part)),
        );
    }
    arriving.sort_by_key(|(at, from, _)| (*at, *from));
    for (at, from, (group, entries)) in arriving {
        away.take_in(from, Arrival::Entries(group, entries), Urgency::Ahead, &wake()).unwrap();
        put(&mut *away, 4, &[("own", &at.to_string())]);
        assert_eq!(away.get(&key(4, "own")).unwrap(), Some(at.to_string().into_bytes()));
    }
    for (from, (home, groups)) in homes.iter_mut().zip(groups).enumerate() {
        home.write(vec![(key(groups[0], "00007"), None), (key(groups[0], "00008"), Some(b"late".to_vec()))]).unwrap();
        for group in groups {
            let changes = changes(&mut **home, *group);
            away.take_in(from as u64, Arrival::Changes(encoded(&changes)), Urgency::Ahead, &wake()).unwrap();
            expected.extend(of_group(&content(&mut **home), *group));
        }
    }
    settle(&mut *away);
    expected.extend(of_group(&content(&mut *away), 4));
    // What comes later is changes of what is there: nobody waits for them.
    let late = [(key(1, "00009"), Some(b"later".to_vec())), (key(1, "00010"), None)];
    away.take_in(0, Arrival::Changes(encoded(&late.to_vec())), Urgency::Ahead, &wake()).unwrap();
    expected.insert(late[0].0.clone(), b"later".to_vec());
    expected.remove(&late[1].0);
    assert!(content(&mut *away) == expected, "{} entries", expected.len());
    cut(&mut *away, &folder.join("cut"));
    let mut opened = backend.open(&folder.join("opened"), &folder.join("cut")).unwrap();
    assert!(content(&mut *opened) == expected);
}

/// What was to come and does not leaves nothing behind, and can come anew.
pub(super) fn groups_that_do_not_come_are_gone(backend: &dyn Backend, folder: &Path) {
    let value = "x".repeat(500);
    let names: Vec<String> = (0..5000).map(|number| format!("{number:05}")).collect();
    let large: Vec<_> = names.iter().map(|name| (name.as_str(), value.as_str())).collect();
    let mut home = backend.create(&folder.join("home")).unwrap();
    let mut away = backend.create(&folder.join("away")).unwrap();
    put(&mut *home, 1, &large);
    put(&mut *home, 2, &large[..3]);
    let parts = parts(&mut *home, &[1, 2], Urgency::Awaited);
    for count in [3, parts.len() - 1, parts.len()] {
        for (group, entries) in &parts[..count] {
            away.take_in(0, Arrival::Entries(*group, entries.clone()), Urgency::Ahead, &wake()).unwrap();
        }
        away.forsake();
        assert_eq!(away.waiting_bytes(), 0);
        away.drop_groups(&[1, 2]).unwrap();
        assert_eq!(content(&mut *away), Content::new(), "after {count} parts");
    }
    for (group, entries) in &parts {
        away.take_in(0, Arrival::Entries(*group, entries.clone()), Urgency::Ahead, &wake()).unwrap();
    }
    settle(&mut *away);
    let mut found = content(&mut *away);
    found.remove(&key(2, "meanwhile"));
    assert_eq!(found.len(), large.len() + 3, "as of the snapshot");
    // Parts that are not what they say are refused, at the latest in the end.
    let part = |group| encoded(&vec![(key(group, "a"), Some(Vec::new()))]);
    let (whole, torn) = (part(8), part(8).slice(..4));
    for (arrivals, reason) in [
        (vec![Arrival::Entries(8, part(9))], "belongs to group 9, not to 8"),
        (vec![Arrival::Entries(8, whole), Arrival::Changes(torn)], "a key ends behind it"),
    ] {
        let taken = arrivals.into_iter().try_for_each(|arrival| away.take_in(0, arrival, Urgency::Ahead, &wake()));
        let refused = taken.and_then(|()| {
            loop {
                match away.settle() {
                    Ok(false) => std::thread::park(),
                    other => break other.map(|_| ()),
                }
            }
        });
        let said = refused.unwrap_err().to_string();
        assert!(said.contains(reason), "{said}");
        assert_eq!(away.waiting_bytes(), 0, "whoever waits for room hears of it");
        away.forsake();
    }
}

/// Groups go while the store is used, and may come again at once.
pub(super) fn groups_go_while_the_store_is_used(backend: &dyn Backend, folder: &Path) {
    let value = "x".repeat(500);
    let names: Vec<String> = (0..3000).map(|number| format!("{number:05}")).collect();
    let large: Vec<_> = names.iter().map(|name| (name.as_str(), value.as_str())).collect();
    let mut store = backend.create(&folder.join("store")).unwrap();
    let all = [1, 2, 3, 5, 6, 9];
    for (round, (groups, kept)) in
        [(&[2, 3][..], &[1, 5, 6, 9][..]), (&[1, 2, 5, 9], &[3, 6]), (&all, &[])].into_iter().enumerate()
    {
        for group in all {
            put(&mut *store, group, &large);
        }
        cut(&mut *store, &folder.join(format!("before-{round}")));
        store.let_go(groups, kept, &wake()).unwrap();
        let mut rounds = 0;
        loop {
            let gone = store.has_let_go().unwrap();
            for group in kept {
                // A kept group without an entry before is next to those that go.
                put(&mut *store, *group, &[("meanwhile", &rounds.to_string())]);
            }
            rounds += 1;
            if gone {
                break;
            }
        }
        let mut expected = Content::new();
        for group in kept {
            expected.extend(large.iter().map(|(name, value)| (key(*group, name), value.as_bytes().to_vec())));
            expected.insert(key(*group, "meanwhile"), (rounds - 1).to_string().into_bytes());
        }
        assert!(content(&mut *store) == expected, "round {round}");
        cut(&mut *store, &folder.join(format!("after-{round}")));
        assert!(content(&mut *store) == expected, "round {round}, in files");
    }
    // Those that go are waited for by those that come.
    put(&mut *store, 1, &large);
    store.let_go(&[1], &[], &wake()).unwrap();
    import(&mut *store, 1, vec![(key(1, "again"), b"1".to_vec())]);
    assert_eq!(content(&mut *store), Content::from([(key(1, "again"), b"1".to_vec())]));
    store.let_go(&[1], &[], &wake()).unwrap();
    let part = encoded(&vec![(key(1, "once more"), Some(b"2".to_vec()))]);
    store.take_in(0, Arrival::Entries(1, part), Urgency::Ahead, &wake()).unwrap();
    settle(&mut *store);
    assert_eq!(content(&mut *store), Content::from([(key(1, "once more"), b"2".to_vec())]));
    // A store may be closed meanwhile.
    store.let_go(&[1], &[], &wake()).unwrap();
}
