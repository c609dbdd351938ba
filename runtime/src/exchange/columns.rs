//! Rows as bytes: the buffers of the columns, cut to the rows and laid out so that the receiver can use them in place.
//!
//! ```text
//! rows u32 | sections u32 | length of each section u32 ... | each section, starting at a multiple of 16
//! sections: kinds (a byte per row, or empty), key groups (u16 per row, or empty), then per column
//!   null            nothing
//!   boolean         validity bits (empty = all valid), value bits
//!   fixed width     validity bits, values
//!   text, binary    validity bits, rows + 1 offsets starting at 0 (i32; i64 for large types), bytes
//! ```
//!
//! View types travel as text and binary with 32-bit offsets.
use std::sync::Arc;

use arrow::array::{Array, ArrayData, ArrayRef, RecordBatch, RecordBatchOptions, make_array};
use arrow::buffer::{BooleanBuffer, Buffer};
use arrow::compute::cast;
use arrow::datatypes::{ArrowNativeType, DataType, SchemaRef};
use bytes::{BufMut, Bytes, BytesMut};

use super::frame::Error;
use crate::batch::{Batch, ChangeKind};

#[cfg(target_endian = "big")]
compile_error!("buffers travel as they are in memory, which the format fixes as little endian");

const ALIGN: usize = 16;

/// How the values of a type lie in memory.
#[derive(Clone, Copy)]
enum Layout {
    Null,
    Bits,
    Fixed(usize),
    Offsets32,
    Offsets64,
    View,
}

impl Layout {
    fn of(data_type: &DataType) -> Option<Self> {
        Some(match data_type {
            DataType::Null => Self::Null,
            DataType::Boolean => Self::Bits,
            DataType::Utf8 | DataType::Binary => Self::Offsets32,
            DataType::LargeUtf8 | DataType::LargeBinary => Self::Offsets64,
            DataType::Utf8View | DataType::BinaryView => Self::View,
            DataType::FixedSizeBinary(width) => Self::Fixed(usize::try_from(*width).ok()?),
            other => Self::Fixed(other.primitive_width()?),
        })
    }

    fn sections(self) -> usize {
        match self {
            Self::Null => 0,
            Self::Bits | Self::Fixed(_) => 2,
            Self::Offsets32 | Self::Offsets64 | Self::View => 3,
        }
    }
}

fn plain(view: &DataType) -> DataType {
    if *view == DataType::Utf8View { DataType::Utf8 } else { DataType::Binary }
}

fn layout(name: &str, data_type: &DataType) -> Result<Layout, Error> {
    Layout::of(data_type).ok_or_else(|| Error::UnsupportedType { name: name.to_owned(), data_type: data_type.clone() })
}

/// Refuses a schema whose rows could not be sent.
pub(super) fn check_schema(schema: &SchemaRef) -> Result<(), Error> {
    schema.fields().iter().try_for_each(|field| layout(field.name(), field.data_type()).map(drop))
}

/// Appends `header_bytes` zeros, for the caller to fill, and the batch.
pub(super) fn encode(batch: &Batch, header_bytes: usize, out: &mut BytesMut) -> Result<(), Error> {
    let rows = u32::try_from(batch.num_rows()).map_err(|_| Error::Malformed("too many rows for a frame"))?;
    let mut sections = Vec::with_capacity(2 + 3 * batch.rows.num_columns());
    sections.push(batch.kinds.as_deref().map_or_else(empty, Buffer::from_slice_ref));
    sections.push(batch.groups.as_deref().map_or_else(empty, Buffer::from_slice_ref));
    for (field, column) in batch.rows.schema_ref().fields().iter().zip(batch.rows.columns()) {
        encode_column(layout(field.name(), column.data_type())?, column, &mut sections)?;
    }

    let table_bytes = 8 + 4 * sections.len();
    let bytes = sections.iter().map(|section| padded(section.len())).sum::<usize>() + padded(table_bytes);
    if bytes > super::frame::PAYLOAD_BYTES_MAX {
        return Err(Error::TooLong(bytes));
    }
    out.reserve(header_bytes + bytes);
    out.put_bytes(0, header_bytes);
    out.put_u32_le(rows);
    // Lengths fit: their sum does.
    out.put_u32_le(sections.len() as u32);
    for section in &sections {
        out.put_u32_le(section.len() as u32);
    }
    out.put_bytes(0, padded(table_bytes) - table_bytes);
    for section in &sections {
        out.put_slice(section);
        out.put_bytes(0, padded(section.len()) - section.len());
    }
    Ok(())
}

fn padded(bytes: usize) -> usize {
    bytes.next_multiple_of(ALIGN)
}

fn empty() -> Buffer {
    Buffer::from_vec(Vec::<u8>::new())
}

fn encode_column(layout: Layout, column: &ArrayRef, sections: &mut Vec<Buffer>) -> Result<(), Error> {
    let (data, rows) = (column.to_data(), column.len());
    let bits = |bits: &BooleanBuffer| bits.sliced().slice_with_length(0, rows.div_ceil(8));
    if !matches!(layout, Layout::Null | Layout::View) {
        let nulls = data.nulls().filter(|nulls| nulls.null_count() > 0);
        sections.push(nulls.map_or_else(empty, |nulls| bits(nulls.inner())));
    }
    match layout {
        Layout::Null => {}
        Layout::Bits => sections.push(bits(&BooleanBuffer::new(data.buffers()[0].clone(), data.offset(), rows))),
        Layout::Fixed(width) => {
            sections.push(data.buffers()[0].slice_with_length(data.offset() * width, rows * width));
        }
        Layout::Offsets32 => encode_offsets::<i32>(&data, sections),
        Layout::Offsets64 => encode_offsets::<i64>(&data, sections),
        Layout::View => {
            let column = cast(column, &plain(column.data_type()))?;
            encode_column(Layout::Offsets32, &column, sections)?;
        }
    }
    Ok(())
}

/// Offsets are shifted so that they start at 0, which costs a copy only for slices.
fn encode_offsets<O: ArrowNativeType + std::ops::Sub<Output = O>>(data: &ArrayData, sections: &mut Vec<Buffer>) {
    let (rows, width) = (data.len(), size_of::<O>());
    if rows == 0 {
        sections.extend([Buffer::from_slice_ref([O::default()]), empty()]);
        return;
    }
    let offsets = &data.buffers()[0].typed_data::<O>()[data.offset()..=data.offset() + rows];
    let (first, last) = (offsets[0], offsets[rows]);
    sections.push(if first == O::default() {
        data.buffers()[0].slice_with_length(data.offset() * width, (rows + 1) * width)
    } else {
        Buffer::from_vec(offsets.iter().map(|offset| *offset - first).collect::<Vec<O>>())
    });
    sections.push(data.buffers()[1].slice_with_length(first.as_usize(), (last - first).as_usize()));
}

/// Reads the sections of a payload in order, checking every length against the bytes that are there.
struct Sections {
    payload: Bytes,
    lengths: Bytes,
    at: usize,
}

impl Sections {
    /// Also answers the number of rows.
    fn open(payload: Bytes, expected: usize) -> Result<(Self, usize), Error> {
        let table_bytes = 8 + 4 * expected;
        if payload.len() < padded(table_bytes) {
            return Err(Error::Malformed("shorter than its table of sections"));
        }
        let number = |at: usize| u32::from_le_bytes([payload[at], payload[at + 1], payload[at + 2], payload[at + 3]]);
        let rows = number(0) as usize;
        if number(4) as usize != expected {
            return Err(Error::Malformed("the columns are not those of the schema"));
        }
        let lengths = payload.slice(8..table_bytes);
        Ok((Self { payload, lengths, at: padded(table_bytes) }, rows))
    }

    fn next(&mut self) -> Result<Bytes, Error> {
        if self.lengths.len() < 4 {
            return Err(Error::Malformed("a section is missing"));
        }
        let length = self.lengths.split_to(4);
        let length = u32::from_le_bytes([length[0], length[1], length[2], length[3]]) as usize;
        let end = self.at.checked_add(length).filter(|end| *end <= self.payload.len());
        let section = self.payload.slice(self.at..end.ok_or(Error::Malformed("a section ends behind the frame"))?);
        self.at += padded(length);
        Ok(section)
    }

    fn exactly(&mut self, bytes: Option<usize>) -> Result<Bytes, Error> {
        let section = self.next()?;
        if Some(section.len()) != bytes {
            return Err(Error::Malformed("a section does not fit the number of rows"));
        }
        Ok(section)
    }

    fn optional(&mut self, bytes: Option<usize>) -> Result<Option<Bytes>, Error> {
        let section = self.next()?;
        match section.len() {
            0 => Ok(None),
            length if Some(length) == bytes => Ok(Some(section)),
            _ => Err(Error::Malformed("an optional section does not fit the number of rows")),
        }
    }
}

/// The batch of a payload. Columns share its memory where their alignment allows, which it does for whole frames.
pub(super) fn decode(payload: Bytes, schema: &SchemaRef) -> Result<Batch, Error> {
    let layouts = schema.fields().iter().map(|field| layout(field.name(), field.data_type()));
    let layouts = layouts.collect::<Result<Vec<_>, _>>()?;
    let expected = 2 + layouts.iter().map(|layout| layout.sections()).sum::<usize>();
    let (mut sections, rows) = Sections::open(payload, expected)?;
    let kinds = sections.optional(Some(rows))?;
    if kinds.iter().flatten().any(|kind| ChangeKind::from_u8(*kind).is_none()) {
        return Err(Error::Malformed("unknown change kind"));
    }
    let groups = sections.optional(rows.checked_mul(2))?;
    let mut columns = Vec::with_capacity(layouts.len());
    for (layout, field) in layouts.into_iter().zip(schema.fields()) {
        columns.push(decode_column(layout, field.data_type(), rows, &mut sections)?);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(Batch {
        rows: RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?,
        kinds: kinds.map(|kinds| Arc::from(kinds.as_ref())),
        groups: groups.map(|groups| groups.as_chunks().0.iter().map(|group| u16::from_le_bytes(*group)).collect()),
        split: None,
    })
}

fn decode_column(
    layout: Layout,
    data_type: &DataType,
    rows: usize,
    sections: &mut Sections,
) -> Result<ArrayRef, Error> {
    if let Layout::View = layout {
        return Ok(cast(&decode_column(Layout::Offsets32, &plain(data_type), rows, sections)?, data_type)?);
    }
    let mut data = ArrayData::builder(data_type.clone()).len(rows).align_buffers(true);
    if !matches!(layout, Layout::Null) {
        data = data.null_bit_buffer(sections.optional(Some(rows.div_ceil(8)))?.map(Buffer::from));
    }
    let values = match layout {
        Layout::Null | Layout::View => vec![],
        Layout::Bits => vec![sections.exactly(Some(rows.div_ceil(8)))?],
        Layout::Fixed(width) => vec![sections.exactly(rows.checked_mul(width))?],
        Layout::Offsets32 => vec![sections.exactly((rows + 1).checked_mul(4))?, sections.next()?],
        Layout::Offsets64 => vec![sections.exactly((rows + 1).checked_mul(8))?, sections.next()?],
    };
    // `build` checks everything else: offsets in order and within the bytes, text in UTF-8.
    Ok(make_array(data.buffers(values.into_iter().map(Buffer::from).collect()).build()?))
}
