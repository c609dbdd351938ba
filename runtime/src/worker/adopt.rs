//! Tasks that outlive their coordinator: what another one has to know of them, and how it takes them over.
use millstream_api::id::{Epoch, Generation, Term};

use super::build::Standing;
use super::{TaskCommand, Worker};
use crate::message::live::Links;
use crate::message::{Report, TaskSet};

impl Worker {
    /// Whether there are tasks here.
    pub fn hosts(&self) -> bool {
        self.current.is_some()
    }

    pub(super) fn note(&mut self, note: impl FnOnce(&mut Standing)) {
        if let Some(current) = &mut self.current {
            note(&mut current.standing);
        }
    }

    /// What came from this peer, or was on its way there, is lost; unless it hosts nothing any more. That may be on its way to here
    /// when the peer goes, or be known already.
    pub(super) fn peer_lost(&mut self, generation: Generation, peer: String, reason: String) -> Vec<Report> {
        if let Some(current) = &mut self.current
            && current.deploy.peers.iter().any(|known| known.name == peer)
        {
            current.standing.lost.insert(peer.clone());
        }
        vec![Report::PeerLost { generation, peer, reason }]
    }

    pub(super) fn describe(&self) -> Option<TaskSet> {
        let current = self.current.as_ref()?;
        let Standing { ended, epoch, started, broken, lost, progress } = &current.standing;
        let waits = matches!(progress.links, Links::Extended { .. });
        Some(TaskSet {
            deploy: current.deploy.clone(),
            ended: ended.iter().copied().collect(),
            epoch: *epoch,
            is_whole: (*started || waits) && !broken && lost.is_empty(),
            progress: progress.clone(),
        })
    }

    /// The tasks go on; what the last coordinator had begun is given up, and what it had stored is shown.
    pub(super) fn adopt(&mut self, term: Term, stored: Option<Epoch>, through: Epoch) -> Vec<Report> {
        if let Some(current) = &mut self.current {
            current.deploy.term = term;
        }
        self.tell(|| TaskCommand::Adopt(term, through));
        stored.map_or_else(Vec::new, |epoch| self.commit(epoch))
    }
}
