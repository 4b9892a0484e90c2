//! How far from the limit: the same bids through Runnel, incrementally, and through DuckDB's batch reader on one
//! thread. `make bench-limit`, or `cargo bench --bench limit` after `cargo build --workspace --release`; needs
//! `pip install duckdb`. `EVENTS=5000000` `RUNS=3`. Results are added to `target/bench/limit.jsonl`.

use benches::results::{self, Run, middle};
use benches::{binary, generator, measure, numbers, root};
use std::io;
use std::path::Path;
use std::process::{Command, ExitCode};

const TABLE: &str = "CREATE TEMPORARY TABLE events (event_type INT,
  bid ROW<auction BIGINT, bidder BIGINT, price BIGINT, `dateTime` TIMESTAMP(3)>,
  ts AS bid.`dateTime`, WATERMARK FOR ts AS ts - INTERVAL '4' SECOND)
  WITH ('connector' = 'filesystem', 'path' = '${SRC}', 'format' = 'json');
CREATE TEMPORARY VIEW bids AS
  SELECT bid.auction, bid.bidder, bid.price, ts FROM events WHERE event_type = 2;\n";

const CASES: [(&str, &str); 3] = [
    (
        "scan",
        "CREATE TEMPORARY TABLE sink (auction BIGINT, bidder BIGINT, price BIGINT, ts TIMESTAMP(3))
         WITH ('connector' = 'blackhole');
         INSERT INTO sink SELECT auction, bidder, price, ts FROM bids;",
    ),
    (
        "tumble",
        "CREATE TEMPORARY TABLE sink (auction BIGINT, c BIGINT) WITH ('connector' = 'blackhole');
         INSERT INTO sink SELECT auction, COUNT(*) FROM TABLE(TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '10' SECOND))
         GROUP BY auction, window_start, window_end;",
    ),
    (
        "hop",
        "CREATE TEMPORARY TABLE sink (auction BIGINT, c BIGINT) WITH ('connector' = 'blackhole');
         INSERT INTO sink SELECT auction, COUNT(*) FROM TABLE(HOP(TABLE bids, DESCRIPTOR(ts), INTERVAL '2' SECOND,
         INTERVAL '10' SECOND)) GROUP BY auction, window_start, window_end;",
    ),
];

fn runs_of(case: &str, query: &str, source: &Path, events: u64, runs: usize) -> io::Result<Vec<Run>> {
    let script = results::folder().join("limit.tmp.sql");
    std::fs::write(&script, format!("{TABLE}{query}"))?;
    let mut done = Vec::new();
    for run in 0..runs {
        let mut command = Command::new(binary());
        command.args(["--catalog", "memory", "run"]).arg(&script);
        command.args(["-D", &format!("SRC={}", source.display())]);
        done.push(Run::runnel("limit", case, None, 1, events, run, &measure(&mut command)?));
        let mut command = Command::new("python3");
        command.arg(root().join("benches/duckdb_bids.py")).arg(case).arg(source);
        let theirs = Run::runnel("limit", case, None, 1, events, run, &measure(&mut command)?);
        done.push(Run { engine: "duckdb".into(), ..theirs });
    }
    Ok(done)
}

fn run() -> io::Result<()> {
    let first = |name, default| numbers(name, default).map(|n| n.first().copied().unwrap_or_default());
    let (events, runs) = (first("EVENTS", "5000000")?, first("RUNS", "3")? as usize);
    std::fs::create_dir_all(results::folder())?;
    let source = generator::events(&results::folder(), events as usize, 1)?;
    println!("{:<8}{:>20}{:>20}{:>8}", "case", "Runnel per CPU-s", "DuckDB per CPU-s", "ratio");
    for (case, query) in CASES {
        let done = runs_of(case, query, &source, events, runs)?;
        results::save(&done)?;
        let of = |engine: &str| middle(done.iter().filter(|r| r.engine == engine)).map(Run::per_cpu_second);
        if let (Some(mine), Some(theirs)) = (of("runnel"), of("duckdb")) {
            println!("{case:<8}{mine:>20.0}{theirs:>20.0}{:>8.1}", mine / theirs);
        }
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
