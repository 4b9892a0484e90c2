//! Plans, types and error texts, over tables in memory and connectors that never run.

mod match_recognize;
mod support;
mod unbounded;

use expect_test::{Expect, expect};
use support::Bench;

/// The operators of a query over the tables of [`Bench::new`].
fn plan(sql: &str, expected: Expect) {
    expected.assert_eq(&Bench::new().plan(sql));
}

fn types(sql: &str, expected: Expect) {
    expected.assert_eq(&Bench::new().types(sql));
}

fn error(sql: &str, expected: Expect) {
    expected.assert_eq(&Bench::new().error(sql));
}

#[test]
fn a_filter_and_a_projection_are_one_calc_over_the_columns_needed() {
    plan(
        "SELECT a, b + 1 FROM t WHERE a > 3",
        expect![[r#"
        Sink(table=[*anonymous_collect$1*], fields=[a, EXPR$1], changelogMode=[I])
           Calc(select=[a, b + 1 AS EXPR$1], where=[a > 3], changelogMode=[I])
              TableSourceScan(table=[[default_catalog, default_database, t]], watermark=[`ts` - INTERVAL '5' SECOND], fields=[a, b, ts], changelogMode=[I])
    "#]],
    );
    plan(
        "SELECT * FROM t",
        expect![[r#"
        Sink(table=[*anonymous_collect$1*], fields=[a, b, s, d, ts, plain, pt], changelogMode=[I])
           TableSourceScan(table=[[default_catalog, default_database, t]], watermark=[`ts` - INTERVAL '5' SECOND], fields=[a, b, s, d, ts, plain, pt], changelogMode=[I])
    "#]],
    );
    plan(
        "SELECT x.s FROM (SELECT s, a FROM t WHERE a IS NOT NULL) AS x WHERE x.a < 9",
        expect![[r#"
        Sink(table=[*anonymous_collect$1*], fields=[s], changelogMode=[I])
           Calc(select=[s], where=[a IS NOT NULL AND (a < 9)], changelogMode=[I])
              TableSourceScan(table=[[default_catalog, default_database, t]], watermark=[`ts` - INTERVAL '5' SECOND], fields=[a, s, ts], changelogMode=[I])
    "#]],
    );
}

#[test]
fn results_have_flinks_names_and_types() {
    types(
        "SELECT a, a + 1, 'abc', 1, 1.5, CASE WHEN a > 1 THEN 'a' ELSE 'bcd' END, a > 1 FROM t",
        expect![[r#"
        a INT
        EXPR$1 INT
        EXPR$2 CHAR(3) NOT NULL
        EXPR$3 INT NOT NULL
        EXPR$4 DECIMAL(2, 1) NOT NULL
        EXPR$5 VARCHAR(3) NOT NULL
        EXPR$6 BOOLEAN
    "#]],
    );
    types(
        "SELECT COUNT(*), SUM(a), AVG(a), MAX(s), AVG(d), SUM(d) FROM t",
        expect![[r#"
        EXPR$0 BIGINT NOT NULL
        EXPR$1 INT
        EXPR$2 INT
        EXPR$3 STRING
        EXPR$4 DECIMAL(38, 6)
        EXPR$5 DECIMAL(38, 2)
    "#]],
    );
    types(
        "SELECT a, a, b AS a FROM t",
        expect![[r#"
        a INT
        a0 INT
        a1 BIGINT
    "#]],
    );
    types(
        "VALUES (1, 'a'), (2, 'bcd')",
        expect![[r#"
        EXPR$0 INT NOT NULL
        EXPR$1 VARCHAR(3) NOT NULL
    "#]],
    );
    types(
        "SELECT ts, pt, window_start, window_time FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '1' MINUTE))",
        expect![[r#"
            ts TIMESTAMP(3) *ROWTIME*
            pt TIMESTAMP_LTZ(3) NOT NULL *PROCTIME*
            window_start TIMESTAMP(3) NOT NULL
            window_time TIMESTAMP(3) NOT NULL *ROWTIME*
        "#]],
    );
    types(
        "SELECT TUMBLE_START(ts, INTERVAL '1' MINUTE), TUMBLE_ROWTIME(ts, INTERVAL '1' MINUTE), COUNT(*) AS c FROM t GROUP BY TUMBLE(ts, INTERVAL '1' MINUTE)",
        expect![[r#"
        EXPR$0 TIMESTAMP(3) NOT NULL
        EXPR$1 TIMESTAMP(3) *ROWTIME*
        c BIGINT NOT NULL
    "#]],
    );
}

#[test]
fn windows_are_assigned_in_their_aggregate() {
    plan(
        "SELECT window_start, window_end, s, COUNT(*) AS c, SUM(a + 1) AS total FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '10' SECOND)) GROUP BY s, window_start, window_end",
        expect![[r#"
        Sink(table=[*anonymous_collect$1*], fields=[window_start, window_end, s, c, total], changelogMode=[I])
           Calc(select=[window_start, window_end, s, c, total], changelogMode=[I])
              WindowAggregate(groupBy=[s], window=[TUMBLE(time_col=[ts], size=[10 s])], select=[s, COUNT(*) AS c, SUM(a + 1) AS total, start('w$) AS window_start, end('w$) AS window_end], changelogMode=[I])
                 Calc(select=[s, a + 1 AS $f1, ts], changelogMode=[I])
                    TableSourceScan(table=[[default_catalog, default_database, t]], watermark=[`ts` - INTERVAL '5' SECOND], fields=[a, s, ts], changelogMode=[I])
    "#]],
    );
    plan(
        "SELECT window_end, COUNT(DISTINCT s) FILTER (WHERE a > 1) FROM TABLE(HOP(DATA => TABLE t, TIMECOL => DESCRIPTOR(ts), SLIDE => INTERVAL '2' SECONDS, SIZE => INTERVAL '10' SECONDS)) WHERE b > 5 GROUP BY window_start, window_end HAVING COUNT(*) > 2",
        expect![[r#"
            Sink(table=[*anonymous_collect$1*], fields=[window_end, EXPR$1], changelogMode=[I])
               Calc(select=[window_end, EXPR$1], where=[EXPR$3 > 2], changelogMode=[I])
                  WindowAggregate(window=[HOP(time_col=[ts], size=[10 s], slide=[2 s])], select=[COUNT(DISTINCT s) FILTER a > 1 AS EXPR$1, COUNT(*) AS EXPR$3, start('w$) AS window_start, end('w$) AS window_end], changelogMode=[I])
                     Calc(select=[s, a > 1 AS $f1, ts], where=[b > 5], changelogMode=[I])
                        TableSourceScan(table=[[default_catalog, default_database, t]], watermark=[`ts` - INTERVAL '5' SECOND], fields=[a, b, s, ts], changelogMode=[I])
        "#]],
    );
    plan(
        "SELECT s, COUNT(*) FROM TABLE(SESSION(TABLE t PARTITION BY s, DESCRIPTOR(ts), INTERVAL '5' MINUTE)) GROUP BY s, window_start, window_end",
        expect![[r#"
        Sink(table=[*anonymous_collect$1*], fields=[s, EXPR$1], changelogMode=[I])
           Calc(select=[s, EXPR$1], changelogMode=[I])
              WindowAggregate(groupBy=[s], window=[SESSION(time_col=[ts], gap=[5 min])], select=[s, COUNT(*) AS EXPR$1, start('w$) AS window_start, end('w$) AS window_end], changelogMode=[I])
                 TableSourceScan(table=[[default_catalog, default_database, t]], watermark=[`ts` - INTERVAL '5' SECOND], fields=[s, ts], changelogMode=[I])
    "#]],
    );
    plan(
        "SELECT s, COUNT(*) FROM TABLE(SESSION(TABLE t, DESCRIPTOR(ts), INTERVAL '5' MINUTE)) GROUP BY s, window_start, window_end",
        expect![[r#"
        Sink(table=[*anonymous_collect$1*], fields=[s, EXPR$1], changelogMode=[I])
           Calc(select=[s, EXPR$1], changelogMode=[I])
              WindowAggregate(groupBy=[s], window=[SESSION(win_start=[window_start], win_end=[window_end], gap=[5 min])], select=[s, COUNT(*) AS EXPR$1, start('w$) AS window_start, end('w$) AS window_end], changelogMode=[I])
                 WindowTableFunction(window=[SESSION(time_col=[ts], gap=[5 min])], changelogMode=[I])
                    TableSourceScan(table=[[default_catalog, default_database, t]], watermark=[`ts` - INTERVAL '5' SECOND], fields=[s, ts], changelogMode=[I])
    "#]],
    );
    plan(
        "SELECT window_start, COUNT(*) FROM TABLE(CUMULATE((SELECT a, ts FROM t), DESCRIPTOR(ts), INTERVAL '1' MINUTE, INTERVAL '1' HOUR)) GROUP BY window_start, window_end",
        expect![[r#"
        Sink(table=[*anonymous_collect$1*], fields=[window_start, EXPR$1], changelogMode=[I])
           Calc(select=[window_start, EXPR$1], changelogMode=[I])
              WindowAggregate(window=[CUMULATE(time_col=[ts], max_size=[1 h], step=[1 min])], select=[COUNT(*) AS EXPR$1, start('w$) AS window_start, end('w$) AS window_end], changelogMode=[I])
                 TableSourceScan(table=[[default_catalog, default_database, t]], watermark=[`ts` - INTERVAL '5' SECOND], fields=[ts], changelogMode=[I])
    "#]],
    );
    plan(
        "SELECT s, COUNT(*) FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(pt), INTERVAL '1' MINUTE)) GROUP BY s, window_start, window_end",
        expect![[r#"
        Sink(table=[*anonymous_collect$1*], fields=[s, EXPR$1], changelogMode=[I])
           Calc(select=[s, EXPR$1], changelogMode=[I])
              WindowAggregate(groupBy=[s], window=[TUMBLE(time_col=[pt], size=[1 min])], select=[s, COUNT(*) AS EXPR$1, start('w$) AS window_start, end('w$) AS window_end], changelogMode=[I])
                 TableSourceScan(table=[[default_catalog, default_database, t]], watermark=[`ts` - INTERVAL '5' SECOND], fields=[s, ts, pt], changelogMode=[I])
    "#]],
    );
}

#[test]
fn a_window_without_its_bounds_as_keys_is_a_changelog() {
    plan(
        "SELECT window_start, COUNT(*) FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '10' SECOND)) GROUP BY window_start",
        expect![[r#"
        Sink(table=[*anonymous_collect$1*], fields=[window_start, EXPR$1], changelogMode=[I,UB,UA])
           GroupAggregate(groupBy=[window_start], select=[window_start, COUNT(*) AS EXPR$1], changelogMode=[I,UB,UA])  -- state grows with every new key
              WindowTableFunction(window=[TUMBLE(time_col=[ts], size=[10 s])], changelogMode=[I])
                 TableSourceScan(table=[[default_catalog, default_database, t]], watermark=[`ts` - INTERVAL '5' SECOND], fields=[ts], changelogMode=[I])
    "#]],
    );
}

#[test]
fn windows_cascade() {
    plan(
        "SELECT window_start, SUM(c) FROM TABLE(TUMBLE((SELECT window_time AS rt, COUNT(*) AS c FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '5' MINUTE)) GROUP BY window_start, window_end, window_time), DESCRIPTOR(rt), INTERVAL '10' MINUTE)) GROUP BY window_start, window_end",
        expect![[r#"
        Sink(table=[*anonymous_collect$1*], fields=[window_start, EXPR$1], changelogMode=[I])
           Calc(select=[window_start, EXPR$1], changelogMode=[I])
              WindowAggregate(window=[TUMBLE(time_col=[rt], size=[10 min])], select=[SUM(c) AS EXPR$1, start('w$) AS window_start, end('w$) AS window_end], changelogMode=[I])
                 WindowAggregate(window=[TUMBLE(time_col=[ts], size=[5 min])], select=[COUNT(*) AS c, start('w$) AS window_start, end('w$) AS window_end, rowtime('w$) AS rt], changelogMode=[I])
                    TableSourceScan(table=[[default_catalog, default_database, t]], watermark=[`ts` - INTERVAL '5' SECOND], fields=[ts], changelogMode=[I])
    "#]],
    );
}

#[test]
fn nexmark_q5_joins_windows_over_one_aggregate() {
    plan(
        "SELECT A.s, A.num FROM (SELECT s, COUNT(*) AS num, window_start AS starttime, window_end AS endtime FROM TABLE(HOP(TABLE t, DESCRIPTOR(ts), INTERVAL '2' SECOND, INTERVAL '10' SECOND)) GROUP BY s, window_start, window_end) AS A JOIN (SELECT MAX(C.num) AS maxn, C.starttime, C.endtime FROM (SELECT COUNT(*) AS num, window_start AS starttime, window_end AS endtime FROM TABLE(HOP(TABLE t, DESCRIPTOR(ts), INTERVAL '2' SECOND, INTERVAL '10' SECOND)) GROUP BY s, window_start, window_end) AS C GROUP BY C.starttime, C.endtime) AS M ON A.starttime = M.starttime AND A.endtime = M.endtime AND A.num >= M.maxn",
        expect![[r#"
        Sink(table=[*anonymous_collect$1*], fields=[s, num], changelogMode=[I])
           Calc(select=[s, num], changelogMode=[I])
              WindowJoin(leftWindow=[HOP(size=[10 s], slide=[2 s])], rightWindow=[HOP(size=[10 s], slide=[2 s])], joinType=[InnerJoin], where=[starttime = starttime AND endtime = endtime AND num >= maxn], select=[s, num, starttime, endtime, maxn, starttime, endtime], changelogMode=[I])
                 WindowAggregate(groupBy=[s], window=[HOP(time_col=[ts], size=[10 s], slide=[2 s])], select=[s, COUNT(*) AS num, start('w$) AS starttime, end('w$) AS endtime], changelogMode=[I])(reuse_id=[1])
                    TableSourceScan(table=[[default_catalog, default_database, t]], watermark=[`ts` - INTERVAL '5' SECOND], fields=[s, ts], changelogMode=[I])
                 WindowAggregate(window=[HOP(win_start=[starttime], win_end=[endtime], size=[10 s], slide=[2 s])], select=[MAX(num) AS maxn, start('w$) AS starttime, end('w$) AS endtime], changelogMode=[I])
                    Reused(reference_id=[1])
    "#]],
    );
}

#[test]
fn group_windows_become_windows() {
    plan(
        "SELECT s, TUMBLE_START(ts, INTERVAL '1' MINUTE) AS w, TUMBLE_END(ts, INTERVAL '1' MINUTE), COUNT(*) FROM t GROUP BY TUMBLE(ts, INTERVAL '1' MINUTE), s",
        expect![[r#"
        Sink(table=[*anonymous_collect$1*], fields=[s, w, EXPR$2, EXPR$3], changelogMode=[I])
           Calc(select=[s, w, EXPR$2, EXPR$3], changelogMode=[I])
              WindowAggregate(groupBy=[s], window=[TUMBLE(time_col=[ts], size=[1 min])], select=[s, COUNT(*) AS EXPR$3, start('w$) AS w, end('w$) AS EXPR$2], changelogMode=[I])
                 TableSourceScan(table=[[default_catalog, default_database, t]], watermark=[`ts` - INTERVAL '5' SECOND], fields=[s, ts], changelogMode=[I])
    "#]],
    );
    plan(
        "SELECT HOP_ROWTIME(ts, INTERVAL '4' MINUTE, INTERVAL '10' MINUTE) AS rt, SUM(a) AS v FROM t GROUP BY HOP(ts, INTERVAL '4' MINUTE, INTERVAL '10' MINUTE) HAVING HOP_START(ts, INTERVAL '4' MINUTE, INTERVAL '10' MINUTE) > TIMESTAMP '2020-01-01 00:00:00'",
        expect![[r#"
        Sink(table=[*anonymous_collect$1*], fields=[rt, v], changelogMode=[I])
           Calc(select=[rt, v], where=[w$start > 1577836800000], changelogMode=[I])
              WindowAggregate(window=[HOP(time_col=[ts], size=[10 min], slide=[4 min])], select=[SUM(a) AS v, start('w$) AS w$start, end('w$) AS w$end, rowtime('w$) AS rt], changelogMode=[I])
                 TableSourceScan(table=[[default_catalog, default_database, t]], watermark=[`ts` - INTERVAL '5' SECOND], fields=[a, ts], changelogMode=[I])
    "#]],
    );
    plan(
        "SELECT SESSION_START(pt, INTERVAL '1' MINUTE), SESSION_PROCTIME(pt, INTERVAL '1' MINUTE), s FROM t GROUP BY s, SESSION(pt, INTERVAL '1' MINUTE)",
        expect![[r#"
        Sink(table=[*anonymous_collect$1*], fields=[EXPR$0, EXPR$1, s], changelogMode=[I])
           Calc(select=[EXPR$0, EXPR$1, s], changelogMode=[I])
              WindowAggregate(groupBy=[s], window=[SESSION(time_col=[pt], gap=[1 min])], select=[s, start('w$) AS EXPR$0, end('w$) AS w$end, proctime('w$) AS EXPR$1], changelogMode=[I])
                 TableSourceScan(table=[[default_catalog, default_database, t]], watermark=[`ts` - INTERVAL '5' SECOND], fields=[s, ts, pt], changelogMode=[I])
    "#]],
    );
}

#[test]
fn groups_without_windows_are_changelogs() {
    plan(
        "SELECT s, COUNT(*) AS c, MAX(a) AS m FROM t GROUP BY s",
        expect![[r#"
        Sink(table=[*anonymous_collect$1*], fields=[s, c, m], changelogMode=[I,UB,UA])
           GroupAggregate(groupBy=[s], select=[s, COUNT(*) AS c, MAX(a) AS m], changelogMode=[I,UB,UA])  -- state grows with every new key
              TableSourceScan(table=[[default_catalog, default_database, t]], watermark=[`ts` - INTERVAL '5' SECOND], fields=[a, s, ts], changelogMode=[I])
    "#]],
    );
    plan(
        "SELECT c, COUNT(*) FROM (SELECT s, COUNT(*) AS c FROM t GROUP BY s) GROUP BY c",
        expect![[r#"
        Sink(table=[*anonymous_collect$1*], fields=[c, EXPR$1], changelogMode=[I,UB,UA,D])
           GroupAggregate(groupBy=[c], select=[c, COUNT(*) AS EXPR$1], changelogMode=[I,UB,UA,D])  -- state grows with every new key
              GroupAggregate(groupBy=[s], select=[s, COUNT(*) AS c], changelogMode=[I,UB,UA])  -- state grows with every new key
                 TableSourceScan(table=[[default_catalog, default_database, t]], watermark=[`ts` - INTERVAL '5' SECOND], fields=[s, ts], changelogMode=[I])
    "#]],
    );
    plan(
        "SELECT DISTINCT s FROM t",
        expect![[r#"
        Sink(table=[*anonymous_collect$1*], fields=[s], changelogMode=[I])
           GroupAggregate(groupBy=[s], select=[s], changelogMode=[I])  -- state grows with every new key
              TableSourceScan(table=[[default_catalog, default_database, t]], watermark=[`ts` - INTERVAL '5' SECOND], fields=[s, ts], changelogMode=[I])
    "#]],
    );
    plan(
        "SELECT UPPER(s), COUNT(*) FROM t GROUP BY UPPER(s) HAVING COUNT(*) > 1",
        expect![[r#"
            Sink(table=[*anonymous_collect$1*], fields=[EXPR$0, EXPR$1], changelogMode=[I,UB,UA])
               Calc(select=[EXPR$0, EXPR$1], where=[EXPR$1 > 1], changelogMode=[I,UB,UA])
                  GroupAggregate(groupBy=[$f0], select=[$f0, COUNT(*) AS EXPR$1], changelogMode=[I,UB,UA])  -- state grows with every new key
                     Calc(select=[UPPER(s) AS $f0], changelogMode=[I])
                        TableSourceScan(table=[[default_catalog, default_database, t]], watermark=[`ts` - INTERVAL '5' SECOND], fields=[s, ts], changelogMode=[I])
        "#]],
    );
    plan(
        "SELECT COUNT(*) FROM t",
        expect![[r#"
        Sink(table=[*anonymous_collect$1*], fields=[EXPR$0], changelogMode=[I,UB,UA])
           GroupAggregate(select=[COUNT(*) AS EXPR$0], changelogMode=[I,UB,UA])
              TableSourceScan(table=[[default_catalog, default_database, t]], watermark=[`ts` - INTERVAL '5' SECOND], fields=[ts], changelogMode=[I])
    "#]],
    );
}

#[test]
fn unions_values_and_limits() {
    plan(
        "SELECT a FROM t UNION ALL SELECT b FROM t",
        expect![[r#"
        Sink(table=[*anonymous_collect$1*], fields=[a], changelogMode=[I])
           Union(all=[true], union=[a], changelogMode=[I])
              Calc(select=[CAST(a AS BIGINT) AS a], changelogMode=[I])
                 TableSourceScan(table=[[default_catalog, default_database, t]], watermark=[`ts` - INTERVAL '5' SECOND], fields=[a, b, ts], changelogMode=[I])(reuse_id=[0])
              Calc(select=[b AS a], changelogMode=[I])
                 Reused(reference_id=[0])
    "#]],
    );
    plan(
        "SELECT s FROM t UNION SELECT 'x'",
        expect![[r#"
        Sink(table=[*anonymous_collect$1*], fields=[s], changelogMode=[I])
           GroupAggregate(groupBy=[s], select=[s], changelogMode=[I])  -- state grows with every new key
              Union(all=[true], union=[s], changelogMode=[I])
                 Calc(select=[s], changelogMode=[I])
                    TableSourceScan(table=[[default_catalog, default_database, t]], watermark=[`ts` - INTERVAL '5' SECOND], fields=[s, ts], changelogMode=[I])
                 Calc(select=['x' AS s], changelogMode=[I])
                    Values(tuples=[[{ 0 }]], changelogMode=[I])
    "#]],
    );
    plan(
        "SELECT 1 + 1, NOW() IS NULL",
        expect![[r#"
        Sink(table=[*anonymous_collect$1*], fields=[EXPR$0, EXPR$1], changelogMode=[I])
           Calc(select=[2 AS EXPR$0, false AS EXPR$1], changelogMode=[I])
              Values(tuples=[[{ 0 }]], changelogMode=[I])
    "#]],
    );
    plan(
        "SELECT * FROM (VALUES (1, 'a'), (2, NULL)) AS v(x, y) WHERE x > 1",
        expect![[r#"
        Sink(table=[*anonymous_collect$1*], fields=[x, y], changelogMode=[I])
           Calc(select=[column1 AS x, column2 AS y], where=[column1 > 1], changelogMode=[I])
              Values(tuples=[[{ 1, 'a' }, { 2, null }]], changelogMode=[I])
    "#]],
    );
    plan(
        "SELECT a FROM t LIMIT 5 OFFSET 2",
        expect![[r#"
        Sink(table=[*anonymous_collect$1*], fields=[a], changelogMode=[I])
           Limit(offset=[2], fetch=[5], changelogMode=[I])
              Calc(select=[a], changelogMode=[I])
                 TableSourceScan(table=[[default_catalog, default_database, t]], watermark=[`ts` - INTERVAL '5' SECOND], fields=[a, ts], changelogMode=[I])
    "#]],
    );
    plan(
        "WITH q AS (SELECT a AS z FROM t) SELECT z FROM q FETCH FIRST 3 ROWS ONLY",
        expect![[r#"
        Sink(table=[*anonymous_collect$1*], fields=[z], changelogMode=[I])
           Limit(offset=[0], fetch=[3], changelogMode=[I])
              Calc(select=[a AS z], changelogMode=[I])
                 TableSourceScan(table=[[default_catalog, default_database, t]], watermark=[`ts` - INTERVAL '5' SECOND], fields=[a, ts], changelogMode=[I])
    "#]],
    );
    plan(
        "SELECT n FROM v",
        expect![[r#"
        Sink(table=[*anonymous_collect$1*], fields=[n], changelogMode=[I])
           Calc(select=[a + 1 AS n], where=[a > 1], changelogMode=[I])
              TableSourceScan(table=[[default_catalog, default_database, t]], watermark=[`ts` - INTERVAL '5' SECOND], fields=[a, ts], changelogMode=[I])
    "#]],
    );
}

#[test]
fn what_is_wrong_is_said_in_flinks_words_with_a_way_out() {
    for (sql, expected) in [
        (
            "SELECT aa FROM t",
            expect![[r#"
            User at 1:8-1:10: Column 'aa' not found in any table.
            Did you mean 'a'?"#]],
        ),
        (
            "SELECT ab.a FROM t",
            expect![[r#"
            User at 1:8-1:12: Table 'ab' not found.
            no hint"#]],
        ),
        (
            "SELECT a FROM tt",
            expect![[r#"
            User at 1:15-1:17: Object 'tt' not found.
            Did you mean 't'?"#]],
        ),
        (
            "SELECT UPPR(s) FROM t",
            expect![[r#"
                User at 1:8-1:12: No match found for function signature UPPR.
                Did you mean UPPER?"#]],
        ),
        (
            "SELECT UPPER(a) FROM t",
            expect![[r#"
                User at 1:8-1:15: Argument 1 of UPPER must be STRING, but it is INT.
                Write CAST(… AS STRING)."#]],
        ),
        (
            "SELECT UPPER(s, s) FROM t",
            expect![[r#"
                User at 1:8-1:18: Function UPPER takes 1 argument, but 2 were given.
                no hint"#]],
        ),
        (
            "SELECT a FROM t WHERE a = 'x'",
            expect![[r#"
            User at 1:23-1:24: implicit type conversion between INT and CHAR(1) is not supported now
            Write the value without quotes, or CAST(a AS STRING)."#]],
        ),
        (
            "SELECT a FROM t WHERE s = 1",
            expect![[r#"
            User at 1:23-1:24: implicit type conversion between STRING and INT is not supported now
            Write CAST(s AS INT), or compare with a text: '1'."#]],
        ),
        (
            "SELECT s || a FROM t",
            expect![[r#"
            User at 1:8-1:9: Cannot apply '||' to arguments of type '<STRING> || <INT>'. Supported form(s): '<STRING> || <STRING>'
            Write CAST(a AS STRING)."#]],
        ),
        (
            "SELECT a + s FROM t",
            expect![[r#"
            User at 1:8-1:9: Cannot apply '+' to arguments of type '<INT> + <STRING>'. Supported form(s): '<NUMERIC> + <NUMERIC>'
            Write CAST(s AS INT)."#]],
        ),
        (
            "SELECT SUM(s) FROM t",
            expect![[r#"
            User at 1:8-1:13: SUM needs a number, not STRING.
            no hint"#]],
        ),
        (
            "SELECT a, COUNT(*) FROM t",
            expect![[r#"
            User at 1:8-1:9: Expression 'a' is not being grouped.
            Add it to GROUP BY, or aggregate it, for example with MAX."#]],
        ),
        (
            "SELECT a FROM t WHERE COUNT(*) > 1",
            expect![[r#"
            User at nowhere: Aggregate expression is illegal in WHERE clause.
            Use HAVING."#]],
        ),
        (
            "SELECT a FROM t WHERE a",
            expect![[r#"
            User at nowhere: WHERE clause must be a condition.
            Compare the value: WHERE x = 1, or x IS NOT NULL."#]],
        ),
        (
            "SELECT x.a FROM t x, t y WHERE a = 1",
            expect![[r#"
            User at 1:32-1:33: Column 'a' is ambiguous.
            Write the table's name or alias before it: `t.column`."#]],
        ),
        (
            "SELECT NULL",
            expect![[r#"
            User at nowhere: Illegal use of 'NULL': its type is unknown.
            Write CAST(NULL AS INT), or another type."#]],
        ),
        (
            "SELECT CASE WHEN a > 1 THEN 'x' ELSE 2 END FROM t",
            expect![[r#"
            User at 1:18-1:19: Illegal mixing of types in CASE or COALESCE statement.
            One branch is CHAR(1), another INT: CAST one of them."#]],
        ),
        (
            "SELECT a IN (1, 'x') FROM t",
            expect![[r#"
            User at 1:8-1:9: Values in expression list must have compatible types.
            a is INT, but 'x' is CHAR(1): write CAST('x' AS INT)."#]],
        ),
        (
            "SELECT a FROM t UNION ALL SELECT s FROM t",
            expect![[r#"
            User at nowhere: Type mismatch in column 1 of UNION ALL: INT and STRING.
            CAST one of them."#]],
        ),
        (
            "SELECT a FROM t UNION ALL SELECT a, s FROM t",
            expect![[r#"
            User at 1:1-1:45: Column count mismatch in UNION ALL.
            Both queries must give as many columns."#]],
        ),
        (
            "SELECT CAST('x' AS INT)",
            expect![[r#"
                no error:
                Sink(table=[*anonymous_collect$1*], fields=[EXPR$0])
                   Calc(select=[CAST('x' AS INT) AS EXPR$0])
                      Values(tuples=[[{ 0 }]])
            "#]],
        ),
        (
            "SELECT * FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(a), INTERVAL '1' MINUTE))",
            expect![[r#"
            User at 1:48-1:49: The window function TUMBLE(TABLE table_name, DESCRIPTOR(timecol), datetime interval) requires the timecol to be TIMESTAMP or TIMESTAMP_LTZ, but is INT.
            Declare an event time: `ts AS TO_TIMESTAMP_LTZ(a, 3), WATERMARK FOR ts AS ts - INTERVAL '5' SECOND` in CREATE TABLE."#]],
        ),
        (
            "SELECT * FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(plain), INTERVAL '1' MINUTE))",
            expect![[r#"
            User at 1:48-1:53: The window function requires the timecol is a time attribute type, but is TIMESTAMP(3).
            Declare `WATERMARK FOR plain AS plain - INTERVAL '5' SECOND` in the table's CREATE TABLE. An aggregate, a join or a cast makes a time attribute a plain timestamp; after a window, window_time is the new one."#]],
        ),
        (
            "SELECT * FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(zz), INTERVAL '1' MINUTE))",
            expect![[r#"
            User at 1:48-1:50: Column 'zz' not found in any table.
            There are: a, b, s, d, ts, plain, pt."#]],
        ),
        (
            "SELECT * FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), 5))",
            expect![[r#"
            User at 1:53-1:54: Cannot apply 'TUMBLE' to arguments of this type: `5` is no interval, such as INTERVAL '5' MINUTE.
            Supported form: TUMBLE(TABLE table_name, DESCRIPTOR(timecol), size [, offset])."#]],
        ),
        (
            "SELECT * FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts)))",
            expect![[r#"
            User at 1:21-1:50: Invalid arguments of TUMBLE.
            Write TUMBLE(TABLE table_name, DESCRIPTOR(timecol), size [, offset])."#]],
        ),
        (
            "SELECT window_start, COUNT(*) FROM TABLE(HOP(TABLE t, DESCRIPTOR(ts), INTERVAL '10' MINUTE, INTERVAL '4' MINUTE)) GROUP BY window_start, window_end",
            expect![[r#"
            User at 1:66-1:68: HOP table function based aggregate requires size must be an integral multiple of slide, but got size 240000 ms and slide 600000 ms
            The slide comes before the size: HOP(TABLE t, DESCRIPTOR(ts), slide, size). Were they swapped?"#]],
        ),
        (
            "SELECT TUMBLE_START(ts, INTERVAL '2' MINUTE) FROM t GROUP BY TUMBLE(ts, INTERVAL '1' MINUTE)",
            expect![[r#"
            User at nowhere: Call to auxiliary group function 'TUMBLE_START' must have matching call to group function 'TUMBLE' in GROUP BY clause
            Give both the same arguments."#]],
        ),
        (
            "SELECT COUNT(*) FROM t GROUP BY TUMBLE(a, INTERVAL '1' MINUTE)",
            expect![[r#"
            User at nowhere: Cannot apply 'TUMBLE' to arguments of type 'TUMBLE(<INT>, <INTERVAL>)'. Supported form(s): 'TUMBLE(<DATETIME>, <DATETIME_INTERVAL>)'
            Group by the column that WATERMARK FOR declares, or by a PROCTIME() column."#]],
        ),
        (
            "SELECT COUNT(*) FROM t GROUP BY TUMBLE(plain, INTERVAL '1' MINUTE)",
            expect![[r#"
            User at 1:40-1:45: Window aggregate can only be defined over a time attribute column, but TIMESTAMP(3) encountered.
            Declare `WATERMARK FOR plain AS plain - INTERVAL '5' SECOND` in the table's CREATE TABLE. An aggregate, a join or a cast makes a time attribute a plain timestamp; after a window, window_time is the new one."#]],
        ),
    ] {
        error(sql, expected);
    }
}

#[test]
fn what_is_not_there_yet_is_refused_by_name() {
    for (sql, expected) in [
        (
            "SELECT UNNEST(ARRAY[1]) FROM t",
            expect![[r#"
            User at nowhere: UNNEST is not supported yet.
            Take single elements: a[1] is the first of the array a."#]],
        ),
        (
            "SELECT a FROM t ORDER BY a",
            expect![[r#"
                User at nowhere: Sort on a non-time-attribute field is not supported.
                A stream has no end to sort before. ORDER BY an event time ascending comes as the watermark passes; ORDER BY … LIMIT n keeps the first n; SET 'execution.runtime-mode' = 'batch' sorts bounded input."#]],
        ),
        (
            "SELECT * FROM t FOR SYSTEM_TIME AS OF t.ts",
            expect![[r#"
            User at nowhere: Temporal table join currently only supports 'FOR SYSTEM_TIME AS OF' left table's time attribute field
            The table stands on the right of a join: l JOIN r FOR SYSTEM_TIME AS OF l.ts ON l.k = r.k."#]],
        ),
    ] {
        error(sql, expected);
    }
}

#[test]
fn inserts_go_by_position_with_implicit_casts_only() {
    plan(
        "INSERT INTO sink SELECT s, a FROM t",
        expect![[r#"
        Sink(table=[default_catalog.default_database.sink], fields=[s, b], changelogMode=[I])
           Calc(select=[s, CAST(a AS BIGINT) AS b], changelogMode=[I])
              TableSourceScan(table=[[default_catalog, default_database, t]], watermark=[`ts` - INTERVAL '5' SECOND], fields=[a, s, ts], changelogMode=[I])
    "#]],
    );
    plan(
        "INSERT INTO sink (b) SELECT a FROM t",
        expect![[r#"
        Sink(table=[default_catalog.default_database.sink], fields=[s, b], changelogMode=[I])
           Calc(select=[null AS s, CAST(a AS BIGINT) AS b], changelogMode=[I])
              TableSourceScan(table=[[default_catalog, default_database, t]], watermark=[`ts` - INTERVAL '5' SECOND], fields=[a, ts], changelogMode=[I])
    "#]],
    );
    plan(
        "INSERT INTO sink VALUES ('x', 1)",
        expect![[r#"
        Sink(table=[default_catalog.default_database.sink], fields=[s, b], changelogMode=[I])
           Calc(select=[column1 AS s, CAST(column2 AS BIGINT) AS b], changelogMode=[I])
              Values(tuples=[[{ 'x', 1 }]], changelogMode=[I])
    "#]],
    );
    error(
        "INSERT INTO sink SELECT a, s FROM t",
        expect![[r#"
        User at 1:13-1:17: Column types of query result and sink for 'default_catalog.default_database.sink' do not match.
        Cause: Incompatible types for sink column 's' at position 0.

        Query schema: [a: INT, s: STRING]
        Sink schema:  [s: STRING, b: BIGINT]
        Write CAST(`a` AS STRING)."#]],
    );
    error(
        "INSERT INTO sink SELECT a FROM t",
        expect![[r#"
        User at 1:13-1:17: Column types of query result and sink for 'default_catalog.default_database.sink' do not match.
        Cause: Different number of columns.

        Query schema: [a: INT]
        Sink schema:  [s: STRING, b: BIGINT]
        no hint"#]],
    );
    error(
        "INSERT INTO snk SELECT a FROM t",
        expect![[r#"
        User at 1:13-1:16: Cannot find table 'snk' in any of the catalogs.
        Did you mean 'sink'?"#]],
    );
    error(
        "INSERT INTO sink (s, c) SELECT s, a FROM t",
        expect![[r#"
        User at 1:22-1:23: Unknown target column 'c' of table 'default_catalog.default_database.sink'.
        Did you mean 'b'?"#]],
    );
    error(
        "INSERT INTO sink SELECT s, COUNT(*) FROM t GROUP BY s",
        expect![[r#"
        User at 1:13-1:17: Table sink 'default_catalog.default_database.sink' doesn't support consuming update changes which is produced by node GroupAggregate(groupBy=[s], select=[s, COUNT(*) AS b])
        Aggregate in windows (GROUP BY window_start, window_end), whose results never change; or write to 'print', or to 'kafka' with 'format' = 'debezium-json'; or SET 'execution.runtime-mode' = 'batch' for bounded input."#]],
    );
}

#[test]
fn a_state_ttl_hint_reaches_what_keeps_the_tables_rows() {
    let bench = Bench::new();
    let ttl = |sql: &str| bench.ttl(sql);
    assert_eq!(
        ttl(
            "SELECT /*+ STATE_TTL('x' = '1 s', 'y' = '0 s') */ x.a FROM t AS x JOIN t AS y ON x.a = y.a WHERE x.b > 1 AND y.s = 'q'"
        ),
        "join [Some(1000), Some(0)]"
    );
    assert_eq!(
        ttl("SELECT /*+ STATE_TTL('sink' = '2 s') */ t.a FROM t JOIN sink ON t.b = sink.b"),
        "join [None, Some(2000)]"
    );
    assert_eq!(
        ttl("SELECT /*+ STATE_TTL('t' = '3 s') */ s, COUNT(*) FROM t WHERE a > 1 GROUP BY s"),
        "aggregate Some(3000)"
    );
    assert_eq!(ttl("SELECT /*+ STATE_TTL('v' = '3 s') */ DISTINCT n FROM v"), "aggregate Some(3000)");
    assert_eq!(
        ttl(
            "SELECT /*+ STATE_TTL('q' = '4 s') */ q.n FROM (SELECT s, COUNT(*) AS n FROM t GROUP BY s) AS q JOIN sink ON q.s = sink.s"
        ),
        "aggregate None, join [Some(4000), None]",
        "a subquery's rows, not those within it"
    );
    assert_eq!(
        ttl(
            "SELECT q.a FROM (SELECT /*+ STATE_TTL('t' = '4 s') */ a, b FROM t) AS q JOIN sink ON q.b = sink.b"
        ),
        "join [None, None]",
        "a hint is for its own SELECT"
    );
    assert_eq!(
        ttl(
            "SELECT /*+ STATE_TTL('x' = '1 s', 'y' = '2 s', 'z' = '3 s') */ x.a FROM t x JOIN t y ON x.a = y.a JOIN t z ON z.a = y.a"
        ),
        "join [Some(1000), Some(2000)], join [None, Some(3000)]"
    );
}

#[test]
fn a_statement_set_shares_its_scans() {
    plan(
        "EXECUTE STATEMENT SET BEGIN INSERT INTO sink SELECT s, a FROM t; INSERT INTO sink SELECT s, b FROM t WHERE d > 1; END",
        expect![[r#"
        Sink(table=[default_catalog.default_database.sink], fields=[s, b], changelogMode=[I])
           Calc(select=[s, CAST(a AS BIGINT) AS b], changelogMode=[I])
              TableSourceScan(table=[[default_catalog, default_database, t]], watermark=[`ts` - INTERVAL '5' SECOND], fields=[a, b, s, d, ts], changelogMode=[I])(reuse_id=[0])
        Sink(table=[default_catalog.default_database.sink], fields=[s, b], changelogMode=[I])
           Calc(select=[s, b], where=[d > 1.00], changelogMode=[I])
              Reused(reference_id=[0])
    "#]],
    );
}

#[test]
fn tasks_exchange_rows_by_key() {
    let mut bench = Bench::new();
    bench.set("parallelism.default", "4");
    expect![[r#"
        Sink(table=[*anonymous_collect$1*], fields=[s, EXPR$1], changelogMode=[I,UB,UA])
           Exchange(distribution=[single])
              GroupAggregate(groupBy=[s], select=[s, COUNT(*) AS EXPR$1], changelogMode=[I,UB,UA])  -- state grows with every new key
                 Exchange(distribution=[hash[s]])
                    TableSourceScan(table=[[default_catalog, default_database, t]], watermark=[`ts` - INTERVAL '5' SECOND], fields=[s, ts], changelogMode=[I])
    "#]].assert_eq(&bench.plan("SELECT s, COUNT(*) FROM t GROUP BY s"));
    expect![[r#"
        Sink(table=[*anonymous_collect$1*], fields=[EXPR$0], changelogMode=[I,UB,UA])
           GroupAggregate(select=[COUNT(*) AS EXPR$0], changelogMode=[I,UB,UA])
              Exchange(distribution=[single])
                 TableSourceScan(table=[[default_catalog, default_database, t]], watermark=[`ts` - INTERVAL '5' SECOND], fields=[ts], changelogMode=[I])
    "#]].assert_eq(&bench.plan("SELECT COUNT(*) FROM t"));
    expect![[r#"
        Sink(table=[default_catalog.default_database.sink], fields=[s, b], changelogMode=[I])
           Calc(select=[s, CAST(a AS BIGINT) AS b], changelogMode=[I])
              TableSourceScan(table=[[default_catalog, default_database, t]], watermark=[`ts` - INTERVAL '5' SECOND], fields=[a, s, ts], changelogMode=[I])
    "#]].assert_eq(&bench.plan("INSERT INTO sink SELECT s, a FROM t"));
}

#[test]
fn batch_mode_gives_final_results() {
    let mut bench = Bench::new();
    bench.set("execution.runtime-mode", "batch");
    expect![[r#"
        Sink(table=[*anonymous_collect$1*], fields=[s, EXPR$1], changelogMode=[I])
           Limit(offset=[0], fetch=[3], changelogMode=[I])
              GroupAggregate(groupBy=[s], select=[s, COUNT(*) AS EXPR$1], changelogMode=[I])  -- state grows with every new key
                 TableSourceScan(table=[[default_catalog, default_database, t]], watermark=[`ts` - INTERVAL '5' SECOND], fields=[s, ts], changelogMode=[I])
    "#]].assert_eq(&bench.plan("SELECT s, COUNT(*) FROM t GROUP BY s LIMIT 3"));
    expect![[r#"
        Sink(table=[*anonymous_collect$1*], fields=[window_start, EXPR$1], changelogMode=[I])
           Calc(select=[window_start, EXPR$1], changelogMode=[I])
              WindowAggregate(window=[TUMBLE(time_col=[plain], size=[1 min])], select=[COUNT(*) AS EXPR$1, start('w$) AS window_start, end('w$) AS window_end], changelogMode=[I])
                 TableSourceScan(table=[[default_catalog, default_database, t]], watermark=[`ts` - INTERVAL '5' SECOND], fields=[ts, plain], changelogMode=[I])
    "#]].assert_eq(&bench.plan("SELECT window_start, COUNT(*) FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(plain), INTERVAL '1' MINUTE)) GROUP BY window_start, window_end"));
}

#[test]
fn metadata_hints_and_idle_timeouts_reach_the_source() {
    let bench = Bench::new();
    expect![[r#"
        Sink(table=[*anonymous_collect$1*], fields=[part, x2], changelogMode=[I])
           Calc(select=[part, x2], changelogMode=[I])
              TableSourceScan(table=[[default_catalog, default_database, meta]], watermark=[`ts`], fields=[part, x2, ts], changelogMode=[I])
    "#]].assert_eq(&bench.plan("SELECT part, x2 FROM meta"));
    expect![[r#"
        SourceNode {
            table: "default_catalog.default_database.meta",
            source: FakeSource {
                options: "{\"connector\": \"fake\", \"j\": \"w\", \"k\": \"v\"}",
            },
            projection: Schema {
                fields: [
                    Field {
                        name: "part",
                        data_type: Int32,
                    },
                    Field {
                        name: "x",
                        data_type: Int64,
                        nullable: true,
                    },
                ],
                metadata: {},
            },
            computed: Some(
                [
                    Column {
                        name: "part",
                        index: 0,
                    },
                    ScalarFunctionExpr {
                        fun: "<FUNC>",
                        name: "*",
                        args: [
                            Column {
                                name: "x",
                                index: 1,
                            },
                            Literal {
                                value: Int32(2),
                                field: Field {
                                    name: "lit",
                                    data_type: Int32,
                                },
                            },
                        ],
                        return_field: Field {
                            name: "*",
                            data_type: Int64,
                            nullable: true,
                        },
                    },
                    ScalarFunctionExpr {
                        fun: "<FUNC>",
                        name: "cast",
                        args: [
                            ScalarFunctionExpr {
                                fun: "<FUNC>",
                                name: "cast",
                                args: [
                                    Column {
                                        name: "x",
                                        index: 1,
                                    },
                                ],
                                return_field: Field {
                                    name: "cast",
                                    data_type: Utf8,
                                    nullable: true,
                                },
                            },
                        ],
                        return_field: Field {
                            name: "cast",
                            data_type: Timestamp(
                                Millisecond,
                                None,
                            ),
                            nullable: true,
                        },
                    },
                ],
            ),
            primary_key: [],
            watermark: Some(
                WatermarkStrategy {
                    expression: Column {
                        name: "ts",
                        index: 2,
                    },
                    idle_timeout_ms: Some(
                        5000,
                    ),
                    interval_ms: 200,
                    tells_each: false,
                },
            ),
        }"#]]
    .assert_eq(&bench.source(
        "SELECT part, x2 FROM meta /*+ OPTIONS('k' = 'v', 'scan.watermark.idle-timeout' = '5 s') */",
    ));
    expect![[r#"
        User at nowhere: Invalid metadata key 'partitoin' in column 'part' of table 'default_catalog.default_database.badmeta'. The connector has these metadata keys that can be read: timestamp, partition.
        Did you mean 'partition'?"#]].assert_eq(&bench.error("SELECT * FROM badmeta"));
    expect![[r#"
        !! The cast from NUMERIC type to TIMESTAMP_LTZ type is not allowed.
           hint: Write TO_TIMESTAMP_LTZ(number, 3) for milliseconds, (number, 0) for seconds.
    "#]]
    .assert_eq(&bench.plan("INSERT INTO meta SELECT x, x FROM meta"));
}

#[test]
fn operator_ids_stay_when_the_query_stays() {
    let bench = Bench::new();
    let sql = "SELECT s, COUNT(*) AS c FROM t WHERE a > 1 GROUP BY s";
    assert_eq!(bench.ids(sql), bench.ids(sql));
    expect![[r#"
        source-9253cca0ae9f0bea
        calc-8e71e73352ddf763
        groupaggregate-45677d707348592c
        sink-05f0c1731197f195"#]]
    .assert_eq(&bench.ids(sql).join("\n"));
}

#[test]
fn operator_ids_outlast_edits_that_leave_the_state_as_it_is() {
    let bench = Bench::new();
    let id = |sql: &str, label: &str| -> String {
        let ids = bench.ids(sql);
        ids.into_iter().find(|i| i.starts_with(label)).unwrap_or_else(|| panic!("no {label} in {sql}"))
    };
    let base = "SELECT s, COUNT(*) AS c, SUM(a) FROM t GROUP BY s";
    let aggregate = |sql: &str| id(sql, "groupaggregate-");
    for same in [
        "SELECT s, COUNT(*), SUM(a) AS other_name FROM t WHERE a > 7 GROUP BY s",
        "SELECT COUNT(*) AS n, s, SUM(a) FROM t GROUP BY s",
        "SELECT UPPER(s), COUNT(*) AS c, SUM(a) + 1 FROM t GROUP BY s",
        "SELECT * FROM (SELECT k, COUNT(*) AS c, SUM(x) AS y FROM (SELECT s AS k, a AS x, b FROM t) GROUP BY k) WHERE c > 1",
    ] {
        assert_eq!(aggregate(same), aggregate(base), "{same}");
        assert_eq!(id(same, "source-"), id(base, "source-"), "{same}");
        assert_eq!(id(same, "sink-"), id(base, "sink-"), "{same}");
    }
    for other in [
        "SELECT s, COUNT(*) AS c FROM t GROUP BY s",
        "SELECT s, COUNT(*) AS c, SUM(DISTINCT a) FROM t GROUP BY s",
        "SELECT s, COUNT(*) AS c, SUM(a) FILTER (WHERE a > 1) FROM t GROUP BY s",
        "SELECT s, COUNT(*) AS c, SUM(a + 1) FROM t GROUP BY s",
        "SELECT UPPER(s), COUNT(*) AS c, SUM(a) FROM t GROUP BY UPPER(s)",
        "SELECT COUNT(*) AS c, SUM(a) FROM t",
    ] {
        assert_ne!(aggregate(other), aggregate(base), "{other}");
        assert_eq!(id(other, "source-"), id(base, "source-"), "{other}");
    }
    // Twins are told apart.
    let twins = "SELECT s, COUNT(*) FROM t WHERE a > 1 GROUP BY s UNION ALL SELECT s, COUNT(*) FROM t WHERE a < 1 GROUP BY s";
    let ids: Vec<String> =
        bench.ids(twins).into_iter().filter(|i| i.starts_with("groupaggregate-")).collect();
    assert_eq!(ids.len(), 2);
    assert_eq!(ids[1], format!("{}-2", ids[0]));
}

#[test]
fn only_the_fields_of_rows_that_are_read_are_decoded() {
    let bench = Bench::new();
    expect![[r#"
        kind INT
        bid ROW<`auction` BIGINT, `price` BIGINT, `time` TIMESTAMP(3)>
    "#]]
    .assert_eq(&bench.read("SELECT bid.auction, bid.price FROM nested WHERE kind = 2"));
    expect![[r#"
        kind INT
        bid ROW<`auction` BIGINT, `price` BIGINT, `time` TIMESTAMP(3), `extra` STRING>
    "#]]
    .assert_eq(
        &bench.read("SELECT b.auction, COUNT(*) FROM (SELECT bid AS b FROM nested) GROUP BY b.auction"),
    );
    expect![[r#"
        kind INT
        bid ROW<`auction` BIGINT, `price` BIGINT, `time` TIMESTAMP(3), `extra` STRING>
        person ROW<`name` STRING>
    "#]]
    .assert_eq(&bench.read("SELECT bid, person.name FROM nested"));
    expect![[r#"
        kind INT
        bid ROW<`auction` BIGINT, `price` BIGINT, `time` TIMESTAMP(3), `extra` STRING>
        person ROW<`id` BIGINT, `name` STRING>
    "#]]
    .assert_eq(&bench.read("SELECT * FROM nested"));
    expect![[r#"
        Sink(table=[*anonymous_collect$1*], fields=[auction, EXPR$1], changelogMode=[I,UB,UA])
           GroupAggregate(groupBy=[$f0], select=[$f0, COUNT(*) AS EXPR$1], changelogMode=[I,UB,UA])  -- state grows with every new key
              Calc(select=[bid.auction AS $f0], where=[bid.price > 5], changelogMode=[I])
                 TableSourceScan(table=[[default_catalog, default_database, nested]], watermark=[`ts` - INTERVAL '4' SECOND], fields=[bid, ts], changelogMode=[I])
    "#]].assert_eq(&bench.plan("SELECT bid.auction, COUNT(*) FROM nested WHERE bid.price > 5 GROUP BY bid.auction"));
}
