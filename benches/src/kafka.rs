//! The Kafka of measurements: `RUNNEL_KAFKA` is its address. `make bench SOURCE=kafka` and `make bench-latency` start
//! one.

use crate::generator;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use std::io;
use std::time::Duration;

/// How long the broker may take for one answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Address of the broker.
///
/// Errors: none is named.
pub fn brokers() -> io::Result<String> {
    std::env::var("RUNNEL_KAFKA").ok().filter(|b| !b.is_empty()).ok_or_else(|| {
        io::Error::other("RUNNEL_KAFKA names no broker (host:port): `make bench SOURCE=kafka` starts one.")
    })
}

/// A client's settings.
///
/// Errors: no broker is named.
pub fn config(settings: &[(&str, &str)]) -> io::Result<ClientConfig> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers()?);
    settings.iter().for_each(|(key, value)| _ = config.set(*key, *value));
    Ok(config)
}

/// Makes a topic.
///
/// Errors: it is there, or the broker does not make it.
pub fn create(topic: &str, partitions: usize) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let admin: AdminClient<DefaultClientContext> = config(&[])?.create().map_err(io::Error::other)?;
    let new = NewTopic::new(topic, partitions as i32, TopicReplication::Fixed(1));
    let made =
        runtime.block_on(admin.create_topics([&new], &AdminOptions::new())).map_err(io::Error::other)?;
    made.into_iter().try_for_each(|topic| match topic {
        Ok(_) => Ok(()),
        Err((topic, code)) => Err(io::Error::other(format!("topic {topic}: {code}"))),
    })
}

/// Removes a topic.
///
/// Errors: the broker does not.
pub fn delete(topic: &str) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let admin: AdminClient<DefaultClientContext> = config(&[])?.create().map_err(io::Error::other)?;
    runtime.block_on(admin.delete_topics(&[topic], &AdminOptions::new())).map_err(io::Error::other)?;
    Ok(())
}

/// Sends a record, waiting while too many are on their way.
///
/// Errors: the client does not take it.
pub fn send(producer: &BaseProducer, topic: &str, partition: i32, value: &[u8]) -> io::Result<()> {
    let mut record = BaseRecord::<(), [u8]>::to(topic).partition(partition).payload(value);
    loop {
        match producer.send(record) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                record = back;
                producer.poll(Duration::from_millis(5));
            }
            Err((error, _)) => return Err(io::Error::other(error)),
        }
    }
}

/// A topic with events 0 to `events` of [`generator::event`] as JSON, in turn in `partitions` partitions; made if it is
/// not there whole.
///
/// Errors: the broker.
pub fn events(events: u64, partitions: usize) -> io::Result<String> {
    let topic = format!("nexmark-{events}-{partitions}");
    let consumer: BaseConsumer = config(&[("group.id", "bench")])?.create().map_err(io::Error::other)?;
    let stored = |partition| {
        let (low, high) = consumer.fetch_watermarks(&topic, partition as i32, PATIENCE).unwrap_or((0, 0));
        (high - low) as u64
    };
    if (0..partitions).map(stored).sum::<u64>() == events {
        return Ok(topic);
    }
    let _ = delete(&topic);
    // The broker removes a topic some time after it says so.
    let mut made = create(&topic, partitions);
    for _ in 0..20 {
        if made.is_ok() {
            break;
        }
        std::thread::sleep(Duration::from_millis(500));
        made = create(&topic, partitions);
    }
    made?;
    let settings =
        [("linger.ms", "50"), ("batch.size", "1000000"), ("queue.buffering.max.messages", "200000")];
    let producer: BaseProducer = config(&settings)?.create().map_err(io::Error::other)?;
    for n in 0..events {
        let partition = (n % partitions as u64) as i32;
        send(&producer, &topic, partition, generator::event(n).as_bytes())?;
        if n % 1000 == 0 {
            producer.poll(Duration::ZERO);
        }
    }
    producer.flush(PATIENCE).map_err(io::Error::other)?;
    let count = (0..partitions).map(stored).sum::<u64>();
    if count != events {
        return Err(io::Error::other(format!("{count} of {events} events reached topic {topic}")));
    }
    Ok(topic)
}
