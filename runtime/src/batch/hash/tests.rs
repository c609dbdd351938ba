use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array, Int16Array, Int64Array,
    LargeStringArray, ListArray, StringArray, StringViewArray, TimestampMicrosecondArray, TimestampMillisecondArray,
    UInt64Array,
};
use millstream_api::keygroup::{KeyValue, hash};
use proptest::prelude::*;

use super::*;

fn batch(columns: Vec<ArrayRef>) -> RecordBatch {
    let named = columns.into_iter().enumerate().map(|(index, array)| (format!("c{index}"), array, true));
    RecordBatch::try_from_iter_with_nullable(named).unwrap()
}

fn scalar<'a, T>(value: &Option<T>, coerce: impl Fn(&T) -> KeyValue<'a>) -> KeyValue<'a> {
    value.as_ref().map_or(KeyValue::Null, coerce)
}

type Row = (Option<i64>, Option<String>, Option<f64>, Option<bool>, Option<i128>);

proptest! {
    #[test]
    fn equals_the_scalar_function(
        rows in prop::collection::vec(any::<Row>(), 1..50),
        nullable in any::<bool>(),
        from in 0usize..8,
        key_count in 1u32..=32_768,
    ) {
        let rows: Vec<Row> = rows.into_iter().map(|(a, b, c, d, e)| {
            let e = e.map(|e| e % 10i128.pow(30));
            if nullable { (a, b, c, d, e) } else {
                (a.or(Some(0)), b.or(Some(String::new())), c.or(Some(0.0)), d.or(Some(true)), e.or(Some(0)))
            }
        }).collect();
        let decimals = rows.iter().map(|row| row.4).collect::<Decimal128Array>().with_precision_and_scale(38, 4).unwrap();
        let batch = batch(vec![
            Arc::new(rows.iter().map(|row| row.0).collect::<Int64Array>()),
            Arc::new(rows.iter().map(|row| row.1.clone()).collect::<StringArray>()),
            Arc::new(rows.iter().map(|row| row.2).collect::<Float64Array>()),
            Arc::new(rows.iter().map(|row| row.3).collect::<BooleanArray>()),
            Arc::new(decimals),
        ]);
        let from = from.min(rows.len() - 1);
        let sliced = batch.slice(from, rows.len() - from);
        let hashes = key_hashes(&sliced, &[4, 1, 0, 3, 2]).unwrap();
        let groups = key_groups(&sliced, &[4, 1, 0, 3, 2], key_count).unwrap();
        for (index, row) in rows[from..].iter().enumerate() {
            let expected = hash(&[
                scalar(&row.4, |value| KeyValue::Decimal(*value, 4)),
                row.1.as_ref().map_or(KeyValue::Null, |text| KeyValue::Bytes(text.as_bytes())),
                scalar(&row.0, |value| KeyValue::Int(*value)),
                scalar(&row.3, |value| KeyValue::Bool(*value)),
                scalar(&row.2, |value| KeyValue::Float(*value)),
            ]);
            prop_assert_eq!(hashes[index], expected);
            prop_assert_eq!(groups[index], group_of(expected, key_count));
        }
    }
}

#[test]
fn the_same_value_in_any_width_is_the_same_key() {
    let one = |array: ArrayRef| key_hashes(&batch(vec![array]), &[0]).unwrap()[0];
    let int = hash(&[KeyValue::Int(7)]);
    assert_eq!(one(Arc::new(Int16Array::from(vec![7]))), int);
    assert_eq!(one(Arc::new(UInt64Array::from(vec![7]))), int);
    assert_eq!(one(Arc::new(TimestampMillisecondArray::from(vec![7]))), int);
    assert_eq!(one(Arc::new(TimestampMicrosecondArray::from(vec![7_999]))), int);
    assert_eq!(one(Arc::new(TimestampMicrosecondArray::from(vec![-1]))), hash(&[KeyValue::Int(-1)]));
    assert_eq!(one(Arc::new(Date32Array::from(vec![2]))), hash(&[KeyValue::Int(2 * DAY_MS)]));
    assert_eq!(one(Arc::new(Float32Array::from(vec![0.5]))), hash(&[KeyValue::Float(0.5)]));
    let text = hash(&[KeyValue::Bytes(b"a long text that no view holds inline")]);
    assert_eq!(one(Arc::new(StringViewArray::from(vec!["a long text that no view holds inline"]))), text);
    assert_eq!(one(Arc::new(LargeStringArray::from(vec!["a long text that no view holds inline"]))), text);
}

#[test]
fn what_cannot_be_a_key_is_refused_by_name() {
    let list = ListArray::from_iter_primitive::<Int64Type, _, _>([Some([Some(1)])]);
    let batch = batch(vec![Arc::new(list)]);
    let error = key_groups(&batch, &[0], 8).unwrap_err();
    assert!(error.to_string().starts_with("column c0 of type List"), "{error}");
    assert!(!is_supported(batch.column(0).data_type()));
    assert_eq!(
        key_groups(&batch, &[3], 8).unwrap_err().to_string(),
        "there is no key column 3 in a batch of 1 columns"
    );
}
