//! The Nexmark queries, unedited, over nexmark/events.json: the tables that real Flink makes (nexmark/record.sh), at
//! parallelism 1 and 4. q12 goes by processing time: the file ends before a window does, in Flink too, so it is only run.

use engine::message::RowKind;
use std::fs;
use std::path::{Path, PathBuf};
use tests::{Runner, materialized};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("nexmark")
}

fn queries() -> Vec<String> {
    let files = fs::read_dir(folder()).unwrap().map(|e| e.unwrap().path());
    let mut names: Vec<String> = files
        .filter(|p| p.extension().is_some_and(|e| e == "sql"))
        .map(|p| p.file_stem().unwrap().to_str().unwrap().to_string())
        .filter(|n| n.starts_with('q'))
        .collect();
    names.sort();
    names
}

/// The source, its views, and the query's file.
fn script(name: &str, parallelism: usize) -> String {
    let read = |file: &str| fs::read_to_string(folder().join(file)).unwrap();
    let tables = read("ddl-json.sql").replace("${SRC}", &folder().join("events.json").display().to_string());
    // As when the answers were recorded: a watermark for each row, so that late rows are the same ones.
    let settings = "SET 'pipeline.auto-watermark-interval' = '0 ms'; SET 'table.dml-sync' = 'true';";
    format!(
        "{settings} SET 'parallelism.default' = '{parallelism}';\n{tables}\n{}",
        read(&format!("{name}.sql"))
    )
}

/// What the INSERT writes to its sink, as a query.
fn selected(script: &str) -> String {
    assert_eq!(script.matches("INSERT INTO sink").count(), 1);
    script.replace("INSERT INTO sink", "")
}

/// Rows of the table that Flink made.
fn recorded(name: &str) -> Vec<Vec<String>> {
    let text = fs::read_to_string(folder().join(format!("{name}.out"))).unwrap();
    assert!(!text.contains("!!"), "{name}: Flink failed");
    let mut rows: Vec<Vec<String>> = text
        .lines()
        .filter(|l| l.starts_with('|'))
        .skip(1)
        .map(|l| l.trim_matches('|').split('|').map(|c| c.trim().to_string()).collect())
        .collect();
    rows.sort();
    rows
}

fn results_are_flinks(parallelism: usize) {
    let mut failures = Vec::new();
    let mut rows = 0;
    for name in queries().iter().filter(|n| *n != "q12") {
        let answer = Runner::new().one(&selected(&script(name, parallelism)));
        let changes: Vec<_> = answer
            .changes
            .into_iter()
            .map(|(kind, row)| (kind, row.iter().map(|c| c.trim().to_string()).collect()))
            .collect();
        let expected = recorded(name);
        rows += expected.len();
        let expected: Vec<_> = expected.into_iter().map(|row| (RowKind::Insert, row)).collect();
        let (ours, theirs) = (materialized(&changes), materialized(&expected));
        if ours != theirs {
            failures.push(format!(
                "{name}: {} rows, Flink {}\n{ours:#?}\n{theirs:#?}",
                changes.len(),
                expected.len()
            ));
        }
    }
    assert!(failures.is_empty(), "{} queries differ:\n\n{}", failures.len(), failures.join("\n\n"));
    assert!(rows > 1000, "only {rows} rows were compared");
}

#[test]
fn all_queries_are_there_and_run_as_they_are() {
    let names = queries();
    assert_eq!(names.len(), 19, "{names:?}");
    for name in names {
        let answers = Runner::new().run(&script(&name, 2));
        assert!(answers.iter().all(Result::is_ok), "{name}: {answers:?}");
    }
}

#[test]
fn tables_are_flinks() {
    results_are_flinks(1);
}

#[test]
fn tables_are_flinks_at_parallelism_4() {
    results_are_flinks(4);
}
