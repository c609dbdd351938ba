//! The autoscaler: facts in, decisions out. Nothing here knows a clock, a socket or a platform.
//!
//! A [`Window`] of samples gives an [`estimate`](estimate::estimate) per stage (true rates from busy time, rows per row
//! over every edge); [`ds2`] carries the demand of the sources through the graph in one traversal; [`recommend`] turns
//! demand into a parallelism within all limits; [`History`] decides when a recommendation has stood long enough to act.
//! The same window and policy always give the same recommendation, so every decision can be replayed.
//!
//! No information (a stage that did no work, stale samples, counters that went back) means no action.

pub mod capacity;
pub mod decision;
pub mod ds2;
pub mod estimate;
pub mod explain;
pub mod history;
pub mod policy;
pub mod recommend;
pub mod sample;
pub mod window;

#[cfg(test)]
mod oracle_tests;
#[cfg(test)]
mod plant_tests;

pub use decision::{Binding, Decision, Inputs, Reason};
pub use history::History;
pub use policy::{Bounds, Policy};
pub use recommend::{Recommendation, StageRecommendation, recommend};
pub use sample::Sample;
pub use window::{Blind, Window};
