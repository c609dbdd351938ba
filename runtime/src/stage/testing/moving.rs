//! Two tasks between which key groups move while they work, and one task per group that never moves and is told the same:
//! together they must say the same.
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use millstream_api::id::KeyGroup;
use millstream_sql::graph::OpSpec;
use proptest::prelude::*;

use super::{GROUPS, Plan, entries, rows_of, store};
use crate::batch::{Batch, ChangeKind};
use crate::stage::Flow;
use crate::stage::chain::{Chain, ChainInput, Env, Item};
use crate::state::{Store, conformance};

/// What happens to the tasks.
#[derive(Debug, Clone)]
pub(crate) enum Event<R> {
    /// What the test makes rows of.
    Rows(R),
    /// A task's watermark grows.
    Watermark(usize, i64),
    /// A barrier passes all chains.
    Barrier,
    /// All tasks start again from their stores after a barrier.
    Restart,
    /// Groups begin to leave this task, unless a move is under way.
    Move(usize, u8),
    /// The move takes its next step: the groups change hands, then the guest has caught up.
    Proceed,
    /// The guest takes this many of the elements held for it.
    Replay(usize),
}

/// Events, of which about half are rows.
pub(crate) fn event<R: std::fmt::Debug + Clone>(rows: impl Strategy<Value = R>) -> impl Strategy<Value = Event<R>> {
    prop_oneof![
        8 => rows.prop_map(Event::Rows),
        4 => (0usize..2, 0i64..8).prop_map(|(task, by)| Event::Watermark(task, by)),
        1 => Just(Event::Barrier),
        1 => Just(Event::Restart),
        3 => (0usize..2, 1u8..).prop_map(|(from, groups)| Event::Move(from, groups)),
        5 => Just(Event::Proceed),
        1 => (1usize..4).prop_map(Event::Replay),
    ]
}

/// What comes out: all rows in the order in which they left, and the number of late rows.
#[derive(Default)]
struct Outcome {
    rows: Vec<Batch>,
    late_rows: u64,
}

/// A chain and what it needs. The guest borrows the store of its host.
struct Host {
    chain: Chain,
    store: Box<dyn Store>,
    groups: Vec<KeyGroup>,
    watermark_ms: i64,
}

/// A port and its rows.
type Rows = (usize, Batch);

/// What a store has of a group.
type Entries = Vec<(Vec<u8>, Vec<u8>)>;

/// Groups on their way.
struct Transfer {
    from: usize,
    groups: Vec<KeyGroup>,
    copied: BTreeMap<KeyGroup, Entries>,
    /// Takes the rows of the groups once these have changed hands.
    guest: Option<Chain>,
    held: VecDeque<Rows>,
    /// What the next owner reads before there are rows for it.
    hot: Vec<Vec<u8>>,
}

/// See the module.
pub(crate) struct World {
    ops: Vec<OpSpec>,
    input: ChainInput,
    cache_bytes: usize,
    hosts: [Host; 2],
    transfer: Option<Transfer>,
    moved: Outcome,
    /// By group.
    resting: Vec<Host>,
    rested: Outcome,
    /// How often groups have changed hands.
    pub moves: usize,
}

fn call<T>(
    (chain, store, groups): (&mut Chain, &mut dyn Store, &[KeyGroup]),
    outcome: &mut Outcome,
    visit: impl FnOnce(&mut Chain, &mut Env<'_>) -> T,
) -> T {
    let mut output = Vec::new();
    let late_rows = chain.late_rows();
    let answer = visit(chain, &mut Env { store, groups, output: &mut output });
    outcome.late_rows += chain.late_rows() - late_rows;
    outcome.rows.extend(output.into_iter().filter_map(|item| match item {
        Item::Rows(batch) => Some(batch),
        Item::Watermark(_) | Item::Idle => None,
    }));
    answer
}

fn advance(chain: &mut Chain, watermark_ms: i64, env: &mut Env<'_>) {
    while chain.watermark(watermark_ms, env).unwrap() == Flow::More {}
}

impl Host {
    fn call<T>(&mut self, outcome: &mut Outcome, visit: impl FnOnce(&mut Chain, &mut Env<'_>) -> T) -> T {
        call((&mut self.chain, &mut *self.store, &self.groups), outcome, visit)
    }

    fn watermark(&mut self, watermark_ms: i64, outcome: &mut Outcome) {
        if watermark_ms > self.watermark_ms {
            self.watermark_ms = watermark_ms;
            self.call(outcome, |chain, env| advance(chain, watermark_ms, env));
        }
    }
}

impl World {
    /// Of one op.
    pub fn of(plan: Plan) -> Self {
        let input = ChainInput { schema: plan.input, schema2: plan.input2, updating: plan.updating };
        Self::new(vec![plan.spec], input, plan.cache_bytes)
    }

    pub fn new(ops: Vec<OpSpec>, input: ChainInput, cache_bytes: usize) -> Self {
        let chain = || Chain::new(&ops, &input, cache_bytes).unwrap();
        let host = |groups: Vec<KeyGroup>| Host { chain: chain(), store: store(), groups, watermark_ms: -1 };
        let hosts = [0, 1].map(|task| host((0..GROUPS).filter(|group| group % 2 == task).collect()));
        let resting = (0..GROUPS).map(|group| host(vec![group])).collect();
        let (moved, rested) = Default::default();
        Self { input: input.clone(), cache_bytes, hosts, transfer: None, moved, resting, rested, moves: 0, ops }
    }

    fn chain(&self) -> Chain {
        Chain::new(&self.ops, &self.input, self.cache_bytes).unwrap()
    }

    /// Rows, each with its group, to whoever owns it.
    pub fn push(&mut self, port: usize, batch: &Batch) {
        let groups = batch.groups.clone().unwrap();
        let part = |wanted: &dyn Fn(KeyGroup) -> bool| {
            let rows: Vec<u32> = (0..groups.len() as u32).filter(|row| wanted(groups[*row as usize])).collect();
            Some(batch.take(&rows.into()).unwrap()).filter(|part| part.num_rows() > 0)
        };
        for host in &mut self.hosts {
            if let Some(part) = part(&|group| host.groups.contains(&group)) {
                host.call(&mut self.moved, |chain, env| chain.push(port, part, env)).unwrap();
            }
        }
        if let Some(transfer) = self.transfer.as_mut().filter(|transfer| transfer.guest.is_some()) {
            transfer.held.extend(part(&|group| transfer.groups.contains(&group)).map(|part| (port, part)));
        }
        // A group that never moves is told of rows when the guest is.
        let held = self.transfer.as_ref().filter(|transfer| transfer.guest.is_some());
        let held = held.map(|transfer| transfer.groups.clone()).unwrap_or_default();
        for group in (0..GROUPS).filter(|group| !held.contains(group)) {
            if let Some(part) = part(&|other| other == group) {
                self.rest(group, port, part);
            }
        }
    }

    fn rest(&mut self, group: KeyGroup, port: usize, part: Batch) {
        self.resting[usize::from(group)].call(&mut self.rested, |chain, env| chain.push(port, part, env)).unwrap();
    }

    /// Anything but rows.
    pub fn step<R>(&mut self, event: &Event<R>) {
        match event {
            Event::Rows(_) => {}
            Event::Watermark(task, by) => self.watermark(*task, self.hosts[*task].watermark_ms + by),
            Event::Barrier => self.barrier(),
            Event::Restart => self.restart(),
            Event::Move(from, groups) => self.begin(*from, *groups),
            Event::Proceed => match &self.transfer {
                Some(Transfer { guest: None, .. }) => self.flip(),
                Some(_) => self.release(),
                None => {}
            },
            Event::Replay(count) => self.replay(*count),
        }
        self.check_owners();
    }

    fn watermark(&mut self, task: usize, watermark_ms: i64) {
        self.hosts[task].watermark(watermark_ms, &mut self.moved);
        for group in &self.hosts[task].groups {
            self.resting[usize::from(*group)].watermark(watermark_ms, &mut self.rested);
        }
    }

    fn guest<T>(&mut self, visit: impl FnOnce(&mut Chain, &mut Env<'_>) -> T) -> Option<T> {
        let Transfer { from, groups, guest, .. } = self.transfer.as_mut()?;
        let store = &mut *self.hosts[1 - *from].store;
        Some(call((guest.as_mut()?, store, groups), &mut self.moved, visit))
    }

    fn barrier(&mut self) {
        for host in &mut self.hosts {
            host.call(&mut self.moved, |chain, env| chain.barrier(env)).unwrap();
        }
        self.guest(|chain, env| chain.barrier(env)).map_or(Ok(()), |result| result).unwrap();
    }

    fn restart(&mut self) {
        self.barrier();
        if self.transfer.is_some() {
            return;
        }
        for task in 0..2 {
            self.hosts[task].chain = self.chain();
            // The watermark comes anew from the inputs; the groups are further than that.
            self.hosts[task].watermark_ms -= 5;
            self.hosts[task].call(&mut self.moved, |chain, env| chain.restore(&BTreeMap::new(), env)).unwrap();
        }
    }

    fn begin(&mut self, from: usize, mask: u8) {
        let donor = &mut self.hosts[from];
        let groups: Vec<KeyGroup> = donor.groups.iter().copied().filter(|group| mask >> group & 1 == 1).collect();
        if self.transfer.is_some() || groups.is_empty() {
            return;
        }
        donor.call(&mut self.moved, |chain, env| chain.flush_groups(&groups, env)).unwrap();
        let hot = donor.chain.hot_keys(&groups, 5);
        groups.iter().for_each(|group| donor.store.track(*group).unwrap());
        let snapshot = donor.store.snapshot().unwrap();
        let mut copied = BTreeMap::new();
        for group in &groups {
            let mut entries = Entries::new();
            let visit = &mut |key: &[u8], value: &[u8]| {
                entries.push((key.to_vec(), value.to_vec()));
                true
            };
            snapshot.export(*group, None, visit).unwrap();
            copied.insert(*group, entries);
        }
        self.transfer = Some(Transfer { from, groups, copied, guest: None, held: VecDeque::new(), hot });
    }

    fn flip(&mut self) {
        let mut guest = self.chain();
        let Some(transfer) = &mut self.transfer else { return };
        let [first, second] = &mut self.hosts;
        let [donor, receiver] = if transfer.from == 0 { [first, second] } else { [second, first] };
        donor.call(&mut self.moved, |chain, env| chain.disown(&transfer.groups, env)).unwrap();
        donor.groups.retain(|group| !transfer.groups.contains(group));
        for (group, entries) in std::mem::take(&mut transfer.copied) {
            let changes = conformance::changes(&mut *donor.store, group);
            donor.store.drop_groups(&[group]).unwrap();
            conformance::import(&mut *receiver.store, group, entries);
            receiver.store.write(changes).unwrap();
        }
        let parts = BTreeMap::new();
        call((&mut guest, &mut *receiver.store, &transfer.groups), &mut self.moved, |chain, env| {
            chain.restore(&parts, env)
        })
        .unwrap();
        transfer.guest = Some(guest);
        // Of groups that are not its own yet a task reads nothing.
        let hot = transfer.hot.clone();
        receiver.call(&mut self.moved, |chain, env| chain.warm(hot, env)).unwrap();
    }

    fn replay(&mut self, count: usize) {
        for _ in 0..count {
            let Some(transfer) = &mut self.transfer else { return };
            let Some((port, batch)) = transfer.held.pop_front() else { return };
            let groups = transfer.groups.clone();
            for group in groups {
                let of_batch = batch.groups.as_ref().unwrap();
                let rows = (0..batch.num_rows() as u32).filter(|row| of_batch[*row as usize] == group);
                let part = batch.take(&rows.collect::<Vec<u32>>().into()).unwrap();
                if part.num_rows() > 0 {
                    self.rest(group, port, part);
                }
            }
            self.guest(|chain, env| chain.push(port, batch, env)).unwrap().unwrap();
            // Some way towards the host.
            self.level(3);
        }
    }

    /// The guest's watermark grows to that of its host less `behind_ms`, its groups' with it.
    fn level(&mut self, behind_ms: i64) {
        let Some(transfer) = &self.transfer else { return };
        let watermark_ms = self.hosts[1 - transfer.from].watermark_ms.saturating_sub(behind_ms);
        let groups = transfer.groups.clone();
        self.guest(|chain, env| advance(chain, watermark_ms, env)).unwrap();
        for group in groups {
            self.resting[usize::from(group)].watermark(watermark_ms, &mut self.rested);
        }
    }

    fn release(&mut self) {
        self.replay(usize::MAX);
        self.level(0);
        self.guest(|chain, env| chain.barrier(env)).unwrap().unwrap();
        let Some(Transfer { from, groups, hot, .. }) = self.transfer.take() else { return };
        let receiver = &mut self.hosts[1 - from];
        receiver.groups.extend(&groups);
        receiver.groups.sort_unstable();
        receiver.call(&mut self.moved, |chain, env| chain.adopt(&groups, env)).unwrap();
        receiver.call(&mut self.moved, |chain, env| chain.warm(hot, env)).unwrap();
        self.moves += 1;
    }

    /// No store has entries of a group that its task does not own and is not about to own.
    fn check_owners(&mut self) {
        for (task, host) in self.hosts.iter_mut().enumerate() {
            let mut allowed: BTreeSet<KeyGroup> = host.groups.iter().copied().collect();
            let arriving = self.transfer.as_ref().filter(|transfer| transfer.guest.is_some() && transfer.from != task);
            allowed.extend(arriving.into_iter().flat_map(|transfer| &transfer.groups));
            let strays = entries(&mut *host.store);
            let stray = strays.iter().find(|(key, _)| !allowed.contains(&KeyGroup::from_be_bytes([key[0], key[1]])));
            assert!(stray.is_none(), "task {task} has written {stray:?}");
        }
    }

    /// Ends the move and the input; what came out of the tasks that gave and took, and of those that rested.
    pub fn end(&mut self) -> [Said; 2] {
        for _ in 0..2 {
            self.step(&Event::<()>::Proceed);
        }
        if self.transfer.is_some() {
            self.step(&Event::<()>::Proceed);
        }
        (0..2).for_each(|task| self.watermark(task, i64::MAX));
        self.barrier();
        for host in &mut self.resting {
            host.call(&mut self.rested, |chain, env| chain.barrier(env)).unwrap();
        }
        let keys = |hosts: &mut [Host]| {
            let all = hosts.iter_mut().flat_map(|host| entries(&mut *host.store));
            all.map(|(key, _)| key).collect::<BTreeSet<_>>()
        };
        let said =
            |outcome: &Outcome, stored| Said { rows: rows_of(&outcome.rows), late_rows: outcome.late_rows, stored };
        [said(&self.moved, keys(&mut self.hosts)), said(&self.rested, keys(&mut self.resting))]
    }
}

/// What tasks have emitted and kept.
#[derive(Debug, PartialEq)]
pub(crate) struct Said {
    rows: Vec<(ChangeKind, Vec<String>)>,
    late_rows: u64,
    /// Keys left in the stores.
    stored: BTreeSet<Vec<u8>>,
}

impl Said {
    /// As sets of rows.
    pub fn sorted(mut self) -> Self {
        self.rows.sort_by(|(_, one), (_, other)| one.cmp(other));
        self
    }

    /// As changelogs, one per key.
    pub fn by_key(mut self, column: usize) -> Self {
        self.rows.sort_by(|(_, one), (_, other)| one[column].cmp(&other[column]));
        self
    }
}
