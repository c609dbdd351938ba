//! Roles in pods: the job from a mounted file, the rest from mounted secrets and the environment.
use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use millstream_api::job::{RESTORE_ANNOTATION, StartMode, Store, StreamJob};
use millstream_api::wire::JobState;
use millstream_runtime::checkpoint::paths;
use millstream_runtime::checkpoint::store::Location;
use millstream_runtime::coordinator::run::{self, Origin};
use millstream_runtime::message::RestoreFrom;
use millstream_runtime::net::tls;
use millstream_runtime::pod::{CLAIM_FOLDER, Pod, token};
use millstream_runtime::redact::Redaction;
use millstream_runtime::worker;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use crate::args::{FileArgs, PodArgs, ValidateArgs};
use crate::check::Refused;
use crate::fail::UserError;
use crate::{load, role};

pub mod termination;

use termination::{Reason, Termination};

/// How long a coordinator goes on after TERM for tasks that are on the move: well within its grace, and not for long beside its
/// successor, which waits for the workers.
const RETIREMENT: Duration = Duration::from_secs(10);
/// What variables of the SQL text are called in the environment.
const VARIABLE: &str = "MILLSTREAM_VAR_";

/// Serves a job until it is told to end.
pub fn coordinator(args: &PodArgs) -> Result<()> {
    let termination = Termination::new(&args.termination_log);
    role::begin(redaction(args.job.as_deref()))?;
    termination.note(serve(args, &termination), redaction(args.job.as_deref()))
}

fn serve(args: &PodArgs, termination: &Termination) -> Result<(), (Reason, anyhow::Error)> {
    let (pod, job) = here(args).map_err(Reason::InvalidSpec.of())?;
    let set = variables().map(|(name, value)| format!("{name}={value}")).collect();
    let file = args.job.clone().unwrap_or_default();
    let loaded = load::load(&FileArgs { file, set }).map_err(|error| (sql_or_spec(&error), error))?;
    let store = store_of(&job).map_err(Reason::InvalidSpec.of())?;
    let origin = origin_of(&job).map_err(Reason::InvalidSpec.of())?;
    let restore = job.metadata.annotations.get(RESTORE_ANNOTATION).cloned();
    let failed = Reason::Failed.of();
    let token = token(&pod.tls).context("cannot read the token").map_err(failed)?;
    let told = termination.clone();
    let ended = Box::new(move |state: JobState, error: Option<&str>| {
        if state == JobState::Failed {
            told.write(Reason::Failed, error.unwrap_or("the job failed"));
        }
    });
    let redaction = redaction(args.job.as_deref());
    let setup = pod.coordinator_setup((loaded.spec, store, (origin, restore)), token, redaction, ended);
    let setup = setup.map_err(|error| (Reason::Failed, error.into()))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(|error| (Reason::Failed, error.into()))?;
    let served = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let (tell, told) = oneshot::channel::<()>();
        let mut serving = pin!(run::serve(setup, async { drop(told.await) }));
        let served = tokio::select! {
            served = &mut serving => served,
            _ = terminate.recv() => {
                drop(tell);
                // All there is to know is in the store, and the tasks go on, unless they are on the move.
                tokio::time::timeout(RETIREMENT, serving).await.unwrap_or(Ok(None))
            }
        };
        served.map(drop).map_err(anyhow::Error::from)
    });
    // A call to the store that does not come back must not hold the process.
    runtime.shutdown_background();
    served.map_err(|error| match error.downcast_ref::<run::Error>() {
        Some(cause) if cause.is_mismatch() => (Reason::StateMismatch, error),
        Some(cause) if cause.is_store() => (Reason::StoreUnreachable, error),
        _ => (Reason::Failed, error.context("the coordinator cannot go on")),
    })
}

/// Checks a job in a pod, before the pods of another version give way to its own.
pub fn check(args: &ValidateArgs, termination: &Path) -> Result<()> {
    let (file, termination) = (&args.file.file, Termination::new(termination));
    role::begin(redaction(Some(file)))?;
    let set = variables().map(|(name, value)| format!("{name}={value}")).collect();
    let checked = crate::check::found(args, &FileArgs { file: file.clone(), set });
    let checked = checked.map_err(|error| match error.downcast_ref::<Refused>() {
        Some(Refused::Store(_)) => (Reason::StoreUnreachable, error),
        Some(Refused::State(_)) => (Reason::StateMismatch, error),
        Some(Refused::Checkpoint(_)) => (Reason::Failed, error),
        None => (sql_or_spec(&error), error),
    });
    if checked.is_ok() {
        termination.write(Reason::Valid, "the job can be run");
    }
    termination.note(checked, redaction(Some(file)))
}

/// Hosts tasks until the job is over, or until they have moved after TERM.
pub fn worker(args: &PodArgs) -> Result<()> {
    let termination = Termination::new(&args.termination_log);
    role::begin(redaction(args.job.as_deref()))?;
    let serve = || {
        let (pod, job) = here(args).map_err(Reason::InvalidSpec.of())?;
        let store = store_of(&job).map_err(Reason::InvalidSpec.of())?;
        let token = token(&pod.tls).context("cannot read the token").map_err(Reason::Failed.of())?;
        let setup = pod.worker_setup(job.spec.slots_per_worker, store, &token);
        let setup = setup.map_err(|error| (Reason::Failed, error.into()))?;
        role::serve_worker(setup).map_err(|error| match error.downcast_ref::<worker::run::Error>() {
            Some(worker::run::Error::Store(_)) => (Reason::StoreUnreachable, error),
            Some(worker::run::Error::NotDrained(_)) => (Reason::NotDrained, error),
            _ => (Reason::Failed, error.context("the worker cannot go on")),
        })
    };
    termination.note(serve(), redaction(args.job.as_deref()))
}

/// The pod this runs in, and its job.
fn here(args: &PodArgs) -> Result<(Pod, StreamJob)> {
    tls::install_provider();
    let (file, tls, data) = match (&args.job, &args.tls, &args.data) {
        (Some(file), Some(tls), Some(data)) => (file, tls, data),
        _ => return Err(anyhow!("--job, --tls and --data are needed")),
    };
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let job = millstream_api::job::parse_yaml(&text).with_context(|| file.display().to_string())?;
    let ip = variable("MILLSTREAM_POD_IP")?;
    let all = if ip.contains(':') { "::" } else { "0.0.0.0" };
    let grace = variable("MILLSTREAM_GRACE_SECONDS")?;
    let grace = grace.parse().with_context(|| format!("MILLSTREAM_GRACE_SECONDS: `{grace}` is no number"))?;
    let pod = Pod {
        name: variable("MILLSTREAM_POD_NAME")?,
        listen: args.listen.clone().unwrap_or_else(|| all.to_owned()),
        ip,
        namespace: variable("MILLSTREAM_NAMESPACE")?,
        job: job.metadata.name.clone(),
        uid: variable("MILLSTREAM_JOB_UID")?,
        coordinator: variable("MILLSTREAM_COORDINATOR")?,
        grace: Duration::from_secs(grace),
        tls: tls.clone(),
        data: data.clone(),
    };
    Ok((pod, job))
}

fn variable(name: &str) -> Result<String> {
    std::env::var(name).map_err(|_| anyhow!("the environment variable {name} is missing; the operator sets it"))
}

/// Variables of the SQL text.
fn variables() -> impl Iterator<Item = (String, String)> {
    std::env::vars().filter_map(|(name, value)| Some((name.strip_prefix(VARIABLE)?.to_owned(), value)))
}

/// Values that came from secrets. What the job's own text says is no secret.
fn redaction(file: Option<&Path>) -> Redaction {
    let text = file.and_then(|file| std::fs::read_to_string(file).ok()).unwrap_or_default();
    let written: Vec<String> = millstream_api::job::parse_yaml(&text).map_or_else(
        |_| Vec::new(),
        |job| job.spec.variables.into_iter().filter(|one| one.value.is_some()).map(|one| one.name).collect(),
    );
    Redaction::new(variables().filter(|(name, _)| !written.contains(name)))
}

/// Errors of a job's text are about its SQL, unless they name another field.
fn sql_or_spec(error: &anyhow::Error) -> Reason {
    let text = error.to_string();
    let is_spec =
        error.downcast_ref::<UserError>().is_none() || (text.contains(": spec.") && !text.contains(": spec.sql"));
    if is_spec && text.contains(": there is no stage ") {
        Reason::UnknownStage
    } else if is_spec {
        Reason::InvalidSpec
    } else {
        Reason::InvalidSql
    }
}

fn store_of(job: &StreamJob) -> Result<Location> {
    match &job.spec.store {
        Some(Store { uri: Some(uri), endpoint, region, .. }) => {
            Ok(Location { uri: uri.clone(), endpoint: endpoint.clone(), region: region.clone() })
        }
        Some(Store { claim_name: Some(_), .. }) => Ok(Location::folder(Path::new(CLAIM_FOLDER))),
        _ => Err(anyhow!("spec.store is missing; a job in a cluster needs uri or claimName")),
    }
}

fn origin_of(job: &StreamJob) -> Result<Origin> {
    let start = &job.spec.start_from;
    match (start.mode, &start.path) {
        (StartMode::Empty, _) => Ok(Origin::Empty),
        (StartMode::Latest, _) => Ok(Origin::Latest),
        (StartMode::Path, Some(path)) => {
            let (root, prefix, id) = paths::locate(path).ok_or_else(|| {
                anyhow!(
                    "spec.startFrom.path: `{path}` is no path of a checkpoint; it ends in manifests/EPOCH-TERM.json"
                )
            })?;
            Ok(Origin::From(RestoreFrom { root: Some(root), prefix, id }))
        }
        (mode, _) => Err(anyhow!("spec.startFrom.mode: {mode:?} is for the operator to resolve into a path")),
    }
}
