//! Entries of a key group as bytes, for its way to another owner.
//!
//! ```text
//! key length | value length + 1, or 0 for an entry that is no more | key | value    ... repeated; lengths are LEB128
//! ```
use bytes::{BufMut, Bytes, BytesMut};

use super::{Changes, Error};

/// Puts entries together.
#[derive(Debug, Default)]
pub struct Builder {
    out: BytesMut,
}

impl Builder {
    /// Without entries.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an entry behind those before; without a value it is one to remove.
    pub fn push(&mut self, key: &[u8], value: Option<&[u8]>) {
        self.put_number(key.len() as u64);
        self.put_number(value.map_or(0, |value| value.len() as u64 + 1));
        self.out.put_slice(key);
        self.out.put_slice(value.unwrap_or_default());
    }

    /// Bytes so far.
    pub fn bytes(&self) -> usize {
        self.out.len()
    }

    /// The entries.
    pub fn finish(self) -> Bytes {
        self.out.freeze()
    }

    fn put_number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.out.put_u8(number as u8 | 0x80);
            number >>= 7;
        }
        self.out.put_u8(number as u8);
    }
}

/// The entries of a part, in the order they were pushed: key, and value or none for one to remove.
pub fn entries(part: &[u8]) -> impl Iterator<Item = Result<Entry<'_>, Error>> {
    let mut rest = part;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let entry = entry(&mut rest);
        if entry.is_err() {
            rest = &[];
        }
        Some(entry)
    })
}

/// The same, copied.
pub fn decode(part: &[u8]) -> Result<Changes, Error> {
    entries(part).map(|entry| entry.map(|(key, value)| (key.to_vec(), value.map(<[u8]>::to_vec)))).collect()
}

/// Key, and value or none for an entry that is no more.
type Entry<'a> = (&'a [u8], Option<&'a [u8]>);

fn entry<'a>(rest: &mut &'a [u8]) -> Result<Entry<'a>, Error> {
    let malformed = |reason: &str| Error::Backend { attempt: "read a part of a key group", reason: reason.to_owned() };
    let key_bytes = get_number(rest).ok_or_else(|| malformed("it has a length without an end"))?;
    let value_bytes = get_number(rest).ok_or_else(|| malformed("it has a length without an end"))?;
    let key = get_bytes(rest, key_bytes).ok_or_else(|| malformed("a key ends behind it"))?;
    let value = match value_bytes.checked_sub(1) {
        Some(bytes) => Some(get_bytes(rest, bytes).ok_or_else(|| malformed("a value ends behind it"))?),
        None => None,
    };
    Ok((key, value))
}

fn get_number(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let (byte, tail) = rest.split_first()?;
        *rest = tail;
        let bits = u64::from(byte & 0x7f);
        if bits << shift >> shift != bits {
            return None;
        }
        number |= bits << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn get_bytes<'a>(rest: &mut &'a [u8], count: u64) -> Option<&'a [u8]> {
    let (head, tail) = rest.split_at_checked(usize::try_from(count).ok()?)?;
    *rest = tail;
    Some(head)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encode(changes: &Changes) -> Bytes {
        let mut builder = Builder::new();
        for (key, value) in changes {
            builder.push(key, value.as_deref());
        }
        assert_eq!(builder.bytes(), builder.out.len());
        builder.finish()
    }

    #[test]
    fn an_empty_value_is_not_a_removal() {
        let changes = vec![(vec![0, 1, 0, 0], Some(vec![])), (vec![], None), (vec![7; 300], Some(vec![1; 70_000]))];
        assert_eq!(decode(&encode(&changes)).unwrap(), changes);
        assert_eq!(decode(&[]).unwrap(), []);
    }

    #[test]
    fn lengths_that_lie_are_errors() {
        let reason = |bytes: &[u8]| decode(bytes).unwrap_err().to_string();
        assert_eq!(reason(&[5, 0, 1]), "cannot read a part of a key group: a key ends behind it");
        assert_eq!(reason(&[1, 3, 1, 9]), "cannot read a part of a key group: a value ends behind it");
        assert_eq!(reason(&[1]), "cannot read a part of a key group: it has a length without an end");
        let endless = [[0xff; 9].as_slice(), &[0x7f, 0]].concat();
        assert!(reason(&endless).ends_with("a length without an end"));
        let huge = [[0xff; 9].as_slice(), &[0x01, 0]].concat();
        assert!(reason(&huge).ends_with("a key ends behind it"));
    }

    fn changes() -> impl Strategy<Value = Changes> {
        let bytes = || prop::collection::vec(any::<u8>(), 0..200);
        prop::collection::vec((bytes(), prop::option::of(bytes())), 1..20)
    }

    proptest! {
        #[test]
        fn entries_come_back_and_broken_ones_never_panic(
            changes in changes(),
            noise in prop::collection::vec(any::<u8>(), 0..100),
        ) {
            let whole = encode(&changes);
            prop_assert_eq!(&decode(&whole).unwrap(), &changes);
            prop_assert!(changes.len() > 1 || decode(&whole.slice(..whole.len() - 1)).is_err());
            drop(decode(&noise));
        }
    }
}
