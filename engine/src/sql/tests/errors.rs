//! What is refused, and in which words: place, message, hint.

use super::refusal;

#[track_caller]
fn check(text: &str, expected: &str) {
    assert_eq!(refusal(text), expected, "{text}");
}

#[test]
fn classics() {
    check(
        "SELECT \"a\" FROM t",
        "1:8-1:11 \"a\" is written in double quotes, which mean nothing in Flink SQL. | Names take backticks, texts single quotes: `a` or 'a'.",
    );
    check(
        "SELECT *\nFROM t//comment",
        "2:7-2:8 `//` does not begin a comment. | Write -- for a comment to the end of the line, or /* … */.",
    );
    check(
        "SELECT key, sum(value) FROM key-values GROUP BY key",
        "1:29-1:39 The name key-values holds a hyphen and must be quoted. | Put it in backticks: `key-values`.",
    );
    check(
        "SELECT * FROM c.d.key-values-data AS t",
        "1:19-1:34 The name key-values-data holds a hyphen and must be quoted. | Put it in backticks: `key-values-data`.",
    );
    check(
        "INSERT INTO test-target SELECT 1",
        "1:13-1:24 The name test-target holds a hyphen and must be quoted. | Put it in backticks: `test-target`.",
    );
    check("SELECT a::INT FROM t", "1:9-1:11 `::` is not Flink SQL. | Write CAST(value AS type).");
    check(
        "SELECT * FROM 'stock'",
        "1:15-1:22 'stock' is a text, not a table. | Names are quoted with backticks: write `stock`.",
    );
    check(
        "SELECT 1 AS 'x'",
        "1:13-1:16 'x' is a text, not a name. | Names are quoted with backticks: write `x`.",
    );
    check(
        "SELECT 'a' 'b' FROM t",
        "1:12-1:15 'b' is a text, not a name. | Names are quoted with backticks: write `b`.",
    );
    check(
        "SELECT a FROM t AS 'x'",
        "1:20-1:23 'x' is a text, not a name. | Names are quoted with backticks: write `x`.",
    );
    check(
        "INSERT INTO 't' SELECT 1",
        "1:13-1:16 't' is a text, not a name. | Names are quoted with backticks: write `t`.",
    );
    check(
        "CREATE TABLE {0} (a INT)",
        "1:14-1:15 `{` is not Flink SQL; a template's placeholder was not filled in. | Replace {…} by the value itself.",
    );
    check(
        "%flinkssql\nSELECT 1",
        "1:1-1:2 A paragraph header stands inside a statement. | %flink.ssql must stand at the beginning of a line, after the `;` of the statement before it.",
    );
}

#[test]
fn misspelt() {
    check("SELCT 1", "1:1-1:6 `SELCT` does not begin a statement. | Did you mean SELECT?");
    check("SHOW TABELS", "1:6-1:12 SHOW TABELS is not a statement. | Did you mean SHOW TABLES?");
    check(
        "SELECT a FROM t GROUP key",
        "1:17-1:22 Expected the end of the statement but found `GROUP`. | Did you mean GROUP BY?",
    );
    check(
        "SELECT a FROM t x WHER a > 1",
        "1:19-1:23 Expected the end of the statement but found `WHER`. | Did you mean WHERE?",
    );
    check(
        "SELECT 1\nSHOW TABLES\nSELECT 2",
        "2:6-2:12 Expected the end of the statement but found `TABLES`. | Is a comma or an operator missing before it?",
    );
    check(
        "DROP TABEL t",
        "1:6-1:11 Expected TABLE, VIEW or DATABASE but found `TABEL`. | Did you mean TABLE?",
    );
    check("SELECT", "1:7-1:7 Expected an expression but the text ends.");
    check("SELECT a FROM", "1:14-1:14 Expected identifier but the text ends.");
    check(
        "SELECT a, FROM t",
        "1:11-1:15 Expected an expression but found `FROM`. | Leave out the comma before it.",
    );
    check("SELECT (a FROM t", "1:11-1:15 Expected `)` but found `FROM`. | The `(` at 1:8 is never closed.");
    check("SELECT INTERVAL '5' FROM t WHERE INTERVAL", "1:42-1:42 Expected an expression but the text ends.");
    check("SELECT CAST(a AS STRNG) FROM t", "1:18-1:23 There is no type `STRNG`. | Did you mean STRING?");
    check(
        "SELECT CAST(a, INT) FROM t",
        "1:14-1:15 Expected AS but found `,`. | Write CAST(value AS type), for example CAST(x AS BIGINT).",
    );
    check("quit", "1:1-1:5 `quit` does not begin a statement. | It is a word of the shell: type it alone.");
}

#[test]
fn create_table() {
    check(
        "CREATE TABLE t (\n  'ticket' VARCHAR,\n  'price' DOUBLE\n) WITH ('a'='b')",
        "2:3-2:11 'ticket' is a text, not a column's name. | Names are quoted with backticks: write `ticket`.",
    );
    check(
        "CREATE TABLE t (a INT\n b STRING) WITH ('a'='b')",
        "2:2-2:3 A comma is missing before `b`. | Columns are separated by commas.",
    );
    check(
        "CREATE TABLE t (a INT,) WITH ('a'='b')",
        "1:22-1:23 A comma stands before `)`. | Leave out the comma after the last column.",
    );
    check(
        "CREATE TABLE t (a INT) ('a'='b')",
        "1:24-1:25 WITH is missing before the options. | Write WITH ('connector' = '…', …).",
    );
    check(
        "CREATE TABLE t (a INT) WITH (connector = 'kafka')",
        "1:30-1:39 Expected an option's key in single quotes but found `connector`. | Options are written 'key' = 'value', both in single quotes.",
    );
    check(
        "CREATE TABLE t (a INT) WITH ('a' = 'b'\n 'c' = 'd')",
        "2:2-2:5 A comma is missing before 'c'. | Options are separated by commas: 'key' = 'value', 'key' = 'value'.",
    );
    check(
        "CREATE TABLE t (a INT) WITH ('a' = 10)",
        "1:36-1:38 Expected the option's value in single quotes but found `10`. | Options are written 'key' = 'value', both in single quotes. Numbers and booleans too: 'a' = '10'.",
    );
    check(
        "CREATE TABLE t (a INT) WITH ('a' = 'b',)",
        "1:39-1:40 A comma stands before `)`. | Leave out the comma after the last option.",
    );
    check(
        "CREATE TABLE t (a INT) WITH ('a'='b') PARTITIONED BY (a)",
        "1:39-1:50 PARTITIONED BY stands in the wrong place, or twice. | The order is: columns, COMMENT, PARTITIONED BY, WITH, LIKE.",
    );
    check(
        "CREATE TABLE t (a INT) WITH ('a'='b') AS SELECT 1",
        "1:39-1:41 CREATE TABLE AS SELECT syntax does not support to specify explicit columns yet. | Write CREATE TABLE with all that, then INSERT INTO it SELECT ….",
    );
    check(
        "CREATE TABLE t (a INT DEFAULT 3)",
        "1:23-1:30 DEFAULT of a column is not supported yet. | Leave it out; write the value in the INSERT's SELECT.",
    );
    check(
        "CREATE TABLE t (a INT, UNIQUE (a))",
        "1:24-1:30 The constraint UNIQUE is not supported yet. | Flink has PRIMARY KEY (…) NOT ENFORCED only.",
    );
    check(
        "CREATE TABLE t (a INT, b AS (SELECT 1))",
        "1:29-1:39 A computed column or watermark cannot contain a subquery. | Join with the other table in a query or view instead.",
    );
    check(
        "CREATE TABLE t (a TIMESTAMP(3), WATERMARK FOR a AS a, WATERMARK FOR a AS a)",
        "1:55-1:64 Multiple WATERMARK statements is not supported yet. | A table has one event time: keep one WATERMARK.",
    );
    check(
        "CREATE TABLE t (a INTERVAL DAY)",
        "1:19-1:31 A column cannot be of type INTERVAL SECOND(3). | Intervals and NULL are values of expressions only; store a BIGINT.",
    );
    check(
        "CREATE TABLE t (a DECIMAL(5,7))",
        "1:19-1:26 Decimal scale must be between 0 and the precision 5 (both inclusive).",
    );
    check("CREATE TABLE t ()", "1:17-1:18 Expected a column but found `)`.");
    check(
        "CREATE TABLE a.b.c.d (a INT)",
        "1:14-1:21 `a.b.c.d` has 4 parts; at most 3 are possible here (catalog.database.name).",
    );
}

#[test]
fn hints_in_the_wrong_place() {
    assert!(
        refusal("SELECT * FROM t AS x /*+ OPTIONS('a'='b') */")
            .starts_with("1:20-1:21 A hint stands where no table's name is before it.")
    );
    assert!(
        refusal("SELECT * FROM t /*+ OPTIONS(a='b') */").starts_with("1:17-1:38 The hint cannot be read.")
    );
    assert!(
        refusal("SELECT * FROM t /*+ FOO('a'='b') */")
            .contains("Hint: FOO should be registered in the HintStrategyTable")
    );
}

#[test]
fn what_flink_has_and_runnel_has_not_is_refused_by_name() {
    for (text, name) in [
        ("CREATE MATERIALIZED TABLE t AS SELECT 1", "CREATE MATERIALIZED TABLE"),
        ("COMPILE PLAN 'p' FOR INSERT INTO t SELECT 1", "COMPILE PLAN"),
        ("EXECUTE PLAN 'p'", "EXECUTE PLAN"),
        ("ADD JAR 'x.jar'", "ADD JAR"),
        ("REMOVE JAR 'x.jar'", "REMOVE JAR"),
        ("ANALYZE TABLE t COMPUTE STATISTICS", "ANALYZE TABLE"),
        ("CALL p(1)", "CALL"),
        ("UPDATE t SET a = 1", "UPDATE"),
        ("DELETE FROM t", "DELETE"),
        ("TRUNCATE TABLE t", "TRUNCATE TABLE"),
        ("MERGE INTO t USING s ON a = b", "MERGE"),
    ] {
        let refusal = refusal(text);
        let end = name.len() + 1;
        assert!(
            refusal.starts_with(&format!("1:1-1:{end} {name} is not supported yet. | ")),
            "{text}: {refusal}"
        );
    }
}

#[test]
fn what_only_sqlparser_has_is_refused() {
    for (text, what) in [
        ("SELECT * FROM t TABLESAMPLE BERNOULLI (10)", "TABLESAMPLE"),
        ("SELECT * FROM t FOR UPDATE", "FOR after a query"),
        ("SELECT a INTO b FROM t", "SELECT INTO"),
        ("SELECT TOP 3 a FROM t", "SELECT TOP"),
        ("SELECT DISTINCT ON (a) a FROM t", "SELECT DISTINCT ON"),
        ("SELECT a FROM t SORT BY a", "SORT BY"),
        ("SELECT * FROM t LATERAL VIEW explode(a) x AS y", "LATERAL VIEW"),
        ("WITH RECURSIVE a AS (SELECT 1) SELECT * FROM a", "WITH RECURSIVE"),
        ("SELECT a FROM t WHERE a ILIKE 'x'", "ILIKE"),
        ("SELECT a AT TIME ZONE 'UTC' FROM t", "AT TIME ZONE"),
        ("WITH a AS (SELECT 1) INSERT INTO t SELECT * FROM a", "A query that changes tables"),
    ] {
        let refusal = refusal(text);
        assert!(
            refusal.contains(&what.to_string()) && refusal.contains("not supported yet"),
            "{text}: {refusal}"
        );
    }
}
