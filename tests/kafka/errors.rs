//! What a person reads when something is wrong.

use crate::support::*;
use std::sync::atomic::Ordering;
use std::time::Instant;

#[test]
fn broken_records_are_named_after_the_rows_before_them() {
    let broken: [(&str, &[u8]); 2] =
        [("truncated", br#"{"a":2,"b":"y"#), ("utf8", b"{\"a\":2,\"b\":\"\xff\xfe\"}")];
    for (name, record) in broken {
        let topic = topic(name, 2);
        let records = [br#"{"a":1,"b":"x"}"#.as_slice(), record, br#"{"a":3,"b":"z"}"#];
        write(&topic, records.map(|v| Record { partition: 1, value: Some(v), ..Record::default() }));
        let mut scan = Scan::new(&Table::new(&topic)).unwrap();
        let error = loop {
            if let Err(error) = scan.step() {
                break text(&error);
            }
        };
        assert_eq!(scan.rows, ["1|x"]);
        assert!(error.contains(&format!("offset 1 of partition 1 of Kafka topic '{topic}'")), "{error}");
        assert!(error.contains("'json.ignore-parse-errors' = 'true'"), "{error}");

        let table = Table::new(&topic).with("json.ignore-parse-errors", "true").metadata("o", "offset");
        let mut scan = Scan::new(&table).unwrap();
        assert_eq!(scan.until(2).unwrap(), ["1|x|0", "3|z|2"]);
        assert_eq!(scan.metrics.skipped.load(Ordering::Relaxed), 1);
    }
}

#[test]
fn a_missing_topic_names_the_nearest() {
    let topic = topic("orders-of-today", 1);
    let typo = topic.replace("orders", "order");
    let error = Table::new(&typo).error();
    assert!(error.contains(&format!("has no topic '{typo}'")), "{error}");
    assert!(error.contains(&format!("Did you mean '{topic}'?")), "{error}");
    let error = text(&Table::new(&typo).writer().err().expect("writing fails"));
    assert!(error.contains(&format!("Did you mean '{topic}'?")), "{error}");
}

#[test]
fn an_unreachable_broker_is_told_in_time() {
    let table = Table::new("t")
        .with("properties.bootstrap.servers", "127.0.0.1:1")
        .with("properties.default.api.timeout.ms", "1500");
    let begin = Instant::now();
    let error = table.error();
    assert!(begin.elapsed().as_secs() < 10, "{:?}", begin.elapsed());
    assert!(error.contains("No answer from Kafka (127.0.0.1:1) after 2 s"), "{error}");
    assert!(error.contains("Connection refused"), "{error}");
    assert!(error.contains("properties.bootstrap.servers"), "{error}");
    let error = text(&table.writer().err().expect("writing fails"));
    assert!(error.contains("No answer from Kafka (127.0.0.1:1) after 2 s"), "{error}");
    assert!(error.contains("Connection refused"), "{error}");
}

#[test]
fn options_are_checked_without_the_network() {
    let table = || Table::new("t").with("properties.bootstrap.servers", "127.0.0.1:1");
    let cases = [
        (table().with("topik", "x"), "Did you mean 'topic'?"),
        (table().with("topic-pattern", "x"), "shouldn't be set together"),
        (table().without("topic"), "Either 'topic' or 'topic-pattern' must be set."),
        (table().without("format"), "needs the option"),
        (table().without("properties.bootstrap.servers"), "properties.bootstrap.servers"),
        (table().with("scan.startup.mode", "earliest"), "earliest-offset"),
        (table().with("scan.startup.mode", "timestamp"), "'scan.startup.timestamp-millis' is required"),
        (
            table().with("scan.bounded.mode", "specific-offsets"),
            "'scan.bounded.specific-offsets' is required",
        ),
        (table().with("key.fields", "a"), "if a key format is defined"),
        (table().with("key.format", "json"), "requires the declaration of one or more of key fields"),
        (table().with("key.format", "json").with("key.fields", "aa"), "Could not find the field 'aa'"),
        (table().with("properties.sasl.mechanism", "AWS_MSK_IAM"), "AWS_MSK_IAM"),
        (table().with("sink.delivery-guarantee", "exactly-once"), "checkpoints"),
        (table().with("scan.parallelism", "0"), "from 1 to"),
    ];
    for (table, want) in cases {
        let error = text(&table.source().err().expect(want));
        assert!(error.contains(want), "{want}: {error}");
    }
    let (source, _) = table().with("properties.sasl.password", "geheim").source().unwrap();
    assert!(!format!("{source:?} {}", source.describe()).contains("geheim"));
    let error = text(&connectors::registry().get("upsert-kafka").err().expect("not there"));
    assert!(error.contains("upsert-kafka"), "{error}");
}
