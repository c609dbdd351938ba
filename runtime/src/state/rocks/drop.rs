//! Key groups that are removed: whole files at once, for which nothing is merged, and a tombstone over what is left. Each range of files
//! is an entry in the manifest, which the disk has to have: groups that follow each other go together, and a task that gives groups
//! away has it done by another thread.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use millstream_api::id::KeyGroup;
use rocksdb::{DB, WriteBatch};

use super::cut::{Cuts, Settled};
use super::{Error, KeyRange, RocksStore, backend, group_of, group_range, options};
use crate::exchange::Wake;

/// Groups on their way out.
pub(super) struct Drops {
    ranges: Arc<[KeyRange]>,
    done: Arc<AtomicBool>,
    thread: JoinHandle<Result<(), Error>>,
}

impl Drops {
    /// `files`: whole files may go, which no snapshot reads.
    fn begin(
        (db, cuts): (Arc<DB>, Arc<Cuts>),
        ranges: Vec<KeyRange>,
        files: bool,
        wake: Arc<dyn Wake>,
    ) -> Result<Self, Error> {
        let done = Arc::new(AtomicBool::new(false));
        let is_done = Arc::clone(&done);
        let ranges: Arc<[KeyRange]> = ranges.into();
        let all = Arc::clone(&ranges);
        let thread = std::thread::Builder::new().name("state-drop".to_owned()).spawn(move || {
            let settled = cuts.settle();
            let dropped = all.iter().try_for_each(|range| {
                if files {
                    drop_files(&db, &settled, range)?;
                }
                db.write_opt(tombstone(range), &options::unlogged()).map_err(backend("drop key groups"))
            });
            drop(settled);
            is_done.store(true, Ordering::Release);
            wake.wake();
            dropped
        });
        let failed =
            |error: std::io::Error| Error::Backend { attempt: "begin to drop key groups", reason: error.to_string() };
        Ok(Self { ranges, done, thread: thread.map_err(failed)? })
    }

    pub(super) fn are_done(&self) -> bool {
        self.done.load(Ordering::Acquire)
    }

    fn concern(&self, group: KeyGroup) -> bool {
        let start = group.to_be_bytes();
        self.ranges.iter().any(|(from, to)| from.as_slice() <= start.as_slice() && start.as_slice() < to.as_slice())
    }

    /// Waits for them.
    pub(super) fn finish(self) -> Result<(), Error> {
        let ended = || Error::Backend { attempt: "drop key groups", reason: "the thread for it has ended".to_owned() };
        self.thread.join().map_err(|_| ended())?
    }
}

/// Removes the files that have nothing but keys of the range.
fn drop_files(db: &DB, _settled: &Settled<'_>, (from, to): &KeyRange) -> Result<(), Error> {
    db.delete_file_in_range(from, to).map_err(backend("drop the files of key groups"))
}

/// Later writes and ingested files have higher sequence numbers and are not covered.
fn tombstone((from, to): &KeyRange) -> WriteBatch {
    let mut batch = WriteBatch::default();
    batch.delete_range(from, to);
    batch
}

/// Groups, ascending, as runs of those that follow each other: the first and the last of each.
fn runs(groups: &[KeyGroup]) -> impl Iterator<Item = (KeyGroup, KeyGroup)> {
    let runs = groups.chunk_by(|one, two| one.checked_add(1) == Some(*two));
    runs.filter_map(|run| Some((*run.first()?, *run.last()?)))
}

/// The range of a run, and of what there may be around it as far as the groups that are kept, ascending: a file that spans several groups
/// goes with the last of them.
fn up_to_kept((first, last): (KeyGroup, KeyGroup), kept: &[KeyGroup]) -> Result<KeyRange, Error> {
    let before = kept.partition_point(|group| *group < first).checked_sub(1).and_then(|at| kept.get(at));
    let behind = kept.get(kept.partition_point(|group| *group <= last));
    let from = before.map_or(Ok(Vec::new()), |group| group_range(*group).map(|(_, end)| end))?;
    let to = behind.map_or(Ok(vec![u8::MAX]), |group| group_range(*group).map(|(from, _)| from))?; // Behind all groups: at most 32768.
    Ok((from, to))
}

impl RocksStore {
    /// Removes groups, ascending, here and now.
    pub(super) fn drop_now(&mut self, groups: &[KeyGroup]) -> Result<(), Error> {
        self.forget(groups)?;
        for (first, last) in runs(groups) {
            let range = up_to_kept((first, last), &self.neighbours((first, last))?)?;
            if self.no_snapshot_lives() {
                drop_files(&self.db, &self.cuts.settle(), &range)?;
            }
            self.apply(tombstone(&range), "drop key groups")?;
        }
        Ok(())
    }

    /// Has groups, ascending, removed; nothing that is kept is touched.
    pub(super) fn begin_drop(
        &mut self,
        groups: &[KeyGroup],
        kept: &[KeyGroup],
        wake: Arc<dyn Wake>,
    ) -> Result<(), Error> {
        self.forget(groups)?;
        let mut ranges = runs(groups).map(|run| up_to_kept(run, kept)).collect::<Result<Vec<_>, _>>()?;
        ranges.dedup(); // Runs with nothing between them that is kept.
        let place = (Arc::clone(&self.db), Arc::clone(&self.cuts));
        self.drops = Some(Drops::begin(place, ranges, self.no_snapshot_lives(), wake)?);
        Ok(())
    }

    /// Waits for groups on their way out.
    pub(super) fn finish_drop(&mut self) -> Result<(), Error> {
        self.drops.take().map_or(Ok(()), Drops::finish)
    }

    /// The same if they are in the way of this one.
    pub(super) fn finish_drop_of(&mut self, group: KeyGroup) -> Result<(), Error> {
        self.drops.take_if(|drops| drops.concern(group)).map_or(Ok(()), Drops::finish)
    }

    fn forget(&mut self, groups: &[KeyGroup]) -> Result<(), Error> {
        self.finish_drop()?;
        self.catch_up()?;
        for (first, last) in runs(groups) {
            self.note_range(&group_range(first)?.0, &group_range(last)?.1)?;
        }
        groups.iter().for_each(|group| self.unflushed.forget(*group));
        Ok(())
    }

    fn no_snapshot_lives(&self) -> bool {
        Arc::strong_count(&self.snapshots) == 1
    }

    /// The groups next to a run that have entries. Not while groups come, which are not all there to be seen.
    fn neighbours(&self, (first, last): (KeyGroup, KeyGroup)) -> Result<Vec<KeyGroup>, Error> {
        if self.intake.is_some() {
            return Ok(first.checked_sub(1).into_iter().chain(last.checked_add(1)).collect());
        }
        let mut iterator = self.db.raw_iterator();
        iterator.seek_for_prev(group_range(first)?.0);
        let before = iterator.key().map(group_of).transpose()?;
        iterator.status().map_err(backend("look before a range"))?;
        iterator.seek(group_range(last)?.1);
        let behind = iterator.key().map(group_of).transpose()?;
        iterator.status().map_err(backend("look behind a range"))?;
        Ok(before.into_iter().chain(behind).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_go_together_up_to_what_is_kept() {
        let runs = |groups: &[KeyGroup]| runs(groups).collect::<Vec<_>>();
        assert!(runs(&[]).is_empty());
        assert_eq!(runs(&[1, 2, 3, 5, 9, 10]), [(1, 3), (5, 5), (9, 10)]);
        let start = |group: KeyGroup| group.to_be_bytes().to_vec();
        for (run, kept, from, to) in [
            ((4, 5), &[][..], Vec::new(), vec![u8::MAX]),
            ((4, 5), &[3, 6], start(4), start(6)),
            ((4, 5), &[0, 1, 8, 9], start(2), start(8)),
            ((4, 5), &[9], Vec::new(), start(9)),
            ((0, 0), &[1], Vec::new(), start(1)),
            ((255, 256), &[254, 32767], start(255), start(32767)),
        ] {
            assert_eq!(up_to_kept(run, kept).unwrap(), (from, to), "{run:?} of {kept:?}");
        }
    }
}
