//! Cutting a text into statements.

use crate::sql::{is_finished, split};

fn texts(text: &str) -> Vec<String> {
    split(text).unwrap().into_iter().map(|p| p.text).collect()
}

#[test]
fn semicolons_in_literals_names_and_comments_do_not_split() {
    for text in [
        "SELECT 'a;b'",
        "SELECT 'it''s;' FROM t",
        "SELECT `a;b` FROM `t;`",
        "SELECT 1 -- one; two\n, 2",
        "SELECT 1 /* ; ; */ + 2",
        "SELECT /*+ OPTIONS('k'=';') */ 1",
        "SELECT U&'\\003b;'",
    ] {
        assert_eq!(texts(text), [text]);
        assert_eq!(texts(&format!("{text};")), [text]);
    }
}

#[test]
fn empty_statements_are_left_out() {
    assert_eq!(texts(";; -- nothing\n; /* ; */ ;"), Vec::<String>::new());
    assert_eq!(texts(""), Vec::<String>::new());
    assert_eq!(texts("  SELECT 1 ;; SELECT 2  "), ["SELECT 1", "SELECT 2"]);
    assert_eq!(texts("-- before\nSELECT 1 -- behind\n;"), ["SELECT 1"]);
}

#[test]
fn places_are_those_of_the_whole_text() {
    let pieces = split("SELECT 1;\n\n  SELECT 'ä',\n  x ;").unwrap();
    assert!(pieces[0].terminated && pieces[1].terminated);
    let (a, b) = (pieces[1].span.start, pieces[1].span.end);
    assert_eq!((a.line, a.column, b.line, b.column), (3, 3, 4, 4));
    assert_eq!(pieces[1].text, "SELECT 'ä',\n  x");
    assert_eq!(pieces[1].tokens[0].span.start.line, 3);
}

#[test]
fn statement_sets_are_one_statement() {
    for text in [
        "EXECUTE STATEMENT SET BEGIN INSERT INTO a SELECT 1; INSERT INTO b SELECT 2; END",
        "EXPLAIN STATEMENT SET BEGIN INSERT INTO a SELECT 1; END",
        "BEGIN STATEMENT SET; INSERT INTO a SELECT 1; END",
        "execute statement set\nbegin\n -- c;\nINSERT INTO a SELECT CASE WHEN x THEN 1 END FROM t; end",
        "EXECUTE STATEMENT SET BEGIN INSERT INTO a SELECT CASE x WHEN 1 THEN 2 END; END",
        "COMPILE PLAN 'f' IF NOT EXISTS FOR STATEMENT SET BEGIN INSERT INTO a SELECT 1; END",
    ] {
        assert_eq!(texts(&format!("SHOW TABLES; {text}; SELECT 3;")), ["SHOW TABLES", text, "SELECT 3"]);
    }
}

#[test]
fn words_of_a_statement_set_elsewhere_open_nothing() {
    assert_eq!(texts("SELECT statement FROM t; SET; SELECT 1").len(), 3);
    assert_eq!(texts("SELECT 1 AS `STATEMENT`; SELECT 2").len(), 2);
    assert_eq!(texts("CREATE TABLE STATEMENT (a INT) WITH ('a'='b'); SELECT 2").len(), 2);
}

#[test]
fn the_shell_knows_when_to_execute() {
    for text in [
        "SELECT 1;",
        "SELECT 1; -- done",
        "SELECT ';' ;",
        "SELECT 1;\n\n",
        "EXECUTE STATEMENT SET BEGIN INSERT INTO a SELECT 1; END;",
        "SELECT 'a\nb';",
    ] {
        assert!(is_finished(text), "{text}");
    }
    for text in [
        "",
        "SELECT 1",
        "SELECT 1; SELECT",
        "SELECT 'a;",
        "SELECT `a;",
        "SELECT 1 /* ;",
        "SELECT 1 -- ;",
        "EXECUTE STATEMENT SET BEGIN INSERT INTO a SELECT 1;",
        "BEGIN STATEMENT SET;",
        "EXECUTE STATEMENT SET BEGIN INSERT INTO a SELECT CASE WHEN x THEN 1 END;",
    ] {
        assert!(!is_finished(text), "{text}");
    }
}

#[test]
fn what_is_never_closed_is_an_error_at_its_beginning() {
    for (text, message, at) in [
        ("SELECT\n 'abc;", "A text literal is never closed.", (2, 2)),
        ("SELECT `abc;\n", "A quoted name is never closed.", (1, 8)),
        ("SELECT 1 /* abc", "A comment is never closed.", (1, 10)),
        ("SELECT U&'abc", "A text literal is never closed.", (1, 8)),
    ] {
        let e = split(text).unwrap_err();
        assert_eq!(e.message(), message);
        let start = e.span().unwrap().start;
        // Of these the tokenizer names the end, not the beginning.
        if !text.contains("/*") && !text.contains("U&") {
            assert_eq!((start.line, start.column), at, "{text}");
        }
    }
}
