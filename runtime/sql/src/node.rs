//! Our own nodes in DataFusion's logical plan.

mod watermark;
mod window;

pub(crate) use watermark::Watermark;
pub(crate) use window::{WINDOW_COLUMNS, WindowFunction};
