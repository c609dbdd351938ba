//! The network door: the only place of the runtime that opens sockets. Every connection of the system starts with
//! `handshake`; control connections then speak `control`, data connections the frames of `exchange`.
pub mod control;
pub mod handshake;
pub mod tls;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};

/// After so long without a word, the other side's kernel is asked whether it is there.
const PROBE: Duration = Duration::from_secs(3);
/// Questions without an answer, after which the connection is broken.
const PROBES_MAX: u32 = 3;
/// What was sent is acknowledged within this time, or the connection is broken.
const SILENCE_MAX: Duration = Duration::from_secs(12);

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

/// No delay for small segments; and an end to connections whose other side is gone without a word: with its machine, or cut off.
fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(PROBE).with_interval(PROBE).with_retries(PROBES_MAX);
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(SILENCE_MAX))
}

fn connection(stream: TcpStream, peer: String) -> io::Result<Connection> {
    tune(&stream)?;
    let (reader, writer) = stream.into_split();
    Ok(Connection { reader: Box::new(reader), writer: Box::new(writer), peer })
}
