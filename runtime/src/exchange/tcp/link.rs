//! One data connection: a task that writes what is queued, and one that reads and delivers.
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex};

use bytes::{Buf, Bytes, BytesMut};
use millstream_api::error::chain;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::super::frame::{HEADER_BYTES, Header};
use super::super::{Error, Hub, Link, lock};
use crate::net::{Connection, Reader, Writer};

/// Small frames share a read; the payloads of batches are read past this buffer.
const READ_BUFFER_BYTES: usize = 64 << 10;
/// Frames in one write.
const SLICES_MAX: usize = 64;

#[derive(Default)]
struct TcpLink {
    queue: Mutex<Queue>,
    filled: Notify,
}

#[derive(Default)]
struct Queue {
    frames: VecDeque<Bytes>,
    closed: bool,
    tasks: Vec<AbortHandle>,
}

impl Link for TcpLink {
    fn send(&self, frame: Bytes) {
        let was_empty = {
            let mut queue = lock(&self.queue);
            if queue.closed {
                return;
            }
            queue.frames.push_back(frame);
            queue.frames.len() == 1
        };
        if was_empty {
            self.filled.notify_one();
        }
    }

    fn close(&self) {
        let mut queue = lock(&self.queue);
        queue.closed = true;
        queue.frames.clear();
        queue.tasks.drain(..).for_each(|task| task.abort());
    }
}

/// Attaches the connection to the hub and serves it until either end closes it.
pub(super) fn start(hub: &Arc<Hub>, peer: &str, connection: Connection) -> Result<(), Error> {
    let link = Arc::new(TcpLink::default());
    hub.attach(peer, Arc::clone(&link) as Arc<dyn Link>)?;
    let (writer, reader) = (connection.writer, connection.reader);
    let writing = serve(hub, peer, {
        let link = Arc::clone(&link);
        async move { write(&link, writer).await }
    });
    let reading = serve(hub, peer, {
        let (hub, peer) = (Arc::clone(hub), peer.to_owned());
        async move { read(&hub, &peer, reader).await }
    });
    let mut queue = lock(&link.queue);
    queue.tasks.extend([writing, reading]);
    if queue.closed {
        queue.tasks.drain(..).for_each(|task| task.abort());
    }
    Ok(())
}

/// Runs one direction; its end is the end of the link.
fn serve(hub: &Arc<Hub>, peer: &str, direction: impl Future<Output = String> + Send + 'static) -> AbortHandle {
    let (hub, peer) = (Arc::clone(hub), peer.to_owned());
    tokio::spawn(async move {
        let reason = direction.await;
        hub.lost(&peer, &reason);
    })
    .abort_handle()
}

/// Everything that is queued goes out in as few writes as possible. Answers why it ended.
async fn write(link: &TcpLink, mut writer: Writer) -> String {
    let mut sending = VecDeque::new();
    loop {
        std::mem::swap(&mut lock(&link.queue).frames, &mut sending);
        if sending.is_empty() {
            link.filled.notified().await;
        } else if let Err(error) = write_all(&mut writer, &mut sending).await {
            return format!("cannot send: {error}");
        }
    }
}

async fn write_all(writer: &mut Writer, frames: &mut VecDeque<Bytes>) -> io::Result<()> {
    while !frames.is_empty() {
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let count = frames.len().min(SLICES_MAX);
        for (slice, frame) in slices.iter_mut().zip(frames.iter()) {
            *slice = IoSlice::new(frame);
        }
        let mut written = writer.write_vectored(&slices[..count]).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        while let Some(first) = frames.front_mut() {
            if written < first.len() {
                first.advance(written);
                break;
            }
            written -= first.len();
            frames.pop_front();
        }
    }
    writer.flush().await
}

/// Answers why it ended.
async fn read(hub: &Hub, peer: &str, reader: Reader) -> String {
    let mut reader = BufReader::with_capacity(READ_BUFFER_BYTES, reader);
    loop {
        match read_frame(&mut reader).await {
            Ok(Ok((header, payload))) => {
                if let Err(error) = hub.receive_parts(peer, &header, payload) {
                    return format!("protocol error: {}", chain(&error));
                }
            }
            Ok(Err(error)) => return format!("protocol error: {error}"),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return "it closed the connection".into(),
            Err(error) => return format!("cannot receive: {error}"),
        }
    }
}

/// The payload gets an allocation of its own, which the columns of a batch then share.
async fn read_frame(reader: &mut BufReader<Reader>) -> io::Result<Result<(Header, Bytes), super::super::frame::Error>> {
    let mut header = [0; HEADER_BYTES];
    reader.read_exact(&mut header).await?;
    let header = match Header::parse(&header) {
        Ok(header) => header,
        Err(error) => return Ok(Err(error)),
    };
    let mut payload = BytesMut::with_capacity(header.payload_bytes);
    while payload.len() < header.payload_bytes {
        let missing = (header.payload_bytes - payload.len()) as u64;
        if (&mut *reader).take(missing).read_buf(&mut payload).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(Ok((header, payload.freeze())))
}
