//! `KafkaSink`: rows to records, and the writer that waits until the brokers have them.

use super::metadata::{Meta, headers_type};
use super::options::{Flavor, KafkaOptions, Partitioner, Topics};
use super::producer::Outlet;
use super::transactions::{self, Pool};
use super::upsert::{Buffer, Change};
use crate::formats::{Encoder, Payloads};
use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, MapArray, RecordBatch, RecordBatchOptions, StringArray,
    TimestampMillisecondArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit, TimestampMillisecondType};
use chrono_tz::Tz;
use engine::connector::{
    Committable, DeliveryGuarantee, Metrics, RecoverContext, Sink, TableContext, Writer, WriterContext,
};
use engine::error::{Error, Result};
use engine::message::{ChangeBatch, RowKind};
use engine::plan::ChangelogMode;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::BaseRecord;
use std::collections::HashMap;
use std::sync::Arc;

/// Milliseconds after which written rows are flushed.
const FLUSH_MS: u64 = 1000;

/// Records between two looks at the acknowledgements.
const RECORDS_PER_POLL: usize = 1024;

/// A table written to Kafka.
#[derive(Debug)]
pub(super) struct KafkaSink {
    pub options: Arc<KafkaOptions>,
    /// Metadata key and column.
    pub metadata: Vec<(String, FieldRef)>,
    pub zone: Tz,
}

/// Checks what only matters for writing.
pub(super) fn check(options: &KafkaOptions, table: &TableContext) -> Result<()> {
    let several = match &options.topics {
        Topics::List(names) => names.len() > 1,
        Topics::Pattern(_) => true,
    };
    if several && !table.metadata.iter().any(|(key, _)| key == "topic") {
        return Err(Error::user(format!(
            "A 'kafka' table with {} cannot be written: nothing says which topic a row goes to.",
            options.topic_text()
        ))
        .with_hint("Name one topic, or add a column `topic` STRING METADATA that holds it."));
    }
    if options.guarantee == DeliveryGuarantee::ExactlyOnce { transactions::check(options) } else { Ok(()) }
}

impl Sink for KafkaSink {
    fn accepts(&self) -> ChangelogMode {
        match self.options.flavor {
            Flavor::Append => self.options.value.format().accepts(),
            // By key: `-U` need not come, and where it must it comes as `-D`.
            Flavor::Upsert => ChangelogMode::UPSERT,
        }
    }

    fn metadata(&self) -> Vec<(String, FieldRef)> {
        Meta::writable()
    }

    fn describe(&self) -> String {
        let o = &self.options;
        let mut text = format!("{}({}, format=[{}]", o.flavor.name(), o.topic_text(), o.value.name());
        if let Some(key) = &o.key {
            text += &format!(", key=[{}], key-format=[{}]", key.columns.join(", "), key.format.name());
        }
        let guarantee = match o.guarantee {
            DeliveryGuarantee::None => "none",
            DeliveryGuarantee::AtLeastOnce => "at-least-once",
            DeliveryGuarantee::ExactlyOnce => "exactly-once",
        };
        text + &format!(", guarantee=[{guarantee}])")
    }

    fn parallelism(&self) -> Option<usize> {
        self.options.sink_parallelism
    }

    fn delivery_guarantee(&self) -> DeliveryGuarantee {
        self.options.guarantee
    }

    fn recover(&self, context: &RecoverContext, prepared: &[Committable]) -> Result<()> {
        transactions::recover(&self.options, context, prepared)
    }

    fn writer(&self, context: WriterContext) -> Result<Box<dyn Writer>> {
        Ok(Box::new(KafkaWriter::new(self, context)?))
    }
}

struct KeyEncoder {
    encoder: Box<dyn Encoder>,
    columns: Vec<usize>,
    schema: SchemaRef,
    payloads: Payloads,
}

/// Where records go.
enum Way {
    /// Readers see them at once.
    Plain(Outlet),
    /// Readers see them when their checkpoint is complete.
    Transactions(Box<Pool>),
}

impl Way {
    fn outlet(&self) -> &Outlet {
        match self {
            Self::Plain(outlet) => outlet,
            Self::Transactions(pool) => pool.outlet(),
        }
    }
}

/// Writes records. Each record's acknowledgement is looked at; a failed one fails the next call.
struct KafkaWriter {
    way: Way,
    options: Arc<KafkaOptions>,
    encoder: Box<dyn Encoder>,
    columns: Vec<usize>,
    schema: SchemaRef,
    payloads: Payloads,
    key: Option<KeyEncoder>,
    topic_column: Option<usize>,
    timestamp_column: Option<usize>,
    headers_column: Option<usize>,
    /// Number of partitions by topic, for topics that are known to be there.
    partitions: HashMap<String, i32>,
    task: usize,
    /// Changes that wait for others of their keys.
    buffer: Option<Buffer>,
    metrics: Arc<Metrics>,
}

impl KafkaWriter {
    fn new(sink: &KafkaSink, context: WriterContext) -> Result<Self> {
        let options = sink.options.clone();
        let meta = |key: &str| {
            let (_, column) = sink.metadata.iter().find(|(k, _)| k == key)?;
            context.schema.index_of(column.name()).ok()
        };
        let place = |name: &str| {
            context
                .schema
                .index_of(name)
                .map_err(|_| Error::internal(format!("There is no column '{name}' to write.")))
        };
        let places =
            |schema: &SchemaRef| schema.fields().iter().map(|f| place(f.name())).collect::<Result<Vec<_>>>();
        let encoder = options.value.encoder(options.value_schema.clone(), sink.zone)?;
        let key = match &options.key {
            None => None,
            Some(key) => Some(KeyEncoder {
                encoder: key.format.encoder(key.schema.clone(), sink.zone)?,
                columns: key.columns.iter().map(|c| place(c)).collect::<Result<Vec<_>>>()?,
                schema: key.schema.clone(),
                payloads: Payloads::default(),
            }),
        };
        let way = match options.guarantee {
            DeliveryGuarantee::ExactlyOnce => {
                Way::Transactions(Box::new(Pool::open(options.clone(), &context.operator_id, context.task)?))
            }
            _ => Way::Plain(Outlet::new(options.clone(), &options.properties.producer())?),
        };
        let mut writer = Self {
            way,
            encoder,
            columns: places(&options.value_schema)?,
            schema: options.value_schema.clone(),
            payloads: Payloads::default(),
            key,
            topic_column: meta("topic"),
            timestamp_column: meta("timestamp"),
            headers_column: meta("headers"),
            partitions: HashMap::new(),
            task: context.task,
            buffer: options.buffer_flush.map(Buffer::new),
            metrics: context.metrics,
            options: options.clone(),
        };
        if let Topics::List(names) = &options.topics {
            for name in names {
                writer.find(name)?;
            }
        }
        Ok(writer)
    }

    /// Writes the changes that waited.
    fn write_buffered(&mut self) -> Result<()> {
        let Some(buffer) = &mut self.buffer else { return Ok(()) };
        let Topics::List(names) = &self.options.topics else { return Ok(()) };
        let Some(topic) = names.first() else { return Ok(()) };
        for (key, change) in buffer.take() {
            let mut record = BaseRecord::<[u8], [u8]>::to(topic).key(&key);
            record.payload = change.value.as_deref();
            record.timestamp = change.timestamp;
            let bytes = self.way.outlet().send(record)?;
            Metrics::add(&self.metrics.bytes, bytes);
        }
        Ok(())
    }

    /// Looks a topic up, once.
    fn find(&mut self, topic: &str) -> Result<()> {
        if !self.partitions.contains_key(topic) {
            let partitions = self.way.outlet().find(topic)?;
            self.partitions.insert(topic.to_string(), partitions);
        }
        Ok(())
    }

    /// The topic of a row, which its metadata column names.
    fn row_topic<'a>(&mut self, column: &'a StringArray, row: usize) -> Result<&'a str> {
        if column.is_null(row) {
            return Err(Error::user(
                "The 'topic' metadata column of a row for Kafka is NULL: it must name a topic.",
            ));
        }
        let topic = column.value(row);
        let allowed = match &self.options.topics {
            Topics::List(names) => names.iter().any(|n| n == topic),
            Topics::Pattern(pattern) => pattern.is_match(topic),
        };
        if !allowed {
            return Err(Error::user(format!(
                "The topic of the sink record is not valid. Expected topic to be in: {} but was: '{topic}'.",
                self.options.topic_text()
            )));
        }
        self.find(topic)?;
        Ok(topic)
    }
}

impl Writer for KafkaWriter {
    fn write(&mut self, batch: ChangeBatch) -> Result<()> {
        self.way.outlet().check()?;
        if let Way::Transactions(pool) = &mut self.way {
            pool.begin()?;
        }
        let rows = batch.num_rows();
        let values = project(&batch, &self.columns, &self.schema)?;
        let mut payloads = std::mem::take(&mut self.payloads);
        payloads.clear();
        let upsert = self.options.flavor == Flavor::Upsert;
        // The kind of an upserted row is in its record's form, not in its bytes.
        let plain =
            |batch: ChangeBatch| if upsert { ChangeBatch::inserts(batch.into_parts().0) } else { batch };
        self.encoder.encode(&plain(values), &mut payloads)?;
        if let Some(key) = &mut self.key {
            key.payloads.clear();
            let keys = plain(project(&batch, &key.columns, &key.schema)?);
            key.encoder.encode(&keys, &mut key.payloads)?;
        }
        let column = |index: Option<usize>, data_type: &DataType| -> Result<Option<ArrayRef>> {
            index.map(|i| Ok(cast(batch.records().column(i), data_type)?)).transpose()
        };
        let millis = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
        let topics = column(self.topic_column, &DataType::Utf8)?;
        let timestamps = column(self.timestamp_column, &millis)?;
        let timestamps: Option<&TimestampMillisecondArray> =
            timestamps.as_ref().map(|t| t.as_primitive::<TimestampMillisecondType>());
        let headers = column(self.headers_column, &headers_type())?;
        let single = match &self.options.topics {
            Topics::List(names) if topics.is_none() => names.first().cloned().unwrap_or_default(),
            _ => String::new(),
        };
        for row in 0..rows {
            let topic = match &topics {
                Some(column) => self.row_topic(column.as_string::<i32>(), row)?,
                None => single.as_str(),
            };
            let mut record = BaseRecord::<[u8], [u8]>::to(topic);
            if let Some(key) = &self.key {
                record = record.key(key.payloads.get(row));
            }
            if !upsert {
                record = record.payload(payloads.get(row));
            } else if let Some(key) = &self.key {
                match batch.kind(row) {
                    RowKind::Insert | RowKind::UpdateAfter => record = record.payload(payloads.get(row)),
                    // What it becomes is the next row; the old key goes only if that has another.
                    RowKind::UpdateBefore
                        if row + 1 < rows
                            && batch.kind(row + 1) == RowKind::UpdateAfter
                            && key.payloads.get(row) == key.payloads.get(row + 1) =>
                    {
                        continue;
                    }
                    RowKind::UpdateBefore | RowKind::Delete => {}
                }
                if let Some(buffer) = &mut self.buffer {
                    let timestamp = timestamps.filter(|t| t.is_valid(row)).map(|t| t.value(row));
                    let value = record.payload.map(<[u8]>::to_vec);
                    if buffer.push(key.payloads.get(row), Change { value, timestamp }) {
                        self.write_buffered()?;
                    }
                    continue;
                }
            }
            if self.options.partitioner == Partitioner::Fixed {
                let count = self.partitions.get(topic).copied().unwrap_or(1).max(1);
                record = record.partition((self.task % count as usize) as i32);
            }
            if let Some(column) = timestamps.filter(|t| t.is_valid(row)) {
                record = record.timestamp(column.value(row));
            }
            if let Some(column) = headers.as_ref().filter(|h| h.is_valid(row)) {
                record = record.headers(owned_headers(column.as_map(), row));
            }
            let bytes = self.way.outlet().send(record)?;
            Metrics::add(&self.metrics.bytes, bytes);
            if row % RECORDS_PER_POLL == RECORDS_PER_POLL - 1 {
                self.way.outlet().poll();
            }
        }
        Metrics::add(&self.metrics.records, rows);
        self.payloads = payloads;
        self.way.outlet().poll();
        self.way.outlet().check()
    }

    fn flush(&mut self) -> Result<()> {
        self.write_buffered()?;
        let outlet = self.way.outlet();
        // Records of a transaction are awaited when it is prepared.
        if self.options.guarantee == DeliveryGuarantee::AtLeastOnce {
            return outlet.wait();
        }
        outlet.poll();
        outlet.check()
    }

    fn flush_interval_ms(&self) -> Option<u64> {
        Some(self.buffer.as_ref().map_or(FLUSH_MS, |b| b.flush.interval_ms))
    }

    fn prepare_commit(&mut self, checkpoint_id: u64) -> Result<Vec<Committable>> {
        self.write_buffered()?;
        match &mut self.way {
            Way::Plain(_) => {
                self.flush()?;
                Ok(Vec::new())
            }
            Way::Transactions(pool) => pool.prepare(checkpoint_id),
        }
    }

    fn commit(&mut self, checkpoint_id: u64) -> Result<()> {
        match &mut self.way {
            Way::Plain(_) => Ok(()),
            Way::Transactions(pool) => pool.commit(checkpoint_id),
        }
    }

    fn finish(&mut self) -> Result<()> {
        self.write_buffered()?;
        match &mut self.way {
            Way::Plain(outlet) => outlet.wait(),
            Way::Transactions(pool) => pool.finish(),
        }
    }
}

/// The columns of a part of the record, under the names that its format writes.
fn project(batch: &ChangeBatch, columns: &[usize], schema: &SchemaRef) -> Result<ChangeBatch> {
    let records = batch.records();
    let arrays: Vec<ArrayRef> = columns.iter().map(|i| records.column(*i).clone()).collect();
    // A table's NOT NULL is enforced by the sink node, and what comes may be declared more loosely.
    let fields = schema.fields().iter().zip(&arrays).map(|(field, array)| {
        Arc::new(Field::clone(field).with_data_type(array.data_type().clone()).with_nullable(true))
    });
    let schema = Arc::new(Schema::new(fields.collect::<Vec<FieldRef>>()));
    let options = RecordBatchOptions::new().with_row_count(Some(records.num_rows()));
    Ok(batch.with_records(RecordBatch::try_new_with_options(schema, arrays, &options)?))
}

fn owned_headers(map: &MapArray, row: usize) -> OwnedHeaders {
    let entries = map.value(row);
    let names: &StringArray = entries.column(0).as_string();
    let values: &BinaryArray = entries.column(1).as_binary();
    let mut headers = OwnedHeaders::new_with_capacity(names.len());
    for (name, value) in names.iter().zip(values.iter()) {
        headers = headers.insert(Header { key: name.unwrap_or(""), value });
    }
    headers
}
