//! What a person reads when something is wrong.

use crate::support::*;
use rdkafka::producer::Producer;
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
        let error = scan.fails();
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
        (
            table().with("sink.delivery-guarantee", "exactly-once"),
            "sink.transactional-id-prefix must be specified",
        ),
        (table().with("scan.parallelism", "0"), "from 1 to"),
    ];
    for (table, want) in cases {
        let error = text(&table.source().expect_err(want));
        assert!(error.contains(want), "{want}: {error}");
    }
    let (source, _) = table().with("properties.sasl.password", "geheim").source().unwrap();
    assert!(!format!("{source:?} {}", source.describe()).contains("geheim"));
}

#[test]
fn passwords_are_used_and_wrong_ones_told() {
    let topic = topic("sasl", 1);
    write_json(&topic, 0, &[r#"{"a":1,"b":"x"}"#]);
    let table = |password: &str| {
        let module = "org.apache.kafka.common.security.plain.PlainLoginModule";
        Table::new(&topic)
            .with("properties.bootstrap.servers", &sasl_brokers())
            .with("properties.security.protocol", "SASL_PLAINTEXT")
            .with("properties.sasl.mechanism", "PLAIN")
            .with(
                "properties.sasl.jaas.config",
                &format!("{module} required username=\"runnel\" password=\"{password}\";"),
            )
    };
    assert_eq!(table("runnel-secret").rows().unwrap(), ["1|x"]);
    table("runnel-secret").writer().unwrap();
    let begin = Instant::now();
    let errors =
        [table("wrong-word").error(), text(&table("wrong-word").writer().err().expect("writing fails"))];
    assert!(begin.elapsed().as_secs() < 10, "a wrong password is not tried for long: {:?}", begin.elapsed());
    for error in errors {
        assert!(error.contains("does not let this client in"), "{error}");
        assert!(error.contains("properties.sasl"), "{error}");
        assert!(!error.contains("wrong-word"), "{error}");
    }
}

#[test]
fn a_topic_deleted_while_it_is_read_ends_the_job() {
    let topic = topic("deleted", 1);
    write_json(&topic, 0, &[r#"{"a":1,"b":"x"}"#]);
    let table = Table::new(&topic)
        .without("scan.bounded.mode")
        .with("scan.topic-partition-discovery.interval", "200 ms");
    let mut scan = Scan::new(&table).unwrap();
    scan.until(1).unwrap();
    delete(&topic);
    let error = scan.fails();
    assert!(error.contains(&format!("has no topic '{topic}'")), "{error}");
}

#[test]
fn offsets_that_expired_are_told_or_skipped_as_asked() {
    let topic = topic("expired", 1);
    let values = (0..10).map(|i| format!(r#"{{"a":{i},"b":"x"}}"#)).collect::<Vec<_>>();
    write_json(&topic, 0, &values.iter().map(String::as_str).collect::<Vec<_>>());
    let group = unique("group");
    let table =
        |mode: &str| Table::new(&topic).with("properties.group.id", &group).with("scan.startup.mode", mode);
    let mut scan = Scan::new(&table("earliest-offset")).unwrap();
    let mut splits = scan.until(10).map(|_| scan.discovered.clone()).unwrap();
    splits[0].position = r#"{"offset":2}"#.to_string();
    scan.reader.checkpointed(&splits).unwrap();
    drop(scan);
    expire(&topic, 5);
    let error = table("group-offsets").error();
    assert!(error.contains(&format!("The next offset of partition 0 of Kafka topic '{topic}'")), "{error}");
    assert!(error.contains("'properties.auto.offset.reset' = 'earliest'"), "{error}");
    let rows = table("group-offsets").with("properties.auto.offset.reset", "earliest").rows().unwrap();
    assert_eq!(rows, ["5|x", "6|x", "7|x", "8|x", "9|x"]);
}

#[test]
fn a_record_of_100_mb_is_read() {
    let topic = topic_with(&unique("giant"), 1, &[("max.message.bytes", "120000000")]);
    let value = format!(r#"{{"a":1,"b":"{}"}}"#, "x".repeat(100_000_000));
    let giant = producer(&[("message.max.bytes", "120000000")]);
    send(&giant, &topic, &Record { value: Some(value.as_bytes()), ..Record::default() });
    send(&giant, &topic, &Record { value: Some(br#"{"a":2,"b":"y"}"#), ..Record::default() });
    giant.flush(PATIENCE).unwrap();
    let rows = Table::new(&topic).rows().unwrap();
    assert_eq!(rows.iter().map(String::len).collect::<Vec<_>>(), [100_000_002, 3]);
}
