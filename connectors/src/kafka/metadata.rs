//! Metadata columns: what a Kafka record carries beside its key and value.

use super::record::{Record, TimestampType};
use arrow::array::{
    ArrayRef, BinaryBuilder, Int32Builder, Int64Builder, MapBuilder, MapFieldNames, StringBuilder,
    TimestampMillisecondBuilder,
};
use arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};
use std::sync::Arc;

/// A metadata key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meta {
    Topic,
    Partition,
    Headers,
    LeaderEpoch,
    Offset,
    Timestamp,
    TimestampType,
}

const ALL: [Meta; 7] = [
    Meta::Topic,
    Meta::Partition,
    Meta::Headers,
    Meta::LeaderEpoch,
    Meta::Offset,
    Meta::Timestamp,
    Meta::TimestampType,
];

impl Meta {
    /// Keys that can be read.
    pub(super) fn readable() -> Vec<(String, FieldRef)> {
        ALL.iter().map(|m| (m.key().to_string(), m.field())).collect()
    }

    /// Keys that can be written.
    pub(super) fn writable() -> Vec<(String, FieldRef)> {
        [Self::Topic, Self::Headers, Self::Timestamp]
            .iter()
            .map(|m| (m.key().to_string(), m.field()))
            .collect()
    }

    /// The metadata with this key.
    pub(super) fn of(key: &str) -> Option<Self> {
        ALL.into_iter().find(|m| m.key() == key)
    }

    fn key(self) -> &'static str {
        match self {
            Self::Topic => "topic",
            Self::Partition => "partition",
            Self::Headers => "headers",
            Self::LeaderEpoch => "leader-epoch",
            Self::Offset => "offset",
            Self::Timestamp => "timestamp",
            Self::TimestampType => "timestamp-type",
        }
    }

    fn field(self) -> FieldRef {
        let (data_type, nullable) = match self {
            Self::Topic | Self::TimestampType => (DataType::Utf8, false),
            Self::Partition => (DataType::Int32, false),
            Self::Headers => (headers_type(), false),
            Self::LeaderEpoch => (DataType::Int32, true),
            Self::Offset => (DataType::Int64, false),
            Self::Timestamp => (DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())), false),
        };
        Arc::new(Field::new(self.key(), data_type, nullable))
    }
}

/// `MAP<STRING, BYTES>`.
pub(super) fn headers_type() -> DataType {
    let entry = DataType::Struct(
        vec![Field::new("key", DataType::Utf8, false), Field::new("value", DataType::Binary, true)].into(),
    );
    DataType::Map(Arc::new(Field::new("entries", entry, false)), false)
}

/// Collects one metadata column of a batch.
#[derive(Debug)]
pub(super) enum Column {
    Text(Meta, StringBuilder),
    Int(Meta, Int32Builder),
    Offset(Int64Builder),
    Timestamp(TimestampMillisecondBuilder),
    Headers(Box<MapBuilder<StringBuilder, BinaryBuilder>>),
}

impl Column {
    /// An empty column.
    pub(super) fn new(meta: Meta) -> Self {
        match meta {
            Meta::Topic | Meta::TimestampType => Self::Text(meta, StringBuilder::new()),
            Meta::Partition | Meta::LeaderEpoch => Self::Int(meta, Int32Builder::new()),
            Meta::Offset => Self::Offset(Int64Builder::new()),
            Meta::Timestamp => Self::Timestamp(TimestampMillisecondBuilder::new().with_timezone("UTC")),
            Meta::Headers => {
                let names = MapFieldNames {
                    entry: "entries".to_string(),
                    key: "key".to_string(),
                    value: "value".to_string(),
                };
                Self::Headers(Box::new(MapBuilder::new(
                    Some(names),
                    StringBuilder::new(),
                    BinaryBuilder::new(),
                )))
            }
        }
    }

    /// Appends the value of `record`, which is of a partition of `topic`.
    pub(super) fn push(&mut self, record: &impl Record, topic: &str, partition: i32) {
        match self {
            Self::Text(Meta::Topic, b) => b.append_value(topic),
            Self::Text(_, b) => b.append_value(match record.timestamp().1 {
                TimestampType::None => "NoTimestampType",
                TimestampType::Create => "CreateTime",
                TimestampType::LogAppend => "LogAppendTime",
            }),
            Self::Int(Meta::Partition, b) => b.append_value(partition),
            Self::Int(_, b) => b.append_option(record.leader_epoch()),
            Self::Offset(b) => b.append_value(record.offset()),
            Self::Timestamp(b) => b.append_value(record.timestamp().0),
            Self::Headers(b) => push_headers(b, record),
        }
    }

    /// The column; the next one begins empty.
    pub(super) fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Text(_, b) => Arc::new(b.finish()),
            Self::Int(_, b) => Arc::new(b.finish()),
            Self::Offset(b) => Arc::new(b.finish()),
            Self::Timestamp(b) => Arc::new(b.finish()),
            Self::Headers(b) => Arc::new(b.finish()),
        }
    }
}

/// Of several headers with one name the last is kept, as in Flink's map.
fn push_headers(builder: &mut MapBuilder<StringBuilder, BinaryBuilder>, record: &impl Record) {
    let mut headers: Vec<(String, Option<Vec<u8>>)> = Vec::new();
    record.headers(&mut |name, value| {
        let value = value.map(<[u8]>::to_vec);
        match headers.iter_mut().find(|(n, _)| n == name) {
            Some(known) => known.1 = value,
            None => headers.push((name.to_string(), value)),
        }
    });
    for (name, value) in &headers {
        builder.keys().append_value(name);
        builder.values().append_option(value.as_deref());
    }
    // Keys and values have grown alike, which is all that can go wrong here.
    let _ = builder.append(true);
}
