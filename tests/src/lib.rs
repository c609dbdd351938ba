//! What the tests that cross crate walls share.

pub mod cluster;
pub mod golden;
pub mod operator;
pub mod pods;
pub mod popular;
pub mod process;
pub mod sim;
pub mod tidy;
