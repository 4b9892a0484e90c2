//! Brokers that fail: librdkafka's mock cluster plays them.

use crate::support::*;
use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use engine::message::ChangeBatch;
use engine::time::MockClock;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use std::sync::Arc;
use std::time::{Duration, Instant};

fn cluster(topic: &str) -> MockCluster<'static, DefaultProducerContext> {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic(topic, 1, 1).unwrap();
    cluster
}

fn table(cluster: &MockCluster<'static, DefaultProducerContext>) -> Table {
    Table::new("t")
        .with("properties.bootstrap.servers", &cluster.bootstrap_servers())
        .with("properties.default.api.timeout.ms", "1500")
        .with("properties.reconnect.backoff.max.ms", "200")
        .without("scan.bounded.mode")
}

fn rows(schema: &arrow::datatypes::SchemaRef, from: i64, to: i64) -> ChangeBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(from..to)),
        Arc::new(StringArray::from_iter_values((from..to).map(|i| format!("x{i}")))),
    ];
    ChangeBatch::inserts(RecordBatch::try_new(schema.clone(), columns).unwrap())
}

fn lines(from: i64, to: i64) -> Vec<String> {
    (from..to).map(|i| format!("{i}|x{i}")).collect()
}

#[test]
fn a_refused_record_fails_the_flush_and_a_retried_one_does_not() {
    let cluster = cluster("t");
    let (mut writer, schema) = table(&cluster).writer().unwrap();
    let retried = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION; 2];
    cluster.request_errors(RDKafkaApiKey::Produce, &retried);
    writer.write(rows(&schema, 0, 5)).unwrap();
    writer.flush().unwrap();
    cluster.request_errors(
        RDKafkaApiKey::Produce,
        &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED],
    );
    let error = text(&writer.write(rows(&schema, 5, 6)).and_then(|()| writer.flush()).unwrap_err());
    assert!(error.contains("A record for partition 0 of Kafka topic 't' was not written"), "{error}");
    assert!(error.contains("authorization failed"), "{error}");
    let mut scan = Scan::new(&table(&cluster)).unwrap();
    assert_eq!(scan.until(5).unwrap(), lines(0, 5));
}

#[test]
fn a_broker_that_never_acknowledges_is_told() {
    let cluster = cluster("t");
    let table =
        table(&cluster).with("properties.delivery.timeout.ms", "1000").with("properties.linger.ms", "0");
    let (mut writer, schema) = table.writer().unwrap();
    cluster.broker_down(1).unwrap();
    let begin = Instant::now();
    let error = text(&writer.write(rows(&schema, 0, 3)).and_then(|()| writer.flush()).unwrap_err());
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    assert!(error.contains("was not written"), "{error}");
    assert!(error.contains("properties.delivery.timeout.ms"), "{error}");
}

#[test]
fn a_broker_that_comes_back_is_read_on() {
    let cluster = cluster("t");
    let (mut writer, schema) = table(&cluster).writer().unwrap();
    writer.write(rows(&schema, 0, 3)).unwrap();
    writer.flush().unwrap();
    let mut scan = Scan::new(&table(&cluster)).unwrap();
    assert_eq!(scan.until(3).unwrap(), lines(0, 3));
    cluster.broker_down(1).unwrap();
    let begin = Instant::now();
    while !scan.reader.status().unwrap_or_default().contains("no Kafka broker answers") {
        assert!(begin.elapsed() < PATIENCE, "{:?}", scan.reader.status());
        scan.step().unwrap();
    }
    cluster.broker_up(1).unwrap();
    writer.write(rows(&schema, 3, 6)).unwrap();
    writer.flush().unwrap();
    assert_eq!(scan.until(6).unwrap(), lines(0, 6));
}

#[test]
fn brokers_that_stay_away_end_the_job() {
    let cluster = cluster("t");
    let clock = MockClock::at(0);
    let (source, schema) = table(&cluster).source().unwrap();
    let mut scan = Scan::at(source, schema, &[], Arc::new(clock.clone())).unwrap();
    scan.step().unwrap();
    cluster.broker_down(1).unwrap();
    let begin = Instant::now();
    while !scan.reader.status().unwrap_or_default().contains("no Kafka broker answers") {
        assert!(begin.elapsed() < PATIENCE, "{:?}", scan.reader.status());
        scan.step().unwrap();
    }
    for _ in 0..3 {
        scan.step().unwrap();
    }
    clock.advance(60_001);
    let error = scan.fails();
    assert!(error.contains("No answer from Kafka"), "{error}");
}
