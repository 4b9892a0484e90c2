//! Keys, metadata, partitioners, acknowledgements, records that are too large.

use crate::support::*;
use arrow::array::{
    ArrayRef, Int64Array, MapBuilder, MapFieldNames, RecordBatch, StringArray, StringBuilder,
};
use arrow::array::{BinaryBuilder, TimestampMillisecondArray};
use arrow::datatypes::{DataType, SchemaRef};
use engine::message::ChangeBatch;
use std::collections::BTreeMap;
use std::sync::Arc;

fn batch(schema: &SchemaRef, columns: Vec<ArrayRef>) -> ChangeBatch {
    ChangeBatch::inserts(RecordBatch::try_new(schema.clone(), columns).unwrap())
}

fn two(schema: &SchemaRef) -> ChangeBatch {
    let b = StringArray::from(vec![Some("x"), None]);
    batch(schema, vec![Arc::new(Int64Array::from(vec![1, 2])), Arc::new(b)])
}

#[test]
fn rows_are_there_when_flush_returns() {
    let topic = topic("flush", 1);
    let (mut writer, schema) = Table::new(&topic).writer().unwrap();
    writer.write(two(&schema)).unwrap();
    writer.flush().unwrap();
    assert_eq!(Table::new(&topic).rows().unwrap(), ["1|x", "2|NULL"]);
    writer.write(two(&schema)).unwrap();
    writer.flush().unwrap();
    writer.finish().unwrap();
    assert_eq!(Table::new(&topic).rows().unwrap().len(), 4);
}

#[test]
fn keys_time_headers_and_topic_are_written() {
    let (one, two) = (topic("out-a", 4), topic("out-b", 4));
    let table = Table::new(&format!("{one};{two}"))
        .columns(&[("k_id", DataType::Utf8), ("a", DataType::Int64)])
        .with("key.format", "json")
        .with("key.fields", "k_id")
        .with("key.fields-prefix", "k_")
        .with("value.fields-include", "EXCEPT_KEY")
        .metadata("at", "timestamp")
        .metadata("head", "headers")
        .metadata("into", "topic");
    let (mut writer, schema) = table.writer().unwrap();
    let names = MapFieldNames { entry: "entries".into(), key: "key".into(), value: "value".into() };
    let mut headers = MapBuilder::new(Some(names), StringBuilder::new(), BinaryBuilder::new());
    headers.keys().append_value("h");
    headers.values().append_value(b"v");
    headers.append(true).unwrap();
    headers.append(true).unwrap();
    headers.append(true).unwrap();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(vec!["p", "q", "p"])),
        Arc::new(Int64Array::from(vec![1, 2, 3])),
        Arc::new(TimestampMillisecondArray::from(vec![1000, 2000, 3000]).with_timezone("UTC")),
        Arc::new(headers.finish()),
        Arc::new(StringArray::from(vec![one.as_str(), two.as_str(), one.as_str()])),
    ];
    writer.write(batch(&schema, columns.clone())).unwrap();
    writer.flush().unwrap();
    let got = read_plain(&one);
    assert_eq!(got.len(), 2);
    assert_eq!(got[0].0, got[1].0, "one key, one partition");
    assert_eq!(got[0].1.as_deref(), Some(r#"{"id":"p"}"#));
    assert_eq!(got[0].2.as_deref(), Some(r#"{"a":1}"#));
    assert_eq!((got[0].3, got[1].3), (1000, 3000));
    assert_eq!(got[0].4, BTreeMap::from([("h".to_string(), b"v".to_vec())]));
    assert_eq!(read_plain(&two).len(), 1);
    let mut wrong = columns;
    wrong[4] = Arc::new(StringArray::from(vec!["elsewhere"; 3]));
    let error = text(&writer.write(batch(&schema, wrong)).unwrap_err());
    assert!(error.contains("The topic of the sink record is not valid"), "{error}");
}

#[test]
fn partitioners_spread_or_stay() {
    let spread = topic("spread", 4);
    let fixed = topic("fixed", 4);
    for (topic, partitioner) in [(&spread, "default"), (&fixed, "fixed")] {
        let (mut writer, schema) = Table::new(topic).with("sink.partitioner", partitioner).writer().unwrap();
        for _ in 0..40 {
            writer.write(two(&schema)).unwrap();
            writer.flush().unwrap();
        }
    }
    let partitions = |topic: &str| {
        let all = read_plain(topic);
        assert_eq!(all.len(), 80);
        all.iter().map(|r| r.0).collect::<std::collections::BTreeSet<_>>().len()
    };
    assert!(partitions(&spread) > 1);
    assert_eq!(partitions(&fixed), 1);
}

#[test]
fn records_that_are_too_large_are_told() {
    let topic = topic_with(&unique("large"), 1, &[("max.message.bytes", "2000000")]);
    let huge = |schema: &SchemaRef, bytes: usize| {
        let b = StringArray::from(vec!["x".repeat(bytes)]);
        batch(schema, vec![Arc::new(Int64Array::from(vec![1])), Arc::new(b)])
    };
    // The client refuses it.
    let (mut writer, schema) = Table::new(&topic).writer().unwrap();
    let error = text(&writer.write(huge(&schema, 1_500_000)).unwrap_err());
    assert!(error.contains("properties.max.request.size"), "{error}");
    // The broker refuses it.
    let table = Table::new(&topic).with("properties.max.request.size", "100000000");
    let (mut writer, schema) = table.writer().unwrap();
    let error = text(&writer.write(huge(&schema, 3_000_000)).and_then(|()| writer.flush()).unwrap_err());
    assert!(error.contains(&format!("partition 0 of Kafka topic '{topic}' was not written")), "{error}");
    assert!(error.contains("max.message.bytes"), "{error}");
    // Both take it, and a reader does too.
    writer.write(huge(&schema, 1_500_000)).unwrap();
    writer.flush().unwrap();
    assert_eq!(Table::new(&topic).rows().unwrap()[0].len(), 1_500_002);
}
