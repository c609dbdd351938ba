//! Random operations against a store and a sorted map.
use std::path::{Path, PathBuf};

use millstream_api::id::KeyGroup;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::{Content, content, exported, key, of_group};
use crate::state::{Backend, Changes, Cut, Snapshot, Store};

/// One step. Groups and keys are few, so that steps meet.
#[derive(Debug, Clone)]
enum Step {
    Write(Changes),
    DeleteRange(Vec<u8>, Vec<u8>),
    Drop(KeyGroup),
    Import(KeyGroup, Content),
    Cut,
    OpenCut,
    Snapshot,
    CheckSnapshot,
    Track(KeyGroup),
    TakeChanges(KeyGroup),
}

fn any_group() -> impl Strategy<Value = KeyGroup> {
    prop_oneof![0u16..4, Just(255), Just(256)]
}

fn any_key() -> impl Strategy<Value = Vec<u8>> {
    (any_group(), "[a-e]{0,2}").prop_map(|(group, name)| key(group, &name))
}

fn any_value() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..40)
}

fn any_step() -> impl Strategy<Value = Step> {
    let change = (any_key(), proptest::option::weighted(0.7, any_value()));
    let entries = proptest::collection::btree_map("[a-e]{0,2}", any_value(), 0..8);
    prop_oneof![
        8 => proptest::collection::vec(change, 0..12).prop_map(Step::Write),
        3 => (any_key(), any_key()).prop_map(|(from, to)| Step::DeleteRange(from, to)),
        2 => any_group().prop_map(Step::Drop),
        2 => (any_group(), entries).prop_map(|(group, entries)| {
            Step::Import(group, entries.into_iter().map(|(name, value)| (key(group, &name), value)).collect())
        }),
        2 => Just(Step::Cut),
        2 => Just(Step::OpenCut),
        2 => Just(Step::Snapshot),
        2 => Just(Step::CheckSnapshot),
        2 => any_group().prop_map(Step::Track),
        2 => any_group().prop_map(Step::TakeChanges),
    ]
}

struct Run<'a> {
    backend: &'a dyn Backend,
    folder: &'a Path,
    number: usize,
    store: Box<dyn Store>,
    oracle: Content,
    snapshot: Option<(Box<dyn Snapshot>, Content)>,
    cut: Option<(Cut, PathBuf, Content)>,
    tracked: std::collections::BTreeMap<KeyGroup, Content>,
}

impl Run<'_> {
    fn step(&mut self, step: Step) {
        self.number += 1;
        match step {
            Step::Write(changes) => self.write(changes),
            Step::DeleteRange(from, to) => {
                self.store.delete_range(&from, &to).unwrap();
                self.oracle.retain(|key, _| !(from <= *key && *key < to));
            }
            Step::Drop(group) => self.drop_group(group),
            Step::Import(group, entries) => {
                // Nobody tracks what is not here yet.
                self.take_changes(group);
                self.drop_group(group);
                super::import(&mut *self.store, group, entries.clone().into_iter().collect());
                self.oracle.extend(entries);
            }
            Step::Cut => {
                let folder = self.folder.join(format!("cut-{}", self.number));
                self.cut = Some((self.store.cut(&folder).unwrap(), folder, self.oracle.clone()));
            }
            Step::OpenCut => self.open_cut(),
            Step::Snapshot => self.snapshot = Some((self.store.snapshot().unwrap(), self.oracle.clone())),
            Step::CheckSnapshot => {
                for group in [0, 1, 2, 3, 255, 256] {
                    let Some((snapshot, content)) = &self.snapshot else { return };
                    assert_eq!(exported(&**snapshot, group), of_group(content, group));
                }
            }
            Step::Track(group) => {
                self.store.track(group).unwrap();
                self.tracked.insert(group, of_group(&self.oracle, group));
            }
            Step::TakeChanges(group) => self.take_changes(group),
        }
    }

    fn take_changes(&mut self, group: KeyGroup) {
        let Some(mut copy) = self.tracked.remove(&group) else { return };
        apply(&mut copy, super::changes(&mut *self.store, group));
        assert_eq!(copy, of_group(&self.oracle, group), "snapshot and changes make the group");
    }

    /// Goes on with the cut's content in half of the cases, and else with the old store and its tracking.
    fn open_cut(&mut self) {
        let Some((cut, folder, oracle)) = self.cut.take() else { return };
        cut.files().unwrap();
        let mut opened = self.backend.open(&self.folder.join(format!("store-{}", self.number)), &folder).unwrap();
        assert_eq!(content(&mut *opened), oracle, "a cut has what was there, however late it is asked for");
        if self.number.is_multiple_of(2) {
            (self.store, self.oracle) = (opened, oracle);
            self.tracked.clear();
        }
    }

    fn write(&mut self, changes: Changes) {
        self.store.write(changes.clone()).unwrap();
        let keys: Vec<_> = changes.iter().map(|(key, _)| key.clone()).collect();
        apply(&mut self.oracle, changes);
        let wanted: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
        let expected: Vec<_> = keys.iter().map(|key| self.oracle.get(key).cloned()).collect();
        assert_eq!(self.store.multi_get(&wanted).unwrap(), expected);
    }

    fn drop_group(&mut self, group: KeyGroup) {
        self.store.drop_groups(&[group]).unwrap();
        self.oracle.retain(|key, _| !key.starts_with(&group.to_be_bytes()));
    }
}

fn apply(content: &mut Content, changes: Changes) {
    for (key, value) in changes {
        match value {
            Some(value) => content.insert(key, value),
            None => content.remove(&key),
        };
    }
}

/// Runs `cases` random sequences of operations below `folder`; the store must agree with a sorted map at every step.
pub fn check_random(backend: &dyn Backend, folder: &Path, cases: u32) {
    let case = std::cell::Cell::new(0);
    let steps = proptest::collection::vec(any_step(), 1..60);
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&steps, |steps| {
        case.set(case.get() + 1);
        let folder = folder.join(format!("case-{}", case.get()));
        let store = backend.create(&folder.join("store")).unwrap();
        let (oracle, tracked) = (Content::new(), std::collections::BTreeMap::new());
        let mut run = Run { backend, folder: &folder, number: 0, store, oracle, snapshot: None, cut: None, tracked };
        for step in steps {
            run.step(step);
            assert_eq!(content(&mut *run.store), run.oracle);
        }
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}
