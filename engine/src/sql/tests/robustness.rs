//! No text may bring the process down, however broken, deep or long.

use super::all_examples;
use crate::sql::{desugar, is_finished, parse, parse_expression, parse_query, split, with_large_stack};
use std::time::{Duration, Instant};

/// Everything that can be done with a text.
fn swallow(text: &str) {
    let _ = is_finished(text);
    if let Ok(pieces) = split(text) {
        for piece in &pieces {
            let _ = parse(piece);
        }
    }
    // As the planner does it.
    let _ = with_large_stack(|| {
        let mut query = parse_query(text)?;
        desugar(&mut query.ast)
    });
    let _ = parse_expression(text);
}

#[test]
fn no_prefix_of_any_example_panics() {
    for text in all_examples() {
        let ends: Vec<usize> = text.char_indices().map(|(i, _)| i).collect();
        // Every prefix of the short ones, every seventh of the long.
        let step = if text.len() > 400 { 7 } else { 1 };
        for end in ends.into_iter().step_by(step) {
            swallow(&text[..end]);
        }
    }
}

#[test]
fn no_token_missing_or_doubled_panics() {
    for text in all_examples() {
        let words: Vec<&str> = text.split(' ').collect();
        for i in 0..words.len().min(40) {
            let mut without = words.clone();
            without.remove(i);
            swallow(&without.join(" "));
            let mut doubled = words.clone();
            doubled.insert(i, words[i]);
            swallow(&doubled.join(" "));
        }
    }
}

#[test]
fn strange_characters_are_harmless() {
    for text in [
        "SELECT 'ä\u{1F600}' AS `\u{1F600}` FROM `表`",
        "SELECT\u{00a0}1",
        "\u{feff}SELECT 1",
        "SELECT \u{0} FROM t",
        "SELECT ' \u{1} ' || \u{1}",
        "CREATE TABLE t (ä INT, ö AS ä + 1) WITH ('ü' = 'ß')",
        "SELECT é FROM t WHERE 'x",
        "\r\n\t;\r;",
        "SELECT 1;\u{2028}SELECT 2",
        "``",
        "SELECT `` FROM t",
        "'",
        "/*",
        "--",
        "/*+ */",
        "SELECT * FROM t /*+ */",
        "SELECT * FROM t /*+ OPTIONS( */",
        "$$ $1 :x ? @a #b !c ~d ^e {f} [g] \\h",
        "U&'\\zzzz'",
        "x'0g'",
        "1e",
        "1.2.3",
        "0x",
        "INTERVAL",
        "CREATE TABLE t (a ROW<a ROW<b ROW<",
        "SHOW CREATE",
        "EXPLAIN ,",
        "INSERT INTO",
        "CREATE TABLE t LIKE",
        "CREATE TABLE t LIKE x (",
        "TABLE TABLE",
        "SELECT TABLE t PARTITION BY",
        "SELECT MAP[",
        "SELECT MAP[1",
        "SELECT TRIM(BOTH FROM",
        "SELECT JSON_VALUE(a, b RETURNING",
        "SELECT a IS NOT JSON",
        "SELECT a BETWEEN SYMMETRIC",
        "PATTERN WITHIN INTERVAL DEFINE",
        "WITHIN INTERVAL '1' HOUR",
    ] {
        swallow(text);
    }
    assert!(split("SELECT 'ä', x").unwrap()[0].text.ends_with('x'));
}

/// In a thread with the small stack that Rust gives by default.
fn in_small_stack(work: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().stack_size(2 << 20).spawn(work).unwrap().join().unwrap();
}

#[test]
fn deep_nesting_is_an_error_not_a_crash() {
    in_small_stack(|| {
        for (open, middle, close) in [
            ("(", "1", ")"),
            ("f(", "1", ")"),
            ("NOT ", "a", ""),
            ("- ", "a", ""),
            ("CASE WHEN a THEN ", "1", " END"),
            ("CASE ", "a", ""),
            ("CAST(", "1", " AS INT)"),
            ("CAST(", "1", ""),
            ("ARRAY[", "1", "]"),
            ("MAP['a', ", "1", "]"),
            ("TRIM(BOTH FROM ", "a", ")"),
            ("JSON_VALUE(", "a", ", '$' RETURNING INT)"),
            ("(SELECT ", "1", ")"),
            ("EXISTS (SELECT ", "1", ")"),
            ("a IN (SELECT ", "1", ")"),
            ("a BETWEEN SYMMETRIC ", "1", " AND 2"),
            ("ROW(", "1", ")"),
            ("f(a => ", "1", ")"),
            ("x[", "1", "]"),
            ("INTERVAL ", "'1'", " DAY"),
            ("EXTRACT(DAY FROM ", "a", ")"),
            ("CEIL(", "a", " TO DAY)"),
        ] {
            for depth in [45, 300, 3000] {
                let text = format!("SELECT {}{middle}{}", open.repeat(depth), close.repeat(depth));
                let start = Instant::now();
                swallow(&text);
                assert!(start.elapsed() < Duration::from_secs(20), "{open} {depth}: {:?}", start.elapsed());
            }
        }
        let deep = format!("SELECT {}1{}", "(".repeat(300), ")".repeat(300));
        let error = parse(&split(&deep).unwrap()[0]).unwrap_err();
        assert_eq!(error.message(), "The statement is nested too deeply.");
    });
}

#[test]
fn deep_relations_take_no_time_without_end() {
    in_small_stack(|| {
        for (open, middle, close) in [
            ("(", "t", ")"),
            ("(SELECT * FROM ", "t", ") AS x"),
            ("(t JOIN ", "t", " ON a = b)"),
            ("LATERAL TABLE(f((SELECT * FROM ", "t", ")))"),
            ("(", "t", ""),
        ] {
            for depth in [12, 45, 3000] {
                let text = format!("SELECT * FROM {}{middle}{}", open.repeat(depth), close.repeat(depth));
                let start = Instant::now();
                swallow(&text);
                assert!(start.elapsed() < Duration::from_secs(20), "{open} {depth}: {:?}", start.elapsed());
            }
        }
    });
}

#[test]
fn long_chains_are_bounded() {
    in_small_stack(|| {
        for operator in [" + ", " AND ", " OR a = ", " || ", " UNION ALL SELECT ", " - "] {
            let text =
                format!("SELECT {}", vec!["1"; 480 / operator.trim().split(' ').count()].join(operator));
            swallow(&text);
        }
        let text = format!("SELECT {}", vec!["1"; 100_000].join(" OR "));
        let error = parse(&split(&text).unwrap()[0]).unwrap_err();
        assert_eq!(error.message(), "More than 500 operators stand in a row.");
        // Lists are no chains.
        let text = format!("SELECT a FROM t WHERE a IN ({})", vec!["-1"; 20_000].join(", "));
        parse(&split(&text).unwrap()[0]).unwrap();
    });
}
