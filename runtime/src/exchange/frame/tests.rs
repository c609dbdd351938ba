use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryViewArray, BooleanArray, Decimal128Array, FixedSizeBinaryArray, Float64Array, Int32Array,
    LargeStringArray, ListArray, NullArray, RecordBatch, StringArray, StringViewArray, TimestampMillisecondArray,
};
use arrow::datatypes::Int32Type;
use proptest::prelude::*;

use super::*;
use crate::batch::Batch;

const CHANNEL: ChannelId = ChannelId { edge: 7, from: 1, to: 0xdead_beef };

fn round_trip(element: &Element, schema: &SchemaRef) -> Element {
    let frame = encode(CHANNEL, element).unwrap();
    let header = Header::parse(frame.first_chunk().unwrap()).unwrap();
    assert_eq!((header.channel, header.payload_bytes), (CHANNEL, frame.len() - HEADER_BYTES));
    decode(&header, frame.slice(HEADER_BYTES..), schema).unwrap()
}

type Row = (Option<i32>, Option<String>, Option<bool>, Option<f64>, Option<i128>);

/// A batch with a column of every layout, with and without nulls.
fn batch(rows: &[Row]) -> Batch {
    let text = || rows.iter().map(|row| row.1.clone());
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("int", Arc::new(rows.iter().map(|row| row.0).collect::<Int32Array>())),
        ("text", Arc::new(text().collect::<StringArray>())),
        ("large", Arc::new(text().collect::<LargeStringArray>())),
        ("view", Arc::new(text().collect::<StringViewArray>())),
        ("binary", Arc::new(text().map(|text| text.map(String::into_bytes)).collect::<BinaryViewArray>())),
        ("bool", Arc::new(rows.iter().map(|row| row.2).collect::<BooleanArray>())),
        ("float", Arc::new(rows.iter().map(|row| row.3).collect::<Float64Array>())),
        ("decimal", Arc::new(rows.iter().map(|row| row.4.map(|n| n % 1000)).collect::<Decimal128Array>())),
        (
            "time",
            Arc::new(
                (0..rows.len() as i64).collect::<Vec<_>>().into_iter().map(Some).collect::<TimestampMillisecondArray>(),
            ),
        ),
        ("null", Arc::new(NullArray::new(rows.len()))),
        (
            "fixed",
            Arc::new(
                FixedSizeBinaryArray::try_from_sparse_iter_with_size(rows.iter().map(|_| Some([1u8, 2, 3])), 3)
                    .unwrap(),
            ),
        ),
    ];
    let named = columns.into_iter().map(|(name, column)| (name, column, true));
    Batch::inserts(RecordBatch::try_from_iter_with_nullable(named).unwrap())
}

fn assert_same(one: &Batch, two: &Batch) {
    // NaN is not equal to itself; debug output is enough to tell bits apart from each other here.
    assert_eq!(format!("{:?}", one.rows), format!("{:?}", two.rows));
    assert_eq!((&one.kinds, &one.groups), (&two.kinds, &two.groups));
}

fn some_rows(count: usize) -> Vec<Row> {
    (0..count as i32)
        .map(|n| (Some(n), Some(format!("row {n}")), (n % 3 > 0).then_some(n > 4), None, Some(1)))
        .collect()
}

#[test]
fn control_elements_come_back() {
    let schema = batch(&[]).rows.schema();
    let part = |kind, entries| StatePart { version: 7, group: 255, kind, entries: Bytes::from_static(entries) };
    for element in [
        Element::Watermark(-5),
        Element::Barrier(u64::MAX),
        Element::Marker { version: 3, watermark_ms: i64::MIN },
        Element::Closing { version: u64::MAX, receivers: Arc::from([3, TaskId::MAX]) },
        Element::Closing { version: 1, receivers: Arc::from([]) },
        Element::Opening { version: 4, donors: Arc::from([1]), watermark_ms: -9 },
        Element::State(part(PartKind::Snapshot, b"some entries")),
        Element::State(part(PartKind::Changes, b"\0")),
        Element::State(part(PartKind::Last, b"")),
        Element::State(part(PartKind::Hot, b"\x04\0keys")),
        Element::State(part(PartKind::Ahead, b"")),
        Element::Idle,
        Element::End,
    ] {
        assert_eq!(format!("{:?}", round_trip(&element, &schema)), format!("{element:?}"));
    }
    let frame = encode_credit(CHANNEL, 77);
    assert_eq!(Header::parse(frame.first_chunk().unwrap()).unwrap().kind, Kind::Credit);
    assert_eq!(decode_credit(&frame.slice(HEADER_BYTES..)).unwrap(), 77);
}

#[test]
fn control_frames_of_another_length_are_refused() {
    let schema = batch(&[]).rows.schema();
    let refused = |kind, payload: &[u8]| {
        let header = Header { kind, channel: CHANNEL, payload_bytes: payload.len() };
        assert!(decode(&header, Bytes::copy_from_slice(payload), &schema).is_err(), "{kind:?} {payload:?}");
    };
    for length in [0, 8, 15, 17] {
        refused(Kind::Marker, &vec![0; length]);
    }
    for length in [0, 7, 9, 11, 13] {
        refused(Kind::Closing, &vec![0; length]);
        refused(Kind::Opening, &vec![0; length + 8]);
    }
    refused(Kind::Opening, &[0; 8]);
    for length in [0, 7, 10] {
        refused(Kind::State, &vec![0; length]);
    }
    refused(Kind::State, &[0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 5]);
    refused(Kind::Credit, &[0; 8]);
}

#[test]
fn state_shares_the_memory_of_its_frame_and_has_a_bound() {
    let mut part = StatePart { version: 1, group: 2, kind: PartKind::Snapshot, entries: Bytes::from(vec![7; 5000]) };
    let frame = encode(CHANNEL, &Element::State(part.clone())).unwrap();
    let header = Header::parse(frame.first_chunk().unwrap()).unwrap();
    let payload = frame.slice(HEADER_BYTES..);
    let memory = payload.as_ptr_range();
    let Element::State(got) = decode(&header, payload, &batch(&[]).rows.schema()).unwrap() else { panic!("no state") };
    assert!(memory.contains(&got.entries.as_ptr()) && got == part);
    part.entries = Bytes::from(vec![0; PAYLOAD_BYTES_MAX]);
    assert!(matches!(encode(CHANNEL, &Element::State(part)), Err(Error::TooLong(_))));
}

#[test]
fn columns_share_the_memory_of_the_frame() {
    let sent = batch(&some_rows(1000));
    let frame = encode(CHANNEL, &Element::Rows(sent.clone())).unwrap();
    let header = Header::parse(frame.first_chunk().unwrap()).unwrap();
    // As the reader does: the payload in an allocation of its own.
    let payload = Bytes::from(frame[HEADER_BYTES..].to_vec());
    let memory = payload.as_ptr_range();
    let Element::Rows(got) = decode(&header, payload, &sent.rows.schema()).unwrap() else { panic!("no rows") };
    for name in ["int", "text", "large", "float", "time"] {
        let data = got.rows.column_by_name(name).unwrap().to_data();
        assert!(data.buffers().iter().all(|buffer| memory.contains(&buffer.as_ptr())), "{name} was copied");
    }
}

#[test]
fn types_that_cannot_travel_are_refused_by_name() {
    let list: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>([Some([Some(1)])]));
    let rows = RecordBatch::try_from_iter([("items", list)]).unwrap();
    let error = encode(CHANNEL, &Element::Rows(Batch::inserts(rows.clone()))).unwrap_err();
    assert!(error.to_string().starts_with("column items of type List"), "{error}");
    assert!(check_schema(&rows.schema()).is_err());
}

#[test]
fn another_version_is_refused() {
    let mut frame = encode(CHANNEL, &Element::End).unwrap().to_vec();
    frame[1] = VERSION - 1;
    assert!(
        matches!(Header::parse(frame.first_chunk().unwrap()), Err(Error::Version(version)) if version == VERSION - 1)
    );
}

fn any_rows() -> impl Strategy<Value = Vec<Row>> {
    prop_oneof![prop::collection::vec(any::<Row>(), 0..40), (0usize..40).prop_map(some_rows)]
}

proptest! {
    #[test]
    fn rows_come_back_whole_or_sliced(rows in any_rows(), from in 0usize..40, tagged in any::<bool>()) {
        let mut sent = batch(&rows);
        let from = from.min(rows.len());
        sent.rows = sent.rows.slice(from, rows.len() - from);
        if tagged && sent.num_rows() > 0 {
            sent.kinds = Some((0..sent.num_rows()).map(|row| (row % 4) as u8).collect());
            sent.groups = Some((0..sent.num_rows()).map(|row| row as u16 * 300).collect());
        }
        let Element::Rows(got) = round_trip(&Element::Rows(sent.clone()), &sent.rows.schema()) else { panic!() };
        assert_same(&got, &sent);
    }

    #[test]
    fn broken_frames_are_errors_and_never_panics(
        rows in any_rows(),
        cut in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        noise in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let schema = batch(&[]).rows.schema();
        let mut broken = encode(CHANNEL, &Element::Rows(batch(&rows))).unwrap().to_vec();
        for (at, value) in changes {
            // Mostly in the table, where it hurts.
            let at = at.index(broken.len().min(160));
            broken[at] = value;
        }
        let header = Header { kind: Kind::Rows, channel: CHANNEL, payload_bytes: 0 };
        if let Ok(header) = Header::parse(broken.first_chunk().unwrap()) {
            drop(decode(&header, Bytes::from(broken[HEADER_BYTES..].to_vec()), &schema));
        }
        drop(decode(&header, Bytes::from(noise), &schema));
        let whole = encode(CHANNEL, &Element::Rows(batch(&some_rows(9)))).unwrap().slice(HEADER_BYTES..);
        let cut = cut.index(whole.len() - 16);
        prop_assert!(decode(&header, whole.slice(..cut), &schema).is_err());
    }
}
