//! Nexmark from a JSON file to a blackhole, in events per CPU-second.
//!
//! `NEXMARK=…/shared/oracle/nexmark SRC=dir/json-1 EVENTS=2000000 QUERIES=q0,q1,q5 cargo bench --bench nexmark` after
//! `cargo build --workspace --release`. `NEXMARK` holds `ddl-json.sql` and `q*.sql`; `SRC` is what its `gen` made.

use benches::{binary, measure, median, root};
use std::path::PathBuf;
use std::process::{Command, ExitCode};

const RUNS: usize = 3;

fn variable(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.to_string())
}

fn main() -> ExitCode {
    let nexmark =
        PathBuf::from(variable("NEXMARK", &root().join("../shared/oracle/nexmark").display().to_string()));
    let source = variable("SRC", "/tmp/nexmark/json-1");
    let events: f64 = match variable("EVENTS", "1000000").parse() {
        Ok(n) => n,
        Err(_) => {
            eprintln!("EVENTS takes a number.");
            return ExitCode::FAILURE;
        }
    };
    println!("{:<6}{:>14}{:>22}{:>12}", "query", "events/s", "events/CPU-second", "peak MB");
    for query in variable("QUERIES", "q0,q1,q5").split(',') {
        let mut costs = Vec::new();
        for _ in 0..RUNS {
            let mut command = Command::new(binary());
            command.args(["--catalog", "memory", "run"]);
            command.arg(nexmark.join("ddl-json.sql")).arg(nexmark.join(format!("{query}.sql")));
            command.args(["-D", &format!("SRC={source}")]);
            match measure(&mut command) {
                Ok(cost) => costs.push(cost),
                Err(e) => {
                    eprintln!("{query}: {e}");
                    return ExitCode::FAILURE;
                }
            }
        }
        let Some(cost) = median(costs, |c| c.cpu) else { return ExitCode::FAILURE };
        println!(
            "{query:<6}{:>14.0}{:>22.0}{:>12.1}",
            events / cost.wall.as_secs_f64(),
            events / cost.cpu.as_secs_f64(),
            cost.peak_bytes as f64 / 1e6
        );
    }
    ExitCode::SUCCESS
}
