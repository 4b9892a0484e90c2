//! Checkpoints that an earlier release wrote are restored: windows, groups, half-read files and files not yet published
//! go on where they were. `tests/checkpoints/capture.sh` makes a fixture; one that is there is never made again.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Rows of the input. With the checkpoint comes the place in the file, not the file.
const ROWS: u64 = 60_000;
/// The input's place is part of the checkpoint, and so the same everywhere.
const INPUT: &str = "/tmp/runnel-checkpoint-fixture/v1";

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("checkpoints/v1")
}

fn row(n: u64) -> (String, u64) {
    (format!("k{}", n % 7), n * 10)
}

/// Writes the input, always the same, whole or not at all.
fn input() {
    let path = Path::new(INPUT).join("rows.json");
    if path.exists() {
        return;
    }
    std::fs::create_dir_all(INPUT).unwrap();
    let mut text = String::new();
    for n in 0..ROWS {
        let (k, ms) = row(n);
        let (minute, second, milli) = (ms / 60_000, ms / 1000 % 60, ms % 1000);
        writeln!(
            text,
            "{{\"n\":{n},\"k\":\"{k}\",\"ts\":\"2024-01-01 00:{minute:02}:{second:02}.{milli:03}\"}}"
        )
        .unwrap();
    }
    let new = Path::new(INPUT).join(format!(".rows.{}", std::process::id()));
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, path).unwrap();
}

/// The job of the checkpoint: windows into files, and groups told as a changelog.
fn script(output: &Path) -> String {
    format!(
        "CREATE TABLE numbers (n BIGINT, k STRING, ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '1' SECOND)
           WITH ('connector' = 'filesystem', 'path' = '{INPUT}', 'format' = 'json');
         CREATE TABLE windows (w TIMESTAMP(3), k STRING, c BIGINT, s BIGINT)
           WITH ('connector' = 'filesystem', 'path' = '{}', 'format' = 'json');
         CREATE TABLE `groups` (k STRING, c BIGINT, s BIGINT, least BIGINT, d BIGINT) WITH ('connector' = 'print');
         SET 'table.dml-sync' = 'true';
         EXECUTE STATEMENT SET BEGIN
           INSERT INTO windows SELECT window_start, k, COUNT(*), SUM(n)
             FROM TABLE(TUMBLE(TABLE numbers, DESCRIPTOR(ts), INTERVAL '7' SECOND))
             GROUP BY window_start, window_end, k;
           INSERT INTO `groups` SELECT k, COUNT(*), SUM(n), MIN(n), COUNT(DISTINCT n % 100) FROM numbers GROUP BY k;
         END;",
        output.display()
    )
}

/// The newest checkpoint of the fixture.
fn checkpoint() -> PathBuf {
    let entries = std::fs::read_dir(fixture()).unwrap().map(|e| e.unwrap().path());
    entries.filter(|p| p.join("manifest.json").exists()).max().expect("a checkpoint")
}

fn binary() -> PathBuf {
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    path.join("runnel")
}

/// Windows in the files below `output`: each once. No file is left hidden.
fn windows(output: &Path) -> BTreeMap<(u64, String), (u64, u64)> {
    let mut seen = BTreeMap::new();
    for file in std::fs::read_dir(output).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(!name.starts_with('.'), "{name} is left");
        for line in std::fs::read_to_string(&path).unwrap().lines() {
            let row: serde_json::Value = serde_json::from_str(line).unwrap();
            let start = row["w"].as_str().unwrap();
            let start = chrono::NaiveDateTime::parse_from_str(start, "%Y-%m-%d %H:%M:%S%.f").unwrap();
            let key = (start.and_utc().timestamp_millis() as u64, row["k"].as_str().unwrap().to_string());
            let value = (row["c"].as_u64().unwrap(), row["s"].as_u64().unwrap());
            assert_eq!(seen.insert(key, value), None, "a window twice");
        }
    }
    seen
}

#[test]
fn a_checkpoint_of_the_first_release_goes_on() {
    input();
    let mut wanted: BTreeMap<(u64, String), (u64, u64)> = BTreeMap::new();
    for n in 0..ROWS {
        let (k, ms) = row(n);
        let at = 1_704_067_200_000 + ms;
        let window = wanted.entry((at - at % 7000, k)).or_default();
        *window = (window.0 + 1, window.1 + n);
    }
    let mut groups = BTreeMap::new();
    for k in 0..7u64 {
        let numbers: Vec<u64> = (0..ROWS).filter(|n| n % 7 == k).collect();
        let sum: u64 = numbers.iter().sum();
        groups.insert(format!("k{k}"), format!("{}, {sum}, {k}, 100", numbers.len()));
    }
    for parallelism in [2, 1, 4] {
        let folder = tempfile::TempDir::new().unwrap();
        let output = folder.path().join("output");
        std::fs::create_dir(&output).unwrap();
        for file in std::fs::read_dir(fixture().join("output")).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), output.join(file.file_name())).unwrap();
        }
        let sql = folder.path().join("job.sql");
        let restored = format!(
            "SET 'execution.savepoint.path' = '{}';\nSET 'parallelism.default' = '{parallelism}';\n",
            checkpoint().display()
        );
        std::fs::write(&sql, restored + &script(&output)).unwrap();
        let run = Command::new(binary()).args(["--catalog", "memory", "run"]).arg(&sql).output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
        assert!(run.status.success(), "{out}{err}");
        assert_eq!(windows(&output), wanted, "at parallelism {parallelism}");
        // What was told before the checkpoint is not told again.
        let told = out.lines().filter(|l| l.contains("+U[")).count() as u64;
        assert!(0 < told && told < ROWS * 9 / 10, "{told}");
        let mut seen = BTreeMap::new();
        for line in out.lines() {
            if let Some((_, rest)) = line.split_once("+U[") {
                let (k, values) = rest.trim_end().trim_end_matches(']').split_once(", ").unwrap();
                seen.insert(k.to_string(), values.to_string());
            }
        }
        assert_eq!(seen, groups, "at parallelism {parallelism}");
    }
}

/// Writes the input and the script for `checkpoints/capture.sh`; does nothing in a test run.
#[test]
fn script_for_capture() {
    let Ok(folder) = std::env::var("RUNNEL_CAPTURE") else { return };
    input();
    let folder = Path::new(&folder);
    std::fs::write(folder.join("job.sql"), script(&folder.join("output"))).unwrap();
}
