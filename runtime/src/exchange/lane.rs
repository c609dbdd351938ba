//! What a router holds for one channel: rows that are being gathered, and elements that wait for credit.
use std::collections::VecDeque;
use std::sync::Arc;

use arrow::compute::concat_batches;

use super::{Error, Outlet};
use crate::batch::{Batch, Element};

/// Gathered pieces are joined when there are this many, so that a quiet channel does not keep alive the large batches
/// that its few rows were cut from.
const PARTS_MAX: usize = 16;

/// Fewer rows than this are not worth a frame.
const PART_ROWS_MIN: usize = 64;

pub(super) struct Lane {
    pub(super) outlet: Outlet,
    /// Sealed, in order; the first rows among them wait for credit.
    sealed: VecDeque<Element>,
    /// Rows behind all that is sealed.
    parts: Vec<Batch>,
    part_rows: usize,
    pub(super) sent_bytes: u64,
}

impl Lane {
    pub(super) fn new(outlet: Outlet) -> Self {
        Self { outlet, sealed: VecDeque::new(), parts: Vec::new(), part_rows: 0, sent_bytes: 0 }
    }

    /// Whether elements wait for credit.
    pub(super) fn is_waiting(&self) -> bool {
        !self.sealed.is_empty()
    }

    /// Adds rows behind all that the lane holds, and seals them when there are `batch_rows`, or when the piece is a good
    /// batch by itself.
    pub(super) fn push(&mut self, piece: Batch, batch_rows: usize) -> Result<(), Error> {
        let rows = piece.num_rows();
        if rows == 0 {
            return Ok(());
        }
        self.part_rows += rows;
        self.parts.push(piece);
        if self.part_rows >= batch_rows || rows >= batch_rows.div_ceil(4) {
            self.seal()?;
        } else if self.parts.len() >= PARTS_MAX {
            let joined = join(std::mem::take(&mut self.parts))?;
            self.parts.extend(joined);
        }
        Ok(())
    }

    /// Ends the gathering: what comes next goes into another batch.
    pub(super) fn seal(&mut self) -> Result<(), Error> {
        self.part_rows = 0;
        self.sealed.extend(join(std::mem::take(&mut self.parts))?.map(Element::Rows));
        Ok(())
    }

    /// Adds a control element behind all rows.
    pub(super) fn push_control(&mut self, element: Element) -> Result<(), Error> {
        self.seal()?;
        self.sealed.push_back(element);
        Ok(())
    }

    /// Sends what credit allows; whether nothing is left waiting. Of a batch that is much larger than the credit only a part is
    /// sent, so that little is in flight to a reader that grants little.
    pub(super) fn pump(&mut self) -> Result<bool, Error> {
        while let Some(element) = self.sealed.pop_front() {
            let credit = self.outlet.credit();
            let element = match element {
                element if element.needs_credit() && credit <= 0 => {
                    self.sealed.push_front(element);
                    return Ok(false);
                }
                Element::Rows(batch) => {
                    let (part, rest) = split(batch, credit);
                    if let Some(rest) = rest {
                        self.sealed.push_front(Element::Rows(rest));
                    }
                    Element::Rows(part)
                }
                control => control,
            };
            self.sent_bytes += self.outlet.send(element)? as u64;
        }
        Ok(true)
    }
}

/// A batch of at most about twice `credit` bytes, and what is left of it.
fn split(batch: Batch, credit: i64) -> (Batch, Option<Batch>) {
    let (rows, bytes) = (batch.num_rows(), batch.bytes());
    let fits = 2 * usize::try_from(credit).unwrap_or(0);
    let part = (rows * fits / bytes.max(1)).max(PART_ROWS_MIN);
    if bytes <= fits || part >= rows {
        return (batch, None);
    }
    (batch.slice(0, part), Some(batch.slice(part, rows - part)))
}

/// One batch of all parts, copied only if there are several.
fn join(mut parts: Vec<Batch>) -> Result<Option<Batch>, Error> {
    let Some(first) = parts.first() else { return Ok(None) };
    if parts.len() == 1 {
        return Ok(parts.pop());
    }
    let rows = concat_batches(first.rows.schema_ref(), parts.iter().map(|part| &part.rows))?;
    let kinds = parts.iter().any(|part| part.kinds.is_some()).then(|| {
        let kinds = |part: &Batch| part.kinds.as_ref().map_or_else(|| vec![0; part.num_rows()], |kinds| kinds.to_vec());
        parts.iter().flat_map(kinds).collect()
    });
    let groups: Option<Vec<&[u16]>> = parts.iter().map(|part| part.groups.as_deref()).collect();
    Ok(Some(Batch { rows, kinds, groups: groups.map(|groups| Arc::from(groups.concat())), split: None }))
}
