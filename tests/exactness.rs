//! A million rows through real Kafka, fifty thousand through real Kinesis: windows equal a plain recomputation.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
use std::collections::BTreeMap;
use std::time::Duration;
use tests::{Runner, services};

/// What the queries see of a row.
#[derive(Debug, Clone, Copy)]
struct Row {
    key: u32,
    value: i64,
    time_ms: i64,
}

/// 2024-01-01 00:00:00 UTC.
const START_MS: i64 = 1_704_067_200_000;
/// Rows come at most this late after later ones of their split.
const DISORDER_MS: i64 = 2_000;

/// `n` rows, 10 ms of event time apart, out of order by up to `DISORDER_MS`.
fn rows(n: u32, seed: u64) -> Vec<Row> {
    let mut random = SmallRng::seed_from_u64(seed);
    (0..n)
        .map(|i| Row {
            key: random.random_range(0..500),
            value: random.random_range(-1_000_000..1_000_000),
            time_ms: START_MS + i64::from(i) * 10 + random.random_range(0..DISORDER_MS),
        })
        .collect()
}

fn json(row: &Row) -> String {
    let time = chrono::DateTime::from_timestamp_millis(row.time_ms).unwrap().format("%Y-%m-%d %H:%M:%S%.3f");
    format!(r#"{{"key":"k{}","value":{},"ts":"{time}","unused":{{"a":[1,2,{{"b":null}}]}}}}"#, row.key, row.value)
}

fn text(ms: i64) -> String {
    chrono::DateTime::from_timestamp_millis(ms).unwrap().format("%Y-%m-%d %H:%M:%S%.3f").to_string()
}

/// (key, window start) to (count, sum, max), for windows of `size` that start every `slide`.
fn recomputed(rows: &[Row], slide: i64, size: i64) -> Vec<Vec<String>> {
    let mut windows = BTreeMap::<(u32, i64), (i64, i64, i64)>::new();
    for row in rows {
        let mut start = row.time_ms - row.time_ms.rem_euclid(slide);
        while start > row.time_ms - size {
            let window = windows.entry((row.key, start)).or_insert((0, 0, i64::MIN));
            window.0 += 1;
            window.1 += row.value;
            window.2 = window.2.max(row.value);
            start -= slide;
        }
    }
    let mut all = windows
        .into_iter()
        .map(|((key, start), (n, sum, max))| {
            vec![format!("k{key}"), text(start), text(start + size), n.to_string(), sum.to_string(), max.to_string()]
        })
        .collect::<Vec<_>>();
    all.sort();
    all
}

fn topic(name: &str, partitions: i32) {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", services::kafka()).create().unwrap();
    let new = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for result in runtime.block_on(admin.create_topics([&new], &AdminOptions::new())).unwrap() {
        result.unwrap();
    }
}

fn produce(name: &str, partitions: i32, rows: &[Row]) {
    let producer: ThreadedProducer<_> = ClientConfig::new()
        .set("bootstrap.servers", services::kafka())
        .set("linger.ms", "5")
        .set("queue.buffering.max.messages", "200000")
        .create()
        .unwrap();
    for (i, row) in rows.iter().enumerate() {
        let payload = json(row);
        let mut record = BaseRecord::<(), _>::to(name).payload(&payload).partition(i as i32 % partitions);
        while let Err((_, back)) = producer.send(record) {
            std::thread::sleep(Duration::from_millis(5));
            record = back;
        }
    }
    producer.flush(Duration::from_secs(60)).unwrap();
}

#[test]
fn a_million_rows_over_four_partitions() {
    let name = format!("exact-{}", std::process::id());
    let rows = rows(1_000_000, 7);
    topic(&name, 4);
    produce(&name, 4, &rows);

    let mut runner = Runner::new();
    let table = format!(
        "SET 'parallelism.default' = '2';
         CREATE TABLE t (key STRING, `value` BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '3' SECOND)
         WITH ('connector' = 'kafka', 'topic' = '{name}', 'properties.bootstrap.servers' = '{}',
               'scan.startup.mode' = 'earliest-offset', 'scan.bounded.mode' = 'latest-offset', 'format' = 'json');",
        services::kafka()
    );
    for (window, slide, size) in [
        ("TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '60' SECOND)", 60_000, 60_000),
        ("HOP(TABLE t, DESCRIPTOR(ts), INTERVAL '30' SECOND, INTERVAL '2' MINUTE)", 30_000, 120_000),
    ] {
        let answer = runner.one(&format!(
            "{}SELECT key, window_start, window_end, COUNT(*), SUM(`value`), MAX(`value`)
             FROM TABLE({window}) GROUP BY key, window_start, window_end",
            if slide == size { table.as_str() } else { "" }
        ));
        let mut ours = answer.changes.into_iter().map(|(_, row)| row).collect::<Vec<_>>();
        ours.sort();
        let expected = recomputed(&rows, slide, size);
        assert_eq!(ours.len(), expected.len(), "{window}");
        let different = ours.iter().zip(&expected).find(|(a, b)| a != b);
        assert_eq!(different, None, "{window}");
    }
}
