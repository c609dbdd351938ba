//! What goes into the coordinator's state machine and what comes out.
use millstream_api::id::{Epoch, Generation};
use millstream_api::wire::{
    CheckpointStatus, ErrorBody, Expect, JobState, KeepRequest, ReleaseRequest, RescaleRequest, RescaleStatus,
    SavepointRequest,
};

use crate::checkpoint::manifest::Manifest;
use crate::coordinator::round::RequestId;
use crate::message::{Command, Register, Report};

/// What happens to a coordinator.
#[derive(Debug)]
pub enum Event {
    /// A worker has connected and introduced itself.
    Registered(Register),
    /// The connection of this incarnation is gone.
    Lost {
        /// Its name.
        worker: String,
        /// Which run of it.
        incarnation: u64,
    },
    /// A worker says something.
    Said {
        /// Its name.
        worker: String,
        /// Which run of it.
        incarnation: u64,
        /// What.
        report: Report,
    },
    /// The manifest of this epoch is stored at this path, or cannot be.
    Stored {
        /// Of the manifest.
        epoch: Epoch,
        /// Its path, or why there is none.
        result: Result<String, String>,
    },
    /// This coordinator is to end, though the job is not: another one will take over what runs.
    Retire,
    /// Someone asks something over the API.
    Asked {
        /// Which the answer names.
        id: RequestId,
        /// What.
        request: Request,
    },
    /// Time has passed.
    Tick,
}

/// What the API can ask for.
#[derive(Debug, Clone)]
pub enum Request {
    /// Other parallelisms.
    Rescale(RescaleRequest),
    /// An end to the rescale under way.
    CancelRescale,
    /// A savepoint.
    Savepoint(SavepointRequest),
    /// An end.
    Stop(Leaves),
    /// Workers that are to be placed on no more.
    Release(ReleaseRequest),
    /// So many checkpoints.
    Keep(KeepRequest),
    /// Something, if the job is as expected.
    If(Expect, Box<Request>),
}

/// What a job leaves when it is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leaves {
    /// Its last checkpoint.
    Nothing,
    /// One more checkpoint, which it goes on from: removed as others are, once there are newer ones.
    Checkpoint,
    /// A savepoint.
    Savepoint,
}

/// What the API is answered.
#[derive(Debug, Clone)]
pub enum Reply {
    /// The rescale has begun, or was cancelled.
    Rescale(Box<RescaleStatus>),
    /// The savepoint is complete.
    Savepoint(CheckpointStatus),
    /// The stop has begun.
    Stop,
    /// It is done.
    Done,
    /// Refused: HTTP status and why.
    Refused(u16, ErrorBody),
}

/// What a coordinator wants done.
#[derive(Debug)]
pub enum Action {
    /// Note durably that this generation is deployed, before anything that follows.
    Note(Generation),
    /// Say this to a worker.
    Send {
        /// Its name.
        worker: String,
        /// What.
        command: Command,
    },
    /// Commit this manifest by create-if-absent, then remove what is no longer needed; answered by `Stored`.
    Store(Box<Manifest>),
    /// Answer a request.
    Answer {
        /// Of the request.
        id: RequestId,
        /// What.
        reply: Box<Reply>,
    },
    /// Say this to people.
    Tell(String),
    /// The job is over.
    Exit(JobState),
}
