//! Compare-and-set for whoever decides from outside, and workers that are placed on no more.
use std::collections::BTreeSet;

use millstream_api::wire::{Expect, ReleaseRequest};

use super::{Action, Coordinator, Phase, Reply};
use crate::message::Command;

/// Released workers that are remembered. Those that run remember it themselves; the others are for the case that they come back.
const RELEASED_MAX: usize = 1_024;

impl Coordinator {
    /// Refuses what was decided on another generation or other tables.
    pub(super) fn check_expected(&self, expect: Option<&Expect>) -> Result<(), (u16, String)> {
        let Some(expect) = expect else { return Ok(()) };
        if let Some(expected) = expect.generation.filter(|expected| *expected != self.generation) {
            return Err((409, format!("the job is at generation {}, not {expected}", self.generation)));
        }
        for (name, expected) in &expect.table_versions {
            let stage = self.config.stages.iter().position(|stage| stage.name == *name);
            let stage = stage.ok_or_else(|| (404, self.no_such_stage(name)))?;
            let version = self.deployment.get(stage).map_or(0, |stage| stage.table.version);
            if version != *expected {
                return Err((409, format!("the owner table of stage {name} is at version {version}, not {expected}")));
            }
        }
        Ok(())
    }

    /// All or none. A worker that is not there is released for the case that it comes back.
    pub(super) fn ask_release(
        &mut self,
        request: &ReleaseRequest,
        out: &mut Vec<Action>,
    ) -> Result<Reply, (u16, String)> {
        self.check_expected(request.expect.as_ref())?;
        let hosts = match &self.phase {
            Phase::Deploying(_) | Phase::Running | Phase::Cancelling { .. } => self.present_and_future_hosts(),
            Phase::Waiting | Phase::Finishing { .. } | Phase::Ended(_) => BTreeSet::new(),
        };
        for asked in &request.workers {
            let Some(known) = self.workers.get(&asked.name) else { continue };
            let (name, found) = (&asked.name, known.register.incarnation);
            if found != asked.incarnation {
                let expected = asked.incarnation;
                return Err((409, format!("worker {name} is at incarnation {found}, not {expected}; look again")));
            }
            if hosts.contains(name) {
                return Err((409, format!("worker {name} hosts tasks; rescale first, so that it owns nothing")));
            }
        }
        for asked in &request.workers {
            self.released.insert(asked.name.clone(), asked.incarnation);
            if let Some(known) = self.workers.get_mut(&asked.name) {
                known.released = true;
                out.push(Action::Send { worker: asked.name.clone(), command: Command::Release });
            }
        }
        while self.released.len() > RELEASED_MAX {
            self.released.pop_first();
        }
        Ok(Reply::Done)
    }
}
