//! Who is let in and who is not, and certificates that are renewed.
use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// A certificate authority of a test.
pub(crate) struct Authority {
    certificate: rcgen::Certificate,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Self { certificate: params.self_signed(&key).unwrap(), issuer: Issuer::new(params, key) }
    }

    /// Writes the files of a role; those that are there are replaced.
    pub(crate) fn issue(&self, folder: &Path, role: &str, name: &str, until_year: i32) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(until_year, 1, 1);
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
        let write = |name: &str, text: String| {
            // As a mounted secret is: whole or not at all.
            let new = folder.join("new");
            std::fs::write(&new, text).unwrap();
            std::fs::rename(&new, folder.join(name)).unwrap();
        };
        write("ca.crt", self.certificate.pem());
        write(&format!("{role}.crt"), leaf.pem());
        write(&format!("{role}.key"), key.serialize_pem());
    }
}

const FAR: i32 = 4000;
const WORKER: &str = "job-worker.space.svc";
const COORDINATOR: &str = "job-coordinator.space.svc";

struct Side(tempfile::TempDir);

impl Side {
    fn new(authority: &Authority, role: &str, name: &str, until_year: i32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        authority.issue(folder.path(), role, name, until_year);
        Self(folder)
    }

    fn network(&self, role: &'static str, peer: &str) -> TlsNetwork {
        TlsNetwork::new(Arc::new(Certificates::load(self.0.path(), role).unwrap()), peer).unwrap()
    }
}

/// Whether bytes go through: in TLS 1.3 a dialer learns that it was refused only when it reads.
async fn talks(dialing: &TlsNetwork, listener: &dyn Listener) -> bool {
    let address = listener.address().to_string();
    let greet = async {
        let mut connection = dialing.connect(&address).await?;
        connection.writer.write_all(b"ping").await?;
        connection.writer.flush().await?;
        let mut answer = [0; 4];
        connection.reader.read_exact(&mut answer).await?;
        assert_eq!(&answer, b"pong");
        Ok::<(), io::Error>(())
    };
    let answer = async {
        let mut connection = listener.accept().await.unwrap();
        let mut question = [0; 4];
        if connection.reader.read_exact(&mut question).await.is_ok() {
            let _ = connection.writer.write_all(b"pong").await; // The dialer may be gone.
            let _ = connection.writer.flush().await;
        }
        // Keeps the connection until the dialer has read.
        let _ = connection.reader.read(&mut question).await;
    };
    tokio::select! {
        greeted = greet => greeted.is_ok(),
        () = answer => false,
    }
}

#[tokio::test]
async fn names_decide_and_not_addresses() {
    let authority = Authority::new();
    let worker = Side::new(&authority, "worker", WORKER, FAR);
    let coordinator = Side::new(&authority, "coordinator", COORDINATOR, FAR);
    let listener = coordinator.network("coordinator", WORKER).listen("127.0.0.1:0").await.unwrap();
    assert!(talks(&worker.network("worker", COORDINATOR), listener.as_ref()).await);
    // The dialer expects somebody else.
    assert!(!talks(&worker.network("worker", WORKER), listener.as_ref()).await);
    // The listener expects somebody else: a coordinator's certificate is no worker's.
    assert!(!talks(&coordinator.network("coordinator", COORDINATOR), listener.as_ref()).await);
}

#[tokio::test]
async fn strangers_are_refused() {
    let (authority, other) = (Authority::new(), Authority::new());
    let coordinator = Side::new(&authority, "coordinator", COORDINATOR, FAR);
    let listener = coordinator.network("coordinator", WORKER).listen("127.0.0.1:0").await.unwrap();
    let stranger = Side::new(&other, "worker", WORKER, FAR);
    assert!(!talks(&stranger.network("worker", COORDINATOR), listener.as_ref()).await, "trusts another CA");
    // It trusts the job's CA, but shows a certificate of another one.
    std::fs::copy(coordinator.0.path().join("ca.crt"), stranger.0.path().join("ca.crt")).unwrap();
    assert!(!talks(&stranger.network("worker", COORDINATOR), listener.as_ref()).await, "is of another CA");
    let expired = Side::new(&authority, "worker", WORKER, 2021);
    assert!(!talks(&expired.network("worker", COORDINATOR), listener.as_ref()).await, "has expired");
    let mut nobody = verify::mutual_client(&Certificates::load(coordinator.0.path(), "coordinator").unwrap().current());
    let nobody = nobody.as_mut().unwrap();
    nobody.client_auth_cert_resolver = Arc::new(NoCertificate);
    let stream = TcpStream::connect(listener.address()).await.unwrap();
    let name = ServerName::try_from(COORDINATOR).unwrap();
    let refused = async {
        let mut stream = TlsConnector::from(Arc::new(nobody.clone())).connect(name, stream).await?;
        stream.read_u8().await
    };
    let error = refused.await.unwrap_err().to_string();
    assert!(error.contains("CertificateRequired"), "{error}");
    let plain = super::super::TcpNetwork.connect(&listener.address().to_string()).await;
    let mut plain = plain.unwrap();
    plain.writer.write_all(b"MLST").await.unwrap();
    drop(plain.writer);
    let mut rest = Vec::new();
    plain.reader.read_to_end(&mut rest).await.unwrap();
    assert!(!rest.starts_with(b"MLST"), "{rest:?}");
}

#[derive(Debug)]
struct NoCertificate;

impl rustls::client::ResolvesClientCert for NoCertificate {
    fn resolve(&self, _: &[&[u8]], _: &[rustls::SignatureScheme]) -> Option<Arc<rustls::sign::CertifiedKey>> {
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_from_then_on_and_open_connections_stay() {
    let authority = Authority::new();
    let worker = Side::new(&authority, "worker", WORKER, FAR);
    let coordinator = Side::new(&authority, "coordinator", COORDINATOR, 2021);
    let network = coordinator.network("coordinator", WORKER);
    let listener = network.listen("127.0.0.1:0").await.unwrap();
    let dialing = worker.network("worker", COORDINATOR);
    assert!(!talks(&dialing, listener.as_ref()).await, "the listener's has expired");
    authority.issue(coordinator.0.path(), "coordinator", COORDINATOR, FAR);
    assert!(talks(&dialing, listener.as_ref()).await);
    let address = listener.address().to_string();
    let (open, accepted) = tokio::join!(dialing.connect(&address), listener.accept());
    let (mut open, mut accepted) = (open.unwrap(), accepted.unwrap());
    authority.issue(worker.0.path(), "worker", WORKER, 2021);
    assert!(!talks(&dialing, listener.as_ref()).await, "the dialer's has expired");
    open.writer.write_all(b"still").await.unwrap();
    open.writer.flush().await.unwrap();
    let mut still = [0; 5];
    accepted.reader.read_exact(&mut still).await.unwrap();
    // Half an exchange: the key is not the certificate's yet.
    std::fs::write(worker.0.path().join("worker.key"), KeyPair::generate().unwrap().serialize_pem()).unwrap();
    assert!(!talks(&dialing, listener.as_ref()).await);
    authority.issue(worker.0.path(), "worker", WORKER, FAR);
    assert!(talks(&dialing, listener.as_ref()).await);
}

#[test]
fn files_that_hold_nothing_useful_are_named() {
    let authority = Authority::new();
    let side = Side::new(&authority, "worker", WORKER, FAR);
    let load = |role| Certificates::load(side.0.path(), role).err().map(|error| millstream_api::error::chain(&error));
    assert_eq!(load("worker"), None);
    assert!(load("coordinator").unwrap().contains("coordinator.crt: No such file"));
    std::fs::write(side.0.path().join("ca.crt"), "").unwrap();
    assert!(load("worker").unwrap().contains("ca.crt: no items found"));
    let certificates = Side::new(&authority, "worker", WORKER, FAR).network("worker", WORKER).certificates;
    assert!(TlsNetwork::new(certificates, "not a name").is_err());
}
