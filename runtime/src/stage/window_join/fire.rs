//! Joining windows that are due, in order of their end, each in portions of bounded size.
use arrow::array::RecordBatch;

use super::super::matching::Matching;
use super::super::progress::time_bytes;
use super::super::{EMIT_ROWS, Error, Flow, OpContext};
use super::{WindowJoin, concat};
use crate::state::{prefix, prefix_end};

/// A window that is being joined.
pub(super) struct Firing {
    end: i64,
    matching: Matching,
    /// Groups that have yet to be read from the store: position in the task's list; none if all rows are here.
    next_group: Option<usize>,
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
                match firing.next_group.filter(|next| *next < context.groups.len()) {
                    Some(next) => self.firing = Some(self.read_groups(firing.end, next, context)?),
                    None => self.finish(firing.end, context)?,
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
        if self.windows.get(&end).is_some_and(|window| window.spilled) {
            self.write_back(context)?;
            self.release(end);
            return self.read_groups(end, 0, context);
        }
        let [left, right] = self.release(end);
        let left = concat(&self.sides[0].schema, left).map_err(self.evaluate())?;
        let right = concat(&self.sides[1].schema, right).map_err(self.evaluate())?;
        Ok(Firing { end, matching: self.matching(left, right), next_group: None })
    }

    /// Takes a window's buffers.
    fn release(&mut self, end: i64) -> [Vec<super::Buffer>; 2] {
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
    fn read_groups(&self, end: i64, from: usize, context: &mut OpContext<'_>) -> Result<Firing, Error> {
        let mut rows: [Vec<Vec<u8>>; 2] = Default::default();
        let mut next = from;
        while next < context.groups.len() && rows[0].len() + rows[1].len() < EMIT_ROWS {
            let start = [&prefix(context.groups[next], self.ordinal)[..], &time_bytes(end)].concat();
            next += 1;
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
        Ok(Firing { end, matching: self.matching(left, right), next_group: Some(next) })
    }

    fn decode(&self, port: usize, rows: &[Vec<u8>]) -> Result<RecordBatch, Error> {
        let side = &self.sides[port];
        let rows: Vec<&[u8]> = rows.iter().map(Vec::as_slice).collect();
        let columns = side.rows.decode(&rows).map_err(|what| Error::Corrupt { op: self.op.clone(), what })?;
        RecordBatch::try_new(side.schema.clone(), columns).map_err(self.evaluate())
    }

    /// Forgets a window that has been joined.
    fn finish(&mut self, end: i64, context: &mut OpContext<'_>) -> Result<(), Error> {
        let Some(window) = self.windows.remove(&end) else { return Ok(()) };
        self.progress.advance(end - 1);
        if let Some(keys) = window.stored {
            if !keys.is_empty() {
                context.store.write(keys.into_iter().map(|key| (key, None)).collect())?;
            }
            return Ok(());
        }
        for group in context.groups {
            let from = [&prefix(*group, self.ordinal)[..], &time_bytes(end)].concat();
            if let Some(to) = prefix_end(&from) {
                context.store.delete_range(&from, &to)?;
            }
        }
        Ok(())
    }
}
