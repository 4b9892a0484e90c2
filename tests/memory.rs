//! State of ten times its memory budget, through the binary: the answer is right, memory stays near the budget, and
//! no files are left.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Keys, each with a text of 400 bytes: about 40 MB of state.
const KEYS: u64 = 90_000;
/// What a process may take beside its budget, in KB.
const BESIDE_KB: u64 = 200 << 10;

fn binary() -> PathBuf {
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    path.join("runnel")
}

fn peak_kb(status: &str) -> Option<u64> {
    status.lines().find(|l| l.starts_with("VmHWM"))?.split_whitespace().nth(1)?.parse().ok()
}

/// A query that tells its final result only.
const BATCH: &[&str] = &["execution.runtime-mode=batch"];
/// One that tells what changes, now and then.
const STREAM: &[&str] = &[
    "execution.runtime-mode=streaming",
    "table.exec.mini-batch.enabled=true",
    "table.exec.mini-batch.allow-latency=5 s",
    "table.exec.mini-batch.size=100000",
];

/// Runs `query` over `numbers`, a table of the ids from 0 to `rows` - 1, within a budget of 4 MB. Gives what it tells,
/// after looking at its memory and at what it leaves.
fn run(rows: u64, settings: &[&str], query: &str) -> String {
    let temp = tempfile::tempdir().unwrap();
    let sql = format!(
        "CREATE TEMPORARY TABLE numbers (id BIGINT, k AS MOD(id, {KEYS}), ts AS TO_TIMESTAMP_LTZ(id, 3), \
         WATERMARK FOR ts AS ts) WITH ('connector' = 'datagen', 'rows-per-second' = '1000000000', \
         'fields.id.kind' = 'sequence', 'fields.id.start' = '0', 'fields.id.end' = '{}'); {query};",
        rows - 1
    );
    let child = Command::new(binary())
        .args(["--memory", "4mb", "--output", "csv", "-e", &sql])
        .args(settings.iter().flat_map(|setting| ["-D", setting]))
        .env("RUNNEL_CATALOG", "memory")
        .env("TMPDIR", temp.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("target/…/runnel: build with --workspace --bins");
    let status = format!("/proc/{}/status", child.id());
    let watch = std::thread::spawn(move || {
        let mut peak = None;
        while let Some(now) = std::fs::read_to_string(&status).ok().as_deref().and_then(peak_kb) {
            peak = peak.max(Some(now));
            std::thread::sleep(Duration::from_millis(20));
        }
        peak
    });
    let output = child.wait_with_output().unwrap();
    if let Some(peak) = watch.join().unwrap() {
        assert!(peak < (4 << 10) + BESIDE_KB, "{peak} KB");
    }
    let left: Vec<_> = std::fs::read_dir(temp.path()).unwrap().flatten().map(|e| e.file_name()).collect();
    assert!(left.is_empty(), "{left:?}");
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn an_aggregation_over_ten_times_the_budget() {
    // Each key comes twice, the second time long after it has left memory.
    let told = run(
        2 * KEYS,
        BATCH,
        &format!(
            "SELECT n, COUNT(*), SUM(s), MAX(CHAR_LENGTH(m)) FROM (SELECT MOD(id, {KEYS}) AS k, COUNT(*) AS n, \
             SUM(id) AS s, MAX(LPAD(CAST(id AS STRING), 400, 'x')) AS m FROM numbers GROUP BY MOD(id, {KEYS})) GROUP BY n"
        ),
    );
    let sum = 2 * KEYS * (2 * KEYS - 1) / 2;
    assert!(told.contains(&format!("2,{KEYS},{sum},400")), "{told}");
}

#[test]
fn a_join_over_ten_times_the_budget() {
    // The two sides go through the keys in another order each, so that a row's partners have mostly left memory.
    let told = run(
        KEYS,
        BATCH,
        &format!(
            "SELECT COUNT(*), SUM(a.id + b.id), MAX(CHAR_LENGTH(a.m || b.m)) FROM \
             (SELECT id, id AS k, LPAD(CAST(id AS STRING), 250, 'x') AS m FROM numbers) AS a JOIN \
             (SELECT id, MOD(id * 7919, {KEYS}) AS k, LPAD(CAST(id AS STRING), 250, 'y') AS m FROM numbers) AS b \
             ON a.k = b.k"
        ),
    );
    // 7919 and the number of keys have no divisor in common: each key is there once on both sides.
    let sum = KEYS * (KEYS - 1);
    assert!(told.contains(&format!("{KEYS},{sum},500")), "{told}");
}

#[test]
fn a_window_over_ten_times_the_budget() {
    // All keys twice in one window, of three minutes.
    let told = run(
        2 * KEYS,
        BATCH,
        "SELECT n, COUNT(*), SUM(s), MAX(CHAR_LENGTH(m)) FROM (SELECT k, COUNT(*) AS n, SUM(id) AS s, \
             MAX(LPAD(CAST(id AS STRING), 400, 'x')) AS m FROM TABLE(TUMBLE(TABLE numbers, DESCRIPTOR(ts), INTERVAL '1' DAY)) \
             GROUP BY window_start, window_end, k) GROUP BY n",
    );
    let sum = 2 * KEYS * (2 * KEYS - 1) / 2;
    assert!(told.contains(&format!("2,{KEYS},{sum},400")), "{told}");
}

#[test]
fn a_top_n_over_ten_times_the_budget() {
    // Each key comes three times, and keeps its last two rows: 180 MB.
    let told = run(
        3 * KEYS,
        STREAM,
        "SELECT COUNT(*), SUM(id), SUM(CHAR_LENGTH(m)) FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY k ORDER BY id DESC) AS rn \
         FROM (SELECT id, k, LPAD(CAST(id AS STRING), 1000, 'x') AS m FROM numbers)) WHERE rn <= 2",
    );
    let sum: u64 = (KEYS..3 * KEYS).sum();
    assert!(told.contains(&format!("{},{sum},{}", 2 * KEYS, 2 * KEYS * 1000)), "{told}");
}

#[test]
fn a_deduplication_over_ten_times_the_budget() {
    let told = run(
        2 * KEYS,
        STREAM,
        "SELECT COUNT(*), SUM(id), SUM(CHAR_LENGTH(m)) FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY k ORDER BY ts DESC) AS rn \
         FROM (SELECT id, k, ts, LPAD(CAST(id AS STRING), 1000, 'x') AS m FROM numbers)) WHERE rn = 1",
    );
    let sum: u64 = (KEYS..2 * KEYS).sum();
    assert!(told.contains(&format!("{KEYS},{sum},{}", KEYS * 1000)), "{told}");
}

#[test]
fn a_window_top_n_over_ten_times_the_budget() {
    // All keys twice in one window, of which one row is kept.
    let told = run(
        2 * KEYS,
        STREAM,
        "SELECT COUNT(*), SUM(id), SUM(CHAR_LENGTH(m)) FROM (SELECT *, ROW_NUMBER() OVER \
         (PARTITION BY window_start, window_end, k ORDER BY id DESC) AS rn FROM (SELECT id, k, window_start, window_end, \
         LPAD(CAST(id AS STRING), 2000, 'x') AS m FROM TABLE(TUMBLE(TABLE numbers, DESCRIPTOR(ts), INTERVAL '1' DAY)))) WHERE rn <= 1",
    );
    let sum: u64 = (KEYS..2 * KEYS).sum();
    assert!(told.contains(&format!("{KEYS},{sum},{}", KEYS * 2000)), "{told}");
}

#[test]
fn a_key_larger_than_the_budget_is_told_of() {
    let told = run(
        60_000,
        STREAM,
        "SELECT COUNT(*), SUM(CHAR_LENGTH(m)) FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY MOD(k, 2) ORDER BY id DESC) AS rn \
         FROM (SELECT id, k, LPAD(CAST(id AS STRING), 400, 'x') AS m FROM numbers)) WHERE rn <= 20000",
    );
    assert!(told.contains(&format!("40000,{}", 40_000 * 400)), "{told}");
    let notes: Vec<&str> = told.lines().filter(|l| l.contains("for a single key")).collect();
    assert!(notes.len() == 1 && notes[0].contains("'taskmanager.memory.managed.size'"), "{told}");
}
