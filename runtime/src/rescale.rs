//! What a live rescale moves, in which batches, and what that is expected to take. Pure: facts in, plan out; the coordinator
//! carries it out.

pub mod budget;
pub mod estimate;
pub mod plan;
