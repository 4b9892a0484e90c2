//! `KinesisSink` and `KinesisWriter`: PutRecords in batches, several at a time, refused records again.

use super::client::{Backoff, Client, SharedClient, sleep_ms};
use super::options::{KinesisOptions, MAX_PUT_BYTES};
use super::partition_key::{MAX_KEY_CHARS, PartitionKeys};
use crate::aws::Trouble;
use crate::formats::{Encoder, Payloads};
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::PutRecordsRequestEntry;
use engine::connector::{Metrics, Sink, TableContext, Writer, WriterContext};
use engine::error::{Error, Result};
use engine::message::ChangeBatch;
use engine::plan::ChangelogMode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::task::JoinSet;

/// Most bytes of a record, its partition key included; the service's limit.
const MAX_RECORD_BYTES: usize = 1024 * 1024;
/// First wait before refused records are sent again, in milliseconds; it doubles.
const RETRY_BASE_MS: u64 = 100;
/// Longest such wait, in milliseconds.
const RETRY_MAX_MS: u64 = 5_000;
/// Milliseconds of waiting without a single record taken after which the job fails.
const MAX_REFUSED_MS: u64 = 5 * 60 * 1000;
/// Failures of whole requests (HTTP 5xx, no answer, no connection) in a row after which the job fails.
const MAX_TRANSIENT_FAILURES: u32 = 15;

/// A stream as a table to write.
#[derive(Debug)]
pub struct KinesisSink {
    table: TableContext,
    options: KinesisOptions,
    client: SharedClient,
}

impl KinesisSink {
    /// Reads the options; makes no request.
    ///
    /// Errors: as `KinesisOptions::read`; a partition column that is not there.
    pub fn new(table: &TableContext) -> Result<Self> {
        let options = KinesisOptions::read(table)?;
        PartitionKeys::check(table)?;
        Ok(Self { table: table.clone(), options, client: SharedClient::default() })
    }
}

impl Sink for KinesisSink {
    fn accepts(&self) -> ChangelogMode {
        self.options.format.format().accepts()
    }

    fn describe(&self) -> String {
        let keys = self.table.partitioned_by.join(", ");
        let keys = if keys.is_empty() { keys } else { format!(", partitioned by=[{keys}]") };
        let place = match self.options.aws.describe() {
            place if place.is_empty() => place,
            place => format!(", {place}"),
        };
        let name = self.options.stream.name();
        format!("kinesis(stream=[{name}], format=[{}]{keys}{place})", self.options.format.name())
    }

    fn parallelism(&self) -> Option<usize> {
        self.options.sink.parallelism
    }

    fn writer(&self, context: WriterContext) -> Result<Box<dyn Writer>> {
        let client = self.client.get(&context.runtime, &self.options.aws, &self.options.stream)?;
        let encoder = self.options.format.encoder(context.schema.clone(), self.table.zone)?;
        let keys = PartitionKeys::new(&self.table, &self.options.sink, &context)?;
        Ok(Box::new(KinesisWriter {
            client,
            encoder,
            keys,
            payloads: Payloads::default(),
            batch: Vec::new(),
            batch_bytes: 0,
            in_flight: JoinSet::new(),
            in_flight_records: 0,
            retrying: Arc::default(),
            options: self.options.sink.clone(),
            context,
        }))
    }
}

struct KinesisWriter {
    client: Client,
    encoder: Box<dyn Encoder>,
    keys: PartitionKeys,
    payloads: Payloads,
    batch: Vec<PutRecordsRequestEntry>,
    batch_bytes: usize,
    in_flight: JoinSet<Result<usize>>,
    in_flight_records: usize,
    /// Requests that are being sent again. Nothing new is sent while there are any, so that it does not
    /// overtake them.
    retrying: Arc<AtomicUsize>,
    options: super::options::SinkOptions,
    context: WriterContext,
}

impl KinesisWriter {
    fn push(&mut self, key: String, data: &[u8]) -> Result<()> {
        let bytes = data.len() + key.len();
        if bytes > MAX_RECORD_BYTES {
            return Err(Error::user(format!(
                "A row for stream '{}' has {bytes} bytes as a record; Kinesis takes at most {MAX_RECORD_BYTES} (1 MiB), \
                 the partition key included.",
                self.client.stream()
            ))
            .with_hint("Write fewer or shorter columns."));
        }
        let limit = self.options.batch_bytes.min(MAX_PUT_BYTES);
        let full = self.batch.len() >= self.options.batch_records || self.batch_bytes + bytes > limit;
        if full && !self.batch.is_empty() {
            self.send()?;
        }
        let entry = PutRecordsRequestEntry::builder().data(Blob::new(data)).partition_key(key).build();
        self.batch.push(entry.map_err(|e| Error::internal(format!("a Kinesis record: {e}")))?);
        self.batch_bytes += bytes;
        Ok(())
    }

    /// Starts the request for the collected batch, when there is room for one.
    fn send(&mut self) -> Result<()> {
        let records = std::mem::take(&mut self.batch);
        let bytes = std::mem::take(&mut self.batch_bytes);
        if records.is_empty() {
            return Ok(());
        }
        while !self.in_flight.is_empty()
            && (self.in_flight.len() >= self.options.max_in_flight
                || self.in_flight_records + records.len() > self.options.max_buffered
                || self.retrying.load(Ordering::SeqCst) > 0)
        {
            self.wait_for_one()?;
        }
        self.in_flight_records += records.len();
        let delivery = Delivery {
            client: self.client.clone(),
            retrying: self.retrying.clone(),
            metrics: self.context.metrics.clone(),
            fail_on_error: self.options.fail_on_error,
        };
        self.in_flight.spawn_on(delivery.run(records, bytes), &self.context.runtime);
        Ok(())
    }

    fn wait_for_one(&mut self) -> Result<()> {
        match self.context.runtime.block_on(self.in_flight.join_next()) {
            None => Ok(()),
            Some(done) => self.note(done),
        }
    }

    fn note(&mut self, done: std::result::Result<Result<usize>, tokio::task::JoinError>) -> Result<()> {
        let records = done.map_err(|e| Error::internal(format!("a PutRecords task broke: {e}")))??;
        self.in_flight_records = self.in_flight_records.saturating_sub(records);
        Ok(())
    }
}

impl Writer for KinesisWriter {
    fn write(&mut self, batch: ChangeBatch) -> Result<()> {
        while let Some(done) = self.in_flight.try_join_next() {
            self.note(done)?;
        }
        let mut payloads = std::mem::take(&mut self.payloads);
        payloads.clear();
        self.encoder.encode(&batch, &mut payloads)?;
        if payloads.len() != batch.num_rows() {
            return Err(Error::internal("an encoder made another number of records than rows"));
        }
        for row in 0..payloads.len() {
            let key = self.keys.key(batch.records(), row);
            self.push(key, payloads.get(row))?;
        }
        self.payloads = payloads;
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        self.send()?;
        while !self.in_flight.is_empty() {
            self.wait_for_one()?;
        }
        Ok(())
    }

    fn flush_interval_ms(&self) -> Option<u64> {
        Some(self.options.flush_interval_ms)
    }
}

/// One request and its repetitions.
struct Delivery {
    client: Client,
    retrying: Arc<AtomicUsize>,
    metrics: Arc<Metrics>,
    fail_on_error: bool,
}

/// Counts a request among those that are sent again, as long as it lives.
struct Retrying(Option<Arc<AtomicUsize>>);

impl Retrying {
    fn begin(&mut self, counter: &Arc<AtomicUsize>) {
        if self.0.is_none() {
            counter.fetch_add(1, Ordering::SeqCst);
            self.0 = Some(counter.clone());
        }
    }
}

impl Drop for Retrying {
    fn drop(&mut self) {
        if let Some(counter) = &self.0 {
            counter.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

impl Delivery {
    /// Sends until the service has taken all records; gives their number.
    async fn run(self, mut records: Vec<PutRecordsRequestEntry>, bytes: usize) -> Result<usize> {
        let total = records.len();
        let mut retrying = Retrying(None);
        let mut backoff = Backoff::new(RETRY_BASE_MS, RETRY_MAX_MS);
        let (mut waited_ms, mut failures) = (0, 0);
        loop {
            let error = match self.client.put(records.clone()).await {
                Ok(results) if results.len() != records.len() => {
                    return Err(Error::external(format!(
                        "PutRecords to stream '{}' answered {} of {} records.",
                        self.client.stream(),
                        results.len(),
                        records.len()
                    )));
                }
                Ok(results) => {
                    failures = 0;
                    let refused = results.iter().filter(|r| r.error_code.is_some()).count();
                    let Some(first) = results.iter().find(|r| r.error_code.is_some()) else {
                        Metrics::add(&self.metrics.records, total);
                        Metrics::add(&self.metrics.bytes, bytes);
                        return Ok(total);
                    };
                    let error = Error::external(format!(
                        "Kinesis refused {refused} of {} records for stream '{}': {}: {}",
                        records.len(),
                        self.client.stream(),
                        first.error_code.as_deref().unwrap_or("no code"),
                        first.error_message.as_deref().unwrap_or("no message")
                    ))
                    .with_hint("More shards, or partition keys that spread over them, help.");
                    if refused < records.len() {
                        waited_ms = 0;
                        backoff.reset();
                    }
                    Metrics::add(&self.metrics.throttled, refused);
                    let mut results = results.into_iter();
                    records.retain(|_| results.next().is_some_and(|r| r.error_code.is_some()));
                    error
                }
                Err(failure) => match failure.trouble {
                    Trouble::NotFound => return Err(self.client.no_such_stream().await),
                    Trouble::Permanent | Trouble::ExpiredIterator => return Err(failure.error),
                    Trouble::Throttled => {
                        Metrics::add(&self.metrics.throttled, 1);
                        failure.error
                    }
                    Trouble::Transient => {
                        failures += 1;
                        if failures >= MAX_TRANSIENT_FAILURES {
                            return Err(failure.error.within(format!("After {failures} attempts")));
                        }
                        failure.error
                    }
                },
            };
            if self.fail_on_error {
                return Err(error.within("'sink.fail-on-error' = 'true'"));
            }
            if waited_ms >= MAX_REFUSED_MS {
                return Err(error.within(format!("After {} minutes", MAX_REFUSED_MS / 60_000)));
            }
            retrying.begin(&self.retrying);
            let ms = backoff.advance();
            waited_ms += ms;
            sleep_ms(ms).await;
        }
    }
}

const _: () = assert!(MAX_KEY_CHARS * 4 < MAX_RECORD_BYTES, "a key alone never fills a record");
