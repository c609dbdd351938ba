use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, Decimal128Array, Float64Array, Int64Array, StringArray, StringViewArray,
};
use arrow::datatypes::DataType;
use proptest::prelude::*;

use super::RowCodec;
use crate::stage::key::{KeyCodec, Keys};

type Row = (Option<i64>, Option<String>, Option<bool>, Option<i32>, Option<i128>);

fn row() -> impl Strategy<Value = Row> {
    let text = prop::collection::vec(prop::sample::select(vec!['\0', '\u{1}', 'a', 'b', 'ÿ']), 0..4);
    let text = text.prop_map(|text| text.into_iter().collect::<String>());
    (
        prop::option::of(any::<i64>()),
        prop::option::of(text),
        any::<Option<bool>>(),
        any::<Option<i32>>(),
        any::<Option<i64>>(),
    )
        .prop_map(|(a, b, c, d, e)| (a, b, c, d, e.map(i128::from)))
}

fn columns(rows: &[Row]) -> Vec<ArrayRef> {
    vec![
        Arc::new(Int64Array::from_iter(rows.iter().map(|row| row.0))),
        Arc::new(StringArray::from_iter(rows.iter().map(|row| row.1.clone()))),
        Arc::new(BooleanArray::from_iter(rows.iter().map(|row| row.2))),
        Arc::new(StringViewArray::from_iter(rows.iter().map(|row| row.1.clone()))),
        Arc::new(Float64Array::from_iter(rows.iter().map(|row| row.3.map(|value| f64::from(value) / 3.0)))),
        Arc::new(Decimal128Array::from_iter(rows.iter().map(|row| row.4)).with_precision_and_scale(38, 2).unwrap()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rows_come_back_as_they_were_and_bytes_are_ordered_as_values(rows in prop::collection::vec(row(), 1..30)) {
        let columns = columns(&rows);
        let codec = RowCodec::new(columns.iter().map(|column| column.data_type())).unwrap();
        // A slice as well, since its buffers begin elsewhere.
        for from in [0, rows.len() / 2] {
            let len = rows.len() - from;
            let columns: Vec<ArrayRef> = columns.iter().map(|column| column.slice(from, len)).collect();
            let encoded = codec.encode(&columns, len);
            let bytes: Vec<&[u8]> = (0..len).map(|row| encoded.row(row)).collect();
            let back = codec.decode(&bytes).unwrap();
            for (column, back) in columns.iter().zip(&back) {
                prop_assert_eq!(&column.to_data(), &back.to_data());
            }
            for (a, x) in rows[from..].iter().zip(&bytes) {
                for (b, y) in rows[from..].iter().zip(&bytes) {
                    prop_assert_eq!(a.cmp(b), x.cmp(y));
                    prop_assert!(x == y || !y.starts_with(x));
                }
            }
        }
    }

    #[test]
    fn cut_bytes_are_an_error_and_no_panic(rows in prop::collection::vec(row(), 1..4), cut in 0usize..200) {
        let columns = columns(&rows);
        let codec = RowCodec::new(columns.iter().map(|column| column.data_type())).unwrap();
        let encoded = codec.encode(&columns, rows.len());
        let bytes = encoded.row(0);
        let cut = cut % bytes.len();
        prop_assert!(codec.decode(&[&bytes[..cut]]).is_err());
    }

    #[test]
    fn tables_number_keys_alike_as_numbers_and_as_bytes(keys in prop::collection::vec(prop::option::of(-4i64..4), 1..50)) {
        let column: ArrayRef = Arc::new(Int64Array::from(keys.clone()));
        let number = KeyCodec::new(&[DataType::Int64]).unwrap();
        let pair = KeyCodec::new(&[DataType::Int64, DataType::Int64]).unwrap();
        let rows: Vec<u32> = (0..keys.len() as u32).collect();
        let (mut numbers, mut slots, mut fresh) = (number.table(), Vec::new(), Vec::new());
        let batch = number.keys(std::slice::from_ref(&column), keys.len());
        prop_assert!(matches!(batch, Keys::Numbers(..)));
        numbers.intern(&batch, &rows, &mut slots, &mut fresh);
        let (mut pairs, mut pair_slots) = (pair.table(), Vec::new());
        pairs.intern(&pair.keys(&[column.clone(), column.clone()], keys.len()), &rows, &mut pair_slots, &mut Vec::new());
        prop_assert_eq!(&slots, &pair_slots);
        prop_assert_eq!(fresh.len(), numbers.len());
        let back = number.columns(&numbers, &slots).unwrap();
        prop_assert_eq!(back[0].to_data(), column.to_data());
        let encoded = number.encode(&[column], keys.len());
        for (row, slot) in slots.iter().enumerate() {
            let mut key = Vec::new();
            numbers.write_key(*slot, &mut key);
            prop_assert_eq!(&key, encoded.row(row));
            prop_assert_eq!(numbers.intern_bytes(&key).unwrap(), *slot);
            prop_assert_eq!(numbers.find(&batch, row), Some(*slot));
        }
    }
}

#[test]
fn the_encoding_is_what_version_1_says() {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(vec![Some(-2), None])),
        Arc::new(StringArray::from(vec![Some("a\0b"), Some("")])),
        Arc::new(Float64Array::from(vec![-0.0, 1.0])),
    ];
    let types: Vec<&DataType> = columns.iter().map(|column| column.data_type()).collect();
    let encoded = RowCodec::new(types.clone()).unwrap().encode(&columns, 2);
    let first = [&[1, 0x7F, 255, 255, 255, 255, 255, 255, 254, 1][..], b"a\0\xFFb\0\0", &[1, 0x7F], &[255; 7]].concat();
    assert_eq!(encoded.row(0), first);
    assert_eq!(encoded.row(1), [0, 1, 0, 0, 1, 0xBF, 0xF0, 0, 0, 0, 0, 0, 0]);
    let keys = RowCodec::for_keys(types).unwrap().encode(&columns, 2);
    assert_eq!(keys.row(0)[first.len() - 8..], [0x80, 0, 0, 0, 0, 0, 0, 0], "-0.0 is the key 0.0");
}

#[test]
fn a_type_without_encoding_is_refused() {
    let list = DataType::new_list(DataType::Int64, true);
    assert!(RowCodec::new([&list]).unwrap_err().contains("cannot be kept in state"));
}
