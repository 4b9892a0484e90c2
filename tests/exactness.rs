//! A million rows through real Kafka, fifty thousand through real Kinesis: windows equal a plain recomputation.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;
use tests::kinesis::Stream;
use tests::{Runner, kafka, services};

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
    format!(
        r#"{{"key":"k{}","value":{},"ts":"{time}","unused":{{"a":[1,2,{{"b":null}}]}}}}"#,
        row.key, row.value
    )
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
            vec![
                format!("k{key}"),
                text(start),
                text(start + size),
                n.to_string(),
                sum.to_string(),
                max.to_string(),
            ]
        })
        .collect::<Vec<_>>();
    all.sort();
    all
}

#[test]
fn a_million_rows_over_four_partitions() {
    let rows = rows(1_000_000, 7);
    let name = kafka::topic("exact", 4);
    kafka::produce(&name, 4, rows.iter().map(json));

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
        let answer = runner.one(&windows(if slide == size { &table } else { "" }, window));
        let mut ours = answer.changes.into_iter().map(|(_, row)| row).collect::<Vec<_>>();
        ours.sort();
        let expected = recomputed(&rows, slide, size);
        assert_eq!(ours.len(), expected.len(), "{window}");
        let different = ours.iter().zip(&expected).find(|(a, b)| a != b);
        assert_eq!(different, None, "{window}");
    }
}

/// The windows of a query, in the form of `recomputed`.
fn windows(table: &str, window: &str) -> String {
    format!(
        "{table} SELECT key, window_start, window_end, COUNT(*), SUM(`value`), MAX(`value`)
         FROM TABLE({window}) GROUP BY key, window_start, window_end"
    )
}

#[test]
fn fifty_thousand_rows_over_four_shards_with_a_split_during_the_run() {
    let rows = rows(50_000, 11);
    let stream = Stream::new(4);
    let table = format!(
        "SET 'parallelism.default' = '2';
         CREATE TABLE t (key STRING, `value` BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '3' SECOND)
         WITH ('connector' = 'kinesis', 'stream' = '{}', 'aws.region' = 'us-east-1', 'aws.endpoint' = '{}',
               'aws.credentials.provider' = 'BASIC', 'aws.credentials.basic.accesskeyid' = 'test',
               'aws.credentials.basic.secretkey' = 'test', 'scan.stream.initpos' = 'TRIM_HORIZON',
               'scan.shard.discovery.intervalmillis' = '1000', 'scan.shard.getrecords.intervalmillis' = '2000',
               'format' = 'json');",
        stream.name,
        services::kinesis()
    );
    let (mut tumbling, mut hopping) = (Runner::new(), Runner::new());
    let mut tumble =
        tumbling.start(&windows(&table, "TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '60' SECOND)"));
    let mut hop = hopping
        .start(&windows(&table, "HOP(TABLE t, DESCRIPTOR(ts), INTERVAL '30' SECOND, INTERVAL '2' MINUTE)"));

    let put = |rows: &[Row]| {
        // Rows of one key go to one shard, in order; a second of event time is far from the disorder allowed.
        stream.put(rows.iter().map(|r| (format!("k{}", r.key), json(r).into_bytes())));
    };
    put(&rows[..25_000]);
    stream.split();
    put(&rows[25_000..]);
    // A row far ahead in every shard closes all windows; its own never fires.
    let end = Row { key: 9999, value: 0, time_ms: START_MS + 86_400_000 };
    stream.put_into_every_shard(json(&end).as_bytes());

    for (query, slide, size) in [(&mut tumble, 60_000, 60_000), (&mut hop, 30_000, 120_000)] {
        let expected = recomputed(&rows, slide, size);
        let changes = tests::take_until(query, 120, |rows| rows.len() >= expected.len());
        let mut ours = changes.into_iter().map(|(_, row)| row).collect::<Vec<_>>();
        ours.sort();
        assert_eq!(ours.len(), expected.len(), "{:?}", query.results.job().progress());
        assert_eq!(ours.iter().zip(&expected).find(|(a, b)| a != b), None);
        assert_eq!(query.results.job().progress().late_rows, 0);
    }
}
