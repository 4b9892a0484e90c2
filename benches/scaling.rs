//! Whether cost grows linearly: with events, keys, windows that overlap, and parallelism. `make bench-scaling`, or
//! `cargo bench --bench scaling` after `cargo build --workspace --release`.
//!
//! Rows come from `datagen`, go through a windowed or unwindowed count, and into a blackhole. `EVENTS=1000000,…` and
//! `KEYS=1000,…` and `OVERLAP=1,…` choose the points; `CASES=events,keys,overlap,parallelism`. Results are added to
//! `target/bench/scaling.jsonl`, from which `benches/plot.py` draws.

use benches::results::{self, Run, middle};
use benches::{binary, measure, numbers, setting};
use std::io;
use std::process::{Command, ExitCode};

/// Rows where something else is scaled.
const ROWS: u64 = 5_000_000;
/// Keys where something else is scaled.
const KEYS: u64 = 10_000;
/// Milliseconds of event time between two rows, as a divisor: rows in a millisecond.
const ROWS_A_MS: u64 = 10;

fn table(rows: u64, keys: u64) -> String {
    format!(
        "CREATE TEMPORARY TABLE rows_ (k BIGINT, n BIGINT, ts AS TO_TIMESTAMP_LTZ(n / {ROWS_A_MS}, 3),
           WATERMARK FOR ts AS ts - INTERVAL '1' SECOND) WITH ('connector' = 'datagen', 'number-of-rows' = '{rows}',
           'rows-per-second' = '1000000000', 'fields.n.kind' = 'sequence', 'fields.n.start' = '0',
           'fields.n.end' = '{}', 'fields.k.min' = '0', 'fields.k.max' = '{}');
         CREATE TEMPORARY TABLE sink (k BIGINT, c BIGINT) WITH ('connector' = 'blackhole');",
        rows - 1,
        keys - 1
    )
}

fn tumble() -> String {
    "INSERT INTO sink SELECT k, COUNT(*) FROM TABLE(TUMBLE(TABLE rows_, DESCRIPTOR(ts), INTERVAL '10' SECOND))
     GROUP BY k, window_start, window_end;"
        .to_string()
}

fn hop(overlap: u64) -> String {
    format!(
        "INSERT INTO sink SELECT k, COUNT(*) FROM TABLE(HOP(TABLE rows_, DESCRIPTOR(ts), INTERVAL '1' SECOND,
         INTERVAL '{overlap}' SECOND(4))) GROUP BY k, window_start, window_end;"
    )
}

fn group() -> String {
    "INSERT INTO sink SELECT k, COUNT(*) FROM rows_ GROUP BY k;".to_string()
}

struct Point {
    case: &'static str,
    at: u64,
    rows: u64,
    keys: u64,
    parallelism: u64,
    query: String,
}

fn points() -> io::Result<Vec<Point>> {
    let point = |case, at, query| Point { case, at, rows: ROWS, keys: KEYS, parallelism: 1, query };
    let mut points = Vec::new();
    for case in setting("CASES", "events,keys,overlap,parallelism").split(',') {
        match case {
            "events" => points.extend(
                numbers("EVENTS", "1000000,3000000,10000000,30000000,100000000")?
                    .into_iter()
                    .map(|n| Point { rows: n, ..point("events", n, tumble()) }),
            ),
            "keys" => points.extend(
                numbers("KEYS", "1000,10000,100000,1000000,10000000")?
                    .into_iter()
                    .map(|n| Point { keys: n, ..point("keys", n, group()) }),
            ),
            "overlap" => points.extend(
                numbers("OVERLAP", "1,3,10,30,100,300,1000")?
                    .into_iter()
                    .map(|n| Point { keys: 100, ..point("overlap", n, hop(n)) }),
            ),
            "parallelism" => points.extend(
                numbers("PARALLELISM", "1,2")?
                    .into_iter()
                    .map(|n| Point { parallelism: n, ..point("parallelism", n, tumble()) }),
            ),
            other => return Err(io::Error::other(format!("CASES knows no {other}."))),
        }
    }
    Ok(points)
}

fn run() -> io::Result<()> {
    std::fs::create_dir_all(results::folder())?;
    let runs = numbers("RUNS", "3")?.first().copied().unwrap_or(3) as usize;
    println!("{:<12}{:>12}{:>14}{:>14}{:>9}", "case", "at", "events/s", "per CPU-s", "peak MB");
    for point in points()? {
        let script = results::folder().join("scaling.tmp.sql");
        let parallelism = format!("SET 'parallelism.default' = '{}';\n", point.parallelism);
        std::fs::write(&script, parallelism + &table(point.rows, point.keys) + &point.query)?;
        let one = |run| {
            let cost = measure(Command::new(binary()).args(["--catalog", "memory", "run"]).arg(&script))?;
            let parallelism = point.parallelism as usize;
            Ok(Run::runnel("scaling", point.case, Some(point.at), parallelism, point.rows, run, &cost))
        };
        let done = (0..runs).map(one).collect::<io::Result<Vec<_>>>()?;
        results::save(&done)?;
        let Some(m) = middle(&done) else { continue };
        println!(
            "{:<12}{:>12}{:>14.0}{:>14.0}{:>9.0}",
            point.case,
            point.at,
            m.per_second(),
            m.per_cpu_second(),
            m.peak_mb
        );
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
