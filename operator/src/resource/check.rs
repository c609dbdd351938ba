//! The pod that checks a revision before the pods of another give way to its own: a worker of the revision in everything but what
//! it runs. It is not part of the revision, but made from it.
use k8s_openapi::api::core::v1::{EmptyDirVolumeSource, Pod, PodTemplateSpec, Volume};
use millstream_api::crd::ROLE_LABEL;
use serde_json::Value;

use super::pod::{DATA_VOLUME, JOB_FILE, STORE};
use super::{meta, owner};
use crate::diagnose::CHECK;
use crate::name::{CONTAINER, Identity};
use crate::revision::{self, Revision};

/// Where the process leaves its result.
const RESULT: &str = "/dev/termination-log";

/// The pod of this name. `required`: the job has a checkpoint, so the check has to find one.
pub fn pod(job: &Identity, revision: &Revision, name: String, required: bool) -> Result<Pod, serde_json::Error> {
    let template = revision.data.workers.pointer("/spec/template").cloned().unwrap_or_default();
    let template: PodTemplateSpec = serde_json::from_value(template)?;
    let mut spec = template.spec.unwrap_or_default();
    let mut args = vec!["validate".to_owned(), JOB_FILE.to_owned(), "--json".to_owned()];
    if let Some((checkpoint, required)) = against(job, revision, required) {
        args.extend(["--against".to_owned(), checkpoint]);
        if required {
            args.push("--required".to_owned());
        }
    }
    args.extend(["--termination-log".to_owned(), RESULT.to_owned()]);
    for container in spec.containers.iter_mut().filter(|container| container.name == CONTAINER) {
        container.args = Some(std::mem::take(&mut args));
        container.ports = None;
        (container.readiness_probe, container.liveness_probe, container.startup_probe) = (None, None, None);
        container.lifecycle = None;
    }
    spec.restart_policy = Some("Never".into());
    spec.termination_grace_period_seconds = Some(1);
    // It counts workers, of which this is none.
    spec.topology_spread_constraints = None;
    // It keeps no state, so it needs no volume made for it.
    for volume in spec.volumes.iter_mut().flatten().filter(|volume| volume.name == DATA_VOLUME) {
        *volume =
            Volume { name: DATA_VOLUME.into(), empty_dir: Some(EmptyDirVolumeSource::default()), ..Volume::default() };
    }
    let mut metadata = meta(job, name, None, Some(&revision.name));
    // What the user's template says of pods holds for this one, too; whose it is does not.
    let theirs = template.metadata.unwrap_or_default();
    let mut labels = theirs.labels.unwrap_or_default();
    labels.extend(metadata.labels.take().unwrap_or_default());
    labels.insert("app.kubernetes.io/component".into(), CHECK.into());
    labels.insert(ROLE_LABEL.into(), CHECK.into());
    metadata.labels = Some(labels);
    metadata.annotations = theirs.annotations;
    metadata.owner_references = Some(vec![owner(job)]);
    Ok(Pod { metadata, spec: Some(spec), status: None })
}

/// The checkpoint that its state has to fit, or the folder with it, and whether it has to be there: of a revision that takes the job back,
/// what it goes back to. `Latest` is found by the coordinator alone.
fn against(job: &Identity, revision: &Revision, required: bool) -> Option<(String, bool)> {
    match revision::goes_back(revision) {
        Some(start) => Some((start.path?, true)),
        None => Some((folder(job, revision)?, required)),
    }
}

/// The job's folder in the store of the revision.
fn folder(job: &Identity, revision: &Revision) -> Option<String> {
    let file: Value = serde_json::from_str(&revision.data.file).ok()?;
    let store = file.pointer("/spec/store")?;
    let root = match store["uri"].as_str() {
        Some(uri) => uri.trim_end_matches('/'),
        None => store["claimName"].as_str().map(|_| STORE)?,
    };
    Some(format!("{root}/{}/{}/{}", job.namespace, job.name, job.uid))
}
