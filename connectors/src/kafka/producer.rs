//! `Outlet`: a librdkafka producer, and what the brokers answered to its records.

use super::client::{Trouble, meaning_of, refused, setting, shorten, unreachable};
use super::options::KafkaOptions;
use engine::error::{Error, Result};
use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::types::RDKafkaRespErr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a broker that creates topics by itself may take for it.
const CREATE_WAIT: Duration = Duration::from_secs(3);

/// How long one look at the acknowledgements takes while the buffer is full or being flushed. librdkafka takes
/// that long even when the last one comes earlier.
const ACK_WAIT: Duration = Duration::from_millis(2);

/// Pause before a topic is looked up again.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// What the brokers answered, collected while the producer is polled.
#[derive(Debug, Default)]
pub(super) struct Reports(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    failed: Option<Failed>,
    failures: u64,
    trouble: Trouble,
}

#[derive(Debug)]
struct Failed {
    topic: String,
    partition: i32,
    bytes: usize,
    code: Option<RDKafkaErrorCode>,
    text: String,
}

impl Reports {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Reports {
    fn log(&self, _: RDKafkaLogLevel, _: &str, _: &str) {}

    fn error(&self, error: KafkaError, reason: &str) {
        let mut state = self.state();
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::AllBrokersDown) => state.trouble.all_down = true,
            code => {
                state.trouble.hopeless |= matches!(
                    code,
                    Some(
                        RDKafkaErrorCode::Authentication
                            | RDKafkaErrorCode::SSL
                            | RDKafkaErrorCode::SaslAuthenticationFailed
                    )
                );
                state.trouble.reason = Some(shorten(reason));
            }
        }
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, message)) = result {
            let mut state = self.state();
            state.failures += 1;
            if state.failed.is_none() {
                state.failed = Some(Failed {
                    topic: message.topic().to_string(),
                    partition: message.partition(),
                    bytes: message.payload_len(),
                    code: error.rdkafka_error_code(),
                    text: meaning_of(error),
                });
            }
        }
    }
}

/// Sends records. Each record's acknowledgement is looked at; a failed one fails the next call.
pub(super) struct Outlet {
    producer: BaseProducer<Reports>,
    options: Arc<KafkaOptions>,
}

impl Outlet {
    /// A client for `config`. It connects in the background.
    ///
    /// Errors: settings that contradict each other.
    pub(super) fn new(options: Arc<KafkaOptions>, config: &ClientConfig) -> Result<Self> {
        let producer =
            BaseProducer::from_config_and_context(config, Reports::default()).map_err(|e| setting(&e))?;
        Ok(Self { producer, options })
    }

    /// The client, for transactions.
    pub(super) fn client(&self) -> &BaseProducer<Reports> {
        &self.producer
    }

    /// What the client says went wrong lately.
    pub(super) fn trouble(&self) -> Trouble {
        self.producer.context().state().trouble.clone()
    }

    /// Looks at the acknowledgements that are there.
    pub(super) fn poll(&self) {
        self.producer.poll(Duration::ZERO);
    }

    /// Looks a topic up; a broker that creates topics does so now.
    ///
    /// Gives its number of partitions.
    pub(super) fn find(&self, topic: &str) -> Result<i32> {
        let timeout = self.options.properties.api_timeout();
        let begin = Instant::now();
        loop {
            let left = timeout.saturating_sub(begin.elapsed());
            let wait = Duration::from_secs(1).min(left).max(RETRY_PAUSE);
            let error = match self.producer.client().fetch_metadata(Some(topic), wait) {
                Ok(metadata) => {
                    let found = metadata.topics().iter().find(|t| t.name() == topic);
                    match found.map(|t| (t.partitions().len(), t.error())) {
                        Some((n, None)) if n > 0 => {
                            return Ok(i32::try_from(n).unwrap_or(i32::MAX));
                        }
                        Some((_, Some(RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED))) => {
                            return Err(Error::user(format!(
                                "Kafka refuses: this user may not write topic '{topic}'."
                            )));
                        }
                        _ if begin.elapsed() >= CREATE_WAIT => return Err(self.missing(topic)),
                        _ => None,
                    }
                }
                Err(error) => Some(error),
            };
            self.producer.poll(Duration::ZERO);
            if let Some(error) = error {
                if let Some(error) = refused(&error) {
                    return Err(error);
                }
                let trouble = self.producer.context().state().trouble.clone();
                if trouble.hopeless || begin.elapsed() >= timeout {
                    let brokers = self.options.properties.brokers();
                    return Err(unreachable(brokers, begin.elapsed(), &trouble, &error));
                }
            }
            self.producer.poll(RETRY_PAUSE);
        }
    }

    fn missing(&self, topic: &str) -> Error {
        let brokers = self.options.properties.brokers();
        let metadata = self.producer.client().fetch_metadata(None, CREATE_WAIT);
        let names = metadata.map(|m| m.topics().iter().map(|t| t.name().to_string()).collect::<Vec<_>>());
        let names = names.unwrap_or_default();
        let nearest = engine::error::nearest(topic, names.iter().map(String::as_str).filter(|n| *n != topic));
        Error::user(format!("Kafka ({brokers}) has no topic '{topic}' to write to, and does not create it."))
            .with_hint(nearest.map_or_else(
                || format!("Create it, for example with `kafka-topics.sh --create --topic {topic}`."),
                |n| format!("Did you mean '{n}'?"),
            ))
    }

    /// The error of the first record that the brokers did not take, if there was one.
    pub(super) fn check(&self) -> Result<()> {
        let mut state = self.producer.context().state();
        let Some(failed) = state.failed.take() else { return Ok(()) };
        let more = match std::mem::take(&mut state.failures) {
            0 | 1 => String::new(),
            n => format!(" ({} more records failed too)", n - 1),
        };
        let reason = match (&failed.code, &state.trouble.reason) {
            (Some(RDKafkaErrorCode::MessageTimedOut), Some(reason)) => format!("{} ({reason})", failed.text),
            _ => failed.text.clone(),
        };
        let place = match failed.partition {
            p if p >= 0 => format!("partition {p} of Kafka topic '{}'", failed.topic),
            _ => format!("Kafka topic '{}'", failed.topic),
        };
        let error = Error::external(format!("A record for {place} was not written: {reason}{more}."));
        Err(match failed.code {
            Some(RDKafkaErrorCode::MessageSizeTooLarge) => error
                .with_hint(format!(
                    "It has {} bytes; the topic's 'max.message.bytes' and the broker's 'message.max.bytes' say how many \
                     it takes.",
                    failed.bytes
                ))
                .permanent(),
            Some(RDKafkaErrorCode::MessageTimedOut) => {
                error.with_hint("'properties.delivery.timeout.ms' says how long a record may wait.")
            }
            _ => error,
        })
    }

    /// Hands a record to the client; waits while its buffer is full. Gives the record's bytes.
    pub(super) fn send(&self, mut record: BaseRecord<'_, [u8], [u8]>) -> Result<usize> {
        let bytes = record.payload.map_or(0, <[u8]>::len) + record.key.map_or(0, <[u8]>::len);
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(bytes),
                Err((error, again)) => match error.rdkafka_error_code() {
                    // Ends: records that wait too long fail, which `check` sees.
                    Some(RDKafkaErrorCode::QueueFull) => {
                        record = again;
                        self.producer.poll(ACK_WAIT);
                        self.check()?;
                    }
                    Some(RDKafkaErrorCode::MessageSizeTooLarge) => {
                        return Err(Error::user(format!(
                            "A row makes a Kafka record of {bytes} bytes; {} are allowed.",
                            self.options.properties.max_record_bytes()
                        ))
                        .with_hint(
                            "Raise 'properties.max.request.size' (and the topic's 'max.message.bytes').",
                        ));
                    }
                    _ => {
                        self.check()?;
                        let text = meaning_of(&error);
                        return Err(Error::external(format!(
                            "A record for Kafka topic '{}' was not written: {text}.",
                            again.topic
                        )));
                    }
                },
            }
        }
    }

    /// Waits until the brokers have all records, or one of them failed.
    pub(super) fn wait(&self) -> Result<()> {
        // Ends: librdkafka gives up records after `delivery.timeout.ms`.
        while self.producer.in_flight_count() > 0 {
            // Says only whether some are left.
            let _ = self.producer.flush(ACK_WAIT);
            self.check()?;
        }
        self.check()
    }
}
