//! MATCH_RECOGNIZE: its line in plans, the columns it reads, its types.

use super::{plan, types};
use expect_test::expect;

#[test]
fn the_line_of_a_match_says_what_is_looked_for() {
    plan(
        "SELECT * FROM t MATCH_RECOGNIZE (PARTITION BY s ORDER BY ts, b DESC MEASURES A.a AS x, LAST(B.b, 1) - FIRST(b) AS y,
         SUM(B.a + 1) AS z, MATCH_ROWTIME() AS mt AFTER MATCH SKIP TO LAST B PATTERN (A B{2,}? C) WITHIN INTERVAL '1' HOUR
         DEFINE B AS B.a > A.a AND B.b < 9)",
        expect![[r#"
            Sink(table=[*anonymous_collect$1*], fields=[s, x, y, z, mt], changelogMode=[I])
               Match(partitionBy=[s], orderBy=[ts ASC, b DESC], measures=[FINAL(A.a) AS x, FINAL(LAST(B.b, 1) - FIRST(b, 0)) AS y, FINAL(SUM(B.a + CAST(1L AS INT))) AS z, FINAL(MATCH_ROWTIME()) AS mt], rowsPerMatch=[ONE ROW PER MATCH], after=[SKIP TO LAST B], pattern=[(A B{2,}? C)], within=[3600000:INTERVAL], define=[{B=(B.a > A.a) AND (B.b < 9)}], changelogMode=[I])
                  TableSourceScan(table=[[default_catalog, default_database, t]], watermark=[`ts` - INTERVAL '5' SECOND], fields=[a, b, s, ts], changelogMode=[I])
        "#]],
    );
}

#[test]
fn only_what_a_match_reads_is_read() {
    plan(
        "SELECT x FROM (SELECT a AS c, b, s, ts AS rt FROM t WHERE b > 1) MATCH_RECOGNIZE (ORDER BY rt MEASURES A.c AS x, A.s AS y
         PATTERN (A B) DEFINE A AS A.c > 1) AS m WHERE x > 3",
        expect![[r#"
            Sink(table=[*anonymous_collect$1*], fields=[x], changelogMode=[I])
               Calc(select=[x], where=[x > 3], changelogMode=[I])
                  Match(orderBy=[rt ASC], measures=[FINAL(A.c) AS x, FINAL(A.s) AS y], rowsPerMatch=[ONE ROW PER MATCH], after=[SKIP TO NEXT ROW], pattern=[(A B)], define=[{A=A.c > 1}], changelogMode=[I])  -- matches on their way are never given up
                     Calc(select=[a AS c, s, ts AS rt], where=[b > 1], changelogMode=[I])
                        TableSourceScan(table=[[default_catalog, default_database, t]], watermark=[`ts` - INTERVAL '5' SECOND], fields=[a, b, s, ts], changelogMode=[I])
        "#]],
    );
}

#[test]
fn a_condition_on_a_key_goes_below_a_match_and_others_do_not() {
    plan(
        "SELECT * FROM t MATCH_RECOGNIZE (PARTITION BY s ORDER BY pt MEASURES A.a AS x PATTERN (A B) DEFINE A AS A.a > 1) AS m
         WHERE s = 'k' AND x > 3",
        expect![[r#"
            Sink(table=[*anonymous_collect$1*], fields=[s, x], changelogMode=[I])
               Calc(select=[s, x], where=[x > 3], changelogMode=[I])
                  Match(partitionBy=[s], orderBy=[pt ASC], measures=[FINAL(A.a) AS x], rowsPerMatch=[ONE ROW PER MATCH], after=[SKIP TO NEXT ROW], pattern=[(A B)], define=[{A=A.a > 1}], changelogMode=[I])  -- matches on their way are never given up
                     Calc(select=[a, s, pt], where=[s = 'k'], changelogMode=[I])
                        TableSourceScan(table=[[default_catalog, default_database, t]], watermark=[`ts` - INTERVAL '5' SECOND], fields=[a, s, ts, pt], changelogMode=[I])
        "#]],
    );
}

#[test]
fn measures_have_flinks_types() {
    types(
        "SELECT * FROM t MATCH_RECOGNIZE (PARTITION BY s ORDER BY ts MEASURES A.a AS x, A.ts AS at, COUNT(*) AS n, AVG(A.d) AS v,
         MATCH_ROWTIME() AS mt, MATCH_ROWTIME(ts) AS mt2, MATCH_PROCTIME() AS pt, CASE WHEN A.a > 1 THEN 'up' ELSE 'down' END AS w
         PATTERN (A B) DEFINE A AS A.a > 1)",
        expect![[r#"
            s STRING
            x INT
            at TIMESTAMP(3)
            n BIGINT NOT NULL
            v DECIMAL(38, 6)
            mt TIMESTAMP(3) NOT NULL *ROWTIME*
            mt2 TIMESTAMP(3) *ROWTIME*
            pt TIMESTAMP_LTZ(3) NOT NULL *PROCTIME*
            w VARCHAR(4) NOT NULL
        "#]],
    );
}
