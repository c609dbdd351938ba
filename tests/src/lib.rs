//! What the tests that cross crate walls share.

pub mod tidy;
