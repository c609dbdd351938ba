//! The job's REST API, over the coordinator's loop.
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, Request as HttpRequest, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use millstream_api::wire::{
    CheckpointStatus, EraseRequest, EraseSavepointRequest, EraseStatus, ErrorBody, JobStatus, KeepRequest,
    ReleaseRequest, RescaleRequest, RescaleStatus, SavepointRequest, StageStatus, StopRequest,
};
use serde::Deserialize;
use tokio::sync::{mpsc, oneshot};
use utoipa::{IntoParams, OpenApi};

use super::protocol::{Leaves, Reply, Request};

/// What the API asks of the coordinator's loop.
pub enum Call {
    /// Whether it takes in anything at all.
    Alive(oneshot::Sender<()>),
    /// The job as a whole.
    Job(oneshot::Sender<JobStatus>),
    /// Its stages.
    Stages {
        /// With the load of their key groups.
        groups: bool,
        /// Where the answer goes.
        reply: oneshot::Sender<Vec<StageStatus>>,
    },
    /// Its checkpoints.
    Checkpoints(oneshot::Sender<Vec<CheckpointStatus>>),
    /// Its rescales.
    Rescales {
        /// Answered when a rescale has come further, or after a while.
        beyond: Option<Beyond>,
        /// Where the answer goes.
        reply: oneshot::Sender<Vec<RescaleStatus>>,
    },
    /// Prometheus text.
    Metrics(oneshot::Sender<String>),
    /// To change something.
    Change(Request, oneshot::Sender<Reply>),
    /// To remove something from the store.
    Erase(Erase, oneshot::Sender<Erased>),
}

/// What is to be removed from the store.
#[derive(Debug)]
pub enum Erase {
    /// All the job has there.
    Job(EraseRequest),
    /// A savepoint.
    Savepoint(EraseSavepointRequest),
}

/// What was, or a status and why not.
pub type Erased = Result<EraseStatus, (u16, ErrorBody)>;

/// What somebody has seen of a rescale who waits for more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Beyond {
    /// Its id.
    pub id: u64,
    /// Batches it had done.
    pub batches: u32,
}

impl Beyond {
    /// Whether there is more to see: it has done more, it is over, or it is not there.
    pub fn is_passed(&self, rescales: &[RescaleStatus]) -> bool {
        let it = rescales.iter().find(|rescale| rescale.id == self.id);
        it.is_none_or(|rescale| rescale.state.is_final() || rescale.batches_done != self.batches)
    }
}

#[derive(Clone)]
struct Api {
    calls: mpsc::Sender<Call>,
    token: std::sync::Arc<str>,
}

/// An answer that is not the one asked for.
struct Refused(StatusCode, String);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.0, Json(ErrorBody { error: self.1 })).into_response()
    }
}

impl Refused {
    fn from_reply(reply: Reply) -> Self {
        match reply {
            Reply::Refused(status, body) => {
                Self(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), body.error)
            }
            other => Self(StatusCode::INTERNAL_SERVER_ERROR, format!("unexpected reply {other:?}")),
        }
    }
}

impl Api {
    async fn ask<T>(&self, call: impl FnOnce(oneshot::Sender<T>) -> Call) -> Result<T, Refused> {
        let gone = || Refused(StatusCode::SERVICE_UNAVAILABLE, "the job is just ending".into());
        let (reply, answer) = oneshot::channel();
        self.calls.send(call(reply)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())
    }
}

/// All routes. Everything under /api/v1 but the OpenAPI document wants `Authorization: Bearer TOKEN`.
pub fn router(calls: mpsc::Sender<Call>, token: &str) -> Router {
    let api = Api { calls, token: token.into() };
    let guarded = Router::new()
        .route("/api/v1/job", get(job))
        .route("/api/v1/stages", get(stages))
        .route("/api/v1/checkpoints", get(checkpoints))
        .route("/api/v1/checkpoints/keep", post(keep))
        .route("/api/v1/savepoints", post(savepoint))
        .route("/api/v1/savepoints/erase", post(erase_savepoint))
        .route("/api/v1/rescale", post(rescale))
        .route("/api/v1/rescale/cancel", post(cancel_rescale))
        .route("/api/v1/rescales", get(rescales))
        .route("/api/v1/workers/release", post(release))
        .route("/api/v1/stop", post(stop))
        .route("/api/v1/erase", post(erase))
        .layer(middleware::from_fn_with_state(api.clone(), authorize));
    Router::new()
        .route("/api/v1/openapi.json", get(|| async { Json(openapi()) }))
        .merge(guarded)
        .fallback(|| async { Refused(StatusCode::NOT_FOUND, "no such path; see /api/v1/openapi.json".into()) })
        .with_state(api)
}

/// The OpenAPI document.
pub fn openapi() -> utoipa::openapi::OpenApi {
    #[derive(OpenApi)]
    #[openapi(
        info(title = "Millstream job API", description = "One running job, served by its coordinator."),
        paths(
            job,
            stages,
            checkpoints,
            keep,
            savepoint,
            erase_savepoint,
            rescale,
            cancel_rescale,
            rescales,
            release,
            stop,
            erase
        )
    )]
    struct Document;
    Document::openapi()
}

async fn authorize(State(api): State<Api>, request: HttpRequest, next: Next) -> Response {
    let given = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let given = given.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    if same(given.as_bytes(), api.token.as_bytes()) {
        return next.run(request).await;
    }
    let text = "the token is missing or wrong; it is in api.json of the job's work folder, or in its secret NAME-tls";
    Refused(StatusCode::UNAUTHORIZED, text.into()).into_response()
}

/// Compares in a time that does not tell where the first difference is.
fn same(given: &[u8], expected: &[u8]) -> bool {
    given.len() == expected.len() && given.iter().zip(expected).fold(0, |all, (a, b)| all | (a ^ b)) == 0
}

/// The job as a whole.
#[utoipa::path(get, path = "/api/v1/job", responses((status = 200, body = JobStatus)))]
async fn job(State(api): State<Api>) -> Result<Json<JobStatus>, Refused> {
    api.ask(Call::Job).await.map(Json)
}

/// What of the stages is asked for.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct StagesQuery {
    /// The load of every key group, too.
    #[serde(default)]
    groups: bool,
}

/// Stages with their tasks and counters.
#[utoipa::path(get, path = "/api/v1/stages", params(StagesQuery),
    responses((status = 200, body = Vec<StageStatus>), (status = 400, body = ErrorBody)))]
async fn stages(
    State(api): State<Api>,
    query: Result<Query<StagesQuery>, QueryRejection>,
) -> Result<Json<Vec<StageStatus>>, Refused> {
    let refused = |error: QueryRejection| Refused(StatusCode::BAD_REQUEST, error.body_text());
    let Query(StagesQuery { groups }) = query.map_err(refused)?;
    api.ask(|reply| Call::Stages { groups, reply }).await.map(Json)
}

/// Complete checkpoints of this coordinator, newest first.
#[utoipa::path(get, path = "/api/v1/checkpoints", responses((status = 200, body = Vec<CheckpointStatus>)))]
async fn checkpoints(State(api): State<Api>) -> Result<Json<Vec<CheckpointStatus>>, Refused> {
    api.ask(Call::Checkpoints).await.map(Json)
}

/// What of the rescales is asked for.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct RescalesQuery {
    /// Answer when this rescale is over or has done other than `batches` batches, or else after 2 s.
    id: Option<u64>,
    /// Batches of it that have been seen.
    #[serde(default)]
    batches: u32,
}

/// The last rescales of the job, newest first.
#[utoipa::path(get, path = "/api/v1/rescales", params(RescalesQuery),
    responses((status = 200, body = Vec<RescaleStatus>), (status = 400, body = ErrorBody)))]
async fn rescales(
    State(api): State<Api>,
    query: Result<Query<RescalesQuery>, QueryRejection>,
) -> Result<Json<Vec<RescaleStatus>>, Refused> {
    let refused = |error: QueryRejection| Refused(StatusCode::BAD_REQUEST, error.body_text());
    let Query(RescalesQuery { id, batches }) = query.map_err(refused)?;
    let beyond = id.map(|id| Beyond { id, batches });
    api.ask(|reply| Call::Rescales { beyond, reply }).await.map(Json)
}

/// Takes a savepoint; answers when it is complete.
#[utoipa::path(post, path = "/api/v1/savepoints", request_body = SavepointRequest,
    responses((status = 200, body = CheckpointStatus), (status = 409, body = ErrorBody), (status = 503, body = ErrorBody)))]
async fn savepoint(State(api): State<Api>, body: axum::body::Bytes) -> Result<Json<CheckpointStatus>, Refused> {
    let request = if body.is_empty() { SavepointRequest::default() } else { parse(&body)? };
    match api.ask(|reply| Call::Change(Request::Savepoint(request), reply)).await? {
        Reply::Savepoint(status) => Ok(Json(status)),
        other => Err(Refused::from_reply(other)),
    }
}

/// Begins a rescale; watch it under /api/v1/rescales.
#[utoipa::path(post, path = "/api/v1/rescale", request_body = RescaleRequest,
    responses((status = 200, body = RescaleStatus), (status = 400, body = ErrorBody), (status = 409, body = ErrorBody)))]
async fn rescale(State(api): State<Api>, body: axum::body::Bytes) -> Result<Json<RescaleStatus>, Refused> {
    let request = parse(&body)?;
    match api.ask(|reply| Call::Change(Request::Rescale(request), reply)).await? {
        Reply::Rescale(status) => Ok(Json(*status)),
        other => Err(Refused::from_reply(other)),
    }
}

/// Ends the rescale under way at its next settled point; watch it under /api/v1/rescales.
#[utoipa::path(post, path = "/api/v1/rescale/cancel",
    responses((status = 200, body = RescaleStatus), (status = 409, body = ErrorBody)))]
async fn cancel_rescale(State(api): State<Api>) -> Result<Json<RescaleStatus>, Refused> {
    match api.ask(|reply| Call::Change(Request::CancelRescale, reply)).await? {
        Reply::Rescale(status) => Ok(Json(*status)),
        other => Err(Refused::from_reply(other)),
    }
}

/// Changes how many checkpoints are kept. Those that are too many go after the next one.
#[utoipa::path(post, path = "/api/v1/checkpoints/keep", request_body = KeepRequest,
    responses((status = 200, body = JobStatus), (status = 400, body = ErrorBody), (status = 409, body = ErrorBody)))]
async fn keep(State(api): State<Api>, body: axum::body::Bytes) -> Result<Json<JobStatus>, Refused> {
    let request: KeepRequest = parse(&body)?;
    match api.ask(|reply| Call::Change(Request::Keep(request), reply)).await? {
        Reply::Done => api.ask(Call::Job).await.map(Json),
        other => Err(Refused::from_reply(other)),
    }
}

/// Releases workers that host nothing: nothing is placed on these incarnations any more, and their processes may be ended.
#[utoipa::path(post, path = "/api/v1/workers/release", request_body = ReleaseRequest,
    responses((status = 200, body = JobStatus), (status = 400, body = ErrorBody), (status = 409, body = ErrorBody)))]
async fn release(State(api): State<Api>, body: axum::body::Bytes) -> Result<Json<JobStatus>, Refused> {
    let request: ReleaseRequest = parse(&body)?;
    match api.ask(|reply| Call::Change(Request::Release(request), reply)).await? {
        Reply::Done => api.ask(Call::Job).await.map(Json),
        other => Err(Refused::from_reply(other)),
    }
}

/// Begins to stop the job.
#[utoipa::path(post, path = "/api/v1/stop", request_body = StopRequest,
    responses((status = 200, body = JobStatus), (status = 409, body = ErrorBody)))]
async fn stop(State(api): State<Api>, body: axum::body::Bytes) -> Result<Json<JobStatus>, Refused> {
    let StopRequest { savepoint, resumes, expect } = parse(&body)?;
    let stop = Request::Stop(match (savepoint, resumes) {
        (false, _) => Leaves::Nothing,
        (true, true) => Leaves::Checkpoint,
        (true, false) => Leaves::Savepoint,
    });
    let stop = match expect {
        Some(expect) => Request::If(expect, Box::new(stop)),
        None => stop,
    };
    match api.ask(|reply| Call::Change(stop, reply)).await? {
        Reply::Stop => api.ask(Call::Job).await.map(Json),
        other => Err(Refused::from_reply(other)),
    }
}

/// Removes a savepoint and the files that no other checkpoint needs.
#[utoipa::path(post, path = "/api/v1/savepoints/erase", request_body = EraseSavepointRequest,
    responses((status = 200, body = EraseStatus), (status = 400, body = ErrorBody), (status = 503, body = ErrorBody)))]
async fn erase_savepoint(State(api): State<Api>, body: axum::body::Bytes) -> Result<Json<EraseStatus>, Refused> {
    let request = parse(&body)?;
    erased(api.ask(|reply| Call::Erase(Erase::Savepoint(request), reply)).await?)
}

/// Removes everything that a job which is over has in the store.
#[utoipa::path(post, path = "/api/v1/erase", request_body = EraseRequest,
    responses((status = 200, body = EraseStatus), (status = 400, body = ErrorBody), (status = 409, body = ErrorBody),
        (status = 503, body = ErrorBody)))]
async fn erase(State(api): State<Api>, body: axum::body::Bytes) -> Result<Json<EraseStatus>, Refused> {
    let request = parse(&body)?;
    erased(api.ask(|reply| Call::Erase(Erase::Job(request), reply)).await?)
}

fn erased(erased: Erased) -> Result<Json<EraseStatus>, Refused> {
    erased.map(Json).map_err(|(status, body)| Refused::from_reply(Reply::Refused(status, body)))
}

fn parse<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, Refused> {
    let refused =
        |error| Refused(StatusCode::BAD_REQUEST, format!("the request body is not what is expected: {error}"));
    serde_json::from_slice(body).map_err(refused)
}

#[cfg(test)]
mod tests {
    use millstream_api::wire::RescaleState;

    use super::*;

    #[test]
    fn who_has_seen_all_there_is_of_a_rescale_waits() {
        let one = |id, batches_done, state| RescaleStatus { id, batches_done, state, ..RescaleStatus::default() };
        let rescales = [one(3, 2, RescaleState::Running), one(2, 5, RescaleState::Done)];
        let passed = |id, batches| Beyond { id, batches }.is_passed(&rescales);
        assert!(!passed(3, 2), "nothing more");
        assert!(passed(3, 1), "a batch more");
        assert!(passed(2, 5), "it is over");
        assert!(passed(1, 0), "of another coordinator, or forgotten");
    }
}
