//! What the connector `bench` and `millstream bench rescale` agree on: the stream of numbered records, when each is due, and
//! what the sink writes down of their arrival.
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub mod histogram;
pub mod line;
pub mod seen;
pub mod stream;

use crate::source::schedule::Schedule;

/// Name of the schedule in the folder of a benchmark.
const SCHEDULE: &str = "schedule.json";

/// Which records are offered when. The driver writes it once the records before `first` have arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// The first record with a due time.
    pub first: u64,
    /// Time from which records are due, ms since 1970.
    pub at_ms: i64,
    /// Records a second.
    pub per_s: u64,
    /// Records in all, after which the stream ends; endless while absent.
    pub records: Option<u64>,
}

impl Offer {
    /// The offer in a folder, if there is one yet.
    pub fn read(folder: &Path) -> io::Result<Option<Self>> {
        match fs::read(folder.join(SCHEDULE)) {
            Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Puts it into a folder, whole or not at all.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        replace(&folder.join(SCHEDULE), &serde_json::to_vec(self)?)
    }

    /// The same with exact arithmetic; none if nothing would ever be due.
    pub fn due(&self) -> Option<Due> {
        Some(Due { offer: *self, schedule: Schedule::parse(&self.per_s.to_string())? })
    }
}

/// When records are due.
#[derive(Debug, Clone)]
pub struct Due {
    offer: Offer,
    schedule: Schedule,
}

impl Due {
    /// Records with a lower number are due.
    pub fn before(&self, now_ms: i64) -> u64 {
        let due = self.offer.first.saturating_add(self.schedule.due(now_ms.saturating_sub(self.offer.at_ms)));
        self.offer.records.map_or(due, |records| due.min(records))
    }

    /// When a record is due, ms since 1970; none if it has no due time.
    pub fn at_ms(&self, number: u64) -> Option<i64> {
        let since = self.schedule.due_at_ms(number.checked_sub(self.offer.first)?)?;
        Some(self.offer.at_ms.saturating_add(since))
    }
}

/// Replaces a file by rename, so that a reader sees the old text or the new one.
pub(crate) fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    let hidden: PathBuf = path.with_extension("new");
    fs::write(&hidden, text)?;
    fs::rename(hidden, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offer_says_when_records_are_due() {
        let offer = Offer { first: 100, at_ms: 5_000, per_s: 2_000, records: Some(104) };
        let due = offer.due().unwrap();
        assert_eq!((due.before(4_000), due.before(5_000), due.before(5_001), due.before(9_000)), (100, 100, 102, 104));
        assert_eq!((due.at_ms(99), due.at_ms(100), due.at_ms(102)), (None, Some(5_001), Some(5_002)));
        assert!(Offer { per_s: 0, ..offer }.due().is_none());
    }

    #[test]
    fn an_offer_is_there_once_it_is_written() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Offer::read(folder.path()).unwrap(), None);
        let offer = Offer { first: 1, at_ms: 2, per_s: 3, records: None };
        offer.write(folder.path()).unwrap();
        assert_eq!(Offer::read(folder.path()).unwrap(), Some(offer));
    }
}
