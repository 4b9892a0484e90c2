//! Kafka → windowed and unwindowed aggregation → Kafka, exactly once, under the crash loop.

use crate::lives::{Lives, Plan, Running, points};
use crate::store::Trouble;
use rdkafka::ClientConfig;
use rdkafka::Message;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

pub const PARTITIONS: i32 = 2;
const KEYS: i64 = 5;
/// Event time between two events, in milliseconds.
const STEP_MS: i64 = 25;
/// Size of the windows, in milliseconds.
const WINDOW_MS: i64 = 5_000;
/// 2026-01-01 00:00:00 UTC.
const EPOCH_MS: i64 = 1_767_225_600_000;
/// Time between two kills of the broker.
const BROKER_LIFE: Duration = Duration::from_secs(12);
/// How long the last process may take until all is there.
const PATIENCE: Duration = Duration::from_secs(180);

fn key(id: i64) -> String {
    format!("k{}", id * 7 % KEYS)
}

fn value(id: i64) -> i64 {
    id * 31 % 97
}

fn time(ms: i64) -> String {
    chrono::DateTime::from_timestamp_millis(ms).unwrap().format("%Y-%m-%d %H:%M:%S%.3f").to_string()
}

fn event(id: i64) -> String {
    let at = time(EPOCH_MS + id * STEP_MS);
    format!(r#"{{"id":{id},"k":"{}","v":{},"at":"{at}"}}"#, key(id), value(id))
}

/// Writes events, in turn over the partitions, until it is told to stop; then one far event into each partition,
/// which closes all windows.
struct Events {
    written: Arc<AtomicI64>,
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Events {
    fn start(brokers: &str, topic: &str) -> Self {
        let (written, stop) = (Arc::new(AtomicI64::new(0)), Arc::new(AtomicBool::new(false)));
        let (brokers, topic) = (brokers.to_string(), topic.to_string());
        let (count, stopped) = (written.clone(), stop.clone());
        let thread = thread::spawn(move || {
            let producer: ThreadedProducer<_> = ClientConfig::new()
                .set("bootstrap.servers", &brokers)
                .set("enable.idempotence", "true")
                .set("linger.ms", "5")
                .create()
                .unwrap();
            let send = |partition: i32, text: &str| {
                let mut record = BaseRecord::<(), _>::to(&topic).payload(text).partition(partition);
                while let Err((_, back)) = producer.send(record) {
                    thread::sleep(Duration::from_millis(5));
                    record = back;
                }
            };
            while !stopped.load(Ordering::Relaxed) {
                for _ in 0..8 {
                    let id = count.fetch_add(1, Ordering::Relaxed);
                    send((id % i64::from(PARTITIONS)) as i32, &event(id));
                }
                thread::sleep(Duration::from_millis(20));
            }
            for partition in 0..PARTITIONS {
                let at = time(EPOCH_MS + 1_000_000_000_000);
                let id = -1 - partition;
                send(partition, &format!(r#"{{"id":{id},"k":"end","v":0,"at":"{at}"}}"#));
            }
            producer.flush(Duration::from_secs(60)).unwrap();
        });
        Self { written, stop, thread: Some(thread) }
    }

    /// Number of events with a number of at least 0.
    fn finish(&mut self) -> i64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
        self.written.load(Ordering::Relaxed)
    }
}

fn script(brokers: &str, topics: &Topics) -> String {
    let kafka = |topic: &str| format!("'topic' = '{topic}', 'properties.bootstrap.servers' = '{brokers}'");
    let sink = |topic: &str| {
        format!(
            "{}, 'sink.delivery-guarantee' = 'exactly-once', 'sink.transactional-id-prefix' = '{topic}',
             'properties.transaction.timeout.ms' = '600000'",
            kafka(topic)
        )
    };
    format!(
        "CREATE TABLE events (id BIGINT, k STRING, v BIGINT, `at` TIMESTAMP(3),
            WATERMARK FOR `at` AS `at` - INTERVAL '1' SECOND)
         WITH ('connector' = 'kafka', {}, 'scan.startup.mode' = 'earliest-offset', 'format' = 'json');
         CREATE TABLE windows (k STRING, s TIMESTAMP(3), n BIGINT, total BIGINT)
         WITH ('connector' = 'kafka', {}, 'format' = 'json');
         CREATE TABLE copies (id BIGINT, v BIGINT) WITH ('connector' = 'kafka', {}, 'format' = 'json');
         CREATE TABLE totals (k STRING, n BIGINT, total BIGINT, PRIMARY KEY (k) NOT ENFORCED)
         WITH ('connector' = 'upsert-kafka', {}, 'key.format' = 'json', 'value.format' = 'json');
         EXECUTE STATEMENT SET BEGIN
         INSERT INTO windows SELECT k, window_start, COUNT(*), SUM(v)
           FROM TABLE(TUMBLE(TABLE events, DESCRIPTOR(`at`), INTERVAL '{}' SECOND)) GROUP BY k, window_start, window_end;
         INSERT INTO copies SELECT id, v FROM events;
         INSERT INTO totals SELECT k, COUNT(*), SUM(v) FROM events GROUP BY k;
         END;",
        kafka(&topics.events),
        sink(&topics.windows),
        sink(&topics.copies),
        sink(&topics.totals),
        WINDOW_MS / 1000
    )
}

struct Topics {
    events: String,
    windows: String,
    copies: String,
    totals: String,
}

/// Values of a topic that a read_committed reader sees now, by partition in order.
pub fn committed(brokers: &str, topic: &str) -> Vec<Vec<Value>> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", format!("reader-{topic}"))
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true")
        .set("enable.auto.commit", "false")
        .create()
        .unwrap();
    let mut list = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        list.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&list).unwrap();
    let mut all = vec![Vec::new(); PARTITIONS as usize];
    let mut ends = 0;
    let begin = Instant::now();
    while ends < PARTITIONS {
        assert!(begin.elapsed() < PATIENCE, "reading {topic} does not end");
        match consumer.poll(Duration::from_secs(1)) {
            None => {}
            Some(Ok(message)) => {
                let payload = message.payload().map(|p| serde_json::from_slice(p).unwrap());
                all[message.partition() as usize].push(payload.unwrap_or(Value::Null));
            }
            Some(Err(KafkaError::PartitionEOF(_))) => ends += 1,
            // The broker may be on its way back.
            Some(Err(_)) => thread::sleep(Duration::from_millis(100)),
        }
    }
    all
}

/// Sums that are right: by key, and by key and window.
#[derive(Default, PartialEq, Debug)]
struct Expected {
    totals: BTreeMap<String, (i64, i64)>,
    windows: BTreeMap<(String, String), (i64, i64)>,
}

impl Expected {
    fn new(events: i64) -> Self {
        let mut expected = Self::default();
        for id in 0..events {
            let start = EPOCH_MS + (id * STEP_MS).div_euclid(WINDOW_MS) * WINDOW_MS;
            for sums in [
                expected.totals.entry(key(id)).or_default(),
                expected.windows.entry((key(id), time(start))).or_default(),
            ] {
                sums.0 += 1;
                sums.1 += value(id);
            }
        }
        expected
    }
}

/// What is wrong with what a reader sees, in a few words; all lists empty if nothing is.
#[derive(Debug, Default, PartialEq)]
struct Verdict {
    missing: Vec<String>,
    doubled: Vec<String>,
    wrong: Vec<String>,
}

impl Verdict {
    fn new(brokers: &str, topics: &Topics, events: i64) -> Self {
        let expected = Expected::new(events);
        let mut verdict = Self::default();
        let number = |row: &Value, name: &str| row[name].as_i64().unwrap();
        // Each event was copied once.
        let mut seen = BTreeMap::<i64, usize>::new();
        for row in committed(brokers, &topics.copies).into_iter().flatten() {
            *seen.entry(number(&row, "id")).or_default() += 1;
        }
        for id in (0..events).chain((1..=i64::from(PARTITIONS)).map(|p| -p)) {
            match seen.remove(&id).unwrap_or(0) {
                0 => verdict.missing.push(format!("copy {id}")),
                1 => {}
                n => verdict.doubled.push(format!("copy {id}, {n} times")),
            }
        }
        verdict.wrong.extend(seen.keys().map(|id| format!("copy {id} was never written")));
        // Each window has one result.
        let mut windows = BTreeMap::new();
        for row in committed(brokers, &topics.windows).into_iter().flatten() {
            let start = row["s"].as_str().unwrap();
            let start = if start.contains('.') { start.to_string() } else { format!("{start}.000") };
            let start = format!("{:0<23}", start.replace('T', " "));
            let window = (row["k"].as_str().unwrap().to_string(), start);
            if window.0 == "end" {
                continue;
            }
            let sums = (number(&row, "n"), number(&row, "total"));
            if windows.insert(window.clone(), sums).is_some() {
                verdict.doubled.push(format!("window {window:?}"));
            }
        }
        for (window, sums) in &expected.windows {
            match windows.remove(window) {
                None => verdict.missing.push(format!("window {window:?}")),
                Some(found) if found != *sums => {
                    verdict.wrong.push(format!("window {window:?}: {found:?}, not {sums:?}"));
                }
                Some(_) => {}
            }
        }
        verdict.wrong.extend(windows.keys().map(|w| format!("window {w:?} does not exist")));
        // Each key's count only grows, up to the right one.
        let mut totals = BTreeMap::<String, (i64, i64)>::new();
        for row in committed(brokers, &topics.totals).into_iter().flatten() {
            let sums = (number(&row, "n"), number(&row, "total"));
            let key = row["k"].as_str().unwrap().to_string();
            if let Some(before) = totals.insert(key.clone(), sums).filter(|b| b.0 >= sums.0) {
                verdict.doubled.push(format!("total {key}: {sums:?} after {before:?}"));
            }
        }
        for (key, sums) in &expected.totals {
            match totals.get(key) {
                Some(found) if found == sums => {}
                Some(found) if found.0 < sums.0 => {
                    verdict.missing.push(format!("total {key}: {found:?} of {sums:?}"))
                }
                Some(found) => verdict.wrong.push(format!("total {key}: {found:?}, not {sums:?}")),
                None => verdict.missing.push(format!("total {key}")),
            }
        }
        verdict
    }

    fn is_late(&self) -> bool {
        !self.missing.is_empty() && self.doubled.is_empty() && self.wrong.is_empty()
    }

    fn short(&self) -> String {
        let some = |list: &[String]| list.iter().take(10).cloned().collect::<Vec<_>>().join("; ");
        format!(
            "{} missing: {}\n{} doubled: {}\n{} wrong: {}",
            self.missing.len(),
            some(&self.missing),
            self.doubled.len(),
            some(&self.doubled),
            self.wrong.len(),
            some(&self.wrong)
        )
    }
}

fn run(brokers: &str, plan: &Plan, trouble: Trouble) {
    let topic = |name: &str| tests::kafka::topic_at(brokers, &format!("crash-{name}"), PARTITIONS);
    let topics = Topics {
        events: topic("events"),
        windows: topic("windows"),
        copies: topic("copies"),
        totals: topic("totals"),
    };
    let mut events = Events::start(brokers, &topics.events);
    let mut lives = Lives::new(plan.seed, script(brokers, &topics), trouble);
    let points = points(&[
        "kafka.prepared=kill@{n}",
        "kafka.commit=kill@{n}",
        "kafka.recover-commit=kill@{n}",
        "kafka.recover-abort=kill@{n}",
        "kafka.recovered=kill@{n}",
    ]);
    let begin = Instant::now();
    for kill in 0..plan.kills {
        lives.live_and_die(&points);
        if kill % 10 == 9 {
            let newest = lives.checkpoints();
            println!("kill {} after {} s, newest checkpoint {newest:?}", kill + 1, begin.elapsed().as_secs());
        }
    }
    let written = events.finish();
    lives.end_trouble();
    let last = Running(lives.start(""));
    let begin = Instant::now();
    let mut verdict = Verdict::new(brokers, &topics, written);
    while verdict.is_late() && begin.elapsed() < PATIENCE {
        thread::sleep(Duration::from_millis(500));
        verdict = Verdict::new(brokers, &topics, written);
    }
    // A moment for what would be doubled.
    thread::sleep(Duration::from_secs(2));
    drop(last);
    let verdict = if verdict.is_late() { verdict } else { Verdict::new(brokers, &topics, written) };
    println!(
        "seed {}, store: {trouble:?}, {} kills, {} checkpoints that failed, {written} events; deaths: {:#?}",
        plan.seed, plan.kills, lives.failed_checkpoints, lives.deaths
    );
    assert_eq!(verdict, Verdict::default(), "seed {}: {}\n{}", plan.seed, verdict.short(), lives.log());
    assert!(!lives.checkpoints().is_empty(), "no checkpoint was ever complete");
    let has_trouble = trouble != Trouble::Never && plan.kills > 20;
    assert!(!has_trouble || lives.failed_checkpoints > 0, "the store was never in trouble");
}

#[test]
fn nothing_is_lost_and_nothing_doubled_from_kafka_to_kafka() {
    run(&tests::services::kafka(), &Plan::new(8), Trouble::Never);
}

#[test]
fn nothing_is_lost_and_nothing_doubled_while_the_store_of_checkpoints_is_away_now_and_then() {
    run(&tests::services::kafka(), &Plan::new(3).part(4), Trouble::Away);
}

#[test]
fn nothing_is_lost_and_nothing_doubled_while_the_store_of_checkpoints_is_full_now_and_then() {
    run(&tests::services::kafka(), &Plan::new(3).part(4), Trouble::Full);
}

/// A broker of our own, on ports that are free now.
struct Broker {
    folder: tempfile::TempDir,
    port: u16,
}

impl Broker {
    fn start() -> Self {
        // Four ports in a row: broker, controller, SASL, TLS.
        let free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
        let offset = (std::process::id() % 1000) as u16;
        let port = (0..1000)
            .map(|n| 21_000 + (offset + n) % 1000 * 4)
            .find(|p| (0..4).all(|n| free(p + n)))
            .unwrap();
        let broker = Self { folder: tempfile::tempdir().unwrap(), port };
        broker.call("start");
        broker
    }

    fn call(&self, what: &str) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("services/kafka.sh");
        let mut command = Command::new(script);
        command.args([what, &self.folder.path().display().to_string(), &self.port.to_string()]);
        assert!(command.stdin(Stdio::null()).status().unwrap().success(), "kafka.sh {what}");
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.call("stop");
    }
}

#[test]
fn nothing_is_lost_and_nothing_doubled_while_the_broker_is_killed_too() {
    // A broker takes memory and seconds, so only the long loop has this.
    if std::env::var_os("RUNNEL_CRASH_KILLS").is_none() {
        println!("only with RUNNEL_CRASH_KILLS, as `make crash-loop` sets it");
        return;
    }
    let plan = Plan::new(0).part(4);
    let broker = Broker::start();
    let brokers = format!("127.0.0.1:{}", broker.port);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let job = scope.spawn(|| {
            // Also when it panics: otherwise the test would not end.
            let _end = End(&done);
            run(&brokers, &plan, Trouble::Never);
        });
        let mut crashes = 0;
        let mut next = Instant::now() + BROKER_LIFE;
        while !done.load(Ordering::Relaxed) {
            if Instant::now() >= next {
                broker.call("crash");
                crashes += 1;
                next = Instant::now() + BROKER_LIFE;
            }
            thread::sleep(Duration::from_millis(100));
        }
        job.join().unwrap();
        println!("the broker was killed {crashes} times");
        assert!(crashes > 0, "too few kills for the broker to be killed");
    });
}

/// Sets its flag when it goes out of scope.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
