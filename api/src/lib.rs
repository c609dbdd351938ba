//! The vocabulary both sides of Millstream speak: jobs and their status, REST messages, key-group arithmetic, owner
//! tables and the metric catalogue. No I/O, no tokio, no Kubernetes client.

pub mod id;
pub mod keygroup;
pub mod owner;
pub mod wire;
