//! The resource a user applies: one StreamJob. The same text works for `millstream up` and for `kubectl apply`.

pub mod bound;
mod file;
mod parse;
mod quantity;
pub mod setting;
pub(crate) mod spec;
#[cfg(test)]
pub(crate) mod tests;
mod validate;

pub use file::{API_VERSION, KIND, Metadata, RESTORE_ANNOTATION, StreamJob};
pub use parse::{Error, parse_yaml};
pub use quantity::parse_quantity;
pub use setting::Settings;
pub use spec::*;
pub use validate::{FieldError, Invalid};
