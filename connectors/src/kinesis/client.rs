//! `Client`: the requests that source and sink make, with bounded retries and errors that name the stream.

use super::options::StreamId;
use super::position::Position;
use super::shards::Listed;
use crate::aws::{AwsOptions, Connection, Failure, Trouble};
use crate::kinesis::options::Start;
use aws_sdk_kinesis::operation::get_records::GetRecordsOutput;
use aws_sdk_kinesis::primitives::DateTime;
use aws_sdk_kinesis::types::{PutRecordsRequestEntry, PutRecordsResultEntry, ShardIteratorType};
use engine::error::{Error, Result, nearest};
use std::sync::OnceLock;
use std::time::Duration;

/// Attempts of a listing of a job that starts: a wrong region or endpoint is to be told soon.
pub const ATTEMPTS_AT_START: u32 = 2;
/// Attempts of a listing of a running job before its failure is the job's.
pub const ATTEMPTS_WHILE_RUNNING: u32 = 8;
/// First wait between two of them, in milliseconds; it doubles.
const RETRY_BASE_MS: u64 = 200;
/// Longest wait between two of them, in milliseconds.
const RETRY_MAX_MS: u64 = 3_000;
/// Most names of streams in the error about a missing one.
const MAX_STREAM_NAMES: usize = 20;
/// Pages of a listing after which the service must be wrong; a page has up to 1,000 shards.
const MAX_PAGES: usize = 1_000;

/// What one request gave.
pub type Attempt<T> = std::result::Result<T, Failure>;

/// A client for one stream.
#[derive(Debug, Clone)]
pub struct Client {
    client: aws_sdk_kinesis::Client,
    connection: Connection,
    stream: StreamId,
}

/// The client of a table, made when it is first asked for: all readers or writers share its connections and the
/// credentials that it fetched.
#[derive(Debug, Default)]
pub struct SharedClient(OnceLock<Client>);

impl SharedClient {
    /// The client.
    ///
    /// Errors: as [`Client::connect`].
    pub fn get(
        &self,
        runtime: &tokio::runtime::Handle,
        aws: &AwsOptions,
        stream: &StreamId,
    ) -> Result<Client> {
        if let Some(client) = self.0.get() {
            return Ok(client.clone());
        }
        let client = runtime.block_on(Client::connect(aws, stream))?;
        Ok(self.0.get_or_init(|| client).clone())
    }
}

/// Waits that double up to a limit.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    base_ms: u64,
    max_ms: u64,
    next_ms: u64,
}

impl Backoff {
    /// Waits `base_ms` first, `max_ms` at most.
    pub fn new(base_ms: u64, max_ms: u64) -> Self {
        Self { base_ms, max_ms, next_ms: base_ms }
    }

    /// The next wait in milliseconds.
    pub fn advance(&mut self) -> u64 {
        let wait = self.next_ms;
        self.next_ms = (wait * 2).min(self.max_ms);
        wait
    }

    /// Begins anew.
    pub fn reset(&mut self) {
        self.next_ms = self.base_ms;
    }
}

/// Sleeps on the tokio runtime.
pub async fn sleep_ms(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

impl Client {
    /// A client for `stream`. No request is made yet.
    ///
    /// Errors: no region is known.
    pub async fn connect(aws: &AwsOptions, stream: &StreamId) -> Result<Self> {
        let connection = aws.connect("KINESIS").await?;
        let client = aws_sdk_kinesis::Client::new(&connection.config);
        Ok(Self { client, connection, stream: stream.clone() })
    }

    /// Name of the stream.
    pub fn stream(&self) -> &str {
        self.stream.name()
    }

    /// All shards of the stream, closed ones that still have records included. Each request is made at most
    /// `attempts` times.
    ///
    /// Errors: no such stream (with the names of those there are); AWS cannot be reached or refuses.
    pub async fn list_shards(&self, attempts: u32) -> Result<Vec<Listed>> {
        let doing = format!("listing the shards of stream '{}'", self.stream());
        let mut shards = Vec::new();
        let mut token: Option<String> = None;
        for _ in 0..MAX_PAGES {
            let page = self
                .retrying(attempts, || async {
                    // The service takes a name or a token, not both.
                    let name = if token.is_none() { self.stream.request_name() } else { None };
                    let request = self.client.list_shards().set_stream_name(name);
                    let request =
                        request.set_stream_arn(self.stream.request_arn()).set_next_token(token.clone());
                    request.send().await.map_err(|e| self.connection.failure(&doing, &e))
                })
                .await;
            let page = match page {
                Ok(page) => page,
                Err(Failure { trouble: Trouble::NotFound, .. }) => return Err(self.no_such_stream().await),
                Err(failure) => return Err(failure.error),
            };
            shards.extend(page.shards.unwrap_or_default().into_iter().map(|shard| {
                let closed = shard.sequence_number_range.is_some_and(|r| r.ending_sequence_number.is_some());
                let parents = [shard.parent_shard_id, shard.adjacent_parent_shard_id];
                Listed { id: shard.shard_id, parents: parents.into_iter().flatten().collect(), open: !closed }
            }));
            token = page.next_token.filter(|t| !t.is_empty());
            if token.is_none() {
                return Ok(shards);
            }
        }
        Err(Error::external(format!("While {doing} there was no end after {MAX_PAGES} pages.")))
    }

    /// An iterator that gives the records of `shard` from `position` on. The records of an aggregated record
    /// that were emitted come again.
    pub async fn iterator(&self, shard: &str, position: &Position) -> Attempt<String> {
        let doing = format!("opening shard {shard} of stream '{}'", self.stream());
        let request = self.client.get_shard_iterator().shard_id(shard);
        let request =
            request.set_stream_name(self.stream.request_name()).set_stream_arn(self.stream.request_arn());
        let request = match position {
            Position::Initial(Start::Latest) => request.shard_iterator_type(ShardIteratorType::Latest),
            Position::Initial(Start::TrimHorizon) => {
                request.shard_iterator_type(ShardIteratorType::TrimHorizon)
            }
            Position::Initial(Start::AtTimestamp(ms)) => request
                .shard_iterator_type(ShardIteratorType::AtTimestamp)
                .timestamp(DateTime::from_millis(*ms)),
            Position::After(sequence) => request
                .shard_iterator_type(ShardIteratorType::AfterSequenceNumber)
                .starting_sequence_number(sequence),
            Position::Within { sequence, .. } => request
                .shard_iterator_type(ShardIteratorType::AtSequenceNumber)
                .starting_sequence_number(sequence),
        };
        let output = request.send().await.map_err(|e| self.connection.failure(&doing, &e))?;
        output.shard_iterator.ok_or_else(|| Failure {
            trouble: Trouble::Transient,
            error: Error::external(format!(
                "While {doing} AWS gave no iterator ({}).",
                self.connection.place()
            )),
        })
    }

    /// The next records of a shard.
    pub async fn records(&self, shard: &str, iterator: &str, limit: i32) -> Attempt<GetRecordsOutput> {
        let request = self.client.get_records().shard_iterator(iterator).limit(limit);
        let request = request.set_stream_arn(self.stream.request_arn());
        request.send().await.map_err(|e| {
            let doing = format!("reading shard {shard} of stream '{}'", self.stream());
            self.connection.failure(&doing, &e)
        })
    }

    /// Writes records; the results are in their order, and each may be a refusal.
    pub async fn put(&self, records: Vec<PutRecordsRequestEntry>) -> Attempt<Vec<PutRecordsResultEntry>> {
        let request = self.client.put_records().set_records(Some(records));
        let request =
            request.set_stream_name(self.stream.request_name()).set_stream_arn(self.stream.request_arn());
        let output = request.send().await.map_err(|e| {
            let doing = format!("writing to stream '{}'", self.stream());
            self.connection.failure(&doing, &e)
        })?;
        Ok(output.records)
    }

    /// The error about a stream that is not there, with those that are.
    pub async fn no_such_stream(&self) -> Error {
        let name = self.stream();
        let missing = format!("There is no Kinesis stream '{name}' ({})", self.connection.place());
        let names = match self.client.list_streams().limit(100).send().await {
            Ok(output) => output.stream_names,
            Err(_) => {
                return Error::user(format!("{missing}.")).with_hint("Check the name and 'aws.region'.");
            }
        };
        if names.is_empty() {
            return Error::user(format!("{missing}; there are no streams at all."))
                .with_hint("Check 'aws.region' and 'aws.endpoint', or create the stream.");
        }
        let hint = nearest(name, names.iter().map(String::as_str)).map_or_else(
            || "Check the name and 'aws.region'.".to_string(),
            |n| format!("Did you mean '{n}'?"),
        );
        let more = if names.len() > MAX_STREAM_NAMES { ", …" } else { "" };
        let shown = names[..names.len().min(MAX_STREAM_NAMES)].join(", ");
        Error::user(format!("{missing}. Streams there: {shown}{more}.")).with_hint(hint)
    }

    /// `request`, again after a bad moment, at most `attempts` times; where it was throttled, at most
    /// [`ATTEMPTS_WHILE_RUNNING`] times.
    async fn retrying<T, F>(&self, attempts: u32, request: impl Fn() -> F) -> Attempt<T>
    where
        F: Future<Output = Attempt<T>>,
    {
        let mut backoff = Backoff::new(RETRY_BASE_MS, RETRY_MAX_MS);
        let mut made = 0;
        loop {
            made += 1;
            match request().await {
                Err(failure) if failure.trouble == Trouble::Throttled && made < ATTEMPTS_WHILE_RUNNING => {}
                Err(failure) if failure.trouble == Trouble::Transient && made < attempts => {}
                done => return done,
            }
            sleep_ms(backoff.advance()).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_limit() {
        let mut backoff = Backoff::new(300, 1000);
        assert_eq!(
            [backoff.advance(), backoff.advance(), backoff.advance(), backoff.advance()],
            [300, 600, 1000, 1000]
        );
        backoff.reset();
        assert_eq!(backoff.advance(), 300);
    }
}
