//! Topics, tables and their rows as text, for the tests of the `kafka` connector.

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use catalog::{ObjectName, Options};
use engine::connector::{
    Metrics, Poll, Reader, ReaderContext, Sink, Source, SourceContext, Split, TableContext, Writer,
    WriterContext,
};
use engine::error::{Error, Result};
use engine::time::{Clock, SystemClock};
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::{ClientContext, DefaultClientContext};
use rdkafka::config::ClientConfig;
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

/// How long a test waits for rows that must come.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub static RUNTIME: LazyLock<tokio::runtime::Runtime> =
    LazyLock::new(|| tokio::runtime::Runtime::new().expect("a runtime"));

/// Address of the broker.
pub fn brokers() -> String {
    std::env::var("RUNNEL_KAFKA").unwrap_or_else(|_| {
        panic!("RUNNEL_KAFKA is not set: these tests need a Kafka broker. Run `make test`, which starts one.")
    })
}

/// Address of the broker's listener with SASL PLAIN: see `tests/services/kafka.sh`.
pub fn sasl_brokers() -> String {
    std::env::var("RUNNEL_KAFKA_SASL").unwrap_or_else(|_| {
        let brokers = brokers();
        let (host, port) = brokers.rsplit_once(':').expect("host:port");
        format!("{host}:{}", port.parse::<u16>().expect("a port") + 2)
    })
}

/// A name that no other test has.
pub fn unique(name: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let ms = SystemClock.now_ms();
    format!("{name}-{ms}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

fn admin() -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", brokers()).create().expect("an admin client")
}

/// Creates a topic with a unique name that begins with `name`.
pub fn topic(name: &str, partitions: i32) -> String {
    topic_with(&unique(name), partitions, &[])
}

/// Creates a topic called `name`.
pub fn topic_with(name: &str, partitions: i32, config: &[(&str, &str)]) -> String {
    let mut new = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
    new = config.iter().fold(new, |n, (k, v)| n.set(k, v));
    let made =
        RUNTIME.block_on(admin().create_topics([&new], &AdminOptions::new())).expect("topic is created");
    made.into_iter().for_each(|t| drop(t.expect("topic is created")));
    name.to_string()
}

/// Gives a topic more partitions.
pub fn grow(topic: &str, partitions: usize) {
    let new = NewPartitions::new(topic, partitions);
    let made = RUNTIME.block_on(admin().create_partitions([&new], &AdminOptions::new())).expect("partitions");
    made.into_iter().for_each(|t| drop(t.expect("partitions are created")));
}

/// Removes a topic.
pub fn delete(topic: &str) {
    let gone =
        RUNTIME.block_on(admin().delete_topics(&[topic], &AdminOptions::new())).expect("topic is deleted");
    gone.into_iter().for_each(|t| drop(t.expect("topic is deleted")));
}

/// Removes the records of partition 0 before `offset`, as retention does.
pub fn expire(topic: &str, offset: i64) {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, Offset::Offset(offset)).expect("an offset");
    RUNTIME.block_on(admin().delete_records(&list, &AdminOptions::new())).expect("records are deleted");
}

/// A record to be written by a plain client.
#[derive(Default)]
pub struct Record<'a> {
    pub partition: i32,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub timestamp: Option<i64>,
    pub headers: &'a [(&'a str, Option<&'a [u8]>)],
}

/// Fails the test when a record is not taken.
pub struct Strict;

impl ClientContext for Strict {}

impl ProducerContext for Strict {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            panic!("a record was not written: {error}");
        }
    }
}

pub fn producer(settings: &[(&str, &str)]) -> BaseProducer<Strict> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers());
    settings.iter().for_each(|(k, v)| _ = config.set(*k, *v));
    config.create_with_context(Strict).expect("a producer")
}

/// Writes records with a plain client.
pub fn write<'a>(topic: &str, records: impl IntoIterator<Item = Record<'a>>) {
    let producer = producer(&[]);
    records.into_iter().for_each(|record| send(&producer, topic, &record));
    producer.flush(PATIENCE).expect("all is written");
}

pub fn send(producer: &BaseProducer<Strict>, topic: &str, r: &Record<'_>) {
    loop {
        let mut record = BaseRecord::<[u8], [u8]>::to(topic).partition(r.partition);
        record.key = r.key;
        record.payload = r.value;
        record.timestamp = r.timestamp;
        if !r.headers.is_empty() {
            let headers = r
                .headers
                .iter()
                .fold(OwnedHeaders::new(), |h, (key, value)| h.insert(Header { key, value: *value }));
            record = record.headers(headers);
        }
        if producer.send(record).is_ok() {
            break;
        }
        producer.poll(Duration::from_millis(20));
    }
}

/// JSON values into one partition.
pub fn write_json(topic: &str, partition: i32, values: &[&str]) {
    write(topic, values.iter().map(|v| Record { partition, value: Some(v.as_bytes()), ..Record::default() }));
}

/// A table: physical columns as `name TYPE`, metadata columns as `name key`, options after the usual ones.
pub struct Table {
    pub columns: Vec<(&'static str, DataType)>,
    pub metadata: Vec<(&'static str, &'static str)>,
    pub options: Options,
}

impl Table {
    /// `a BIGINT, b STRING` as JSON from the beginning of `topic` to its end now.
    pub fn new(topic: &str) -> Self {
        Self {
            columns: vec![("a", DataType::Int64), ("b", DataType::Utf8)],
            metadata: Vec::new(),
            options: Options::new(),
        }
        .with("connector", "kafka")
        .with("topic", topic)
        .with("properties.bootstrap.servers", &brokers())
        .with("properties.fetch.wait.max.ms", "10")
        .with("format", "json")
        .with("scan.startup.mode", "earliest-offset")
        .with("scan.bounded.mode", "latest-offset")
    }

    pub fn with(mut self, key: &str, value: &str) -> Self {
        self.options.insert(key.to_string(), value.to_string());
        self
    }

    pub fn without(mut self, key: &str) -> Self {
        self.options.remove(key);
        self
    }

    pub fn columns(mut self, columns: &[(&'static str, DataType)]) -> Self {
        self.columns = columns.to_vec();
        self
    }

    pub fn metadata(mut self, column: &'static str, key: &'static str) -> Self {
        self.metadata.push((column, key));
        self
    }

    fn context(&self, types: &[(String, FieldRef)]) -> TableContext {
        let physical = self.columns.iter().map(|(n, t)| Field::new(*n, t.clone(), true)).collect::<Vec<_>>();
        let metadata = self.metadata.iter().map(|(column, key)| {
            let field = types.iter().find(|(k, _)| k == key).map(|(_, f)| Field::clone(f).with_name(*column));
            (key.to_string(), Arc::new(field.unwrap_or_else(|| Field::new(*column, DataType::Utf8, true))))
        });
        TableContext {
            name: ObjectName::new("default_catalog", "default_database", "t"),
            options: self.options.clone(),
            physical: Arc::new(Schema::new(physical)),
            metadata: metadata.collect(),
            partitioned_by: Vec::new(),
            primary_key: Vec::new(),
            zone: engine::config::parse_zone("UTC").expect("a zone"),
            clock: Arc::new(SystemClock),
        }
    }

    /// The table as a source, and all its columns: physical, then metadata.
    pub fn source(&self) -> Result<(Arc<dyn Source>, SchemaRef)> {
        let registry = connectors::registry();
        let kafka = registry.get("kafka")?;
        let types =
            Self { metadata: Vec::new(), columns: self.columns.clone(), options: self.options.clone() };
        let types = kafka.source(&types.context(&[]))?.metadata();
        let context = self.context(&types);
        Ok((kafka.source(&context)?, columns(&context)))
    }

    /// The table as a sink, and the columns that it takes: physical, then metadata.
    pub fn sink(&self) -> Result<(Arc<dyn Sink>, SchemaRef)> {
        let registry = connectors::registry();
        let kafka = registry.get("kafka")?;
        let types =
            Self { metadata: Vec::new(), columns: self.columns.clone(), options: self.options.clone() };
        // A table whose topic is in a column cannot be a sink without it.
        let types = types.with("topic", "any").without("topic-pattern");
        let types = kafka.sink(&types.context(&[]))?.metadata();
        let context = self.context(&types);
        Ok((kafka.sink(&context)?, columns(&context)))
    }

    /// A writer of the table, and the columns that it takes.
    pub fn writer(&self) -> Result<(Box<dyn Writer>, SchemaRef)> {
        let (sink, schema) = self.sink()?;
        let writer = sink.writer(WriterContext {
            schema: schema.clone(),
            runtime: RUNTIME.handle().clone(),
            clock: Arc::new(SystemClock),
            task: 0,
            parallelism: 1,
            operator_id: "sink".into(),
            checkpointing: false,
            restored_from: None,
            metrics: Arc::new(Metrics::default()),
        })?;
        Ok((writer, schema))
    }

    /// All rows of a bounded table.
    pub fn rows(&self) -> Result<Vec<String>> {
        let mut scan = Scan::new(self)?;
        while !scan.ended {
            scan.step()?;
        }
        Ok(scan.rows)
    }

    /// The error of reading, with its hint.
    pub fn error(&self) -> String {
        text(&self.rows().expect_err("reading fails"))
    }
}

fn columns(context: &TableContext) -> SchemaRef {
    let metadata = context.metadata.iter().map(|(_, f)| f.clone());
    Arc::new(Schema::new(context.physical.fields().iter().cloned().chain(metadata).collect::<Vec<_>>()))
}

pub fn text(error: &Error) -> String {
    format!("{} {}", error.message(), error.hint().unwrap_or(""))
}

/// A running read of a table, in one task.
pub struct Scan {
    pub source: Arc<dyn Source>,
    enumerator: Box<dyn engine::connector::Enumerator>,
    pub reader: Box<dyn Reader>,
    pub metrics: Arc<Metrics>,
    pub rows: Vec<String>,
    pub batches: usize,
    pub discovered: Vec<Split>,
    open: usize,
    complete: bool,
    pub ended: bool,
    next: Instant,
}

impl Scan {
    pub fn new(table: &Table) -> Result<Self> {
        let (source, schema) = table.source()?;
        Self::of(source, schema, &[])
    }

    /// Goes on from `restored`.
    pub fn of(source: Arc<dyn Source>, projection: SchemaRef, restored: &[Split]) -> Result<Self> {
        Self::at(source, projection, restored, Arc::new(SystemClock))
    }

    /// The same by another clock.
    pub fn at(
        source: Arc<dyn Source>,
        projection: SchemaRef,
        restored: &[Split],
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        let metrics = Arc::new(Metrics::default());
        let runtime = RUNTIME.handle().clone();
        let mut enumerator = source.enumerator(&SourceContext {
            runtime: runtime.clone(),
            clock: clock.clone(),
            parallelism: 1,
        })?;
        let mut reader = source.reader(ReaderContext {
            projection,
            batch_rows: 1000,
            runtime,
            clock,
            task: 0,
            parallelism: 1,
            metrics: metrics.clone(),
        })?;
        if !restored.is_empty() {
            enumerator.restore(restored, &[])?;
            reader.assign(restored.to_vec())?;
        }
        let (rows, discovered) = (Vec::new(), Vec::new());
        let open = restored.len();
        let next = Instant::now();
        let (complete, ended, batches) = (false, false, 0);
        Ok(Self {
            source,
            enumerator,
            reader,
            metrics,
            rows,
            batches,
            discovered,
            open,
            complete,
            ended,
            next,
        })
    }

    /// Looks for splits if it is time, then polls once.
    pub fn step(&mut self) -> Result<()> {
        if !self.complete && Instant::now() >= self.next {
            let found = self.enumerator.discover()?;
            self.complete = found.complete;
            self.open += found.splits.len();
            self.discovered.extend(found.splits.clone());
            self.reader.assign(found.splits)?;
            self.next = Instant::now() + self.enumerator.interval().unwrap_or(PATIENCE * 100);
        }
        match self.reader.poll(Duration::from_millis(50))? {
            Poll::Rows { batch, .. } => {
                self.batches += 1;
                self.rows.extend(lines(&batch));
            }
            Poll::Finished(_) => self.open -= 1,
            Poll::Pending => {}
        }
        self.ended = self.complete && self.open == 0;
        Ok(())
    }

    /// Polls until there is an error, which it gives with its hint.
    pub fn fails(&mut self) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < end && !self.ended, "an error is wanted; rows: {:?}", self.rows);
            if let Err(error) = self.step() {
                return text(&error);
            }
        }
    }

    /// Polls until there are `count` rows, and a little longer to see that there are no more.
    pub fn until(&mut self, count: usize) -> Result<Vec<String>> {
        let end = Instant::now() + PATIENCE;
        while self.rows.len() < count && !self.ended {
            assert!(
                Instant::now() < end,
                "{count} rows are wanted, {} came: {:?}",
                self.rows.len(),
                self.rows
            );
            self.step()?;
        }
        for _ in 0..4 {
            self.step()?;
        }
        Ok(self.rows.clone())
    }
}

/// Each row as its values with `|` between.
pub fn lines(batch: &RecordBatch) -> Vec<String> {
    let options = FormatOptions::new().with_null("NULL");
    let formatters = batch
        .columns()
        .iter()
        .map(|c| ArrayFormatter::try_new(c.as_ref() as &dyn Array, &options).expect("a formatter"))
        .collect::<Vec<_>>();
    (0..batch.num_rows())
        .map(|row| formatters.iter().map(|f| f.value(row).to_string()).collect::<Vec<_>>().join("|"))
        .collect()
}

/// `lines` in order.
pub fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort();
    lines
}

/// Records of a topic read by a plain client: partition, key, value, timestamp, headers.
pub fn read_plain(topic: &str) -> Vec<(i32, Option<String>, Option<String>, i64, BTreeMap<String, Vec<u8>>)> {
    use rdkafka::Message;
    use rdkafka::consumer::{BaseConsumer, Consumer};
    use rdkafka::message::Headers;
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers())
        .set("group.id", unique("plain"))
        .set("enable.partition.eof", "true")
        .create()
        .expect("a consumer");
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).expect("metadata");
    let partitions = metadata.topics()[0].partitions().len();
    let mut list = TopicPartitionList::new();
    for p in 0..partitions {
        list.add_partition_offset(topic, p as i32, Offset::Beginning).expect("an offset");
    }
    consumer.assign(&list).expect("assigned");
    let (mut ends, mut records) = (0, Vec::new());
    while ends < partitions {
        match consumer.poll(PATIENCE).expect("a message in time") {
            Ok(m) => {
                let string = |b: Option<&[u8]>| b.map(|b| String::from_utf8_lossy(b).into_owned());
                let headers = m.headers().map(|h| {
                    h.iter().map(|h| (h.key.to_string(), h.value.unwrap_or_default().to_vec())).collect()
                });
                let time = m.timestamp().to_millis().unwrap_or(-1);
                records.push((
                    m.partition(),
                    string(m.key()),
                    string(m.payload()),
                    time,
                    headers.unwrap_or_default(),
                ));
            }
            Err(rdkafka::error::KafkaError::PartitionEOF(_)) => ends += 1,
            Err(e) => panic!("{e}"),
        }
    }
    records
}
