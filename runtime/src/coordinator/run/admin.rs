//! `/metrics`, `/healthz` and `/readyz`: what probes and Prometheus ask, without a token.
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::coordinator::api::Call;

/// A loop that has not answered by then is not alive.
const PATIENCE: Duration = Duration::from_secs(5);

type Calls = mpsc::Sender<Call>;
type Answer = (StatusCode, String);

/// The routes.
pub fn router(calls: Calls) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        // Ready to be asked: also about what stands in the way of the job.
        .route("/readyz", get(|| async { "ok\n" }))
        .with_state(calls)
}

async fn ask<T>(calls: &Calls, call: impl FnOnce(oneshot::Sender<T>) -> Call) -> Result<T, Answer> {
    let (reply, answer) = oneshot::channel();
    let asked = async {
        calls.send(call(reply)).await.ok()?;
        answer.await.ok()
    };
    let silent = || (StatusCode::SERVICE_UNAVAILABLE, "the coordinator does not answer\n".to_owned());
    timeout(PATIENCE, asked).await.ok().flatten().ok_or_else(silent)
}

async fn metrics(State(calls): State<Calls>) -> Result<String, Answer> {
    ask(&calls, Call::Metrics).await
}

async fn healthz(State(calls): State<Calls>) -> Result<&'static str, Answer> {
    ask(&calls, Call::Alive).await.map(|()| "ok\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_coordinator_is_alive_if_its_loop_answers() {
        let (calls, mut called) = mpsc::channel(1);
        let ask = || tokio::spawn(healthz(State(calls.clone())));
        let (answer, call) = (ask(), called.recv().await);
        let Some(Call::Alive(reply)) = call else { panic!("it is asked something else") };
        reply.send(()).unwrap();
        assert_eq!(answer.await.unwrap(), Ok("ok\n"));
        let answer = ask();
        drop(called.recv().await);
        assert_eq!(answer.await.unwrap().unwrap_err().0, StatusCode::SERVICE_UNAVAILABLE);
        drop(called);
        assert_eq!(ask().await.unwrap().unwrap_err().0, StatusCode::SERVICE_UNAVAILABLE);
    }
}
