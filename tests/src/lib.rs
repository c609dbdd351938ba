//! What the tests that cross crate walls share.

pub mod sim;
pub mod tidy;
