//! Random queries over random tables: the streaming result, folded to a table, against SQLite's plain batch
//! evaluation (docs/decisions says why SQLite).
//!
//! `RANDOM_SECONDS=3600 RANDOM_SEED=1 cargo test --workspace --test random -- --nocapture` goes on for an hour; what it
//! finds is printed with its seed, tables and both texts. `RANDOM_SEED=n RANDOM_CASES=1` repeats case n.

use engine::{Error, Session};
use rusqlite::types::ValueRef;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};
use tests::random::{Generator, Query, Row, TABLES};
use tests::{Runner, materialized};

/// Cases in the suite.
const CASES: u64 = 100;
/// Queries over the same tables.
const QUERIES: usize = 4;

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|v| v.parse().ok())
}

/// Writes the tables as JSON, each over some files, and gives their DDL.
fn write_tables(folder: &Path, tables: &[Vec<Row>], files: usize) -> String {
    let mut ddl = String::new();
    for (name, rows) in TABLES.iter().zip(tables) {
        let path = folder.join(name);
        std::fs::create_dir_all(&path).unwrap();
        let mut texts = vec![String::new(); files];
        for (n, row) in rows.iter().enumerate() {
            let time =
                chrono::DateTime::from_timestamp_millis(row.ts).unwrap().format("%Y-%m-%d %H:%M:%S%.3f");
            let line = serde_json::json!({"k": row.k, "a": row.a, "s": row.s, "ts": time.to_string()});
            writeln!(texts[n * files / rows.len()], "{line}").unwrap();
        }
        for (n, text) in texts.into_iter().enumerate() {
            std::fs::write(path.join(format!("{n}.json")), text).unwrap();
        }
        writeln!(
            ddl,
            "CREATE TABLE {name} (k BIGINT, a BIGINT, s STRING, ts TIMESTAMP(3),
               WATERMARK FOR ts AS ts - INTERVAL '1' DAY)
             WITH ('connector' = 'filesystem', 'path' = '{}', 'format' = 'json');",
            path.display()
        )
        .unwrap();
    }
    ddl
}

fn oracle(tables: &[Vec<Row>]) -> rusqlite::Connection {
    let connection = rusqlite::Connection::open_in_memory().unwrap();
    for (name, rows) in TABLES.iter().zip(tables) {
        connection
            .execute_batch(&format!("CREATE TABLE {name} (k INTEGER, a INTEGER, s TEXT, ts INTEGER)"))
            .unwrap();
        let mut insert = connection.prepare(&format!("INSERT INTO {name} VALUES (?, ?, ?, ?)")).unwrap();
        for row in rows {
            insert.execute(rusqlite::params![row.k, row.a, row.s, row.ts]).unwrap();
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

/// Whether Runnel says that it lacks something, rather than that something went wrong.
fn is_refusal(e: &Error) -> bool {
    e.message().contains("not supported")
}

fn answer(runner: &mut Runner, query: &Query) -> Result<Vec<Vec<String>>, Error> {
    let mut answers = runner.run(&query.flink);
    assert_eq!(answers.len(), 1, "{}", query.flink);
    answers.remove(0).map(|answer| {
        let mut rows = materialized(&answer.changes);
        rows.sort();
        rows
    })
}

fn set(session: &mut Session, key: &str, value: &str) {
    session.config_mut().set(key, value).unwrap();
}

/// Runs the case of one seed; what differs is told.
fn case(seed: u64, counts: &mut BTreeMap<&'static str, (u64, u64)>) -> Vec<String> {
    let mut generator = Generator::new(seed);
    let tables: Vec<Vec<Row>> = TABLES.iter().map(|_| generator.rows()).collect();
    let folder = tempfile::tempdir().unwrap();
    let ddl = write_tables(folder.path(), &tables, 1 + generator.below(3));
    let oracle = oracle(&tables);
    let mut runner = Runner::new();
    assert!(runner.run(&ddl).is_empty(), "{ddl}");
    let parallelism = [1, 1, 2, 4][generator.below(4)].to_string();
    set(&mut runner.session, "parallelism.default", &parallelism);
    let mut found = Vec::new();
    for _ in 0..QUERIES {
        let query = generator.query();
        let wanted = expected(&oracle, &query.sqlite);
        let given = answer(&mut runner, &query);
        let refused = matches!(&given, Err(e) if is_refusal(e));
        for shape in &query.shapes {
            let count = counts.entry(shape).or_default();
            *if refused { &mut count.1 } else { &mut count.0 } += 1;
        }
        let what = match given {
            Ok(rows) if rows == wanted => continue,
            Err(e) if is_refusal(&e) => continue,
            Ok(rows) => {
                let missing: Vec<_> = wanted.iter().filter(|r| !rows.contains(r)).take(5).collect();
                let extra: Vec<_> = rows.iter().filter(|r| !wanted.contains(r)).take(5).collect();
                format!(
                    "{} rows instead of {}; missing {missing:?}, extra {extra:?}",
                    rows.len(),
                    wanted.len()
                )
            }
            Err(e) => format!("failed: {e}"),
        };
        found.push(format!(
            "seed {seed}, parallelism {parallelism}: {what}\n  flink:  {}\n  sqlite: {}\n",
            query.flink, query.sqlite
        ));
    }
    found
}

#[test]
fn folded_streams_are_what_sqlite_says() {
    let first = setting("RANDOM_SEED").unwrap_or(1);
    let started = Instant::now();
    let until = setting("RANDOM_SECONDS").map(Duration::from_secs);
    let cases = setting("RANDOM_CASES").unwrap_or(CASES);
    let mut counts = BTreeMap::new();
    let mut found = Vec::new();
    let mut seed = first;
    while until.map_or(seed < first + cases, |until| started.elapsed() < until) && found.len() < 20 {
        found.extend(case(seed, &mut counts));
        seed += 1;
    }
    println!("{} cases; shape: run, refused", seed - first);
    for (shape, (run, refused)) in &counts {
        println!("  {shape:<12}{run:>8}{refused:>8}");
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}
