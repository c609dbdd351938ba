use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::{get, post};
use axum::{Json, Router};
use millstream_api::wire::Expect;
use serde_json::{Value, json};

use super::*;

/// A server that knows one token; its answers are texts of the API.
async fn serve(token: &'static str) -> String {
    let authorized = |headers: &HeaderMap, token: &str| {
        headers.get("authorization").is_some_and(|value| value == format!("Bearer {token}").as_str())
    };
    let rescales = move |State(token): State<&'static str>, headers: HeaderMap| async move {
        if authorized(&headers, token) {
            (
                StatusCode::OK,
                Json(json!([{"id": 1, "strategy": "restart", "from": {"a": 1}, "to": {"a": 2},
                "state": "done", "requested_at_ms": 5, "duration_ms": 700, "groups_moved": 3, "groups_moved_min": 3}])),
            )
        } else {
            (StatusCode::UNAUTHORIZED, Json(json!({"error": "wrong token"})))
        }
    };
    let rescale = |Json(body): Json<Value>| async move {
        let message = format!("the job is at generation 4, not {}", body["expect"]["generation"]);
        (StatusCode::CONFLICT, Json(json!({ "error": message })))
    };
    let router = Router::new()
        .route("/api/v1/rescales", get(rescales))
        .route("/api/v1/rescale", post(rescale))
        .route("/api/v1/job", get(|| async { "surprise" }))
        .with_state(token);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

fn write(dir: &Path, address: &str, token: &str) {
    std::fs::write(dir.join(API_FILE), json!({"address": address, "token": token}).to_string()).unwrap();
}

fn workdir(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("millstream-client-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

#[tokio::test]
async fn a_restarted_coordinator_is_found_again() {
    let dir = workdir("moved");
    let (first, second) = (serve("one").await, serve("two").await);
    write(&dir, &first, "one");
    let client = Client::in_workdir(&dir).unwrap();
    assert_eq!(client.rescales().await.unwrap()[0].duration_ms, Some(700));
    write(&dir, &first, "changed");
    assert_eq!(client.rescales().await.unwrap().len(), 1, "a working endpoint is not given up");
    write(&dir, &second, "two");
    *client.endpoint.lock().unwrap() = Some(Endpoint { address: "127.0.0.1:1".into(), token: "one".into() });
    assert_eq!(client.rescales().await.unwrap().len(), 1);
    std::fs::remove_dir_all(dir).unwrap();
}

#[tokio::test]
async fn errors_say_what_and_where() {
    let address = serve("secret").await;
    let client = Client::new(&address, "guess").unwrap();
    let error = client.rescales().await.unwrap_err().to_string();
    assert_eq!(error, "the job's API refused: wrong token (HTTP 401)");
    let client = Client::new(&address, "secret").unwrap();
    let (stages, expect) = ([("a".into(), 2)].into(), Some(Expect::at(3)));
    let request = RescaleRequest { stages, expect, ..RescaleRequest::default() };
    let error = client.rescale(&request).await.unwrap_err();
    assert!(error.is_conflict() && error.to_string().contains("generation 4, not 3"), "{error}");
    let error = client.job().await.unwrap_err().to_string();
    assert!(error.contains("none of Millstream's"), "{error}");
    let error = client.savepoint().await.unwrap_err().to_string();
    assert!(error.contains("HTTP 404"), "{error}");
    let error = Client::new("127.0.0.1:1", "secret").unwrap().job().await.unwrap_err().to_string();
    assert!(
        error.starts_with("the job's API at 127.0.0.1:1 does not answer (") && !error.contains("secret"),
        "{error}"
    );
    let error = Client::in_workdir(Path::new("/nonexistent")).unwrap().job().await.unwrap_err().to_string();
    assert!(error.starts_with("no job runs in /nonexistent: api.json cannot be read"), "{error}");
    assert!(!format!("{client:?}").contains("secret"));
}
