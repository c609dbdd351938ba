//! A coordinator without a job behind it: it answers what one would say whose job does all that it is asked at once, keeps a note of
//! each change, and refuses what was decided on another state. Its API and its certificates are the real ones.
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use millstream_api::wire::{ErrorBody, JobState};
use millstream_runtime::coordinator::api::{Call, router};
use millstream_runtime::coordinator::protocol::{Reply, Request};
use millstream_runtime::net::tls::{ApiListener, Certificates};
use millstream_runtime::pod::API_PORT;
use tokio::sync::mpsc;

use super::wire::{Fault, Wire};
use state::State;

mod state;

/// Calls that wait to be answered.
const CALLS: usize = 16;

/// The coordinators of a job, one after the other.
#[derive(Clone)]
pub struct Coordinator {
    address: Ipv4Addr,
    state: Arc<Mutex<State>>,
    /// The way of the operator that runs: it may die of a call.
    wire: Arc<Mutex<Wire>>,
}

impl Coordinator {
    /// Of the job of this name; `address` is nobody else's.
    pub fn new(job: &str, address: Ipv4Addr, wire: Wire) -> Self {
        Self { address, state: Arc::new(Mutex::new(State::new(job))), wire: Arc::new(Mutex::new(wire)) }
    }

    /// Where it is.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// From now on another operator calls, on this way.
    pub fn called_on(&self, wire: Wire) {
        *self.wire.lock().unwrap_or_else(PoisonError::into_inner) = wire;
    }

    /// What was changed so far, in words, without the names of pods.
    pub fn changes(&self) -> Vec<String> {
        self.state().changes().to_vec()
    }

    /// Its pod runs. The same one again is no news.
    pub fn begins(&self, pod: &str) {
        self.state().begins(pod);
    }

    /// These workers, by name and incarnation, are there.
    pub fn registered(&self, workers: &[(String, u64)]) {
        self.state().registered(workers);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves with the certificates in this folder until the runtime ends.
    pub async fn serve(&self, certificates: &Path, token: &str) -> Result<()> {
        let certificates = Arc::new(Certificates::load(certificates, "coordinator")?);
        let at = format!("{}:{API_PORT}", self.address);
        let listener = ApiListener::bind(certificates, &at).await.with_context(|| format!("cannot listen at {at}"))?;
        let (calls, mut called) = mpsc::channel(CALLS);
        let app = router(calls, token);
        tokio::spawn(async move { axum::serve(listener, app).await });
        let this = self.clone();
        tokio::spawn(async move {
            while let Some(call) = called.recv().await {
                this.answer(call);
            }
        });
        Ok(())
    }

    /// Whoever asked may have left.
    fn answer(&self, call: Call) {
        match call {
            Call::Alive(reply) => drop(reply.send(())),
            Call::Job(reply) => drop(reply.send(self.state().job())),
            Call::Stages { reply, .. } => drop(reply.send(vec![self.state().stage()])),
            Call::Checkpoints(reply) => drop(reply.send(vec![self.state().checkpoint()])),
            Call::Rescales { reply, .. } => drop(reply.send(self.state().rescales())),
            Call::Metrics(reply) => drop(reply.send(String::new())),
            Call::Erase(_, reply) => drop(reply.send(Err((409, ErrorBody { error: "there is nothing".into() })))),
            Call::Change(request, reply) => {
                let wire = self.wire.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let fault = wire.written(format!("POST to the coordinator: {}", state::name(&request)));
                match fault {
                    Some(Fault::DiesBefore) => wire.dies_of(reply),
                    Some(Fault::Refused(code)) => {
                        wire.happened();
                        drop(reply.send(Reply::Refused(code, ErrorBody { error: "as the test wants it".into() })));
                    }
                    Some(Fault::DiesAfter) => {
                        self.state().change(request);
                        wire.dies_of(reply);
                    }
                    Some(Fault::AnswerLost) => {
                        self.state().change(request);
                        wire.happened();
                        drop(reply);
                    }
                    None => drop(reply.send(self.state().change(request))),
                }
            }
        }
    }
}

/// Whether the job takes anything.
fn is_up(state: JobState) -> bool {
    matches!(state, JobState::Running | JobState::Rescaling)
}

/// Refused as a coordinator refuses.
fn refused(error: String) -> Reply {
    Reply::Refused(409, ErrorBody { error })
}

/// What is asked, without what it was decided on.
fn bare(request: Request) -> Request {
    match request {
        Request::If(_, inner) => bare(*inner),
        request => request,
    }
}
