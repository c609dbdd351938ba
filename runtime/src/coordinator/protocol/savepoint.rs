//! Savepoints that are asked for: one by the same name is taken once, however often it is asked for.
use std::mem;

use millstream_api::wire::{CheckpointStatus, ErrorBody, JobState, SavepointRequest};

use super::{Action, Coordinator, Phase, Reply};
use crate::coordinator::round::{Asked, Purpose, RequestId, Step};

impl Coordinator {
    /// Answered when it is complete, or at once if it is already.
    pub(super) fn ask_savepoint(
        &mut self,
        now_ms: i64,
        id: RequestId,
        request: SavepointRequest,
        out: &mut Vec<Action>,
    ) -> Result<Option<Reply>, (u16, String)> {
        let SavepointRequest { name, expect } = request;
        let asked = Asked { id, name };
        if let Some(name) = &asked.name {
            if let Some(taken) = self.taken(name) {
                return Ok(Some(Reply::Savepoint(taken.clone())));
            }
            if let Some(waiting) = self.waiting(name) {
                let error = "the same savepoint was asked for once more; that request is answered".to_owned();
                let id = mem::replace(waiting, asked).id;
                out.push(Action::Answer { id, reply: Box::new(Reply::Refused(503, ErrorBody { error })) });
                return Ok(None);
            }
        }
        self.check_expected(expect.as_ref())?;
        if !matches!(self.phase, Phase::Running) || self.intent.is_some() {
            return Err((409, format!("the job is {}; a savepoint needs a running job", self.state_text())));
        }
        if let Some(round) = &mut self.round
            && round.purpose == Purpose::Periodic
            && matches!(round.step, Step::Cutting(_))
        {
            round.purpose = Purpose::Savepoint(asked);
        } else if self.round.is_some() || self.is_in_flux() {
            self.savepoints_wanted.push_back(asked);
        } else {
            self.trigger(now_ms, Purpose::Savepoint(asked), out);
        }
        Ok(None)
    }

    /// Whether this coordinator knows the request with this name. Another one may have taken the savepoint before.
    pub fn knows_savepoint(&self, name: &str) -> bool {
        let under_way = self.round.iter().filter_map(|round| round.purpose.asked()).chain(&self.savepoints_wanted);
        self.taken(name).is_some() || under_way.into_iter().any(|asked| asked.name.as_deref() == Some(name))
    }

    /// Whether the job is over and nothing of it will be written any more.
    pub fn is_at_rest(&self) -> bool {
        matches!(self.phase, Phase::Ended(JobState::Stopped | JobState::Completed | JobState::Failed))
            && self.storing.is_none()
    }

    fn taken(&self, name: &str) -> Option<&CheckpointStatus> {
        self.checkpoints.iter().find(|taken| taken.savepoint && taken.name.as_deref() == Some(name))
    }

    /// Who waits for the savepoint with this name.
    fn waiting(&mut self, name: &str) -> Option<&mut Asked> {
        let of_round = self.round.iter_mut().filter_map(|round| match &mut round.purpose {
            Purpose::Savepoint(asked) => Some(asked),
            _ => None,
        });
        of_round.chain(&mut self.savepoints_wanted).find(|asked| asked.name.as_deref() == Some(name))
    }
}
