//! Jobs under a seed: with whatever faults, their output is that of a run without.
use millstream_tests::sim::{Options, Run};

const Q0: &str = "CREATE TABLE bid (auction BIGINT, bidder BIGINT, price BIGINT, dateTime TIMESTAMP(3)) WITH (
  'connector' = 'nexmark', 'nexmark.table' = 'bid', 'nexmark.events' = '3000', 'nexmark.event-rate' = '1000');
CREATE TABLE out (auction BIGINT, bidder BIGINT, price BIGINT, dateTime TIMESTAMP(3)) WITH (
  'connector' = 'filesystem', 'path' = '${OUT}', 'format' = 'csv');
INSERT INTO out SELECT auction, bidder, price, dateTime FROM bid;";

#[test]
fn first() {
    let straight = Run::new(0, Q0, Options::straight()).run().unwrap_or_else(|failure| panic!("{failure}"));
    println!("{straight:?}", straight = millstream_tests::sim::Report { lines: vec![], ..straight.clone() });
    assert_eq!(straight.lines.len(), 2760);
}
