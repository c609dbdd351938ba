//! Whether a spec can be run, as far as the operator can tell without parsing SQL. Pure.
use millstream_api::crd::{RESTART_ANNOTATION, Reason};
use millstream_api::job::{self, Settings};

use super::observe::{Observed, SqlText};
use super::start;
use crate::control::Plan;
use crate::revision::{self, Error, Inputs, Make, Revision};

/// A spec that can be run.
#[derive(Debug, Clone)]
pub struct Admitted {
    /// The revision it asks for; maybe one that is not there yet.
    pub revision: Revision,
    /// How it scales.
    pub plan: Plan,
}

/// A spec that cannot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// In one word.
    pub reason: Reason,
    /// Where, what and what to do.
    pub message: String,
}

impl Rejection {
    fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}

/// Judges the spec of a job that keeps the rules of the resource, or does not.
pub fn admit(
    observed: &Observed,
    checked: Result<Settings, Rejection>,
    default_image: &str,
) -> Result<Admitted, Rejection> {
    let settings = checked?;
    let file = job::StreamJob::from(observed.job.as_ref());
    let spec = &file.spec;
    if spec.store.is_none() {
        let message = "spec.store: pods come and go, so checkpoints need a place that stays; give a uri or a claimName";
        return Err(Rejection::new(Reason::InvalidSpec, message));
    }
    let sql = match &observed.sql {
        SqlText::Text(text) if text.trim().is_empty() => {
            return Err(Rejection::new(Reason::InvalidSql, "spec.sql: the text is empty"));
        }
        SqlText::Text(text) => Some(text.as_str()),
        SqlText::InImage => None,
        SqlText::Missing(what) => {
            return Err(Rejection::new(Reason::ReferenceNotFound, format!("spec.sql.configMap: {what}")));
        }
    };
    if spec.image.is_none() && default_image.is_empty() {
        let message = "spec.image: the operator has no default image; give one";
        return Err(Rejection::new(Reason::InvalidSpec, message));
    }
    let restart = file.metadata.annotations.get(RESTART_ANNOTATION).map(String::as_str);
    let inputs = Inputs::of(spec, sql, restart);
    let plan = Plan::of(&file, &settings).on_pods(spec);
    let current = revision::current(&observed.revisions);
    let generation = observed.job.metadata.generation.unwrap_or_default();
    if let Some(found) = revision::find(&observed.revisions, &inputs, generation)
        && (found.data.generation == generation || found.is_rejected() || !start::goes_back(found, current))
    {
        if !found.is_rejected() {
            stages(observed, found, spec)?;
        }
        return Ok(Admitted { revision: found.clone(), plan });
    }
    claim(observed)?;
    let start = &start::start(spec, &inputs, current, &observed.references)?;
    let make = Make { job: &observed.identity, spec, sql, default_image, generation, start };
    let revision = revision::make(make, &inputs, &observed.revisions).map_err(|error| match &error {
        Error::Template(_) => Rejection::new(Reason::InvalidPodTemplate, error.to_string()),
        Error::Write(_) => Rejection::new(Reason::InvalidSpec, error.to_string()),
    })?;
    Ok(Admitted { revision, plan })
}

/// What changes of a revision that runs is not looked at by a pod: whether there are the stages that it names.
fn stages(observed: &Observed, revision: &Revision, spec: &job::Spec) -> Result<(), Rejection> {
    let Some(known) = observed.stages.as_ref().filter(|known| known.revision == revision.name) else { return Ok(()) };
    match spec.stages.iter().enumerate().find(|(_, stage)| !known.names.contains(&stage.name)) {
        None => Ok(()),
        Some((index, stage)) => {
            let (name, there_are) = (&stage.name, known.names.join(", "));
            let message = format!("spec.stages[{index}].name: there is no stage {name}; the stages are {there_are}");
            Err(Rejection::new(Reason::UnknownStage, message))
        }
    }
}

/// What a store in a claim needs.
fn claim(observed: &Observed) -> Result<(), Rejection> {
    let Some(claim) = observed.references.claim.as_ref().filter(|claim| !claim.is_shared()) else { return Ok(()) };
    let name = &claim.name;
    let Some(modes) = &claim.modes else {
        let message = format!("spec.store.claimName: there is no PersistentVolumeClaim {name}");
        return Err(Rejection::new(Reason::ReferenceNotFound, message));
    };
    let message = format!(
        "spec.store.claimName: the PersistentVolumeClaim {name} has {} and not ReadWriteMany, so that pods on several nodes \
         cannot share it; give a bucket instead: spec.store.uri s3://BUCKET/PREFIX",
        modes.join(", ")
    );
    Err(Rejection::new(Reason::VolumeNotShared, message))
}

/// How a revision scales whose job's spec cannot be read any more: as it did at its start.
pub fn plan_of(revision: &Revision, name: &str) -> Option<Plan> {
    let spec = revision::start_of(revision)?;
    let settings = Settings::resolve(&spec.settings, "spec.settings").ok()?;
    let mut file = job::StreamJob::from_sql(name, String::new());
    file.spec = spec;
    Some(Plan::of(&file, &settings).on_pods(&file.spec))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::reconcile::observe::StageNames;
    use crate::reconcile::testing::{admitted, observed, revision};

    #[test]
    fn a_stage_that_the_running_revision_has_not_is_named() {
        let current = revision("a", 1);
        let mut seen = observed("a", vec![current.clone()]);
        let stages = json!([{"name": "bids", "parallelism": 2}, {"name": "bds", "parallelism": 8}]);
        Arc::make_mut(&mut seen.job).spec.stages = serde_json::from_value(stages).unwrap();
        assert_eq!(admitted(&seen).unwrap().revision, current, "nobody has said what stages there are");
        let names = vec!["source-1".to_owned(), "bids".to_owned()];
        seen.stages = Some(StageNames { revision: "other".into(), names: names.clone() });
        assert!(admitted(&seen).is_ok(), "those of another revision say nothing");
        seen.stages = Some(StageNames { revision: current.name, names });
        let rejection = admitted(&seen).unwrap_err();
        assert_eq!(rejection.reason, Reason::UnknownStage);
        assert_eq!(rejection.message, "spec.stages[1].name: there is no stage bds; the stages are source-1, bids");
    }
}
