//! The file of a memory store's cut, version 1. Numbers are little endian.
//!
//! ```text
//! "MSSTATE"                                7 bytes
//! version                                  u8
//! number of entries                        u64
//! per entry, keys ascending:
//!     length of the key, of the value      u32, u32
//!     key, value
//! CRC-32 (IEEE) of everything before       u32
//! ```
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Groups, disk_error};
use crate::state::disk::Disk;
use crate::state::{Error, group_of};

/// Name of the one file of a cut.
pub(super) const NAME: &str = "entries";
const MAGIC: &[u8; 7] = b"MSSTATE";
const VERSION: u8 = 1;

/// Counts and sums up what passes through.
struct Checked<W> {
    to: W,
    hasher: crc32fast::Hasher,
    bytes: u64,
}

impl<W: Write> Write for Checked<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.to.write(buffer)?;
        self.hasher.update(&buffer[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Writes the file under another name first: a file with the right name is whole.
pub(super) fn write(disk: &dyn Disk, folder: &Path, groups: &Groups) -> Result<(PathBuf, u64), Error> {
    let (path, unfinished) = (folder.join(NAME), folder.join(".entries"));
    let write_all = || -> io::Result<u64> {
        disk.create_folder(folder)?;
        let mut out = Checked {
            to: io::BufWriter::with_capacity(1 << 18, disk.writer(&unfinished)?),
            hasher: crc32fast::Hasher::new(),
            bytes: 0,
        };
        write_entries(&mut out, groups)?;
        let checksum = out.hasher.clone().finalize();
        out.write_all(&checksum.to_le_bytes())?;
        out.flush()?;
        let bytes = out.bytes;
        drop(out);
        disk.rename(&unfinished, &path)?;
        Ok(bytes)
    };
    let bytes = write_all().map_err(disk_error("write the cut to", &path))?;
    Ok((path, bytes))
}

fn write_entries(out: &mut impl Write, groups: &Groups) -> io::Result<()> {
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).map_err(|_| io::Error::other("an entry has over 4 GiB"));
    out.write_all(MAGIC)?;
    out.write_all(&[VERSION])?;
    let count: usize = groups.values().map(|group| group.entries.len()).sum();
    out.write_all(&(count as u64).to_le_bytes())?;
    for (key, value) in groups.values().flat_map(|group| &group.entries) {
        out.write_all(&length(key)?.to_le_bytes())?;
        out.write_all(&length(value)?.to_le_bytes())?;
        out.write_all(key)?;
        out.write_all(value)?;
    }
    Ok(())
}

/// Reads the file of a cut.
pub(super) fn read(disk: &dyn Disk, cut: &Path) -> Result<Groups, Error> {
    let path = cut.join(NAME);
    let mut bytes = Vec::new();
    disk.reader(&path)
        .and_then(|mut reader| reader.read_to_end(&mut bytes))
        .map_err(disk_error("read the cut", &path))?;
    decode(&bytes).map_err(|what| Error::Corrupt(format!("{}: {what}", path.display())))
}

fn decode(bytes: &[u8]) -> Result<Groups, String> {
    let body_end = bytes.len().checked_sub(4).ok_or("it is too short")?;
    let (body, checksum) = bytes.split_at(body_end);
    let mut rest = body;
    if take(&mut rest, 7)? != MAGIC {
        return Err("it is not a state file".to_owned());
    }
    let version = take(&mut rest, 1)?[0];
    if version != VERSION {
        return Err(format!("it has format version {version}, this program reads {VERSION}"));
    }
    if crc32fast::hash(body).to_le_bytes() != checksum {
        return Err("its checksum is wrong".to_owned());
    }
    let high_low = take(&mut rest, 8)?.try_into().map_err(|_| "it is too short")?;
    let count = u64::from_le_bytes(high_low);
    let mut groups = Groups::new();
    for _ in 0..count {
        let (key_bytes, value_bytes) = (take_length(&mut rest)?, take_length(&mut rest)?);
        let key = take(&mut rest, key_bytes)?.to_vec();
        let value = take(&mut rest, value_bytes)?.to_vec();
        let group = group_of(&key).map_err(|error| error.to_string())?;
        Arc::make_mut(groups.entry(group).or_default()).put(key, value);
    }
    if rest.is_empty() { Ok(groups) } else { Err(format!("{} bytes follow its last entry", rest.len())) }
}

fn take<'a>(rest: &mut &'a [u8], bytes: usize) -> Result<&'a [u8], String> {
    let (taken, left) = rest.split_at_checked(bytes).ok_or("it is too short")?;
    *rest = left;
    Ok(taken)
}

fn take_length(rest: &mut &[u8]) -> Result<usize, String> {
    let bytes = take(rest, 4)?.try_into().map_err(|_| "it is too short")?;
    Ok(u32::from_le_bytes(bytes) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded() -> Vec<u8> {
        let mut groups = Groups::new();
        for group in 0u8..3 {
            let entries = Arc::make_mut(groups.entry(u16::from(group)).or_default());
            entries.put(vec![0, group, 0, 0, 7], b"value".to_vec());
            entries.put(vec![0, group, 0, 1], Vec::new());
        }
        let mut bytes = Vec::new();
        write_entries(&mut bytes, &groups).unwrap();
        bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
        bytes
    }

    #[test]
    fn every_flipped_byte_and_every_cut_is_noticed() {
        let bytes = encoded();
        assert_eq!(decode(&bytes).unwrap().len(), 3);
        for at in 0..bytes.len() {
            let mut broken = bytes.clone();
            broken[at] ^= 0x40;
            assert!(decode(&broken).is_err(), "flip at {at}");
            assert!(decode(&bytes[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn the_layout_is_the_documented_one() {
        let bytes = encoded();
        assert_eq!(&bytes[..16], b"MSSTATE\x01\x06\0\0\0\0\0\0\0");
        assert_eq!(&bytes[16..34], b"\x05\0\0\0\x05\0\0\0\0\0\0\0\x07value");
    }

    #[test]
    fn a_newer_version_is_named() {
        let mut bytes = encoded();
        bytes[7] = 9;
        assert_eq!(decode(&bytes).unwrap_err(), "it has format version 9, this program reads 1");
    }
}
