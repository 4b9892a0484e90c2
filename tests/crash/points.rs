//! Every fail point of the Kafka sink is walked: the step fails, or the process dies there, and each row is committed
//! once. (`tests/failpoints.rs` walks those of the runtime; the rooms of storage and files walk their own.)

use crate::kafka::{PARTITIONS, committed};
use crate::lives::binary;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::process::{Command, Output, Stdio};

/// Rows of the source.
const ROWS: usize = 20_000;
/// Runs that a killed job may need.
const MOST_RUNS: usize = 6;

struct Job {
    folder: tempfile::TempDir,
    topic: String,
}

impl Job {
    /// A file of numbers, and a script that copies them to a topic.
    fn new() -> Self {
        let brokers = tests::services::kafka();
        let topic = tests::kafka::topic_at(&brokers, "points", PARTITIONS);
        let folder = tempfile::tempdir().unwrap();
        let mut rows = String::new();
        (0..ROWS).for_each(|n| writeln!(rows, "{n}").unwrap());
        std::fs::write(folder.path().join("in.csv"), rows).unwrap();
        let dir = folder.path().display();
        let script = format!(
            "SET '$internal.pipeline.job-id' = '0123456789abcdef0123456789abcdef';
             SET 'execution.checkpointing.interval' = '5 ms';
             SET 'state.checkpoints.dir' = '{dir}/checkpoints';
             SET 'restart-strategy.type' = 'fixed-delay';
             SET 'restart-strategy.fixed-delay.attempts' = '5';
             SET 'restart-strategy.fixed-delay.delay' = '10 ms';
             SET 'table.dml-sync' = 'true';
             CREATE TABLE numbers (n BIGINT) WITH ('connector' = 'filesystem', 'path' = '{dir}/in.csv', 'format' = 'csv');
             CREATE TABLE copies (n BIGINT) WITH ('connector' = 'kafka', 'topic' = '{topic}',
               'properties.bootstrap.servers' = '{brokers}', 'format' = 'json',
               'sink.delivery-guarantee' = 'exactly-once', 'sink.transactional-id-prefix' = '{topic}',
               'properties.transaction.timeout.ms' = '600000');
             INSERT INTO copies SELECT n FROM numbers;"
        );
        std::fs::write(folder.path().join("job.sql"), script).unwrap();
        Self { folder, topic }
    }

    fn run(&self, armed: &str) -> Output {
        Command::new(binary())
            .arg("run")
            .arg(self.folder.path().join("job.sql"))
            .env("RUNNEL_CATALOG", "memory")
            .env("RUNNEL_FAILPOINTS", armed)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    fn check(&self, what: &str) {
        let mut seen = BTreeMap::<u64, usize>::new();
        for row in committed(&tests::services::kafka(), &self.topic).into_iter().flatten() {
            *seen.entry(row["n"].as_u64().unwrap()).or_default() += 1;
        }
        let wrong: Vec<_> = (0..ROWS as u64)
            .filter(|n| seen.get(n) != Some(&1))
            .map(|n| (n, seen.get(&n)))
            .take(10)
            .collect();
        assert!(wrong.is_empty() && seen.len() == ROWS, "{what}: {} rows, {wrong:?}", seen.len());
    }
}

/// The point armed, and before it what makes a run go back to a checkpoint, where recovery passes it.
fn armed(name: &str, action: &str) -> String {
    match name {
        // Something is prepared, and its commit fails: it is for recovery to commit.
        "kafka.recover-commit" => format!("commit.sink=error@2;{name}={action}@1"),
        // The first start passes these too.
        "kafka.recover-abort" | "kafka.recovered" => format!("commit.sink=error@2;{name}={action}@2"),
        _ => format!("{name}={action}@2"),
    }
}

#[test]
fn every_point_of_the_kafka_sink_is_walked() {
    let points: Vec<_> = engine::failpoint::NAMES.iter().filter(|n| n.starts_with("kafka.")).collect();
    assert!(points.len() >= 5);
    for name in points {
        let (job, text) = (Job::new(), armed(name, "error"));
        let output = job.run(&text);
        assert!(output.status.success(), "{text}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(String::from_utf8_lossy(&output.stderr).contains(name), "{text}: the place was not passed");
        job.check(&text);

        let (job, text) = (Job::new(), armed(name, "kill"));
        let output = job.run(&text);
        assert!(!output.status.success(), "{text}: the place was not passed");
        let done = (0..MOST_RUNS).any(|_| job.run("").status.success());
        assert!(done, "{text}: the job does not come back");
        job.check(&text);
    }
}

#[test]
fn every_point_is_walked_by_some_test() {
    // `tests/failpoints.rs`; `checkpoint/crash_tests.rs`; `filesystem/crash_tests.rs`; here.
    let rooms = ["checkpoint.", "commit.", "restore.", "storage.", "filesystem.", "kafka."];
    for name in engine::failpoint::NAMES {
        assert!(rooms.iter().any(|room| name.starts_with(room)), "{name} is walked by no test");
    }
}
