//! Nexmark from JSON files, or with `SOURCE=kafka` from a Kafka topic, to a blackhole, side by side with Flink where
//! `PEER=flink` (files only): `make bench`, or `cargo bench --bench nexmark` after `cargo build --workspace --release`.
//!
//! `QUERIES=q0,q5` `EVENTS=5000000` `PARALLELISM=1,2` `RUNS=3` `PEER=flink`. `NEXMARK` is the folder with `ddl-json.sql`
//! and `q*.sql`, unedited, and with `bench.py`, which runs Flink. Both engines read the same files, query by query in
//! turn; at a parallelism of n, n files. The topic has n partitions, is written once, and is read to its end as it was
//! when the query began; only Runnel's own CPU time counts, not the broker's. Results are added to
//! `target/bench/nexmark.jsonl` and `nexmark-kafka.jsonl`.

use benches::results::{self, Run, middle};
use benches::{binary, generator, kafka, measure, numbers, root, setting};
use serde_json::Value;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const ALL: &str = "q0,q1,q2,q3,q4,q5,q7,q8,q9,q11,q12,q15,q16,q17,q18,q19,q20,q21,q22";

/// The table's options in `ddl-json.sql`.
const FILES: &str = "('connector' = 'filesystem', 'path' = '${SRC}', 'format' = 'json')";

/// What takes their place when a topic is read.
const TOPIC: &str = "('connector' = 'kafka', 'topic' = '${SRC}', 'format' = 'json', \
                     'properties.bootstrap.servers' = '${KAFKA}', 'scan.startup.mode' = 'earliest-offset', \
                     'scan.bounded.mode' = 'latest-offset')";

struct Bench {
    /// Name of the results.
    name: &'static str,
    kafka: bool,
    nexmark: PathBuf,
    events: u64,
    runs: usize,
    peer: bool,
}

impl Bench {
    /// The tables and views.
    fn tables(&self) -> io::Result<PathBuf> {
        let files = self.nexmark.join("ddl-json.sql");
        if !self.kafka {
            return Ok(files);
        }
        let text = std::fs::read_to_string(&files)?;
        if !text.contains(FILES) {
            return Err(io::Error::other(format!("{} has no table with {FILES}", files.display())));
        }
        let topic = results::folder().join("ddl-kafka.tmp.sql");
        std::fs::write(&topic, text.replace(FILES, TOPIC))?;
        Ok(topic)
    }

    fn runnel(&self, source: &str, query: &str, parallelism: usize) -> io::Result<Vec<Run>> {
        let settings = results::folder().join(format!("parallelism-{parallelism}.sql"));
        std::fs::write(&settings, format!("SET 'parallelism.default' = '{parallelism}';\n"))?;
        let one = |run| {
            let mut command = Command::new(binary());
            command.args(["--catalog", "memory", "run"]).arg(&settings);
            command.arg(self.tables()?).arg(self.nexmark.join(format!("{query}.sql")));
            command.args(["-D", &format!("SRC={source}")]);
            if self.kafka {
                command.args(["-D", &format!("KAFKA={}", kafka::brokers()?)]);
            }
            let cost = measure(&mut command)?;
            Ok(Run::runnel(self.name, query, None, parallelism, self.events, run, &cost))
        };
        (0..self.runs).map(one).collect()
    }

    /// Flink on the same files: `bench.py` starts a cluster, runs the query as often, and tells each run's cost.
    fn flink(&self, source: &Path, query: &str, parallelism: usize) -> io::Result<Vec<Run>> {
        let out = results::folder().join("flink.tmp.jsonl");
        let _ = std::fs::remove_file(&out);
        let mut command = Command::new("python3");
        command.arg(self.nexmark.join("bench.py")).arg("--src").arg(source).arg("--out").arg(&out);
        command.args(["--events", &self.events.to_string(), "--reps", &self.runs.to_string()]);
        command.args(["-p", &parallelism.to_string(), query]);
        let done = command.output()?;
        let text = std::fs::read_to_string(&out).unwrap_or_default();
        let number = |run: &Value, key: &str| run.get(key).and_then(Value::as_f64).unwrap_or(f64::NAN);
        let runs = text.lines().enumerate().filter_map(|(n, line)| {
            let run: Value = serde_json::from_str(line).ok()?;
            Some(Run {
                engine: "flink".into(),
                wall_s: number(&run, "job_ms") / 1e3,
                cpu_s: number(&run, "cpu_s"),
                peak_mb: number(&run, "hwm_mb"),
                ..Run::runnel("nexmark", query, None, parallelism, self.events, n, &benches::Cost::default())
            })
        });
        let runs: Vec<Run> = runs.collect();
        if runs.is_empty() {
            let said =
                String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
            return Err(io::Error::other(format!("Flink did not run {query}: {}", said.trim())));
        }
        Ok(runs)
    }

    fn query(&self, query: &str, parallelism: usize) -> io::Result<Option<f64>> {
        let runs = if self.kafka {
            self.runnel(&kafka::events(self.events, parallelism)?, query, parallelism)?
        } else {
            let source = generator::events(&results::folder(), self.events as usize, parallelism)?;
            let mut runs = self.runnel(&source.display().to_string(), query, parallelism)?;
            if self.peer {
                runs.extend(self.flink(&source, query, parallelism)?);
            }
            runs
        };
        results::save(&runs)?;
        let of = |engine: &str| middle(runs.iter().filter(|r| r.engine == engine)).cloned();
        let Some(mine) = of("runnel") else { return Ok(None) };
        print!(
            "{query:<5}{parallelism:>3}{:>13.0}{:>13.0}{:>9.0}",
            mine.per_second(),
            mine.per_cpu_second(),
            mine.peak_mb
        );
        let ratio = of("flink").map(|theirs| {
            let ratio = mine.per_cpu_second() / theirs.per_cpu_second();
            print!(
                "{:>13.0}{:>13.0}{:>9.0}{ratio:>8.1}",
                theirs.per_second(),
                theirs.per_cpu_second(),
                theirs.peak_mb
            );
            ratio
        });
        println!();
        Ok(ratio)
    }
}

fn run() -> io::Result<()> {
    let nexmark = setting("NEXMARK", &root().join("../shared/oracle/nexmark").display().to_string());
    let kafka = match setting("SOURCE", "files").as_str() {
        "kafka" => true,
        "files" => false,
        other => return Err(io::Error::other(format!("SOURCE is files or kafka, not {other}."))),
    };
    let bench = Bench {
        name: if kafka { "nexmark-kafka" } else { "nexmark" },
        kafka,
        nexmark: PathBuf::from(nexmark),
        events: numbers("EVENTS", "5000000")?.first().copied().unwrap_or_default(),
        runs: numbers("RUNS", "3")?.first().copied().unwrap_or(3) as usize,
        peer: setting("PEER", "") == "flink" && !kafka,
    };
    std::fs::create_dir_all(results::folder())?;
    let from = if kafka { "Kafka" } else { "files" };
    println!(
        "Nexmark, {} events as JSON from {from}, medians of {} runs by CPU time",
        bench.events, bench.runs
    );
    print!("{:<5}{:>3}{:>13}{:>13}{:>9}", "query", "p", "events/s", "per CPU-s", "peak MB");
    println!("{}", if bench.peer { "  Flink ev/s    per CPU-s  peak MB   ratio" } else { "" });
    let mut ratios = Vec::new();
    for parallelism in numbers("PARALLELISM", "1,2")? {
        for query in setting("QUERIES", ALL).split(',') {
            match bench.query(query.trim(), parallelism as usize) {
                Ok(ratio) if parallelism == 1 => ratios.extend(ratio),
                Ok(_) => {}
                Err(e) => println!("{query:<5}{parallelism:>3}  {e}"),
            }
        }
    }
    if !ratios.is_empty() {
        let mean = (ratios.iter().map(|r| r.ln()).sum::<f64>() / ratios.len() as f64).exp();
        println!("geometric mean of {} ratios at parallelism 1: {mean:.1}", ratios.len());
    }
    Ok(())
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{e}");
            ExitCode::FAILURE
        }
    }
}
