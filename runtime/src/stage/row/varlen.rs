//! Text and bytes: escaped and terminated.
use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryBuilder, BinaryViewBuilder, LargeBinaryBuilder, LargeStringBuilder, StringBuilder,
    StringViewBuilder,
};
use arrow::datatypes::DataType;

use super::take_flag;

/// Calls `visit` with every value, null or bytes, in order.
fn each(column: &ArrayRef, mut visit: impl FnMut(usize, Option<&[u8]>)) {
    macro_rules! walk {
        ($array:expr, $bytes:expr) => {
            $array.iter().enumerate().for_each(|(row, value)| visit(row, value.map($bytes)))
        };
    }
    match column.data_type() {
        DataType::Utf8 => walk!(column.as_string::<i32>(), str::as_bytes),
        DataType::LargeUtf8 => walk!(column.as_string::<i64>(), str::as_bytes),
        DataType::Utf8View => walk!(column.as_string_view(), str::as_bytes),
        DataType::Binary => walk!(column.as_binary::<i32>(), |bytes| bytes),
        DataType::LargeBinary => walk!(column.as_binary::<i64>(), |bytes| bytes),
        DataType::BinaryView => walk!(column.as_binary_view(), |bytes| bytes),
        // Invariant: only the types above have this layout (`Layout::of`).
        other => unreachable!("{other} is not of variable length"),
    }
}

fn zeros(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte == 0).count()
}

pub(super) fn add_lengths(column: &ArrayRef, lengths: &mut [usize]) {
    each(column, |row, value| lengths[row] += 1 + value.map_or(0, |bytes| bytes.len() + zeros(bytes) + 2));
}

pub(super) fn encode(column: &ArrayRef, data: &mut [u8], at: &mut [usize]) {
    each(column, |row, value| {
        let at = &mut at[row];
        let Some(bytes) = value else {
            *at += 1;
            return;
        };
        data[*at] = 1;
        *at += 1;
        if zeros(bytes) == 0 {
            data[*at..*at + bytes.len()].copy_from_slice(bytes);
            *at += bytes.len();
        } else {
            for byte in bytes {
                data[*at] = *byte;
                *at += 1;
                if *byte == 0 {
                    data[*at] = 0xFF;
                    *at += 1;
                }
            }
        }
        // The two bytes of the terminator are already zero.
        *at += 2;
    });
}

/// Takes one value off the front of `rest`.
fn take<'a>(rest: &mut &'a [u8]) -> Result<Cow<'a, [u8]>, String> {
    let bytes = *rest;
    let mut unescaped = Vec::new();
    let mut from = 0;
    loop {
        let Some(zero) = bytes[from..].iter().position(|byte| *byte == 0).map(|zero| from + zero) else {
            return Err("text without an end".into());
        };
        match bytes.get(zero + 1) {
            Some(0) => {
                *rest = &bytes[zero + 2..];
                if unescaped.is_empty() {
                    return Ok(Cow::Borrowed(&bytes[from..zero]));
                }
                unescaped.extend_from_slice(&bytes[from..zero]);
                return Ok(Cow::Owned(unescaped));
            }
            Some(0xFF) => unescaped.extend_from_slice(&bytes[from..=zero]),
            _ => return Err("a bad escape within text".into()),
        }
        from = zero + 2;
    }
}

fn plain(bytes: &[u8]) -> Result<&[u8], String> {
    Ok(bytes)
}

fn text(bytes: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(bytes).map_err(|error| format!("text that is not UTF-8: {error}"))
}

pub(super) fn decode(data_type: &DataType, rest: &mut [&[u8]]) -> Result<ArrayRef, String> {
    macro_rules! build {
        ($builder:expr, $convert:expr) => {{
            let mut builder = $builder;
            for rest in rest.iter_mut() {
                match take_flag(rest)? {
                    true => builder.append_value($convert(&take(rest)?)?),
                    false => builder.append_null(),
                }
            }
            Ok(Arc::new(builder.finish()) as ArrayRef)
        }};
    }
    let rows = rest.len();
    match data_type {
        DataType::Utf8 => build!(StringBuilder::with_capacity(rows, rows * 16), text),
        DataType::LargeUtf8 => build!(LargeStringBuilder::with_capacity(rows, rows * 16), text),
        DataType::Utf8View => build!(StringViewBuilder::with_capacity(rows), text),
        DataType::Binary => build!(BinaryBuilder::with_capacity(rows, rows * 16), plain),
        DataType::LargeBinary => build!(LargeBinaryBuilder::with_capacity(rows, rows * 16), plain),
        DataType::BinaryView => build!(BinaryViewBuilder::with_capacity(rows), plain),
        other => Err(format!("{other} is not of variable length")),
    }
}
