//! The control loop: observe -> decide -> apply -> report, the same on every platform.
//!
//! [`step`] is pure: what was observed and what is remembered go in, actions come out. [`run`] is the thin shell around it.

mod crew;
mod memory;
mod plan;
mod probation;
pub mod report;
mod run;
mod scarce;
mod step;
#[cfg(test)]
mod tests;

pub use memory::Memory;
pub use plan::{Mode, Plan, Targets};
pub use report::{Event, Report};
pub use run::{Outcome, run};
pub use scarce::GivenUp;
pub use step::{Action, step};
