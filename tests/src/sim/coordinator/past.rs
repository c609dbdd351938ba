//! Rescales as coordinators remember them, each those of all before it.
use millstream_api::error::chain;
use millstream_api::wire::RescaleState;
use millstream_runtime::checkpoint::past;

use super::{PREFIX, World};

/// One of so many notes comes too late: the coordinator is gone before it.
const LATE_NOTES: u64 = 4;

/// A rescale, how far it has come, and where it is.
type Seen = (u64, u32, RescaleState);

/// The newest rescale,
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Newest {
    /// as the coordinator that there is has shown it,
    shown: Option<Seen>,
    /// and as the next one would know it.
    noted: u64,
}

impl Newest {
    /// There is another coordinator.
    pub(super) fn ask_again(&mut self) {
        self.shown = None;
    }
}

impl World {
    /// Notes what is new, and looks whether it follows what has been seen.
    pub(super) fn note_rescales(&mut self) -> Result<(), String> {
        let Some(chair) = &self.seats.chair else { return Ok(()) };
        let seen = chair.coordinator.newest_rescale().map(|newest| (newest.id, newest.batches_done, newest.state));
        let Newest { shown, noted } = self.seats.newest_rescale;
        if seen == shown && (seen.is_some() || noted == 0) {
            return Ok(());
        }
        let (term, rescales) = (chair.term, chair.coordinator.rescale_status());
        let is_next = match (shown, seen) {
            (None, seen) => seen.map_or(0, |seen| seen.0) >= noted,
            (Some(_), None) => false,
            (Some(last), Some(seen)) if last.0 == seen.0 => seen.1 >= last.1 && !last.2.is_final(),
            // One may end and the next begin at once.
            (Some(last), Some(seen)) => {
                let ended = rescales.get(1).is_some_and(|before| before.id == last.0 && before.state.is_final());
                seen.0 == last.0 + 1 && ended
            }
        };
        if !is_next {
            return Err(format!("rescale {seen:?} follows {shown:?}, and the store has {noted}"));
        }
        self.seats.newest_rescale.shown = seen;
        if self.rng.one_in(LATE_NOTES) {
            return Ok(());
        }
        self.seats.newest_rescale.noted = seen.map_or(0, |seen| seen.0);
        self.quietly(|store| past::note(store, PREFIX, term, &rescales)).map_err(|error| chain(&error))
    }
}
