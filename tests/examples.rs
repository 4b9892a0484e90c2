//! Every script of sql-examples runs, against the real components where it needs them.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use tests::kinesis::Stream;
use tests::{kafka, services};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("sql-examples")
}

#[test]
fn every_example_has_a_header_and_a_test() {
    let this = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples.rs")).unwrap();
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_string();
        // The query that `runnel tour` shows as it stands (tests/shell.rs runs it), and what is no script.
        if name == "00_tour_window.sql" || path.extension().is_none_or(|e| e != "sql") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        for word in ["-- Shows:", "-- Needs:", "-- Gives:"] {
            assert!(text.contains(word), "{name} lacks {word}");
        }
        assert!(this.contains(&format!("\"{name}\"")) || name.starts_with("00"), "{name} has no test");
    }
}

fn command(name: &str, variables: &[(&str, &str)]) -> Command {
    let mut binary = std::env::current_exe().unwrap();
    binary.pop();
    binary.pop();
    let mut command = Command::new(binary.join("runnel"));
    command.args(["--catalog", "memory", "run"]).arg(folder().join(name)).stdin(Stdio::null());
    for (key, value) in variables {
        command.args(["-D", &format!("{key}={value}")]);
    }
    command.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test");
    command
}

fn run(name: &str, variables: &[(&str, &str)]) -> String {
    let Output { status, stdout, stderr } = command(name, variables).output().unwrap();
    assert!(status.success(), "{name}: {}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap()
}

#[test]
fn first_query() {
    let text = run("01_first_query.sql", &[]);
    assert!(text.contains("| +U |                            Bob |                    2 |"), "{text}");
}

#[test]
fn totals() {
    let text = run("08_totals.sql", &[]);
    assert!(text.contains("Received a total of 6 rows") && !text.contains("| -U |"), "{text}");
}

#[test]
fn patterns() {
    let text = run("10_patterns.sql", &[]);
    assert!(text.contains("Received a total of 8 rows"), "{text}");
    assert!(text.contains("| +I | 1970-01-01 00:01:00.000 |                    4 |          18 |"), "{text}");
}

#[test]
fn windows() {
    let text = run("02_windows.sql", &[]);
    let received = text.lines().filter(|l| l.starts_with("Received a total of")).count();
    assert_eq!(received, 4, "{text}");
    assert!(
        text.contains("1970-01-01 00:00:20.000 | 1970-01-01 00:00:40.000 |                   40 |"),
        "{text}"
    );
}

#[test]
fn stock_over_kafka() {
    let topic = kafka::topic("stock", 1);
    let rows = (0..60).map(|i| {
        let ticker = ["AAPL", "AMZN", "MSFT"][i % 3];
        format!(
            r#"{{"event_time": "2024-06-12 15:08:{i:02}", "ticker": "{ticker}", "price": {}.25}}"#,
            i * 7 % 100
        )
    });
    kafka::produce(&topic, 1, rows);
    let text = run("03_stock_kafka.sql", &[("kafka", &services::kafka()), ("topic", &topic)]);
    assert!(text.contains("| +I | 2024-06-12 15:08:05.000 |                          28.25 |"), "{text}");
    assert_eq!(text.matches("Received a total of").count(), 2, "{text}");
    // 12 windows of three tickers; hops of three seconds from 15:07:57 to 15:08:57.
    assert!(text.contains("Received a total of 36 rows"), "{text}");
    assert!(text.contains("Received a total of 21 rows"), "{text}");
}

#[test]
fn stock_over_kinesis() {
    let (input, output) = (Stream::new(2), Stream::new(1));
    let row = |second: usize, ticker: &str, price: usize| {
        let data = format!(
            r#"{{"event_time": "2024-06-12T15:08:{second:02}.04800", "ticker": "{ticker}", "price": {price}}}"#
        );
        (ticker.to_string(), data.into_bytes())
    };
    input.put((0..20).map(|i| row(i, ["INTC", "TBV"][i % 2], i)));
    let end = r#"{"event_time": "2024-06-12T15:09:59.00000", "ticker": "END", "price": 0}"#;
    input.put_into_every_shard(end.as_bytes());
    let variables = [
        ("region", "us-east-1"),
        ("endpoint", &services::kinesis()),
        ("input", input.name.as_str()),
        ("output", output.name.as_str()),
    ];
    let mut child = command("04_stock_kinesis.sql", &variables).stderr(Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while output.contents().len() < 8 {
        assert!(Instant::now() < deadline, "only {:?}", output.contents());
        assert!(child.try_wait().unwrap().is_none(), "it ended");
        std::thread::sleep(Duration::from_millis(300));
    }
    // Ctrl-C ends it well.
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(child.wait().unwrap().success());
    let mut highs = output
        .contents()
        .into_iter()
        .map(|(key, data)| {
            let value: Value = serde_json::from_slice(&data).unwrap();
            assert_eq!(value["ticker"], key);
            format!("{} {} {}", value["window_end"].as_str().unwrap(), key, value["high"])
        })
        .collect::<Vec<_>>();
    highs.sort();
    assert_eq!(highs[0], "2024-06-12T15:08:05 INTC 4.0");
    assert_eq!(highs[7], "2024-06-12T15:08:20 TBV 19.0");
    assert_eq!(highs.len(), 8);
}

#[test]
fn files() {
    let out = tempfile::tempdir().unwrap();
    let text = run("05_files.sql", &[("out", out.path().to_str().unwrap())]);
    assert!(text.contains("| +U |                   39 |                           9.75 |"), "{text}");
}

#[test]
fn lookup() {
    let out = tempfile::tempdir().unwrap();
    let text = run("09_lookup.sql", &[("out", out.path().to_str().unwrap())]);
    assert_eq!(text.matches("book").count(), 3, "{text}");
    assert_eq!(text.matches("pen").count(), 4, "{text}");
    assert!(text.contains("Received a total of 10 rows"), "{text}");
}

#[test]
fn studio_note() {
    let text = run("06_studio_note.sql", &[]);
    assert!(text.contains("125250\nrecords seen until"), "{text}");
    assert!(text.contains("| window") || text.contains(" window |"), "{text}");
}

#[test]
fn a_job_to_deploy() {
    let mut binary = std::env::current_exe().unwrap();
    binary.pop();
    binary.pop();
    let mut command = Command::new(binary.join("runnel"));
    command.args(["--catalog", "memory", "deploy", "--check"]).arg(folder().join("07_deploy.sql"));
    let Output { status, stdout, stderr } = command.stdin(Stdio::null()).output().unwrap();
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    let text = String::from_utf8(stdout).unwrap();
    assert!(text.ends_with("can be deployed as the job 07_deploy.\n"), "{text}");
}
