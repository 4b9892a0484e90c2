//! The AST pass.

use crate::sql::{desugar, desugar_expression, parse_expression, parse_query};

fn rewritten(text: &str) -> String {
    let mut query = parse_query(text).unwrap_or_else(|e| panic!("{text}: {e}"));
    desugar(&mut query.ast).unwrap_or_else(|e| panic!("{text}: {e}"));
    query.ast.to_string()
}

fn expression(text: &str) -> String {
    let mut expr = parse_expression(text).unwrap_or_else(|e| panic!("{text}: {e}"));
    desugar_expression(&mut expr).unwrap_or_else(|e| panic!("{text}: {e}"));
    expr.to_string()
}

fn refused(text: &str) -> String {
    let mut expr = parse_expression(text).unwrap_or_else(|e| panic!("{text}: {e}"));
    super::show(&desugar_expression(&mut expr).expect_err(text))
}

#[test]
fn items_get_flinks_names() {
    for (text, expected) in [
        ("SELECT SUM(v), SUM(v) FROM t", "SELECT SUM(v) AS `EXPR$0`, SUM(v) AS `EXPR$1` FROM t"),
        ("SELECT k, k, a.k FROM t", "SELECT k, k AS `k0`, a.k AS `k1` FROM t"),
        (
            "SELECT t.r.f, (r).g, a + b AS c, *, f(x) FROM t",
            "SELECT t.r.f AS `f`, (r).'g' AS `EXPR$1`, a + b AS c, *, f(x) AS `EXPR$4` FROM t",
        ),
        ("SELECT a AS x, b AS x FROM t", "SELECT a AS x, b AS `x0` FROM t"),
        (
            "SELECT m['k'], (a) FROM (SELECT f(x) FROM t)",
            "SELECT m['k'] AS `EXPR$0`, (a) AS `a` FROM (SELECT f(x) AS `EXPR$0` FROM t)",
        ),
    ] {
        assert_eq!(rewritten(text), expected);
    }
}

#[test]
fn numbers_get_flinks_types() {
    for (text, expected) in [
        ("k + 1", "k + CAST(1 AS INT)"),
        ("-2147483648", "CAST(-2147483648L AS INT)"),
        ("2147483648", "2147483648"),
        ("timestampdiff(sql_tsi_day, a, b)", "timestampdiff('DAY', a, b)"),
        ("1.50", "1.50"),
        ("1e3", "CAST('1e3' AS DOUBLE)"),
        ("a IN (1, 2)", "a IN (CAST(1 AS INT), CAST(2 AS INT))"),
        ("arr[1]", "arr[CAST(1 AS INT)]"),
    ] {
        // The mark that keeps a number as it is shows as L.
        let expected = expected.replace("CAST(1 AS", "CAST(1L AS").replace("CAST(2 AS", "CAST(2L AS");
        assert_eq!(expression(text), expected, "{text}");
    }
    assert!(
        refused("1 + 9223372036854775808")
            .starts_with("1:5-1:24 Numeric literal '9223372036854775808' out of range")
    );
    assert_eq!(refused("X'0' || a"), "1:1-1:5 Binary literal string must contain an even number of hexits");
}

#[test]
fn ordinals_and_counts_stay_numbers() {
    assert_eq!(
        rewritten("SELECT k FROM t GROUP BY k ORDER BY 1 LIMIT 3 OFFSET 2"),
        "SELECT k FROM t GROUP BY k ORDER BY 1L LIMIT 3L OFFSET 2L"
    );
    let frame =
        rewritten("SELECT SUM(v) OVER (ORDER BY ts ROWS BETWEEN 5 PRECEDING AND CURRENT ROW) AS s FROM t");
    assert!(frame.contains("ROWS BETWEEN 5L PRECEDING"), "{frame}");
    let named = rewritten(
        "SELECT SUM(v) OVER w AS s FROM t WINDOW w AS (ORDER BY ts ROWS BETWEEN 5 PRECEDING AND CURRENT ROW)",
    );
    assert!(named.contains("ROWS BETWEEN 5L PRECEDING"), "{named}");
}

#[test]
fn group_by_a_number_is_no_ordinal() {
    let mut query = parse_query("SELECT k FROM t GROUP BY 1").unwrap();
    let error = desugar(&mut query.ast).unwrap_err();
    assert_eq!(
        super::show(&error),
        "1:26-1:27 GROUP BY 1 groups by a constant in Flink SQL, not by a column. | Write the column's name."
    );
}

#[test]
fn literals_of_time() {
    for (text, expected) in [
        ("TIMESTAMP '2020-01-01 00:00:00'", "CAST('2020-01-01 00:00:00' AS TIMESTAMP(0))"),
        ("TIMESTAMP '2020-01-01 00:00:00.123'", "CAST('2020-01-01 00:00:00.123' AS TIMESTAMP(3))"),
        ("DATE '2020-01-01'", "CAST('2020-01-01' AS DATE)"),
        ("TIME '10:00:00'", "CAST('10:00:00' AS TIME(0))"),
        ("CEIL(ts TO HOURS)", "CEIL(ts, 'HOUR')"),
        ("FLOOR(x)", "FLOOR(x)"),
        ("TIMESTAMP '2020-01-01'", "CAST('2020-01-01' AS TIMESTAMP(0))"),
        ("INTERVAL 5 SECOND", "INTERVAL '5' SECOND"),
        ("INTERVAL -'-1' DAY", "INTERVAL '1' DAY"),
        ("'a'\n 'b'", "'ab'"),
        ("INTERVAL '5' SECONDS", "INTERVAL '5' SECOND"),
        ("INTERVAL -'5' MINUTE", "INTERVAL '-5' MINUTE"),
        ("INTERVAL '500' SECOND(3)", "INTERVAL '500' SECOND"),
        ("INTERVAL '1-2' YEAR TO MONTH", "INTERVAL '1 YEAR 2 MONTH'"),
        ("INTERVAL '-1 02:03:04.5' DAY TO SECOND", "INTERVAL '-1 DAY -02 HOUR -03 MINUTE -04.5 SECOND'"),
        ("INTERVAL '10:20' MINUTE TO SECOND", "INTERVAL '10 MINUTE 20 SECOND'"),
    ] {
        assert_eq!(expression(text), expected, "{text}");
    }
    for (text, message) in [
        ("DATE '2020-13-01'", "1:6-1:18 Illegal DATE literal '2020-13-01': not in format 'yyyy-MM-dd'"),
        (
            "TIMESTAMP '2020-01-01 00:00'",
            "1:11-1:29 Illegal TIMESTAMP literal '2020-01-01 00:00': not in format 'yyyy-MM-dd HH:mm:ss'",
        ),
        (
            "INTERVAL '100' SECOND",
            "1:10-1:15 Interval field value 100 exceeds precision of SECOND(2) field | Write SECOND(3), or a larger unit.",
        ),
        (
            "INTERVAL 'x' SECOND",
            "1:10-1:13 Illegal interval literal format 'x' for INTERVAL SECOND | Write for example INTERVAL '4.5' SECOND.",
        ),
        (
            "INTERVAL '1 25' DAY TO HOUR",
            "1:10-1:16 Illegal interval literal format '1 25' for INTERVAL DAY TO HOUR | Write for example INTERVAL '1 02' DAY TO HOUR.",
        ),
        (
            "INTERVAL '1' WEEK",
            "1:10-1:13 WEEK is not a unit of INTERVAL. | Write INTERVAL '7' DAY for a week.",
        ),
        (
            "INTERVAL a SECOND",
            "1:10-1:11 The value of an INTERVAL must be a literal. | Write INTERVAL '5' SECOND; multiply for a computed length: x * INTERVAL '1' SECOND.",
        ),
        ("INT '5'", "1:5-1:8 INT '…' is not a literal of Flink SQL. | Write CAST('5' AS INT)."),
    ] {
        assert_eq!(refused(text), message);
    }
}

#[test]
fn relations() {
    let unnest = rewritten("SELECT x FROM t CROSS JOIN UNNEST(arr) AS u (x)");
    assert_eq!(unnest, "SELECT x FROM t CROSS JOIN UNNEST(arr) AS u (x)");
    let query = {
        let mut query = parse_query("SELECT x FROM t CROSS JOIN UNNEST(arr) AS u (x)").unwrap();
        desugar(&mut query.ast).unwrap();
        format!("{:?}", query.ast)
    };
    assert!(query.contains("UNNEST {"));
    assert_eq!(
        rewritten("SELECT o.x FROM o JOIN d.r FOR SYSTEM_TIME AS OF o.ts ON o.k = r.k"),
        "SELECT o.x AS `x` FROM o JOIN LATERAL (SELECT * FROM d.r FOR SYSTEM_TIME AS OF o.ts) AS r ON o.k = r.k"
    );
}
