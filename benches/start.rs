//! Cold start: `runnel -e 'SELECT 1'`, median wall time and peak memory. `cargo bench --bench start` after
//! `cargo build --workspace --release`.

use benches::{binary, measure, median};
use std::process::{Command, ExitCode};
use std::time::Duration;

const RUNS: usize = 21;
/// Greatest median wall time that is still good.
const GOOD_WALL: Duration = Duration::from_millis(100);
/// Greatest peak memory that is still good, in bytes.
const GOOD_PEAK_BYTES: u64 = 60 << 20;

fn main() -> ExitCode {
    let catalog = std::env::temp_dir().join(format!("runnel-bench-{}.db", std::process::id()));
    let mut costs = Vec::new();
    for _ in 0..RUNS {
        let mut command = Command::new(binary());
        command.args(["-e", "SELECT 1", "--catalog"]).arg(&catalog);
        match measure(&mut command) {
            Ok(cost) => costs.push(cost),
            Err(e) => {
                eprintln!("{}: {e}", binary().display());
                return ExitCode::FAILURE;
            }
        }
    }
    let peak = costs.iter().map(|c| c.peak_bytes).max().unwrap_or(0);
    let Some(middle) = median(costs, |c| c.wall) else { return ExitCode::FAILURE };
    println!("runnel -e 'SELECT 1', {RUNS} runs");
    println!(
        "  wall time, median    {:>8.1} ms   (good: under {} ms)",
        middle.wall.as_secs_f64() * 1e3,
        GOOD_WALL.as_millis()
    );
    println!("  CPU time, median     {:>8.1} ms", middle.cpu.as_secs_f64() * 1e3);
    println!(
        "  peak memory, most    {:>8.1} MB   (good: under {} MB)",
        peak as f64 / 1e6,
        GOOD_PEAK_BYTES >> 20
    );
    if middle.wall < GOOD_WALL && peak < GOOD_PEAK_BYTES { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
