//! `Settings`: which of a table's `properties.*` the own fetch path serves. Any other one is librdkafka's.

use super::super::properties::Properties;
use std::time::Duration;

/// Most bytes of all partitions of one answer, unless `fetch.max.bytes` says otherwise. A larger record comes alone.
const ANSWER_BYTES: i32 = 16 << 20;

/// Most bytes of one partition in an answer, unless `max.partition.fetch.bytes` says otherwise.
const PARTITION_BYTES: i32 = 1 << 20;

/// How long a broker holds an answer back while there is nothing new, unless `fetch.max.wait.ms` says otherwise.
const WAIT_MS: i32 = 500;

/// Largest answer that is taken at all, in bytes, unless `receive.message.max.bytes` says otherwise.
const MAX_ANSWER_BYTES: usize = 512 << 20;

/// How long a broker may be silent, in milliseconds, unless `socket.timeout.ms` says otherwise.
const SILENCE_MS: u64 = 60_000;

/// Longest pause before a broker that is away is called again, unless `reconnect.backoff.max.ms` says otherwise.
const RECONNECT_MS: u64 = 10_000;

/// Settings that are read here or by `Security`, and those that do not matter when records are fetched.
const SERVED: &[&str] = &[
    "acks",
    "allow.auto.create.topics",
    "batch.num.messages",
    "batch.size",
    "check.crcs",
    "client.id",
    "compression.codec",
    "compression.level",
    "compression.type",
    "connections.max.idle.ms",
    "delivery.timeout.ms",
    "enable.idempotence",
    "enable.ssl.certificate.verification",
    "fetch.max.bytes",
    "fetch.message.max.bytes",
    "fetch.min.bytes",
    "fetch.wait.max.ms",
    "heartbeat.interval.ms",
    "isolation.level",
    "linger.ms",
    "max.in.flight.requests.per.connection",
    "max.partition.fetch.bytes",
    "max.poll.interval.ms",
    "message.max.bytes",
    "message.timeout.ms",
    "metadata.max.age.ms",
    "queue.buffering.max.kbytes",
    "queue.buffering.max.messages",
    "queue.buffering.max.ms",
    "receive.message.max.bytes",
    "reconnect.backoff.max.ms",
    "reconnect.backoff.ms",
    "request.required.acks",
    "request.timeout.ms",
    "retries",
    "retry.backoff.ms",
    "sasl.mechanism",
    "sasl.mechanisms",
    "sasl.password",
    "sasl.username",
    "security.protocol",
    "session.timeout.ms",
    "socket.timeout.ms",
    "ssl.ca.location",
    "ssl.ca.pem",
    "ssl.certificate.location",
    "ssl.certificate.pem",
    "ssl.endpoint.identification.algorithm",
    "ssl.key.location",
    "ssl.key.pem",
    "transaction.timeout.ms",
];

/// How records are asked for.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub min_bytes: i32,
    pub wait_ms: i32,
    pub answer_bytes: i32,
    pub partition_bytes: i32,
    /// Records of aborted transactions, and of open ones and what stands behind them, are not read.
    pub committed: bool,
    pub check_crcs: bool,
    pub max_answer_bytes: usize,
    pub silence: Duration,
    pub max_reconnect: Duration,
}

impl Settings {
    /// Reads them; `None` if there is one that only librdkafka can serve.
    pub(super) fn new(properties: &Properties) -> Option<Self> {
        if !properties.keys().all(|key| SERVED.contains(&key)) {
            return None;
        }
        let number = |keys: &[&str]| keys.iter().find_map(|k| properties.get(k)?.parse::<u64>().ok());
        let bytes = |keys: &[&str], default: i32| {
            number(keys).map_or(default, |n| i32::try_from(n).unwrap_or(i32::MAX).max(1))
        };
        let ms = |key, default| Duration::from_millis(number(&[key]).unwrap_or(default));
        Some(Self {
            min_bytes: bytes(&["fetch.min.bytes"], 1),
            wait_ms: bytes(&["fetch.wait.max.ms"], WAIT_MS),
            answer_bytes: bytes(&["fetch.max.bytes"], ANSWER_BYTES),
            partition_bytes: bytes(
                &["max.partition.fetch.bytes", "fetch.message.max.bytes"],
                PARTITION_BYTES,
            ),
            committed: properties.get("isolation.level") == Some("read_committed"),
            check_crcs: properties.get("check.crcs") != Some("false"),
            max_answer_bytes: number(&["receive.message.max.bytes"]).map_or(MAX_ANSWER_BYTES, |n| n as usize),
            silence: ms("socket.timeout.ms", SILENCE_MS),
            max_reconnect: ms("reconnect.backoff.max.ms", RECONNECT_MS),
        })
    }
}
