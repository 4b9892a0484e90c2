//! Kafka topics for tests, through a plain client.

use crate::services;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// How long anything may take before the test fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// Creates a topic with a name of its own that begins with `name`.
pub fn topic(name: &str, partitions: i32) -> String {
    topic_at(&services::kafka(), name, partitions)
}

/// The same at the broker `brokers`.
pub fn topic_at(brokers: &str, name: &str, partitions: i32) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("{name}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
    let new = NewTopic::new(&name, partitions, TopicReplication::Fixed(1));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for result in runtime.block_on(admin.create_topics([&new], &AdminOptions::new())).unwrap() {
        result.unwrap();
    }
    name
}

/// Writes payloads to a topic, in turn over its partitions.
pub fn produce(topic: &str, partitions: i32, payloads: impl IntoIterator<Item = String>) {
    let producer: ThreadedProducer<_> = ClientConfig::new()
        .set("bootstrap.servers", services::kafka())
        .set("linger.ms", "5")
        .set("queue.buffering.max.messages", "200000")
        .create()
        .unwrap();
    for (i, payload) in payloads.into_iter().enumerate() {
        let partition = (i % partitions as usize) as i32;
        let mut record = BaseRecord::<(), _>::to(topic).payload(&payload).partition(partition);
        while let Err((_, back)) = producer.send(record) {
            std::thread::sleep(Duration::from_millis(5));
            record = back;
        }
    }
    producer.flush(PATIENCE).unwrap();
}
