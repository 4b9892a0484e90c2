//! EXPLAIN names the operators whose state grows without bound, with their ids.

use super::support::Bench;
use expect_test::expect;

/// What EXPLAIN tells of state, without the ids, which stand in the plan's tasks too.
fn grows(sql: &str) -> String {
    let planned = Bench::new().planned(sql).unwrap();
    let text = planned.explain(false, false);
    let mut told = String::new();
    for line in text.split_once("== Unbounded State ==\n").map_or("", |(_, rest)| rest).lines() {
        let (name, rest) = line.split_once(" (id=").unwrap();
        let (id, what) = rest.split_once("): ").unwrap();
        assert!(text.split("== Unbounded").next().unwrap().contains(&format!("  id={id}\n")), "{id}: {text}");
        told.push_str(&format!("{name}: {what}\n"));
    }
    told
}

#[test]
fn operators_whose_state_grows_are_named() {
    let joined = grows("SELECT x.s, COUNT(*) FROM t AS x JOIN t AS y ON x.a = y.a GROUP BY x.s");
    expect![[r#"
        Join: state grows with every new row; 'table.exec.state.ttl' bounds it.
        GroupAggregate: state grows with every new key; 'table.exec.state.ttl' bounds it.
    "#]]
    .assert_eq(&joined);
    for (sql, what) in [
        ("SELECT COUNT(DISTINCT a) FROM t", "GroupAggregate: state grows with every new value"),
        ("SELECT LISTAGG(s) FROM t", "GroupAggregate: state grows with every new value"),
        (
            "SELECT * FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY s ORDER BY a) AS n FROM t) WHERE n <= 3",
            "Rank: state grows with every new key",
        ),
        (
            "SELECT * FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY s ORDER BY ts) AS n FROM t) WHERE n = 1",
            "Deduplicate: state grows with every new key",
        ),
        (
            "SELECT s, COUNT(*) OVER (PARTITION BY s ORDER BY ts ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM t",
            "OverAggregate: state grows with every new key",
        ),
        (
            "SELECT l.a FROM t AS l JOIN rates FOR SYSTEM_TIME AS OF l.ts AS r ON l.s = r.k",
            "TemporalJoin: the last version of every key is kept",
        ),
    ] {
        let told = grows(sql);
        assert!(told.contains(what), "{sql}: {told}");
    }
    // Bounded by event time, or one value.
    for sql in [
        "SELECT COUNT(*), SUM(a) FROM t",
        "SELECT s, COUNT(*) FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '1' MINUTE)) \
         GROUP BY s, window_start, window_end",
        "SELECT COUNT(*) OVER (ORDER BY ts ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM t",
        "SELECT l.a FROM t AS l JOIN t AS r ON l.a = r.a AND r.ts BETWEEN l.ts AND l.ts + INTERVAL '1' MINUTE",
    ] {
        assert_eq!(grows(sql), "", "{sql}");
    }
    let mut bench = Bench::new();
    bench.set("table.exec.state.ttl", "1 d");
    let planned = bench.planned("SELECT s, COUNT(*) FROM t GROUP BY s").unwrap();
    assert!(planned.unbounded.is_empty(), "a time to live bounds it");
}
