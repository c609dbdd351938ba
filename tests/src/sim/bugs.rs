//! Bugs planted in what data connections carry.
use std::collections::VecDeque;

use millstream_runtime::exchange::Bytes;
use millstream_runtime::exchange::frame::{HEADER_BYTES, Header, Kind};
use millstream_runtime::state::part;

use super::Plant;

/// Where the payload of a state frame has its kind, and where its entries begin: behind version and key group.
const PART_KIND: usize = HEADER_BYTES + 8 + 2;
const PART_ENTRIES: usize = PART_KIND + 1;
/// The kind of what has changed since the snapshot.
const CHANGES: u8 = 1;
/// Where an opening has its watermark: behind the version.
const OPENING_WATERMARK: usize = HEADER_BYTES + 8;

fn header(frame: &Bytes) -> Option<Header> {
    frame.first_chunk::<HEADER_BYTES>().and_then(|bytes| Header::parse(bytes).ok())
}

/// Puts a frame into its queue, as the bug wants it.
pub fn send(plant: Option<Plant>, lost_rows: &mut bool, queue: &mut VecDeque<Bytes>, frame: Bytes) {
    let kind = header(&frame).map(|header| header.kind);
    let is_changes = kind == Some(Kind::State) && frame[PART_KIND] == CHANGES;
    match (plant, kind) {
        (Some(Plant::LoseRows), Some(Kind::Rows)) if !*lost_rows => *lost_rows = true,
        (Some(Plant::LoseChanges), _) if is_changes => {}
        (Some(Plant::KeepRemoved), _) if is_changes => queue.push_back(without_removals(&frame)),
        (Some(Plant::BarrierOvertakes), Some(Kind::Barrier)) | (Some(Plant::MarkerOvertakes), Some(Kind::Marker)) => {
            let passed = |queued: &Bytes| {
                header(queued).is_some_and(|other| {
                    other.kind == Kind::Rows && header(&frame).is_some_and(|own| own.channel == other.channel)
                })
            };
            let at = queue.iter().position(passed).unwrap_or(queue.len());
            queue.insert(at, frame);
        }
        (Some(Plant::OpeningTooHigh), Some(Kind::Opening)) => {
            let mut bytes = frame.to_vec();
            bytes[OPENING_WATERMARK..OPENING_WATERMARK + 8].copy_from_slice(&i64::MAX.to_le_bytes());
            queue.push_back(bytes.into());
        }
        _ => queue.push_back(frame),
    }
}

/// The frame with those entries only that are still there.
fn without_removals(frame: &Bytes) -> Bytes {
    let mut kept = part::Builder::default();
    for (key, value) in part::decode(&frame.slice(PART_ENTRIES..)).unwrap_or_default() {
        if value.is_some() {
            kept.push(&key, value.as_deref());
        }
    }
    let entries = kept.finish();
    let payload = (PART_ENTRIES - HEADER_BYTES + entries.len()) as u32;
    let mut bytes = frame[..PART_ENTRIES].to_vec();
    bytes[HEADER_BYTES - 4..HEADER_BYTES].copy_from_slice(&payload.to_le_bytes());
    bytes.extend_from_slice(&entries);
    bytes.into()
}
