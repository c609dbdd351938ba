//! The ceiling: copy a block, write it to a socket, read it, copy it. No rows, no frames, no credit.
use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::clock::Clock;
use crate::net::Connection;

/// Fits a core's cache; a frame of 4096 rows is about this long.
const BLOCK_BYTES: usize = 128 << 10;
const SOURCE_BYTES: usize = 64 * BLOCK_BYTES;

/// Sends `bytes` and awaits the word that they have arrived; answers bytes a second.
pub(super) async fn send(mut connection: Connection, bytes: u64, clock: &dyn Clock) -> io::Result<f64> {
    let source = vec![7; SOURCE_BYTES];
    let mut block = vec![0; BLOCK_BYTES];
    let started_us = clock.now_us();
    connection.writer.write_all(&bytes.to_le_bytes()).await?;
    let mut left = bytes;
    for piece in source.chunks(BLOCK_BYTES).cycle() {
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(BLOCK_BYTES);
        if length == 0 {
            break;
        }
        block[..length].copy_from_slice(&piece[..length]);
        connection.writer.write_all(&block[..length]).await?;
        left -= length as u64;
    }
    connection.writer.flush().await?;
    connection.reader.read_exact(&mut [0; 1]).await?;
    Ok(bytes as f64 / ((clock.now_us() - started_us).max(1) as f64 / 1e6))
}

/// Receives and copies what is sent, and says so.
pub(super) async fn receive(mut connection: Connection) -> io::Result<()> {
    let mut length = [0; 8];
    connection.reader.read_exact(&mut length).await?;
    let mut left = u64::from_le_bytes(length);
    let (mut block, mut copy) = (vec![0; BLOCK_BYTES], vec![0; SOURCE_BYTES]);
    let mut at = 0;
    while left > 0 {
        let room = usize::try_from(left).unwrap_or(usize::MAX).min(BLOCK_BYTES);
        let read = connection.reader.read(&mut block[..room]).await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if at + read > copy.len() {
            at = 0;
        }
        copy[at..at + read].copy_from_slice(&block[..read]);
        at += read;
        left -= read as u64;
    }
    std::hint::black_box(&copy);
    connection.writer.write_all(&[1]).await?;
    connection.writer.flush().await
}
