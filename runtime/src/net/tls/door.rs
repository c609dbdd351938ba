//! Where TLS connections come in. Handshakes go on side by side: who is slow, or never ends its own, holds up nobody.
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, Semaphore, mpsc};
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::{Cached, Certificates, verify};
use crate::clock::back_off;
use crate::net::tune;

/// Time for one handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Handshakes at once; others wait in the listener's queue.
const HANDSHAKES_MAX: usize = 64;
/// Connections that may wait to be taken.
const WAITING_MAX: usize = 16;
/// Pause after a failed accept, so that a lack of descriptors does not spin.
const ACCEPT_BACK_OFF: Duration = Duration::from_millis(50);

type Accepted = (TlsStream<TcpStream>, SocketAddr);

/// A port with TLS.
pub(super) struct Door {
    accepted: Mutex<mpsc::Receiver<Accepted>>,
    pub address: SocketAddr,
    accepting: AbortHandle,
}

impl Door {
    /// `config` is asked for each connection.
    pub fn open(
        listener: TcpListener,
        config: impl Fn() -> io::Result<Arc<ServerConfig>> + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let (accepted, receiver) = mpsc::channel(WAITING_MAX);
        let accepting = tokio::spawn(accept(listener, Arc::new(config), accepted)).abort_handle();
        Ok(Self { accepted: Mutex::new(receiver), address, accepting })
    }

    /// The next connection whose handshake is done.
    pub async fn next(&self) -> io::Result<Accepted> {
        self.accepted.lock().await.recv().await.ok_or_else(|| io::Error::other("the TLS port is closed"))
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(
    listener: TcpListener,
    config: Arc<impl Fn() -> io::Result<Arc<ServerConfig>> + Send + Sync + 'static>,
    accepted: mpsc::Sender<Accepted>,
) {
    let places = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    loop {
        // The semaphore is never closed.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, peer)) => {
                let (config, accepted) = (Arc::clone(&config), accepted.clone());
                tokio::spawn(async move {
                    let meet = async {
                        tune(&stream)?;
                        TlsAcceptor::from(config()?).accept(stream).await
                    };
                    let late = |_| Err(io::Error::other("it did not end its handshake in time"));
                    match timeout(HANDSHAKE_TIMEOUT, meet).await.unwrap_or_else(late) {
                        // If nobody takes it any more, the process is going down.
                        Ok(stream) => drop(accepted.send((stream, peer)).await),
                        Err(error) => tracing::warn!("TLS connection from {peer} refused: {error}"),
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a TLS connection");
                back_off(ACCEPT_BACK_OFF).await;
            }
        }
    }
}

/// Where HTTPS requests come in.
pub struct ApiListener(Door);

impl ApiListener {
    /// Listens at `address`, `host:port`.
    pub async fn bind(certificates: Arc<Certificates>, address: &str) -> io::Result<Self> {
        let cached = Cached::new();
        let config = move || cached.get(certificates.current(), verify::api_server);
        Ok(Self(Door::open(TcpListener::bind(address).await?, config)?))
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.0.address
    }
}

impl axum::serve::Listener for ApiListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.0.next().await {
            Ok(accepted) => accepted,
            // Its task ends only with this.
            Err(_) => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Ok(self.0.address)
    }
}
