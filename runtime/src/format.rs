//! Rows as text: the csv and json formats, and the cells both (and the print sink) share.
pub mod text;
pub mod time;
