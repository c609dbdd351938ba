//! Entries of a key group as bytes, for its way to another owner.
//!
//! ```text
//! shared | rest | value length + 1, or 0 for an entry that is no more | the rest of the key | value    ... repeated
//! ```
//!
//! Numbers are LEB128. A key begins with the first `shared` bytes of the one before, and goes on with `rest` more: keys that follow each
//! other differ in their last bytes.
use bytes::{BufMut, Bytes, BytesMut};
use millstream_api::id::KeyGroup;

use super::{Changes, Error, check_group};

/// Entries of a part have at most so many times its bytes.
const EXPANDS_MAX: usize = 4;

/// Puts entries together.
#[derive(Debug, Default)]
pub struct Builder {
    out: BytesMut,
    /// The last one.
    key: Vec<u8>,
    /// Of all keys and values.
    plain_bytes: usize,
}

impl Builder {
    /// Adds an entry behind those before; without a value it is one to remove.
    pub fn push(&mut self, key: &[u8], value: Option<&[u8]>) {
        let shared = self.key.iter().zip(key).take_while(|(one, two)| one == two).count();
        self.put_number(shared as u64);
        self.put_number((key.len() - shared) as u64);
        self.put_number(value.map_or(0, |value| value.len() as u64 + 1));
        self.out.put_slice(&key[shared..]);
        self.out.put_slice(value.unwrap_or_default());
        self.key.truncate(shared);
        self.key.extend_from_slice(&key[shared..]);
        self.plain_bytes += key.len() + value.map_or(0, <[u8]>::len);
    }

    /// Whether it is as large as a part should be, or takes a few times as much memory where it is read.
    pub fn is_full(&self, part_bytes: usize) -> bool {
        self.out.len() >= part_bytes || self.plain_bytes / EXPANDS_MAX >= part_bytes
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

/// Reads the entries of a part in the order they were pushed.
#[derive(Debug)]
pub struct Entries<'a> {
    rest: &'a [u8],
    key: Vec<u8>,
}

/// Key, and value or none for an entry that is no more.
pub type Entry<'key, 'part> = (&'key [u8], Option<&'part [u8]>);

impl<'a> Entries<'a> {
    /// All of a part.
    pub fn of(part: &'a [u8]) -> Self {
        Self { rest: part, key: Vec::new() }
    }

    /// The next one; none behind the last.
    pub fn read(&mut self) -> Result<Option<Entry<'_, 'a>>, Error> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let value_bytes = self.read_key()?;
        let value = match value_bytes.checked_sub(1) {
            Some(bytes) => Some(get_bytes(&mut self.rest, bytes).ok_or_else(|| malformed("a value ends behind it"))?),
            None => None,
        };
        Ok(Some((&self.key, value)))
    }

    /// The next key; answers the number before it that is of the value.
    fn read_key(&mut self) -> Result<u64, Error> {
        let mut number = || get_number(&mut self.rest).ok_or_else(|| malformed("it has a length without an end"));
        let (shared, rest_bytes, value_bytes) = (number()?, number()?, number()?);
        let shared = usize::try_from(shared).ok().filter(|shared| *shared <= self.key.len());
        self.key.truncate(shared.ok_or_else(|| malformed("a key shares more than there is"))?);
        let rest = get_bytes(&mut self.rest, rest_bytes).ok_or_else(|| malformed("a key ends behind it"))?;
        self.key.extend_from_slice(rest);
        Ok(value_bytes)
    }
}

/// The same, copied.
pub fn decode(part: &[u8]) -> Result<Changes, Error> {
    let (mut entries, mut changes) = (Entries::of(part), Changes::new());
    while let Some((key, value)) = entries.read()? {
        changes.push((key.to_vec(), value.map(<[u8]>::to_vec)));
    }
    Ok(changes)
}

/// Refuses entries that do not belong to the group they are said to be of.
pub fn check(group: KeyGroup, part: &[u8]) -> Result<(), Error> {
    let mut entries = Entries::of(part);
    while let Some((key, _)) = entries.read()? {
        check_group(group, key)?;
    }
    Ok(())
}

fn malformed(reason: &str) -> Error {
    Error::Backend { attempt: "read a part of a key group", reason: reason.to_owned() }
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
        let mut builder = Builder::default();
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
        assert_eq!(reason(&[0, 5, 0, 1]), "cannot read a part of a key group: a key ends behind it");
        assert_eq!(reason(&[0, 1, 3, 1, 9]), "cannot read a part of a key group: a value ends behind it");
        assert_eq!(
            reason(&[0, 1, 0, 7, 2, 0, 0]),
            "cannot read a part of a key group: a key shares more than there is"
        );
        assert_eq!(reason(&[1]), "cannot read a part of a key group: it has a length without an end");
        let endless = [[0xff; 9].as_slice(), &[0x7f, 0]].concat();
        assert!(reason(&endless).ends_with("a length without an end"));
        let huge = [&[0], [0xff; 9].as_slice(), &[0x01, 0]].concat();
        assert!(reason(&huge).ends_with("a key ends behind it"));
    }

    #[test]
    fn keys_that_follow_each_other_share_what_they_begin_with() {
        let mut builder = Builder::default();
        [b"0123456", b"0123457", b"01234__"].into_iter().for_each(|key| builder.push(key, Some(b"!")));
        let expected = [b"\0\x07\x020123456!".as_slice(), b"\x06\x01\x027!", b"\x05\x02\x02__!"].concat();
        assert_eq!(builder.finish(), expected);
    }

    #[test]
    fn a_part_is_full_of_what_it_has_or_of_what_becomes_of_it() {
        let mut builder = Builder::default();
        builder.push(&[7; 99], Some(&[1]));
        assert_eq!([100, 103, 104].map(|bytes| builder.is_full(bytes)), [true, true, false]);
        (0..9).for_each(|_| builder.push(&[7; 99], Some(&[1])));
        assert_eq!((builder.bytes(), builder.is_full(251), builder.is_full(250)), (103 + 9 * 4, false, true));
    }

    fn changes() -> impl Strategy<Value = Changes> {
        // Few different bytes: keys share some.
        let bytes = || prop::collection::vec(0..3u8, 0..200);
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
