//! Every request to the API server is counted on its way, whoever makes it.
use std::task::{Context, Poll};

use axum::http::{Method, Request, Response};
use futures::future::{BoxFuture, FutureExt};
use kube::Client;
use kube::client::Body;
use tower_service::Service;

use crate::metrics::Metrics;

/// The same client, whose requests are counted.
pub fn counted(client: Client, metrics: Metrics) -> Client {
    let namespace = client.default_namespace().to_owned();
    Client::new(Counted { client, metrics }, namespace)
}

struct Counted {
    client: Client,
    metrics: Metrics,
}

impl Service<Request<Body>> for Counted {
    type Response = Response<Body>;
    type Error = kube::Error;
    type Future = BoxFuture<'static, Result<Response<Body>, kube::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), kube::Error>> {
        // The client behind this has a queue of its own.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        self.metrics.requested(verb(request.method(), request.uri().query().unwrap_or_default()));
        let client = self.client.clone();
        async move { client.send(request).await }.boxed()
    }
}

/// As Kubernetes names what is asked, where method and query tell.
fn verb(method: &Method, query: &str) -> &'static str {
    match method.as_str() {
        "GET" if query.split('&').any(|pair| pair == "watch=true") => "watch",
        "GET" => "get",
        "POST" => "create",
        "PUT" => "update",
        "PATCH" => "patch",
        "DELETE" => "delete",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_is_told_from_a_look() {
        assert_eq!(verb(&Method::GET, "limit=5&watch=true&allowWatchBookmarks=true"), "watch");
        assert_eq!(verb(&Method::GET, "labelSelector=watch%3Dtrue"), "get");
        assert_eq!(verb(&Method::PATCH, "fieldManager=m"), "patch");
    }
}
