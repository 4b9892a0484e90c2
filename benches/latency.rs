//! Latency from Kafka to Kafka: from the moment a record is handed to a producer to the moment a consumer has the row
//! that a running job made of it. `make bench-latency`, or `cargo bench --bench latency` after
//! `cargo build --workspace --release`, with `RUNNEL_KAFKA`.
//!
//! First records are sent as fast as the whole pipeline (producer, broker, job, consumer, all on this machine) takes
//! them, for `CAPACITY_SECONDS=8`; then at `LOAD=50` % of that rate for `SECONDS=20`, of which the first 3 do not count.
//! `RATE=…` records/s sets the rate instead. Results are added to `target/bench/latency.jsonl`.

use benches::{binary, kafka, numbers, results};
use rdkafka::Message;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, Producer};
use rdkafka::topic_partition_list::Offset;
use serde::Serialize;
use std::io;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// What does not count at the beginning of a measurement.
const WARM_UP: Duration = Duration::from_secs(3);
/// Time between two sends.
const TICK: Duration = Duration::from_millis(1);
/// Most records that are on their way where all are sent that can be.
const ON_THE_WAY: u64 = 50_000;
/// How long the last rows may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Latency that is still good, for the 99th percentile.
const GOOD_MS: f64 = 20.0;

#[derive(Serialize)]
struct Latency {
    bench: &'static str,
    case: &'static str,
    /// Records a second that the pipeline takes at most.
    capacity: f64,
    /// Records a second that were sent.
    rate: f64,
    rows: usize,
    p50_ms: f64,
    p99_ms: f64,
    p999_ms: f64,
    max_ms: f64,
    /// CPU time of the job's process over wall time.
    cpus: f64,
}

/// Ends the job when dropped.
struct Job(Child);

impl Drop for Job {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(from: &str, to: &str) -> io::Result<Job> {
    let table = |name: &str, topic: &str, more: &str| -> io::Result<String> {
        Ok(format!(
            "CREATE TEMPORARY TABLE {name} (sent BIGINT, auction BIGINT, price BIGINT, extra STRING) WITH
             ('connector' = 'kafka', 'topic' = '{topic}', 'properties.bootstrap.servers' = '{}', 'format' = 'json'{more});\n",
            kafka::brokers()?
        ))
    };
    let script = results::folder().join("latency.tmp.sql");
    let text = table("source", from, ", 'scan.startup.mode' = 'earliest-offset'")?
        + &table("sink", to, "")?
        + "INSERT INTO sink SELECT sent, auction, price * 2, extra FROM source WHERE price >= 0;\n";
    std::fs::write(&script, text)?;
    let mut command = Command::new(binary());
    command.args(["--catalog", "memory", "run"]).arg(script);
    Ok(Job(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?))
}

/// CPU time of a process so far.
fn cpu_of(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name of the program may hold blanks; it ends with the last bracket.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks = |n: usize| fields.get(n).and_then(|t| t.parse::<u64>().ok()).unwrap_or(0);
    // SAFETY: sysconf takes no pointer.
    let hertz = unsafe { libc::sysconf(libc::_SC_CLK_TCK) }.max(1) as u64;
    Duration::from_secs_f64((ticks(11) + ticks(12)) as f64 / hertz as f64)
}

/// Sends records for a time: `rate` a second, or as many as come back. Gives their number.
fn send(topic: &str, epoch: Instant, rate: Option<f64>, time: Duration, back: &AtomicU64) -> io::Result<u64> {
    let settings = [("linger.ms", "1"), ("queue.buffering.max.messages", "20000"), ("acks", "1")];
    let producer: BaseProducer = kafka::config(&settings)?.create().map_err(io::Error::other)?;
    let extra = "an item that somebody has offered and others want to have ".repeat(3);
    let begin = Instant::now();
    let mut sent = 0;
    while begin.elapsed() < time {
        let due = match rate {
            Some(rate) => (begin.elapsed().as_secs_f64() * rate) as u64,
            None => sent + 100,
        };
        while sent < due && (rate.is_some() || back.load(Ordering::Relaxed) + ON_THE_WAY > sent) {
            let now = epoch.elapsed().as_nanos();
            let value =
                format!(r#"{{"sent":{now},"auction":{sent},"price":{},"extra":"{extra}"}}"#, sent % 977);
            kafka::send(&producer, topic, 0, value.as_bytes())?;
            sent += 1;
        }
        producer.poll(Duration::ZERO);
        if sent >= due || rate.is_none() && back.load(Ordering::Relaxed) + ON_THE_WAY <= sent {
            thread::sleep(TICK);
        }
    }
    producer.flush(PATIENCE).map_err(io::Error::other)?;
    Ok(sent)
}

/// What a consumer saw: when each row was sent and how long it took, in nanoseconds.
type Seen = Vec<(u64, u64)>;

/// Reads rows until told to stop, counting them.
fn receive(topic: &str, epoch: Instant, count: &AtomicU64, stop: &AtomicBool) -> io::Result<Seen> {
    let settings =
        [("group.id", "bench-latency"), ("fetch.queue.backoff.ms", "2"), ("fetch.wait.max.ms", "100")];
    let consumer: BaseConsumer = kafka::config(&settings)?.create().map_err(io::Error::other)?;
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, Offset::Beginning).map_err(io::Error::other)?;
    consumer.assign(&list).map_err(io::Error::other)?;
    let mut seen = Seen::new();
    while !stop.load(Ordering::Relaxed) {
        let Some(message) = consumer.poll(Duration::from_millis(20)) else { continue };
        let message = message.map_err(io::Error::other)?;
        let now = epoch.elapsed().as_nanos() as u64;
        let text = message.payload().unwrap_or_default();
        let digits = text.strip_prefix(br#"{"sent":"#).unwrap_or_default();
        let digits = digits.iter().take_while(|b| b.is_ascii_digit());
        let sent = digits.fold(0, |n, d| n * 10 + u64::from(d - b'0'));
        seen.push((sent, now.saturating_sub(sent)));
        count.fetch_add(1, Ordering::Relaxed);
    }
    Ok(seen)
}

/// Sends for a time and waits until all rows are back.
fn through(rate: Option<f64>, time: Duration) -> io::Result<(Seen, f64, f64)> {
    let name = format!("latency-{}-{}", std::process::id(), rate.map_or(0, |r| r as u64));
    let (from, to) = (format!("{name}-in"), format!("{name}-out"));
    kafka::create(&from, 1)?;
    kafka::create(&to, 1)?;
    let job = start(&from, &to)?;
    let epoch = Instant::now();
    let (count, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let consumer = thread::spawn({
        let (to, count, stop) = (to.clone(), count.clone(), stop.clone());
        move || receive(&to, epoch, &count, &stop)
    });
    // The job is up when it lets a record through.
    let up = AtomicU64::new(0);
    send(&from, epoch, Some(10.0), Duration::from_millis(500), &up)?;
    let begin = Instant::now();
    while count.load(Ordering::Relaxed) == 0 {
        if begin.elapsed() > PATIENCE {
            return Err(io::Error::other("no row came out of the job"));
        }
        thread::sleep(Duration::from_millis(10));
    }
    thread::sleep(Duration::from_millis(500));
    let already = count.load(Ordering::Relaxed);
    let (begin, cpu) = (Instant::now(), cpu_of(job.0.id()));
    let sent = send(&from, epoch, rate, time, &count)?;
    while count.load(Ordering::Relaxed) < already + sent && begin.elapsed() < time + PATIENCE {
        thread::sleep(Duration::from_millis(1));
    }
    let wall = begin.elapsed();
    let cpus = (cpu_of(job.0.id()) - cpu).as_secs_f64() / wall.as_secs_f64();
    stop.store(true, Ordering::Relaxed);
    let seen = consumer.join().map_err(|_| io::Error::other("the consumer has panicked"))??;
    drop(job);
    kafka::delete(&from)?;
    kafka::delete(&to)?;
    if (seen.len() as u64) < already + sent {
        return Err(io::Error::other(format!("{} of {} rows came back", seen.len(), already + sent)));
    }
    let first = (begin - epoch + WARM_UP).as_nanos() as u64;
    let counted = if rate.is_some() { first } else { 0 };
    let seen = seen.into_iter().filter(|(sent, _)| *sent >= counted).collect();
    Ok((seen, sent as f64 / wall.as_secs_f64(), cpus))
}

fn run() -> io::Result<bool> {
    let number = |name, default| numbers(name, default).map(|n| n.first().copied().unwrap_or_default());
    let seconds = |name, default| number(name, default).map(Duration::from_secs);
    let load = number("LOAD", "50")?;
    std::fs::create_dir_all(results::folder())?;
    let (mut capacity, mut rate) = (f64::NAN, number("RATE", "0")? as f64);
    if rate == 0.0 {
        capacity = through(None, seconds("CAPACITY_SECONDS", "8")?)?.1;
        rate = capacity * load as f64 / 100.0;
        println!("the pipeline takes {capacity:.0} records/s; {rate:.0} are sent");
    }
    let (seen, _, cpus) = through(Some(rate), seconds("SECONDS", "20")? + WARM_UP)?;
    let mut times: Vec<u64> = seen.into_iter().map(|(_, took)| took).collect();
    times.sort_unstable();
    let at = |share: f64| {
        let index = ((times.len() as f64 * share) as usize).min(times.len().saturating_sub(1));
        times.get(index).map_or(f64::NAN, |ns| *ns as f64 / 1e6)
    };
    let latency = Latency {
        bench: "latency",
        case: "kafka-to-kafka",
        capacity,
        rate,
        rows: times.len(),
        p50_ms: at(0.5),
        p99_ms: at(0.99),
        p999_ms: at(0.999),
        max_ms: at(1.0),
        cpus,
    };
    results::add("latency", &latency)?;
    println!(
        "{} rows: p50 {:.1} ms, p99 {:.1} ms, p99.9 {:.1} ms, most {:.1} ms; the job used {:.2} CPUs",
        latency.rows, latency.p50_ms, latency.p99_ms, latency.p999_ms, latency.max_ms, cpus
    );
    println!("good: p99 under {GOOD_MS} ms");
    Ok(latency.p99_ms < GOOD_MS)
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("{e}");
            ExitCode::FAILURE
        }
    }
}
