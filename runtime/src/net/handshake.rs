//! The start of every connection: who is there, and the proof that both sides know the job's secret.
//!
//! ```text
//! dialer   -> Hello      { purpose, identity, nonce }
//! listener -> Challenge  { identity, nonce, proof over "listener" and both messages }
//! dialer   -> Proof      { proof over "dialer" and both messages }
//! listener -> Accepted, or at any point Refused { reason }
//! ```
//!
//! Each message is `"MLST" | protocol version u16 | length u16 | JSON`, little endian; the first six bytes never change
//! their meaning, so that sides of different versions part with a clear message. Proofs are HMAC-SHA256 with the job's
//! secret over the bytes of the messages as sent. They show who opened the connection; they do not encrypt it.
use std::io;

use hmac::{Hmac, KeyInit, Mac};
use millstream_api::id::{Generation, Term};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::Connection;
use crate::random::Random;

/// Version of the handshake and of everything that follows it.
pub const PROTOCOL_VERSION: u16 = 1;
const MAGIC: [u8; 4] = *b"MLST";
const MESSAGE_BYTES_MAX: usize = 4096;

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// Frames between workers.
    Data,
    /// Messages between a worker and the coordinator.
    Control,
}

/// Who stands at one end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The job.
    pub job: u64,
    /// Task set that the connection serves (0 for control before a deployment).
    pub generation: Generation,
    /// Coordinator that is obeyed.
    pub term: Term,
    /// Name of the worker, or `coordinator`.
    pub worker: String,
    /// Drawn at each start of the process.
    pub incarnation: u64,
}

/// The job's secret.
#[derive(Clone)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// From the bytes all processes of a job are given.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    fn mac(&self, role: &str, hello: &[u8], challenge: &[u8]) -> Result<Hmac<Sha256>, Error> {
        // HMAC takes keys of any length.
        let mac = Hmac::<Sha256>::new_from_slice(&self.0).map_err(|_| Error::Malformed("the secret is unusable"))?;
        let length = |bytes: &[u8]| (bytes.len() as u64).to_le_bytes();
        Ok(mac.chain_update(role).chain_update(length(hello)).chain_update(hello).chain_update(challenge))
    }

    fn prove(&self, role: &str, hello: &[u8], challenge: &[u8]) -> Result<Vec<u8>, Error> {
        Ok(self.mac(role, hello, challenge)?.finalize().into_bytes().to_vec())
    }

    fn check(&self, role: &str, hello: &[u8], challenge: &[u8], proof: &[u8]) -> Result<(), Error> {
        self.mac(role, hello, challenge)?.verify_slice(proof).map_err(|_| Error::WrongSecret)
    }
}

/// Why two sides do not talk.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The connection broke.
    #[error("the connection broke during the handshake")]
    Io(#[from] io::Error),
    /// Not one of us.
    #[error("the other side does not speak the protocol of millstream: {0}")]
    Malformed(&'static str),
    /// One of us, but of another release.
    #[error("the other side speaks protocol version {0}, this side {PROTOCOL_VERSION}")]
    Version(u16),
    /// The proof does not fit.
    #[error("the other side does not know the job's secret")]
    WrongSecret,
    /// Another job.
    #[error("the other side belongs to job {theirs:016x}, this side to {ours:016x}")]
    WrongJob {
        /// This side's.
        ours: u64,
        /// The other side's.
        theirs: u64,
    },
    /// The other side refused, and said why.
    #[error("the other side refused the connection: {0}")]
    Refused(String),
    /// This side refuses, for a reason of its owner's.
    #[error("connection refused: {0}")]
    Declined(String),
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "message", rename_all = "kebab-case")]
enum Message {
    Hello { purpose: Purpose, identity: Identity, nonce: [u8; 32] },
    Challenge { identity: Identity, nonce: [u8; 32] },
    Proof { proof: Vec<u8> },
    Accepted,
    Refused { reason: String },
}

/// Opens the dialing side; answers who listens.
pub async fn dial(
    connection: &mut Connection,
    purpose: Purpose,
    identity: &Identity,
    secret: &Secret,
    random: &dyn Random,
) -> Result<Identity, Error> {
    let hello = Message::Hello { purpose, identity: identity.clone(), nonce: nonce(random) };
    let hello = send(connection, &hello).await?;
    let (message, challenge) = receive::<Message>(connection).await?;
    let Message::Challenge { identity: listener, .. } = message else { return Err(unexpected(message)) };
    let (message, _) = receive::<Message>(connection).await?;
    let Message::Proof { proof } = message else { return Err(unexpected(message)) };
    secret.check("listener", &hello, &challenge, &proof)?;
    let proof = secret.prove("dialer", &hello, &challenge)?;
    send(connection, &Message::Proof { proof }).await?;
    match receive::<Message>(connection).await?.0 {
        Message::Accepted => Ok(listener),
        other => Err(unexpected(other)),
    }
}

/// A dialer that has proved itself and waits for `accept` or `refuse`.
pub struct Dialer {
    /// What it wants.
    pub purpose: Purpose,
    /// Who it is.
    pub identity: Identity,
    /// The connection.
    pub connection: Connection,
}

impl Dialer {
    /// Lets it in.
    pub async fn accept(mut self) -> Result<Connection, Error> {
        send(&mut self.connection, &Message::Accepted).await?;
        Ok(self.connection)
    }

    /// Tells it why not.
    pub async fn refuse(mut self, reason: &str) -> Error {
        refuse(&mut self.connection, reason).await;
        Error::Declined(reason.to_owned())
    }
}

/// Opens the listening side as far as the proofs. The dialer is of the same job and knows its secret; whether its
/// generation, term and incarnation are right is for the caller to judge, and so is how long it may take.
pub async fn listen(
    mut connection: Connection,
    identity: &Identity,
    secret: &Secret,
    random: &dyn Random,
) -> Result<Dialer, Error> {
    match challenge(&mut connection, identity, secret, random).await {
        Ok((purpose, identity)) => Ok(Dialer { purpose, identity, connection }),
        Err(error) => {
            let reason = match &error {
                Error::WrongJob { .. } | Error::WrongSecret => error.to_string(),
                Error::Version(version) => format!("protocol version {version} is not {PROTOCOL_VERSION}"),
                _ => return Err(error),
            };
            refuse(&mut connection, &reason).await;
            Err(error)
        }
    }
}

async fn challenge(
    connection: &mut Connection,
    identity: &Identity,
    secret: &Secret,
    random: &dyn Random,
) -> Result<(Purpose, Identity), Error> {
    let (message, hello) = receive::<Message>(connection).await?;
    let Message::Hello { purpose, identity: dialer, .. } = message else { return Err(unexpected(message)) };
    if dialer.job != identity.job {
        return Err(Error::WrongJob { ours: identity.job, theirs: dialer.job });
    }
    let challenge = Message::Challenge { identity: identity.clone(), nonce: nonce(random) };
    let challenge = send(connection, &challenge).await?;
    let proof = secret.prove("listener", &hello, &challenge)?;
    send(connection, &Message::Proof { proof }).await?;
    let (message, _) = receive::<Message>(connection).await?;
    let Message::Proof { proof } = message else { return Err(unexpected(message)) };
    secret.check("dialer", &hello, &challenge, &proof)?;
    Ok((purpose, dialer))
}

fn nonce(random: &dyn Random) -> [u8; 32] {
    let mut nonce = [0; 32];
    random.fill(&mut nonce);
    nonce
}

fn unexpected(message: Message) -> Error {
    match message {
        Message::Refused { reason } => Error::Refused(reason),
        _ => Error::Malformed("a message came out of turn"),
    }
}

/// The other side may have gone already, which is as good.
async fn refuse(connection: &mut Connection, reason: &str) {
    if let Err(error) = send(connection, &Message::Refused { reason: reason.to_owned() }).await {
        tracing::debug!(%error, peer = connection.peer, "could not tell why a connection was refused");
    }
}

async fn send(connection: &mut Connection, message: &Message) -> Result<Vec<u8>, Error> {
    let body = serde_json::to_vec(message).map_err(|_| Error::Malformed("an identity that is no JSON"))?;
    let length = u16::try_from(body.len()).map_err(|_| Error::Malformed("a name or reason is too long"))?;
    let bytes = [&MAGIC, &PROTOCOL_VERSION.to_le_bytes()[..], &length.to_le_bytes(), &body].concat();
    connection.writer.write_all(&bytes).await?;
    connection.writer.flush().await?;
    Ok(bytes)
}

/// The message and its bytes as received.
async fn receive<T: DeserializeOwned>(connection: &mut Connection) -> Result<(T, Vec<u8>), Error> {
    let mut bytes = vec![0; 8];
    connection.reader.read_exact(&mut bytes).await?;
    if bytes[..4] != MAGIC {
        return Err(Error::Malformed("it does not begin as it should"));
    }
    let version = u16::from_le_bytes([bytes[4], bytes[5]]);
    if version != PROTOCOL_VERSION {
        return Err(Error::Version(version));
    }
    let length = usize::from(u16::from_le_bytes([bytes[6], bytes[7]]));
    if length > MESSAGE_BYTES_MAX {
        return Err(Error::Malformed("a message is too long"));
    }
    bytes.resize(8 + length, 0);
    connection.reader.read_exact(&mut bytes[8..]).await?;
    let message =
        serde_json::from_slice(&bytes[8..]).map_err(|_| Error::Malformed("a message is not the JSON it should be"))?;
    Ok((message, bytes))
}

#[cfg(test)]
mod tests;
