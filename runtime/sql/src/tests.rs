//! Tests of the whole way from text to stage graph.

use super::*;

const TABLES: &str = include_str!("../tests-data/nexmark.sql");

fn explained(query: &str) -> String {
    match plan(&format!("{TABLES}{query}"), &PlanOptions::default()) {
        Ok(graph) => super::explain(&graph),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn first() {
    for query in [
        "INSERT INTO q0 SELECT auction, bidder, price, `dateTime`, extra FROM bid",
        "INSERT INTO q2 SELECT auction, price FROM bid WHERE MOD(auction, 123) = 0",
        "INSERT INTO counts SELECT auction, COUNT(*), window_start FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(dateTime), INTERVAL '10' SECOND)) GROUP BY auction, window_start, window_end",
    ] {
        println!("{}", explained(query));
    }
}
