//! `KafkaReader`: partitions to Arrow batches. Records come in batches, from `Fetcher` or, where it cannot serve, from
//! librdkafka; their bytes go into one buffer for each partition, and a decoder makes columns of it.

use super::client::{At, Consumer, EARLIEST, LATEST};
use super::enumerator::{Position, parse_id};
use super::fetch::{Damage, Failure, Fetched, Fetcher};
use super::metadata::{Column, Meta};
use super::options::{KafkaOptions, Point};
use super::queue::MAX_MESSAGES;
use super::record::Record;
use crate::formats::{DecodeError, Decoded, Decoder, Payloads};
use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{Field, FieldRef, Schema, SchemaRef};
use chrono_tz::Tz;
use engine::connector::{Metrics, Poll, Reader, ReaderContext, Split, SplitReading};
use engine::error::{Error, Result};
use engine::time::Clock;
use rdkafka::error::RDKafkaErrorCode;
use std::collections::{HashMap, VecDeque};
use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Most bytes of values that are decoded at once.
const MAX_BATCH_BYTES: usize = 8 << 20;

/// How long all brokers may be away before the job ends.
const LOST_AFTER_MS: i64 = 60_000;

/// Time between two looks at how far behind reading is.
const LAG_INTERVAL_MS: i64 = 1_000;

/// Chunks kept for reuse.
const MAX_SPARE_CHUNKS: usize = 16;

/// Where a column of the projection comes from.
#[derive(Debug, Clone, Copy)]
enum From {
    Value(usize),
    Key(usize),
    Metadata(usize),
}

struct Partition {
    id: Arc<str>,
    topic: Arc<str>,
    number: i32,
    /// Behind the last record given out.
    position: i64,
    /// Behind the last record taken from Kafka.
    fetched: i64,
    stop: Option<i64>,
    at_end: bool,
    /// All up to `stop` was taken from Kafka.
    done: bool,
    /// `Poll::Finished` was given out.
    finished: bool,
    chunk: Option<Chunk>,
}

/// Records of one partition that are to be decoded together.
struct Chunk {
    values: Payloads,
    keys: Payloads,
    offsets: Vec<i64>,
    metadata: Vec<Column>,
    /// Behind the last record, those without a row included.
    end: i64,
}

enum Ready {
    Chunk(usize, Chunk),
    /// The partition is read up to this offset, though no record stands before it: markers of transactions,
    /// records removed by compaction.
    Moved(usize, i64),
    Finished(usize),
    Failed(Error),
}

/// Reads partitions.
pub(super) struct KafkaReader {
    consumer: Consumer,
    /// Fetches the records of all partitions, under their indexes; if there is none, `consumer` does.
    fetcher: Option<Fetcher>,
    /// What to do when an offset is not there any more: `earliest`, `latest` or `none`.
    reset: &'static str,
    options: Arc<KafkaOptions>,
    projection: SchemaRef,
    columns: Vec<From>,
    metas: Vec<Meta>,
    value: Box<dyn Decoder>,
    key: Option<Box<dyn Decoder>>,
    partitions: Vec<Partition>,
    /// Topic as the client names it, and partition, to an index of `partitions`.
    places: HashMap<(usize, i32), usize>,
    ready: VecDeque<Ready>,
    spare: Vec<Chunk>,
    /// A record that does not decode; the rows before it are given out, nothing after it.
    broken: Option<Error>,
    batch_rows: usize,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    lag: i64,
    lag_at_ms: i64,
    down_since_ms: Option<i64>,
}

impl KafkaReader {
    pub(super) fn new(
        options: Arc<KafkaOptions>,
        metadata: &[(String, FieldRef)],
        zone: Tz,
        context: ReaderContext,
    ) -> Result<Self> {
        let reset = match &options.startup {
            Point::Earliest | Point::Offsets(_) => "earliest",
            Point::Latest | Point::Timestamp(_) => "latest",
            Point::Group => match options.properties.reset() {
                Some("earliest") => "earliest",
                Some("latest") => "latest",
                _ => "none",
            },
        };
        let consumer = Consumer::new(&options.properties, reset)?;
        let mut columns = Vec::with_capacity(context.projection.fields().len());
        let mut metas = Vec::new();
        let mut value_fields: Vec<FieldRef> = Vec::new();
        let mut key_fields: Vec<FieldRef> = Vec::new();
        for field in context.projection.fields() {
            let key_place =
                options.key.as_ref().and_then(|k| k.columns.iter().position(|c| c == field.name()));
            columns.push(if let Some((key, _)) = metadata.iter().find(|(_, c)| c.name() == field.name()) {
                let meta = Meta::of(key)
                    .ok_or_else(|| Error::user(format!("A 'kafka' table has no metadata '{key}'.")))?;
                metas.push(meta);
                From::Metadata(metas.len() - 1)
            } else if options.value_schema.field_with_name(field.name()).is_ok() {
                value_fields.push(field.clone());
                From::Value(value_fields.len() - 1)
            } else if let (Some(place), Some(key)) = (key_place, &options.key) {
                key_fields.push(Arc::new(Field::clone(field).with_name(key.schema.field(place).name())));
                From::Key(key_fields.len() - 1)
            } else {
                return Err(Error::internal(format!("There is no column '{}' to read.", field.name())));
            });
        }
        let projection = Arc::new(Schema::new(value_fields));
        let value = options.value.decoder(projection, options.value_schema.clone(), zone)?;
        // As in Flink the key is decoded even where nobody asks for it: a record without one has no row.
        let key = match &options.key {
            Some(key) => {
                Some(key.format.decoder(Arc::new(Schema::new(key_fields)), key.schema.clone(), zone)?)
            }
            None => None,
        };
        Ok(Self {
            consumer,
            fetcher: Fetcher::new(&options.properties),
            reset,
            options,
            projection: context.projection,
            columns,
            metas,
            value,
            key,
            partitions: Vec::new(),
            places: HashMap::new(),
            ready: VecDeque::new(),
            spare: Vec::new(),
            broken: None,
            batch_rows: context.batch_rows.max(1),
            clock: context.clock,
            metrics: context.metrics,
            lag: 0,
            lag_at_ms: i64::MIN,
            down_since_ms: None,
        })
    }

    /// Takes records from Kafka. `false`: nothing came in time.
    fn fetch(&mut self, timeout: Duration) -> Result<bool> {
        match &mut self.fetcher {
            Some(fetcher) => {
                let fetched = fetcher.poll(timeout);
                self.metrics.waited_us.fetch_add(fetcher.take_waited().as_micros() as u64, Ordering::Relaxed);
                self.take_answer(fetched)
            }
            None => self.take_messages(timeout),
        }
    }

    fn take_answer(&mut self, answer: std::io::Result<Option<Fetched>>) -> Result<bool> {
        match answer {
            Ok(Some(fetched)) => self.take_fetched(fetched).map(|()| true),
            Ok(None) => {
                self.serve_client();
                self.check_brokers().map(|()| false)
            }
            Err(_) => self.leave_to_client().map(|()| true),
        }
    }

    fn take_fetched(&mut self, fetched: Fetched) -> Result<()> {
        let Some(mut fetcher) = self.fetcher.take() else { return Ok(()) };
        let mut counts = Counts::default();
        let mut failed = Vec::new();
        for part in &fetched.parts {
            let index = part.slot;
            if let Some(failure) = part.failure {
                failed.push((index, failure));
                continue;
            }
            let with_keys = self.key.is_some();
            let Self { partitions, ready, spare, metas, batch_rows, .. } = self;
            let partition = &mut partitions[index];
            if partition.done {
                continue;
            }
            let read = fetcher.read(&fetched, part, |record| {
                if take_record(partition, record, spare, metas, &mut counts, with_keys, *batch_rows) {
                    seal(partition, index, ready);
                }
            });
            if let Err(Damage(why)) = read {
                seal(partition, index, ready);
                ready.push_back(Ready::Failed(damaged(&partition.topic, partition.number, why)));
                continue;
            }
            partition.at_end = part.at_end;
            if partition.fetched < part.next {
                // Markers of transactions, and records that compaction took away.
                partition.fetched = part.next;
                ready.extend(partition.chunk.is_none().then_some(Ready::Moved(index, part.next)));
            }
            seal(partition, index, ready);
            if finish(partition, index, ready) {
                fetcher.close(index);
            }
        }
        fetcher.give_back(fetched);
        self.fetcher = Some(fetcher);
        self.count(&counts);
        self.down_since_ms = None;
        for (index, failure) in failed {
            self.fail(index, failure)?;
        }
        Ok(())
    }

    fn fail(&mut self, index: usize, failure: Failure) -> Result<()> {
        let Partition { topic, number, .. } = &self.partitions[index];
        let error = match failure {
            Failure::OutOfRange if self.reset != "none" => {
                let end = if self.reset == "earliest" { EARLIEST } else { LATEST };
                let asked = At { topic: topic.to_string(), partition: *number, offset: end };
                let found = self.consumer.offsets_at(&[asked])?;
                if let (Some(at), Some(fetcher)) = (found.first(), &mut self.fetcher) {
                    self.partitions[index].fetched = at.offset;
                    fetcher.seek(index, at.offset);
                }
                if finish(&mut self.partitions[index], index, &mut self.ready) {
                    self.fetcher.iter_mut().for_each(|f| f.close(index));
                }
                return Ok(());
            }
            Failure::OutOfRange => out_of_range(topic, *number, "Broker: Offset out of range"),
            Failure::Damaged => damaged(topic, *number, "the broker says so"),
            Failure::Gone => gone(topic),
            Failure::Denied => denied(topic),
        };
        self.ready.push_back(Ready::Failed(error));
        Ok(())
    }

    /// From here on librdkafka fetches.
    fn leave_to_client(&mut self) -> Result<()> {
        self.fetcher = None;
        let open = self.partitions.iter().filter(|p| !p.done).map(at).collect::<Vec<_>>();
        if open.is_empty() { Ok(()) } else { self.consumer.assign(&open) }
    }

    /// Lets the client tell what happened to commits and connections; it has no messages while `fetcher` reads.
    fn serve_client(&mut self) {
        drop(self.consumer.consume(Duration::ZERO, 1));
    }

    fn count(&self, counts: &Counts) {
        Metrics::add(&self.metrics.records, counts.records);
        Metrics::add(&self.metrics.bytes, counts.bytes);
        Metrics::add(&self.metrics.skipped, counts.keyless);
    }

    fn take_messages(&mut self, timeout: Duration) -> Result<bool> {
        let Self { consumer, partitions, places, ready, spare, metas, metrics, .. } = self;
        let with_keys = self.key.is_some();
        let mut counts = Counts::default();
        let mut open = Vec::new();
        let mut done = Vec::new();
        let mut failed = None;
        let mut last = ((0, 0), usize::MAX);
        let batch = metrics.waiting(|| consumer.consume(timeout, MAX_MESSAGES));
        if batch.is_empty() {
            drop(batch);
            self.check_brokers()?;
            return Ok(false);
        }
        for message in batch {
            let place = (message.topic_id(), message.partition());
            let error = |code| consumer_error(code, &message.topic(), place.1, &message.error_text());
            if last.0 != place || last.1 == usize::MAX {
                let known = places.get(&place).copied().or_else(|| {
                    let topic = message.topic();
                    let found = partitions.iter().position(|p| p.number == place.1 && *p.topic == *topic);
                    found.inspect(|index| _ = places.insert(place, *index))
                });
                let Some(index) = known else {
                    failed = failed.or_else(|| message.error().and_then(error));
                    continue;
                };
                last = (place, index);
            }
            let index = last.1;
            let partition = &mut partitions[index];
            match message.error() {
                Some(RDKafkaErrorCode::PartitionEOF) => {
                    partition.at_end = true;
                    if !partition.done {
                        partition.fetched = partition.fetched.max(message.offset());
                        seal(partition, index, ready);
                        ready.push_back(Ready::Moved(index, partition.fetched));
                    }
                }
                Some(code) => {
                    failed = failed.or_else(|| error(code));
                    continue;
                }
                None => {
                    partition.at_end = false;
                    if partition.done {
                        continue;
                    }
                    if take_record(partition, &message, spare, metas, &mut counts, with_keys, self.batch_rows)
                    {
                        seal(partition, index, ready);
                    }
                    if partition.chunk.is_some() && open.last() != Some(&index) {
                        open.push(index);
                    }
                }
            }
            if finish(partition, index, ready) {
                done.push(at(partition));
            }
        }
        for index in open {
            seal(&mut partitions[index], index, ready);
        }
        if !done.is_empty() {
            consumer.unassign(&done)?;
        }
        self.count(&counts);
        self.down_since_ms = None;
        self.ready.extend(failed.map(Ready::Failed));
        Ok(true)
    }

    /// Ends the job when no broker has been there for long. The client goes on trying by itself.
    fn check_brokers(&mut self) -> Result<()> {
        let trouble = self.consumer.trouble();
        if trouble.hopeless {
            // Says why.
            return self.consumer.metadata(None).map(|_| self.consumer.recovered());
        }
        let all_down = self.fetcher.as_ref().map_or(trouble.all_down, |f| f.lost().is_some());
        if !all_down {
            self.down_since_ms = None;
            return Ok(());
        }
        let now = self.clock.now_ms();
        let since = *self.down_since_ms.get_or_insert(now);
        if now - since >= LOST_AFTER_MS {
            self.consumer.metadata(None)?;
            self.consumer.recovered();
            self.down_since_ms = None;
        }
        Ok(())
    }

    /// Decodes a chunk; `None` if it has no rows.
    fn emit(&mut self, index: usize, mut chunk: Chunk) -> Result<Option<Poll>> {
        let mut end = chunk.end;
        if chunk.offsets.is_empty() {
            self.partitions[index].position = end;
            return Ok(None);
        }
        chunk.values.pad();
        chunk.keys.pad();
        let decoded = match self.decode(&chunk) {
            Ok(decoded) => decoded,
            Err((is_key, error)) => {
                // What stands before the broken record is given out first.
                let broken = error.payload.min(chunk.offsets.len().saturating_sub(1));
                end = chunk.offsets.get(broken).copied().unwrap_or(end);
                self.broken = Some(self.undecodable(index, end, is_key, &error));
                truncate(&mut chunk, broken);
                self.decode(&chunk).map_err(|(is_key, error)| self.undecodable(index, end, is_key, &error))?
            }
        };
        let poll = self.assemble(index, &mut chunk, decoded)?;
        self.partitions[index].position = end;
        if self.spare.len() < MAX_SPARE_CHUNKS && chunk.values.num_bytes() <= MAX_BATCH_BYTES {
            chunk.clear();
            self.spare.push(chunk);
        }
        Ok(poll)
    }

    #[allow(clippy::type_complexity)] // rows of the value, and of the key where there is one
    fn decode(
        &mut self,
        chunk: &Chunk,
    ) -> std::result::Result<(Decoded, Option<Decoded>), (bool, DecodeError)> {
        let keys = match &mut self.key {
            Some(key) => Some(key.decode(&chunk.keys).map_err(|e| (true, e))?),
            None => None,
        };
        Ok((self.value.decode(&chunk.values).map_err(|e| (false, e))?, keys))
    }

    fn undecodable(&self, index: usize, offset: i64, is_key: bool, error: &DecodeError) -> Error {
        let partition = &self.partitions[index];
        let (part, choice) = match &self.options.key {
            Some(key) if is_key => ("key", &key.format),
            _ => ("value", &self.options.value),
        };
        let name = choice.name();
        let mut result = Error::user(format!(
            "The {part} of the record at offset {offset} of partition {} of Kafka topic '{}' is not as 'format' = \
             '{name}' and the table's columns want it: {}",
            partition.number, partition.topic, error.message
        ));
        let help = choice.help();
        if let Some(skip) = help.iter().find(|o| o.key.ends_with(".ignore-parse-errors")) {
            result = result.with_hint(format!(
                "Set '{}' = 'true' to skip such records, or declare the column as the data is.",
                skip.key
            ));
        }
        result
    }

    fn assemble(
        &mut self,
        index: usize,
        chunk: &mut Chunk,
        decoded: (Decoded, Option<Decoded>),
    ) -> Result<Option<Poll>> {
        let (value, key) = decoded;
        let skipped = value.skipped + key.as_ref().map_or(0, |k| k.skipped);
        Metrics::add(&self.metrics.skipped, skipped);
        let records = chunk.offsets.len();
        let metadata: Vec<ArrayRef> =
            chunk.metadata.iter_mut().map(|c| c.finish().slice(0, records)).collect();
        let rows = Rows::new(&value, key.as_ref(), records);
        if rows.count == 0 {
            return Ok(None);
        }
        let pick = |column: &ArrayRef, which: &Option<UInt32Array>| match which {
            Some(indices) => take(column, indices, None),
            None => Ok(column.clone()),
        };
        let columns = self
            .columns
            .iter()
            .map(|from| match (from, &key) {
                (From::Value(i), _) => pick(value.batch.column(*i), &rows.value),
                (From::Key(i), Some(key)) => pick(key.batch.column(*i), &rows.key),
                (From::Metadata(i), _) | (From::Key(i), None) => pick(&metadata[*i], &rows.record),
            })
            .collect::<std::result::Result<Vec<_>, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows.count));
        let batch = RecordBatch::try_new_with_options(self.projection.clone(), columns, &options)?;
        let kinds = match (value.kinds, &rows.value) {
            (Some(kinds), Some(indices)) => {
                Some(indices.values().iter().map(|i| kinds[*i as usize]).collect())
            }
            (kinds, _) => kinds,
        };
        Ok(Some(Poll::Rows { split: self.partitions[index].id.clone(), batch, kinds }))
    }

    fn measure_lag(&mut self) {
        let now = self.clock.now_ms();
        if now < self.lag_at_ms.saturating_add(LAG_INTERVAL_MS) {
            return;
        }
        self.lag_at_ms = now;
        let (succeeded, failed) = self.consumer.commits();
        self.metrics.commits_succeeded.fetch_add(succeeded, Ordering::Relaxed);
        self.metrics.commits_failed.fetch_add(failed, Ordering::Relaxed);
        if self.fetcher.is_some() {
            self.serve_client();
        }
        let mut lag = 0;
        for (index, p) in self.partitions.iter().enumerate() {
            if p.finished {
                self.metrics.note_split(&p.id, None);
                continue;
            }
            let end = match &self.fetcher {
                Some(fetcher) => fetcher.known_end(index),
                None => self.consumer.known_end(&p.topic, p.number),
            };
            let behind = end.map(|end| (p.stop.map_or(end, |s| s.min(end)) - p.position).max(0));
            lag += behind.unwrap_or(0);
            let reading = SplitReading {
                current_offset: (p.position > 0).then(|| p.position - 1),
                committed_offset: self.consumer.committed_offset(&p.topic, p.number),
                lag: behind,
            };
            self.metrics.note_split(&p.id, Some(reading));
        }
        // Readers share the number: each adds what changed on its side.
        self.metrics.lag.fetch_add(lag - self.lag, Ordering::Relaxed);
        self.lag = lag;
    }
}

/// Which rows of value, key and record go together. `None` stands for all of them in order.
struct Rows {
    count: usize,
    value: Option<UInt32Array>,
    key: Option<UInt32Array>,
    record: Option<UInt32Array>,
}

impl Rows {
    fn new(value: &Decoded, key: Option<&Decoded>, records: usize) -> Self {
        let values = value.batch.num_rows();
        let Some(key) = key else {
            let record = value.origin.clone().map(UInt32Array::from);
            return Self { count: values, value: None, key: None, record };
        };
        let keys = key.batch.num_rows();
        if value.origin.is_none() && key.origin.is_none() && values == records && keys == records {
            return Self { count: values, value: None, key: None, record: None };
        }
        // Every row of a value with every row of its key, as Flink does; both lists go up by record.
        let of = |origin: &Option<Vec<u32>>, row: usize| origin.as_ref().map_or(row as u32, |o| o[row]);
        let (mut by_value, mut by_key, mut by_record) = (Vec::new(), Vec::new(), Vec::new());
        let mut first = 0;
        for row in 0..values {
            let record = of(&value.origin, row);
            while first < keys && of(&key.origin, first) < record {
                first += 1;
            }
            for key_row in (first..keys).take_while(|k| of(&key.origin, *k) == record) {
                by_value.push(row as u32);
                by_key.push(key_row as u32);
                by_record.push(record);
            }
        }
        Self {
            count: by_value.len(),
            value: Some(by_value.into()),
            key: Some(by_key.into()),
            record: Some(by_record.into()),
        }
    }
}

impl Chunk {
    fn new(metas: &[Meta]) -> Self {
        Self {
            values: Payloads::default(),
            keys: Payloads::default(),
            offsets: Vec::new(),
            metadata: metas.iter().map(|m| Column::new(*m)).collect(),
            end: 0,
        }
    }

    fn clear(&mut self) {
        self.values.clear();
        self.keys.clear();
        self.offsets.clear();
    }
}

/// Keeps the first `records` records. Only metadata columns may then be longer, of which no more rows are taken.
fn truncate(chunk: &mut Chunk, records: usize) {
    let first = |all: &Payloads| {
        let mut kept = Payloads::default();
        all.iter().take(records).for_each(|p| kept.push(p));
        kept.pad();
        kept
    };
    (chunk.values, chunk.keys) = (first(&chunk.values), first(&chunk.keys));
    chunk.offsets.truncate(records);
}

fn at(partition: &Partition) -> At {
    At { topic: partition.topic.to_string(), partition: partition.number, offset: partition.fetched }
}

fn seal(partition: &mut Partition, index: usize, ready: &mut VecDeque<Ready>) {
    if let Some(mut chunk) = partition.chunk.take() {
        chunk.end = partition.fetched;
        ready.push_back(Ready::Chunk(index, chunk));
    }
}

/// What one call took from Kafka.
#[derive(Default)]
struct Counts {
    records: usize,
    bytes: usize,
    keyless: usize,
}

/// Puts a record into its partition's chunk, unless it was taken before or stands behind the end. Tombstones, and
/// records that lack the key that the table has, make no row. `true`: the chunk is full.
#[inline]
fn take_record<R: Record>(
    partition: &mut Partition,
    record: &R,
    spare: &mut Vec<Chunk>,
    metas: &[Meta],
    counts: &mut Counts,
    with_keys: bool,
    batch_rows: usize,
) -> bool {
    let offset = record.offset();
    if offset < partition.fetched {
        return false;
    }
    if partition.stop.is_some_and(|stop| offset >= stop) {
        partition.fetched = offset;
        return false;
    }
    partition.fetched = offset + 1;
    let (value, key) = (record.value(), record.key());
    counts.records += 1;
    counts.bytes += value.map_or(0, <[u8]>::len) + key.map_or(0, <[u8]>::len);
    let chunk = partition.chunk.get_or_insert_with(|| spare.pop().unwrap_or_else(|| Chunk::new(metas)));
    let Some(value) = value else { return false };
    if with_keys {
        let Some(key) = key else {
            counts.keyless += 1;
            return false;
        };
        chunk.keys.push(key);
    }
    chunk.values.push(value);
    chunk.offsets.push(offset);
    for column in &mut chunk.metadata {
        column.push(record, &partition.topic, partition.number);
    }
    chunk.offsets.len() >= batch_rows || chunk.values.num_bytes() >= MAX_BATCH_BYTES
}

/// Whether the partition is read to its stop, which is noted.
fn finish(partition: &mut Partition, index: usize, ready: &mut VecDeque<Ready>) -> bool {
    let finished = partition.stop.is_some_and(|stop| partition.fetched >= stop) && !partition.done;
    if finished {
        partition.done = true;
        seal(partition, index, ready);
        ready.push_back(Ready::Finished(index));
    }
    finished
}

fn gone(topic: &str) -> Error {
    Error::user(format!("Topic '{topic}' is gone: it was deleted or made anew while it was read."))
}

fn denied(topic: &str) -> Error {
    Error::user(format!("Kafka refuses: this user may not read topic '{topic}'."))
}

fn damaged(topic: &str, partition: i32, why: &str) -> Error {
    Error::external(format!("A record in partition {partition} of Kafka topic '{topic}' is damaged: {why}."))
}

fn out_of_range(topic: &str, partition: i32, why: &str) -> Error {
    Error::user(format!(
        "The next offset of partition {partition} of Kafka topic '{topic}' is not there any more: the records were \
         removed before they were read ({why})."
    ))
    .with_hint("Set 'properties.auto.offset.reset' = 'earliest' to go on with the oldest that is left.")
}

/// The error for an event that reading cannot go on after; `None` for those that heal.
fn consumer_error(code: RDKafkaErrorCode, topic: &str, partition: i32, text: &str) -> Option<Error> {
    use RDKafkaErrorCode as C;
    Some(match code {
        C::UnknownTopicOrPartition | C::UnknownTopic | C::UnknownPartition => gone(topic),
        C::TopicAuthorizationFailed => denied(topic),
        C::GroupAuthorizationFailed => Error::user("Kafka refuses: this user may not use the group.")
            .with_hint("See 'properties.group.id'."),
        C::AutoOffsetReset | C::OffsetOutOfRange => out_of_range(topic, partition, text),
        C::BadMessage => damaged(topic, partition, text),
        C::MessageSizeTooLarge => Error::external(format!(
            "A record in partition {partition} of Kafka topic '{topic}' is too large: {text}."
        ))
        .with_hint("Raise 'properties.fetch.max.bytes' and 'properties.receive.message.max.bytes'."),
        C::Fatal => Error::external(format!("The Kafka client gave up: {text}.")),
        _ => return None,
    })
}

impl Reader for KafkaReader {
    fn assign(&mut self, splits: Vec<Split>) -> Result<()> {
        // A topic that is read no more may have left its place in memory to a new one.
        self.places.clear();
        let mut new = Vec::with_capacity(splits.len());
        for split in splits {
            let (topic, number) = parse_id(&split.id)?;
            let Position { offset, stop } = Position::parse(&split)?;
            let done = stop.is_some_and(|stop| offset >= stop);
            let index = self.partitions.len();
            let topic: Arc<str> = topic.into();
            if let Some(fetcher) = &mut self.fetcher {
                fetcher.add(topic.clone(), number, offset, stop);
            }
            self.partitions.push(Partition {
                id: split.id.into(),
                topic,
                number,
                position: offset,
                fetched: offset,
                stop,
                at_end: false,
                done,
                finished: false,
                chunk: None,
            });
            if done {
                self.ready.push_back(Ready::Finished(index));
            } else {
                new.push(at(&self.partitions[index]));
            }
        }
        if new.is_empty() || self.fetcher.is_some() { Ok(()) } else { self.consumer.assign(&new) }
    }

    fn poll(&mut self, mut timeout: Duration) -> Result<Poll> {
        self.measure_lag();
        loop {
            if let Some(error) = self.broken.take() {
                return Err(error);
            }
            while let Some(ready) = self.ready.pop_front() {
                match ready {
                    Ready::Chunk(index, chunk) => {
                        if let Some(rows) = self.emit(index, chunk)? {
                            return Ok(rows);
                        }
                        if let Some(error) = self.broken.take() {
                            return Err(error);
                        }
                    }
                    Ready::Moved(index, offset) => {
                        let partition = &mut self.partitions[index];
                        partition.position = partition.position.max(offset);
                    }
                    Ready::Failed(error) => return Err(error),
                    Ready::Finished(index) => {
                        let partition = &mut self.partitions[index];
                        partition.finished = true;
                        partition.position = partition.position.max(partition.fetched);
                        return Ok(Poll::Finished(partition.id.clone()));
                    }
                }
            }
            if !self.fetch(mem::take(&mut timeout))? {
                return Ok(Poll::Pending);
            }
        }
    }

    fn snapshot(&self) -> Vec<Split> {
        let open = self.partitions.iter().filter(|p| !p.finished);
        open.map(|p| Position { offset: p.position, stop: p.stop }.split(&p.id)).collect()
    }

    fn checkpointed(&mut self, splits: &[Split]) -> Result<()> {
        if !self.options.properties.commits() || splits.is_empty() {
            return Ok(());
        }
        let offsets = splits
            .iter()
            .map(|split| {
                let (topic, partition) = parse_id(&split.id)?;
                Ok(At { topic, partition, offset: Position::parse(split)?.offset })
            })
            .collect::<Result<Vec<_>>>()?;
        self.consumer.commit(&offsets)
    }

    fn status(&self) -> Option<String> {
        let open = self.partitions.iter().filter(|p| !p.finished).collect::<Vec<_>>();
        let trouble = self.consumer.trouble();
        let lost = match &self.fetcher {
            Some(fetcher) => fetcher.lost(),
            None => trouble.reason.as_deref().filter(|_| trouble.all_down),
        };
        if let Some(reason) = lost {
            return Some(format!("no Kafka broker answers: {reason}"));
        }
        match open.as_slice() {
            [] => Some("no Kafka partition to read".to_string()),
            [p] if p.at_end => {
                Some(format!("partition {} of {}: at its end (offset {})", p.number, p.topic, p.position))
            }
            many if many.iter().all(|p| p.at_end) => {
                Some(format!("{} Kafka partitions: at their ends", many.len()))
            }
            many => {
                let waiting = many.iter().filter(|p| !p.at_end).count();
                let waiting = if waiting == 1 {
                    "1 Kafka partition".into()
                } else {
                    format!("{waiting} Kafka partitions")
                };
                Some(format!("reading {waiting}"))
            }
        }
    }
}
