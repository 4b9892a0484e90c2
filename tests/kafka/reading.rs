//! Startup and bounded modes, patterns, metadata, keys, discovery, totals, resuming.

use crate::support::*;
use arrow::array::AsArray;
use arrow::datatypes::{DataType, Int64Type};
use engine::connector::{Boundedness, Poll, ReaderContext, SourceContext, Split};
use engine::time::SystemClock;
use rdkafka::producer::Producer;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

fn rows(from: i64, to: i64) -> Vec<String> {
    (from..to).map(|i| format!("{i}|x{i}")).collect()
}

fn write_rows(topic: &str, partition: i32, from: i64, to: i64) {
    let values = (from..to).map(|i| format!(r#"{{"a":{i},"b":"x{i}"}}"#)).collect::<Vec<_>>();
    write_json(topic, partition, &values.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn earliest_to_latest_reads_all_and_ends() {
    let topic = topic("all", 2);
    write_rows(&topic, 0, 0, 5);
    write_rows(&topic, 1, 5, 8);
    let table = Table::new(&topic);
    assert_eq!(table.source().unwrap().0.boundedness(), Boundedness::Bounded);
    assert_eq!(sorted(table.rows().unwrap()), rows(0, 8));
}

#[test]
fn an_empty_topic_ends_at_once() {
    let table = Table::new(&topic("empty", 3));
    assert_eq!(table.rows().unwrap(), Vec::<String>::new());
}

#[test]
fn latest_sees_only_what_comes() {
    let topic = topic("latest", 1);
    write_rows(&topic, 0, 0, 5);
    let table = Table::new(&topic).with("scan.startup.mode", "latest-offset").without("scan.bounded.mode");
    let mut scan = Scan::new(&table).unwrap();
    assert_eq!(scan.source.boundedness(), Boundedness::Unbounded);
    for _ in 0..3 {
        scan.step().unwrap();
    }
    write_rows(&topic, 0, 5, 7);
    assert_eq!(scan.until(2).unwrap(), rows(5, 7));
    assert!(scan.reader.status().unwrap().contains("at its end (offset 7)"), "{:?}", scan.reader.status());
}

#[test]
fn timestamps_begin_and_end_a_read() {
    let topic = topic("time", 1);
    write(
        &topic,
        (0..10i64).map(|i| Record {
            value: Some(Box::leak(format!(r#"{{"a":{i},"b":"x{i}"}}"#).into_boxed_str()).as_bytes()),
            timestamp: Some(1_700_000_000_000 + i * 1000),
            ..Record::default()
        }),
    );
    let from = Table::new(&topic)
        .with("scan.startup.mode", "timestamp")
        .with("scan.startup.timestamp-millis", "1700000003500");
    assert_eq!(from.rows().unwrap(), rows(4, 10));
    let to =
        from.with("scan.bounded.mode", "timestamp").with("scan.bounded.timestamp-millis", "1700000007000");
    assert_eq!(to.rows().unwrap(), rows(4, 7));
    let after = to.with("scan.startup.timestamp-millis", "1800000000000");
    assert_eq!(after.rows().unwrap(), Vec::<String>::new());
}

#[test]
fn specific_offsets_begin_and_end_a_read() {
    let topic = topic("specific", 2);
    write_rows(&topic, 0, 0, 10);
    write_rows(&topic, 1, 100, 110);
    let table = Table::new(&topic)
        .with("scan.startup.mode", "specific-offsets")
        .with("scan.startup.specific-offsets", "partition:0,offset:7;partition:1,offset:8");
    assert_eq!(sorted(table.rows().unwrap()), sorted([rows(7, 10), rows(108, 110)].concat()));
    let table = table
        .with("scan.bounded.mode", "specific-offsets")
        .with("scan.bounded.specific-offsets", "partition:0,offset:9;partition:1,offset:8");
    assert_eq!(table.rows().unwrap(), rows(7, 9));
    // A partition without an offset begins at its first record.
    let table = Table::new(&topic)
        .with("scan.startup.mode", "specific-offsets")
        .with("scan.startup.specific-offsets", "partition:1,offset:110");
    assert_eq!(table.rows().unwrap(), rows(0, 10));
}

#[test]
fn group_offsets_come_from_completed_checkpoints() {
    let topic = topic("group", 1);
    write_rows(&topic, 0, 0, 6);
    let group = unique("group");
    let table = Table::new(&topic).with("properties.group.id", &group);
    let by_group =
        Table::new(&topic).with("properties.group.id", &group).with("scan.startup.mode", "group-offsets");
    let error = by_group.error();
    assert!(error.contains("Undefined offset with no reset policy for partitions: [group-"), "{error}");
    assert!(error.contains("'scan.startup.mode' = 'earliest-offset'"), "{error}");
    let reset = Table::new(&topic)
        .with("properties.group.id", &group)
        .with("scan.startup.mode", "group-offsets")
        .with("properties.auto.offset.reset", "earliest");
    assert_eq!(reset.rows().unwrap(), rows(0, 6));
    let latest = reset.with("properties.auto.offset.reset", "latest");
    assert_eq!(latest.rows().unwrap(), Vec::<String>::new());

    let mut scan = Scan::new(&table.without("scan.bounded.mode")).unwrap();
    scan.until(6).unwrap();
    write_rows(&topic, 0, 6, 9);
    let splits = scan.reader.snapshot();
    scan.reader.checkpointed(&splits).unwrap();
    scan.until(9).unwrap();
    let begin = Instant::now();
    while scan.metrics.commits_succeeded.load(Ordering::Relaxed) == 0 {
        assert!(begin.elapsed() < PATIENCE, "the commit is not counted");
        scan.step().unwrap();
    }
    assert_eq!(scan.metrics.commits_failed.load(Ordering::Relaxed), 0);
    drop(scan);
    assert_eq!(by_group.rows().unwrap(), rows(6, 9));
    // What a checkpoint holds goes before what the group has committed.
    let (source, schema) = by_group.source().unwrap();
    let mut restored =
        Scan::of(source, schema, &[Split { position: r#"{"offset":2}"#.into(), ..splits[0].clone() }])
            .unwrap();
    assert_eq!(restored.until(7).unwrap(), rows(2, 9));
    let bounded =
        Table::new(&topic).with("properties.group.id", &group).with("scan.bounded.mode", "group-offsets");
    assert_eq!(bounded.rows().unwrap(), rows(0, 6));
}

#[test]
fn a_pattern_reads_the_topics_that_match_whole() {
    let stem = unique("pattern");
    let one = topic_with(&format!("{stem}.a"), 1, &[]);
    let two = topic_with(&format!("{stem}.b"), 1, &[]);
    let other = topic_with(&format!("x{stem}.c"), 1, &[]);
    for (topic, n) in [(&one, 0), (&two, 1), (&other, 2)] {
        write_rows(topic, 0, n, n + 1);
    }
    let table = Table::new("").without("topic").with("topic-pattern", &format!("{stem}\\..*"));
    assert_eq!(sorted(table.rows().unwrap()), rows(0, 2));
    let list = Table::new(&format!("{one};{other}"));
    assert_eq!(sorted(list.rows().unwrap()), ["0|x0", "2|x2"]);
    let none = Table::new("").without("topic").with("topic-pattern", &format!("{stem}-none"));
    assert!(none.error().contains("No Kafka topic matches"));
}

#[test]
fn metadata_and_headers_are_columns() {
    let topic = topic("meta", 2);
    write(
        &topic,
        [
            Record {
                partition: 1,
                value: Some(br#"{"a":1,"b":"x"}"#),
                timestamp: Some(1_700_000_000_123),
                headers: &[("h", Some(b"one")), ("k", Some(b"v")), ("h", Some(b"two")), ("n", None)],
                ..Record::default()
            },
            Record {
                partition: 1,
                value: Some(br#"{"a":2,"b":"y"}"#),
                timestamp: Some(5),
                ..Record::default()
            },
        ],
    );
    let table = Table::new(&topic)
        .metadata("m_topic", "topic")
        .metadata("m_partition", "partition")
        .metadata("m_offset", "offset")
        .metadata("m_time", "timestamp")
        .metadata("m_kind", "timestamp-type")
        .metadata("m_epoch", "leader-epoch")
        .metadata("m_headers", "headers");
    let got = table.rows().unwrap();
    assert_eq!(
        got,
        [
            format!("1|x|{topic}|1|0|2023-11-14T22:13:20.123Z|CreateTime|0|{{h: 74776f, k: 76, n: NULL}}"),
            format!("2|y|{topic}|1|1|1970-01-01T00:00:00.005Z|CreateTime|0|{{}}"),
        ]
    );
    let unknown = Table::new(&topic).metadata("m", "ofset");
    assert!(unknown.error().contains("Invalid metadata key 'ofset'"), "{}", unknown.error());
}

#[test]
fn only_the_asked_columns_are_made() {
    let topic = topic("project", 1);
    write_rows(&topic, 0, 0, 3);
    let (source, schema) = Table::new(&topic).metadata("o", "offset").source().unwrap();
    for (indices, want) in [(vec![2usize, 1], vec!["0|x0", "1|x1", "2|x2"]), (vec![], vec!["", "", ""])] {
        let projection = Arc::new(schema.project(&indices).unwrap());
        let mut scan = Scan::of(source.clone(), projection, &[]).unwrap();
        assert_eq!(scan.until(3).unwrap(), want);
    }
}

#[test]
fn keys_have_their_own_format() {
    let topic = topic("key", 1);
    let record = |key: Option<&'static str>, value: Option<&'static str>| Record {
        key: key.map(str::as_bytes),
        value: value.map(str::as_bytes),
        ..Record::default()
    };
    write(
        &topic,
        [
            record(Some(r#"{"id":1,"a":7}"#), Some(r#"{"a":10,"b":"x"}"#)),
            record(None, Some(r#"{"a":11,"b":"no key, so no row"}"#)),
            record(Some(r#"{"id":2,"a":8}"#), None),
            record(Some(r#"{"id":3,"a":9}"#), Some(r#"{"a":12,"b":"y"}"#)),
        ],
    );
    let table = Table::new(&topic)
        .columns(&[
            ("k_id", DataType::Int32),
            ("k_a", DataType::Int64),
            ("a", DataType::Int64),
            ("b", DataType::Utf8),
        ])
        .metadata("o", "offset")
        .with("key.format", "json")
        .with("key.fields", "k_id;k_a")
        .with("key.fields-prefix", "k_")
        .with("value.fields-include", "EXCEPT_KEY");
    assert_eq!(table.rows().unwrap(), ["1|7|10|x|0", "3|9|12|y|3"]);
    // With ALL the value's columns win.
    let all = Table::new(&topic).with("key.format", "json").with("key.fields", "a");
    assert_eq!(all.rows().unwrap(), ["10|x", "12|y"]);
}

#[test]
fn tombstones_make_no_row_and_are_passed() {
    let topic = topic("tombstone", 1);
    write(&topic, (0..3).map(|_| Record { key: Some(b"k"), ..Record::default() }));
    let mut scan = Scan::new(&Table::new(&topic).without("scan.bounded.mode")).unwrap();
    while !scan.reader.status().unwrap_or_default().contains("at its end") {
        scan.step().unwrap();
    }
    scan.step().unwrap();
    assert_eq!(scan.reader.snapshot()[0].position, r#"{"offset":3}"#);
    assert!(Table::new(&topic).rows().unwrap().is_empty());
}

#[test]
fn new_partitions_and_topics_are_read_from_their_beginning() {
    let stem = unique("grow");
    let topic = topic_with(&format!("{stem}.a"), 1, &[]);
    write_rows(&topic, 0, 0, 2);
    let table = Table::new("")
        .without("topic")
        .without("scan.bounded.mode")
        .with("topic-pattern", &format!("{stem}\\..*"))
        .with("scan.startup.mode", "latest-offset")
        .with("scan.topic-partition-discovery.interval", "200 ms");
    let mut scan = Scan::new(&table).unwrap();
    scan.step().unwrap();
    grow(&topic, 2);
    let second = topic_with(&format!("{stem}.b"), 1, &[]);
    write_rows(&topic, 1, 10, 12);
    write_rows(&second, 0, 12, 14);
    assert_eq!(sorted(scan.until(4).unwrap()), rows(10, 14));
    write_rows(&topic, 0, 14, 15);
    assert_eq!(sorted(scan.until(5).unwrap()), rows(10, 15));
    let ids = scan.discovered.iter().map(|s| s.id.clone()).collect::<Vec<_>>();
    assert_eq!(sorted(ids), [format!("{topic}-0"), format!("{topic}-1"), format!("{second}-0")]);
    // Without discovery nobody looks again.
    let once = table.with("scan.topic-partition-discovery.interval", "0");
    let scan = Scan::new(&once).unwrap();
    assert!(scan.source.enumerator(&context()).unwrap().discover().unwrap().complete);
}

fn context() -> SourceContext {
    SourceContext { runtime: RUNTIME.handle().clone(), clock: Arc::new(SystemClock), parallelism: 1 }
}

#[test]
fn bounded_reads_end_behind_transaction_markers() {
    let topic = topic("markers", 1);
    write_rows(&topic, 0, 0, 2);
    let producer = producer(&[("transactional.id", &unique("tx"))]);
    producer.init_transactions(PATIENCE).unwrap();
    for (value, commit) in [(2, true), (3, false)] {
        producer.begin_transaction().unwrap();
        let value = format!(r#"{{"a":{value},"b":"x{value}"}}"#);
        send(&producer, &topic, &Record { value: Some(value.as_bytes()), ..Record::default() });
        producer.flush(PATIENCE).unwrap();
        if commit {
            producer.commit_transaction(PATIENCE).unwrap();
        } else {
            producer.abort_transaction(PATIENCE).unwrap();
        }
    }
    // Offsets: 0, 1, 2, marker, 4 (aborted), marker. Flink's default sees aborted records.
    assert_eq!(Table::new(&topic).rows().unwrap(), rows(0, 4));
    let committed = Table::new(&topic).with("properties.isolation.level", "read_committed");
    assert_eq!(committed.rows().unwrap(), rows(0, 3));
}

#[test]
fn four_partitions_of_200_000_rows_add_up_in_order() {
    const ROWS: i64 = 200_000;
    let topic = topic("volume", 4);
    // Without idempotence a batch that is sent again may come behind later ones.
    let producer = producer(&[("linger.ms", "50"), ("enable.idempotence", "true")]);
    for i in 0..ROWS {
        for partition in 0..4 {
            let value = format!(r#"{{"a":{i},"b":"row {i} of {partition}"}}"#);
            send(
                &producer,
                &topic,
                &Record { partition, value: Some(value.as_bytes()), ..Record::default() },
            );
        }
        if i % 1000 == 0 {
            producer.poll(Duration::ZERO);
        }
    }
    producer.flush(PATIENCE).unwrap();
    let (source, schema) = Table::new(&topic).metadata("p", "partition").source().unwrap();
    // Two readers with two partitions each, as at parallelism 2.
    let splits = source.enumerator(&context()).unwrap().discover().unwrap().splits;
    assert_eq!(splits.len(), 4);
    let totals = splits.chunks(2).map(|share| {
        let (source, schema, share) = (source.clone(), schema.clone(), share.to_vec());
        std::thread::spawn(move || read_share(source, schema, share))
    });
    let totals =
        totals.collect::<Vec<_>>().into_iter().flat_map(|t| t.join().unwrap()).collect::<BTreeMap<_, _>>();
    let want =
        (0..4).map(|p| (format!("{topic}-{p}"), (ROWS, ROWS * (ROWS - 1) / 2))).collect::<BTreeMap<_, _>>();
    assert_eq!(totals, want);
}

fn read_share(
    source: Arc<dyn engine::connector::Source>,
    projection: arrow::datatypes::SchemaRef,
    share: Vec<Split>,
) -> BTreeMap<String, (i64, i64)> {
    let metrics = Arc::<engine::connector::Metrics>::default();
    let mut reader = source
        .reader(ReaderContext {
            projection,
            batch_rows: 4096,
            runtime: RUNTIME.handle().clone(),
            clock: Arc::new(SystemClock),
            task: 0,
            parallelism: 2,
            metrics: metrics.clone(),
        })
        .unwrap();
    let mut open = share.len();
    let mut totals = BTreeMap::<String, (i64, i64)>::new();
    reader.assign(share).unwrap();
    let begin = Instant::now();
    while open > 0 {
        assert!(begin.elapsed() < PATIENCE, "not all rows came: {totals:?}");
        match reader.poll(Duration::from_millis(100)).unwrap() {
            Poll::Rows { split, batch, .. } => {
                assert!(batch.num_rows() <= 4096);
                let total = totals.entry(split.to_string()).or_default();
                for a in batch.column(0).as_primitive::<Int64Type>().values() {
                    assert_eq!(*a, total.0, "rows of a partition come in order");
                    *total = (total.0 + 1, total.1 + a);
                }
            }
            Poll::Finished(_) => open -= 1,
            Poll::Pending => {}
        }
    }
    assert_eq!(metrics.records.load(Ordering::Relaxed), 400_000);
    totals
}

#[test]
fn a_snapshot_resumes_behind_the_last_row_given_out() {
    let topic = topic("resume", 2);
    write_rows(&topic, 0, 0, 2500);
    write_rows(&topic, 1, 2500, 5000);
    let table = Table::new(&topic);
    let mut scan = Scan::new(&table).unwrap();
    while scan.rows.is_empty() {
        scan.step().unwrap();
    }
    scan.step().unwrap();
    let (given, splits) = (scan.rows.clone(), scan.reader.snapshot());
    assert!(given.len() < 5000, "the snapshot is taken on the way");
    drop(scan);
    let (source, schema) = table.source().unwrap();
    let mut scan = Scan::of(source, schema, &splits).unwrap();
    let rest = scan.until(5000 - given.len()).unwrap();
    assert!(scan.discovered.is_empty(), "restored partitions are not handed out again");
    let numbers = |lines: &[String]| {
        let mut n = lines.iter().map(|l| l.split('|').next().unwrap().parse().unwrap()).collect::<Vec<i64>>();
        n.sort_unstable();
        n
    };
    assert_eq!(numbers(&[given, rest].concat()), (0..5000).collect::<Vec<_>>());
}
