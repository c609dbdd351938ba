//! A savepoint that is asked for by a name may have been taken by an earlier coordinator: its manifest tells.
use std::sync::Arc;

use millstream_api::wire::{CheckpointStatus, ErrorBody, SavepointRequest};
use tokio::sync::{mpsc, oneshot};

use super::blocking;
use super::turns::{Loop, Stored};
use crate::checkpoint::manifest::Manifest;
use crate::checkpoint::{self, history, paths};
use crate::coordinator::protocol::{Event, Reply, Request};
use millstream_api::error::chain;

/// What was found in the store, and who asked.
pub struct Searched {
    request: SavepointRequest,
    reply: oneshot::Sender<Reply>,
    found: Result<Option<Manifest>, checkpoint::Error>,
}

impl Loop {
    /// Whether only the store knows.
    pub fn may_be_taken(&self, request: &SavepointRequest) -> bool {
        request.name.as_deref().is_some_and(|name| !self.coordinator.knows_savepoint(name))
    }

    pub fn search(&self, request: SavepointRequest, reply: oneshot::Sender<Reply>, stored: mpsc::Sender<Stored>) {
        let (store, prefix) = (Arc::clone(&self.store), self.coordinator.prefix().to_owned());
        tokio::spawn(async move {
            let name = request.name.clone().unwrap_or_default();
            let found = blocking(move || history::savepoint(store.as_ref(), &prefix, &name)).await;
            let Ok(found) = found else { return }; // The process is going down.
            let _ = stored.send(Stored::Searched(Searched { request, reply, found })).await; // The loop may be over.
        });
    }

    /// Answers, or passes the request on. Whoever asked may have left.
    pub fn searched(&mut self, searched: Searched) -> Option<Event> {
        let Searched { request, reply, found } = searched;
        match found {
            Ok(Some(manifest)) => {
                let path = self.location.path_of(&paths::manifest(self.coordinator.prefix(), manifest.id()));
                let status = CheckpointStatus {
                    epoch: manifest.epoch,
                    savepoint: true,
                    completed_at_ms: manifest.created_at_ms,
                    duration_ms: 0,
                    uploaded_bytes: 0,
                    state_bytes: manifest.state_bytes(),
                    path,
                    name: manifest.asked,
                };
                drop(reply.send(Reply::Savepoint(status)));
                None
            }
            Ok(None) => {
                self.next += 1;
                self.replies.insert(self.next, reply);
                Some(Event::Asked { id: self.next, request: Request::Savepoint(request) })
            }
            Err(error) => {
                let error = format!("cannot look for the savepoint in the store: {}", chain(&error));
                drop(reply.send(Reply::Refused(503, ErrorBody { error })));
                None
            }
        }
    }
}
