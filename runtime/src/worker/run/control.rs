//! The connection to the coordinator, found again whenever it is lost.
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use millstream_api::error::chain;
use millstream_api::id::Generation;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::{Error, Limits};
use crate::message::{Command, Register, Report};
use crate::net::Network;
use crate::net::control::ControlStream;
use crate::net::handshake::{self, Identity, Purpose, Secret};
use crate::random::Random;
use crate::workdir::{CoordinatorFile, Workdir, read};
use crate::worker::Event;

/// Time between two reports of counters.
const MEASURE: Duration = Duration::from_millis(500);
/// A coordinator that does not answer by then is tried again, maybe at another address.
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause before the coordinator is looked for again.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Where the coordinator is found.
pub enum Coordinator {
    /// At the address in the work folder.
    Workdir(Workdir),
    /// At this one, `host:port`; the name is looked up anew for each connection.
    Address(String),
}

/// See the module.
pub struct Control {
    pub coordinator: Coordinator,
    pub network: Arc<dyn Network>,
    pub identity: Identity,
    pub secret: Secret,
    pub random: Arc<dyn Random>,
    pub register: Register,
    pub events: Sender<Event>,
    pub limits: Limits,
    /// Whether there are tasks here.
    pub hosts: watch::Receiver<bool>,
    /// When it must have ended, once it was told to end.
    pub leaving: watch::Receiver<Option<Instant>>,
}

impl Control {
    /// Ends only if this worker is to end and has nobody to give anything to.
    pub async fn keep(&mut self, mut outgoing: mpsc::Receiver<Report>) -> Result<(), Error> {
        let mut alone_since = Instant::now();
        loop {
            match self.open().await {
                Ok(stream) => {
                    while outgoing.try_recv().is_ok() {} // Said to a coordinator that is gone.
                    self.talk(stream, &mut outgoing).await;
                    alone_since = Instant::now();
                }
                Err(reason) => tracing::debug!("no coordinator yet: {reason}"),
            }
            if self.leaving.borrow().is_some() {
                if !*self.hosts.borrow() {
                    return Ok(());
                }
                if alone_since.elapsed() >= self.limits.alone {
                    return Err(Error::NotDrained("there is no coordinator"));
                }
            }
            if alone_since.elapsed() > self.limits.lease {
                // Someone else may be in charge of the job by now.
                let _ = self.events.send(Event::Command(Command::Cancel { generation: Generation::MAX }));
            }
            self.pause().await;
        }
    }

    /// Time left to drain, if it drains.
    fn left_ms(&self) -> Option<u64> {
        let left = self.leaving.borrow().map(|deadline| deadline.saturating_duration_since(Instant::now()));
        left.map(|left| u64::try_from(left.as_millis()).unwrap_or(u64::MAX))
    }

    async fn open(&self) -> Result<ControlStream, String> {
        let address = match &self.coordinator {
            Coordinator::Workdir(workdir) => {
                let file: CoordinatorFile = read(&workdir.coordinator_file()).map_err(|error| error.to_string())?;
                file.control_address
            }
            Coordinator::Address(address) => address.clone(),
        };
        let connect = async {
            let mut connection = self.network.connect(&address).await.map_err(|error| error.to_string())?;
            let dialed =
                handshake::dial(&mut connection, Purpose::Control, &self.identity, &self.secret, self.random.as_ref());
            dialed.await.map_err(|error| chain(&error))?;
            let mut stream = ControlStream::new(connection);
            let register = Register { draining_ms: self.left_ms(), ..self.register.clone() };
            stream.send(&Report::Register(register)).await.map_err(|error| chain(&error))?;
            Ok(stream)
        };
        timeout(DIAL_TIMEOUT, connect).await.unwrap_or_else(|_| Err("it does not answer".into()))
    }

    async fn talk(&mut self, stream: ControlStream, outgoing: &mut mpsc::Receiver<Report>) {
        let (mut sender, mut receiver) = stream.split();
        let mut measure = interval(MEASURE);
        measure.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                command = receiver.recv::<Command>() => match command {
                    Ok(Command::Release) => self.register.released = true,
                    Ok(command) => drop(self.events.send(Event::Command(command))),
                    Err(error) => {
                        tracing::warn!("the coordinator is gone: {}", chain(&error));
                        return;
                    }
                },
                report = outgoing.recv() => match report {
                    Some(report) if sender.send(&report).await.is_ok() => {}
                    _ => return,
                },
                Ok(()) = self.leaving.changed() => {
                    let left_ms = self.left_ms().unwrap_or_default();
                    if sender.send(&Report::Draining { left_ms }).await.is_err() {
                        return;
                    }
                }
                _ = measure.tick() => drop(self.events.send(Event::Measure)),
            }
        }
    }

    /// Until it is time to look again, or to end.
    async fn pause(&mut self) {
        // What changed while nobody was there is said when the next coordinator is.
        let _ = timeout(LOOK_AGAIN, self.leaving.changed()).await;
    }
}
