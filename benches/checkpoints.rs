//! What checkpoints cost a whole job: the same query without them and with one every `INTERVAL_MS=1000`, in turn.
//! `make bench-checkpoints`, or `cargo bench --bench checkpoints` after `cargo build --workspace --release`.
//!
//! `EVENTS=5000000` `RUNS=3` `CASES=stateless,windows,keyed`: Nexmark events from a JSON file that are only decoded,
//! counted by auction in hopping windows, or counted by bidder without windows with a row of state for each of
//! `KEYS=1000000` made-up keys. Results are added to `target/bench/checkpoints.jsonl`, with the interval as `at`.

use benches::results::{self, Run, middle};
use benches::{binary, generator, measure, numbers, setting};
use std::io;
use std::path::Path;
use std::process::{Command, ExitCode};

const EVENTS: &str = "CREATE TEMPORARY TABLE events (event_type INT,
  bid ROW<auction BIGINT, bidder BIGINT, price BIGINT, `dateTime` TIMESTAMP(3)>,
  ts AS bid.`dateTime`, WATERMARK FOR ts AS ts - INTERVAL '4' SECOND)
  WITH ('connector' = 'filesystem', 'path' = '${SRC}', 'format' = 'json');
CREATE TEMPORARY VIEW bids AS
  SELECT bid.auction, bid.bidder, bid.price, ts FROM events WHERE event_type = 2;\n";

fn script(case: &str, events: u64, keys: u64) -> io::Result<String> {
    Ok(match case {
        "stateless" => format!(
            "{EVENTS} CREATE TEMPORARY TABLE sink (auction BIGINT, price BIGINT) WITH ('connector' = 'blackhole');
             INSERT INTO sink SELECT auction, price FROM bids;"
        ),
        "windows" => format!(
            "{EVENTS} CREATE TEMPORARY TABLE sink (auction BIGINT, c BIGINT) WITH ('connector' = 'blackhole');
             INSERT INTO sink SELECT auction, COUNT(*) FROM TABLE(HOP(TABLE bids, DESCRIPTOR(ts), INTERVAL '2' SECOND,
             INTERVAL '10' SECOND)) GROUP BY auction, window_start, window_end;"
        ),
        "keyed" => format!(
            "CREATE TEMPORARY TABLE numbers (k BIGINT, v BIGINT) WITH ('connector' = 'datagen',
               'number-of-rows' = '{events}', 'rows-per-second' = '1000000000', 'fields.k.min' = '0', 'fields.k.max' = '{}');
             CREATE TEMPORARY TABLE sink (k BIGINT, c BIGINT, s BIGINT) WITH ('connector' = 'blackhole');
             INSERT INTO sink SELECT k, COUNT(*), SUM(v) FROM numbers GROUP BY k;",
            keys - 1
        ),
        other => return Err(io::Error::other(format!("CASES knows no {other}."))),
    })
}

fn one(case: &str, text: &str, source: &Path, events: u64, interval_ms: u64, run: usize) -> io::Result<Run> {
    let folder = results::folder().join("checkpoints.tmp");
    let _ = std::fs::remove_dir_all(&folder);
    let script = results::folder().join("checkpoints.tmp.sql");
    let settings = if interval_ms == 0 {
        String::new()
    } else {
        format!(
            "SET 'execution.checkpointing.interval' = '{interval_ms} ms';\n\
             SET 'state.checkpoints.dir' = 'file://{}';\n",
            folder.display()
        )
    };
    std::fs::write(&script, settings + text)?;
    let mut command = Command::new(binary());
    command.args(["--catalog", "memory", "run"]).arg(script);
    command.args(["-D", &format!("SRC={}", source.display())]);
    let cost = measure(&mut command)?;
    let _ = std::fs::remove_dir_all(&folder);
    Ok(Run::runnel("checkpoints", case, Some(interval_ms), 1, events, run, &cost))
}

fn run() -> io::Result<()> {
    let first = |name, default| numbers(name, default).map(|n| n.first().copied().unwrap_or_default());
    let (events, keys) = (first("EVENTS", "5000000")?, first("KEYS", "1000000")?);
    let (runs, interval_ms) = (first("RUNS", "3")? as usize, first("INTERVAL_MS", "1000")?);
    std::fs::create_dir_all(results::folder())?;
    let source = generator::events(&results::folder(), events as usize, 1)?;
    println!("{:<12}{:>16}{:>16}{:>10}{:>16}", "case", "s without", "s with", "more CPU", "more wall time");
    for case in setting("CASES", "stateless,windows,keyed").split(',') {
        let text = script(case.trim(), events, keys)?;
        let mut done = Vec::new();
        for run in 0..runs {
            for interval_ms in [0, interval_ms] {
                done.push(one(case.trim(), &text, &source, events, interval_ms, run)?);
            }
        }
        results::save(&done)?;
        let of = |at: u64| middle(done.iter().filter(|r| r.at == Some(at)));
        if let (Some(without), Some(with)) = (of(0), of(interval_ms)) {
            let more = |a: f64, b: f64| (a / b - 1.0) * 100.0;
            println!(
                "{case:<12}{:>16.2}{:>16.2}{:>9.1}%{:>15.1}%",
                without.wall_s,
                with.wall_s,
                more(with.cpu_s, without.cpu_s),
                more(with.wall_s, without.wall_s)
            );
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
