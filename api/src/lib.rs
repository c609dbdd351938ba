//! The vocabulary both sides of Millstream speak: jobs and their status, REST messages, key-group arithmetic, owner
//! tables and the metric catalogue. No I/O, no tokio. Resources of Kubernetes are behind the feature
//! `crd`.

#[cfg(feature = "crd")]
pub mod crd;
pub mod duration;
pub mod error;
pub mod id;
pub mod job;
pub mod keygroup;
pub mod metric;
pub mod owner;
pub mod wire;
