//! Results that a script can read: one JSON object a line, below `target/bench`.

use crate::Cost;
use serde::Serialize;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;

/// One run of one engine.
#[derive(Debug, Clone, Serialize)]
pub struct Run {
    /// Which benchmark.
    pub bench: String,
    /// `runnel`, `flink`, `duckdb`.
    pub engine: String,
    /// The query, or what is scaled.
    pub case: String,
    /// The value of what is scaled, where something is.
    pub at: Option<u64>,
    /// Number of parallel tasks.
    pub parallelism: usize,
    /// Events read.
    pub events: u64,
    /// Number of the run, from 0.
    pub run: usize,
    /// Seconds from start to end.
    pub wall_s: f64,
    /// Seconds of CPU time, of all threads.
    pub cpu_s: f64,
    /// Peak resident memory, in MB.
    pub peak_mb: f64,
}

impl Run {
    /// A run of Runnel.
    pub fn runnel(
        bench: &str,
        case: &str,
        at: Option<u64>,
        parallelism: usize,
        events: u64,
        run: usize,
        cost: &Cost,
    ) -> Self {
        Self {
            bench: bench.into(),
            engine: "runnel".into(),
            case: case.into(),
            at,
            parallelism,
            events,
            run,
            wall_s: cost.wall.as_secs_f64(),
            cpu_s: cost.cpu.as_secs_f64(),
            peak_mb: cost.peak_bytes as f64 / 1e6,
        }
    }

    /// Events per second of CPU time.
    pub fn per_cpu_second(&self) -> f64 {
        self.events as f64 / self.cpu_s
    }

    /// Events per second.
    pub fn per_second(&self) -> f64 {
        self.events as f64 / self.wall_s
    }
}

/// The run in the middle by CPU time; `None` of none.
pub fn middle<'a>(runs: impl IntoIterator<Item = &'a Run>) -> Option<&'a Run> {
    let mut runs: Vec<&Run> = runs.into_iter().collect();
    runs.sort_by(|a, b| a.cpu_s.total_cmp(&b.cpu_s));
    runs.get(runs.len() / 2).copied()
}

/// The folder of results and test data: `BENCH_DIR`, or `target/bench`.
pub fn folder() -> PathBuf {
    std::env::var_os("BENCH_DIR").map_or_else(|| crate::target().join("bench"), PathBuf::from)
}

/// Adds `runs` to the results of their benchmark.
///
/// Errors: the disk.
pub fn save(runs: &[Run]) -> io::Result<()> {
    runs.iter().try_for_each(|run| add(&run.bench, run))
}

/// Adds a result of any form to `<bench>.jsonl`.
///
/// Errors: the disk.
pub fn add(bench: &str, result: &impl Serialize) -> io::Result<()> {
    fs::create_dir_all(folder())?;
    let path = folder().join(format!("{bench}.jsonl"));
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    writeln!(file, "{}", serde_json::to_string(result)?)
}
