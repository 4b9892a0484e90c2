//! Statements without a query, and the frames of those with one.

use super::{ok, refusal};
use crate::error::Location;
use crate::sql::{JobStatement, Show, Statement, Use};
use catalog::ObjectKind;

#[test]
fn statements_print_as_they_parse() {
    for (text, printed) in [
        ("drop table if exists a.b.c", "DROP TABLE IF EXISTS `a`.`b`.`c`"),
        ("DROP TEMPORARY VIEW `v w`", "DROP TEMPORARY VIEW `v w`"),
        ("DROP DATABASE d RESTRICT", "DROP DATABASE `d`"),
        ("DROP DATABASE IF EXISTS c.d CASCADE", "DROP DATABASE IF EXISTS `c`.`d` CASCADE"),
        ("USE d", "USE `d`"),
        ("USE c.d", "USE `c`.`d`"),
        ("USE CATALOG c", "USE CATALOG `c`"),
        ("show catalogs", "SHOW CATALOGS"),
        ("SHOW CURRENT CATALOG", "SHOW CURRENT CATALOG"),
        ("SHOW DATABASES IN c NOT LIKE 'a%'", "SHOW DATABASES FROM `c` NOT LIKE 'a%'"),
        ("SHOW CURRENT DATABASE", "SHOW CURRENT DATABASE"),
        ("SHOW TABLES FROM c.d LIKE 'it''s'", "SHOW TABLES FROM `c`.`d` LIKE 'it''s'"),
        ("SHOW VIEWS ILIKE 'A_'", "SHOW VIEWS ILIKE 'A_'"),
        ("SHOW USER FUNCTIONS", "SHOW USER FUNCTIONS"),
        ("SHOW FUNCTIONS LIKE 'x%'", "SHOW FUNCTIONS LIKE 'x%'"),
        ("SHOW COLUMNS IN t LIKE 'a%'", "SHOW COLUMNS FROM `t` LIKE 'a%'"),
        ("SHOW CREATE TABLE `key-values`", "SHOW CREATE TABLE `key-values`"),
        ("SHOW CREATE VIEW v", "SHOW CREATE VIEW `v`"),
        (
            "CREATE DATABASE IF NOT EXISTS c.d COMMENT 'x' WITH ('b'='2', 'a' = '1')",
            "CREATE DATABASE IF NOT EXISTS `c`.`d` COMMENT 'x' WITH ('a' = '1', 'b' = '2')",
        ),
    ] {
        let print = |s: Statement| match s {
            Statement::Drop(s) => s.to_string(),
            Statement::Use(s) => s.to_string(),
            Statement::Show(s) => s.to_string(),
            Statement::CreateDatabase(s) => s.to_string(),
            other => panic!("{other:?}"),
        };
        assert_eq!(print(ok(text)), printed);
        assert_eq!(print(ok(printed)), printed);
    }
}

#[test]
fn patterns_match_as_in_flink() {
    let matches = |text: &str, name: &str| {
        let Statement::Show(Show::Tables(_, Some(p))) = ok(&format!("SHOW TABLES {text}")) else { panic!() };
        p.matches(name)
    };
    assert!(matches("LIKE '%'", ""));
    assert!(matches("LIKE 'a_c%'", "abcdef"));
    assert!(!matches("LIKE 'a_c'", "ac"));
    assert!(!matches("LIKE 'A%'", "abc") && matches("ILIKE 'A%'", "abc"));
    assert!(matches(r"LIKE 'a\_b'", "a_b") && !matches(r"LIKE 'a\_b'", "axb"));
    assert!(matches("NOT LIKE 'a%'", "b"));
    assert!(!matches(&format!("LIKE '{}b'", "%a".repeat(30)), &"a".repeat(3000)));
}

#[test]
fn settings() {
    assert_eq!(ok("SET"), Statement::Set(None));
    assert_eq!(ok("set 'a.b' = 'c d';"), Statement::Set(Some(("a.b".into(), "c d".into()))));
    assert_eq!(ok("RESET"), Statement::Reset(None));
    assert_eq!(ok("RESET 'a.b'"), Statement::Reset(Some("a.b".into())));
    assert_eq!(
        refusal("SET a.b = 'c'"),
        "1:5-1:6 Expected the setting's key in single quotes but found `a`. | Write SET 'key' = 'value'; with both in single quotes."
    );
    assert!(refusal("SET 'a' = 1").contains("the setting's value in single quotes"));
}

#[test]
fn describe_and_use() {
    let Statement::Describe(name) = ok("DESC a.`b c`") else { panic!() };
    assert_eq!(name.parts, ["a", "b c"]);
    assert!(matches!(ok("DESCRIBE EXTENDED t"), Statement::Describe(_)));
    assert!(matches!(ok("USE d"), Statement::Use(Use::Database(_))));
    let Statement::Drop(drop) = ok("DROP VIEW v") else { panic!() };
    assert_eq!(drop.kind, ObjectKind::View);
}

#[test]
fn jobs() {
    assert_eq!(ok("SHOW JOBS;"), Statement::Job(JobStatement::Show));
    let Statement::Job(JobStatement::Describe(job)) = ok("desc job 'a1'") else { panic!() };
    assert_eq!(job.id, "a1");
    assert!(matches!(ok("DESCRIBE job"), Statement::Describe(_)), "a table may be called so");
    for (text, expected) in [
        ("STOP JOB 'x'", (false, false)),
        ("STOP JOB 'x' WITH SAVEPOINT", (true, false)),
        ("STOP JOB 'x' WITH SAVEPOINT WITH DRAIN", (true, true)),
        ("STOP JOB 'x' WITH SAVEPOINT DRAIN", (true, true)),
    ] {
        let Statement::Job(JobStatement::Stop { job, savepoint, drain }) = ok(text) else { panic!("{text}") };
        assert_eq!((job.id.as_str(), (savepoint, drain)), ("x", expected));
    }
    assert_eq!(
        refusal("STOP JOB 'x' WITH DRAIN"),
        "1:19-1:24 WITH DRAIN could only be used after WITH SAVEPOINT. | Write STOP JOB '<id>' WITH SAVEPOINT WITH \
         DRAIN."
    );
    assert!(refusal("STOP JOB x").contains("the job's id in single quotes"));
    assert!(refusal("STOP 'x'").contains("JOB"));
}

#[test]
fn inserts() {
    let text = "INSERT INTO c.d.`t` /*+ OPTIONS('a'='b') */ PARTITION (p = 'x', q = 3) (u, `v w`) \
                SELECT * FROM s /*+ OPTIONS('k' = 'v') */ AS z";
    let Statement::Insert(insert) = ok(text) else { panic!() };
    assert_eq!(insert.table.parts, ["c", "d", "t"]);
    assert_eq!(insert.options["a"], "b");
    assert_eq!(insert.partition, [("p".into(), "x".into()), ("q".into(), "3".into())]);
    assert_eq!(insert.columns.iter().map(|c| c.0.as_str()).collect::<Vec<_>>(), ["u", "v w"]);
    assert!(insert.query.text.starts_with("SELECT * FROM s /*+"), "{}", insert.query.text);
    // The hint is under the place of the name before it.
    let at = text.find("s /*").unwrap() as u32 + 1;
    assert_eq!(insert.query.hints[&Location { line: 1, column: at }]["k"], "v");

    let Statement::Insert(insert) = ok("EXECUTE INSERT OVERWRITE t (SELECT 1)") else { panic!() };
    assert!(insert.overwrite && insert.columns.is_empty());
    let Statement::Insert(insert) = ok("INSERT INTO t VALUES (1, 'a'), (2, 'b')") else { panic!() };
    assert_eq!(insert.query.text, "VALUES (1, 'a'), (2, 'b')");
    let Statement::Insert(_) = ok("INSERT INTO t WITH q AS (SELECT 1) SELECT * FROM q") else { panic!() };
}

#[test]
fn statement_sets() {
    for text in [
        "EXECUTE STATEMENT SET BEGIN INSERT INTO a SELECT 1; INSERT INTO b SELECT CASE WHEN TRUE THEN 1 END; END;",
        "BEGIN STATEMENT SET; INSERT INTO a SELECT 1;; INSERT INTO b SELECT 2; END;",
    ] {
        let Statement::StatementSet(inserts) = ok(text) else { panic!() };
        assert_eq!(inserts.len(), 2);
        assert_eq!(inserts[1].table.parts, ["b"]);
    }
    assert!(refusal("EXECUTE STATEMENT SET BEGIN SELECT 1; END;").contains("Expected INSERT or END"));
    assert!(refusal("EXECUTE STATEMENT SET BEGIN END;").contains("holds no INSERT"));
    assert!(refusal("EXECUTE STATEMENT SET BEGIN INSERT INTO a SELECT 1;").contains("but the text ends"));
}

#[test]
fn explains() {
    for (text, changelog, json) in [
        ("EXPLAIN SELECT 1", false, false),
        ("EXPLAIN PLAN FOR SELECT 1", false, false),
        ("EXPLAIN CHANGELOG_MODE, ESTIMATED_COST INSERT INTO t SELECT 1", true, false),
        ("EXPLAIN JSON_EXECUTION_PLAN, PLAN_ADVICE WITH q AS (SELECT 1) SELECT * FROM q", false, true),
        ("EXPLAIN STATEMENT SET BEGIN INSERT INTO t SELECT 1; END;", false, false),
    ] {
        let Statement::Explain(explain) = ok(text) else { panic!() };
        assert_eq!((explain.changelog_mode, explain.json_plan), (changelog, json), "{text}");
    }
    assert!(refusal("EXPLAIN DROP TABLE t").contains("Expected a query, INSERT or STATEMENT SET"));
}

#[test]
fn views() {
    let text = "CREATE TEMPORARY VIEW IF NOT EXISTS d.v (a COMMENT 'x', b) COMMENT 'the view' AS\n SELECT 1 , 2 -- two\n";
    let Statement::CreateView(view) = ok(text) else { panic!() };
    assert!(view.temporary && view.if_not_exists);
    assert_eq!(view.columns, [("a".into(), Some("x".into())), ("b".into(), None)]);
    assert_eq!(view.comment.as_deref(), Some("the view"));
    assert_eq!(view.query.text, "SELECT 1 , 2");
    assert_eq!(refusal("CREATE VIEW v (a, a) AS SELECT 1, 2"), "1:19-1:20 The view has two columns `a`.");
    assert!(refusal("CREATE VIEW v SELECT 1").contains("Expected AS"));
}

#[test]
fn queries_of_flink_parse() {
    for text in QUERIES {
        assert!(matches!(ok(text), Statement::Query(_)), "{text}");
    }
}

pub(super) const QUERIES: &[&str] = &[
    "(SELECT 1) UNION ALL (SELECT 2)",
    "VALUES (1, 'a'), (2, 'b')",
    "EXECUTE SELECT 1",
    "WITH a AS (SELECT 1 AS x), b AS (SELECT x FROM a) SELECT * FROM b",
    "SELECT * FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '10' MINUTES))",
    "SELECT window_start, SUM(p) FROM TABLE(HOP(DATA => TABLE c.d.t, TIMECOL => DESCRIPTOR(ts), SLIDE => INTERVAL '5' MINUTES, SIZE => INTERVAL '10' MINUTES)) GROUP BY window_start, window_end",
    "SELECT * FROM TABLE(CUMULATE(TABLE t, DESCRIPTOR(`ts`), INTERVAL '2' MINUTES, INTERVAL '1' HOUR, INTERVAL '1' SECOND))",
    "SELECT * FROM TABLE(SESSION(TABLE t PARTITION BY (a, b), DESCRIPTOR(ts), INTERVAL '5' MINUTES))",
    "SELECT * FROM TABLE(SESSION(TABLE t PARTITION BY a, DESCRIPTOR(ts), INTERVAL '5' MINUTES))",
    "SELECT * FROM TABLE(TUMBLE((SELECT * FROM t WHERE x > 1), DESCRIPTOR(ts), INTERVAL '1' HOUR))",
    "SELECT TUMBLE_START(ts, INTERVAL '1' DAY) FROM t GROUP BY TUMBLE(ts, INTERVAL '1' DAY)",
    "SELECT a, COUNT(DISTINCT b) FILTER (WHERE c > 1) FROM t GROUP BY GROUPING SETS ((a), ())",
    "SELECT a, SUM(b) FROM t GROUP BY ROLLUP (a, c)",
    "SELECT * FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY a ORDER BY b DESC) AS rn FROM t) WHERE rn <= 3",
    "SELECT SUM(x) OVER w FROM t WINDOW w AS (PARTITION BY a ORDER BY ts RANGE BETWEEN INTERVAL '1' HOUR PRECEDING AND CURRENT ROW)",
    "SELECT * FROM o LEFT JOIN r FOR SYSTEM_TIME AS OF o.ts AS c ON o.k = c.k",
    "SELECT * FROM o JOIN d.r /*+ OPTIONS('a'='b') */ FOR SYSTEM_TIME AS OF o.ts ON o.k = r.k",
    "SELECT * FROM t, LATERAL TABLE(f(x)) AS u(c)",
    "SELECT * FROM t CROSS JOIN UNNEST(arr) AS u (x)",
    "SELECT * FROM t MATCH_RECOGNIZE (PARTITION BY a ORDER BY ts MEASURES A.x AS x ONE ROW PER MATCH AFTER MATCH SKIP PAST LAST ROW PATTERN (A B+? C*) WITHIN INTERVAL '1' HOUR DEFINE A AS A.x > 1, B AS B.x > 2) AS m",
    "SELECT CAST(r AS ROW<a INT, b ARRAY<MAP<STRING, ARRAY<INT>>>>), CAST(x AS INT ARRAY), TRY_CAST(x AS TIMESTAMP(3) WITH LOCAL TIME ZONE) FROM t",
    "SELECT MAP['a', 1, 'b', 2]['a'], ARRAY[1, 2][1], ROW(1, 'a'), MULTISET[1], (1, 2) FROM t",
    "SELECT JSON_VALUE(s, '$.a' RETURNING INT DEFAULT 1 + 1 ON EMPTY ERROR ON ERROR), JSON_QUERY(s, 'lax $' WITH CONDITIONAL ARRAY WRAPPER EMPTY ARRAY ON EMPTY), JSON_EXISTS(s, '$.a' FALSE ON ERROR) FROM t",
    "SELECT s IS JSON, s IS NOT JSON OBJECT, a BETWEEN SYMMETRIC 3 AND 1, a NOT BETWEEN ASYMMETRIC 1 AND 2 FROM t",
    "SELECT TRIM(LEADING FROM s), TRIM(BOTH 'x' FROM s), SUBSTRING(s FROM 2 FOR 3), POSITION('a' IN s), OVERLAY(s PLACING 'x' FROM 1 FOR 2), EXTRACT(EPOCH FROM ts), CEIL(ts TO HOUR) FROM t",
    "SELECT TIMESTAMPADD(HOUR, 1, ts), TIMESTAMPDIFF(DAY, a, b), CURRENT_TIMESTAMP, PROCTIME(), DATE '2020-01-01', X'0aff', U&'\\00e9' FROM t",
    "SELECT /*+ STATE_TTL('t'='1d') */ * FROM t JOIN s ON t.k = s.k",
    "SELECT * FROM t ORDER BY a DESC NULLS LAST LIMIT 10 OFFSET 5",
    "SELECT * FROM t FETCH FIRST 5 ROWS ONLY",
    "SELECT a IS NOT DISTINCT FROM b, a <> ALL (SELECT 1), EXISTS (SELECT 1), a IN (SELECT 1), a SIMILAR TO 'x' FROM t",
    "SELECT * FROM t WHERE (a, b) IN (SELECT 1, 2) EXCEPT ALL SELECT * FROM s INTERSECT SELECT 1",
    "SELECT LISTAGG(a, ',') WITHIN GROUP (ORDER BY a), LAG(a, 1) IGNORE NULLS OVER (ORDER BY ts) FROM t",
    "SELECT value, `key`, `EXPR$0`, `a`.`b`.`c`, (r).f, t.r.f FROM output",
    "SELECT JSON_OBJECT(KEY 'a' VALUE 1 NULL ON NULL), JSON_ARRAYAGG(x ABSENT ON NULL) FROM t",
    "SELECT 1 AS `it``s`, 'it''s', -1, - 1, 1e3, .5, 5.",
    "SELECT a FROM t1, t2 AS b, (VALUES (1, 2)) AS v (x, y)",
    "SELECT * FROM a NATURAL JOIN b LEFT OUTER JOIN c USING (k) FULL JOIN d ON a.x = d.x",
    "SELECT CASE a WHEN 1 THEN 'x' ELSE 'y' END, CASE WHEN a > 1 THEN 2 END, IF(a, 1, 2), COALESCE(a, b) FROM t",
];
