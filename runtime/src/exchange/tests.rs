//! What the tests of this folder share, and properties of the whole: two hubs, delayed frames, random interleavings.
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use arrow::array::{AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use millstream_api::owner::OwnerTable;
use millstream_sql::graph::Partition;
use proptest::prelude::*;

use super::*;
use crate::batch::{Batch, Element};

/// Counts wakes.
#[derive(Default)]
pub(super) struct Wakes(AtomicUsize);

impl Wakes {
    pub(super) fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Wake for Wakes {
    fn wake(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

pub(super) fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("value", DataType::Int64, false)]))
}

pub(super) fn batch(values: impl IntoIterator<Item = i64>) -> Batch {
    let values = Int64Array::from_iter_values(values);
    Batch::inserts(RecordBatch::try_new(schema(), vec![Arc::new(values)]).unwrap())
}

pub(super) fn rows(values: impl IntoIterator<Item = i64>) -> Element {
    Element::Rows(batch(values))
}

/// The rows of an element; none for control.
pub(super) fn values(element: &Element) -> Vec<i64> {
    let Element::Rows(batch) = element else { return vec![] };
    batch.rows.column(0).as_primitive::<Int64Type>().values().to_vec()
}

pub(super) fn channel(from: TaskId, to: TaskId) -> ChannelId {
    ChannelId { edge: 3, from, to }
}

pub(super) fn hash_on_value() -> Partition {
    Partition::Hash { columns: vec![0] }
}

/// A link that holds frames until the test lets them go.
#[derive(Default)]
pub(super) struct Wire {
    frames: Mutex<VecDeque<Bytes>>,
    pub(super) closed: AtomicUsize,
}

impl Link for Wire {
    fn send(&self, frame: Bytes) {
        lock(&self.frames).push_back(frame);
    }

    fn close(&self) {
        self.closed.fetch_add(1, Ordering::Relaxed);
    }
}

impl Wire {
    /// Hands the oldest frame over; whether there was one.
    pub(super) fn carry(&self, from: &str, to: &Hub) -> bool {
        let frame = lock(&self.frames).pop_front();
        frame.map(|frame| to.receive(from, frame).unwrap()).is_some()
    }
}

/// Worker a runs task 1, worker b task 2; both send to tasks 1 and 2 of the next stage, so that of four channels two
/// are local and two remote.
struct Pair {
    hubs: [Arc<Hub>; 2],
    wires: [Arc<Wire>; 2],
    gates: [Arc<Gate>; 2],
    routers: [Router; 2],
}

const NAMES: [&str; 2] = ["a", "b"];

impl Pair {
    fn new(window: usize, batch_rows: usize) -> Self {
        let wake = || Arc::new(Wakes::default()) as Arc<dyn Wake>;
        let hubs = [(); 2].map(|()| Hub::new(1, window, Box::new(|peer, reason| panic!("lost {peer}: {reason}"))));
        let wires = [(); 2].map(|()| Arc::new(Wire::default()));
        let gates = [1, 2]
            .map(|to| Gate::new(to, [1, 2].map(|from| (channel(from, to), 0, schema())).to_vec(), window, wake()));
        for side in 0..2 {
            hubs[side].register(&gates[side]).unwrap();
            hubs[side].attach(NAMES[1 - side], Arc::clone(&wires[side]) as Arc<dyn Link>).unwrap();
        }
        let routers = [0, 1].map(|side| {
            let outlet = |to: usize| {
                let id = channel(side as u32 + 1, to as u32 + 1);
                hubs[side].outlet(id, (to != side).then_some(NAMES[to]), wake()).unwrap()
            };
            let table = OwnerTable::initial(&[1, 2], 16);
            Router::new(hash_on_value(), vec![outlet(0), outlet(1)], &table, 16, RouterOptions { batch_rows }).unwrap()
        });
        Self { hubs, wires, gates, routers }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Push { side: usize, rows: usize },
    Watermark { side: usize },
    Flush { side: usize },
    Drain { side: usize },
    Carry { side: usize },
    Take { side: usize },
}

fn step() -> impl Strategy<Value = Step> {
    (0usize..2, 0usize..60, 0u8..9).prop_map(|(side, rows, which)| match which {
        0..=2 => Step::Push { side, rows },
        3 => Step::Watermark { side },
        4 => Step::Flush { side },
        5 => Step::Drain { side },
        6 | 7 => Step::Carry { side },
        _ => Step::Take { side },
    })
}

/// What each task has taken from each channel: rows, and watermarks as negative numbers.
type Taken = [[Vec<i64>; 2]; 2];

fn take(pair: &Pair, side: usize, taken: &mut Taken) -> bool {
    let Some((channel, element)) = pair.gates[side].take() else { return false };
    if let Element::Rows(batch) = &element {
        let groups = batch.groups.as_ref().expect("the router gives groups");
        let expected = crate::batch::hash::key_groups(&batch.rows, &[0], 16).unwrap();
        assert_eq!(groups, &expected);
        // The table is contiguous: the lower half of the groups belongs to the first task.
        assert!(groups.iter().all(|group| usize::from(*group >= 8) == side));
    }
    if let Element::Watermark(ms) = element {
        taken[side][channel].push(-ms);
    }
    taken[side][channel].extend(values(&element));
    true
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn channels_are_fifo_bounded_and_lose_nothing(
        steps in prop::collection::vec(step(), 1..200),
        window in 1usize..3000,
        batch_rows in 1usize..64,
    ) {
        let mut pair = Pair::new(window, batch_rows);
        let mut taken = Taken::default();
        let (mut sent, mut marks) = ([0i64; 2], [0i64; 2]);
        for step in steps {
            match step {
                Step::Push { side, rows } if !pair.routers[side].pending() => {
                    pair.routers[side].push(batch(sent[side]..sent[side] + rows as i64)).unwrap();
                    sent[side] += rows as i64;
                }
                Step::Watermark { side } => {
                    // After all rows below `sent`.
                    marks[side] += 1;
                    pair.routers[side].broadcast(&Element::Watermark(sent[side] + 1)).unwrap();
                }
                Step::Push { .. } => {}
                Step::Flush { side } => pair.routers[side].flush().unwrap(),
                Step::Drain { side } => drop(pair.routers[side].drain().unwrap()),
                Step::Carry { side } => drop(pair.wires[side].carry(NAMES[side], &pair.hubs[1 - side])),
                Step::Take { side } => drop(take(&pair, side, &mut taken)),
            }
            for gate in &pair.gates {
                // A batch is at most what is gathered and one piece more: 124 rows of 8 + 2 bytes, and its frame.
                prop_assert!(gate.queued_bytes() <= 2 * (window + 124 * 10 + 128));
            }
        }
        for side in 0..2 {
            pair.routers[side].flush().unwrap();
        }
        let mut is_moving = true;
        while is_moving {
            is_moving = false;
            for (side, name) in NAMES.iter().enumerate() {
                pair.routers[side].drain().unwrap();
                is_moving |= pair.wires[side].carry(name, &pair.hubs[1 - side]);
                is_moving |= take(&pair, side, &mut taken);
            }
        }
        for from in 0..2 {
            prop_assert!(!pair.routers[from].pending());
            let mut all = vec![];
            for task in &taken {
                let rows: Vec<_> = task[from].iter().copied().filter(|value| *value >= 0).collect();
                prop_assert!(rows.is_sorted_by(|one, two| one < two), "a channel is FIFO");
                prop_assert_eq!((task[from].len() - rows.len()) as i64, marks[from]);
                // A watermark of n + 1 comes behind every row below n and before every other row.
                for (at, mark) in task[from].iter().enumerate().filter(|(_, value)| **value < 0) {
                    prop_assert!(task[from][..at].iter().all(|value| *value < -*mark - 1));
                    prop_assert!(task[from][at..].iter().all(|value| *value < 0 || *value >= -*mark - 1));
                }
                all.extend(rows);
            }
            all.sort_unstable();
            prop_assert_eq!(&all, &(0..sent[from]).collect::<Vec<_>>(), "no row is lost or doubled");
            let counters = pair.routers[from].counters();
            prop_assert_eq!(counters.records() as i64, sent[from]);
            prop_assert_eq!(counters.groups().iter().sum::<u64>() as i64, sent[from]);
        }
    }
}
