//! The looking-up half of a connector: rows by their key, or a whole table that is kept and looked up here.

use super::{Metrics, Poll, ReaderContext, Source, SourceContext};
use crate::error::{Error, Result};
use crate::time::Clock;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use std::future::Future;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;
use tokio::task::AbortHandle;

/// How rows of a table are found for `FOR SYSTEM_TIME AS OF` processing time.
#[derive(Debug, Clone)]
pub enum Lookup {
    /// They are asked for by key, when they are needed.
    ByKey {
        /// Who is asked.
        table: Arc<dyn KeyedTable>,
        /// `lookup.cache` = `PARTIAL`: answers are kept; `None` asks each time.
        cache: Option<PartialCache>,
    },
    /// `lookup.cache` = `FULL`: the table is read as a whole and kept.
    Full {
        /// The table: bounded, inserts only.
        table: Arc<dyn Source>,
        /// When it is read again.
        reload: Reload,
    },
}

impl Lookup {
    /// For EXPLAIN and messages, without secrets.
    pub fn describe(&self) -> String {
        match self {
            Self::ByKey { table, .. } => table.describe(),
            Self::Full { table, .. } => table.describe(),
        }
    }
}

/// A table that can be asked for the rows of keys.
pub trait KeyedTable: Send + Sync + std::fmt::Debug {
    /// For messages: `jdbc(table=[t])`, without secrets.
    fn describe(&self) -> String;

    /// One parallel reader. May touch the network.
    fn reader(&self, context: LookupContext) -> Result<Box<dyn KeyedReader>>;
}

/// What the runtime gives a reader of keys.
#[derive(Debug, Clone)]
pub struct LookupContext {
    /// Columns to give: a subset of the table's physical columns, in any order.
    pub projection: SchemaRef,
    /// The columns that keys are compared with, as indexes of `projection`.
    pub keys: Vec<usize>,
    /// For asynchronous clients.
    pub runtime: tokio::runtime::Handle,
    /// The job's clock.
    pub clock: Arc<dyn Clock>,
    /// Which task this is, from 0.
    pub task: usize,
    /// Number of tasks.
    pub parallelism: usize,
}

/// Asks for the rows of keys.
pub trait KeyedReader: Send {
    /// Asks for the rows of all `keys`, after `delay`. A row of `keys` is a key: its columns are those of
    /// `LookupContext::keys`, of the same types; none is NULL, none comes twice. Does not wait for the answer; several
    /// requests may be on their way.
    fn ask(&mut self, keys: RecordBatch, delay: Duration) -> Result<LookupRequest>;
}

/// Rows that were found.
#[derive(Debug, Clone)]
pub struct Found {
    /// With the schema of `LookupContext::projection`.
    pub rows: RecordBatch,
    /// For each row, the number of the key that it belongs to.
    pub keys: Vec<u32>,
}

/// A question on its way. Dropping it calls it off.
#[derive(Debug)]
pub struct LookupRequest {
    answer: Receiver<Result<Found>>,
    task: Option<AbortHandle>,
}

impl LookupRequest {
    /// The answer is what `answer` gives, which runs on `runtime`.
    pub fn spawn(
        runtime: &tokio::runtime::Handle,
        answer: impl Future<Output = Result<Found>> + Send + 'static,
    ) -> Self {
        let (sender, receiver) = sync_channel(1);
        let task = runtime.spawn(async move {
            // Whoever asked may be gone.
            let _ = sender.try_send(answer.await);
        });
        Self { answer: receiver, task: Some(task.abort_handle()) }
    }

    /// The answer is there already.
    pub fn answered(found: Found) -> Self {
        let (sender, receiver) = sync_channel(1);
        let _ = sender.try_send(Ok(found));
        Self { answer: receiver, task: None }
    }

    /// The answer; waits at most `timeout` for it. `None` if it has not come; once given, it is gone.
    pub fn wait(&mut self, timeout: Duration) -> Result<Option<Found>> {
        match self.answer.recv_timeout(timeout) {
            Ok(answer) => answer.map(Some),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(Error::internal("A lookup ended without an answer.")),
        }
    }
}

impl Drop for LookupRequest {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// `lookup.cache` = `PARTIAL`: limits of what is kept by each task. At least one of the first three is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartialCache {
    /// `lookup.partial-cache.max-rows`: most keys.
    pub max_keys: Option<u64>,
    /// `lookup.partial-cache.expire-after-write` in milliseconds.
    pub expire_after_write_ms: Option<u64>,
    /// `lookup.partial-cache.expire-after-access` in milliseconds.
    pub expire_after_access_ms: Option<u64>,
    /// `lookup.partial-cache.cache-missing-key`: whether it is kept that a key has no rows.
    pub missing_keys: bool,
}

/// When a table that is kept as a whole is read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reload {
    /// It is read once.
    Never,
    /// `PERIODIC`.
    Every {
        /// Milliseconds of processing time.
        interval_ms: i64,
        /// `FIXED_RATE`: counted from the start of the last reading, not from its end.
        fixed_rate: bool,
    },
    /// `TIMED`: at a time of day.
    Daily {
        /// Milliseconds after midnight UTC.
        at_ms: i64,
        /// Each so many days.
        days: i64,
    },
}

const DAY_MS: i64 = 86_400_000;

impl Reload {
    /// When a table is to be read again that was read from `started_ms` to `ended_ms`; `None` for never.
    pub fn next_ms(self, started_ms: i64, ended_ms: i64) -> Option<i64> {
        match self {
            Self::Never => None,
            Self::Every { interval_ms, fixed_rate } => {
                let from = if fixed_rate { started_ms } else { ended_ms };
                Some(from.saturating_add(interval_ms))
            }
            Self::Daily { at_ms, days } => {
                let today = started_ms.div_euclid(DAY_MS) * DAY_MS + at_ms;
                let first = if today > started_ms { today } else { today + DAY_MS };
                Some(first.saturating_add((days - 1).saturating_mul(DAY_MS)))
            }
        }
    }
}

/// Longest wait for rows of a table that is read as a whole, before it is looked whether they are still wanted.
const LOAD_POLL: Duration = Duration::from_millis(100);
/// Most rows of a batch of such a table.
const LOAD_BATCH_ROWS: usize = 8192;

/// A table that is being read as a whole, on a thread of the runtime's.
#[derive(Debug)]
pub struct TableLoad {
    rows: Receiver<Result<Vec<RecordBatch>>>,
}

impl TableLoad {
    /// Begins to read columns `context.projection` of `table`, at most `max_bytes`.
    pub fn start(table: &Arc<dyn Source>, context: &LookupContext, max_bytes: usize) -> Self {
        let (sender, receiver) = sync_channel(1);
        let (table, context) = (Arc::clone(table), context.clone());
        context.runtime.clone().spawn_blocking(move || {
            let _ = sender.try_send(load(table.as_ref(), &context, max_bytes));
        });
        Self { rows: receiver }
    }

    /// All rows; waits at most `timeout` for them. `None` if they are not all read yet.
    pub fn wait(&self, timeout: Duration) -> Result<Option<Vec<RecordBatch>>> {
        match self.rows.recv_timeout(timeout) {
            Ok(rows) => rows.map(Some),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => {
                Err(Error::internal("Reading a lookup table ended in a panic."))
            }
        }
    }
}

fn load(table: &dyn Source, context: &LookupContext, max_bytes: usize) -> Result<Vec<RecordBatch>> {
    let source =
        SourceContext { runtime: context.runtime.clone(), clock: Arc::clone(&context.clock), parallelism: 1 };
    let mut enumerator = table.enumerator(&source)?;
    let mut reader = table.reader(ReaderContext {
        projection: Arc::clone(&context.projection),
        batch_rows: LOAD_BATCH_ROWS,
        runtime: context.runtime.clone(),
        clock: Arc::clone(&context.clock),
        task: 0,
        parallelism: 1,
        metrics: Arc::new(Metrics::default()),
    })?;
    let found = enumerator.discover()?;
    if !found.complete {
        return Err(Error::internal("A lookup table that is kept as a whole has no end."));
    }
    let mut left = found.splits.len();
    reader.assign(found.splits)?;
    let (mut rows, mut bytes) = (Vec::new(), 0_usize);
    while left > 0 {
        match reader.poll(LOAD_POLL)? {
            Poll::Rows { batch, kinds: None, .. } => {
                bytes += batch.get_array_memory_size();
                if bytes > max_bytes {
                    return Err(Error::user(format!(
                        "{} is larger than the {} MiB that a lookup table kept as a whole may take.",
                        table.describe(),
                        max_bytes >> 20
                    ))
                    .with_hint(
                        "Raise 'taskmanager.memory.managed.size', or use a connector that is asked by key.",
                    )
                    .permanent());
                }
                rows.push(batch);
            }
            Poll::Rows { .. } => return Err(Error::internal("A lookup table with updates.")),
            Poll::Pending => {}
            Poll::Finished(_) => left -= 1,
        }
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_of_day_is_the_next_one() {
        let noon = Reload::Daily { at_ms: DAY_MS / 2, days: 1 };
        assert_eq!(noon.next_ms(0, 5), Some(DAY_MS / 2));
        assert_eq!(noon.next_ms(DAY_MS / 2, DAY_MS / 2), Some(DAY_MS + DAY_MS / 2));
        let second = Reload::Daily { at_ms: 0, days: 2 };
        assert_eq!(second.next_ms(1, 1), Some(2 * DAY_MS));
    }

    #[test]
    fn periods_count_from_the_end_or_from_the_start() {
        assert_eq!(Reload::Every { interval_ms: 10, fixed_rate: false }.next_ms(100, 107), Some(117));
        assert_eq!(Reload::Every { interval_ms: 10, fixed_rate: true }.next_ms(100, 107), Some(110));
        assert_eq!(Reload::Never.next_ms(100, 107), None);
    }
}
