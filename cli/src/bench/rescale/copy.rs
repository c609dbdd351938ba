//! The ceiling of every strategy that moves state at once: the same bytes from a file over a socket into a file.
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;

use millstream_runtime::bench::stream;
use millstream_runtime::clock::Clock;

const BLOCK_BYTES: usize = 1 << 20;
/// Less is over before it can be measured.
const BYTES_MIN: u64 = 16 << 20;

/// Bytes a second with this many bytes (or a few more, if these are too few to measure).
pub fn bytes_per_s(folder: &Path, bytes: u64, clock: &dyn Clock) -> io::Result<f64> {
    let bytes = bytes.max(BYTES_MIN);
    let (from, to) = (folder.join("copy.from"), folder.join("copy.to"));
    fill(&from, bytes)?;
    let (mut source, mut target) = (File::open(&from)?, File::create(&to)?);
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut sending = TcpStream::connect(listener.local_addr()?)?;
    let (mut receiving, _) = listener.accept()?;
    let started_us = clock.now_us();
    let copied = std::thread::scope(|threads| {
        let sender = threads.spawn(move || pump(&mut source, &mut sending));
        let received = pump(&mut receiving, &mut target);
        // The sender does not panic; if it did, this would be an error like any other.
        sender.join().unwrap_or_else(|_| Err(io::ErrorKind::Other.into())).and(received)
    })?;
    let seconds = (clock.now_us() - started_us).max(1) as f64 / 1e6;
    [from, to].iter().try_for_each(std::fs::remove_file)?;
    Ok(copied as f64 / seconds)
}

fn pump(from: &mut impl Read, to: &mut impl Write) -> io::Result<u64> {
    let mut block = vec![0; BLOCK_BYTES];
    let mut copied = 0;
    loop {
        let read = from.read(&mut block)?;
        if read == 0 {
            return Ok(copied);
        }
        to.write_all(&block[..read])?;
        copied += read as u64;
    }
}

fn fill(path: &Path, bytes: u64) -> io::Result<()> {
    let mut file = File::create(path)?;
    let (mut block, mut left, mut number) = (vec![0; BLOCK_BYTES], bytes, 0);
    while left > 0 {
        stream::fill(number, &mut block);
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(BLOCK_BYTES);
        file.write_all(&block[..length])?;
        left -= length as u64;
        number += 1;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use millstream_runtime::clock::SystemClock;

    use super::*;

    #[test]
    fn all_bytes_are_copied() {
        let folder = std::env::temp_dir().join(format!("millstream-copy-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        assert!(bytes_per_s(&folder, 5, &SystemClock::default()).unwrap() > 0.0);
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
        let (from, mut to) = (folder.join("from"), Vec::new());
        fill(&from, BLOCK_BYTES as u64 + 5).unwrap();
        assert_eq!(pump(&mut File::open(&from).unwrap(), &mut to).unwrap(), BLOCK_BYTES as u64 + 5);
        assert!(std::fs::read(&from).unwrap() == to);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
