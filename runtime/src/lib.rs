//! Data plane: sql -> plan -> stages; exchange, state, checkpoint, connectors; the coordinator and worker roles.
//! Never talks to the Kubernetes API.

pub mod batch;
pub mod clock;
pub mod exchange;
pub mod net;
pub mod random;
pub mod sink;
pub mod source;
pub mod stage;
pub mod state;
