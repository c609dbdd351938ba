//! Streaming SQL: text to stage graph. The only crate of the product that names DataFusion.
//!
//! `plan(text, options)` parses the dialect of Flink SQL, resolves and optimises with DataFusion, and cuts the logical
//! plan into stages of fused ops joined by edges. Nothing here runs: the runtime builds its loops from [`StageGraph`].

pub mod expr;
pub mod graph;

pub use arrow;
pub use expr::Expr;
pub use graph::{Edge, OpKind, OpSpec, Partition, Stage, StageGraph};
