//! Watches, and the queue of jobs they fill. Jobs are looked after side by side, a job never twice at once.
use std::sync::Arc;

use futures::StreamExt;
use kube::runtime::controller::{Config, Error as ControllerError};
use kube::runtime::{applier, watcher};
use kube::{Client, ResourceExt};
use millstream_api::error::chain;
use tokio::sync::watch;

use crate::admin::Readiness;
use crate::cache::Cache;
use crate::context::{Context, Settings};
use crate::event::Events;
use crate::lease::Claim;
use crate::metrics::Metrics;
use crate::reconcile::{self, reconcile};
use crate::snapshot;

/// Jobs looked after at a time. Most of a turn is waiting for answers, for seconds where a coordinator gives none: those of a node
/// that is gone must not keep all others waiting.
const CONCURRENCY: u16 = 64;

/// What a controller is given.
#[derive(Clone)]
pub struct Parts {
    /// The API server.
    pub client: Client,
    /// Whether this process may act.
    pub claim: Claim,
    /// What the operator was told.
    pub settings: Settings,
    /// Where events go.
    pub events: Events,
    /// Where things are counted.
    pub metrics: Metrics,
    /// What is still waited for.
    pub readiness: Readiness,
}

/// Looks after the jobs of `namespace`, or of all, until `stop`; then turns that have begun are finished.
pub async fn run(parts: Parts, namespace: Option<String>, mut stop: watch::Receiver<bool>) {
    let Parts { client, claim, settings, events, metrics, readiness } = parts;
    let (cache, triggers, of_snapshots) = Cache::watch(&client, namespace.as_deref());
    let waiting = format!("the objects of {}", namespace.as_deref().unwrap_or("all namespaces"));
    readiness.wait_for(&waiting);
    let nothing_begun = {
        let (cache, mut stop) = (cache.clone(), stop.clone());
        async move {
            tokio::select! {
                true = cache.ready() => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
            readiness.done(&waiting);
            futures::future::pending().await
        }
    };
    let context = Arc::new(Context::new(client, cache.clone(), claim, settings, events, metrics));
    let snapshots = snapshot::run(Arc::clone(&context), of_snapshots, stop.clone());
    let stopped = async move {
        // An error means the sender is gone, and with it the operator.
        let _ = stop.wait_for(|stop| *stop).await;
    };
    let run = |job, context| Box::pin(reconcile(job, context));
    let config = Config::default().concurrency(CONCURRENCY);
    let turns =
        applier(run, reconcile::retry, Arc::clone(&context), cache.jobs.clone(), triggers.take_until(stopped), config);
    let watched = turns.for_each(|turn| {
        settle(&context, turn);
        futures::future::ready(())
    });
    tokio::select! {
        _ = futures::future::join(watched, snapshots) => {}
        // The queues hold everything back until their objects are read once, for ever if the watches have ended before.
        () = nothing_begun => {}
    }
}

/// After each turn.
fn settle<T>(context: &Context, turn: Result<T, ControllerError<reconcile::Error, watcher::Error>>) {
    let uids: std::collections::HashSet<String> = match &turn {
        // A job is gone: whatever else is gone is forgotten with it.
        Err(ControllerError::ObjectNotFound(_)) => {
            context.cache.jobs.state().iter().filter_map(|job| job.uid()).collect()
        }
        _ => std::collections::HashSet::new(),
    };
    context.metrics.set_jobs(context.cache.jobs.len());
    match turn {
        Ok(_) => {}
        Err(ControllerError::ObjectNotFound(_)) => context.retain(|uid| uids.contains(uid)),
        Err(ControllerError::ReconcilerFailed(error, job)) => {
            tracing::warn!(job = %job, error = %chain(&error), "a turn failed; it is tried again");
        }
        Err(ControllerError::QueueError(error)) => {
            tracing::warn!(error = %chain(&error), "a watch failed; it begins again")
        }
        Err(ControllerError::RunnerError(error)) => tracing::error!(%error, "the queue failed"),
    }
}
