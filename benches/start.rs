//! Start and idleness: a cold start (`runnel -e 'SELECT 1'`), the time until the first row of a query, and the memory of
//! a job that waits. `make bench-start`, or `cargo bench --bench start` after `cargo build --workspace --release`.
//!
//! - `cold`: wall time from start to exit, and peak memory.
//! - `first-row`: a script with a table on a file and a query over it, from the start of the process to the first row on
//!   its output; what that is more than a cold start is the query's.
//! - `idle`: memory of `runnel` while a query waits for rows: of a made-up table, and, with `RUNNEL_KAFKA`, of a topic.
//!
//! Results are added to `target/bench/start.jsonl`.

use benches::{binary, kafka, measure, median, results};
use serde::Serialize;
use std::io::{self, BufRead, BufReader};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

const RUNS: usize = 21;
/// Greatest median wall time of a cold start that is still good.
const GOOD_WALL: Duration = Duration::from_millis(100);
/// Greatest peak memory of a cold start that is still good, in bytes.
const GOOD_PEAK_BYTES: u64 = 60 << 20;
/// Greatest time to the first row beyond a cold start that is still good.
const GOOD_FIRST: Duration = Duration::from_millis(50);
/// How long an idle job is left alone before its memory is looked at.
const IDLE: Duration = Duration::from_secs(3);

#[derive(Serialize)]
struct Line {
    bench: &'static str,
    case: String,
    wall_ms: Option<f64>,
    cpu_ms: Option<f64>,
    peak_mb: Option<f64>,
    resident_mb: Option<f64>,
}

impl Line {
    fn new(case: impl Into<String>) -> Self {
        Self {
            bench: "start",
            case: case.into(),
            wall_ms: None,
            cpu_ms: None,
            peak_mb: None,
            resident_mb: None,
        }
    }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Median wall time, and whether all is good.
fn cold() -> io::Result<(Duration, bool)> {
    let catalog = std::env::temp_dir().join(format!("runnel-bench-{}.db", std::process::id()));
    let one = |_| measure(Command::new(binary()).args(["-e", "SELECT 1", "--catalog"]).arg(&catalog));
    let costs = (0..RUNS).map(one).collect::<io::Result<Vec<_>>>()?;
    let _ = std::fs::remove_file(&catalog);
    let peak = costs.iter().map(|c| c.peak_bytes).max().unwrap_or(0);
    let middle = median(costs, |c| c.wall).unwrap_or_default();
    println!("cold start, runnel -e 'SELECT 1', {RUNS} runs");
    println!(
        "  wall time, median    {:>8.1} ms   (good: under {} ms)",
        ms(middle.wall),
        GOOD_WALL.as_millis()
    );
    println!("  CPU time, median     {:>8.1} ms", ms(middle.cpu));
    println!(
        "  peak memory, most    {:>8.1} MB   (good: under {} MB)",
        peak as f64 / 1e6,
        GOOD_PEAK_BYTES >> 20
    );
    let (wall_ms, cpu_ms) = (Some(ms(middle.wall)), Some(ms(middle.cpu)));
    results::add("start", &Line { wall_ms, cpu_ms, peak_mb: Some(peak as f64 / 1e6), ..Line::new("cold") })?;
    Ok((middle.wall, middle.wall < GOOD_WALL && peak < GOOD_PEAK_BYTES))
}

fn first_row(cold: Duration) -> io::Result<bool> {
    let folder = results::folder().join("start.tmp");
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("rows.json"), "{\"k\":1,\"ts\":\"2024-01-01 00:00:00\"}\n".repeat(100))?;
    let table = format!(
        "CREATE TEMPORARY TABLE rows_ (k BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts) WITH
         ('connector' = 'filesystem', 'path' = '{}', 'format' = 'json');\n",
        folder.join("rows.json").display()
    );
    let mut good = true;
    for (case, query) in [
        ("select", "SELECT k, ts FROM rows_ WHERE k > 0;"),
        (
            "windows",
            "SELECT window_start, k, COUNT(*) FROM TABLE(TUMBLE(TABLE rows_, DESCRIPTOR(ts), INTERVAL '10' SECOND))
             GROUP BY window_start, window_end, k;",
        ),
    ] {
        let script = folder.join(format!("{case}.sql"));
        std::fs::write(&script, format!("{table}{query}"))?;
        let mut times = Vec::new();
        for _ in 0..RUNS {
            let begin = Instant::now();
            let mut command = Command::new(binary());
            command.args(["--catalog", "memory", "--output", "csv", "run"]).arg(&script);
            let mut child =
                command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
            // The header, then the first row.
            let mut lines = BufReader::new(child.stdout.take().ok_or_else(|| io::Error::other("no output"))?).lines();
            let row = lines.by_ref().flatten().find(|l| l.starts_with(|c: char| c.is_ascii_digit()));
            times.push(begin.elapsed());
            lines.for_each(drop);
            child.wait()?;
            row.ok_or_else(|| io::Error::other(format!("{case} gave no row")))?;
        }
        times.sort_unstable();
        let middle = times[times.len() / 2];
        let more = middle.saturating_sub(cold);
        good &= more < GOOD_FIRST;
        println!(
            "first row, {case:<10} {:>8.1} ms, {:.1} ms more than a cold start   (good: under {} ms more)",
            ms(middle),
            ms(more),
            GOOD_FIRST.as_millis()
        );
        let line = Line { wall_ms: Some(ms(middle)), ..Line::new(format!("first-row-{case}")) };
        results::add("start", &line)?;
    }
    let _ = std::fs::remove_dir_all(&folder);
    Ok(good)
}

fn idle(case: &str, table: &str) -> io::Result<()> {
    let script = results::folder().join("idle.tmp.sql");
    std::fs::write(
        &script,
        format!(
            "CREATE TEMPORARY TABLE rows_ (k BIGINT) WITH ({table});
             CREATE TEMPORARY TABLE sink (k BIGINT, n BIGINT) WITH ('connector' = 'blackhole');
             INSERT INTO sink SELECT k, COUNT(*) FROM rows_ GROUP BY k;"
        ),
    )?;
    let mut command = Command::new(binary());
    command.args(["--catalog", "memory", "run"]).arg(&script).stdin(Stdio::null()).stdout(Stdio::null());
    let mut child = command.spawn()?;
    std::thread::sleep(IDLE);
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id()))?;
    let ended = child.try_wait()?.is_some();
    child.kill()?;
    child.wait()?;
    if ended {
        return Err(io::Error::other(format!("the idle job over {case} has ended")));
    }
    let of = |name: &str| {
        let line = status.lines().find(|l| l.starts_with(name)).and_then(|l| l.split_whitespace().nth(1));
        line.and_then(|kb| kb.parse::<f64>().ok()).unwrap_or(f64::NAN) * 1024.0 / 1e6
    };
    let (resident, peak) = (of("VmRSS"), of("VmHWM"));
    println!("idle job, {case:<10}  {resident:>8.1} MB resident, {peak:.1} MB at most");
    let line = Line { peak_mb: Some(peak), resident_mb: Some(resident), ..Line::new(format!("idle-{case}")) };
    results::add("start", &line)
}

fn run() -> io::Result<bool> {
    std::fs::create_dir_all(results::folder())?;
    let (wall, mut good) = cold()?;
    good &= first_row(wall)?;
    idle("datagen", "'connector' = 'datagen', 'rows-per-second' = '1'")?;
    if let Ok(brokers) = kafka::brokers() {
        let topic = format!("idle-{}", std::process::id());
        kafka::create(&topic, 4)?;
        idle(
            "kafka",
            &format!(
                "'connector' = 'kafka', 'topic' = '{topic}', 'properties.bootstrap.servers' = '{brokers}',
                 'format' = 'json', 'scan.startup.mode' = 'earliest-offset'"
            ),
        )?;
        kafka::delete(&topic)?;
    }
    Ok(good)
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("{}: {e}", binary().display());
            ExitCode::FAILURE
        }
    }
}
