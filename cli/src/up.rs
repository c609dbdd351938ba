//! What `millstream up` shows: a live view on a terminal, JSON lines elsewhere, and a summary at the end.

pub mod headless;
pub mod model;
pub mod summary;
pub mod view;
