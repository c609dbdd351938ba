//! Control connections of the workers.
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::message::{Command, Register, Report};
use crate::net::control::ControlStream;
use crate::net::handshake::{self, Identity, Purpose, Secret};
use crate::net::{Connection, Listener};
use crate::random::Random;
use millstream_api::error::chain;

/// Number of a connection: a worker that was cut off comes back with another one, maybe before the loss of the old one is seen.
pub type ConnectionId = u64;

/// What control connections bring.
pub enum ControlEvent {
    /// A worker has introduced itself.
    Registered { connection: ConnectionId, register: Register, commands: mpsc::Sender<Command> },
    /// It says something.
    Said { connection: ConnectionId, worker: String, incarnation: u64, report: Report },
    /// All that was queued for it is sent, and nothing more will come.
    Sent { connection: ConnectionId },
    /// Its connection is gone.
    Lost { connection: ConnectionId, worker: String, incarnation: u64 },
}

/// Commands that may wait for a worker that does not read.
const COMMANDS: usize = 256;
/// A connection that has not introduced itself by then is dropped.
const PATIENCE: Duration = Duration::from_secs(10);

/// Accepts connections until the loop is gone.
pub async fn serve(
    listener: Arc<dyn Listener>,
    identity: Identity,
    secret: Secret,
    random: Arc<dyn Random>,
    events: mpsc::Sender<ControlEvent>,
) {
    for number in 0.. {
        if events.is_closed() {
            return;
        }
        match listener.accept().await {
            Ok(connection) => {
                let (identity, secret, random, events) =
                    (identity.clone(), secret.clone(), Arc::clone(&random), events.clone());
                tokio::spawn(async move {
                    welcome((number, connection), &identity, &secret, random.as_ref(), events).await
                });
            }
            Err(error) => tracing::warn!("cannot accept a control connection: {error}"),
        }
    }
}

async fn welcome(
    (number, connection): (ConnectionId, Connection),
    identity: &Identity,
    secret: &Secret,
    random: &dyn Random,
    events: mpsc::Sender<ControlEvent>,
) {
    let peer = connection.peer.clone();
    let introduce = async {
        let dialer = handshake::listen(connection, identity, secret, random).await.map_err(|error| chain(&error))?;
        if dialer.purpose != Purpose::Control {
            return Err(chain(&dialer.refuse("this port is for control connections").await));
        }
        let mut stream = ControlStream::new(dialer.accept().await.map_err(|error| chain(&error))?);
        match stream.recv().await.map_err(|error| chain(&error))? {
            Report::Register(register) => Ok((register, stream)),
            _ => Err("it did not introduce itself first".to_owned()),
        }
    };
    let introduced = tokio::time::timeout(PATIENCE, introduce).await.unwrap_or_else(|_| Err("it said nothing".into()));
    match introduced {
        Ok((register, stream)) => attend(number, register, stream, events).await,
        Err(reason) => tracing::warn!("control connection from {peer} refused: {reason}"),
    }
}

async fn attend(
    connection: ConnectionId,
    register: Register,
    stream: ControlStream,
    events: mpsc::Sender<ControlEvent>,
) {
    let (worker, incarnation) = (register.name.clone(), register.incarnation);
    let (commands, mut outgoing) = mpsc::channel(COMMANDS);
    let (mut sender, mut receiver) = stream.split();
    if events.send(ControlEvent::Registered { connection, register, commands }).await.is_err() {
        return;
    }
    let write = async {
        while let Some(command) = outgoing.recv().await {
            if sender.send(&command).await.is_err() {
                return;
            }
        }
        // The loop has closed the queue. It may be over; the worker hangs up.
        let _ = events.send(ControlEvent::Sent { connection }).await;
        std::future::pending::<()>().await;
    };
    let read = async {
        while let Ok(report) = receiver.recv().await {
            let said = ControlEvent::Said { connection, worker: worker.clone(), incarnation, report };
            if events.send(said).await.is_err() {
                return;
            }
        }
    };
    tokio::select! { () = write => {}, () = read => {} }
    // The loop may be over.
    let _ = events.send(ControlEvent::Lost { connection, worker, incarnation }).await;
}
