//! Data plane: sql -> plan -> stages; exchange, state, checkpoint, connectors; the coordinator and worker roles.
//! Runs in pods, and never talks to the Kubernetes API.

pub mod batch;
pub mod bench;
pub mod checkpoint;
pub mod clock;
pub mod connector;
pub mod coordinator;
pub mod exchange;
mod format;
pub mod job;
pub mod message;
pub mod metrics;
pub mod net;
pub mod pod;
pub mod priority;
pub mod random;
pub mod redact;
pub mod rescale;
pub mod sink;
pub mod source;
pub mod stage;
pub mod state;
pub mod workdir;
pub mod worker;
