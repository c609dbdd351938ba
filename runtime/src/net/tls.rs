//! TLS between the processes of a job. Each shows a certificate of the job's own CA, and is known by the *name* in it, never by the
//! address it is dialed at: pods are reached by IP.
//!
//! Certificates are read from files, and read again for the next connection once the files have changed; connections that are
//! open stay. Sessions are never resumed: every connection proves itself.
mod certificates;
mod door;
mod verify;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::BoxFuture;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

use super::{Connection, Listener, Network, tune};
use certificates::Material;
pub use certificates::{Certificates, Error};
pub use door::ApiListener;
use door::Door;

/// Makes aws-lc-rs what all TLS of this process is computed with. Fine to call again.
pub fn install_provider() {
    // An error means that there is one already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

/// A configuration for as long as the certificates are the same.
struct Cached<T>(Mutex<Option<(Arc<Material>, Arc<T>)>>);

impl<T> Cached<T> {
    fn new() -> Self {
        Self(Mutex::new(None))
    }

    fn get(
        &self,
        material: Arc<Material>,
        make: impl FnOnce(&Material) -> Result<T, rustls::Error>,
    ) -> io::Result<Arc<T>> {
        let mut cached = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, made)) = cached.as_ref().filter(|(of, _)| Arc::ptr_eq(of, &material)) {
            debug_assert!(Arc::ptr_eq(of, &material));
            return Ok(Arc::clone(made));
        }
        let made = Arc::new(make(&material).map_err(io::Error::other)?);
        *cached = Some((material, Arc::clone(&made)));
        Ok(made)
    }
}

/// Mutual TLS: both ends show certificates, and the other one's bears the name that is expected.
pub struct TlsNetwork {
    certificates: Arc<Certificates>,
    peer: ServerName<'static>,
    dialing: Cached<ClientConfig>,
    listening: Arc<Cached<ServerConfig>>,
}

impl TlsNetwork {
    /// Connections to and from those whose certificate bears the DNS name `peer`.
    pub fn new(certificates: Arc<Certificates>, peer: &str) -> Result<Self, Error> {
        let name = ServerName::try_from(peer.to_owned()).map_err(|_| Error::Name(peer.to_owned()))?;
        Ok(Self { certificates, peer: name, dialing: Cached::new(), listening: Arc::new(Cached::new()) })
    }
}

impl Network for TlsNetwork {
    fn listen<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Arc<dyn Listener>>> {
        Box::pin(async move {
            let listener = TcpListener::bind(address).await?;
            let (certificates, peer) = (Arc::clone(&self.certificates), self.peer.clone());
            let listening = Arc::clone(&self.listening);
            let config =
                move || listening.get(certificates.current(), |material| verify::mutual_server(material, &peer));
            Ok(Arc::new(Tls(Door::open(listener, config)?)) as Arc<dyn Listener>)
        })
    }

    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Connection>> {
        Box::pin(async move {
            let config = self.dialing.get(self.certificates.current(), verify::mutual_client)?;
            let stream = TcpStream::connect(address).await?;
            tune(&stream)?;
            let stream = TlsConnector::from(config).connect(self.peer.clone(), stream).await?;
            Ok(connection(stream, address.to_owned()))
        })
    }
}

struct Tls(Door);

impl Listener for Tls {
    fn address(&self) -> SocketAddr {
        self.0.address
    }

    fn accept(&self) -> BoxFuture<'_, io::Result<Connection>> {
        Box::pin(async move {
            let (stream, peer) = self.0.next().await?;
            Ok(connection(stream, peer.to_string()))
        })
    }
}

fn connection(stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + 'static, peer: String) -> Connection {
    let (reader, writer) = tokio::io::split(stream);
    Connection { reader: Box::new(reader), writer: Box::new(writer), peer }
}

#[cfg(test)]
pub(crate) mod tests;
