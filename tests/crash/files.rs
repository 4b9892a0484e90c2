//! Kinesis → files, exactly once, under the crash loop, while shards are split and merged.

use crate::lives::{Lives, Plan, Running, points};
use crate::store::Trouble;
use std::collections::BTreeMap;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};
use tests::kinesis::Stream;

/// Rows between two kills.
const ROWS: i64 = 150;
/// How long the last process may take until all is there.
const PATIENCE: Duration = Duration::from_secs(180);

fn script(stream: &str, folder: &Path) -> String {
    format!(
        "CREATE TABLE numbers (id BIGINT, name STRING)
         WITH ('connector' = 'kinesis', 'stream' = '{stream}', 'aws.region' = 'us-east-1', 'aws.endpoint' = '{}',
               'scan.stream.initpos' = 'TRIM_HORIZON', 'scan.shard.discovery.intervalmillis' = '300',
               'format' = 'json');
         CREATE TABLE copies (id BIGINT, name STRING)
         WITH ('connector' = 'filesystem', 'path' = '{}', 'format' = 'json',
               'sink.rolling-policy.rollover-interval' = '300 ms', 'sink.rolling-policy.check-interval' = '100 ms');
         INSERT INTO copies SELECT id, name FROM numbers;",
        tests::services::kinesis(),
        folder.display()
    )
}

/// How often each id stands in a file that is visible.
fn published(folder: &Path) -> BTreeMap<i64, usize> {
    let mut ids = BTreeMap::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(['.', '_']) {
            continue;
        }
        for line in std::fs::read_to_string(entry.path()).unwrap().lines() {
            let row: serde_json::Value =
                serde_json::from_str(line).unwrap_or_else(|e| panic!("{name}: {e}: {line}"));
            *ids.entry(row["id"].as_i64().unwrap()).or_default() += 1;
        }
    }
    ids
}

#[test]
fn nothing_is_lost_and_nothing_doubled_from_kinesis_to_files() {
    let plan = Plan::new(6);
    let stream = Stream::new(2);
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("copies");
    let mut lives = Lives::new(plan.seed, script(&stream.name, &output), Trouble::Never);
    // SAFETY: no other thread of this process reads or writes the environment at this time.
    unsafe {
        std::env::set_var("AWS_ACCESS_KEY_ID", "test");
        std::env::set_var("AWS_SECRET_ACCESS_KEY", "test");
    }
    let points = points(&[]);
    let mut written = 0;
    for kill in 0..plan.kills {
        stream.put_ids(written..written + ROWS);
        written += ROWS;
        // Few enough shards for the local service.
        match kill % 10 {
            2 => stream.split(),
            5 => stream.merge(),
            _ => {}
        }
        lives.live_and_die(&points);
    }
    stream.put_ids(written..written + ROWS);
    written += ROWS;
    let last = Running(lives.start(""));
    let begin = Instant::now();
    while (published(&output).len() as i64) < written && begin.elapsed() < PATIENCE {
        thread::sleep(Duration::from_millis(300));
    }
    thread::sleep(Duration::from_secs(2));
    drop(last);
    println!(
        "kinesis: seed {}, {} kills, {written} rows; deaths: {:#?}",
        plan.seed, plan.kills, lives.deaths
    );
    let found = published(&output);
    let wrong = (0..written).filter(|id| found.get(id) != Some(&1)).collect::<Vec<_>>();
    let times = wrong.iter().take(20).map(|id| (id, found.get(id))).collect::<Vec<_>>();
    assert!(
        wrong.is_empty(),
        "seed {}: {} rows are not there once: {times:?}\n{}",
        plan.seed,
        wrong.len(),
        lives.log()
    );
    assert_eq!(found.len() as i64, written);
}
