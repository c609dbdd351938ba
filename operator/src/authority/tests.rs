use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};

use super::*;
use crate::clock::now_ms;
use crate::random::key_pair;

const DAY: Duration = Duration::from_secs(86_400);

struct Job {
    authority: Pair,
    coordinator: Pair,
    worker: Pair,
}

fn job(name: &str, issued_ms: i64) -> Job {
    let authority = authority(name, &key_pair().unwrap(), issued_ms).unwrap();
    let leaf = |role: &str| {
        let host = format!("{name}-{role}.team.svc");
        leaf(&authority, &host, &key_pair().unwrap(), issued_ms, DAY).unwrap()
    };
    let (coordinator, worker) = (leaf("coordinator"), leaf("worker"));
    Job { authority, coordinator, worker }
}

fn chain(pair: &Pair) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let certificate = CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap();
    (vec![certificate], PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap())
}

fn roots(authority: &Pair) -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.certificate.as_bytes()).unwrap()).unwrap();
    Arc::new(roots)
}

/// A handshake in memory of a worker with a coordinator by mutual TLS, as the data and control ports have it.
fn shake(server: (&Pair, &Pair), client: (&Pair, Option<&Pair>), host: &str) -> Result<(), rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots(server.0), provider.clone()).build().unwrap();
    let (certificates, key) = chain(server.1);
    let server = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(certificates, key)?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots(client.0));
    let client = match client.1 {
        Some(leaf) => {
            let (certificates, key) = chain(leaf);
            builder.with_client_auth_cert(certificates, key)?
        }
        None => builder.with_no_client_auth(),
    };
    let name = ServerName::try_from(host.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::new(client), name)?;
    let mut server = ServerConnection::new(Arc::new(server))?;
    for _ in 0..8 {
        let (mut up, mut down) = (Vec::new(), Vec::new());
        while client.wants_write() {
            client.write_tls(&mut up).unwrap();
        }
        let mut received = up.as_slice();
        while !received.is_empty() {
            server.read_tls(&mut received).unwrap();
            server.process_new_packets()?;
        }
        while server.wants_write() {
            server.write_tls(&mut down).unwrap();
        }
        let mut received = down.as_slice();
        while !received.is_empty() {
            client.read_tls(&mut received).unwrap();
            client.process_new_packets()?;
        }
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    Ok(())
}

#[test]
fn roles_of_one_job_trust_each_other_and_nobody_else() {
    let (ours, theirs) = (job("orders", now_ms()), job("orders", now_ms()));
    let host = "orders-coordinator.team.svc";
    let server = (&ours.authority, &ours.coordinator);
    shake(server, (&ours.authority, Some(&ours.worker)), host).unwrap();
    shake((&ours.authority, &ours.worker), (&ours.authority, Some(&ours.coordinator)), "orders-worker.team.svc")
        .unwrap();
    for (what, client, host) in [
        ("no certificate", (&ours.authority, None), host),
        ("another job's certificate", (&ours.authority, Some(&theirs.worker)), host),
        ("another job's authority", (&theirs.authority, Some(&ours.worker)), host),
        ("the wrong role", (&ours.authority, Some(&ours.worker)), "orders-worker.team.svc"),
    ] {
        assert!(shake(server, client, host).is_err(), "{what}");
    }
}

#[test]
fn an_expired_leaf_is_refused_and_one_by_the_same_authority_renews_it() {
    let now = now_ms();
    let old = job("orders", now - 2 * 86_400_000);
    let host = "orders-coordinator.team.svc";
    assert!(shake((&old.authority, &old.coordinator), (&old.authority, Some(&old.worker)), host).is_err());
    let fresh = leaf(&old.authority, host, &key_pair().unwrap(), now, DAY).unwrap();
    let worker = leaf(&old.authority, "orders-worker.team.svc", &key_pair().unwrap(), now, DAY).unwrap();
    shake((&old.authority, &fresh), (&old.authority, Some(&worker)), host).unwrap();
}

#[test]
fn a_leaf_is_renewed_at_two_thirds_of_its_life() {
    assert_eq!(renew_at_ms(1_000, Duration::from_secs(90)), 61_000);
    assert_eq!(renew_at_ms(0, LEAF_LIFE), 60 * 86_400_000);
}

#[test]
fn a_key_that_is_none_is_an_error_that_says_so() {
    let broken = Pair { certificate: "x".into(), key: "y".into() };
    let error = leaf(&broken, "h", &key_pair().unwrap(), 0, DAY).unwrap_err();
    assert_eq!(error.to_string(), "the key of the job's authority cannot be read");
    assert_eq!(format!("{broken:?}"), "Pair { .. }", "no key is ever printed");
}
