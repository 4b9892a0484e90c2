//! Random queries over random tables: the streaming result, folded to a table, against SQLite's plain batch
//! evaluation (docs/decisions says why SQLite). Files are cut and batches split at random, at any parallelism, perhaps
//! with little memory or mini-batches, perhaps checkpointed, killed and restored at another parallelism on the way.
//!
//! `RANDOM_SECONDS=3600 RANDOM_SEED=1 cargo test --workspace --test random -- --nocapture` goes on for an hour; what it
//! finds is printed with its seed, tables and both texts. `RANDOM_SEED=n RANDOM_CASES=1` repeats case n.

use engine::{Error, Session, sql};
use rusqlite::types::ValueRef;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};
use tests::random::{Generator, Query, Row, Table};
use tests::recovery::{Life, Lives, run_in_lives};
use tests::{Runner, materialized};

/// Cases in the suite.
const CASES: u64 = 60;
/// Queries over the same tables.
const QUERIES: usize = 4;

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|v| v.parse().ok())
}

fn json(row: &Row) -> serde_json::Value {
    let time = chrono::DateTime::from_timestamp_millis(row.ts).unwrap().format("%Y-%m-%d %H:%M:%S%.3f");
    serde_json::json!({"id": row.id, "k": row.k, "a": row.a, "s": row.s, "ts": time.to_string()})
}

/// Writes the tables as JSON, those that only grow each over some files, and gives their DDL. `twice`: changes come
/// again, and the session is told so.
fn write_tables(folder: &Path, tables: &[Table], files: usize, twice: bool) -> String {
    let mut ddl = String::new();
    for table in tables {
        let (name, path) = (table.name, folder.join(table.name));
        std::fs::create_dir_all(&path).unwrap();
        // Changes of one row must stay in order.
        let files = if table.is_appended() { files } else { 1 };
        let mut texts = vec![String::new(); files];
        for (n, change) in table.changes.iter().enumerate() {
            let line = match (&change.before, &change.after) {
                (None, Some(row)) if table.is_appended() => json(row),
                (before, after) => {
                    let op = match (before, after) {
                        (None, _) => "c",
                        (_, None) => "d",
                        _ => "u",
                    };
                    serde_json::json!({"before": before.as_ref().map(json), "after": after.as_ref().map(json), "op": op})
                }
            };
            let times = if twice && table.has_key() && n % 3 == 0 { 2 } else { 1 };
            for _ in 0..times {
                writeln!(texts[n * files / table.changes.len()], "{line}").unwrap();
            }
        }
        let whole = path.with_extension("json");
        std::fs::write(&whole, texts.concat()).unwrap();
        for (n, text) in texts.into_iter().enumerate() {
            std::fs::write(path.join(format!("{n}.json")), text).unwrap();
        }
        let key = if table.has_key() { "PRIMARY KEY (id) NOT ENFORCED, " } else { "" };
        let format = if table.is_appended() { "json" } else { "debezium-json" };
        let mut create = |name: &str, path: &Path| {
            writeln!(
                ddl,
                "CREATE TABLE {name} (id BIGINT, k BIGINT, a BIGINT, s STRING, ts TIMESTAMP(3),
                   {key}WATERMARK FOR ts AS ts - INTERVAL '1' DAY)
                 WITH ('connector' = 'filesystem', 'path' = '{}', 'format' = '{format}');",
                path.display()
            )
            .unwrap();
        };
        create(name, &path);
        if let (true, Some(n)) = (table.is_appended(), name.strip_prefix('t')) {
            // Versions are made in order: one that comes after a newer one is none.
            create(&format!("whole{n}"), &whole);
            writeln!(
                ddl,
                "CREATE TEMPORARY VIEW v{n} AS SELECT k, a, s, ts FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY k
                   ORDER BY ts DESC) AS rn FROM whole{n}) WHERE rn = 1;"
            )
            .unwrap();
        }
    }
    ddl
}

fn oracle(tables: &[Table]) -> rusqlite::Connection {
    let connection = rusqlite::Connection::open_in_memory().unwrap();
    for table in tables {
        let name = table.name;
        connection
            .execute_batch(&format!(
                "CREATE TABLE {name} (id INTEGER, k INTEGER, a INTEGER, s TEXT, ts INTEGER)"
            ))
            .unwrap();
        let mut insert = connection.prepare(&format!("INSERT INTO {name} VALUES (?, ?, ?, ?, ?)")).unwrap();
        for row in table.rows() {
            insert.execute(rusqlite::params![row.id, row.k, row.a, row.s, row.ts]).unwrap();
        }
    }
    connection
}

fn expected(connection: &rusqlite::Connection, sql: &str) -> Vec<Vec<String>> {
    let mut statement = connection.prepare(sql).unwrap_or_else(|e| panic!("{e}\n{sql}"));
    let columns = statement.column_count();
    let mut rows = statement.query([]).unwrap();
    let mut all = Vec::new();
    while let Some(row) = rows.next().unwrap() {
        let cell = |n| match row.get_ref(n).unwrap() {
            ValueRef::Null => "<NULL>".to_string(),
            ValueRef::Integer(v) => v.to_string(),
            ValueRef::Text(v) => String::from_utf8(v.to_vec()).unwrap(),
            other => panic!("{other:?}\n{sql}"),
        };
        all.push((0..columns).map(cell).collect());
    }
    all.sort();
    all
}

/// Whether Runnel says that it lacks something, or refuses what Flink does, rather than that something went wrong.
fn is_refusal(e: &Error) -> bool {
    e.message().contains("not supported") || e.message().starts_with("Rank end should not less than zero")
}

/// The rows, and how often the job was killed.
fn answer(runner: &mut Runner, query: &Query, how: &Lives) -> Result<(Vec<Vec<String>>, usize), Error> {
    let piece = sql::split(&query.flink)?.remove(0);
    let (answer, kills) = run_in_lives(runner, &piece, how)?;
    let mut rows = materialized(&answer.changes);
    rows.sort();
    Ok((rows, kills))
}

fn set(session: &mut Session, key: &str, value: &str) {
    session.config_mut().set(key, value).unwrap();
}

/// How a query runs: most of them are killed some times.
fn lives(generator: &mut Generator) -> Lives {
    let mut lives = Vec::new();
    for life in 0.. {
        let parallelism = [1, 1, 2, 4][generator.below(4)];
        let mut checkpoints: Vec<u64> = Vec::new();
        if life < 3 && generator.chance(45) {
            checkpoints.extend((0..1 + generator.below(3)).map(|_| generator.below(60) as u64));
            checkpoints.sort_unstable();
        }
        let is_last = checkpoints.is_empty();
        lives.push(Life { parallelism, checkpoints });
        if is_last {
            break;
        }
    }
    Lives {
        lives,
        batch_rows: [1, 3, 8, 8192][generator.below(4)],
        memory: if generator.chance(25) { Some(2000) } else { None },
    }
}

/// What was run and how often, by shape; and how often a query was killed.
#[derive(Default)]
struct Counts {
    shapes: BTreeMap<&'static str, (u64, u64)>,
    kills: usize,
}

/// Tables in a folder, in SQLite and in a session.
struct Setting {
    oracle: rusqlite::Connection,
    runner: Runner,
    _folder: tempfile::TempDir,
}

impl Setting {
    /// `twice`: changes come twice, and the session is told so.
    fn new(tables: &[Table], files: usize, twice: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ddl = write_tables(folder.path(), tables, files, twice);
        let mut runner = Runner::new();
        assert!(runner.run(&ddl).is_empty(), "{ddl}");
        set(
            &mut runner.session,
            "table.exec.source.cdc-events-duplicate",
            if twice { "true" } else { "false" },
        );
        Self { oracle: oracle(tables), runner, _folder: folder }
    }

    fn mini_batches(&mut self, rows: usize) {
        set(&mut self.runner.session, "table.exec.mini-batch.enabled", "true");
        set(&mut self.runner.session, "table.exec.mini-batch.allow-latency", "1 s");
        set(&mut self.runner.session, "table.exec.mini-batch.size", &rows.to_string());
    }

    /// Runs a query and compares; what differs is told. Gives how often the job was killed.
    ///
    /// Errors: what Runnel lacks.
    fn check(&mut self, query: &Query, how: &Lives) -> Result<Result<usize, String>, Error> {
        let wanted = expected(&self.oracle, &query.sqlite);
        Ok(match answer(&mut self.runner, query, how) {
            Ok((rows, kills)) if rows == wanted => Ok(kills),
            Ok((rows, kills)) => {
                let missing: Vec<_> = wanted.iter().filter(|r| !rows.contains(r)).take(5).collect();
                let extra: Vec<_> = rows.iter().filter(|r| !wanted.contains(r)).take(5).collect();
                Err(format!(
                    "{} rows instead of {}, killed {kills} times; missing {missing:?}, extra {extra:?}",
                    rows.len(),
                    wanted.len()
                ))
            }
            Err(e) if is_refusal(&e) => return Err(e),
            Err(e) => Err(format!("failed: {e}")),
        })
    }
}

/// Runs the case of one seed; what differs is told.
fn case(seed: u64, counts: &mut Counts) -> Vec<String> {
    let mut generator = Generator::new(seed);
    let tables = generator.tables();
    let twice = generator.chance(30);
    let mut setting = Setting::new(&tables, 1 + generator.below(3), twice);
    let mini_batch = generator.chance(25);
    if mini_batch {
        setting.mini_batches(1 + generator.below(12));
    }
    let mut found = Vec::new();
    for _ in 0..QUERIES {
        let query = generator.query();
        let how = lives(&mut generator);
        let checked = setting.check(&query, &how);
        for shape in &query.shapes {
            let count = counts.shapes.entry(shape).or_default();
            *if checked.is_err() { &mut count.1 } else { &mut count.0 } += 1;
        }
        match checked {
            Err(_) => {}
            Ok(Ok(kills)) => counts.kills += kills,
            Ok(Err(what)) => found.push(format!(
                "seed {seed}, {how:?}, twice {twice}, mini-batch {mini_batch}: {what}\n  flink:  {}\n  sqlite: {}\n",
                query.flink, query.sqlite
            )),
        }
    }
    found
}

/// What the generator has found, with the least that shows it; SQLite's text where it is another one.
const FOUND: &[(&str, Option<&str>)] = &[
    // Changes were the first that there was to write, and were taken for damage.
    ("SELECT x.a, y.a FROM t0 AS x JOIN t1 AS y ON x.k = y.k", None),
    ("SELECT k, COUNT(*) FROM t0 GROUP BY k", None),
    // Rows without columns that wait for their mini-batch could not be restored.
    ("SELECT COUNT(*) FROM t0", None),
    // The key of the only row has no columns.
    ("SELECT c FROM (SELECT COUNT(*) AS c FROM t0) ORDER BY c DESC LIMIT 3", None),
];

#[test]
fn what_was_found_stays_right() {
    let life = |parallelism, checkpoints: &[u64]| Life { parallelism, checkpoints: checkpoints.to_vec() };
    let hows = [
        vec![life(1, &[])],
        vec![life(2, &[])],
        vec![life(1, &[0, 9]), life(2, &[20]), life(1, &[])],
        vec![life(2, &[0, 30]), life(1, &[])],
    ];
    let mut found = Vec::new();
    for seed in 1..=2 {
        let tables = Generator::new(seed).tables();
        for (flink, sqlite) in FOUND {
            let sqlite = sqlite.unwrap_or(flink).to_string();
            let query = Query { flink: flink.to_string(), sqlite, shapes: Vec::new() };
            for (lives, mini_batch) in hows.iter().flat_map(|lives| [(lives, false), (lives, true)]) {
                let how = Lives { lives: lives.clone(), batch_rows: 3, memory: None };
                let mut setting = Setting::new(&tables, 1, false);
                if mini_batch {
                    setting.mini_batches(5);
                }
                if let Err(what) = setting.check(&query, &how).unwrap() {
                    found.push(format!("tables {seed}, {how:?}, mini-batch {mini_batch}: {what}\n  {flink}"));
                }
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn folded_streams_are_what_sqlite_says() {
    let first = setting("RANDOM_SEED").unwrap_or(1);
    let started = Instant::now();
    let until = setting("RANDOM_SECONDS").map(Duration::from_secs);
    let cases = setting("RANDOM_CASES").unwrap_or(CASES);
    let mut counts = Counts::default();
    let mut found = Vec::new();
    let mut seed = first;
    while until.map_or(seed < first + cases, |until| started.elapsed() < until) && found.len() < 20 {
        found.extend(case(seed, &mut counts));
        seed += 1;
    }
    println!("{} cases, {} kills; shape: run, refused", seed - first, counts.kills);
    for (shape, (run, refused)) in &counts.shapes {
        println!("  {shape:<22}{run:>8}{refused:>8}");
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
    assert!(setting("RANDOM_CASES").is_some() || counts.kills > 30, "only {} kills", counts.kills);
}
