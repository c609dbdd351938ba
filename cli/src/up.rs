//! What `millstream up` shows: a live view on a terminal, JSON lines elsewhere, and a summary at the end.

pub mod command;
pub mod headless;
pub mod model;
mod oracle;
pub mod summary;
pub mod view;
