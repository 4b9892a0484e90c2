//! The reading half of a connector: `Source`, and while running its `Enumerator` and `Reader`s.
//!
//! All calls block and are made from the task's own thread, so a reader needs no wake-up per message. A
//! connector over an asynchronous client blocks on `ReaderContext::runtime`.

use crate::error::Result;
use crate::plan::ChangelogMode;
use crate::time::{Clock, Stopwatch};
use arrow::array::RecordBatch;
use arrow::datatypes::{FieldRef, SchemaRef};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Whether a source ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Boundedness {
    /// It ends.
    Bounded,
    /// It goes on until stopped.
    Unbounded,
}

/// A table to be read. Cheap to clone behind its `Arc`; opening happens in `enumerator` and `reader`.
pub trait Source: Send + Sync + std::fmt::Debug {
    /// Whether it ends by itself.
    fn boundedness(&self) -> Boundedness;

    /// Row kinds that its format produces.
    fn changelog(&self) -> ChangelogMode {
        ChangelogMode::APPEND
    }

    /// Metadata keys that can be read, with their types.
    fn metadata(&self) -> Vec<(String, FieldRef)> {
        Vec::new()
    }

    /// For EXPLAIN: `kafka(topic=[t], …)`, without secrets.
    fn describe(&self) -> String;

    /// How watermarks are told. `true`: also between two rows, whenever event time has moved on by more than
    /// `pipeline.auto-watermark-interval`, so that it does not depend on speed which rows are late; Flink does
    /// so for files, datagen and most others. `false`: only periodically, as Flink does where the connector
    /// makes the watermarks inside (Kafka, Kinesis).
    fn eager_watermarks(&self) -> bool {
        true
    }

    /// Most tasks that make sense (`scan.parallelism` or the number of splits known now); `None` for any.
    fn max_parallelism(&self) -> Option<usize> {
        None
    }

    /// Finds the splits. Called once when the job starts; may touch the network.
    fn enumerator(&self, context: &SourceContext) -> Result<Box<dyn Enumerator>>;

    /// One parallel reader.
    fn reader(&self, context: ReaderContext) -> Result<Box<dyn Reader>>;
}

/// A part of a source that is read in order and has a watermark of its own: a Kafka partition, a Kinesis
/// shard, a file. `position` is the connector's own text (JSON) and goes into checkpoints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Split {
    /// Unique in the source, stable across restarts: `topic-3`, `shardId-000000000001`, a path.
    pub id: String,
    /// Where to go on reading: the record after the last one emitted.
    pub position: String,
}

/// What the runtime gives an enumerator.
#[derive(Debug, Clone)]
pub struct SourceContext {
    /// For asynchronous clients.
    pub runtime: tokio::runtime::Handle,
    /// The job's clock.
    pub clock: Arc<dyn Clock>,
    /// Number of readers.
    pub parallelism: usize,
}

/// New splits for readers, from an enumerator.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Assignment {
    /// Splits to be read from now on. The runtime spreads them over the readers.
    pub splits: Vec<Split>,
    /// No split will ever be added: when all are finished, the source ends.
    pub complete: bool,
}

/// Finds splits, at the start and while running. Runs on its own thread.
pub trait Enumerator: Send {
    /// Takes back the splits known at a checkpoint (finished ones included, see `finished`); called before
    /// the first `discover` when the job is restored. Those splits are not handed out again.
    fn restore(&mut self, known: &[Split], finished: &[Split]) -> Result<()>;

    /// Splits that are new since the last call.
    fn discover(&mut self) -> Result<Assignment>;

    /// When `discover` wants to be called again; `None` for never.
    fn interval(&self) -> Option<Duration> {
        None
    }

    /// A reader has come to the end of `split`. The next `discover` follows at once, so that the children of
    /// a closed shard can be handed out.
    fn finished(&mut self, split: &Split) -> Result<()> {
        let _ = split;
        Ok(())
    }
}

/// What the runtime gives a reader.
#[derive(Debug, Clone)]
pub struct ReaderContext {
    /// Columns to produce, a subset of the table's physical and metadata columns in any order. A struct
    /// column may ask for fewer fields than the table declares. May be empty (COUNT(*)): batches then have
    /// no columns but a row count.
    pub projection: SchemaRef,
    /// Most rows in a batch.
    pub batch_rows: usize,
    /// For asynchronous clients.
    pub runtime: tokio::runtime::Handle,
    /// The job's clock.
    pub clock: Arc<dyn Clock>,
    /// Which reader this is, from 0.
    pub task: usize,
    /// Number of readers.
    pub parallelism: usize,
    /// Counters that the shell and `/metrics` show.
    pub metrics: Arc<Metrics>,
}

/// What a reader has for its task.
#[derive(Debug)]
pub enum Poll {
    /// Rows of one split, in order. The reader's position for that split is already after them.
    Rows {
        /// `Split::id`.
        split: Arc<str>,
        /// In the order and types of `ReaderContext::projection`.
        batch: RecordBatch,
        /// A kind for each row; `None` if all are inserts.
        kinds: Option<Arc<[crate::message::RowKind]>>,
    },
    /// Nothing came within the time given.
    Pending,
    /// This split has no more rows.
    Finished(Arc<str>),
}

/// Reads splits, one call at a time.
pub trait Reader: Send {
    /// Adds splits to read, each from its position on.
    fn assign(&mut self, splits: Vec<Split>) -> Result<()>;

    /// The next rows of any assigned split; waits at most `timeout`. A reader must be fair to its splits.
    ///
    /// Errors end the job: broken records (unless the format skips them), lost connections that do not heal.
    fn poll(&mut self, timeout: Duration) -> Result<Poll>;

    /// All unfinished splits with their positions, for a checkpoint.
    fn snapshot(&self) -> Vec<Split>;

    /// A checkpoint with these positions is complete: they may be shown to the outside (group offsets).
    fn checkpointed(&mut self, splits: &[Split]) -> Result<()> {
        let _ = splits;
        Ok(())
    }

    /// For a silent query: what this reader waits for, in a few words (`partition 3 of t: at its end`).
    fn status(&self) -> Option<String> {
        None
    }
}

/// Counters of one source or sink, shared by its tasks.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Records read or written.
    pub records: AtomicU64,
    /// Bytes of their payloads.
    pub bytes: AtomicU64,
    /// Records that did not decode and were skipped.
    pub skipped: AtomicU64,
    /// Rows dropped because they came after their windows.
    pub late: AtomicU64,
    /// Requests that the outside refused because of its limits, and that were tried again.
    pub throttled: AtomicU64,
    /// Commits of offsets for others to see that worked.
    pub commits_succeeded: AtomicU64,
    /// Commits of offsets for others to see that did not.
    pub commits_failed: AtomicU64,
    /// Microseconds that readers have waited for rows, all tasks together.
    pub waited_us: AtomicU64,
    /// How far behind the end reading is, in milliseconds (Kinesis) or records (Kafka); -1 unknown.
    pub lag: AtomicI64,
    splits: Mutex<BTreeMap<Arc<str>, SplitReading>>,
}

/// How far one split is read, where its connector tells.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SplitReading {
    /// Offset of the last record read.
    pub current_offset: Option<i64>,
    /// Offset committed for others to see.
    pub committed_offset: Option<i64>,
    /// As [`Metrics::lag`], of this split.
    pub lag: Option<i64>,
}

impl Metrics {
    /// Runs `wait`, whose time counts as idle.
    pub fn waiting<T>(&self, wait: impl FnOnce() -> T) -> T {
        let since = Stopwatch::start();
        let result = wait();
        self.waited_us.fetch_add(since.elapsed().as_micros() as u64, Ordering::Relaxed);
        result
    }

    /// Notes how far `split` is read; `None`: it is read no more.
    pub fn note_split(&self, split: &Arc<str>, reading: Option<SplitReading>) {
        let mut splits = self.splits.lock().unwrap_or_else(PoisonError::into_inner);
        match reading {
            Some(reading) => splits.insert(split.clone(), reading),
            None => splits.remove(split),
        };
    }

    /// How far each split is read, where the connector tells, by its name.
    pub fn splits(&self) -> Vec<(Arc<str>, SplitReading)> {
        let splits = self.splits.lock().unwrap_or_else(PoisonError::into_inner);
        splits.iter().map(|(split, reading)| (split.clone(), *reading)).collect()
    }

    /// Adds to a counter.
    pub fn add(counter: &AtomicU64, n: usize) {
        counter.fetch_add(n as u64, Ordering::Relaxed);
    }
}
