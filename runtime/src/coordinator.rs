//! The coordinator: one process per job. Plans, places tasks, runs checkpoints and rescales, serves the job's API.
//!
//! `protocol` is the pure core (facts in, actions out), `place` and `round` its parts, `view` turns it into REST messages; the
//! shell around it is in `run` and `api`.

pub mod api;
mod control;
mod load;
mod metrics;
pub mod place;
pub mod protocol;
pub mod round;
pub mod run;
pub mod shape;
pub mod view;
