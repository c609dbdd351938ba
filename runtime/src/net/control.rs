//! Control connections: JSON documents, each behind its length (u32, little endian).
use std::io;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Connection, Reader, Writer};

/// No message is longer: a deployment of a thousand tasks with its owner tables fits many times.
pub const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// Why a message was not sent or received.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The connection broke.
    #[error("the control connection broke")]
    Io(#[from] io::Error),
    /// The other side closed the connection between two messages.
    #[error("the other side closed the control connection")]
    Closed,
    /// Longer than `MESSAGE_BYTES_MAX`.
    #[error("a control message of {0} bytes is longer than {MESSAGE_BYTES_MAX}")]
    TooLong(usize),
    /// Not JSON, or not the document that was expected.
    #[error("malformed control message")]
    Malformed(#[from] serde_json::Error),
}

/// Both halves of a control connection.
pub struct ControlStream {
    sender: ControlSender,
    receiver: ControlReceiver,
}

/// Sends messages.
pub struct ControlSender {
    writer: Writer,
}

/// Receives messages.
pub struct ControlReceiver {
    reader: Reader,
    /// What has arrived of the next message, so that a `recv` that was dropped half-way loses nothing.
    partial: Vec<u8>,
}

impl ControlStream {
    /// Over a connection whose handshake is done.
    pub fn new(connection: Connection) -> Self {
        let sender = ControlSender { writer: connection.writer };
        Self { sender, receiver: ControlReceiver { reader: connection.reader, partial: Vec::new() } }
    }

    /// Sends one message.
    pub async fn send(&mut self, message: &impl Serialize) -> Result<(), Error> {
        self.sender.send(message).await
    }

    /// Receives one message. May be dropped and called again without losing anything.
    pub async fn recv<T: DeserializeOwned>(&mut self) -> Result<T, Error> {
        self.receiver.recv().await
    }

    /// The halves, for two tasks.
    pub fn split(self) -> (ControlSender, ControlReceiver) {
        (self.sender, self.receiver)
    }
}

impl ControlSender {
    /// Sends one message. If it is dropped half-way the connection must be given up.
    pub async fn send(&mut self, message: &impl Serialize) -> Result<(), Error> {
        let mut bytes = vec![0; 4];
        serde_json::to_writer(&mut bytes, message)?;
        let length = bytes.len() - 4;
        if length > MESSAGE_BYTES_MAX {
            return Err(Error::TooLong(length));
        }
        // Fits: see the line above.
        bytes[..4].copy_from_slice(&(length as u32).to_le_bytes());
        self.writer.write_all(&bytes).await?;
        Ok(self.writer.flush().await?)
    }
}

impl ControlReceiver {
    /// Receives one message. May be dropped and called again without losing anything.
    pub async fn recv<T: DeserializeOwned>(&mut self) -> Result<T, Error> {
        self.fill(4).await?;
        let length = u32::from_le_bytes([self.partial[0], self.partial[1], self.partial[2], self.partial[3]]) as usize;
        if length > MESSAGE_BYTES_MAX {
            return Err(Error::TooLong(length));
        }
        self.fill(4 + length).await?;
        let message = serde_json::from_slice(&self.partial[4..]);
        self.partial.clear();
        Ok(message?)
    }

    /// Reads until `partial` has this length, never beyond it. Memory grows with what arrives, not with what is promised.
    async fn fill(&mut self, length: usize) -> Result<(), Error> {
        while self.partial.len() < length {
            let missing = (length - self.partial.len()) as u64;
            if (&mut self.reader).take(missing).read_buf(&mut self.partial).await? == 0 {
                let is_between = self.partial.is_empty();
                return Err(if is_between {
                    Error::Closed
                } else {
                    io::Error::from(io::ErrorKind::UnexpectedEof).into()
                });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pair() -> (ControlStream, tokio::io::DuplexStream) {
        let (one, two) = tokio::io::duplex(16);
        let (reader, writer) = tokio::io::split(one);
        let connection = Connection { reader: Box::new(reader), writer: Box::new(writer), peer: "memory".into() };
        (ControlStream::new(connection), two)
    }

    #[tokio::test]
    async fn messages_come_back_in_order_and_survive_a_dropped_recv() {
        let (mut stream, mut other) = pair();
        let text = br#"{"n":1}"#;
        other.write_all(&(text.len() as u32).to_le_bytes()).await.unwrap();
        other.write_all(&text[..3]).await.unwrap();
        tokio::select! {
            biased;
            message = stream.recv::<Value>() => panic!("half a message is none: {message:?}"),
            () = tokio::task::yield_now() => {}
        }
        other.write_all(&text[3..]).await.unwrap();
        assert_eq!(stream.recv::<Value>().await.unwrap(), json!({"n": 1}));
        drop(other);
        assert!(matches!(stream.recv::<Value>().await, Err(Error::Closed)));
    }

    #[tokio::test]
    async fn a_promise_of_too_much_is_refused() {
        let (mut stream, mut other) = pair();
        other.write_all(&u32::MAX.to_le_bytes()).await.unwrap();
        assert!(matches!(stream.recv::<Value>().await, Err(Error::TooLong(_))));
    }

    #[tokio::test]
    async fn what_is_sent_is_received() {
        let (mut one, two) = pair();
        let (reader, writer) = tokio::io::split(two);
        let other = Connection { reader: Box::new(reader), writer: Box::new(writer), peer: "memory".into() };
        let (_, mut receiver) = ControlStream::new(other).split();
        let message = json!({"kind": "deploy", "tasks": [1, 2, 3]});
        let (sent, got) = tokio::join!(one.send(&message), receiver.recv::<Value>());
        sent.unwrap();
        assert_eq!(got.unwrap(), message);
    }
}
