//! Tests of the whole way from text to stage graph.
mod errors;
mod functions;
mod graphs;
mod random;
mod snapshots;

/// The tables of Nexmark and sinks for its queries.
const TABLES: &str = include_str!("../tests-data/nexmark.sql");
