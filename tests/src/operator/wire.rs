//! Every request of an operator on its way to the API server: they are counted, something can happen to one of them, and watches
//! can have gaps.
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use kube::{Client, Config};
use serde_json::json;
use tokio::sync::watch;

/// More than the largest object has.
const BODY_MAX: usize = 4 << 20;

/// What happens to a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The operator dies before the server has seen it.
    DiesBefore,
    /// The operator dies after the server has done it and before it has heard of it.
    DiesAfter,
    /// The server answers with this code and does nothing.
    Refused(u16),
    /// The server does it, and the answer is lost.
    AnswerLost,
}

/// The way.
#[derive(Clone)]
pub struct Wire {
    fault: Option<(usize, Fault)>,
    writes: Arc<Mutex<Vec<String>>>,
    happened: Arc<watch::Sender<bool>>,
    gap: Arc<watch::Sender<bool>>,
    /// What was watched when the gap began, and has not been since.
    missed: Arc<Mutex<BTreeSet<String>>>,
    watched: Arc<Mutex<BTreeSet<String>>>,
}

#[derive(Clone)]
struct End {
    wire: Wire,
    server: Client,
}

impl Wire {
    /// One on which this happens to the n-th write.
    pub fn new(fault: Option<(usize, Fault)>) -> Self {
        let (happened, gap) = (Arc::new(watch::channel(false).0), Arc::new(watch::channel(false).0));
        Self { fault, writes: Arc::default(), happened, gap, missed: Arc::default(), watched: Arc::default() }
    }

    /// A client whose requests go this way. Made in the operator's runtime, with which it dies.
    pub(super) fn client(&self, config: Config) -> Result<Client, kube::Error> {
        let server = Client::try_from(config)?;
        let end = End { wire: self.clone(), server };
        Ok(Client::new(Router::new().fallback(forward).with_state(end), "default"))
    }

    /// Writes so far, each as its method and path.
    pub fn writes(&self) -> Vec<String> {
        self.writes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until the fault has happened.
    pub async fn fault(&self) {
        // The sender is in this value.
        let _ = self.happened.subscribe().wait_for(|happened| *happened).await;
    }

    /// Ends all watches, and lets none begin until `end_gap`, nor the lists they begin with.
    pub fn begin_gap(&self) {
        *self.missed.lock().unwrap_or_else(PoisonError::into_inner) = self.watched();
        self.gap.send_replace(true);
    }

    /// Lets watches begin again, each anew: what has changed meanwhile is not remembered any more.
    pub fn end_gap(&self) {
        self.gap.send_replace(false);
    }

    /// Paths whose watch has not begun again since the gap.
    pub fn missed(&self) -> BTreeSet<String> {
        self.missed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Paths that are watched, or should be.
    pub fn watched(&self) -> BTreeSet<String> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for the end of a gap.
    async fn after_gap(&self, path: &str) {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned());
        // The sender is in this value.
        let _ = self.gap.subscribe().wait_for(|gap| !gap).await;
    }

    /// Whether this watch is the first one after a gap.
    fn is_too_old(&self, path: &str) -> bool {
        self.missed.lock().unwrap_or_else(PoisonError::into_inner).remove(path)
    }

    /// An answer that ends when a gap begins.
    fn until_gap(&self, answer: Response) -> Response {
        let mut gap = self.gap.subscribe();
        let begun = async move {
            let _ = gap.wait_for(|gap| *gap).await;
        };
        answer.map(|body| Body::from_stream(body.into_data_stream().take_until(Box::pin(begun))))
    }

    /// What happens to this request.
    fn next(&self, request: &Request) -> Option<Fault> {
        let is_write = [Method::POST, Method::PUT, Method::PATCH, Method::DELETE].contains(request.method());
        // A dry run changes nothing.
        let is_write = is_write && !request.uri().query().unwrap_or_default().contains("dryRun=");
        is_write.then(|| self.written(format!("{} {}", request.method(), request.uri().path())))?
    }

    /// Notes a write, to whomever it goes, and says what happens to it.
    pub fn written(&self, what: String) -> Option<Fault> {
        let mut writes = self.writes.lock().unwrap_or_else(PoisonError::into_inner);
        writes.push(what);
        self.fault.filter(|(number, _)| *number == writes.len()).map(|(_, fault)| fault)
    }

    /// The fault has happened.
    pub fn happened(&self) {
        self.happened.send_replace(true);
    }

    /// The fault has happened, and the operator is not to hear of it: what it waits for stays as it is.
    pub fn dies_of(&self, awaited: impl Send + 'static) {
        self.happened();
        tokio::spawn(async move {
            let _awaited = awaited;
            std::future::pending::<()>().await;
        });
    }
}

/// As the API server refuses something.
fn refusal(code: StatusCode, reason: &str) -> Response {
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code.as_u16(),
                        "reason": reason, "message": "as the test wants it"});
    (code, status.to_string()).into_response()
}

async fn forward(State(end): State<End>, request: Request) -> Response {
    let (path, query) = (request.uri().path().to_owned(), request.uri().query().unwrap_or_default());
    let is_watch = query.contains("watch=true");
    // Nobody but watches lists by the page.
    if is_watch || query.contains("limit=") {
        end.wire.after_gap(&path).await;
    }
    if is_watch {
        if end.wire.is_too_old(&path) {
            return refusal(StatusCode::GONE, "Expired");
        }
        let answer = pass(&end.server, request).await.map_err(|error| (StatusCode::BAD_GATEWAY, error.to_string()));
        return answer.map_or_else(IntoResponse::into_response, |answer| end.wire.until_gap(answer));
    }
    let fault = end.wire.next(&request);
    let dead = async || {
        end.wire.happened();
        std::future::pending::<Response>().await
    };
    match fault {
        Some(Fault::DiesBefore) => return dead().await,
        Some(Fault::Refused(code)) => {
            end.wire.happened();
            let code = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let reason = if code == StatusCode::CONFLICT { "Conflict" } else { "InternalError" };
            return refusal(code, reason);
        }
        _ => {}
    }
    let answer = match pass(&end.server, request).await {
        Ok(answer) => answer,
        Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    };
    match fault {
        Some(Fault::DiesAfter) => dead().await,
        Some(Fault::AnswerLost) => {
            end.wire.happened();
            (StatusCode::GATEWAY_TIMEOUT, "lost").into_response()
        }
        _ => answer,
    }
}

async fn pass(server: &Client, request: Request) -> anyhow::Result<Response> {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, BODY_MAX).await?;
    let request = axum::http::Request::from_parts(parts, kube::client::Body::from(body.to_vec()));
    Ok(server.send(request).await?.map(Body::new))
}
