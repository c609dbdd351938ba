//! Random pushes, watermarks, credit and switches: what holds of every channel afterwards.
use std::collections::BTreeMap;

use arrow::array::{AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use proptest::prelude::*;

use super::*;

const GROUPS: u32 = 16;
const KEYS: i64 = 24;
/// Tasks that there may be at once.
const TASKS_MAX: usize = 6;

#[derive(Debug, Clone)]
enum Step {
    Push {
        seed: u64,
        rows: usize,
    },
    Watermark {
        by_ms: i64,
    },
    Idle,
    Opening {
        back_ms: i64,
    },
    Flush,
    Drain,
    Take {
        gate: usize,
        count: usize,
    },
    /// Of 8 parts of the groups, so many find another owner.
    Switch {
        seed: u64,
        parts: u64,
    },
    Add,
    Remove {
        lane: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (any::<u64>(), 1usize..90).prop_map(|(seed, rows)| Step::Push { seed, rows }),
        4 => (1i64..20).prop_map(|by_ms| Step::Watermark { by_ms }),
        1 => Just(Step::Idle),
        1 => (0i64..30).prop_map(|back_ms| Step::Opening { back_ms }),
        1 => Just(Step::Flush),
        3 => Just(Step::Drain),
        6 => (0usize..20, 1usize..4).prop_map(|(gate, count)| Step::Take { gate, count }),
        4 => (any::<u64>(), 0u64..9).prop_map(|(seed, parts)| Step::Switch { seed, parts }),
        1 => Just(Step::Add),
        1 => (0usize..TASKS_MAX).prop_map(|lane| Step::Remove { lane }),
    ]
}

/// One of many numbers that `seed` stands for.
fn draw(seed: u64, number: u64) -> u64 {
    let mixed = (seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    mixed ^ (mixed >> 33)
}

/// What one task has taken, and what it was to get.
struct Receiver {
    gate: Arc<Gate>,
    taken: Vec<Element>,
    /// The table, and the openings, that there were before it.
    since: (usize, i64),
    markers: Vec<u64>,
    openings: Vec<u64>,
    removed: bool,
}

struct World {
    router: Router,
    receivers: Vec<Receiver>,
    /// By version, from 1 on.
    tables: Vec<OwnerTable>,
    /// Rows pushed, by key: each has a number within its key.
    pushed: BTreeMap<i64, i64>,
    /// No row at or below it is pushed; and whether a watermark said so.
    low_ms: i64,
    has_time: bool,
    openings: i64,
}

fn wake() -> Arc<dyn Wake> {
    Arc::new(Wakes::default())
}

impl World {
    fn new(window: usize, batch_rows: usize) -> Self {
        let gates: Vec<_> = gates(2, window);
        let outlets = gates.iter().map(|gate| Outlet::local(channel(0, gate.to()), Arc::clone(gate), wake()).unwrap());
        let table = OwnerTable::initial(&[0, 1], GROUPS);
        let options = RouterOptions { batch_rows };
        let router = Router::new(hash_on_value(), outlets.collect(), &table, GROUPS, options).unwrap();
        let mut world = Self {
            router,
            receivers: vec![],
            tables: vec![table],
            pushed: BTreeMap::new(),
            low_ms: 0,
            has_time: false,
            openings: 0,
        };
        gates.into_iter().for_each(|gate| world.receive(gate));
        world
    }

    fn receive(&mut self, gate: Arc<Gate>) {
        let since = (self.tables.len(), self.openings);
        let (taken, markers, openings) = (vec![], vec![], vec![]);
        self.receivers.push(Receiver { gate, taken, since, markers, openings, removed: false });
    }

    fn live(&mut self) -> impl Iterator<Item = &mut Receiver> {
        self.receivers.iter_mut().filter(|receiver| !receiver.removed)
    }

    fn live_tasks(&mut self) -> Vec<TaskId> {
        self.live().map(|receiver| receiver.gate.to()).collect()
    }

    fn push(&mut self, seed: u64, rows: usize) {
        let mut columns = [const { Vec::new() }; 4];
        for row in 0..rows as u64 {
            let key = (draw(seed, row) % KEYS as u64) as i64;
            let number = self.pushed.entry(key).or_default();
            let time_ms = self.low_ms + 1 + (draw(seed, row) >> 40) as i64 % 30;
            for (column, value) in columns.iter_mut().zip([key, *number, time_ms, self.openings]) {
                column.push(value);
            }
            *number += 1;
        }
        let field = |name: &str| Field::new(name, DataType::Int64, false);
        let schema = Schema::new(["key", "number", "time", "openings"].map(field).to_vec());
        let columns = columns.map(|column| Arc::new(Int64Array::from(column)) as _).to_vec();
        let rows = RecordBatch::try_new(Arc::new(schema), columns).unwrap();
        self.router.push(Batch::inserts(rows)).unwrap();
    }

    fn open(&mut self, back_ms: i64) {
        self.openings += 1;
        self.low_ms -= back_ms;
        let version = self.openings as u64;
        self.live().for_each(|receiver| receiver.openings.push(version));
        let opening = Element::Opening { version, donors: Arc::from([]), watermark_ms: self.low_ms };
        self.router.broadcast(&opening).unwrap();
    }

    fn switch(&mut self, seed: u64, parts: u64) {
        let tasks = self.live_tasks();
        let last = &self.tables[self.tables.len() - 1];
        let owners = (0u64..).zip(&last.owners).map(|(group, owner)| {
            let drawn = draw(seed, group);
            let moves = drawn % 8 < parts;
            if moves { tasks[(drawn >> 20) as usize % tasks.len()] } else { *owner }
        });
        let table = OwnerTable { version: last.version + 1, owners: owners.collect() };
        self.router.switch(&table).unwrap();
        self.live().for_each(|receiver| receiver.markers.push(table.version));
        self.tables.push(table);
    }

    fn add(&mut self, window: usize) {
        if self.live().count() < TASKS_MAX {
            let to = self.receivers.len() as u32;
            let gate = Gate::new(to, vec![(channel(0, to), 0, schema())], window, wake());
            self.router.add(Outlet::local(channel(0, to), Arc::clone(&gate), wake()).unwrap()).unwrap();
            self.receive(gate);
        }
    }

    fn remove(&mut self, lane: usize) {
        let tasks = self.live_tasks();
        let task = tasks[lane % tasks.len()];
        let owns = self.tables[self.tables.len() - 1].owners.contains(&task);
        match self.router.remove(task) {
            Ok(()) => assert!(!owns),
            Err(error) => assert!(owns && matches!(error, Error::StillOwner { .. }), "{error}"),
        }
        self.receivers[task as usize].removed = !owns;
    }

    fn take(&mut self, gate: usize, count: usize) -> bool {
        let index = gate % self.receivers.len();
        let receiver = &mut self.receivers[index];
        let before = receiver.taken.len();
        receiver.taken.extend(std::iter::from_fn(|| receiver.gate.take()).take(count).map(|(_, element)| element));
        receiver.taken.len() > before
    }

    fn act(&mut self, step: &Step, window: usize) {
        match *step {
            Step::Push { seed, rows } => self.push(seed, rows),
            Step::Watermark { by_ms } => {
                (self.low_ms, self.has_time) = (self.low_ms + by_ms, true);
                self.router.broadcast(&Element::Watermark(self.low_ms)).unwrap();
            }
            Step::Idle => self.router.broadcast(&Element::Idle).unwrap(),
            Step::Opening { back_ms } => self.open(back_ms),
            Step::Flush => self.router.flush().unwrap(),
            Step::Drain => drop(self.router.drain().unwrap()),
            Step::Take { gate, count } => drop(self.take(gate, count)),
            Step::Switch { seed, parts } => self.switch(seed, parts),
            Step::Add => self.add(window),
            Step::Remove { lane } => self.remove(lane),
        }
    }

    fn finish(&mut self) {
        self.router.broadcast(&Element::End).unwrap();
        let mut is_moving = true;
        while is_moving {
            is_moving = !self.router.drain().unwrap();
            for gate in 0..self.receivers.len() {
                is_moving |= self.take(gate, usize::MAX);
            }
        }
        assert!(!self.router.pending() && self.router.leaving.is_empty());
    }

    /// Checks one channel, and gives its rows: key -> version in force -> numbers.
    fn check(&self, receiver: &Receiver, rows: &mut BTreeMap<i64, BTreeMap<u64, Vec<i64>>>) {
        let task = receiver.gate.to();
        let (mut version, mut opened) = receiver.since;
        // Per group, for only those that move are bound by the marker.
        let mut marks = [i64::MIN; GROUPS as usize];
        let (mut markers, mut openings) = (vec![], vec![]);
        let (last, elements) = receiver.taken.split_last().expect("it ended");
        assert!(matches!(last, Element::End));
        for element in elements {
            match element {
                Element::Rows(batch) => {
                    let column = |at: usize| batch.rows.column(at).as_primitive::<Int64Type>().values();
                    let groups = batch.groups.as_ref().expect("the edge is keyed");
                    for (row, group) in groups.iter().map(|group| usize::from(*group)).enumerate() {
                        assert_eq!(self.tables[version - 1].owners[group], task, "version {version} says so");
                        let time_ms = column(2)[row];
                        assert!(time_ms > marks[group], "a row at {time_ms} follows {}", marks[group]);
                        assert!(column(3)[row] <= opened, "a row has passed an opening");
                        rows.entry(column(0)[row]).or_default().entry(version as u64).or_default().push(column(1)[row]);
                    }
                }
                Element::Watermark(ms) => marks = [*ms; GROUPS as usize],
                Element::Opening { version, watermark_ms, .. } => {
                    openings.push(*version);
                    opened = *version as i64;
                    marks = marks.map(|mark| mark.min(*watermark_ms));
                }
                Element::Marker { version: next, watermark_ms } => {
                    markers.push(*next);
                    let (old, new) = (&self.tables[*next as usize - 2], &self.tables[*next as usize - 1]);
                    for (group, mark) in marks.iter_mut().enumerate() {
                        if old.owners[group] != task && new.owners[group] == task {
                            *mark = *watermark_ms;
                        }
                    }
                    version = *next as usize;
                }
                Element::Idle => {}
                other => panic!("{other:?} was never sent"),
            }
        }
        assert_eq!((&markers, &openings), (&receiver.markers, &receiver.openings));
        let owned = self.tables[self.tables.len() - 1].groups_of(task);
        let expected = if self.has_time { self.low_ms } else { i64::MIN };
        assert!(owned.iter().all(|group| marks[usize::from(*group)] == expected), "{marks:?} is not all {expected}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn rows_keep_order_owner_and_time_over_switches(
        steps in prop::collection::vec(step(), 1..150),
        window in 1usize..6000,
        batch_rows in 1usize..200,
    ) {
        let mut world = World::new(window, batch_rows);
        for step in &steps {
            world.act(step, window);
        }
        world.finish();
        let mut rows = BTreeMap::new();
        for receiver in &world.receivers {
            world.check(receiver, &mut rows);
        }
        for (key, count) in &world.pushed {
            // An owner per version: in the order of versions, the rows of a key are in the order they were pushed.
            let numbers: Vec<_> = rows[key].values().flatten().copied().collect();
            prop_assert_eq!(&numbers, &(0..*count).collect::<Vec<_>>(), "key {}", key);
        }
        let counters = world.router.counters();
        let total = world.pushed.values().sum::<i64>() as u64;
        prop_assert_eq!((counters.records(), counters.groups().iter().sum::<u64>()), (total, total));
        let taken: u64 = world.receivers.iter().map(|receiver| receiver.gate.taken().1).sum();
        prop_assert_eq!(counters.bytes(), taken);
    }
}
