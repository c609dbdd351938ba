//! Joining windows that are due, in order of their end, each in portions of bounded size.
use arrow::array::RecordBatch;

use super::super::group::Absent;
use super::super::matching::Matching;
use super::super::progress::time_bytes;
use super::super::{EMIT_ROWS, Error, Flow, OpContext};
use super::buffer::{Buffer, Window};
use super::{WindowJoin, concat};
use crate::state::{prefix, prefix_end};
use millstream_api::id::KeyGroup;

/// A window that is being joined.
pub(super) struct Firing {
    end: i64,
    matching: Matching,
    /// Groups that are read from the store, and how many of them have been.
    groups: Vec<KeyGroup>,
    read: usize,
}

impl WindowJoin {
    pub(super) fn fire(&mut self, watermark_ms: i64, context: &mut OpContext<'_>) -> Result<Flow, Error> {
        let mut tried = 0;
        loop {
            let Some(mut firing) = self.firing.take() else {
                match self.windows.first_key_value().map(|(end, _)| *end).filter(|end| *end - 1 <= watermark_ms) {
                    Some(end) => self.firing = Some(self.begin(end, context)?),
                    None => return Ok(Flow::Done),
                }
                continue;
            };
            if firing.matching.is_done() {
                match firing.read < firing.groups.len() {
                    true => self.firing = Some(self.read_groups((firing.end, firing.groups, firing.read), context)?),
                    false => self.finish(firing.end, context)?,
                }
                continue;
            }
            // Pairs count, not rows kept: a residual that keeps little must not make one call long.
            if tried >= EMIT_ROWS {
                self.firing = Some(firing);
                return Ok(Flow::More);
            }
            let (left, right) = firing.matching.next(EMIT_ROWS - tried).map_err(self.evaluate())?;
            tried += left.num_rows();
            context.output.extend(self.joiner.join(&left, &right, None).map_err(self.evaluate())?);
            self.firing = Some(firing);
        }
    }

    fn begin(&mut self, end: i64, context: &mut OpContext<'_>) -> Result<Firing, Error> {
        let gaps = match self.windows.get(&end).map(|window| &window.absent) {
            Some(Absent::Some(groups)) => groups.clone(),
            _ => {
                self.write_back(None, context)?;
                self.release(end);
                return self.read_groups((end, context.groups.to_vec(), 0), context);
            }
        };
        if !gaps.is_empty() {
            self.write_back(Some(&gaps), context)?;
        }
        let [left, right] = self.release(end);
        let left = concat(&self.sides[0].schema, &left, &gaps).map_err(self.evaluate())?;
        let right = concat(&self.sides[1].schema, &right, &gaps).map_err(self.evaluate())?;
        Ok(Firing { end, matching: self.matching(left, right), groups: gaps.iter().collect(), read: 0 })
    }

    /// Takes a window's buffers.
    fn release(&mut self, end: i64) -> [Vec<Buffer>; 2] {
        let buffers = self.windows.get_mut(&end).map(|window| std::mem::take(&mut window.buffers)).unwrap_or_default();
        let bytes: usize = buffers.iter().flatten().map(|buffer| buffer.rows.get_array_memory_size()).sum();
        self.buffered = self.buffered.saturating_sub(bytes);
        buffers
    }

    fn matching(&self, left: RecordBatch, right: RecordBatch) -> Matching {
        let (left_keys, right_keys) = (self.sides[0].keys(&left), self.sides[1].keys(&right));
        Matching::new((left, &left_keys), (right, &right_keys), self.sides[0].codec.table())
    }

    /// Reads a window's rows from the store, of as many groups as make a good batch.
    fn read_groups(
        &self,
        (end, groups, mut read): (i64, Vec<KeyGroup>, usize),
        context: &mut OpContext<'_>,
    ) -> Result<Firing, Error> {
        let mut rows: [Vec<Vec<u8>>; 2] = Default::default();
        while read < groups.len() && rows[0].len() + rows[1].len() < EMIT_ROWS {
            let start = [&prefix(groups[read], self.ordinal)[..], &time_bytes(end)].concat();
            read += 1;
            let mut bad_side = false;
            context.store.scan(&start, prefix_end(&start).as_deref(), &mut |key, value| {
                match key.get(start.len()).and_then(|port| rows.get_mut(usize::from(*port))) {
                    Some(rows) => rows.push(value.to_vec()),
                    None => bad_side = true,
                }
                !bad_side
            })?;
            if bad_side {
                return Err(Error::Corrupt { op: self.op.clone(), what: "a row of neither side".into() });
            }
        }
        let [left, right] = [self.decode(0, &rows[0])?, self.decode(1, &rows[1])?];
        Ok(Firing { end, matching: self.matching(left, right), groups, read })
    }

    fn decode(&self, port: usize, rows: &[Vec<u8>]) -> Result<RecordBatch, Error> {
        let side = &self.sides[port];
        let rows: Vec<&[u8]> = rows.iter().map(Vec::as_slice).collect();
        let columns = side.rows.decode(&rows).map_err(|what| Error::Corrupt { op: self.op.clone(), what })?;
        RecordBatch::try_new(side.schema.clone(), columns).map_err(self.evaluate())
    }

    /// Forgets a window that has been joined.
    fn finish(&mut self, end: i64, context: &mut OpContext<'_>) -> Result<(), Error> {
        let Some(Window { absent, stored, .. }) = self.windows.remove(&end) else { return Ok(()) };
        self.progress.advance(end - 1);
        let listed = stored.is_some();
        if let Some(keys) = stored.filter(|keys| !keys.is_empty()) {
            context.store.write(keys.into_iter().map(|key| (key, None)).collect())?;
        }
        let ranges = |group: &&KeyGroup| match &absent {
            Absent::Some(groups) => !listed || groups.contains(**group),
            Absent::All => !listed,
        };
        for group in context.groups.iter().filter(ranges) {
            let from = [&prefix(*group, self.ordinal)[..], &time_bytes(end)].concat();
            if let Some(to) = prefix_end(&from) {
                context.store.delete_range(&from, &to)?;
            }
        }
        Ok(())
    }
}
