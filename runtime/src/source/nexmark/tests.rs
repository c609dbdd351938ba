use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::{DataType, Field, Int32Type, Int64Type, Schema, TimeUnit, TimestampMillisecondType};
use arrow::util::display::array_value_to_string;

use super::model::Prices;
use super::*;
use crate::source::testing;

const START_MS: i64 = 1_700_000_000_000;

fn table(kind: &str, columns: &[&str], more: &[(&str, &str)]) -> TableSpec {
    let all = columns::COLUMNS;
    let field = |name: &&str| {
        let same = |column: &&Column| [column.name, column.name_in_all].contains(name);
        Field::new(*name, all.iter().find(same).unwrap().data_type(), true)
    };
    let mut options: BTreeMap<String, String> = more.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    options.insert("connector".into(), "nexmark".into());
    options.insert("nexmark.table".into(), kind.into());
    let schema = Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()));
    TableSpec { name: "t".into(), connector: "nexmark".into(), options, schema, line: 1, column: 1 }
}

fn every_column(kind: &str) -> Vec<&'static str> {
    let options = Options::read(&table(kind, &[], &[]), options()).unwrap();
    columns::of_table(kind_of(&options)).map(|(name, _)| name).collect()
}

fn open(table: &TableSpec, splits: Vec<Split>, batch_rows: usize) -> Box<dyn Source> {
    let context = Context { job_started_at_ms: START_MS, batch_rows };
    Nexmark.open(table, splits, &context).unwrap()
}

/// All rows of a bounded source without schedule, as text.
fn rows(source: &mut dyn Source) -> Vec<String> {
    let mut lines = vec![];
    loop {
        match source.poll(START_MS).unwrap() {
            Poll::Rows { rows, .. } => lines.extend((0..rows.num_rows()).map(|row| {
                let cell = |column: &arrow::array::ArrayRef| array_value_to_string(column, row).unwrap();
                rows.columns().iter().map(cell).collect::<Vec<_>>().join("|")
            })),
            Poll::Finished { .. } => {}
            Poll::Pending { .. } => panic!("nothing is scheduled"),
            Poll::End => return lines,
        }
    }
}

#[test]
fn golden_events() {
    let first = |kind: &str| {
        let table = table(kind, &every_column(kind), &[("nexmark.events", "120")]);
        rows(open(&table, Nexmark.splits(&table).unwrap(), 1000).as_mut())
    };
    let (people, auctions, bids) = (first("person"), first("auction"), first("bid"));
    assert_eq!((people.len(), auctions.len(), bids.len()), (3, 9, 46 + 46 + 16));
    let golden = include_str!("golden.txt");
    let ours = [&people[0], &people[1], &auctions[0], &auctions[8], &bids[0], &bids[1], &bids[2], &bids[107]];
    assert_eq!(ours.map(|line| format!("{line}\n")).concat(), golden, "the stream is part of the contract");
}

#[test]
fn proportions_are_exact_and_hot_keys_are_hot() {
    let table =
        table("all", &["event_type", "bid_auction", "bid_bidder", "auction_seller"], &[("nexmark.events", "500000")]);
    let mut source = open(&table, Nexmark.splits(&table).unwrap(), 8192);
    let (mut kinds, mut hot, mut number) = ([0; 3], [0; 3], 0u64);
    while let Poll::Rows { rows, .. } = source.poll(START_MS).unwrap() {
        for row in 0..rows.num_rows() {
            let value = |column: usize| rows.column(column).as_primitive::<Int64Type>().value(row);
            let kind = rows.column(0).as_primitive::<Int32Type>().value(row);
            kinds[kind as usize] += 1;
            let last_person = (number / 50) as i64;
            let last_auction = (number / 50 * 3 + (number % 50).min(3)) as i64 - 1;
            hot[0] += i32::from(kind == 2 && value(1) == 1000 + last_auction / 100 * 100);
            hot[1] += i32::from(kind == 2 && value(2) == 1001 + last_person / 100 * 100);
            hot[2] += i32::from(kind == 1 && value(3) == 1000 + last_person / 100 * 100);
            number += 1;
        }
    }
    assert_eq!(kinds, [10_000, 30_000, 460_000]);
    let share = |hot: i32, of: i32| f64::from(hot) / f64::from(of);
    let shares = [share(hot[0], kinds[2]), share(hot[1], kinds[2]), share(hot[2], kinds[1])];
    for (share, expected) in shares.iter().zip([0.5, 0.75, 0.75]) {
        assert!((share - expected).abs() < 0.02, "{shares:?}");
    }
}

#[test]
fn sizes_and_prices_average_out() {
    for (kind, average) in [("person", 200.0), ("auction", 500.0)] {
        let columns = every_column(kind);
        let table = table(kind, &columns, &[("nexmark.events", "100000")]);
        let mut source = open(&table, Nexmark.splits(&table).unwrap(), 65536);
        let Poll::Rows { rows, .. } = source.poll(START_MS).unwrap() else { panic!("rows") };
        let size = |column: &arrow::array::ArrayRef| match column.as_string_opt::<i32>() {
            Some(text) => text.value_data().len(),
            None => 8 * column.len(),
        };
        let bytes: usize = rows.columns().iter().map(size).sum();
        let mean = bytes as f64 / rows.num_rows() as f64;
        assert!((mean - average).abs() < average * 0.02, "{kind}: {mean}");
    }
    let prices = Prices::default();
    let logs: f64 = (0..100_000).map(|n| (model::price(n, &prices) as f64 / 100.0).log10()).sum();
    assert!((logs / 100_000.0 - 3.0).abs() < 0.02, "uniform exponent in [0, 6)");
}

#[test]
fn the_stream_is_the_same_for_every_assignment() {
    for kind in ["person", "auction", "bid", "all"] {
        let table = table(kind, &every_column(kind), &[("nexmark.events", "3000")]);
        let mut one = rows(open(&table, Nexmark.splits(&table).unwrap(), 100).as_mut());
        one.sort();
        for (tasks, stride) in [(2, 257), (4, 257), (3, 1), (5, 1000)] {
            let mut union = vec![];
            for task in 0..tasks {
                let mine = strides::splits(stride).into_iter().filter(|split| split.id % tasks == task).collect();
                union.extend(rows(open(&table, mine, 77).as_mut()));
            }
            union.sort();
            assert_eq!(one, union, "{kind}, {tasks} tasks, stride {stride}");
        }
    }
}

#[test]
fn positions_resume_without_loss() {
    let table = table("bid", &["dateTime", "price", "url"], &[("nexmark.events", "5000")]);
    let whole = rows(open(&table, Nexmark.splits(&table).unwrap(), 64).as_mut());
    let mut first = open(&table, Nexmark.splits(&table).unwrap(), 64);
    let mut lines = 0;
    while lines < 1000 {
        let Poll::Rows { rows, .. } = first.poll(START_MS).unwrap() else { panic!("rows") };
        lines += rows.num_rows();
    }
    let rest = rows(open(&table, first.splits(), 64).as_mut());
    assert_eq!(whole[lines..], rest);
}

#[test]
fn the_schedule_holds_back_and_counts_lag() {
    let table = table("bid", &["dateTime"], &[("nexmark.rate", "1000 for 1s, 5000"), ("nexmark.events", "10000")]);
    let (mut even, mut odd) = (vec![], vec![]);
    for split in Nexmark.splits(&table).unwrap() {
        if split.id % 2 == 0 { even.push(split) } else { odd.push(split) }
    }
    let mut source = open(&table, even, 100_000);
    assert!(matches!(source.poll(START_MS).unwrap(), Poll::Pending { until_ms: Some(at) } if at == START_MS + 5));
    let other = open(&table, odd, 100_000);
    for (at_ms, due, rate) in [(500, 500, 1000.0), (1000, 1000, 5000.0), (2000, 6000, 5000.0), (4000, 10_000, 0.0)] {
        let now_ms = START_MS + at_ms;
        assert_eq!(source.lag_records(now_ms).unwrap() + other.lag_records(now_ms).unwrap(), due);
        let offered = source.offered_per_s(now_ms).unwrap() + other.offered_per_s(now_ms).unwrap();
        assert!((offered - rate).abs() < 1e-9, "{offered}");
    }
    let Poll::Rows { rows, .. } = source.poll(START_MS + 500).unwrap() else { panic!("rows") };
    assert_eq!(source.lag_records(START_MS + 500), Some(0));
    let taken = rows.column(0).as_primitive::<TimestampMillisecondType>();
    assert!(taken.values().iter().all(|at| *at < 1_436_918_400_000 + 5), "only the 500 that are due");
    // Caught up: it rests, though more would be due.
    assert!(
        matches!(source.poll(START_MS + 502).unwrap(), Poll::Pending { until_ms: Some(at) } if at == START_MS + 505)
    );
    assert!(matches!(source.poll(START_MS + 520).unwrap(), Poll::Rows { .. }));
    // After its end it finishes every split once, then ends.
    assert!(matches!(source.poll(START_MS + 60_000).unwrap(), Poll::Rows { .. }));
    let finished = (0..129).map(|_| source.poll(START_MS + 60_000).unwrap()).collect::<Vec<_>>();
    assert!(finished.iter().all(|poll| matches!(poll, Poll::Finished { .. })));
    assert!(matches!(source.poll(START_MS + 60_000).unwrap(), Poll::End));
    assert!(source.active_splits().is_empty());
}

#[test]
fn a_table_without_columns_counts() {
    let table = table("bid", &[], &[("nexmark.events", "100")]);
    let mut source = open(&table, Nexmark.splits(&table).unwrap(), 1000);
    assert!(matches!(source.poll(START_MS).unwrap(), Poll::Rows { rows, .. } if rows.num_rows() == 92));
}

#[test]
fn wrong_columns_are_user_errors() {
    let mut wrong = table("bid", &["price"], &[]);
    wrong.schema = Arc::new(Schema::new(vec![Field::new("price", DataType::Int32, true)]));
    let text = |table: &TableSpec| Nexmark.validate(table).unwrap_err().to_string();
    assert_eq!(text(&wrong), "table \"t\": column \"price\" is INT: expected BIGINT");
    wrong.schema =
        Arc::new(Schema::new(vec![Field::new("when", DataType::Timestamp(TimeUnit::Millisecond, None), true)]));
    assert_eq!(
        text(&wrong),
        "table \"t\": column \"when\": a nexmark 'bid' table has only auction, bidder, price, channel, url, extra, dateTime"
    );
}

/// Numbers of events made at 1000 a second of event time.
fn numbers(rows: &arrow::array::RecordBatch) -> Vec<u64> {
    let times = rows.column(0).as_primitive::<TimestampMillisecondType>().values();
    times.iter().map(|at_ms| (at_ms - model::date_time_ms(0, 1000)) as u64).collect()
}

#[test]
fn splits_move_between_tasks_without_loss() {
    let events = [("nexmark.event-rate", "1000"), ("nexmark.events", "20000")];
    let paced = [&events[..], &[("nexmark.rate", "2000 for 1s, 9000 for 1s, 0 for 1s, 20000")]].concat();
    for seed in 0..10 {
        let table = table("all", &["dateTime"], if seed % 2 == 0 { &paced } else { &events });
        let open = |splits| open(&table, splits, 150);
        let (read, _) = testing::read_by_two(&open, Nexmark.splits(&table).unwrap(), seed, START_MS);
        let mut next: Vec<u64> = (0..257).collect();
        for read in &read {
            let numbers = numbers(&read.rows);
            assert!(numbers.is_sorted(), "seed {seed}: a batch is not merged");
            for number in numbers {
                let split = (number % 257) as usize;
                assert_eq!(number, next[split], "seed {seed}");
                next[split] += 257;
            }
        }
        assert!(next.iter().all(|next| (20_000..20_257).contains(next)), "seed {seed}: rows are lost");
        assert!(read.iter().any(|read| read.task == 1), "seed {seed}: nothing has moved");
    }
}

#[test]
fn what_is_behind_is_read_first() {
    let table = table("all", &["dateTime"], &[("nexmark.event-rate", "1000"), ("nexmark.rate", "100000")]);
    let (even, odd) = Nexmark.splits(&table).unwrap().into_iter().partition(|split| split.id % 2 == 0);
    let (mut ahead, mut behind) = (open(&table, even, 100), open(&table, odd, 100));
    let next = |source: &mut dyn Source| match source.poll(START_MS + 100).unwrap() {
        Poll::Rows { rows, .. } => numbers(&rows),
        other => panic!("{other:?}"),
    };
    for _ in 0..20 {
        next(ahead.as_mut());
    }
    let last = next(behind.as_mut()).pop().unwrap();
    // The one that is ahead is caught up and rests, but not any longer.
    while let Poll::Rows { .. } = ahead.poll(START_MS + 100).unwrap() {}
    let given = behind.give(&(0..257).collect::<Vec<_>>());
    assert_eq!(given.len(), 128);
    assert!(matches!(behind.poll(START_MS + 200).unwrap(), Poll::End));
    assert_eq!((behind.lag_records(START_MS + 200), behind.offered_per_s(START_MS + 200)), (Some(0), Some(0.0)));
    let lag = ahead.lag_records(START_MS + 100).unwrap();
    ahead.take(given).unwrap();
    let mut read = next(ahead.as_mut());
    assert!(read[0] > last && read[0] <= last + 4, "{} after {last}", read[0]);
    assert!(ahead.lag_records(START_MS + 100).unwrap() > lag);
    assert_eq!(ahead.offered_per_s(START_MS + 100), Some(100_000.0));
    while let Poll::Rows { rows, .. } = ahead.poll(START_MS + 200).unwrap() {
        read.extend(numbers(&rows));
    }
    assert!(read.is_sorted());
    assert_eq!(read.last(), Some(&19_999), "and then the rest");
    let again = ahead.splits().split_off(256);
    assert!(ahead.take(again).unwrap_err().to_string().contains("split 256 is read by this task already"));
}
