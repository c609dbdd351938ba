//! The identifiers that order everything: each is a plain number with one meaning (see DESIGN words in ARCHITECTURE.md).

/// Key group: the unit of keyed state and routing, `0..key_groups` of the job (at most 32,768).
pub type KeyGroup = u16;
/// One parallel instance of a stage. Never reused within a job.
pub type TaskId = u32;
/// Number of a checkpoint barrier; grows by one per attempted checkpoint of a job, across restarts.
pub type Epoch = u64;
/// Incarnation of a job's task set.
pub type Generation = u64;
/// Incarnation of a coordinator.
pub type Term = u64;
/// Version of an owner table.
pub type TableVersion = u64;
