//! `KinesisReader`: turns fetched records into batches, shard by shard in turn.

use super::fetch::{Chunk, Fetching, Record, Taken, UNKNOWN_LAG};
use super::options::Start;
use super::position::Position;
use crate::formats::select::ChosenFormat;
use crate::formats::{Decoder, Payloads};
use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, StringArray, TimestampMillisecondArray};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};
use engine::connector::{Metrics, Poll, Reader, ReaderContext, Split, TableContext};
use engine::error::{Error, Result};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// What a record carries besides its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetadataKey {
    /// When the service took it.
    Timestamp,
    /// The shard that it came from.
    ShardId,
    /// Its number in the shard.
    SequenceNumber,
}

impl MetadataKey {
    /// All keys.
    pub const ALL: [Self; 3] = [Self::Timestamp, Self::ShardId, Self::SequenceNumber];

    /// The key in `METADATA FROM '…'`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Timestamp => "timestamp",
            Self::ShardId => "shard-id",
            Self::SequenceNumber => "sequence-number",
        }
    }

    /// Column of the key's name and type.
    pub fn field(self) -> FieldRef {
        let field = match self {
            Self::Timestamp => {
                Field::new(self.name(), DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())), false)
            }
            Self::ShardId | Self::SequenceNumber => {
                let sql_type = ("runnel.type".to_string(), "VARCHAR(128)".to_string());
                Field::new(self.name(), DataType::Utf8, false).with_metadata(HashMap::from([sql_type]))
            }
        };
        Arc::new(field)
    }

    fn column(self, shard: &str, records: &[Record], row: impl Fn(usize) -> usize, rows: usize) -> ArrayRef {
        let of_row = |i: usize| &records[row(i)];
        match self {
            Self::Timestamp => Arc::new(
                TimestampMillisecondArray::from_iter_values((0..rows).map(|i| of_row(i).arrival_ms))
                    .with_timezone("UTC"),
            ),
            Self::ShardId => Arc::new(StringArray::from_iter_values((0..rows).map(|_| shard))),
            Self::SequenceNumber => {
                Arc::new(StringArray::from_iter_values((0..rows).map(|i| &of_row(i).sequence)))
            }
        }
    }
}

/// Where a projected column comes from.
#[derive(Debug, Clone, Copy)]
enum Column {
    /// The decoder's column of this index.
    Decoded(usize),
    Metadata(MetadataKey),
}

/// One parallel reader of a stream.
pub struct KinesisReader {
    fetching: Arc<Fetching>,
    tasks: JoinSet<()>,
    positions: BTreeMap<Arc<str>, Position>,
    columns: Vec<Column>,
    decoder: Box<dyn Decoder>,
    payloads: Payloads,
    context: ReaderContext,
    table: String,
    format: &'static str,
}

impl KinesisReader {
    /// A reader without shards.
    ///
    /// Errors: the format cannot make the columns of the projection.
    pub fn new(
        table: &TableContext,
        format: &ChosenFormat,
        context: ReaderContext,
        fetching: Fetching,
    ) -> Result<Self> {
        let mut columns = Vec::new();
        let mut decoded: Vec<FieldRef> = Vec::new();
        for field in context.projection.fields() {
            match table.metadata.iter().find(|(_, f)| f.name() == field.name()) {
                Some((key, _)) => {
                    let key = MetadataKey::ALL
                        .into_iter()
                        .find(|k| k.name() == key)
                        .ok_or_else(|| Error::internal(format!("a kinesis table has no metadata '{key}'")))?;
                    columns.push(Column::Metadata(key));
                }
                None => {
                    columns.push(Column::Decoded(decoded.len()));
                    decoded.push(field.clone());
                }
            }
        }
        let decoder = format.decoder(Arc::new(Schema::new(decoded)), table.physical.clone(), table.zone)?;
        Ok(Self {
            fetching: Arc::new(fetching),
            tasks: JoinSet::new(),
            positions: BTreeMap::new(),
            columns,
            decoder,
            payloads: Payloads::default(),
            context,
            table: table.name.to_string(),
            format: format.name(),
        })
    }

    fn emit(&mut self, shard: Arc<str>, mut chunk: Chunk) -> Result<Poll> {
        let end = chunk.records.len().min(chunk.next + self.context.batch_rows.max(1));
        let records = &chunk.records[chunk.next..end];
        self.payloads.clear();
        for record in records {
            self.payloads.push(record.data());
        }
        self.payloads.pad();
        let decoded = self.decoder.decode(&self.payloads).map_err(|e| {
            let sequence = records.get(e.payload).map_or("?", |r| &r.sequence);
            Error::user(format!(
                "Record {sequence} of shard {shard} of stream '{}' (table {}) does not decode: {}",
                self.fetching.client.stream(),
                self.table,
                e.message
            ))
            .with_hint(format!("Set '{}.ignore-parse-errors' = 'true' to skip such records.", self.format))
        })?;
        let rows = decoded.batch.num_rows();
        let row = |i: usize| decoded.origin.as_ref().map_or(i, |origin| origin[i] as usize);
        let columns = self.columns.iter().map(|column| match column {
            Column::Decoded(index) => decoded.batch.column(*index).clone(),
            Column::Metadata(key) => key.column(&shard, records, row, rows),
        });
        let batch = batch(&self.context.projection, columns.collect(), rows)?;
        let metrics = &self.context.metrics;
        Metrics::add(&metrics.records, records.len());
        Metrics::add(&metrics.bytes, self.payloads.num_bytes());
        Metrics::add(&metrics.skipped, decoded.skipped);
        if let Some(last) = records.last() {
            self.positions.insert(shard.clone(), last.position());
        }
        chunk.next = end;
        if chunk.next < chunk.records.len() {
            self.fetching.buffer.give_back(&shard, chunk);
        }
        if rows == 0 {
            return Ok(Poll::Pending);
        }
        Ok(Poll::Rows { split: shard, batch, kinds: decoded.kinds })
    }
}

fn batch(schema: &SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(schema.clone(), columns, &options)?)
}

impl Reader for KinesisReader {
    fn assign(&mut self, splits: Vec<Split>) -> Result<()> {
        for split in splits {
            let shard: Arc<str> = split.id.into();
            let position = Position::parse(&split.position)?;
            let started_ms = self.context.clock.now_ms();
            // A checkpoint before the first record must not begin at the LATEST of the restart.
            let resume = match &position {
                Position::Initial(Start::Latest) => Position::Initial(Start::AtTimestamp(started_ms)),
                other => other.clone(),
            };
            self.positions.insert(shard.clone(), resume);
            self.fetching.lags.note(&shard, Some(UNKNOWN_LAG), &self.context.metrics);
            let task = self.fetching.clone().run(shard, position, started_ms);
            self.tasks.spawn_on(task, &self.context.runtime);
        }
        Ok(())
    }

    fn poll(&mut self, timeout: Duration) -> Result<Poll> {
        match self.context.metrics.waiting(|| self.fetching.buffer.take(timeout)) {
            Taken::Chunk(shard, chunk) => self.emit(shard, chunk),
            Taken::Closed(shard) => {
                self.positions.remove(&shard);
                Ok(Poll::Finished(shard))
            }
            Taken::Failed(error) => Err(error),
            Taken::Nothing => {
                while let Some(ended) = self.tasks.try_join_next() {
                    ended.map_err(|e| Error::internal(format!("a shard's task broke: {e}")))?;
                }
                Ok(Poll::Pending)
            }
        }
    }

    fn snapshot(&self) -> Vec<Split> {
        // A position is made of numbers and names; it always has a text.
        let split = |(id, position): (&Arc<str>, &Position)| {
            Some(Split { id: id.to_string(), position: position.to_text().ok()? })
        };
        self.positions.iter().filter_map(split).collect()
    }

    fn status(&self) -> Option<String> {
        let throttled = self.context.metrics.throttled.load(std::sync::atomic::Ordering::Relaxed);
        let throttled =
            if throttled > 0 { format!("; {throttled} requests were throttled") } else { String::new() };
        let lags = &self.fetching.lags;
        let lag = |shard: &Arc<str>| lags.get(shard).filter(|lag| *lag != UNKNOWN_LAG);
        let worst = self.positions.keys().max_by_key(|shard| lag(shard).unwrap_or(i64::MAX))?;
        let lag = match lag(worst) {
            None => "no answer yet".to_string(),
            Some(0) => "at its end".to_string(),
            Some(ms) => format!("{ms} ms behind its end"),
        };
        Some(format!("shard {worst} of {}: {lag}{throttled}", self.fetching.client.stream()))
    }
}
