//! What a router holds for one channel: rows that are being gathered, and elements that wait for credit.
use std::collections::{BTreeMap, VecDeque};

use arrow::array::UInt32Array;
use millstream_api::id::{KeyGroup, TableVersion};

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
    /// No row at or below it follows what has been sent. Behind the last watermark broadcast while the lane waits.
    sent_watermark_ms: i64,
}

impl Lane {
    pub(super) fn new(outlet: Outlet) -> Self {
        Self {
            outlet,
            sealed: VecDeque::new(),
            parts: Vec::new(),
            part_rows: 0,
            sent_bytes: 0,
            sent_watermark_ms: i64::MIN,
        }
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
                control => {
                    match &control {
                        Element::Watermark(ms) => self.sent_watermark_ms = *ms,
                        Element::Opening { watermark_ms, .. } => self.lower(*watermark_ms),
                        _ => {}
                    }
                    control
                }
            };
            self.sent_bytes += self.outlet.send(element)? as u64;
        }
        Ok(true)
    }

    fn lower(&mut self, watermark_ms: i64) {
        self.sent_watermark_ms = self.sent_watermark_ms.min(watermark_ms);
    }

    /// No row at or below it is still to be sent.
    pub(super) fn least_ms(&self) -> i64 {
        let openings = self.sealed.iter().filter_map(|element| match element {
            Element::Opening { watermark_ms, .. } => Some(*watermark_ms),
            _ => None,
        });
        openings.fold(self.sent_watermark_ms, i64::min)
    }

    /// Gives the rows that are not sent yet and that `route` (key group -> lane) sends elsewhere to those lanes, in order. `own`
    /// is this lane.
    pub(super) fn give(&mut self, own: usize, route: &[u16], moved: &mut [Vec<Batch>]) -> Result<(), Error> {
        self.seal()?;
        for element in std::mem::take(&mut self.sealed) {
            let kept = match element {
                Element::Rows(batch) => divide(batch, own, route, moved)?.map(Element::Rows),
                control => Some(control),
            };
            self.sealed.extend(kept);
        }
        Ok(())
    }

    /// Puts a marker before all that is not sent yet, and behind it the rows that other lanes gave.
    pub(super) fn mark(&mut self, version: TableVersion, watermark_ms: i64, moved: Vec<Batch>) -> Result<(), Error> {
        let mut own = std::mem::take(&mut self.sealed);
        self.sealed.push_back(Element::Marker { version, watermark_ms });
        if let Some(moved) = join(moved)? {
            // Down to there, whatever was sent before.
            self.lower(watermark_ms);
            self.sealed.extend(take_openings(&mut own));
            self.sealed.push_back(Element::Rows(moved));
        }
        self.sealed.append(&mut own);
        Ok(())
    }
}

/// What stays of a batch when the rows of other lanes have gone there.
fn divide(batch: Batch, own: usize, route: &[u16], moved: &mut [Vec<Batch>]) -> Result<Option<Batch>, Error> {
    let lane_of = |group: &KeyGroup| usize::from(route[usize::from(*group)]);
    let Some(groups) = batch.groups.as_ref().filter(|groups| groups.iter().any(|group| lane_of(group) != own)) else {
        return Ok(Some(batch));
    };
    let mut rows: BTreeMap<usize, Vec<u32>> = BTreeMap::new();
    for (row, group) in (0u32..).zip(groups.iter()) {
        rows.entry(lane_of(group)).or_default().push(row);
    }
    let mut kept = None;
    for (lane, rows) in rows {
        let piece = batch.take(&UInt32Array::from(rows))?;
        if lane == own {
            kept = Some(piece);
        } else {
            moved[lane].push(piece);
        }
    }
    Ok(kept)
}

/// Takes the openings out of what waits. Rows given by another lane may have been behind them there, so they must not pass
/// them here: the openings go first. A watermark that stood before an opening would undo it and goes; another follows.
fn take_openings(waiting: &mut VecDeque<Element>) -> Vec<Element> {
    let is_opening = |element: &Element| matches!(element, Element::Opening { .. });
    let Some(last) = waiting.iter().rposition(is_opening) else { return Vec::new() };
    let behind = waiting.split_off(last + 1);
    let (openings, before): (Vec<_>, Vec<_>) = waiting.drain(..).partition(is_opening);
    waiting.extend(before.into_iter().filter(|element| !matches!(element, Element::Watermark(_) | Element::Idle)));
    waiting.extend(behind);
    openings
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

/// One batch of all parts.
fn join(parts: Vec<Batch>) -> Result<Option<Batch>, Error> {
    let mut parts = parts.into_iter();
    Ok(parts.next().map(|first| first.followed_by(parts.collect())).transpose()?)
}
