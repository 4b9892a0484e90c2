//! Checkpoints that an earlier release wrote are restored: windows, groups, half-read files and files not yet published
//! (v1), and the state of every kind of operator (v2) go on where they were. `tests/checkpoints/capture.sh` makes a
//! fixture; one that is there is never made again.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Rows of the input. With the checkpoint comes the place in the file, not the file.
const ROWS: u64 = 60_000;
/// The input's place is part of the checkpoint, and so the same everywhere.
const INPUT: &str = "/tmp/runnel-checkpoint-fixture/v1";

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("checkpoints").join(name)
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

/// Queries with state of every kind. Each tells two totals, which in the end are of all rows, those before the checkpoint
/// too.
const STATEFUL: &[(&str, &str)] = &[
    ("inner join", "SELECT a.n AS x, b.n AS y FROM evens AS a JOIN thirds AS b ON MOD(a.n, 997) = MOD(b.n, 997)"),
    ("inner join with a condition", "SELECT a.n AS x, b.n AS y FROM evens AS a JOIN thirds AS b ON a.k = b.k AND a.n BETWEEN b.n AND b.n + 200"),
    ("left join of changes", "SELECT a.m AS x, b.m AS y FROM (SELECT MOD(n, 50) AS g, MAX(n) AS m FROM numbers GROUP BY MOD(n, 50)) AS a
        LEFT JOIN (SELECT MOD(n, 75) AS g, MIN(n) AS m FROM thirds GROUP BY MOD(n, 75)) AS b ON a.g = b.g"),
    ("full join", "SELECT a.n AS x, b.n AS y FROM evens AS a FULL JOIN thirds AS b ON a.n = b.n"),
    ("semi join", "SELECT n AS x, 1 AS y FROM evens AS a WHERE EXISTS (SELECT 1 FROM thirds AS b WHERE a.n = b.n)"),
    ("anti join", "SELECT n AS x, 1 AS y FROM evens AS a WHERE NOT EXISTS (SELECT 1 FROM thirds AS b WHERE a.n = b.n)"),
    ("interval join", "SELECT a.n AS x, b.n AS y FROM evens AS a JOIN thirds AS b ON a.k = b.k AND a.ts BETWEEN b.ts - INTERVAL '2' SECOND AND b.ts"),
    ("temporal join", "SELECT a.n AS x, b.n AS y FROM evens AS a JOIN versions FOR SYSTEM_TIME AS OF a.ts AS b ON a.k = b.k"),
    ("window join", "SELECT a.n AS x, b.n AS y FROM TABLE(TUMBLE(TABLE evens, DESCRIPTOR(ts), INTERVAL '7' SECOND)) AS a
        JOIN TABLE(TUMBLE(TABLE thirds, DESCRIPTOR(ts), INTERVAL '7' SECOND)) AS b
        ON a.window_start = b.window_start AND a.window_end = b.window_end AND a.k = b.k"),
    ("top-n", "SELECT n AS x, rn AS y FROM (SELECT n, ROW_NUMBER() OVER (PARTITION BY k ORDER BY MOD(n, 10000) DESC, n) AS rn FROM numbers) WHERE rn <= 5"),
    ("top-n of changes", "SELECT m AS x, rn AS y FROM (SELECT m, ROW_NUMBER() OVER (ORDER BY m DESC) AS rn
        FROM (SELECT MOD(n, 60) AS g, SUM(n) AS m FROM evens GROUP BY MOD(n, 60))) WHERE rn <= 4"),
    ("first rows", "SELECT n AS x, 1 AS y FROM (SELECT n, ROW_NUMBER() OVER (PARTITION BY n / 90 ORDER BY ts) AS rn FROM numbers) WHERE rn = 1"),
    ("last rows", "SELECT n AS x, 1 AS y FROM (SELECT n, ROW_NUMBER() OVER (PARTITION BY MOD(n, 90) ORDER BY ts DESC) AS rn FROM numbers) WHERE rn = 1"),
    ("window top-n", "SELECT n AS x, rn AS y FROM (SELECT n, ROW_NUMBER() OVER (PARTITION BY window_start, window_end, k ORDER BY n DESC) AS rn
        FROM TABLE(TUMBLE(TABLE numbers, DESCRIPTOR(ts), INTERVAL '7' SECOND))) WHERE rn <= 2"),
    ("over", "SELECT n AS x, SUM(n) OVER (PARTITION BY k ORDER BY ts ROWS BETWEEN 5 PRECEDING AND CURRENT ROW) AS y FROM numbers"),
    ("over a range", "SELECT n AS x, COUNT(n) OVER (PARTITION BY k ORDER BY ts RANGE BETWEEN INTERVAL '1' SECOND PRECEDING AND CURRENT ROW) AS y FROM evens"),
    ("hop", "SELECT c AS x, s AS y FROM (SELECT COUNT(*) AS c, SUM(n) AS s FROM TABLE(HOP(TABLE numbers, DESCRIPTOR(ts), INTERVAL '2' SECOND, INTERVAL '8' SECOND))
        GROUP BY window_start, window_end, k)"),
    ("cumulate", "SELECT c AS x, s AS y FROM (SELECT COUNT(*) AS c, SUM(n) AS s FROM TABLE(CUMULATE(TABLE numbers, DESCRIPTOR(ts), INTERVAL '2' SECOND, INTERVAL '8' SECOND))
        GROUP BY window_start, window_end, k)"),
    ("session", "SELECT c AS x, s AS y FROM (SELECT COUNT(*) AS c, SUM(n) AS s FROM TABLE(SESSION(TABLE pauses PARTITION BY k, DESCRIPTOR(ts), INTERVAL '1' SECOND))
        GROUP BY window_start, window_end, k)"),
    ("match", "SELECT x, y FROM evens MATCH_RECOGNIZE (PARTITION BY k ORDER BY ts MEASURES FIRST(A.n) AS x, LAST(B.n) AS y
        ONE ROW PER MATCH AFTER MATCH SKIP PAST LAST ROW PATTERN (A B{3}) DEFINE A AS MOD(A.n, 3) = 0)"),
    ("aggregates", "SELECT a AS x, b AS y FROM (SELECT COUNT(DISTINCT MOD(n, 200)) + MIN(n) AS a,
        FIRST_VALUE(n) + CHAR_LENGTH(LISTAGG(CAST(MOD(n, 10) AS STRING))) AS b FROM thirds GROUP BY k)"),
    ("grouping sets", "SELECT c AS x, s AS y FROM (SELECT COUNT(*) AS c, SUM(n) AS s FROM evens GROUP BY GROUPING SETS ((k), (MOD(n, 10)), ()))"),
    ("intersect", "SELECT n AS x, 1 AS y FROM (SELECT n FROM evens INTERSECT SELECT n FROM thirds)"),
    ("distinct", "SELECT DISTINCT n / 90 AS x, 1 AS y FROM numbers"),
];

/// The job of the second fixture.
fn stateful_script() -> String {
    let mut script = format!(
        "CREATE TABLE numbers (n BIGINT, k STRING, ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '1' SECOND)
           WITH ('connector' = 'filesystem', 'path' = '{INPUT}', 'format' = 'json');
         CREATE VIEW evens AS SELECT n, k, ts FROM numbers WHERE MOD(n, 20) = 0;
         CREATE VIEW thirds AS SELECT n, k, ts FROM numbers WHERE MOD(n, 30) = 0;
         CREATE VIEW pauses AS SELECT n, k, ts FROM numbers WHERE MOD(n, 1000) < 300;
         CREATE VIEW versions AS SELECT k, n, ts FROM (SELECT k, n, ts, ROW_NUMBER() OVER (PARTITION BY k ORDER BY ts DESC) AS rn FROM thirds) WHERE rn = 1;
         CREATE TABLE totals (name STRING, c BIGINT, x BIGINT, y BIGINT) WITH ('connector' = 'print');
         SET 'table.dml-sync' = 'true';
         EXECUTE STATEMENT SET BEGIN\n"
    );
    for (name, query) in STATEFUL {
        writeln!(script, "INSERT INTO totals SELECT '{name}', COUNT(*), SUM(x), SUM(y) FROM ({query});")
            .unwrap();
    }
    script + "END;"
}

/// The last totals of each query that a run has told, and how many it told.
fn totals(out: &str) -> (BTreeMap<String, String>, usize) {
    let lines = out.lines().filter_map(|l| l.split_once("+I[").or_else(|| l.split_once("+U[")));
    let told: Vec<(String, String)> = lines
        .map(|(_, rest)| {
            let (name, values) = rest.trim_end().trim_end_matches(']').split_once(", ").unwrap();
            (name.to_string(), values.to_string())
        })
        .collect();
    let count = told.len();
    (told.into_iter().collect(), count)
}

#[test]
fn a_checkpoint_of_every_kind_of_state_goes_on() {
    input();
    let folder = tempfile::TempDir::new().unwrap();
    let run = |settings: &str| {
        let sql = folder.path().join("job.sql");
        std::fs::write(&sql, settings.to_owned() + &stateful_script()).unwrap();
        let run = Command::new(binary()).args(["--catalog", "memory", "run"]).arg(&sql).output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
        assert!(run.status.success(), "{out}{err}");
        totals(&out)
    };
    let (wanted, all) = run("");
    assert_eq!(wanted.len(), STATEFUL.len(), "{wanted:?}");
    for parallelism in [2, 1, 4] {
        let from = checkpoint("v2");
        let (seen, told) = run(&format!(
            "SET 'execution.savepoint.path' = '{}';\nSET 'parallelism.default' = '{parallelism}';\n",
            from.display()
        ));
        assert_eq!(seen, wanted, "at parallelism {parallelism}");
        assert!(told < all, "it began anew: {told} of {all}");
    }
}

/// The newest checkpoint of a fixture.
fn checkpoint(name: &str) -> PathBuf {
    let entries = std::fs::read_dir(fixture(name)).unwrap().map(|e| e.unwrap().path());
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
        for file in std::fs::read_dir(fixture("v1").join("output")).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), output.join(file.file_name())).unwrap();
        }
        let sql = folder.path().join("job.sql");
        let restored = format!(
            "SET 'execution.savepoint.path' = '{}';\nSET 'parallelism.default' = '{parallelism}';\n",
            checkpoint("v1").display()
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
    std::fs::write(folder.join("job.sql"), stateful_script()).unwrap();
}
