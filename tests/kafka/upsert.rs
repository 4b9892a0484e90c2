//! `upsert-kafka`: changes by key as records, through the whole engine.

use crate::support::*;
use tests::Runner;

fn create(topic: &str, more: &str) -> String {
    format!(
        "CREATE TABLE totals (k STRING, n BIGINT, PRIMARY KEY (k) NOT ENFORCED) WITH ('connector' = 'upsert-kafka',
         'topic' = '{topic}', 'properties.bootstrap.servers' = '{}', 'key.format' = 'json', 'value.format' = 'json'{more});",
        brokers()
    )
}

fn records(topic: &str) -> Vec<(String, Option<String>)> {
    read_plain(topic).into_iter().map(|r| (r.1.unwrap(), r.2)).collect()
}

const COUNTS: &str = "SELECT k, COUNT(*) FROM (VALUES ('a'), ('b'), ('a'), ('a')) AS v(k) GROUP BY k";

#[test]
fn updates_are_records_with_the_key() {
    let topic = topic("upsert", 1);
    let mut runner = Runner::new();
    let answers = runner.run(&format!("{}INSERT INTO totals {COUNTS};", create(&topic, "")));
    assert!(answers.is_empty(), "{answers:?}");
    let all = records(&topic);
    let of = |key: &str| {
        let key = format!(r#"{{"k":"{key}"}}"#);
        all.iter().filter(|r| r.0 == key).filter_map(|r| r.1.clone()).collect::<Vec<_>>()
    };
    assert_eq!(of("a").last().unwrap(), r#"{"k":"a","n":3}"#, "{all:?}");
    assert_eq!(of("b"), [r#"{"k":"b","n":1}"#]);
    assert!(all.iter().all(|r| r.1.is_some()), "an update is no deletion: {all:?}");
}

#[test]
fn a_row_that_goes_is_a_tombstone() {
    let topic = topic("upsert-delete", 1);
    let mut runner = Runner::new();
    // Counts of counts: a group is left when its last member goes on.
    let sql = format!(
        "{}INSERT INTO totals SELECT CAST(n AS STRING), COUNT(*) FROM ({}) GROUP BY n;",
        create(&topic, ""),
        COUNTS.replace("COUNT(*)", "COUNT(*) AS n")
    );
    let answers = runner.run(&sql);
    assert!(answers.is_empty(), "{answers:?}");
    let mut table = std::collections::BTreeMap::new();
    for (key, value) in records(&topic) {
        match value {
            Some(value) => table.insert(key, value),
            None => table.remove(&key),
        };
    }
    let all = table.into_values().collect::<Vec<_>>();
    assert_eq!(all, [r#"{"k":"1","n":1}"#, r#"{"k":"3","n":1}"#]);
}

#[test]
fn a_buffer_writes_the_last_change_of_each_key() {
    let topic = topic("upsert-buffer", 1);
    let mut runner = Runner::new();
    let buffer = ", 'sink.buffer-flush.max-rows' = '1000', 'sink.buffer-flush.interval' = '60 s'";
    let answers = runner.run(&format!("{}INSERT INTO totals {COUNTS};", create(&topic, buffer)));
    assert!(answers.is_empty(), "{answers:?}");
    let mut values = records(&topic).into_iter().filter_map(|r| r.1).collect::<Vec<_>>();
    values.sort();
    assert_eq!(values, [r#"{"k":"a","n":3}"#, r#"{"k":"b","n":1}"#]);
}

#[test]
fn what_the_table_lacks_is_said_in_flinks_words() {
    let error = |sql: String| {
        let sql = sql + "INSERT INTO totals SELECT 'a', 1;";
        let error = Runner::new().error(&sql);
        text(&error)
    };
    let key = error(create("t", "").replace(", PRIMARY KEY (k) NOT ENFORCED", ""));
    assert!(key.contains("'upsert-kafka' tables require to define a PRIMARY KEY constraint."), "{key}");
    let format = error(create("t", "").replace("'key.format' = 'json', ", ""));
    assert!(format.contains("key.format"), "{format}");
    let buffer = error(create("t", ", 'sink.buffer-flush.max-rows' = '10'"));
    assert!(buffer.contains("greater than zero together"), "{buffer}");
    let startup = error(create("t", ", 'scan.startup.mode' = 'earliest-offset'"));
    assert!(startup.contains("scan.startup.mode"), "{startup}");
}
