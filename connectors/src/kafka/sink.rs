//! `KafkaSink`: rows to records, and the writer that waits until the brokers have them.

use super::client::{Trouble, meaning_of, refused, setting, shorten, unreachable};
use super::metadata::{Meta, headers_type};
use super::options::{KafkaOptions, Partitioner, Topics};
use crate::formats::{Encoder, Payloads};
use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, MapArray, RecordBatch, RecordBatchOptions, StringArray,
    TimestampMillisecondArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit, TimestampMillisecondType};
use chrono_tz::Tz;
use engine::connector::{Metrics, Sink, TableContext, Writer, WriterContext};
use engine::error::{Error, Result};
use engine::message::ChangeBatch;
use engine::plan::ChangelogMode;
use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::types::RDKafkaRespErr;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a broker that creates topics by itself may take for it.
const CREATE_WAIT: Duration = Duration::from_secs(3);

/// How long one look at the acknowledgements takes while the buffer is full or being flushed. librdkafka takes
/// that long even when the last one comes earlier.
const ACK_WAIT: Duration = Duration::from_millis(2);

/// Pause before a topic is looked up again.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

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
    Ok(())
}

impl Sink for KafkaSink {
    fn accepts(&self) -> ChangelogMode {
        self.options.value.format().accepts()
    }

    fn metadata(&self) -> Vec<(String, FieldRef)> {
        Meta::writable()
    }

    fn describe(&self) -> String {
        let o = &self.options;
        let mut text = format!("kafka({}, format=[{}]", o.topic_text(), o.value.name());
        if let Some(key) = &o.key {
            text += &format!(", key=[{}], key-format=[{}]", key.columns.join(", "), key.format.name());
        }
        let guarantee = if o.wait_for_acks { "at-least-once" } else { "none" };
        text + &format!(", guarantee=[{guarantee}])")
    }

    fn parallelism(&self) -> Option<usize> {
        self.options.sink_parallelism
    }

    fn writer(&self, context: WriterContext) -> Result<Box<dyn Writer>> {
        Ok(Box::new(KafkaWriter::new(self, context)?))
    }
}

/// What the brokers answered, collected while the producer is polled.
#[derive(Debug, Default)]
struct Reports(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    failed: Option<Failed>,
    failures: u64,
    trouble: Trouble,
}

#[derive(Debug)]
struct Failed {
    topic: String,
    partition: i32,
    bytes: usize,
    code: Option<RDKafkaErrorCode>,
    text: String,
}

impl Reports {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Reports {
    fn log(&self, _: RDKafkaLogLevel, _: &str, _: &str) {}

    fn error(&self, error: KafkaError, reason: &str) {
        let mut state = self.state();
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::AllBrokersDown) => state.trouble.all_down = true,
            code => {
                state.trouble.hopeless |= matches!(
                    code,
                    Some(
                        RDKafkaErrorCode::Authentication
                            | RDKafkaErrorCode::SSL
                            | RDKafkaErrorCode::SaslAuthenticationFailed
                    )
                );
                state.trouble.reason = Some(shorten(reason));
            }
        }
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, message)) = result {
            let mut state = self.state();
            state.failures += 1;
            if state.failed.is_none() {
                state.failed = Some(Failed {
                    topic: message.topic().to_string(),
                    partition: message.partition(),
                    bytes: message.payload_len(),
                    code: error.rdkafka_error_code(),
                    text: meaning_of(error),
                });
            }
        }
    }
}

struct KeyEncoder {
    encoder: Box<dyn Encoder>,
    columns: Vec<usize>,
    schema: SchemaRef,
    payloads: Payloads,
}

/// Writes records. Each record's acknowledgement is looked at; a failed one fails the next call.
struct KafkaWriter {
    producer: BaseProducer<Reports>,
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
        let config = options.properties.producer();
        let producer =
            BaseProducer::from_config_and_context(&config, Reports::default()).map_err(|e| setting(&e))?;
        let mut writer = Self {
            producer,
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

    /// Looks a topic up; a broker that creates topics does so now.
    fn find(&mut self, topic: &str) -> Result<()> {
        if self.partitions.contains_key(topic) {
            return Ok(());
        }
        let timeout = self.options.properties.api_timeout();
        let begin = Instant::now();
        loop {
            let left = timeout.saturating_sub(begin.elapsed());
            let wait = Duration::from_secs(1).min(left).max(RETRY_PAUSE);
            let error = match self.producer.client().fetch_metadata(Some(topic), wait) {
                Ok(metadata) => {
                    let found = metadata.topics().iter().find(|t| t.name() == topic);
                    match found.map(|t| (t.partitions().len(), t.error())) {
                        Some((n, None)) if n > 0 => {
                            self.partitions.insert(topic.to_string(), i32::try_from(n).unwrap_or(i32::MAX));
                            return Ok(());
                        }
                        Some((_, Some(RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED))) => {
                            return Err(Error::user(format!(
                                "Kafka refuses: this user may not write topic '{topic}'."
                            )));
                        }
                        _ if begin.elapsed() >= CREATE_WAIT => return Err(self.missing(topic)),
                        _ => None,
                    }
                }
                Err(error) => Some(error),
            };
            self.producer.poll(Duration::ZERO);
            if let Some(error) = error {
                if let Some(error) = refused(&error) {
                    return Err(error);
                }
                let trouble = self.producer.context().state().trouble.clone();
                if trouble.hopeless || begin.elapsed() >= timeout {
                    let brokers = self.options.properties.brokers();
                    return Err(unreachable(brokers, begin.elapsed(), &trouble, &error));
                }
            }
            self.producer.poll(RETRY_PAUSE);
        }
    }

    fn missing(&self, topic: &str) -> Error {
        let brokers = self.options.properties.brokers();
        let metadata = self.producer.client().fetch_metadata(None, CREATE_WAIT);
        let names = metadata.map(|m| m.topics().iter().map(|t| t.name().to_string()).collect::<Vec<_>>());
        let names = names.unwrap_or_default();
        let nearest = engine::error::nearest(topic, names.iter().map(String::as_str).filter(|n| *n != topic));
        Error::user(format!("Kafka ({brokers}) has no topic '{topic}' to write to, and does not create it."))
            .with_hint(nearest.map_or_else(
                || format!("Create it, for example with `kafka-topics.sh --create --topic {topic}`."),
                |n| format!("Did you mean '{n}'?"),
            ))
    }

    /// The error of the first record that the brokers did not take, if there was one.
    fn check(&self) -> Result<()> {
        let mut state = self.producer.context().state();
        let Some(failed) = state.failed.take() else { return Ok(()) };
        let more = match std::mem::take(&mut state.failures) {
            0 | 1 => String::new(),
            n => format!(" ({} more records failed too)", n - 1),
        };
        let reason = match (&failed.code, &state.trouble.reason) {
            (Some(RDKafkaErrorCode::MessageTimedOut), Some(reason)) => format!("{} ({reason})", failed.text),
            _ => failed.text.clone(),
        };
        let place = match failed.partition {
            p if p >= 0 => format!("partition {p} of Kafka topic '{}'", failed.topic),
            _ => format!("Kafka topic '{}'", failed.topic),
        };
        let error = Error::external(format!("A record for {place} was not written: {reason}{more}."));
        Err(match failed.code {
            Some(RDKafkaErrorCode::MessageSizeTooLarge) => error
                .with_hint(format!(
                    "It has {} bytes; the topic's 'max.message.bytes' and the broker's 'message.max.bytes' say how many \
                     it takes.",
                    failed.bytes
                ))
                .permanent(),
            Some(RDKafkaErrorCode::MessageTimedOut) => {
                error.with_hint("'properties.delivery.timeout.ms' says how long a record may wait.")
            }
            _ => error,
        })
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

    fn send(&self, mut record: BaseRecord<'_, [u8], [u8]>) -> Result<()> {
        let bytes = record.payload.map_or(0, <[u8]>::len) + record.key.map_or(0, <[u8]>::len);
        loop {
            match self.producer.send(record) {
                Ok(()) => {
                    Metrics::add(&self.metrics.bytes, bytes);
                    return Ok(());
                }
                Err((error, again)) => match error.rdkafka_error_code() {
                    // Ends: records that wait too long fail, which `check` sees.
                    Some(RDKafkaErrorCode::QueueFull) => {
                        record = again;
                        self.producer.poll(ACK_WAIT);
                        self.check()?;
                    }
                    Some(RDKafkaErrorCode::MessageSizeTooLarge) => {
                        return Err(Error::user(format!(
                            "A row makes a Kafka record of {bytes} bytes; {} are allowed.",
                            self.options.properties.max_record_bytes()
                        ))
                        .with_hint(
                            "Raise 'properties.max.request.size' (and the topic's 'max.message.bytes').",
                        ));
                    }
                    _ => {
                        self.check()?;
                        let text = meaning_of(&error);
                        return Err(Error::external(format!(
                            "A record for Kafka topic '{}' was not written: {text}.",
                            again.topic
                        )));
                    }
                },
            }
        }
    }

    fn wait(&self) -> Result<()> {
        // Ends: librdkafka gives up records after `delivery.timeout.ms`.
        while self.producer.in_flight_count() > 0 {
            // Says only whether some are left.
            let _ = self.producer.flush(ACK_WAIT);
            self.check()?;
        }
        self.check()
    }
}

impl Writer for KafkaWriter {
    fn write(&mut self, batch: ChangeBatch) -> Result<()> {
        self.check()?;
        let rows = batch.num_rows();
        let values = project(&batch, &self.columns, &self.schema)?;
        let mut payloads = std::mem::take(&mut self.payloads);
        payloads.clear();
        self.encoder.encode(&values, &mut payloads)?;
        if let Some(key) = &mut self.key {
            key.payloads.clear();
            key.encoder.encode(&project(&batch, &key.columns, &key.schema)?, &mut key.payloads)?;
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
            let mut record = BaseRecord::<[u8], [u8]>::to(topic).payload(payloads.get(row));
            if let Some(key) = &self.key {
                record = record.key(key.payloads.get(row));
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
            self.send(record)?;
            if row % RECORDS_PER_POLL == RECORDS_PER_POLL - 1 {
                self.producer.poll(Duration::ZERO);
            }
        }
        Metrics::add(&self.metrics.records, rows);
        self.payloads = payloads;
        self.producer.poll(Duration::ZERO);
        self.check()
    }

    fn flush(&mut self) -> Result<()> {
        if self.options.wait_for_acks {
            return self.wait();
        }
        self.producer.poll(Duration::ZERO);
        self.check()
    }

    fn finish(&mut self) -> Result<()> {
        self.wait()
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
