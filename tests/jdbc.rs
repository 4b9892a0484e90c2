//! Tables of a real PostgreSQL: read, looked up and written. What the server was asked is read from its own log.

use engine::message::RowKind;
use engine::{Outcome, sql};
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use tests::{Answer, PATIENCE_SECONDS, Runner, materialized, take_until};
use tokio_postgres::{NoTls, SimpleQueryMessage};

fn runtime() -> &'static tokio::runtime::Runtime {
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| tokio::runtime::Runtime::new().unwrap())
}

/// What statements give, as texts.
fn ask_at(server: &str, text: &str) -> Vec<Vec<String>> {
    runtime().block_on(async {
        let (host, port) = server.split_once(':').unwrap();
        let config = format!(
            "host={host} port={port} user=runnel password=runnel-secret dbname=runnel application_name=test"
        );
        let (client, connection) = tokio_postgres::connect(&config, NoTls).await.unwrap();
        tokio::spawn(connection);
        let messages = client.simple_query(text).await.unwrap_or_else(|e| panic!("{e:?}\n{text}"));
        let rows = messages.iter().filter_map(|m| match m {
            SimpleQueryMessage::Row(row) => {
                Some((0..row.len()).map(|i| row.get(i).unwrap_or("<NULL>").to_string()).collect())
            }
            _ => None,
        });
        rows.collect()
    })
}

fn ask(text: &str) -> Vec<Vec<String>> {
    ask_at(&tests::services::postgres(), text)
}

fn one_value(text: &str) -> String {
    ask(text).remove(0).remove(0)
}

fn options_at(server: &str, table: &str, more: &str) -> String {
    format!(
        "'connector' = 'jdbc', 'url' = 'jdbc:postgresql://{server}/runnel?ApplicationName={table}', 'table-name' = \
         '{table}', 'username' = 'runnel', 'password' = 'runnel-secret'{more}"
    )
}

fn options(table: &str, more: &str) -> String {
    options_at(&tests::services::postgres(), table, more)
}

fn rows(answer: &Answer) -> Vec<String> {
    let mut rows: Vec<String> =
        answer.changes.iter().map(|(k, r)| format!("{} {}", k.short(), r.join("|"))).collect();
    rows.sort();
    rows
}

/// Requests for rows of `table` by key that the server's log holds: the keys of each.
fn lookups(table: &str) -> Vec<String> {
    let log = one_value("SELECT pg_read_file('log/statements.log')");
    // An earlier run may have asked the same server.
    let made = log.rfind(&format!("DROP TABLE IF EXISTS {table};")).unwrap_or_default();
    let mut lines = log[made..].lines();
    let mut found = Vec::new();
    while let Some(line) = lines.next() {
        if line.contains("SELECT k.n,")
            && line.contains(&format!("\"{table}\" AS t"))
            && line.contains("execute")
        {
            let parameters = lines.next().unwrap_or_default();
            found.push(parameters.split("$1 = ").nth(1).unwrap_or(parameters).to_string());
        }
    }
    found
}

fn waits_until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(PATIENCE_SECONDS);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

const TYPES: &str = "si SMALLINT, i INT, b BIGINT, f FLOAT, d DOUBLE, n DECIMAL(12, 3), flag BOOLEAN, dt DATE, tm TIME(3), \
     ts TIMESTAMP(6), t3 TIMESTAMP(3), l TIMESTAMP_LTZ(3), c STRING, v STRING, bs BYTES, a ARRAY<INT>, ta ARRAY<STRING>, u STRING, j STRING";

const PG_TYPES: &str = "si smallint, i int, b bigint, f real, d double precision, n numeric(12, 3), flag boolean, dt date, \
     tm time, ts timestamp, t3 timestamp, l timestamptz, c char(4), v varchar(20), bs bytea, a int[], ta text[], u uuid, j jsonb";

#[test]
fn every_type_comes_in_and_goes_out() {
    ask(&format!(
        "DROP TABLE IF EXISTS types_in, types_out; CREATE TABLE types_in (k int PRIMARY KEY, {PG_TYPES});
         CREATE TABLE types_out (k int PRIMARY KEY, {PG_TYPES});
         INSERT INTO types_in VALUES
         (1, -7, 42, 9007199254740993, 1.5, -2.25, 12345.678, true, '2020-02-29', '12:34:56.789', '1969-12-31 23:59:59.123456',
          '2024-06-01 10:00:00.5', '2024-06-01 10:00:00+02', 'ab', 'Zoë ''q''', '\\x00ff10', '{{1,NULL,3}}', '{{\"a b\",NULL,\"c\\\"d\"}}',
          '123e4567-e89b-12d3-a456-426614174000', '{{\"x\": [1, 2]}}'),
         (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
         (3, 0, 0, 0, 'NaN', 'Infinity', -0.001, false, '1900-01-01', '00:00:00', '2000-01-01', '2000-01-01', '2000-01-01 00:00:00+00',
          '', '', '\\x', '{{}}', '{{}}', '00000000-0000-0000-0000-000000000000', 'null')"
    ));
    let mut runner = Runner::new();
    let read = format!(
        "CREATE TABLE src (k INT, {TYPES}, PRIMARY KEY (k) NOT ENFORCED) WITH ({});
         CREATE TABLE dst (k INT, {TYPES}, PRIMARY KEY (k) NOT ENFORCED) WITH ({});",
        options("types_in", ""),
        options("types_out", "")
    );
    let answer = runner.one(&format!("{read} SELECT * FROM src"));
    let expected = [
        "+I 1|-7|42|9007199254740993|1.5|-2.25|12345.678|TRUE|2020-02-29|12:34:56|1969-12-31 23:59:59.123456|2024-06-01 \
         10:00:00.500|2024-06-01 08:00:00.000|ab  |Zoë 'q'|x'00ff10'|[1, NULL, 3]|[a b, NULL, c\"d]|\
         123e4567-e89b-12d3-a456-426614174000|{\"x\": [1, 2]}",
        "+I 2|<NULL>|<NULL>|<NULL>|<NULL>|<NULL>|<NULL>|<NULL>|<NULL>|<NULL>|<NULL>|<NULL>|<NULL>|<NULL>|<NULL>|<NULL>|<NULL>|<NULL>|<NULL>|<NULL>",
        "+I 3|0|0|0|NaN|Infinity|-0.001|FALSE|1900-01-01|00:00:00|2000-01-01 00:00:00.000000|2000-01-01 00:00:00.000|2000-01-01 \
         00:00:00.000|    ||x''|[]|[]|00000000-0000-0000-0000-000000000000|null",
    ];
    assert_eq!(rows(&answer), expected);
    assert!(runner.run("INSERT INTO dst SELECT * FROM src").is_empty());
    let differ = "SELECT count(*) FROM types_in one FULL JOIN types_out other ON one.k = other.k WHERE one IS DISTINCT FROM other";
    assert_eq!(one_value(differ), "0", "{:?}", ask("SELECT * FROM types_out ORDER BY k"));
    let count = runner.one("SELECT COUNT(*) FROM src");
    assert_eq!(count.changes.last().unwrap().1, ["3"]);
}

#[test]
fn a_table_is_read_in_parts() {
    ask(
        "DROP TABLE IF EXISTS parts; CREATE TABLE parts AS SELECT g AS id, g % 7 AS v FROM generate_series(1, 5000) g",
    );
    let mut runner = Runner::new();
    let partitions = ", 'scan.partition.column' = 'id', 'scan.partition.num' = '4', 'scan.partition.lower-bound' = '11', \
                      'scan.partition.upper-bound' = '4000'";
    let answer = runner.one(&format!(
        "SET 'execution.runtime-mode' = 'batch'; SET 'parallelism.default' = '3';
         CREATE TABLE parts (id BIGINT, v SMALLINT) WITH ({});
         SELECT COUNT(*), MIN(id), MAX(id), COUNT(DISTINCT id) FROM parts",
        options("parts", partitions)
    ));
    assert_eq!(rows(&answer), ["+I 3990|11|4000|3990"], "rows beyond the bounds are not read, as in Flink");
    let all = runner.one(&format!(
        "CREATE TABLE whole (id BIGINT) WITH ({}); SELECT COUNT(*), SUM(id) FROM whole",
        options("parts", "")
    ));
    assert_eq!(rows(&all), ["+I 5000|12502500"]);
}

/// Left rows: `n` of them, whose key goes from 0 to `keys` - 1 again and again.
fn left(folder: &std::path::Path, n: usize, keys: usize) -> String {
    let lines: String = (0..n).map(|i| format!("{{\"n\": {i}, \"k\": {}}}\n", i % keys)).collect();
    let path = folder.join("left.json");
    std::fs::write(&path, lines).unwrap();
    format!(
        "CREATE TABLE o (n INT, k BIGINT, pt AS PROCTIME()) WITH ('connector' = 'filesystem', 'path' = '{}', 'format' = 'json');",
        path.display()
    )
}

fn dim(table: &str, rows: usize) {
    ask(&format!(
        "DROP TABLE IF EXISTS {table}; CREATE TABLE {table} (id bigint PRIMARY KEY, name text);
         INSERT INTO {table} SELECT g, 'name ' || g FROM generate_series(0, {}) g",
        rows - 1
    ));
}

fn dim_ddl(table: &str, more: &str) -> String {
    format!(
        "CREATE TABLE d (id BIGINT, name STRING, PRIMARY KEY (id) NOT ENFORCED) WITH ({});",
        options(table, more)
    )
}

const JOIN: &str = "o LEFT JOIN d FOR SYSTEM_TIME AS OF o.pt ON o.k = d.id";

#[test]
fn each_key_of_a_batch_is_asked_for_once_and_cached_keys_not_again() {
    let folder = tempfile::tempdir().unwrap();
    // 3000 rows are several requests: the second and third hold the same keys as the first.
    let left = left(folder.path(), 3000, 4);
    for (table, more, most) in [
        ("cache_none", "", 100),
        ("cache_partial", ", 'lookup.cache' = 'PARTIAL', 'lookup.partial-cache.max-rows' = '100'", 1),
        (
            "cache_found",
            ", 'lookup.cache' = 'PARTIAL', 'lookup.partial-cache.max-rows' = '100', 'lookup.partial-cache.cache-missing-key' = 'false'",
            100,
        ),
        ("cache_full", ", 'lookup.cache' = 'FULL'", 0),
        ("cache_old", ", 'lookup.cache.max-rows' = '100', 'lookup.cache.ttl' = '1 h'", 1),
    ] {
        dim(table, 3);
        let mut runner = Runner::new();
        let answer = runner.one(&format!(
            "SET 'execution.runtime-mode' = 'batch'; {left} {} SELECT d.name, COUNT(*) AS c FROM {JOIN} GROUP BY d.name",
            dim_ddl(table, more)
        ));
        assert_eq!(
            rows(&answer),
            ["+I <NULL>|750", "+I name 0|750", "+I name 1|750", "+I name 2|750"],
            "{table}"
        );
        let asked = lookups(table);
        match table {
            "cache_none" => {
                assert!(asked.len() >= 3, "{asked:?}");
                assert!(asked.iter().all(|k| k.matches(',').count() == 3), "each key once: {asked:?}");
            }
            "cache_found" => {
                assert!(asked.len() >= 3, "{asked:?}");
                assert!(
                    asked[1..].iter().all(|k| k == "'{3}'"),
                    "only the key without rows again: {asked:?}"
                );
            }
            _ => assert_eq!(asked.len(), most, "{table}: {asked:?}"),
        }
    }
}

#[test]
fn a_cached_key_is_asked_for_again_when_it_is_old() {
    dim("cache_expiry", 1);
    let mut runner = Runner::new();
    let mut query = runner.start(&format!(
        "CREATE TABLE o (n BIGINT, k AS CAST(0 AS BIGINT), pt AS PROCTIME()) WITH ('connector' = 'datagen', 'fields.n.kind' = \
         'sequence', 'fields.n.start' = '1', 'fields.n.end' = '1000000', 'rows-per-second' = '50');
         {} SELECT d.name FROM {JOIN}",
        dim_ddl(
            "cache_expiry",
            ", 'lookup.cache' = 'PARTIAL', 'lookup.partial-cache.expire-after-write' = '400 ms'"
        )
    ));
    let first = take_until(&mut query, PATIENCE_SECONDS, |c| c.len() >= 10);
    assert!(first.iter().all(|(_, row)| row[0] == "name 0"));
    ask("UPDATE cache_expiry SET name = 'new'");
    let later =
        take_until(&mut query, PATIENCE_SECONDS, |c| c.last().is_some_and(|(_, row)| row[0] == "new"));
    assert!(
        later.last().is_some_and(|(_, row)| row[0] == "new"),
        "the change is seen when the answer is old"
    );
    query.results.job().cancel();
    let (asked, told) = (lookups("cache_expiry").len(), first.len() + later.len());
    assert!((2..told).contains(&asked), "{asked} requests for {told} rows");
}

#[test]
fn a_table_kept_as_a_whole_is_read_again() {
    dim("reload", 1);
    let mut runner = Runner::new();
    let mut query = runner.start(&format!(
        "CREATE TABLE o (n BIGINT, k AS CAST(0 AS BIGINT), pt AS PROCTIME()) WITH ('connector' = 'datagen', 'rows-per-second' = '20');
         {} SELECT d.name FROM {JOIN}",
        dim_ddl("reload", ", 'lookup.cache' = 'FULL', 'lookup.full-cache.periodic-reload.interval' = '200 ms'")
    ));
    let first = take_until(&mut query, PATIENCE_SECONDS, |c| c.len() >= 3);
    assert!(first.iter().all(|(_, row)| row[0] == "name 0"));
    ask("UPDATE reload SET name = 'new'");
    let later =
        take_until(&mut query, PATIENCE_SECONDS, |c| c.last().is_some_and(|(_, row)| row[0] == "new"));
    assert!(later.last().is_some_and(|(_, row)| row[0] == "new"));
    query.results.job().cancel();
    assert!(lookups("reload").is_empty());
}

#[test]
fn asynchronous_lookups_give_the_same_rows() {
    dim("asynchronous", 900);
    let folder = tempfile::tempdir().unwrap();
    let left = left(folder.path(), 20_000, 1000);
    let mut runner = Runner::new();
    runner.run(&format!("{left} {}", dim_ddl("asynchronous", "")));
    let plain = runner.one(&format!("SELECT o.n, d.name FROM {JOIN}"));
    assert_eq!(plain.changes.len(), 20_000);
    let order = |a: &Answer| a.changes.iter().map(|(_, r)| r[0].parse::<i64>().unwrap()).collect::<Vec<_>>();
    assert!(order(&plain).is_sorted());
    let hinted = |mode: &str| {
        format!(
            "SELECT /*+ LOOKUP('table' = 'd', 'async' = 'true', 'output-mode' = '{mode}', 'capacity' = '3') */ o.n, d.name FROM {JOIN}"
        )
    };
    let ordered = runner.one(&hinted("ordered"));
    assert!(order(&ordered).is_sorted(), "rows stay in order");
    assert_eq!(rows(&ordered), rows(&plain));
    assert_eq!(rows(&runner.one(&hinted("allow_unordered"))), rows(&plain));
    let plan = runner.one(&format!("EXPLAIN {}", hinted("allow_unordered")));
    let plan = format!("{:?}", plan.changes);
    assert!(
        plan.contains("lookup=[id=k], select=[n, k, id, name], async=[UNORDERED, 180000ms, 3]"),
        "{plan}"
    );
}

#[test]
fn a_row_that_comes_late_is_found_by_asking_again() {
    dim("late", 1);
    ask("DELETE FROM late");
    let folder = tempfile::tempdir().unwrap();
    let left = left(folder.path(), 1, 1);
    let mut runner = Runner::new();
    let mut query = runner.start(&format!(
        "{left} {} SELECT /*+ LOOKUP('table' = 'd', 'retry-predicate' = 'lookup_miss', 'retry-strategy' = 'fixed_delay', \
         'fixed-delay' = '100 ms', 'max-attempts' = '1000') */ o.n, d.name FROM {JOIN}",
        dim_ddl("late", "")
    ));
    waits_until("asked twice", || lookups("late").len() >= 2);
    ask("INSERT INTO late VALUES (0, 'here')");
    let found = take_until(&mut query, PATIENCE_SECONDS, |c| !c.is_empty());
    assert_eq!(found, [(RowKind::Insert, vec!["0".to_string(), "here".to_string()])]);
}

/// Ends the connections of an application.
fn disconnect(application: &str) -> usize {
    ask(&format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '{application}'"
    ))
    .len()
}

#[test]
fn a_lookup_goes_on_when_its_connection_was_cut() {
    dim("cut", 1);
    let mut runner = Runner::new();
    let mut query = runner.start(&format!(
        "CREATE TABLE o (n BIGINT, k AS CAST(0 AS BIGINT), pt AS PROCTIME()) WITH ('connector' = 'datagen', 'rows-per-second' = '20');
         {} SELECT d.name FROM {JOIN}",
        dim_ddl("cut", "")
    ));
    for _ in 0..2 {
        assert!(take_until(&mut query, PATIENCE_SECONDS, |c| c.len() >= 5).len() >= 5);
        assert_eq!(disconnect("cut"), 1);
    }
    assert!(take_until(&mut query, PATIENCE_SECONDS, |c| c.len() >= 5).len() >= 5);
    query.results.job().cancel();
}

/// A server of a test's own, which may be stopped.
struct Server {
    folder: PathBuf,
    port: u16,
}

impl Server {
    fn start() -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        // Not a folder of `tempfile`, which the user postgres could not enter.
        let folder = std::env::temp_dir().join(format!("runnel-postgres-{}", std::process::id()));
        let server = Self { folder, port };
        server.call("start");
        server
    }

    fn call(&self, action: &str) {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/services/postgres.sh");
        let output =
            Command::new(script).arg(action).arg(&self.folder).arg(self.port.to_string()).output().unwrap();
        assert!(output.status.success(), "{action}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.call("stop");
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

#[test]
fn lookups_and_writes_go_on_after_the_server_was_killed_and_started_again() {
    let server = Server::start();
    let address = server.address();
    ask_at(
        &address,
        "CREATE TABLE d (id bigint PRIMARY KEY, name text); INSERT INTO d VALUES (0, 'zero');
         CREATE TABLE s (n bigint PRIMARY KEY, name text)",
    );
    let mut runner = Runner::new();
    let more =
        ", 'lookup.max-retries' = '10', 'sink.max-retries' = '10', 'sink.buffer-flush.interval' = '100 ms'";
    let text = format!(
        "CREATE TABLE o (n BIGINT, k AS CAST(0 AS BIGINT), pt AS PROCTIME()) WITH ('connector' = 'datagen', 'fields.n.kind' = \
         'sequence', 'fields.n.start' = '1', 'fields.n.end' = '600', 'rows-per-second' = '200');
         CREATE TABLE d (id BIGINT, name STRING, PRIMARY KEY (id) NOT ENFORCED) WITH ({});
         CREATE TABLE s (n BIGINT, name STRING, PRIMARY KEY (n) NOT ENFORCED) WITH ({});
         INSERT INTO s SELECT o.n, d.name FROM {JOIN}",
        options_at(&address, "d", more),
        options_at(&address, "s", more)
    );
    let mut job = None;
    for piece in sql::split(&text).unwrap() {
        if let Outcome::Job(started) = runner.session.execute(&piece).unwrap() {
            job = Some(started);
        }
    }
    let count = || ask_at(&address, "SELECT count(*) FROM s").remove(0).remove(0).parse::<usize>().unwrap();
    waits_until("the first rows", || count() > 50);
    server.call("crash");
    job.unwrap().wait(Some(Duration::from_secs(PATIENCE_SECONDS))).expect("an end").unwrap();
    assert_eq!(count(), 600);
    assert_eq!(ask_at(&address, "SELECT DISTINCT name FROM s"), [["zero"]]);
}

#[test]
fn without_a_key_rows_are_appended() {
    ask(
        "DROP TABLE IF EXISTS appended; CREATE TABLE appended (id bigint, name varchar(20), extra int DEFAULT 7)",
    );
    let mut runner = Runner::new();
    let answers = runner.run(&format!(
        "CREATE TABLE t (id INT, name STRING) WITH ({});
         INSERT INTO t VALUES (1, 'a'), (1, 'a'), (2, CAST(NULL AS STRING));
         INSERT INTO t SELECT id + 1, name FROM t WHERE id = 2;",
        options("appended", "")
    ));
    assert!(answers.is_empty(), "{answers:?}");
    let found = ask("SELECT id, name, extra FROM appended ORDER BY id, name");
    assert_eq!(found, [["1", "a", "7"], ["1", "a", "7"], ["2", "<NULL>", "7"], ["3", "<NULL>", "7"]]);
    let error = runner.error("INSERT INTO t SELECT CAST(COUNT(*) AS INT), 'x' FROM (VALUES 1, 2)");
    assert!(error.message().contains("doesn't support consuming update changes"), "{error}");
}

#[test]
fn with_a_key_the_table_is_what_the_changes_make() {
    ask("DROP TABLE IF EXISTS upserted, upserted_keys;
         CREATE TABLE upserted (k1 int, v text, k2 text, n bigint, PRIMARY KEY (k1, k2));
         INSERT INTO upserted VALUES (9, 'old', 'stays', 0);
         CREATE TABLE upserted_keys (k1 int, k2 text, PRIMARY KEY (k2, k1));");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("changes.json");
    let change = |op: &str, before: &str, after: &str| {
        format!("{{\"op\":\"{op}\",\"before\":{before},\"after\":{after}}}\n")
    };
    let row = |k1: i32, k2: &str, v: &str, n: i64| {
        format!("{{\"k1\":{k1},\"k2\":\"{k2}\",\"v\":\"{v}\",\"n\":{n}}}")
    };
    let text = [
        change("c", "null", &row(1, "a", "x", 1)),
        change("c", "null", &row(1, "b", "y", 2)),
        change("u", &row(1, "a", "x", 1), &row(1, "a", "xx", 3)),
        change("c", "null", &row(2, "a", "z", 4)),
        change("d", &row(1, "b", "y", 2), "null"),
        change("d", &row(2, "a", "z", 4), "null"),
        change("c", "null", &row(2, "a", "again", 5)),
    ];
    std::fs::write(&path, text.concat()).unwrap();
    for max_rows in ["1", "2", "1000", "0"] {
        ask("DELETE FROM upserted WHERE k1 <> 9; DELETE FROM upserted_keys");
        let mut runner = Runner::new();
        let more = format!(", 'sink.buffer-flush.max-rows' = '{max_rows}'");
        let answers = runner.run(&format!(
            "CREATE TABLE c (k1 INT, k2 STRING, v STRING, n BIGINT, PRIMARY KEY (k1, k2) NOT ENFORCED) WITH ('connector' = \
             'filesystem', 'path' = '{}', 'format' = 'debezium-json');
             CREATE TABLE t (n BIGINT, k2 STRING, k1 INT, v STRING, PRIMARY KEY (k1, k2) NOT ENFORCED) WITH ({});
             CREATE TABLE keys (k1 INT, k2 STRING, PRIMARY KEY (k1, k2) NOT ENFORCED) WITH ({});
             INSERT INTO t SELECT n, k2, k1, v FROM c;
             INSERT INTO keys SELECT k1, k2 FROM c;",
            path.display(),
            options("upserted", &more),
            options("upserted_keys", &more)
        ));
        assert!(answers.is_empty(), "{answers:?}");
        let found = ask("SELECT * FROM upserted ORDER BY k1, k2");
        assert_eq!(
            found,
            [["1", "xx", "a", "3"], ["2", "again", "a", "5"], ["9", "old", "stays", "0"]],
            "{max_rows}"
        );
        assert_eq!(ask("SELECT * FROM upserted_keys ORDER BY k1, k2"), [["1", "a"], ["2", "a"]]);
    }
    let mut runner = Runner::new();
    let total = runner.run(&format!(
        "CREATE TABLE t (k1 INT, k2 STRING, n BIGINT, PRIMARY KEY (k1, k2) NOT ENFORCED) WITH ({});
         INSERT INTO t SELECT x, 'sum', COUNT(*) FROM (VALUES (1), (2), (1), (1)) AS v (x) GROUP BY x",
        options("upserted", "")
    ));
    assert!(total.is_empty(), "{total:?}");
    assert_eq!(ask("SELECT k1, n FROM upserted WHERE k2 = 'sum' ORDER BY k1"), [["1", "3"], ["2", "1"]]);
}

#[test]
fn a_job_that_fails_and_goes_on_from_its_checkpoint_loses_nothing() {
    ask("DROP TABLE IF EXISTS restored, restored_rows;
         CREATE TABLE restored (n bigint PRIMARY KEY, name text); CREATE TABLE restored_rows (n bigint)");
    dim("restored_dim", 5);
    let folder = tempfile::tempdir().unwrap();
    let mut runner = Runner::new();
    let text = format!(
        "SET 'execution.checkpointing.interval' = '100 ms'; SET 'state.checkpoints.dir' = '{}';
         SET 'restart-strategy.type' = 'fixed-delay'; SET 'restart-strategy.fixed-delay.attempts' = '1000';
         SET 'restart-strategy.fixed-delay.delay' = '50 ms';
         CREATE TABLE o (n BIGINT, k AS MOD(n, 6), pt AS PROCTIME()) WITH ('connector' = 'datagen', 'fields.n.kind' = \
         'sequence', 'fields.n.start' = '1', 'fields.n.end' = '3000', 'rows-per-second' = '1000');
         {}
         CREATE TABLE s (n BIGINT, name STRING, PRIMARY KEY (n) NOT ENFORCED) WITH ({});
         CREATE TABLE r (n BIGINT) WITH ({});
         EXECUTE STATEMENT SET BEGIN
         INSERT INTO s SELECT /*+ LOOKUP('table' = 'd', 'async' = 'true') */ o.n, d.name FROM {JOIN};
         INSERT INTO r SELECT n FROM o;
         END",
        folder.path().display(),
        dim_ddl("restored_dim", ", 'lookup.max-retries' = '0'"),
        options("restored", ", 'sink.max-retries' = '0', 'sink.buffer-flush.max-rows' = '50'"),
        options("restored_rows", ", 'sink.max-retries' = '0', 'sink.buffer-flush.max-rows' = '50'"),
    );
    let mut job = None;
    for piece in sql::split(&text).unwrap() {
        if let Outcome::Job(started) = runner.session.execute(&piece).unwrap() {
            job = Some(started);
        }
    }
    let job = job.unwrap();
    let count = |table: &str| one_value(&format!("SELECT count(*) FROM {table}")).parse::<usize>().unwrap();
    let mut cut = 0;
    for (application, rows) in [("restored", 500), ("restored_rows", 1200), ("restored_dim", 1900)] {
        waits_until("rows", || count("restored") >= rows || job.wait(Some(Duration::ZERO)).is_some());
        cut += disconnect(application);
    }
    assert!(cut >= 2, "the job was over before it was hurt");
    job.wait(Some(Duration::from_secs(PATIENCE_SECONDS))).expect("an end").unwrap();
    assert_eq!(count("restored"), 3000);
    assert_eq!(one_value("SELECT count(DISTINCT n) FROM restored_rows"), "3000", "at least once");
    let wrong = "SELECT count(*) FROM restored r LEFT JOIN restored_dim d ON d.id = r.n % 6 WHERE r.name IS DISTINCT FROM d.name";
    assert_eq!(one_value(wrong), "0");
}

#[test]
fn errors_say_what_is_wrong_and_no_password() {
    ask(
        "DROP TABLE IF EXISTS errors; CREATE TABLE errors (id bigint PRIMARY KEY, name varchar(3), n int NOT NULL, x numeric)",
    );
    ask("INSERT INTO errors VALUES (1, 'a', 1, 'NaN')");
    let server = tests::services::postgres();
    let error = |columns: &str, options: &str, statement: &str| {
        let mut runner = Runner::new();
        let error = runner.error(&format!("CREATE TABLE t ({columns}) WITH ({options}); {statement}"));
        let text = format!("{error} {}", error.hint().unwrap_or_default());
        assert!(!text.contains("geheim") && !text.contains("runnel-secret"), "{text}");
        text
    };
    let with = |more: &str| {
        format!(
            "'connector' = 'jdbc', 'url' = 'jdbc:postgresql://{server}/runnel', 'table-name' = 'errors', 'username' = 'runnel'{more}"
        )
    };
    let good = with(", 'password' = 'runnel-secret'");
    let read = "SELECT * FROM t";
    let text = error("id BIGINT", &with(", 'password' = 'geheim'"), read);
    assert!(
        text.contains("password authentication failed for user \"runnel\"")
            && text.contains("'username' and 'password'"),
        "{text}"
    );
    assert!(error("id BIGINT", &with(""), read).contains("Either all or none of the following options"));
    let text = error("id BIGINT", &good.replace("'errors'", "'no_such'"), read);
    assert!(text.contains("relation \"no_such\" does not exist") && text.contains("'table-name'"), "{text}");
    let text = error("nope BIGINT", &good, read);
    assert!(text.contains("column \"nope\" does not exist"), "{text}");
    let text = error("id BIGINT", &good.replace("/runnel'", "/nodb'"), read);
    assert!(text.contains("database \"nodb\" does not exist"), "{text}");
    let text = error("id BIGINT", &good.replace(&server, "127.0.0.1:1"), read);
    assert!(text.contains("127.0.0.1:1/runnel") && text.contains("refused"), "{text}");
    let text = error("x DECIMAL(10, 2)", &good, read);
    assert!(text.contains("Column 'x' holds NaN"), "{text}");
    let text = error("id BIGINT, m MAP<STRING, STRING>", &good, read);
    assert!(text.contains("The PostgreSQL dialect doesn't support type: MAP<STRING, STRING>."), "{text}");
    let text = error("id BIGINT", &good.replace("postgresql", "mysql"), read);
    assert!(text.contains("MySQL is not supported"), "{text}");
    let text = error("id BIGINT", &format!("{good}, 'lookup.cashe' = 'x'"), read);
    assert!(text.contains("Did you mean 'lookup.cache'?"), "{text}");
    let text =
        error("id BIGINT, name STRING, n INT", &good, "INSERT INTO t VALUES (1, 'a', CAST(NULL AS INT))");
    assert!(text.contains("null value in column \"n\""), "{text}");
    let text = error("id BIGINT, name STRING, n INT", &good, "INSERT INTO t VALUES (2, 'four', 1)");
    assert!(text.contains("value too long for type character varying(3)"), "{text}");
    let text = error(
        "id BIGINT, name STRING, n INT, PRIMARY KEY (name) NOT ENFORCED",
        &good,
        "INSERT INTO t VALUES (2, 'x', 1)",
    );
    assert!(text.contains("ON CONFLICT") && text.contains("unique index"), "{text}");
    let left =
        "CREATE TABLE o (k BIGINT, pt AS PROCTIME()) WITH ('connector' = 'datagen', 'number-of-rows' = '1');";
    let text = error(
        "id BIGINT, name STRING",
        &format!("{good}, 'lookup.cache' = 'PARTIAL'"),
        &format!("{left} SELECT * FROM o JOIN t FOR SYSTEM_TIME AS OF o.pt ON o.k = t.id"),
    );
    assert!(text.contains("Missing 'lookup.partial-cache.expire-after-access'"), "{text}");
    let mut runner = Runner::new();
    runner.run(&format!("CREATE TABLE t (id BIGINT) WITH ({good});"));
    let shown = format!("{:?}", runner.one("SHOW CREATE TABLE t").changes);
    assert!(shown.contains("'password' = '******'") && !shown.contains("runnel-secret"), "{shown}");
    let plan = format!("{:?}", runner.one("EXPLAIN SELECT * FROM t").changes);
    assert!(!plan.contains("runnel-secret"), "{plan}");
}

#[test]
fn connections_are_encrypted_and_certificates_checked() {
    dim("encrypted", 1);
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, one_value("SELECT pg_read_file('ca.pem')")).unwrap();
    let server = tests::services::postgres();
    let table = |parameters: &str, server: &str| {
        format!(
            "CREATE TABLE t (id BIGINT) WITH ('connector' = 'jdbc', 'url' = 'jdbc:postgresql://{server}/runnel?{parameters}', \
             'table-name' = 'encrypted', 'username' = 'runnel', 'password' = 'runnel-secret'); SELECT id FROM t"
        )
    };
    let verified = format!("sslmode=verify-full&sslrootcert={}", ca.display());
    for parameters in ["sslmode=disable", "sslmode=prefer", "sslmode=require", &verified] {
        let answer = Runner::new().one(&table(parameters, &server));
        assert_eq!(rows(&answer), ["+I 0"], "{parameters}");
    }
    let error = Runner::new().error(&table("sslmode=verify-full", &server));
    assert!(error.message().to_lowercase().contains("certificate"), "{error}");
    ask(
        "CREATE OR REPLACE VIEW encrypted_by AS SELECT ssl::int::bigint AS id FROM pg_stat_ssl WHERE pid = pg_backend_pid()",
    );
    for (mode, encrypted) in [("disable", "0"), ("prefer", "1"), ("require", "1")] {
        let text = table(&format!("sslmode={mode}"), &server).replace("'encrypted'", "'encrypted_by'");
        assert_eq!(Runner::new().one(&text).changes[0].1, [encrypted], "{mode}");
    }
}

#[test]
fn names_are_those_of_postgresql() {
    ask("DROP SCHEMA IF EXISTS other CASCADE; CREATE SCHEMA other; CREATE TABLE other.\"Mixed\" (id int, \"Name\" text, \"order\" int);
         INSERT INTO other.\"Mixed\" VALUES (1, 'x', 2)");
    let answer = Runner::new().one(&format!(
        "CREATE TABLE t (ID INT, `\"Name\"` STRING, `order` INT) WITH ({}); SELECT * FROM t",
        options("other.\"Mixed\"", "").replace("?ApplicationName=other.\"Mixed\"", "")
    ));
    assert_eq!(rows(&answer), ["+I 1|x|2"]);
}

#[test]
fn lookups_of_changes_fold_to_what_the_table_says() {
    dim("changes_dim", 3);
    let mut runner = Runner::new();
    let answer = runner.one(&format!(
        "CREATE TABLE o (x INT) WITH ('connector' = 'filesystem', 'path' = '{}', 'format' = 'csv');
         {} SELECT g.k, g.c, d.name FROM (SELECT x AS k, COUNT(*) AS c, PROCTIME() AS pt FROM o GROUP BY x) g
         JOIN d FOR SYSTEM_TIME AS OF g.pt ON CAST(g.k AS BIGINT) = d.id",
        {
            let folder = std::env::temp_dir().join(format!("runnel-jdbc-changes-{}.csv", std::process::id()));
            std::fs::write(&folder, "1\n2\n1\n7\n1\n").unwrap();
            folder.display().to_string()
        },
        dim_ddl("changes_dim", "")
    ));
    let expected = [["1", "3", "name 1"], ["2", "1", "name 2"]];
    assert_eq!(materialized(&answer.changes), expected);
}

#[test]
fn plans_are_told_as_flink_tells_them() {
    let mut runner = Runner::new();
    runner.run(&format!(
        "CREATE TABLE d (id BIGINT, name STRING, price DECIMAL(10, 2), active BOOLEAN, cat INT, PRIMARY KEY (id) NOT ENFORCED) WITH ({});
         CREATE TABLE o (oid INT, k BIGINT, v STRING, pt AS PROCTIME()) WITH ('connector' = 'datagen');",
        options("dim", "")
    ));
    let told: String = [
        "SELECT o.oid, o.k, d.name, d.price FROM o JOIN d FOR SYSTEM_TIME AS OF o.pt ON o.k = d.id",
        "SELECT o.oid, d.name FROM o LEFT JOIN d FOR SYSTEM_TIME AS OF o.pt
         ON o.k + 1 = d.id AND d.active AND o.oid < d.cat AND d.cat = 7",
        "SELECT /*+ LOOKUP('table' = 'd', 'async' = 'true', 'retry-predicate' = 'lookup_miss', 'retry-strategy' = 'fixed_delay',
         'fixed-delay' = '10 ms', 'max-attempts' = '2') */ o.oid, d.name
         FROM o JOIN d FOR SYSTEM_TIME AS OF o.pt ON o.oid = d.id",
    ]
    .iter()
    .map(|query| {
        let plan = runner.one(&format!("EXPLAIN {query}"));
        let lines: Vec<&str> = plan.changes.iter().flat_map(|(_, r)| r[0].lines()).collect();
        let line = lines.iter().find(|l| l.contains("LookupJoin(")).unwrap_or_else(|| panic!("{lines:?}"));
        format!("{}\n", line.trim())
    })
    .collect();
    expect_test::expect![[r#"
        LookupJoin(table=[default_catalog.default_database.d], joinType=[InnerJoin], lookup=[id=k], select=[oid, k, id, name, price])
        LookupJoin(table=[default_catalog.default_database.d], joinType=[LeftOuterJoin], lookup=[id=$f2, cat=7], where=[active], joinCondition=[oid < cat], select=[oid, k, $f2, id, name, cat])
        LookupJoin(table=[default_catalog.default_database.d], joinType=[InnerJoin], lookup=[id=$f1], select=[oid, $f1, id, name], async=[ORDERED, 180000ms, 100], retry=[lookup_miss, FIXED_DELAY, 10ms, 2])
    "#]]
    .assert_eq(&told);
}
