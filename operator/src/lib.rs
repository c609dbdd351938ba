//! The control plane of Millstream: observe -> admit -> decide -> build -> apply -> report. It never carries a record and
//! never imports the runtime: what it knows of a job comes from the job's own REST API.

pub mod admin;
pub mod authority;
pub mod autoscale;
pub mod backoff;
pub mod cache;
pub mod client;
pub mod clock;
pub mod context;
pub mod control;
pub mod controller;
pub mod credential;
pub mod deletion;
pub mod diagnose;
pub mod event;
pub mod finalizer;
pub mod lease;
pub mod metrics;
pub mod name;
pub mod platform;
pub mod random;
pub mod reconcile;
mod request;
pub mod resource;
pub mod revision;
pub mod run;
pub mod snapshot;
pub mod subset;
