//! One task for each shard that reads ahead into the reader's buffer, and the buffer.

use super::aggregated;
use super::client::{Backoff, Client, sleep_ms};
use super::options::{ScanOptions, Start};
use super::position::Position;
use crate::aws::{Failure, Trouble};
use aws_sdk_kinesis::operation::get_records::GetRecordsOutput;
use engine::connector::{Metrics, SplitReading};
use engine::error::{Error, Result};
use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{MissedTickBehavior, interval};

/// Bytes that one reader keeps read ahead, over all its shards. One answer of each shard may go beyond it by
/// what it is larger than the one before it.
const READ_AHEAD_KIB: usize = 64 * 1024;
/// Answers of one shard that wait to be emitted.
const MAX_WAITING_CHUNKS: usize = 2;
/// Least room that a request asks for.
const MIN_ANSWER_KIB: usize = 256;
/// Largest answer that the service gives.
const MAX_ANSWER_KIB: usize = 10 * 1024;
/// Answers of HTTP 5xx, timeouts and lost connections in a row, of one shard, after which the job fails. With
/// the longest wait below that is about two minutes.
const MAX_TRANSIENT_FAILURES: u32 = 15;
/// Longest wait after such an answer, in milliseconds.
const MAX_TRANSIENT_BACKOFF_MS: u64 = 10_000;
/// Milliseconds of nothing but throttling, of one shard, after which the job fails.
const MAX_THROTTLED_MS: u64 = 10 * 60 * 1000;
/// What one shard gives in a second; the service's limit, for adaptive reads.
const SHARD_BYTES_PER_SECOND: u64 = 2 * 1024 * 1024;

/// Records of one shard, in order, with what they hold of the buffer.
#[derive(Debug)]
pub struct Chunk {
    /// The records; those before `next` were emitted.
    pub records: Vec<Record>,
    /// First record that was not emitted.
    pub next: usize,
    _room: OwnedSemaphorePermit,
    _turn: OwnedSemaphorePermit,
}

/// One user record.
#[derive(Debug, Clone)]
pub struct Record {
    payload: Arc<Vec<u8>>,
    range: Range<usize>,
    /// Sequence number of the record that it came in.
    pub sequence: Arc<str>,
    /// Where reading goes on after it, if that is inside an aggregated record: its number in it plus one.
    pub within: Option<u32>,
    /// When the service took it, in milliseconds since the epoch.
    pub arrival_ms: i64,
}

impl Record {
    /// Its bytes.
    pub fn data(&self) -> &[u8] {
        &self.payload[self.range.clone()]
    }

    /// Where reading goes on after it.
    pub fn position(&self) -> Position {
        match self.within {
            None => Position::After(self.sequence.to_string()),
            Some(done) => Position::Within { sequence: self.sequence.to_string(), done },
        }
    }
}

/// What the tasks of one reader have for it.
#[derive(Debug, Default)]
pub struct Buffer {
    state: Mutex<State>,
    arrived: Condvar,
}

#[derive(Debug, Default)]
struct State {
    shards: BTreeMap<Arc<str>, Waiting>,
    /// Shards that have something, each once, in the order of their turns.
    turns: VecDeque<Arc<str>>,
}

#[derive(Debug, Default)]
struct Waiting {
    chunks: VecDeque<Chunk>,
    end: Option<Result<()>>,
}

/// What a reader takes from its buffer.
#[derive(Debug)]
pub enum Taken {
    /// Records of a shard; give it back with [`Buffer::give_back`] while some are left.
    Chunk(Arc<str>, Chunk),
    /// The shard is closed and all its records were taken.
    Closed(Arc<str>),
    /// Reading the shard failed for good.
    Failed(Error),
    /// Nothing came in time.
    Nothing,
}

impl Buffer {
    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is whole at every point where a holder could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, shard: &Arc<str>, change: impl FnOnce(&mut Waiting)) {
        let mut state = self.lock();
        change(state.shards.entry(shard.clone()).or_default());
        if !state.turns.contains(shard) {
            state.turns.push_back(shard.clone());
        }
        self.arrived.notify_one();
    }

    /// What the shard whose turn it is has; waits at most `timeout`.
    pub fn take(&self, timeout: Duration) -> Taken {
        let state = self.lock();
        let waited = self.arrived.wait_timeout_while(state, timeout, |s| s.turns.is_empty());
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let Some(shard) = state.turns.pop_front() else { return Taken::Nothing };
        let Some(waiting) = state.shards.get_mut(&shard) else { return Taken::Nothing };
        if let Some(chunk) = waiting.chunks.pop_front() {
            if !waiting.chunks.is_empty() || waiting.end.is_some() {
                state.turns.push_back(shard.clone());
            }
            return Taken::Chunk(shard, chunk);
        }
        match waiting.end.take() {
            Some(Ok(())) => {
                state.shards.remove(&shard);
                Taken::Closed(shard)
            }
            Some(Err(error)) => Taken::Failed(error),
            None => Taken::Nothing,
        }
    }

    /// Puts the rest of a chunk back before all else of its shard; the other shards have their turns first.
    pub fn give_back(&self, shard: &Arc<str>, chunk: Chunk) {
        self.put(shard, |waiting| waiting.chunks.push_front(chunk));
    }
}

/// Lag of a shard that has not answered yet.
pub const UNKNOWN_LAG: i64 = -1;

/// How far behind the end each shard of a source is, in milliseconds.
#[derive(Debug, Default)]
pub struct Lags(Mutex<BTreeMap<Arc<str>, i64>>);

impl Lags {
    /// Notes the lag of a shard (`None`: it is read to its end) and shows the worst of all.
    pub fn note(&self, shard: &Arc<str>, lag_ms: Option<i64>, metrics: &Metrics) {
        let mut lags = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match lag_ms {
            Some(lag) => lags.insert(shard.clone(), lag),
            None => lags.remove(shard),
        };
        metrics.lag.store(lags.values().copied().max().unwrap_or(0), Ordering::Relaxed);
        drop(lags);
        metrics
            .note_split(shard, lag_ms.map(|lag| SplitReading { lag: Some(lag), ..SplitReading::default() }));
    }

    /// The lag of a shard, if it was read.
    pub fn get(&self, shard: &str) -> Option<i64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(shard).copied()
    }
}

/// What the tasks of one reader share.
#[derive(Debug)]
pub struct Fetching {
    /// Makes the requests.
    pub client: Client,
    /// Tuning.
    pub options: ScanOptions,
    /// Where records go.
    pub buffer: Arc<Buffer>,
    /// What is left of [`READ_AHEAD_KIB`].
    room: Arc<Semaphore>,
    /// Shown lag.
    pub lags: Arc<Lags>,
    /// Counters.
    pub metrics: Arc<Metrics>,
}

/// Why a shard's task stops early.
enum Stop {
    Failed(Error),
    /// The reader is gone.
    Abandoned,
}

impl Fetching {
    /// An empty buffer and no task.
    pub fn new(client: Client, options: ScanOptions, lags: Arc<Lags>, metrics: Arc<Metrics>) -> Self {
        let room = Arc::new(Semaphore::new(READ_AHEAD_KIB));
        Self { client, options, buffer: Arc::default(), room, lags, metrics }
    }

    /// Reads `shard` from `position` on, to its end or until the task is aborted. `started_ms` is the time now.
    pub async fn run(self: Arc<Self>, shard: Arc<str>, position: Position, started_ms: i64) {
        let end = match self.read(&shard, position, started_ms).await {
            Ok(()) => Ok(()),
            Err(Stop::Failed(error)) => Err(error),
            Err(Stop::Abandoned) => return,
        };
        self.lags.note(&shard, None, &self.metrics);
        self.buffer.put(&shard, |waiting| waiting.end = Some(end));
    }

    async fn read(
        &self,
        shard: &Arc<str>,
        mut position: Position,
        started_ms: i64,
    ) -> std::result::Result<(), Stop> {
        let turns = Arc::new(Semaphore::new(MAX_WAITING_CHUNKS));
        let mut pace = interval(Duration::from_millis(self.options.interval_ms.max(1)));
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut patience = Patience::new(&self.options);
        let mut iterator: Option<String> = None;
        let mut answer_kib = MIN_ANSWER_KIB;
        let mut limit = self.options.max_records;
        loop {
            let turn = turns.clone().acquire_owned().await.map_err(|_| Stop::Abandoned)?;
            pace.tick().await;
            let wanted = u32::try_from(answer_kib).unwrap_or(u32::MAX);
            let mut room = self.room.clone().acquire_many_owned(wanted).await.map_err(|_| Stop::Abandoned)?;
            let answer = match iterator.take() {
                Some(current) => self.client.records(shard, &current, limit).await,
                None => match self.client.iterator(shard, &position).await {
                    Ok(fresh) => {
                        // A second iterator at LATEST would leave out what came since the first.
                        if position == Position::Initial(Start::Latest) {
                            position = Position::Initial(Start::AtTimestamp(started_ms));
                        }
                        self.client.records(shard, &fresh, limit).await
                    }
                    Err(failure) => Err(failure),
                },
            };
            let answer = match answer {
                Ok(answer) => answer,
                // A new iterator is cheap and right after every failure: the position says where to go on.
                Err(failure) => {
                    drop((turn, room));
                    self.wait(shard, failure, &mut patience).await?;
                    continue;
                }
            };
            patience.reset();
            iterator.clone_from(&answer.next_shard_iterator);
            let lag = answer.millis_behind_latest;
            let stream = self.client.stream();
            let (records, bytes) = unpack(stream, shard, answer, &position).map_err(Stop::Failed)?;
            if let Some(lag) = lag {
                self.lags.note(shard, Some(lag), &self.metrics);
            }
            if let Some(last) = records.last() {
                position = last.position();
                let used = bytes.div_ceil(1024).max(1);
                if self.options.adaptive {
                    limit = adapted(bytes, records.len(), self.options.interval_ms, self.options.max_records);
                }
                answer_kib = (used * 2).clamp(MIN_ANSWER_KIB, MAX_ANSWER_KIB);
                let held = room.num_permits();
                if used < held {
                    drop(room.split(held - used));
                } else if let Ok(more) = u32::try_from(used - held) {
                    // Never waited for: what waits holds room itself, and all could wait for each other.
                    if let Ok(more) = self.room.clone().try_acquire_many_owned(more) {
                        room.merge(more);
                    }
                }
                let chunk = Chunk { records, next: 0, _room: room, _turn: turn };
                self.buffer.put(shard, |waiting| waiting.chunks.push_back(chunk));
            }
            if iterator.is_none() {
                return Ok(());
            }
        }
    }

    /// Waits after a failure.
    ///
    /// Errors: it is one that a retry does not help, or there were too many.
    async fn wait(
        &self,
        shard: &str,
        failure: Failure,
        patience: &mut Patience,
    ) -> std::result::Result<(), Stop> {
        match failure.trouble {
            Trouble::ExpiredIterator => {
                patience.failures += 1;
                match patience.failures < MAX_TRANSIENT_FAILURES {
                    true => Ok(()),
                    false => Err(Stop::Failed(failure.error)),
                }
            }
            Trouble::Throttled => {
                Metrics::add(&self.metrics.throttled, 1);
                let ms = patience.throttled.advance();
                patience.throttled_ms += ms;
                if patience.throttled_ms > MAX_THROTTLED_MS {
                    let minutes = MAX_THROTTLED_MS / 60_000;
                    return Err(Stop::Failed(
                        failure.error.within(format!("Shard {shard} was throttled for {minutes} minutes")),
                    ));
                }
                sleep_ms(ms).await;
                Ok(())
            }
            Trouble::Transient => {
                patience.failures += 1;
                if patience.failures >= MAX_TRANSIENT_FAILURES {
                    return Err(Stop::Failed(
                        failure.error.within(format!("After {MAX_TRANSIENT_FAILURES} attempts")),
                    ));
                }
                sleep_ms(patience.transient.advance()).await;
                Ok(())
            }
            Trouble::NotFound => Err(Stop::Failed(self.gone(shard, failure.error))),
            Trouble::Permanent => Err(Stop::Failed(failure.error)),
        }
    }

    fn gone(&self, shard: &str, error: Error) -> Error {
        error.with_hint(format!(
            "Stream '{}' or its shard {shard} was deleted while being read.",
            self.client.stream()
        ))
    }
}

/// The user records of an answer and their bytes, without those of an aggregated record that `position`
/// says were emitted.
fn unpack(
    stream: &str,
    shard: &str,
    answer: GetRecordsOutput,
    position: &Position,
) -> Result<(Vec<Record>, usize)> {
    let mut records = Vec::with_capacity(answer.records.len());
    let mut bytes = 0;
    for record in answer.records {
        let sequence: Arc<str> = record.sequence_number.into();
        let arrival_ms =
            record.approximate_arrival_timestamp.and_then(|t| t.to_millis().ok()).unwrap_or_default();
        let payload = Arc::new(record.data.into_inner());
        bytes += payload.len();
        let parts = aggregated::user_records(&payload).map_err(|m| {
            Error::user(format!(
                "Record {sequence} of shard {shard} of stream '{}' does not decode: {m}.",
                stream
            ))
        })?;
        let Some(parts) = parts else {
            let range = 0..payload.len();
            records.push(Record { payload, range, sequence, within: None, arrival_ms });
            continue;
        };
        let done = match position {
            Position::Within { sequence: at, done } if **at == *sequence => *done as usize,
            _ => 0,
        };
        let last = parts.len().saturating_sub(1);
        records.extend(parts.into_iter().enumerate().skip(done).map(|(i, range)| Record {
            payload: payload.clone(),
            range,
            sequence: sequence.clone(),
            within: (i < last).then(|| u32::try_from(i + 1).unwrap_or(u32::MAX)),
            arrival_ms,
        }));
    }
    Ok((records, bytes))
}

/// Failures of one shard since its last answer.
struct Patience {
    throttled: Backoff,
    throttled_ms: u64,
    transient: Backoff,
    failures: u32,
}

impl Patience {
    fn new(options: &ScanOptions) -> Self {
        let transient_max = options.backoff_max_ms.max(MAX_TRANSIENT_BACKOFF_MS);
        Self {
            throttled: Backoff::new(options.backoff_base_ms, options.backoff_max_ms),
            throttled_ms: 0,
            transient: Backoff::new(options.backoff_base_ms, transient_max),
            failures: 0,
        }
    }

    fn reset(&mut self) {
        self.throttled.reset();
        self.transient.reset();
        self.throttled_ms = 0;
        self.failures = 0;
    }
}

/// As many records as a shard gives in `interval_ms`, if they are as large as the last ones.
fn adapted(bytes: usize, records: usize, interval_ms: u64, max_records: i32) -> i32 {
    let each = (bytes / records.max(1)).max(1) as u64;
    let fit = SHARD_BYTES_PER_SECOND * interval_ms.max(1) / 1000 / each;
    i32::try_from(fit).unwrap_or(max_records).clamp(1, max_records)
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_kinesis::primitives::Blob;
    use aws_sdk_kinesis::types::Record as AwsRecord;

    #[test]
    fn adaptive_reads_ask_for_what_a_shard_gives() {
        assert_eq!(adapted(1_000 * 1024, 1000, 200, 10_000), 409);
        assert_eq!(adapted(10, 10, 200, 10_000), 10_000, "never more than the limit");
        assert_eq!(adapted(5 * 1024 * 1024, 1, 200, 10_000), 1, "never nothing");
    }

    fn answer(records: &[(&str, Vec<u8>)]) -> GetRecordsOutput {
        let record = |(sequence, data): &(&str, Vec<u8>)| {
            let builder = AwsRecord::builder().sequence_number(*sequence).partition_key("k");
            builder.data(Blob::new(data.clone())).build().unwrap()
        };
        GetRecordsOutput::builder().set_records(Some(records.iter().map(record).collect())).build().unwrap()
    }

    fn unpacked(position: &Position) -> Vec<(String, Position)> {
        let packed = aggregated::tests::aggregated(&[b"a", b"b", b"c"]);
        let answer = answer(&[("7", packed), ("8", b"d".to_vec())]);
        let (records, _) = unpack("s", "shardId-0", answer, position).unwrap();
        records.iter().map(|r| (String::from_utf8_lossy(r.data()).into_owned(), r.position())).collect()
    }

    #[test]
    fn reading_goes_on_inside_an_aggregated_record() {
        let within = |done| Position::Within { sequence: "7".into(), done };
        let after = |sequence: &str| Position::After(sequence.into());
        let all = [("a", within(1)), ("b", within(2)), ("c", after("7")), ("d", after("8"))];
        let all = all.map(|(text, position)| (text.to_string(), position));
        assert_eq!(unpacked(&after("6")), all);
        assert_eq!(unpacked(&within(2)), all[2..], "what was emitted does not come again");
    }

    fn chunk(texts: &[&str]) -> Chunk {
        let room = Arc::new(Semaphore::new(2));
        let permit = || room.clone().try_acquire_owned().unwrap();
        let record = |text: &&str| Record {
            payload: Arc::new(text.as_bytes().to_vec()),
            range: 0..text.len(),
            sequence: "1".into(),
            within: None,
            arrival_ms: 0,
        };
        Chunk { records: texts.iter().map(record).collect(), next: 0, _room: permit(), _turn: permit() }
    }

    fn taken(buffer: &Buffer) -> String {
        match buffer.take(Duration::ZERO) {
            Taken::Chunk(shard, mut chunk) => {
                let text = format!("{shard}{}", String::from_utf8_lossy(chunk.records[chunk.next].data()));
                chunk.next += 1;
                if chunk.next < chunk.records.len() {
                    buffer.give_back(&shard, chunk);
                }
                text
            }
            Taken::Closed(shard) => format!("{shard} closed"),
            Taken::Failed(error) => error.to_string(),
            Taken::Nothing => "nothing".to_string(),
        }
    }

    #[test]
    fn shards_have_turns_and_keep_their_order() {
        let buffer = Buffer::default();
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        assert_eq!(taken(&buffer), "nothing");
        buffer.put(&a, |w| w.chunks.push_back(chunk(&["1", "2"])));
        buffer.put(&a, |w| w.chunks.push_back(chunk(&["3"])));
        buffer.put(&b, |w| w.chunks.push_back(chunk(&["1"])));
        buffer.put(&a, |w| w.end = Some(Ok(())));
        buffer.put(&b, |w| w.end = Some(Err(Error::user("b broke"))));
        let order = std::iter::repeat_with(|| taken(&buffer)).take(7).collect::<Vec<_>>();
        assert_eq!(order, ["a1", "b1", "a2", "b broke", "a3", "a closed", "nothing"]);
    }

    #[test]
    fn the_worst_lag_is_shown() {
        let (lags, metrics) = (Lags::default(), Metrics::default());
        let shown = || metrics.lag.load(Ordering::Relaxed);
        lags.note(&"a".into(), Some(UNKNOWN_LAG), &metrics);
        assert_eq!(shown(), -1);
        lags.note(&"a".into(), Some(70), &metrics);
        lags.note(&"b".into(), Some(0), &metrics);
        assert_eq!(shown(), 70);
        let each: Vec<_> =
            metrics.splits().into_iter().map(|(shard, r)| (shard.to_string(), r.lag)).collect();
        assert_eq!(each, [("a".to_string(), Some(70)), ("b".to_string(), Some(0))]);
        lags.note(&"a".into(), None, &metrics);
        assert_eq!((shown(), metrics.splits().len()), (0, 1));
    }
}
