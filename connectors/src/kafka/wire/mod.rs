//! Connections to brokers besides librdkafka's, and `Wire`: the few requests about transactions that librdkafka has
//! no call for. With them a transaction that a dead process prepared is finished or taken back.

mod bytes;
mod connection;
mod security;

use super::client::shorten;
use super::properties::Properties;
pub(super) use bytes::{Answer, Body};
pub(super) use connection::{Api, Connection, malformed};
use engine::error::{Error, Result};
pub(super) use security::Security;
use std::collections::{BTreeSet, HashMap};
use std::io;
use std::thread;
use std::time::{Duration, Instant};

/// Pause before a request is sent again.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// How long one answer may take, and one connection.
const ANSWER_WAIT: Duration = Duration::from_secs(10);

/// How long the question for the broker's limit may take while a statement is planned.
const PLAN_WAIT: Duration = Duration::from_secs(3);

const METADATA: Api = Api { key: 3, version: 1, compact: false };
const FIND_COORDINATOR: Api = Api { key: 10, version: 1, compact: false };
const INIT_PRODUCER_ID: Api = Api { key: 22, version: 1, compact: false };
const END_TXN: Api = Api { key: 26, version: 1, compact: false };
const DESCRIBE_CONFIGS: Api = Api { key: 32, version: 1, compact: false };
const DESCRIBE_TRANSACTIONS: Api = Api { key: 65, version: 0, compact: true };
const LIST_TRANSACTIONS: Api = Api { key: 66, version: 0, compact: true };

/// Codes of the protocol that mean something here.
mod code {
    pub(super) const REQUEST_TIMED_OUT: i16 = 7;
    pub(super) const COORDINATOR_LOADING: i16 = 14;
    pub(super) const COORDINATOR_NOT_AVAILABLE: i16 = 15;
    pub(super) const NOT_COORDINATOR: i16 = 16;
    pub(super) const CLUSTER_DENIED: i16 = 31;
    pub(super) const INVALID_PRODUCER_EPOCH: i16 = 47;
    pub(super) const INVALID_TXN_STATE: i16 = 48;
    pub(super) const INVALID_PRODUCER_ID_MAPPING: i16 = 49;
    pub(super) const INVALID_TRANSACTION_TIMEOUT: i16 = 50;
    pub(super) const CONCURRENT_TRANSACTIONS: i16 = 51;
    pub(super) const TRANSACTIONAL_ID_DENIED: i16 = 53;
    pub(super) const PRODUCER_FENCED: i16 = 90;
    pub(super) const TRANSACTIONAL_ID_NOT_FOUND: i16 = 105;
}

/// What the coordinator knows of the newest transaction of a transactional id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Transaction {
    pub state: State,
    pub producer_id: i64,
    pub epoch: i16,
    /// When it began, in milliseconds since the epoch by the coordinator's clock; tells apart transactions of one
    /// id. -1 if none was begun.
    pub start_ms: i64,
    /// After how many milliseconds the coordinator takes it back by itself.
    pub timeout_ms: i32,
}

/// States of a transaction, as far as it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// None was begun.
    Empty,
    /// It can still be committed and aborted.
    Ongoing,
    /// It is committed, or will be whatever happens.
    Committed,
    /// It is aborted, or will be whatever happens.
    Aborted,
}

/// How an answer by code is to be taken.
enum Verdict<T> {
    Answer(T),
    /// Ask again; the coordinator may be another one by now.
    Again(&'static str),
    Error(Error),
}

/// Talks to brokers. Calls block, and repeat what failed for a passing reason until the time is over.
pub(super) struct Wire {
    brokers: String,
    client_id: String,
    security: Security,
    timeout: Duration,
    /// Connections by `host:port`.
    connections: HashMap<String, Connection>,
    /// Coordinator of each transactional id, as `host:port`.
    coordinators: HashMap<String, String>,
}

impl Wire {
    /// Does not connect yet.
    ///
    /// Errors: security settings that are not possible here.
    pub(super) fn new(properties: &Properties) -> Result<Self> {
        Ok(Self {
            brokers: properties.brokers().to_string(),
            client_id: properties.client_id().to_string(),
            security: properties.security()?,
            timeout: properties.api_timeout(),
            connections: HashMap::new(),
            coordinators: HashMap::new(),
        })
    }

    /// The newest transaction of `id`; `None` if the cluster does not know the id (any more).
    pub(super) fn describe(&mut self, id: &str) -> Result<Option<Transaction>> {
        let body = Body::default().compact_array(1).compact_string(id).no_tags().0;
        self.coordinator(id, DESCRIBE_TRANSACTIONS, &body, |answer| {
            answer.int32()?;
            answer.compact_array().filter(|n| *n == 1)?;
            let code = answer.int16()?;
            answer.compact_string()?;
            let state = answer.compact_string()?;
            let (timeout_ms, start_ms) = (answer.int32()?, answer.int64()?);
            let (producer_id, epoch) = (answer.int64()?, answer.int16()?);
            Some(match code {
                0 => {
                    let state = match state.as_str() {
                        "Ongoing" => State::Ongoing,
                        "PrepareCommit" | "CompleteCommit" => State::Committed,
                        "PrepareAbort" | "CompleteAbort" | "PrepareEpochFence" => State::Aborted,
                        _ => State::Empty,
                    };
                    Verdict::Answer(Some(Transaction { state, producer_id, epoch, start_ms, timeout_ms }))
                }
                code::TRANSACTIONAL_ID_NOT_FOUND => Verdict::Answer(None),
                code => judge(code, id),
            })
        })
    }

    /// Commits or aborts the open transaction of `id`, begun by this producer id and epoch. `false`: it is not
    /// open any more, or not theirs.
    pub(super) fn end(&mut self, id: &str, producer_id: i64, epoch: i16, commit: bool) -> Result<bool> {
        let body = Body::default().string(id).int64(producer_id).int16(epoch).int8(commit.into()).0;
        self.coordinator(id, END_TXN, &body, |answer| {
            answer.int32()?;
            Some(match answer.int16()? {
                0 => Verdict::Answer(true),
                code::INVALID_TXN_STATE
                | code::INVALID_PRODUCER_EPOCH
                | code::INVALID_PRODUCER_ID_MAPPING
                | code::PRODUCER_FENCED => Verdict::Answer(false),
                code => judge(code, id),
            })
        })
    }

    /// Takes back what is open under `id`, and shuts out whoever used the id before. When this returns, readers
    /// are not held back by it any more.
    pub(super) fn fence(&mut self, id: &str, timeout_ms: i32) -> Result<()> {
        let body = Body::default().string(id).int32(timeout_ms).0;
        self.coordinator(id, INIT_PRODUCER_ID, &body, |answer| {
            answer.int32()?;
            Some(match answer.int16()? {
                0 => Verdict::Answer(()),
                // The epoch of the old one is being ended under our feet.
                code::INVALID_PRODUCER_EPOCH | code::PRODUCER_FENCED => {
                    Verdict::Again("another client uses the id")
                }
                code => judge(code, id),
            })
        })
    }

    /// Transactional ids of the whole cluster for which `wanted` is true.
    pub(super) fn list(&mut self, wanted: impl Fn(&str) -> bool) -> Result<BTreeSet<String>> {
        let body = Body::default().compact_array(0).compact_array(0).no_tags().0;
        let timeout = self.timeout;
        self.repeat(timeout, |wire| {
            let mut all = BTreeSet::new();
            for (_, broker) in wire.cluster()? {
                let bytes = wire.call(&broker, LIST_TRANSACTIONS, &body)?;
                let mut answer = Answer(&bytes);
                let mut read = || {
                    answer.int32()?;
                    let code = answer.int16()?;
                    for _ in 0..answer.compact_array()? {
                        answer.compact_string()?;
                    }
                    for _ in 0..answer.compact_array()? {
                        let id = answer.compact_string()?;
                        answer.int64()?;
                        answer.compact_string()?;
                        answer.tags()?;
                        if wanted(&id) {
                            all.insert(id);
                        }
                    }
                    Some(code)
                };
                match read().ok_or_else(malformed)? {
                    0 => {}
                    code => return Ok(judge(code, "")),
                }
            }
            Ok(Verdict::Answer(all))
        })
    }

    /// The broker's `transaction.max.timeout.ms`; `None` if it does not tell soon.
    pub(super) fn longest_timeout_ms(&mut self) -> Option<i64> {
        let name = "transaction.max.timeout.ms";
        let limit = self.repeat(PLAN_WAIT, |wire| {
            let cluster = wire.cluster()?;
            let (node, broker) = cluster.first().ok_or_else(malformed)?;
            let body =
                Body::default().int32(1).int8(4).string(&node.to_string()).int32(1).string(name).int8(0).0;
            let bytes = wire.call(broker, DESCRIBE_CONFIGS, &body)?;
            let mut answer = Answer(&bytes);
            let mut read = || {
                answer.int32()?;
                answer.array().filter(|n| *n == 1)?;
                let code = answer.int16()?;
                answer.string()?;
                answer.int8()?;
                answer.string()?;
                let found =
                    (answer.array()? > 0).then(|| Some((answer.string()?, answer.string()?))).flatten();
                Some((code, found))
            };
            let (code, found) = read().ok_or_else(malformed)?;
            Ok(match code {
                0 => Verdict::Answer(found.filter(|(n, _)| n == name).and_then(|(_, v)| v.parse().ok())),
                code => judge(code, ""),
            })
        });
        limit.ok().flatten()
    }

    /// Sends a request to the coordinator of `id` until it is answered.
    fn coordinator<T>(
        &mut self,
        id: &str,
        api: Api,
        body: &[u8],
        read: impl Fn(&mut Answer<'_>) -> Option<Verdict<T>>,
    ) -> Result<T> {
        let timeout = self.timeout;
        self.repeat(timeout, |wire| {
            let broker = match wire.coordinators.get(id) {
                Some(broker) => broker.clone(),
                None => match wire.find(id)? {
                    Verdict::Answer(broker) => {
                        wire.coordinators.insert(id.to_string(), broker.clone());
                        broker
                    }
                    Verdict::Again(why) => return Ok(Verdict::Again(why)),
                    Verdict::Error(error) => return Ok(Verdict::Error(error)),
                },
            };
            let result = wire
                .call(&broker, api, body)
                .and_then(|bytes| read(&mut Answer(&bytes)).ok_or_else(malformed));
            if !matches!(result, Ok(Verdict::Answer(_))) {
                wire.coordinators.remove(id);
            }
            result
        })
    }

    fn find(&mut self, id: &str) -> io::Result<Verdict<String>> {
        let body = Body::default().string(id).int8(1).0;
        let bytes = self.any(FIND_COORDINATOR, &body)?;
        let mut answer = Answer(&bytes);
        let mut read = || {
            answer.int32()?;
            let code = answer.int16()?;
            answer.string()?;
            answer.int32()?;
            Some((code, format!("{}:{}", answer.string()?, answer.int32()?)))
        };
        let (code, broker) = read().ok_or_else(malformed)?;
        Ok(if code == 0 { Verdict::Answer(broker) } else { judge(code, id) })
    }

    /// All brokers: number and `host:port`.
    fn cluster(&mut self) -> io::Result<Vec<(i32, String)>> {
        let bytes = self.any(METADATA, &Body::default().int32(0).0)?;
        let mut answer = Answer(&bytes);
        let mut read = || {
            (0..answer.array()?)
                .map(|_| {
                    let node = answer.int32()?;
                    let broker = format!("{}:{}", answer.string()?, answer.int32()?);
                    answer.string()?;
                    Some((node, broker))
                })
                .collect::<Option<Vec<_>>>()
        };
        read().filter(|all| !all.is_empty()).ok_or_else(malformed)
    }

    /// Sends a request that any broker can answer.
    fn any(&mut self, api: Api, body: &[u8]) -> io::Result<Vec<u8>> {
        let brokers = self.brokers.clone();
        let mut failed = io::Error::new(io::ErrorKind::NotFound, "there is no broker");
        for broker in addresses(&brokers) {
            match self.call(broker, api, body) {
                Ok(bytes) => return Ok(bytes),
                Err(error) if hopeless(&error) => return Err(error),
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    fn call(&mut self, broker: &str, api: Api, body: &[u8]) -> io::Result<Vec<u8>> {
        if !self.connections.contains_key(broker) {
            let wait = self.timeout.min(ANSWER_WAIT);
            let connection = Connection::open(broker, &self.client_id, &self.security, wait)?;
            self.connections.insert(broker.to_string(), connection);
        }
        let Some(connection) = self.connections.get_mut(broker) else { return Err(malformed()) };
        connection.call(api, body).inspect_err(|_| _ = self.connections.remove(broker))
    }

    fn repeat<T>(
        &mut self,
        timeout: Duration,
        mut ask: impl FnMut(&mut Self) -> io::Result<Verdict<T>>,
    ) -> Result<T> {
        let begin = Instant::now();
        loop {
            let reason = match ask(self) {
                Ok(Verdict::Answer(answer)) => return Ok(answer),
                Ok(Verdict::Error(error)) => return Err(error),
                Ok(Verdict::Again(why)) => why.to_string(),
                Err(error) if hopeless(&error) => return Err(self.refused(&error)),
                Err(error) => shorten(&error.to_string()),
            };
            if begin.elapsed() >= timeout {
                return Err(Error::external(format!(
                    "Kafka ({}) did not answer a question about a transaction within {} s: {reason}.",
                    self.brokers,
                    timeout.as_millis().div_ceil(1000)
                ))
                .with_hint("'properties.default.api.timeout.ms' says how long to wait."));
            }
            thread::sleep(RETRY_PAUSE);
        }
    }

    fn refused(&self, error: &io::Error) -> Error {
        if error.kind() == io::ErrorKind::Unsupported {
            return Error::user(format!(
                "Kafka ({}) is too old for 'sink.delivery-guarantee' = 'exactly-once': it cannot describe transactions.",
                self.brokers
            ))
            .with_hint("Kafka 3.0 or later is needed; or use 'at-least-once'.");
        }
        Error::external(format!("Kafka ({}) does not let this client in: {error}.", self.brokers))
            .with_hint("Check 'properties.security.protocol', 'properties.sasl.*' and 'properties.ssl.*'.")
            .permanent()
    }
}

/// The addresses of `bootstrap.servers`.
pub(super) fn addresses(brokers: &str) -> impl Iterator<Item = &str> {
    // `PLAINTEXT://host:9092` is allowed too.
    let plain = |b| str::rsplit(b, "://").next().unwrap_or(b);
    brokers.split(',').map(str::trim).filter(|b| !b.is_empty()).map(plain)
}

/// Whether trying again is of no use.
pub(super) fn hopeless(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied)
}

fn judge<T>(code: i16, id: &str) -> Verdict<T> {
    match code {
        code::REQUEST_TIMED_OUT => Verdict::Again("the broker ran out of time"),
        code::COORDINATOR_LOADING => Verdict::Again("the coordinator is loading"),
        code::COORDINATOR_NOT_AVAILABLE => Verdict::Again("the coordinator is not available"),
        code::NOT_COORDINATOR => Verdict::Again("the coordinator has moved"),
        code::CONCURRENT_TRANSACTIONS => Verdict::Again("an earlier transaction is being ended"),
        code::TRANSACTIONAL_ID_DENIED | code::CLUSTER_DENIED => Verdict::Error(
            Error::user(format!("Kafka refuses: this user may not use the transactional id '{id}'.")).with_hint(
                "The user needs Describe and Write on transactional ids that begin with 'sink.transactional-id-prefix'.",
            ),
        ),
        code::INVALID_TRANSACTION_TIMEOUT => Verdict::Error(super::transactions::timeout_too_long(None, None)),
        code => Verdict::Error(Error::external(format!("Kafka answered a question about '{id}' with error {code}."))),
    }
}
