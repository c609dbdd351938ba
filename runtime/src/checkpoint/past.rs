//! Rescales that a job has been through, so that whoever coordinates it next can show them. Nothing else depends on them.
use millstream_api::id::Term;
use millstream_api::wire::RescaleStatus;

use super::history::json;
use super::store::CheckpointStore;
use super::{Error, paths};

/// Notes all that are remembered, newest first; what earlier terms noted is among them.
pub fn note(store: &dyn CheckpointStore, prefix: &str, term: Term, rescales: &[RescaleStatus]) -> Result<(), Error> {
    Ok(store.put(&paths::rescales_of(prefix, term), json("a list of rescales", &rescales)?)?)
}

/// Removes what terms before this one have noted.
pub fn forget_before(store: &dyn CheckpointStore, prefix: &str, term: Term) -> Result<(), Error> {
    for older in terms(store, prefix)?.into_iter().filter(|older| *older < term) {
        store.delete(&paths::rescales_of(prefix, older))?;
    }
    Ok(())
}

/// What the newest term has noted. A list that cannot be read is worth a warning, not a job.
pub fn noted(store: &dyn CheckpointStore, prefix: &str) -> Result<Vec<RescaleStatus>, Error> {
    let Some(term) = terms(store, prefix)?.into_iter().max() else { return Ok(Vec::new()) };
    let path = paths::rescales_of(prefix, term);
    let Some(text) = store.get(&path)? else { return Ok(Vec::new()) };
    Ok(serde_json::from_slice(&text).unwrap_or_else(|error| {
        tracing::warn!("{path} is passed over: {error}");
        Vec::new()
    }))
}

fn terms(store: &dyn CheckpointStore, prefix: &str) -> Result<Vec<Term>, Error> {
    let listed = store.list(&paths::rescales(prefix))?;
    Ok(listed.iter().filter_map(|object| paths::parse_rescales(prefix, &object.path)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::store::MemoryCheckpoints;

    #[test]
    fn the_newest_term_knows_all_of_them() {
        let store = MemoryCheckpoints::default();
        let rescale = |id| RescaleStatus { id, ..RescaleStatus::default() };
        assert_eq!(noted(&store, "job").unwrap(), []);
        note(&store, "job", 3, &[rescale(1)]).unwrap();
        note(&store, "job", 3, &[rescale(2), rescale(1)]).unwrap();
        note(&store, "job", 12, &[rescale(3), rescale(2), rescale(1)]).unwrap();
        // One that has been followed without knowing it.
        note(&store, "job", 3, &[rescale(9)]).unwrap();
        assert_eq!(noted(&store, "job").unwrap(), [rescale(3), rescale(2), rescale(1)]);
        forget_before(&store, "job", 12).unwrap();
        assert_eq!(terms(&store, "job").unwrap(), [12]);
        assert_eq!(noted(&store, "other").unwrap(), []);
        store.put(&paths::rescales_of("job", 13), "{".into()).unwrap();
        assert_eq!(noted(&store, "job").unwrap(), []);
    }
}
