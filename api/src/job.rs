//! The resource a user applies: one StreamJob. The same text works for `millstream up` and, later, for `kubectl apply`.

mod parse;
mod quantity;
pub mod setting;
mod spec;
#[cfg(test)]
mod tests;
mod validate;

pub use parse::{Error, parse_yaml};
pub use quantity::parse_quantity;
pub use setting::Settings;
pub use spec::*;
pub use validate::{FieldError, Invalid};
