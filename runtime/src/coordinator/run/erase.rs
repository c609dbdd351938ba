//! The end of a savepoint, or of all that a job has in the store. Beside the loop: it may take a while.
use std::path::Path;
use std::sync::Arc;

use millstream_api::error::chain;
use millstream_api::wire::{EraseStatus, ErrorBody};
use tokio::sync::oneshot;

use super::turns::Loop;
use super::{Home, blocking};
use crate::checkpoint::erase;
use crate::checkpoint::paths::ManifestId;
use crate::coordinator::api::{Erase, Erased};
use crate::workdir::write_private;

/// A file that stays as long as the pod: a process that is started again there claims no term and writes nothing.
const MARK: &str = "erased";

/// Whether what the job had was removed from here.
pub fn is_erased(data: &Path) -> bool {
    data.join(MARK).exists()
}

enum Work {
    Job(Vec<ManifestId>),
    Savepoint(ManifestId),
}

impl Loop {
    /// Answers when it is done. Whoever asked may have left; asked once more, it is done again.
    pub fn erase(&self, erase: Erase, reply: oneshot::Sender<Erased>) {
        let work = match self.may_erase(erase) {
            Ok(work) => work,
            Err((status, error)) => return drop(reply.send(Err((status, ErrorBody { error })))),
        };
        if matches!(work, Work::Job(_)) {
            self.past.close();
        }
        let Ok(alone) = Arc::clone(&self.erasing).try_lock_owned() else {
            let error = "something is being erased; ask again".to_owned();
            return drop(reply.send(Err((503, ErrorBody { error }))));
        };
        let (store, prefix) = (Arc::clone(&self.store), self.coordinator.prefix().to_owned());
        tokio::spawn(async move {
            let erased = blocking(move || match work {
                Work::Job(kept) => erase::job(store.as_ref(), &prefix, &kept),
                Work::Savepoint(id) => erase::savepoint(store.as_ref(), &prefix, id),
            });
            let erased = match erased.await {
                Ok(Ok(objects)) => Ok(EraseStatus { objects }),
                Ok(Err(error)) => Err((503, ErrorBody { error: chain(&error) })),
                Err(_) => return, // The process is going down.
            };
            drop(alone);
            drop(reply.send(erased));
        });
    }

    /// What there is to do, if nothing stands against it.
    fn may_erase(&self, erase: Erase) -> Result<Work, (u16, String)> {
        let own = |path: &String| {
            let id = erase::of_job(self.coordinator.prefix(), path);
            id.ok_or_else(|| (400, format!("`{path}` is no path of a checkpoint of this job")))
        };
        match erase {
            Erase::Savepoint(request) => Ok(Work::Savepoint(own(&request.path)?)),
            Erase::Job(request) => {
                let kept = request.keep.iter().map(own).collect::<Result<_, _>>()?;
                if !self.coordinator.is_at_rest() {
                    return Err((409, "the job is not over; stop it first".to_owned()));
                }
                if let Home::Pod { data, .. } = &self.home {
                    let marked = write_private(&data.join(MARK), &true);
                    marked.map_err(|error| (503, format!("cannot note that the job is erased: {error}")))?;
                }
                Ok(Work::Job(kept))
            }
        }
    }
}
