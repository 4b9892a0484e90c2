//! Every fail point on the way of files → windows → files is walked: the step fails, or the process dies there, and the
//! answer is exactly right afterwards.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Rows of the source.
const ROWS: usize = 60_000;
/// Rows in each window.
const IN_WINDOW: usize = 100;
/// Runs that a killed job may need.
const MOST_RUNS: usize = 6;

/// The binary that the workspace has built beside this test.
fn binary() -> PathBuf {
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    path.join("runnel")
}

struct Job {
    folder: tempfile::TempDir,
}

impl Job {
    /// A file of rows, and a script that sums them up by windows into files.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut rows = String::new();
        for n in 0..ROWS {
            let (ms, s) = (n % 1000, n / 1000);
            let (h, m) = (s / 3600, s / 60 % 60);
            writeln!(rows, "2024-01-01 {h:02}:{m:02}:{:02}.{ms:03},k{},{n}", s % 60, n % 7).unwrap();
        }
        std::fs::write(folder.path().join("in.csv"), rows).unwrap();
        let dir = folder.path().display();
        let script = format!(
            "SET '$internal.pipeline.job-id' = '0123456789abcdef0123456789abcdef';
             SET 'execution.checkpointing.interval' = '5 ms';
             SET 'state.checkpoints.dir' = '{dir}/checkpoints';
             SET 'restart-strategy.type' = 'fixed-delay';
             SET 'restart-strategy.fixed-delay.attempts' = '5';
             SET 'restart-strategy.fixed-delay.delay' = '10 ms';
             SET 'parallelism.default' = '2';
             SET 'table.dml-sync' = 'true';
             CREATE TABLE source_rows (ts TIMESTAMP(3), k STRING, v BIGINT, WATERMARK FOR ts AS ts)
               WITH ('connector' = 'filesystem', 'path' = '{dir}/in.csv', 'format' = 'csv');
             CREATE TABLE sums (w STRING, c BIGINT, s BIGINT)
               WITH ('connector' = 'filesystem', 'path' = '{dir}/out', 'format' = 'csv');
             INSERT INTO sums SELECT CAST(window_start AS STRING), COUNT(*), SUM(v)
               FROM TABLE(TUMBLE(TABLE source_rows, DESCRIPTOR(ts), INTERVAL '0.1' SECOND))
               GROUP BY window_start, window_end;"
        );
        std::fs::write(folder.path().join("job.sql"), script).unwrap();
        Self { folder }
    }

    fn run(&self, armed: &str) -> Output {
        Command::new(binary())
            .args(["run", &self.folder.path().join("job.sql").display().to_string()])
            .env("RUNNEL_CATALOG", "memory")
            .env("RUNNEL_FAILPOINTS", armed)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// What is visible of the output: each window with its count and sum, and how often it is there.
    fn check(&self, what: &str) {
        let mut seen: BTreeMap<String, Vec<(usize, usize)>> = BTreeMap::new();
        let mut files = Vec::new();
        visible(&self.folder.path().join("out"), &mut files);
        for file in files {
            for line in std::fs::read_to_string(file).unwrap().lines() {
                let cells: Vec<&str> = line.split(',').collect();
                let numbers = (cells[1].parse().unwrap(), cells[2].parse().unwrap());
                seen.entry(cells[0].trim_matches('"').to_string()).or_default().push(numbers);
            }
        }
        assert_eq!(seen.len(), ROWS / IN_WINDOW, "{what}: windows");
        for (n, (window, values)) in seen.iter().enumerate() {
            let first = n * IN_WINDOW;
            let sum = (first..first + IN_WINDOW).sum::<usize>();
            assert_eq!(values, &[(IN_WINDOW, sum)], "{what}: window {window}");
        }
    }
}

fn visible(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.map(Result::unwrap) {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') || name.starts_with('_') {
            continue;
        }
        if entry.path().is_dir() { visible(&entry.path(), files) } else { files.push(entry.path()) }
    }
}

fn walked() -> impl Iterator<Item = &'static str> {
    let rooms = ["checkpoint.", "commit.", "restore."];
    engine::failpoint::NAMES.iter().copied().filter(move |n| rooms.iter().any(|r| n.starts_with(r)))
}

/// What makes a run go back to a checkpoint, so that the places of recovery are passed.
fn with_recovery(name: &str, action: &str) -> String {
    // The first start passes these too.
    let nth = if ["restore.running", "restore.sink-recover"].contains(&name) { "@2" } else { "@1" };
    if name.starts_with("restore.") {
        format!("commit.after=error@1;{name}={action}{nth}")
    } else if name == "commit.source" {
        // Passed by sources that still read: the file may be read before the second time.
        format!("{name}={action}@1")
    } else {
        format!("{name}={action}@2")
    }
}

#[test]
fn a_step_that_fails_costs_nothing() {
    for name in walked() {
        let job = Job::new();
        let armed = with_recovery(name, "error");
        let output = job.run(&armed);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{armed}: {told}");
        job.check(&armed);
    }
}

#[test]
fn a_process_that_dies_costs_nothing() {
    for name in walked() {
        let job = Job::new();
        let armed = with_recovery(name, "kill");
        let output = job.run(&armed);
        assert!(!output.status.success(), "{armed}: the place was not passed");
        let done = (0..MOST_RUNS).any(|_| job.run("").status.success());
        assert!(done, "{armed}: the job does not come back");
        job.check(&armed);
    }
}
