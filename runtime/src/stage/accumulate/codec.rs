//! Accumulators in state. Version 1: numbers as zigzag LEB128 (sums of floats: 8 bytes big endian), byte strings with
//! their length in front, multisets in value order.
use super::{Accumulators, MULTISET_ENTRY, Multiset};

fn put(mut value: u128, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn put_signed(value: i128, out: &mut Vec<u8>) {
    put(((value << 1) ^ (value >> 127)).cast_unsigned(), out);
}

fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    put(bytes.len() as u128, out);
    out.extend_from_slice(bytes);
}

fn get(rest: &mut &[u8]) -> Result<u128, String> {
    let mut value = 0u128;
    for shift in (0..128).step_by(7) {
        let Some((byte, tail)) = rest.split_first() else { break };
        *rest = tail;
        value |= u128::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err("a number without an end".into())
}

fn get_signed(rest: &mut &[u8]) -> Result<i128, String> {
    let value = get(rest)?;
    Ok((value >> 1).cast_signed() ^ -((value & 1).cast_signed()))
}

fn get_i64(rest: &mut &[u8]) -> Result<i64, String> {
    i64::try_from(get_signed(rest)?).map_err(|_| "a number too large".to_string())
}

fn get_bytes<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], String> {
    let len = usize::try_from(get(rest)?).map_err(|_| "a length too large".to_string())?;
    let (head, tail) = rest.split_at_checked(len).ok_or("bytes that end too early")?;
    *rest = tail;
    Ok(head)
}

impl Accumulators {
    /// Appends a slot's encoding.
    pub fn encode(&self, slot: usize, out: &mut Vec<u8>) {
        match self {
            Self::Counts(counts) => put_signed(counts[slot].into(), out),
            Self::Int64(sums, counts) => {
                put_signed(sums[slot].into(), out);
                put_signed(counts[slot].into(), out);
            }
            Self::Float64(sums, counts) => {
                out.extend_from_slice(&sums[slot].to_bits().to_be_bytes());
                put_signed(counts[slot].into(), out);
            }
            Self::Int128(sums, counts) => {
                put_signed(sums[slot], out);
                put_signed(counts[slot].into(), out);
            }
            Self::Extreme(values, seen) => {
                out.push(u8::from(seen[slot]));
                if seen[slot] {
                    put_signed(values[slot].into(), out);
                }
            }
            Self::ExtremeBytes(values) => {
                out.push(u8::from(values[slot].is_some()));
                if let Some(value) = &values[slot] {
                    put_bytes(value, out);
                }
            }
            Self::Multisets(sets) => {
                put(sets[slot].len() as u128, out);
                for (value, count) in &sets[slot] {
                    put_bytes(value, out);
                    put_signed((*count).into(), out);
                }
            }
        }
    }

    /// Takes a slot's encoding off the front of `rest`; returns bytes of memory gained.
    pub fn decode(&mut self, slot: usize, rest: &mut &[u8]) -> Result<usize, String> {
        match self {
            Self::Counts(counts) => counts[slot] = get_i64(rest)?,
            Self::Int64(sums, counts) => (sums[slot], counts[slot]) = (get_i64(rest)?, get_i64(rest)?),
            Self::Float64(sums, counts) => {
                let (head, tail) = rest.split_first_chunk::<8>().ok_or("a float that ends too early")?;
                *rest = tail;
                (sums[slot], counts[slot]) = (f64::from_bits(u64::from_be_bytes(*head)), get_i64(rest)?);
            }
            Self::Int128(sums, counts) => (sums[slot], counts[slot]) = (get_signed(rest)?, get_i64(rest)?),
            Self::Extreme(values, seen) => {
                seen[slot] = get(rest)? == 1;
                values[slot] = if seen[slot] { get_i64(rest)? } else { 0 };
            }
            Self::ExtremeBytes(values) => {
                values[slot] = if get(rest)? == 1 { Some(get_bytes(rest)?.into()) } else { None };
                return Ok(values[slot].as_ref().map_or(0, |value| value.len()));
            }
            Self::Multisets(sets) => {
                let mut set = Multiset::new();
                let mut gained = 0;
                for _ in 0..get(rest)? {
                    let value = get_bytes(rest)?;
                    gained += value.len() + MULTISET_ENTRY;
                    set.insert(value.into(), get_i64(rest)?);
                }
                sets[slot] = set;
                return Ok(gained);
            }
        }
        Ok(0)
    }
}
