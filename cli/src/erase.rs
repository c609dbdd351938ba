//! Removes what a job has in its store, when its coordinator is gone: nobody else may write there any more.
use anyhow::{Context, Result, anyhow};
use millstream_runtime::checkpoint::erase;
use millstream_runtime::checkpoint::paths::ManifestId;
use millstream_runtime::checkpoint::store::Location;
use millstream_runtime::net::tls;
use millstream_runtime::redact::Redaction;

use crate::args::EraseArgs;
use crate::pod::termination::{Reason, Termination};
use crate::role;

/// Removes it, or says why not where Kubernetes keeps it.
pub fn erase(args: &EraseArgs) -> Result<()> {
    role::begin(Redaction::default())?;
    tls::install_provider();
    Termination::new(&args.termination_log).note(run(args).map_err(Reason::StoreUnreachable.of()), Redaction::default())
}

fn run(args: &EraseArgs) -> Result<()> {
    let id = |path: &String| -> Result<ManifestId> {
        erase::of_job(&args.prefix, path).ok_or_else(|| anyhow!("`{path}` is no path of a checkpoint of this job"))
    };
    let location = Location { uri: args.store.clone(), endpoint: args.endpoint.clone(), region: args.region.clone() };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let store = location.open(runtime.handle().clone())?;
    let objects = match &args.savepoint {
        Some(path) => erase::savepoint(store.as_ref(), &args.prefix, id(path)?),
        None => {
            let kept = args.keep.iter().map(id).collect::<Result<Vec<_>>>()?;
            erase::job(store.as_ref(), &args.prefix, &kept)
        }
    };
    let objects = objects.with_context(|| format!("cannot erase {}", location.path_of(&args.prefix)))?;
    tracing::info!(objects, "erased {}", location.path_of(&args.prefix));
    Ok(())
}
