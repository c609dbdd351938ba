//! The admin port: `/metrics`, `/healthz` and `/readyz`, plain HTTP, nothing else.
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::metrics::Metrics;

/// What the operator still waits for before it can do its work. Ready when nothing is left.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<Mutex<BTreeSet<String>>>);

impl Readiness {
    /// It waits for this.
    pub fn wait_for(&self, what: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(what.to_owned());
    }

    /// This has come.
    pub fn done(&self, what: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(what);
    }

    /// What is left, in order.
    pub fn pending(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

/// Serves until `stop`. An operator that waits for the lease is ready too: it would act if it had to.
pub async fn serve(
    listener: TcpListener,
    readiness: Readiness,
    metrics: Metrics,
    mut stop: watch::Receiver<bool>,
) -> std::io::Result<()> {
    let router = Router::new()
        // It answers, so it lives. This never depends on the API server: restarting the operator cures nothing there.
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(|State((_, metrics)): State<(Readiness, Metrics)>| async move { metrics.text() }))
        .with_state((readiness, metrics));
    let stopped = async move {
        // An error means the sender is gone, and with it the operator.
        let _ = stop.wait_for(|stop| *stop).await;
    };
    axum::serve(listener, router).with_graceful_shutdown(stopped).await
}

async fn ready(State((readiness, _)): State<(Readiness, Metrics)>) -> (StatusCode, String) {
    let pending = readiness.pending();
    if pending.is_empty() {
        (StatusCode::OK, "ok\n".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, format!("waiting for: {}\n", pending.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn ready_says_what_is_pending_and_all_of_it_ends_on_stop() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        let readiness = Readiness::default();
        readiness.wait_for("the cache of pods");
        readiness.wait_for("the StreamJob resource");
        let served = tokio::spawn(serve(listener, readiness.clone(), Metrics::new().unwrap(), stopped));
        let get = |path: &'static str| async move {
            let http = reqwest::Client::builder().no_proxy().build().unwrap();
            let answer = http.get(format!("http://{address}{path}")).send().await.unwrap();
            (answer.status().as_u16(), answer.text().await.unwrap())
        };
        let waiting = "waiting for: the StreamJob resource, the cache of pods\n";
        assert_eq!(get("/readyz").await, (503, waiting.to_owned()));
        assert_eq!(get("/healthz").await, (200, "ok\n".to_owned()));
        readiness.done("the cache of pods");
        readiness.done("the StreamJob resource");
        assert_eq!(get("/readyz").await, (200, "ok\n".to_owned()));
        let (code, text) = get("/metrics").await;
        assert!(code == 200 && text.contains("millstream_operator_leader 0"), "{text}");
        stop.send_replace(true);
        served.await.unwrap().unwrap();
    }
}
