//! Records fetched without librdkafka: compression, transactions, leaders that change, and the same answers as
//! librdkafka's.

use crate::support::*;
use arrow::datatypes::DataType;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use rdkafka::config::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use std::time::{Duration, Instant};

/// A setting that has no effect on a reader, and that only librdkafka serves: so it fetches.
fn by_librdkafka(table: Table) -> Table {
    table.with("properties.topic.metadata.refresh.sparse", "true")
}

/// A table of everything that a record has.
fn whole(topic: &str) -> Table {
    Table::new(topic)
        .columns(&[("k", DataType::Utf8), ("b", DataType::Utf8)])
        .without("format")
        .with("value.format", "raw")
        .with("value.fields-include", "EXCEPT_KEY")
        .with("key.format", "raw")
        .with("key.fields", "k")
        .metadata("o", "offset")
        .metadata("p", "partition")
        .metadata("t", "timestamp")
        .metadata("tt", "timestamp-type")
        .metadata("h", "headers")
        .metadata("e", "leader-epoch")
        .metadata("n", "topic")
}

#[test]
fn every_compression_is_read_whoever_made_it() {
    let value = |i: usize| format!(r#"{{"a":{i},"b":"{}"}}"#, "compressible ".repeat(i % 40));
    for (kept, sent) in [
        ("gzip", "none"),
        ("snappy", "none"),
        ("lz4", "none"),
        ("zstd", "none"),
        ("producer", "gzip"),
        ("producer", "snappy"),
        ("producer", "lz4"),
    ] {
        let topic = topic_with(&unique("packed"), 1, &[("compression.type", kept)]);
        let producer = producer(&[("compression.type", sent), ("linger.ms", "20")]);
        for i in 0..5000 {
            let value = value(i);
            send(&producer, &topic, &Record { value: Some(value.as_bytes()), ..Record::default() });
        }
        producer.flush(PATIENCE).unwrap();
        let rows = Table::new(&topic).rows().unwrap();
        assert_eq!(rows.len(), 5000, "{kept} {sent}");
        for (i, row) in rows.iter().enumerate() {
            assert_eq!(*row, format!("{i}|{}", "compressible ".repeat(i % 40)), "{kept} {sent}");
        }
    }
}

#[test]
fn the_answers_are_librdkafkas() {
    let mut random = SmallRng::seed_from_u64(7);
    for (kept, time) in [
        ("producer", "CreateTime"),
        ("snappy", "LogAppendTime"),
        ("gzip", "CreateTime"),
        ("lz4", "CreateTime"),
    ] {
        let topic =
            topic_with(&unique("same"), 3, &[("compression.type", kept), ("message.timestamp.type", time)]);
        let producer = producer(&[("linger.ms", "5")]);
        for n in 0..3000 {
            let text = |random: &mut SmallRng| "ab√ß ".repeat(random.random_range(0..60_usize)).into_bytes();
            let key = (random.random_range(0..10) > 0).then(|| text(&mut random));
            let value = (random.random_range(0..10) > 0).then(|| text(&mut random));
            let header = text(&mut random);
            let headers: &[(&str, Option<&[u8]>)] = &[("one", Some(&header)), ("ünull", None)];
            let record = Record {
                partition: random.random_range(0..3),
                key: key.as_deref(),
                value: value.as_deref(),
                timestamp: (n % 3 > 0).then_some(1_700_000_000_000 + n),
                headers: &headers[..random.random_range(0..3_usize)],
            };
            send(&producer, &topic, &record);
            if n % 100 == 0 {
                producer.flush(PATIENCE).unwrap();
            }
        }
        producer.flush(PATIENCE).unwrap();
        let mine = sorted(whole(&topic).rows().unwrap());
        assert!(mine.len() > 2000);
        assert_eq!(mine, sorted(by_librdkafka(whole(&topic)).rows().unwrap()), "{kept} {time}");
    }
}

fn transactional(id: &str) -> BaseProducer<Strict> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers()).set("transactional.id", id).set("linger.ms", "0");
    let producer: BaseProducer<Strict> = config.create_with_context(Strict).unwrap();
    producer.init_transactions(PATIENCE).unwrap();
    producer
}

#[test]
fn aborted_transactions_are_left_out_where_that_is_asked_for() {
    let topic = topic("aborted", 1);
    let one = transactional(&unique("one"));
    let two = transactional(&unique("two"));
    let plain = producer(&[]);
    let put = |producer: &BaseProducer<Strict>, a: i64| {
        let value = format!(r#"{{"a":{a},"b":"x"}}"#);
        producer.send(BaseRecord::<(), str>::to(&topic).partition(0).payload(&value)).unwrap();
        producer.flush(PATIENCE).unwrap();
    };
    let (mut kept, mut all) = (Vec::new(), Vec::new());
    let mut random = SmallRng::seed_from_u64(11);
    let mut open = [None, None];
    for a in 0..200 {
        let which = random.random_range(0..3_usize);
        all.push(a);
        if which == 2 {
            put(&plain, a);
            kept.push(a);
            continue;
        }
        let producer = if which == 0 { &one } else { &two };
        let rows: &mut Vec<i64> = open[which].get_or_insert_with(|| {
            producer.begin_transaction().unwrap();
            Vec::new()
        });
        put(producer, a);
        rows.push(a);
        if random.random_range(0..4) == 0 {
            let rows = open[which].take().unwrap();
            if random.random_range(0..2) == 0 {
                producer.abort_transaction(PATIENCE).unwrap();
            } else {
                producer.commit_transaction(PATIENCE).unwrap();
                kept.extend(rows);
            }
        }
    }
    for (producer, open) in [&one, &two].into_iter().zip(open) {
        if open.is_some() {
            producer.abort_transaction(PATIENCE).unwrap();
        }
    }
    kept.sort_unstable();
    let lines = |numbers: &[i64]| numbers.iter().map(|a| format!("{a}|x")).collect::<Vec<_>>();
    assert_eq!(Table::new(&topic).rows().unwrap(), lines(&all));
    let committed = || Table::new(&topic).with("properties.isolation.level", "read_committed");
    assert_eq!(committed().rows().unwrap(), lines(&kept));
    assert_eq!(by_librdkafka(committed()).rows().unwrap(), lines(&kept));

    // What stands behind an open transaction is not read before that ends.
    one.begin_transaction().unwrap();
    put(&one, 1000);
    put(&plain, 1001);
    let mut scan = Scan::new(&committed().without("scan.bounded.mode")).unwrap();
    assert_eq!(scan.until(kept.len()).unwrap(), lines(&kept));
    one.commit_transaction(PATIENCE).unwrap();
    assert_eq!(scan.until(kept.len() + 2).unwrap()[kept.len()..], lines(&[1000, 1001]));
}

#[test]
fn leaders_that_change_are_followed() {
    let cluster = MockCluster::new(3).unwrap();
    cluster.create_topic("t", 6, 3).unwrap();
    let table = Table::new("t")
        .with("properties.bootstrap.servers", &cluster.bootstrap_servers())
        .with("properties.reconnect.backoff.max.ms", "200")
        .without("scan.bounded.mode");
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", cluster.bootstrap_servers());
    let producer: BaseProducer<Strict> = config.create_with_context(Strict).unwrap();
    let mut next = 0;
    let mut put = |count: i64| {
        for a in next..next + count {
            let value = format!(r#"{{"a":{a},"b":"x"}}"#);
            let partition = (a % 6) as i32;
            send(&producer, "t", &Record { partition, value: Some(value.as_bytes()), ..Record::default() });
        }
        producer.flush(PATIENCE).unwrap();
        next += count;
        next as usize
    };
    for partition in 0..6 {
        cluster.partition_leader("t", partition, Some(partition % 3 + 1)).unwrap();
    }
    let count = put(600);
    let mut scan = Scan::new(&table).unwrap();
    scan.until(count).unwrap();
    // Leaders move, then one broker goes away and comes back.
    for partition in 0..6 {
        cluster.partition_leader("t", partition, Some((partition + 1) % 3 + 1)).unwrap();
    }
    let count = put(600);
    scan.until(count).unwrap();
    for partition in 0..6 {
        cluster.partition_leader("t", partition, Some(partition % 2 + 1)).unwrap();
    }
    cluster.broker_down(3).unwrap();
    let count = put(600);
    let begin = Instant::now();
    scan.until(count).unwrap();
    assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
    cluster.broker_up(3).unwrap();
    for partition in 0..6 {
        cluster.partition_leader("t", partition, Some(3)).unwrap();
    }
    let count = put(600);
    let mut rows = scan.until(count).unwrap();
    assert_eq!(rows.len(), count, "none is lost and none comes twice");
    rows.sort_by_key(|r| r.split('|').next().unwrap().parse::<i64>().unwrap());
    assert_eq!(rows, (0..count).map(|a| format!("{a}|x")).collect::<Vec<_>>());
}

#[test]
fn records_that_are_gone_are_passed_where_compaction_left_gaps() {
    let config = [
        ("cleanup.policy", "compact"),
        ("segment.ms", "100"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("min.compaction.lag.ms", "0"),
        ("delete.retention.ms", "0"),
    ];
    let topic = topic_with(&unique("compacted"), 1, &config);
    let put = |a: i64| {
        let (key, value) = (format!("{}", a % 3), format!(r#"{{"a":{a},"b":"x"}}"#));
        let record = Record { key: Some(key.as_bytes()), value: Some(value.as_bytes()), ..Record::default() };
        write(&topic, [record]);
    };
    (0..30).for_each(put);
    let begin = Instant::now();
    // Compaction takes all but the newest of each key away, from segments that are closed. It may run between two
    // reads, so they are compared until they agree.
    for last in 30.. {
        assert!(begin.elapsed() < PATIENCE, "the broker does not compact, or the two readers do not agree");
        std::thread::sleep(Duration::from_millis(500));
        put(last);
        let rows = Table::new(&topic).rows().unwrap();
        let same = rows == by_librdkafka(Table::new(&topic)).rows().unwrap();
        assert_eq!(rows.last().unwrap(), &format!("{last}|x"));
        if same && rows.len() < 20 {
            break;
        }
    }
}

#[test]
fn tls_and_scram_are_served() {
    let Ok(authority) = std::env::var("RUNNEL_KAFKA_TLS_CA") else {
        println!("only with RUNNEL_KAFKA_TLS_CA, the broker's authority as PEM");
        return;
    };
    let (host, port) = sasl_brokers().rsplit_once(':').map(|(h, p)| (h.to_string(), p.to_string())).unwrap();
    let topic = topic("tls", 2);
    let producer = producer(&[]);
    for a in 0..20_000 {
        let value = format!(r#"{{"a":{a},"b":"{}"}}"#, "x".repeat(100));
        let partition = a % 2;
        send(&producer, &topic, &Record { partition, value: Some(value.as_bytes()), ..Record::default() });
    }
    producer.flush(PATIENCE).unwrap();
    let table = Table::new(&topic)
        .with("properties.bootstrap.servers", &format!("{host}:{}", port.parse::<u16>().unwrap() + 1))
        .with("properties.security.protocol", "SASL_SSL")
        .with("properties.sasl.mechanism", "SCRAM-SHA-512")
        .with("properties.sasl.username", "runnel")
        .with("properties.sasl.password", "runnel-secret")
        .with("properties.ssl.ca.location", &authority);
    let mine = sorted(table.rows().unwrap());
    assert_eq!(mine.len(), 20_000);
    assert_eq!(mine, sorted(by_librdkafka(table).rows().unwrap()));
}
