//! The network door: the only place of the runtime that opens sockets. Every connection of the system starts with
//! `handshake`; control connections then speak `control`, data connections the frames of `exchange`.
pub mod control;
pub mod handshake;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};

/// The receiving half of a connection.
pub type Reader = Box<dyn AsyncRead + Send + Unpin>;
/// The sending half of a connection.
pub type Writer = Box<dyn AsyncWrite + Send + Unpin>;

/// A stream of bytes each way.
pub struct Connection {
    /// From the other side.
    pub reader: Reader,
    /// To the other side.
    pub writer: Writer,
    /// Who that is, for messages: an address.
    pub peer: String,
}

/// Opens connections. Simulation brings its own.
pub trait Network: Send + Sync {
    /// Accepts connections at `address`, `host:port`; port 0 takes a free one.
    fn listen<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Arc<dyn Listener>>>;

    /// Connects to `address`, `host:port`.
    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Connection>>;
}

/// Accepts connections.
pub trait Listener: Send + Sync {
    /// Where it listens.
    fn address(&self) -> SocketAddr;

    /// The next connection.
    fn accept(&self) -> BoxFuture<'_, io::Result<Connection>>;
}

/// TCP, without delay for small segments.
#[derive(Debug, Default, Clone, Copy)]
pub struct TcpNetwork;

impl Network for TcpNetwork {
    fn listen<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Arc<dyn Listener>>> {
        Box::pin(async move {
            let listener = TcpListener::bind(address).await?;
            let address = listener.local_addr()?;
            Ok(Arc::new(Tcp { listener, address }) as Arc<dyn Listener>)
        })
    }

    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Connection>> {
        Box::pin(async move { connection(TcpStream::connect(address).await?, address.to_owned()) })
    }
}

struct Tcp {
    listener: TcpListener,
    address: SocketAddr,
}

impl Listener for Tcp {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn accept(&self) -> BoxFuture<'_, io::Result<Connection>> {
        Box::pin(async move {
            let (stream, peer) = self.listener.accept().await?;
            connection(stream, peer.to_string())
        })
    }
}

fn connection(stream: TcpStream, peer: String) -> io::Result<Connection> {
    stream.set_nodelay(true)?;
    let (reader, writer) = stream.into_split();
    Ok(Connection { reader: Box::new(reader), writer: Box::new(writer), peer })
}
