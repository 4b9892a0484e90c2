//! Broken input: each gives a sentence that says what to do, never a panic, and a hint where there is one.

use std::path::PathBuf;
use std::time::{Duration, Instant};
use tests::{Runner, services};

fn file(folder: &tempfile::TempDir, content: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.path().join("data.json");
    std::fs::write(&path, content).unwrap();
    path
}

fn table(columns: &str, path: &std::path::Path, more: &str) -> String {
    format!(
        "CREATE TABLE t ({columns}) WITH ('connector' = 'filesystem', 'path' = '{}', 'format' = 'json'{more});",
        path.display()
    )
}

/// The error of `sql`: its message, its hint and its line must hold what is given.
fn refused(sql: &str, message: &str, hint: &str, line: Option<u32>) {
    let error = Runner::new().error(sql);
    assert!(error.message().contains(message), "{error}\n{sql}");
    assert!(error.hint().unwrap_or("").contains(hint), "{:?}\n{sql}", error.hint());
    if let Some(line) = line {
        assert_eq!(error.span().map(|s| s.start.line), Some(line), "{error}");
    }
}

#[test]
fn a_typo_in_an_option_names_the_right_one() {
    refused(
        "CREATE TABLE t (a INT) WITH ('connector' = 'kafka', 'topik' = 'x', 'properties.bootstrap.servers' = 'h:1', \
         'format' = 'json'); SELECT * FROM t;",
        "topik",
        "'topic'",
        None,
    );
    refused(
        "CREATE TABLE t (a INT) WITH ('connector' = 'datagen', 'rows-per-secnd' = '1'); SELECT * FROM t;",
        "rows-per-secnd",
        "'rows-per-second'",
        None,
    );
    refused(
        "CREATE TABLE t (a INT) WITH ('connector' = 'kafak'); SELECT * FROM t;",
        "kafak",
        "'kafka'",
        None,
    );
}

#[test]
fn unknown_names_get_the_nearest() {
    let ddl = "CREATE TABLE orders (id INT, price DOUBLE) WITH ('connector' = 'datagen', 'number-of-rows' = '1');\n";
    refused(&format!("{ddl}SELECT * FROM oders;"), "oders", "orders", Some(2));
    refused(&format!("{ddl}SELECT id,\n prise FROM orders;"), "prise", "price", Some(3));
    refused(&format!("{ddl}SELECT uper('a') FROM orders;"), "UPER", "UPPER", Some(2));
    refused("SELEC 1;", "SELEC", "SELECT", Some(1));
}

#[test]
fn casts_and_types() {
    refused("SELECT CAST('abc' AS INT);", "abc", "", None);
    refused("SELECT 'a' + 1;", "Cannot apply '+'", "CAST", None);
    refused("SELECT 1 / 0;", "Division by zero", "", None);
}

#[test]
fn broken_records_say_which_and_how_to_skip_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder, "{\"a\":1}\n{\"a\":2\n{\"a\":3}\n");
    let ddl = table("a INT", &path, "");
    refused(&format!("{ddl} SELECT * FROM t;"), "data.json", "ignore-parse-errors", None);
    let ddl = table("a INT", &path, ", 'json.ignore-parse-errors' = 'true'");
    let answer = Runner::new().one(&format!("{ddl} SELECT * FROM t;"));
    assert_eq!(answer.changes.iter().map(|c| c.1[0].as_str()).collect::<Vec<_>>(), ["1", "3"]);
}

#[test]
fn invalid_utf8_is_an_error_or_skipped() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder, b"{\"a\":\"x\"}\n{\"a\":\"\xff\xfe\"}\n{\"a\":\"y\"}\n");
    let ddl = table("a STRING", &path, "");
    refused(&format!("{ddl} SELECT * FROM t;"), "UTF-8", "ignore-parse-errors", None);
    let ddl = table("a STRING", &path, ", 'json.ignore-parse-errors' = 'true'");
    let answer = Runner::new().one(&format!("{ddl} SELECT * FROM t;"));
    assert_eq!(answer.changes.len(), 2);
}

#[test]
fn a_record_of_100_megabytes() {
    let folder = tempfile::tempdir().unwrap();
    let big = "x".repeat(100 << 20);
    let path = file(&folder, format!("{{\"a\":\"small\"}}\n{{\"a\":\"{big}\"}}\n"));
    let ddl = table("a STRING", &path, "");
    // Either it is read whole, or refused in a sentence; it takes no more than a few seconds.
    let started = Instant::now();
    match Runner::new().run(&format!("{ddl} SELECT CHAR_LENGTH(a) FROM t;")).remove(0) {
        Ok(answer) => assert_eq!(answer.changes[1].1[0], (100 << 20).to_string()),
        Err(e) => assert!(e.message().contains("data.json") && e.hint().is_some(), "{e}"),
    }
    assert!(started.elapsed() < Duration::from_secs(60));
}

#[test]
fn a_missing_file_names_the_path() {
    refused(
        &format!("{} SELECT * FROM t;", table("a INT", std::path::Path::new("/nowhere/at/all"), "")),
        "/nowhere/at/all",
        "",
        None,
    );
}

#[test]
fn an_unreachable_broker_is_told_in_bounded_time() {
    let started = Instant::now();
    refused(
        "CREATE TABLE t (a INT) WITH ('connector' = 'kafka', 'topic' = 'x', 'properties.bootstrap.servers' = \
         '127.0.0.1:1', 'scan.startup.mode' = 'earliest-offset', 'format' = 'json'); SELECT * FROM t;",
        "127.0.0.1:1",
        "properties.bootstrap.servers",
        None,
    );
    assert!(started.elapsed() < Duration::from_secs(60));
}

#[test]
fn a_missing_topic_is_named() {
    refused(
        &format!(
            "CREATE TABLE t (a INT) WITH ('connector' = 'kafka', 'topic' = 'no-such-topic', \
             'properties.bootstrap.servers' = '{}', 'scan.startup.mode' = 'earliest-offset', 'format' = 'json'); \
             SELECT * FROM t;",
            services::kafka()
        ),
        "no-such-topic",
        "",
        None,
    );
}

#[test]
fn a_missing_stream_and_an_unreachable_endpoint_are_named() {
    let ddl = |endpoint: &str| {
        format!(
            "CREATE TABLE t (a INT) WITH ('connector' = 'kinesis', 'stream' = 'no-such-stream', 'aws.region' = \
             'us-east-1', 'aws.endpoint' = '{endpoint}', 'aws.credentials.provider' = 'BASIC', \
             'aws.credentials.basic.accesskeyid' = 'k', 'aws.credentials.basic.secretkey' = 'hush', 'format' = 'json'); \
             SELECT * FROM t;"
        )
    };
    refused(&ddl(&services::kinesis()), "no-such-stream", "", None);
    refused(&ddl("http://127.0.0.1:1"), "127.0.0.1:1", "", None);
    let error = Runner::new().error(&ddl("http://127.0.0.1:1"));
    assert!(!format!("{error} {:?}", error.hint()).contains("hush"));
}

#[test]
fn a_wrong_region_says_so() {
    refused(
        "CREATE TABLE t (a INT) WITH ('connector' = 'kinesis', 'stream' = 's', 'aws.region' = 'mars-east-1', \
         'aws.credentials.provider' = 'BASIC', 'aws.credentials.basic.accesskeyid' = 'k', \
         'aws.credentials.basic.secretkey' = 'hush', 'format' = 'json'); SELECT * FROM t;",
        "mars-east-1",
        "",
        None,
    );
}

#[test]
fn cancelling_in_the_middle_stops_every_task() {
    let mut runner = Runner::new();
    let mut query = runner.start(
        "SET 'parallelism.default' = '3';
         CREATE TABLE t (a INT, b STRING) WITH ('connector' = 'datagen', 'rows-per-second' = '100000');
         SELECT b, COUNT(*) FROM t GROUP BY b;",
    );
    tests::take_until(&mut query, 10, |rows| rows.len() > 100);
    let job = query.results.job().clone();
    job.cancel();
    let ended = job.wait(Some(Duration::from_secs(5)));
    assert!(matches!(ended, Some(Ok(()))), "{ended:?}");
}
