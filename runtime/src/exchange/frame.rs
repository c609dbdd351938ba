//! The frames of a data connection. All numbers are little endian.
//!
//! ```text
//! kind u8 | version u8 | edge u16 | from u32 | to u32 | payload length u32 | payload
//! ```
//!
//! Watermarks and barriers carry their number in 8 bytes, a credit grant its bytes; rows are described in `columns`. What
//! owner tables cause begins with their version:
//!
//! ```text
//! marker    version u64 | watermark i64
//! closing   version u64 | receiver u32 ...
//! opening   version u64 | watermark i64 | donor u32 ...
//! state     version u64 | key group u16 | kind u8 | entries
//! ```
//!
//! Schemas do not travel: both ends have them from the plan. A malformed frame is an error, never a panic.
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use millstream_api::id::TaskId;

use super::{ChannelId, columns};
use crate::batch::{Element, PartKind, StatePart};

/// Version of this format.
pub const VERSION: u8 = 5;
/// Length of what precedes a payload.
pub const HEADER_BYTES: usize = 16;
/// No payload is longer: far above any sensible batch, low enough that garbage cannot ask for all memory.
pub const PAYLOAD_BYTES_MAX: usize = 256 << 20;

/// What precedes the entries of a state part: version, group, kind.
const PART_BYTES: usize = 8 + 2 + 1;

/// Why a frame cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Rows with a column whose type cannot travel.
    #[error("column {name} of type {data_type} cannot be sent to another task")]
    UnsupportedType {
        /// Name of the column.
        name: String,
        /// Its type.
        data_type: arrow::datatypes::DataType,
    },
    /// Longer than `PAYLOAD_BYTES_MAX`.
    #[error("a payload of {0} bytes is too long for a frame of at most {PAYLOAD_BYTES_MAX}")]
    TooLong(usize),
    /// The peer speaks another version.
    #[error("frame version {0} is not {VERSION}")]
    Version(u8),
    /// Not what this format allows.
    #[error("malformed frame: {0}")]
    Malformed(&'static str),
    /// The columns do not make a record batch.
    #[error("malformed rows")]
    Rows(#[from] ArrowError),
}

/// What a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A batch.
    Rows,
    /// A watermark.
    Watermark,
    /// The sender is idle.
    Idle,
    /// A barrier.
    Barrier,
    /// A marker.
    Marker,
    /// End of input.
    End,
    /// Credit for the other direction.
    Credit,
    /// Units given away.
    Closing,
    /// Units taken over.
    Opening,
    /// A piece of a key group.
    State,
}

const KINDS: [Kind; 10] = [
    Kind::Rows,
    Kind::Watermark,
    Kind::Idle,
    Kind::Barrier,
    Kind::Marker,
    Kind::End,
    Kind::Credit,
    Kind::Closing,
    Kind::Opening,
    Kind::State,
];

impl Kind {
    /// Whether the element was sent on credit.
    pub(super) fn needs_credit(self) -> bool {
        matches!(self, Self::Rows | Self::State)
    }
}

/// The fixed part of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// What it carries.
    pub kind: Kind,
    /// For or (credit) about which channel.
    pub channel: ChannelId,
    /// Length of the payload.
    pub payload_bytes: usize,
}

impl Header {
    /// Reads the first `HEADER_BYTES` of a frame.
    pub fn parse(bytes: &[u8; HEADER_BYTES]) -> Result<Self, Error> {
        let number = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        if bytes[1] != VERSION {
            return Err(Error::Version(bytes[1]));
        }
        let kind = usize::from(bytes[0]).checked_sub(1).and_then(|kind| KINDS.get(kind)).copied();
        let kind = kind.ok_or(Error::Malformed("unknown kind"))?;
        let channel = ChannelId { edge: u16::from_le_bytes([bytes[2], bytes[3]]), from: number(4), to: number(8) };
        let payload_bytes = number(12) as usize;
        if payload_bytes > PAYLOAD_BYTES_MAX {
            return Err(Error::TooLong(payload_bytes));
        }
        Ok(Self { kind, channel, payload_bytes })
    }

    fn write(&self, out: &mut [u8]) {
        out[0] = KINDS.iter().position(|kind| *kind == self.kind).map_or(0, |kind| kind as u8 + 1);
        out[1] = VERSION;
        out[2..4].copy_from_slice(&self.channel.edge.to_le_bytes());
        out[4..8].copy_from_slice(&self.channel.from.to_le_bytes());
        out[8..12].copy_from_slice(&self.channel.to.to_le_bytes());
        // `encode` has checked that it fits.
        out[12..16].copy_from_slice(&(self.payload_bytes as u32).to_le_bytes());
    }
}

/// The frame of an element.
pub fn encode(channel: ChannelId, element: &Element) -> Result<Bytes, Error> {
    let number = |kind, number: [u8; 8]| Ok(small(kind, channel, &number));
    match element {
        Element::Rows(batch) => {
            let mut out = BytesMut::new();
            columns::encode(batch, HEADER_BYTES, &mut out)?;
            let payload_bytes = out.len() - HEADER_BYTES;
            if payload_bytes > PAYLOAD_BYTES_MAX {
                return Err(Error::TooLong(payload_bytes));
            }
            Header { kind: Kind::Rows, channel, payload_bytes }.write(&mut out[..HEADER_BYTES]);
            Ok(out.freeze())
        }
        Element::Watermark(ms) => number(Kind::Watermark, ms.to_le_bytes()),
        Element::Barrier(epoch) => number(Kind::Barrier, epoch.to_le_bytes()),
        Element::Marker { version, watermark_ms } => {
            Ok(small(Kind::Marker, channel, &[version.to_le_bytes(), watermark_ms.to_le_bytes()].concat()))
        }
        Element::Closing { version, receivers } => tasks(Kind::Closing, channel, &version.to_le_bytes(), receivers),
        Element::Opening { version, donors, watermark_ms } => {
            let numbers = [version.to_le_bytes(), watermark_ms.to_le_bytes()].concat();
            tasks(Kind::Opening, channel, &numbers, donors)
        }
        Element::State(part) => encode_part(channel, part),
        Element::Idle => Ok(small(Kind::Idle, channel, &[])),
        Element::End => Ok(small(Kind::End, channel, &[])),
    }
}

/// The frame of a credit grant.
pub fn encode_credit(channel: ChannelId, bytes: u64) -> Bytes {
    small(Kind::Credit, channel, &bytes.to_le_bytes())
}

fn tasks(kind: Kind, channel: ChannelId, numbers: &[u8], tasks: &[TaskId]) -> Result<Bytes, Error> {
    let mut payload = numbers.to_vec();
    payload.extend(tasks.iter().flat_map(|task| task.to_le_bytes()));
    if payload.len() > PAYLOAD_BYTES_MAX {
        return Err(Error::TooLong(payload.len()));
    }
    Ok(small(kind, channel, &payload))
}

fn encode_part(channel: ChannelId, part: &StatePart) -> Result<Bytes, Error> {
    let payload_bytes = PART_BYTES + part.entries.len();
    if payload_bytes > PAYLOAD_BYTES_MAX {
        return Err(Error::TooLong(payload_bytes));
    }
    let mut out = BytesMut::with_capacity(HEADER_BYTES + payload_bytes);
    out.put_bytes(0, HEADER_BYTES);
    Header { kind: Kind::State, channel, payload_bytes }.write(&mut out[..HEADER_BYTES]);
    out.put_u64_le(part.version);
    out.put_u16_le(part.group);
    out.put_u8(part.kind as u8);
    out.put_slice(&part.entries);
    Ok(out.freeze())
}

fn small(kind: Kind, channel: ChannelId, payload: &[u8]) -> Bytes {
    let mut out = BytesMut::zeroed(HEADER_BYTES);
    Header { kind, channel, payload_bytes: payload.len() }.write(&mut out);
    out.put_slice(payload);
    out.freeze()
}

/// The element of a frame, whose rows have this schema. Columns share the memory of `payload`.
pub fn decode(header: &Header, payload: Bytes, schema: &SchemaRef) -> Result<Element, Error> {
    Ok(match header.kind {
        Kind::Rows => Element::Rows(columns::decode(payload, schema)?),
        Kind::Watermark => Element::Watermark(i64::from_le_bytes(number(&payload)?)),
        Kind::Barrier => Element::Barrier(u64::from_le_bytes(number(&payload)?)),
        Kind::Marker => {
            let (version, watermark_ms) = split_number(&payload)?;
            Element::Marker {
                version: u64::from_le_bytes(version),
                watermark_ms: i64::from_le_bytes(number(watermark_ms)?),
            }
        }
        Kind::Closing => {
            let (version, tasks) = split_number(&payload)?;
            Element::Closing { version: u64::from_le_bytes(version), receivers: decode_tasks(tasks)? }
        }
        Kind::Opening => {
            let (version, rest) = split_number(&payload)?;
            let (watermark_ms, tasks) = split_number(rest)?;
            Element::Opening {
                version: u64::from_le_bytes(version),
                donors: decode_tasks(tasks)?,
                watermark_ms: i64::from_le_bytes(watermark_ms),
            }
        }
        Kind::State => Element::State(decode_part(payload)?),
        Kind::Idle => Element::Idle,
        Kind::End => Element::End,
        Kind::Credit => return Err(Error::Malformed("a grant is no element")),
    })
}

/// The bytes of a credit grant.
pub fn decode_credit(payload: &Bytes) -> Result<u64, Error> {
    Ok(u64::from_le_bytes(number(payload)?))
}

/// The entries share the memory of the payload.
fn decode_part(mut payload: Bytes) -> Result<StatePart, Error> {
    if payload.len() < PART_BYTES {
        return Err(Error::Malformed("shorter than what precedes the entries of a key group"));
    }
    let (version, group) = (payload.get_u64_le(), payload.get_u16_le());
    let kind = PartKind::from_u8(payload.get_u8()).ok_or(Error::Malformed("unknown kind of state part"))?;
    Ok(StatePart { version, group, kind, entries: payload })
}

fn decode_tasks(bytes: &[u8]) -> Result<Arc<[TaskId]>, Error> {
    let (tasks, rest) = bytes.as_chunks();
    if !rest.is_empty() {
        return Err(Error::Malformed("a task has 4 bytes"));
    }
    Ok(tasks.iter().map(|task| TaskId::from_le_bytes(*task)).collect())
}

fn split_number(bytes: &[u8]) -> Result<([u8; 8], &[u8]), Error> {
    let (number, rest) = bytes.split_first_chunk().ok_or(Error::Malformed("a number has 8 bytes"))?;
    Ok((*number, rest))
}

fn number(payload: &[u8]) -> Result<[u8; 8], Error> {
    payload.try_into().map_err(|_| Error::Malformed("a number has 8 bytes"))
}

/// Refuses a schema whose rows could not be sent.
pub fn check_schema(schema: &SchemaRef) -> Result<(), Error> {
    columns::check_schema(schema)
}

#[cfg(test)]
mod tests;
