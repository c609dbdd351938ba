//! The frames of a data connection. All numbers are little endian.
//!
//! ```text
//! kind u8 | version u8 | edge u16 | from u32 | to u32 | payload length u32 | payload
//! ```
//!
//! Watermarks, barriers and markers carry their number in 8 bytes, a credit grant its bytes; rows are described in
//! `columns`. Schemas do not travel: both ends have them from the plan. A malformed frame is an error, never a panic.
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use bytes::{BufMut, Bytes, BytesMut};

use super::{ChannelId, columns};
use crate::batch::Element;

/// Version of this format.
pub const VERSION: u8 = 1;
/// Length of what precedes a payload.
pub const HEADER_BYTES: usize = 16;
/// No payload is longer: far above any sensible batch, low enough that garbage cannot ask for all memory.
pub const PAYLOAD_BYTES_MAX: usize = 256 << 20;

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
}

const KINDS: [Kind; 7] =
    [Kind::Rows, Kind::Watermark, Kind::Idle, Kind::Barrier, Kind::Marker, Kind::End, Kind::Credit];

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
        Element::Marker(version) => number(Kind::Marker, version.to_le_bytes()),
        Element::Idle => Ok(small(Kind::Idle, channel, &[])),
        Element::End => Ok(small(Kind::End, channel, &[])),
    }
}

/// The frame of a credit grant.
pub fn encode_credit(channel: ChannelId, bytes: u64) -> Bytes {
    small(Kind::Credit, channel, &bytes.to_le_bytes())
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
        Kind::Marker => Element::Marker(u64::from_le_bytes(number(&payload)?)),
        Kind::Idle => Element::Idle,
        Kind::End => Element::End,
        Kind::Credit => return Err(Error::Malformed("a grant is no element")),
    })
}

/// The bytes of a credit grant.
pub fn decode_credit(payload: &Bytes) -> Result<u64, Error> {
    Ok(u64::from_le_bytes(number(payload)?))
}

fn number(payload: &Bytes) -> Result<[u8; 8], Error> {
    payload.as_ref().try_into().map_err(|_| Error::Malformed("a number has 8 bytes"))
}

/// Refuses a schema whose rows could not be sent.
pub fn check_schema(schema: &SchemaRef) -> Result<(), Error> {
    columns::check_schema(schema)
}

#[cfg(test)]
mod tests;
