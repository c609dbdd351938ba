//! What the API server is asked about a new revision before it gets its pods: whether it takes the objects, and to run a pod that
//! checks it.
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use millstream_api::crd::{REVISION_LABEL, Reason};
use serde_json::Value;

use super::{CACHE_MS, Hand, kind};
use crate::diagnose::{self, Trouble};
use crate::name::MANAGER;
use crate::reconcile::build::Sized;
use crate::reconcile::rehearse::{self, About, Rehearsal};
use crate::reconcile::{Error, build};

/// A pod that was refused is asked for again after this time.
const REFUSED_MS: i64 = 30_000;

impl Hand<'_> {
    /// Whether the API server takes a new revision. That it does not is an observation: the next turn says so.
    pub(super) async fn rehearse(&mut self, rehearsal: &Rehearsal) -> Result<bool, Error> {
        if self.memory.rehearsed.as_ref() == Some(&rehearsal.revision) {
            return Ok(true);
        }
        if self.was_refused(&rehearsal.revision) {
            return Ok(false);
        }
        let pods = self.api(&ApiResource::erase::<Pod>(&()));
        let create = PostParams { dry_run: true, field_manager: Some(MANAGER.into()) };
        for (role, pod) in &rehearsal.pods {
            self.may_act()?;
            let answer = pods.create(&create, pod).await;
            if !self.takes(rehearsal, About::Pod(*role), answer.err())? {
                return Ok(false);
            }
        }
        let apply = PatchParams { dry_run: true, ..PatchParams::apply(MANAGER) };
        for Sized { role, name, object, .. } in &rehearsal.workloads {
            self.may_act()?;
            let answer = self.api(&kind(*role).resource()).patch(name, &apply, &Patch::Apply(object)).await;
            if !self.takes(rehearsal, About::Workload(*role), answer.err())? {
                return Ok(false);
            }
        }
        self.memory.rehearsed = Some(rehearsal.revision.clone());
        Ok(true)
    }

    /// Whether an answer leaves nothing to say against a revision. One that says nothing of it is no answer.
    fn takes(&mut self, rehearsal: &Rehearsal, about: About, answer: Option<kube::Error>) -> Result<bool, Error> {
        let status = match answer {
            None => return Ok(true),
            Some(kube::Error::Api(status)) if status.code < 500 && status.code != 429 => status,
            Some(source) => {
                return Err(Error::Apply { kind: about.kind(), name: rehearsal.revision.clone(), source });
            }
        };
        let trouble = rehearse::refused(about, &status).filter(|trouble| trouble.is_final || rehearsal.may_wait);
        let Some(trouble) = trouble else { return Ok(true) };
        self.memory.refused = Some((rehearsal.revision.clone(), self.observed.now_ms, trouble));
        Ok(false)
    }

    /// Whether the API server has refused this revision just now.
    fn was_refused(&self, revision: &str) -> bool {
        let refused = self.memory.refused.as_ref().filter(|(known, ..)| known == revision);
        refused.is_some_and(|(_, at_ms, _)| self.observed.now_ms - at_ms < REFUSED_MS)
    }

    /// Makes a pod that checks a revision. That it is refused is an observation: the next turn says so.
    pub(super) async fn check(&mut self, pod: Value) -> Result<(), Error> {
        let (now_ms, name) = (self.observed.now_ms, pod["metadata"]["name"].as_str().unwrap_or_default().to_owned());
        let revision = pod["metadata"]["labels"][REVISION_LABEL].as_str().unwrap_or_default().to_owned();
        if self.was_refused(&revision) {
            return Ok(());
        }
        self.may_act()?;
        let since_ms = match &self.memory.checking {
            Some((known, since_ms)) if *known == name => *since_ms,
            _ => now_ms,
        };
        self.memory.checking = Some((name.clone(), since_ms));
        let resource = ApiResource::erase::<Pod>(&());
        let object = serde_json::from_value::<DynamicObject>(pod);
        let object = object.map_err(|error| build::Error::Write(error.to_string()))?;
        let params = PostParams { field_manager: Some(MANAGER.into()), ..PostParams::default() };
        let trouble = match self.api(&resource).create(&params, &object).await {
            Ok(_) => {
                self.applied.written += 1;
                (self.memory.refused, self.memory.checking) = (None, None);
                return Ok(());
            }
            Err(kube::Error::Api(status)) if status.code == 403 => diagnose::refusal(&status.message),
            Err(kube::Error::Api(status)) if status.code == 422 => {
                let message = format!("spec.worker.podTemplate: {}", status.message);
                Trouble { is_final: true, ..Trouble::new(Reason::InvalidPodTemplate, None, message) }
            }
            // The cache does not show it yet, or it is not ours.
            Err(kube::Error::Api(status)) if status.code == 409 && now_ms - since_ms >= CACHE_MS => {
                return Err(Error::Foreign { kind: resource.kind, name });
            }
            Err(source) => return Err(Error::Apply { kind: resource.kind, name, source }),
        };
        self.memory.refused = Some((revision, now_ms, trouble));
        Ok(())
    }
}
