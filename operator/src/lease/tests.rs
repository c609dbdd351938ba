use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use super::*;

/// One Lease with the rules of the API server: a write with another resource version than the present one is refused.
#[derive(Debug, Clone, Default)]
struct Server(Arc<Mutex<(Option<Value>, u64)>>);

impl Server {
    fn client(&self) -> Client {
        Client::new(Router::new().fallback(answer).with_state(self.clone()), "default")
    }

    fn lease(&self) -> Option<Lease> {
        self.0.lock().unwrap().0.clone().map(|value| serde_json::from_value(value).unwrap())
    }

    fn holder(&self) -> Option<String> {
        self.lease()?.spec?.holder_identity
    }
}

async fn answer(State(server): State<Server>, method: Method, body: Bytes) -> (StatusCode, String) {
    let refuse = |code: StatusCode| {
        let reason = if code == StatusCode::NOT_FOUND { "NotFound" } else { "Conflict" };
        let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code.as_u16(),
                            "reason": reason, "message": "no"});
        (code, status.to_string())
    };
    let mut state = server.0.lock().unwrap();
    if method == Method::GET {
        return match &state.0 {
            Some(lease) => (StatusCode::OK, lease.to_string()),
            None => refuse(StatusCode::NOT_FOUND),
        };
    }
    let mut wanted: Value = serde_json::from_slice(&body).unwrap();
    let is_create = method == Method::POST;
    let present = state.0.as_ref().map(|lease| lease["metadata"]["resourceVersion"].clone());
    let fits = match &present {
        None => is_create,
        Some(version) => !is_create && wanted["metadata"]["resourceVersion"] == *version,
    };
    if !fits {
        return refuse(StatusCode::CONFLICT);
    }
    state.1 += 1;
    wanted["metadata"]["resourceVersion"] = json!(state.1.to_string());
    state.0 = Some(wanted.clone());
    (StatusCode::OK, wanted.to_string())
}

fn candidate(holder: &str) -> Candidate {
    Candidate { namespace: "millstream".into(), name: "millstream-operator".into(), holder: holder.into() }
}

#[test]
fn a_lease_is_taken_when_it_is_free_ours_or_not_renewed_for_its_duration_on_our_clock() {
    let mut seen = Seen::default();
    assert_eq!(step(None, "a", &mut seen, 0), Step::Create);
    let mut lease = taken(None, &candidate("b"), 1_000_000);
    lease.metadata.resource_version = Some("1".into());
    assert_eq!(step(Some(&lease), "b", &mut Seen::default(), 0), Step::Take);
    assert_eq!(step(Some(&lease), "a", &mut seen, 50_000), Step::Wait, "just seen, whatever its own clock says");
    assert_eq!(step(Some(&lease), "a", &mut seen, 64_999), Step::Wait);
    assert_eq!(step(Some(&lease), "a", &mut seen, 65_000), Step::Take);
    lease.metadata.resource_version = Some("2".into());
    assert_eq!(step(Some(&lease), "a", &mut seen, 65_000), Step::Wait, "it was renewed");
    assert_eq!(step(None, "a", &mut seen, 79_999), Step::Wait, "somebody removed it, and its holder acts still");
    assert_eq!(step(None, "a", &mut seen.clone(), 80_000), Step::Create);
    lease.metadata.resource_version = Some("3".into());
    lease.spec.as_mut().unwrap().holder_identity = None;
    assert_eq!(step(Some(&lease), "a", &mut seen, 65_000), Step::Take, "it was given back");
    assert_eq!(step(None, "a", &mut seen, 65_000), Step::Create);
}

#[test]
fn transitions_count_holders_and_renewals_keep_the_time_of_acquisition() {
    let first = taken(None, &candidate("a"), 1_000);
    let renewed = taken(Some(&first), &candidate("a"), 2_000);
    let other = taken(Some(&renewed), &candidate("b"), 3_000);
    let spec = |lease: &Lease| lease.spec.clone().unwrap();
    assert_eq!((spec(&first).lease_transitions, spec(&renewed).lease_transitions), (Some(0), Some(0)));
    assert_eq!(spec(&other).lease_transitions, Some(1));
    assert_eq!(spec(&renewed).acquire_time, spec(&first).acquire_time);
    assert_ne!(spec(&renewed).renew_time, spec(&first).renew_time);
}

#[tokio::test]
async fn of_two_that_saw_the_same_lease_one_wins() {
    let server = Server::default();
    let (mut a, claim_a) = Election::new(server.client(), candidate("a"));
    let (mut b, claim_b) = Election::new(server.client(), candidate("b"));
    let lease = taken(None, &candidate("gone"), now_ms());
    a.api.create(&PostParams::default(), &lease).await.unwrap();
    // Both have watched the holder be silent for too long.
    let long_ago = steady_ms() - 15_000;
    (a.seen, b.seen) = (see(&server.lease().unwrap(), long_ago), see(&server.lease().unwrap(), long_ago));
    let stale = server.lease();
    a.turn().await.unwrap();
    assert!(claim_a.holds());
    // What b decided before a's write reaches the server after it.
    let late = taken(stale.as_ref(), &candidate("b"), now_ms());
    let refused = b.api.replace("millstream-operator", &PostParams::default(), &late).await;
    assert!(matches!(refused, Err(kube::Error::Api(status)) if status.code == 409));
    b.turn().await.unwrap();
    assert!(!claim_b.holds());
    assert_eq!(server.holder().as_deref(), Some("a"));
}

#[tokio::test]
async fn a_holder_that_was_paused_stops_acting_when_another_took_over() {
    let server = Server::default();
    let (mut a, claim) = Election::new(server.client(), candidate("a"));
    a.turn().await.unwrap();
    let until_ms = (*a.claim.borrow()).unwrap();
    assert!(claim.holds_at(until_ms - 1) && !claim.holds_at(until_ms), "without renewal it ends by itself");
    assert!(until_ms < steady_ms() + 15_000, "and does so before others begin");
    let other = taken(server.lease().as_ref(), &candidate("b"), now_ms());
    a.api.replace("millstream-operator", &PostParams::default(), &other).await.unwrap();
    a.turn().await.unwrap();
    assert!(!claim.holds());
    let (_stop, stopped) = watch::channel(false);
    a.run(stopped).await;
    assert_eq!(server.holder().as_deref(), Some("b"), "the election of a loser ends");
}

#[tokio::test]
async fn a_deleted_lease_is_made_anew_and_one_that_is_given_back_is_free() {
    let server = Server::default();
    let (mut a, claim) = Election::new(server.client(), candidate("a"));
    a.turn().await.unwrap();
    server.0.lock().unwrap().0 = None;
    a.turn().await.unwrap();
    assert!(claim.holds());
    assert_eq!(server.holder().as_deref(), Some("a"));
    let (stop, stopped) = watch::channel(true);
    a.run(stopped).await;
    drop(stop);
    assert!(!claim.holds());
    assert_eq!(server.holder(), None);
}
