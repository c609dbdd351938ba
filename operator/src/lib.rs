//! The control plane of Millstream: observe -> admit -> decide -> build -> apply -> report. It never carries a record and
//! never imports the runtime: what it knows of a job comes from the job's own REST API.

pub mod autoscale;
pub mod client;
pub mod clock;
pub mod control;
pub mod platform;
