//! Golden cases: queries whose answers were recorded from real Flink (golden/record.sh), run straight, at parallelism
//! 4, and checkpointed, killed and restored in the middle (at the same parallelism, from 1 to 4, from 4 to 1), each with
//! the same answer. Cases also run without memory for state, so that all of it goes to disk after each batch: those of
//! the operators that keep most, all of them with `RUNNEL_GOLDEN_DISK=all`, which also kills and restores them so.
//! `GOLDEN=joins/` runs only cases whose path holds that text.
//!
//! `-- order: ordered` compares changes in order (at parallelism 4: the folded table); `sorted` compares them as a
//! set, since Flink fixes no order between keys; `materialized` compares the folded table. `-- parallelism: 1` leaves
//! the case out at parallelism 4. Column types are compared
//! without lengths of CHAR and VARCHAR, nullability and time attributes. `${DIM}` are the options of a table that is looked
//! up: a file, and in one more run the table of PostgreSQL that Flink was asked of.

use engine::message::RowKind;
use engine::state::MemoryBudget;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use tests::recovery::{KILLED_IN_THE_MIDDLE, run_in_two};
use tests::{Answer, Change, Runner, materialized};

/// Cases whose operators do not give their state to checkpoints yet, by the begin of their names.
const NOT_RECOVERED: &[&str] = &[];

/// How a case is run.
#[derive(Debug, Clone, Copy)]
enum How {
    /// At this parallelism, to the end.
    Straight(usize),
    /// The same, with what is looked up in PostgreSQL instead of a file.
    InPostgres(usize),
    /// Killed in the middle at the first, restored at the second.
    Recovered(usize, usize),
    /// As `Straight(1)`, with all state on disk.
    OnDisk,
    /// As `Recovered(1, 4)`, with all state on disk.
    RecoveredOnDisk,
}

/// Cases that run with their state on disk each time, by the begin of their names.
const ON_DISK: &[&str] = &["joins/", "ranks/", "over/", "windows/", "changelog/", "match/"];
/// Cases whose tables are looked up as a whole, in memory: a budget that holds nothing refuses them.
const IN_MEMORY: &[&str] = &["joins/lookup"];

/// One recorded query: types and changes, or that Flink refuses it.
#[derive(Debug)]
enum Recorded {
    Answer { types: Vec<String>, names: Vec<String>, changes: Vec<Change> },
    Error(String),
}

fn cases(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(cases(&path));
        } else if path.extension().is_some_and(|e| e == "sql") && path.with_extension("out").exists() {
            files.push(path);
        }
    }
    files.sort();
    files
}

fn recorded(path: &Path) -> Vec<Recorded> {
    let text = std::fs::read_to_string(path.with_extension("out")).unwrap();
    let mut all = Vec::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if let Some(error) = line.strip_prefix("!! error: ") {
            all.push(Recorded::Error(error.to_string()));
        } else if let Some(head) = line.strip_prefix("== query ") {
            let types = head.split_once('[').unwrap().1.strip_suffix(']').unwrap();
            let split = |l: &str| l.split('|').map(|c| c.trim().to_string()).collect::<Vec<_>>();
            if let Some(error) = lines.peek().and_then(|l| l.strip_prefix("!! error: ")) {
                all.push(Recorded::Error(error.to_string()));
                lines.next();
                continue;
            }
            let header = split(lines.next().unwrap());
            let with_op = usize::from(header[1] == "op");
            let mut changes = Vec::new();
            while let Some(row) = lines.peek().filter(|l| l.starts_with('|')) {
                let cells = split(row);
                let kind = match cells[1].as_str() {
                    _ if with_op == 0 => RowKind::Insert,
                    "+I" => RowKind::Insert,
                    "-U" => RowKind::UpdateBefore,
                    "+U" => RowKind::UpdateAfter,
                    "-D" => RowKind::Delete,
                    other => panic!("{other}"),
                };
                changes.push((kind, cells[1 + with_op..cells.len() - 1].to_vec()));
                lines.next();
            }
            let names = header[1 + with_op..header.len() - 1].to_vec();
            all.push(Recorded::Answer { types: types_of(types), names, changes });
        }
    }
    all
}

/// A list of types, cut at commas outside brackets, without lengths of texts and nullability.
fn types_of(text: &str) -> Vec<String> {
    let mut types = vec![String::new()];
    let mut depth = 0;
    for c in text.chars() {
        match c {
            '<' | '(' => depth += 1,
            '>' | ')' => depth -= 1,
            ',' if depth == 0 => {
                types.push(String::new());
                continue;
            }
            _ => {}
        }
        types.last_mut().unwrap().push(c);
    }
    types.iter().map(|t| loose(t.trim())).collect()
}

fn loose(text: &str) -> String {
    let mut text =
        text.replace(" NOT NULL", "").replace(" *ROWTIME*", "").replace(" *PROCTIME*", "").replace('`', "");
    for word in ["VARCHAR(", "CHAR("] {
        while let Some(at) = text.find(word) {
            let end = text[at..].find(')').unwrap() + at;
            text.replace_range(at..=end, "STRING");
        }
    }
    text
}

fn sorted(changes: &[Change]) -> Vec<Change> {
    let mut changes = changes.to_vec();
    changes.sort_by(|a, b| a.0.short().cmp(b.0.short()).then_with(|| a.1.cmp(&b.1)));
    changes
}

fn shown(changes: &[Change]) -> String {
    changes.iter().map(|(k, r)| format!("{} {}\n", k.short(), r.join(" | "))).collect()
}

fn trimmed(answer: Answer) -> Answer {
    let changes = answer
        .changes
        .into_iter()
        .map(|(k, r)| (k, r.iter().map(|c| c.trim().to_string()).collect()))
        .collect();
    Answer { changes, ..answer }
}

fn check(folder: &Path, path: &Path, how: How, failures: &mut Vec<String>) {
    let case = std::fs::read_to_string(path).unwrap();
    // With ties between keys the answer depends on which key's rows come first.
    let one = matches!(how, How::Straight(1) | How::InPostgres(1) | How::Recovered(1, 1) | How::OnDisk);
    if !one && case.contains("-- parallelism: 1") {
        return;
    }
    let tables = std::fs::read_to_string(folder.join("tables.sql")).unwrap();
    let text = format!("SET 'parallelism.default' = '${{PARALLELISM}}';\n{tables}\n{case}");
    let dim = match how {
        How::InPostgres(_) => format!(
            "'connector' = 'jdbc', 'url' = 'jdbc:postgresql://{}/runnel', 'table-name' = 'golden.dim', 'username' = 'runnel', \
             'password' = 'runnel-secret'",
            tests::services::postgres()
        ),
        _ => "'connector' = 'filesystem', 'path' = '${DATA}/dim.json', 'format' = 'json'".to_string(),
    };
    let text = text.replace("${DIM}", &dim).replace("${DATA}", &folder.join("data").display().to_string());
    let recorded = recorded(path);
    let name = path.strip_prefix(folder).unwrap().display();
    let (answers, is_ordered) = match how {
        How::Straight(parallelism) | How::InPostgres(parallelism) => {
            let text = text.replace("${PARALLELISM}", &parallelism.to_string());
            (Runner::new().run(&text), parallelism == 1)
        }
        How::OnDisk => {
            let text = text.replace("${PARALLELISM}", "1");
            let mut runner = Runner::new();
            runner.session.config_mut().set("taskmanager.memory.managed.size", "1").unwrap();
            (runner.run(&text), true)
        }
        // As in Flink, a batch job takes no checkpoints.
        How::Recovered(..) | How::RecoveredOnDisk if case.contains("'execution.runtime-mode' = 'batch'") => {
            return;
        }
        How::Recovered(..) | How::RecoveredOnDisk
            if NOT_RECOVERED.iter().any(|n| name.to_string().starts_with(n)) =>
        {
            return;
        }
        How::Recovered(from, to) => {
            (run_in_two(&text, from, to, MemoryBudget::unlimited()), from == 1 && to == 1)
        }
        How::RecoveredOnDisk => {
            let disk = tempfile::tempdir().unwrap();
            (run_in_two(&text, 1, 4, MemoryBudget::new(1, disk.path().join("state"))), false)
        }
    };
    if answers.len() != recorded.len() {
        failures.push(format!(
            "{name}: {} answers, Flink gives {}: {answers:#?}",
            answers.len(),
            recorded.len()
        ));
        return;
    }
    let ordered = case.contains("-- order: ordered");
    let folded = case.contains("-- order: materialized");
    for (number, (answer, recorded)) in answers.into_iter().zip(recorded).enumerate() {
        let place = format!("{name} query {}, {how:?}", number + 1);
        match (answer, recorded) {
            (Err(_), Recorded::Error(_)) => {}
            (Ok(a), Recorded::Error(e)) => {
                failures.push(format!("{place}: Flink refuses ({e}), we give {a:?}"))
            }
            (Err(e), Recorded::Answer { .. }) => failures.push(format!("{place}: {e} ({:?})", e.hint())),
            (Ok(answer), Recorded::Answer { types, names, changes }) => {
                let answer = trimmed(answer);
                let ours = answer.types.iter().map(|t| loose(t)).collect::<Vec<_>>();
                if ours != types {
                    failures.push(format!("{place}: types\n  ours  {ours:?}\n  Flink {types:?}"));
                }
                if answer.names != names {
                    failures.push(format!("{place}: names {:?}, Flink {names:?}", answer.names));
                }
                let equal = if ordered && is_ordered {
                    answer.changes == changes
                } else if ordered || folded {
                    materialized(&answer.changes) == materialized(&changes)
                } else {
                    sorted(&answer.changes) == sorted(&changes)
                };
                if !equal {
                    let (ours, theirs) = (shown(&answer.changes), shown(&changes));
                    failures.push(format!("{place}:\n--- ours\n{ours}--- Flink\n{theirs}"));
                }
            }
        }
    }
}

fn run(how: How) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
    let mut failures = Vec::new();
    let cases = cases(&folder);
    assert!(cases.len() >= 10, "the golden cases are gone");
    let only = std::env::var("GOLDEN").unwrap_or_default();
    let all = !matches!(how, How::OnDisk) || std::env::var("RUNNEL_GOLDEN_DISK").is_ok_and(|v| v == "all");
    let wanted = |case: &&PathBuf| {
        let name = case.strip_prefix(&folder).unwrap().display().to_string();
        let begins = |names: &[&str]| names.iter().any(|n| name.starts_with(n));
        let fits = !matches!(how, How::OnDisk | How::RecoveredOnDisk) || !begins(IN_MEMORY);
        case.display().to_string().contains(&only) && fits && (all || begins(ON_DISK))
    };
    for case in cases.iter().filter(wanted) {
        check(&folder, case, how, &mut failures);
    }
    assert!(failures.is_empty(), "{} differences:\n\n{}", failures.len(), failures.join("\n\n"));
    if only.is_empty() && matches!(how, How::Recovered(..)) {
        let killed = KILLED_IN_THE_MIDDLE.load(Ordering::Relaxed);
        assert!(killed > 50, "only {killed} queries were killed in the middle");
    }
}

#[test]
fn answers_are_flinks() {
    run(How::Straight(1));
}

#[test]
fn answers_are_flinks_at_parallelism_4() {
    run(How::Straight(4));
}

#[test]
fn lookups_in_postgresql_are_flinks() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
    let rows = std::fs::read_to_string(folder.join("data/dim.sql")).unwrap();
    postgres(&format!("CREATE SCHEMA IF NOT EXISTS golden; SET search_path = golden; {rows}"));
    let mut failures = Vec::new();
    check(&folder, &folder.join("joins/lookup.sql"), How::InPostgres(1), &mut failures);
    check(&folder, &folder.join("joins/lookup.sql"), How::InPostgres(4), &mut failures);
    assert!(failures.is_empty(), "{} differences:\n\n{}", failures.len(), failures.join("\n\n"));
}

/// Executes statements in the tests' PostgreSQL.
fn postgres(text: &str) {
    let server = tests::services::postgres();
    let (host, port) = server.split_once(':').unwrap();
    let config = format!("host={host} port={port} user=runnel password=runnel-secret dbname=runnel");
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let (client, connection) = tokio_postgres::connect(&config, tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        client.batch_execute(text).await.unwrap();
    });
}

#[test]
fn answers_are_flinks_when_killed_in_the_middle() {
    run(How::Recovered(1, 1));
}

#[test]
fn answers_are_flinks_when_restored_at_a_higher_parallelism() {
    run(How::Recovered(1, 4));
}

#[test]
fn answers_are_flinks_when_restored_at_a_lower_parallelism() {
    run(How::Recovered(4, 1));
}

#[test]
fn answers_are_flinks_with_state_on_disk() {
    run(How::OnDisk);
}

#[test]
fn answers_are_flinks_when_restored_with_state_on_disk() {
    if std::env::var("RUNNEL_GOLDEN_DISK").is_ok_and(|v| v == "all") {
        run(How::RecoveredOnDisk);
    }
}
