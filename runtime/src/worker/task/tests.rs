//! What a task does when its input never runs dry.
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc;

use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use millstream_api::id::Epoch;

use super::*;
use crate::clock::Clock;
use crate::sink::{Committable, Sink};
use crate::source::{self, Poll, Split};
use crate::stage::chain::ChainInput;
use crate::state::memory::MemoryBackend;
use crate::state::{Backend, disk::MemoryDisk};
use crate::worker::meter::Gauge;
use crate::worker::output::Output;

#[derive(Default)]
struct Hand(AtomicU64);

impl Clock for Hand {
    fn now_ms(&self) -> i64 {
        self.0.load(Relaxed) as i64 / 1000
    }

    fn now_us(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Has a row whenever it is asked.
struct Endless(RecordBatch);

impl Source for Endless {
    fn poll(&mut self, _now_ms: i64) -> Result<Poll, source::Error> {
        Ok(Poll::Rows { rows: self.0.clone(), split: Some(0) })
    }

    fn splits(&self) -> Vec<Split> {
        Vec::new()
    }

    fn give(&mut self, _splits: &[u32]) -> Vec<Split> {
        Vec::new()
    }

    fn take(&mut self, _splits: Vec<Split>) -> Result<(), source::Error> {
        Ok(())
    }
}

/// Counts rows, and how many of them it was told to show.
#[derive(Default)]
struct Counted {
    written: AtomicU64,
    shown: AtomicU64,
}

struct Counting(Arc<Counted>);

impl Sink for Counting {
    fn write(&mut self, batch: &Batch) -> Result<(), source::Error> {
        self.0.written.fetch_add(batch.num_rows() as u64, Relaxed);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), source::Error> {
        self.0.shown.store(self.0.written.load(Relaxed), Relaxed);
        Ok(())
    }

    fn prepare(&mut self, _epoch: Epoch) -> Result<Vec<Committable>, source::Error> {
        Ok(Vec::new())
    }

    fn commit(&mut self, _committables: &[Committable]) -> Result<(), source::Error> {
        Ok(())
    }
}

fn task(clock: &Arc<Hand>, counted: &Arc<Counted>) -> Task {
    let schema = Arc::new(Schema::new(vec![Field::new("number", DataType::Int64, true)]));
    let row = RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(Int64Array::from(vec![7]))]).unwrap();
    let make_chain = move || {
        let input = ChainInput { schema: Arc::clone(&schema), schema2: None, updating: [false; 2] };
        Chain::new(&[], &input, 1 << 20)
    };
    Task::new(Parts {
        task: 0,
        input: Input::Source(Box::new(Endless(row))),
        chain: make_chain().unwrap(),
        output: Output::sink(Box::new(Counting(Arc::clone(counted)))),
        store: MemoryBackend::new(Arc::new(MemoryDisk::default())).create(&PathBuf::from("/state")).unwrap(),
        groups: Vec::new(),
        limiter: None,
        cuts: PathBuf::from("/cuts"),
        term: 1,
        make_chain: Box::new(make_chain),
        part_bytes: 1024,
        held_bytes_max: 1024,
        joins: false,
        wake: Arc::new(std::thread::current()),
        gauge: Arc::<Gauge>::default(),
        clock: Arc::clone(clock) as Arc<dyn Clock>,
        commands: mpsc::channel().1,
        events: Box::new(|_| {}),
    })
}

#[test]
fn output_is_sent_off_in_time_though_input_never_runs_dry() {
    let (clock, counted) = <(Arc<Hand>, Arc<Counted>)>::default();
    let mut task = task(&clock, &counted);
    let mut shown = Vec::new();
    for _ in 0..100 {
        clock.0.fetch_add(1_000, Relaxed);
        assert_eq!(task.step().unwrap(), Step::Worked);
        let held_back = counted.written.load(Relaxed) - counted.shown.load(Relaxed);
        assert!(held_back <= 10, "{held_back} rows of a millisecond each");
        shown.push(counted.shown.load(Relaxed));
    }
    shown.dedup();
    assert!((8..=12).contains(&shown.len()), "not one by one either: {shown:?}");
}
