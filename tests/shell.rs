//! The binary as people use it: commands, pipes, and the screen of a pseudo-terminal.

use portable_pty::{CommandBuilder, PtySize, native_pty_system};
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The binary that the workspace has built beside this test.
fn binary() -> PathBuf {
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    path.join("runnel")
}

fn runnel(arguments: &[&str]) -> Output {
    Command::new(binary())
        .args(arguments)
        .env("RUNNEL_CATALOG", "memory")
        .stdin(Stdio::null())
        .output()
        .expect("target/…/runnel: build with --workspace --bins")
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

const UPDATES: &str = "SELECT name, COUNT(*) AS n FROM (VALUES ('a'), ('b'), ('a')) AS v(name) GROUP BY name";

#[test]
fn into_a_pipe_it_is_flinks_tableau() {
    let output = runnel(&["-e", UPDATES]);
    assert_eq!(
        out(&output),
        "\
+----+--------------------------------+----------------------+
| op |                           name |                    n |
+----+--------------------------------+----------------------+
| +I |                              a |                    1 |
| +I |                              b |                    1 |
| -U |                              a |                    1 |
| +U |                              a |                    2 |
+----+--------------------------------+----------------------+
Received a total of 4 rows
",
        "{}",
        err(&output)
    );
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn other_forms_of_output() {
    assert_eq!(
        out(&runnel(&["-e", UPDATES, "--output", "json"])).lines().next_back(),
        Some(r#"{"op":"+U","name":"a","n":2}"#)
    );
    assert_eq!(out(&runnel(&["-e", "SELECT 1 AS a, 'x,y' AS b", "-o", "json"])), "{\"a\":1,\"b\":\"x,y\"}\n");
    assert_eq!(out(&runnel(&["-e", "SELECT 1 AS a, 'x,y' AS b", "-o", "csv"])), "a,b\n1,\"x,y\"\n");
    assert_eq!(out(&runnel(&["-e", UPDATES, "-o", "changelog"])).lines().nth(1), Some("+I[a, 1]"));
    let batch = format!("SET 'execution.runtime-mode' = 'batch'; {UPDATES};");
    let batch = out(&runnel(&["-e", &batch]));
    assert!(batch.starts_with("+------+---+\n| name | n |\n"), "{batch}");
    assert!(batch.ends_with("2 rows in set\n"), "{batch}");
}

#[test]
fn an_error_has_file_line_and_caret_and_stops_the_script() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("a.sql");
    std::fs::write(&script, "SELECT 1;\n\nSELECT nosuch\nFROM (VALUES (1)) AS t(such);\nSELECT 'never';\n")
        .unwrap();
    let output = runnel(&["run", script.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let text = err(&output);
    assert!(text.contains("a.sql:3:8"), "{text}");
    assert!(text.contains("3 | SELECT nosuch\n  |        ^^^^^^\n"), "{text}");
    assert!(text.contains("hint: ") && text.contains("such"), "{text}");
    assert!(!out(&output).contains("never"));
}

#[test]
fn variables_and_settings_come_from_the_command_line() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("a.sql");
    std::fs::write(&script, "SELECT '${word}' AS w; SET;").unwrap();
    let output = runnel(&["run", script.to_str().unwrap(), "-D", "word=hi", "-D", "parallelism.default=3"]);
    assert!(out(&output).contains("hi"), "{}", err(&output));
    assert!(out(&output).contains("parallelism.default"), "{}", out(&output));
}

#[test]
fn the_catalog_remembers() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = folder.path().join("c.db");
    let with = |sql: &str| runnel(&["-e", sql, "--catalog", catalog.to_str().unwrap()]);
    let made = with(
        "CREATE TABLE kept (a INT) WITH ('connector' = 'datagen'); CREATE VIEW v AS SELECT a FROM kept;",
    );
    assert_eq!(made.status.code(), Some(0), "{}", err(&made));
    let shown = out(&with("SHOW TABLES;"));
    assert!(shown.contains("kept") && shown.contains("| v") || shown.contains(" v |"), "{shown}");
    assert!(out(&with("SHOW CREATE TABLE kept;")).contains("'connector' = 'datagen'"));
}

#[test]
fn rows_that_a_result_lacks_are_told_beside_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("rows.json");
    let rows = ["00:00:01", "00:00:12", "00:00:03"].map(|t| format!(r#"{{"ts":"2024-01-01 {t}"}}"#));
    std::fs::write(&path, rows.join("\n") + "\n{\"ts\":null}\nbroken\n").unwrap();
    let output = runnel(&[
        "-e",
        &format!(
            "CREATE TABLE t (ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '1' SECOND) WITH (
               'connector' = 'filesystem', 'path' = '{}', 'format' = 'json', 'json.ignore-parse-errors' = 'true');
             SELECT TUMBLE_START(ts, INTERVAL '10' SECOND) AS s, COUNT(*) AS n FROM t
             GROUP BY TUMBLE(ts, INTERVAL '10' SECOND);",
            path.display()
        ),
    ]);
    assert!(out(&output).ends_with("Received a total of 2 rows\n"), "{}", out(&output));
    assert_eq!(
        err(&output),
        "note: 1 row left out that came late: the windows had fired.\n\
         note: 1 row left out that had no event time (NULL), so no window to count in.\n\
         note: 1 record left out that could not be read in the table's format.\n"
    );
}

#[test]
fn ctrl_c_stops_an_unbounded_query_cleanly() {
    let child = Command::new(binary())
        .args(["-e", "CREATE TABLE t (a INT) WITH ('connector' = 'datagen', 'rows-per-second' = '10'); SELECT a FROM t;"])
        .env("RUNNEL_CATALOG", "memory")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(1500));
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    let started = Instant::now();
    let output = child.wait_with_output().unwrap();
    assert!(started.elapsed() < Duration::from_secs(5));
    assert_eq!(output.status.code(), Some(0));
    assert!(out(&output).contains("Query terminated, received a total of"), "{}", out(&output));
}

#[test]
fn the_tour_without_a_terminal_shows_ten_seconds_and_ends_well() {
    let started = Instant::now();
    let output = runnel(&["tour"]);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    assert!(out(&output).contains("window_end") && out(&output).contains("AMZN"), "{}", out(&output));
    assert!(started.elapsed() > Duration::from_secs(8) && started.elapsed() < Duration::from_secs(20));
}

#[test]
fn help_teaches_and_completions_come() {
    let help = out(&runnel(&["--help"]));
    for word in ["runnel tour", "--output", "Ctrl-C", "run"] {
        assert!(help.contains(word), "{help}");
    }
    assert!(out(&runnel(&["completions", "bash"])).contains("_runnel"));
    assert_eq!(runnel(&["--nonsense"]).status.code(), Some(2));
}

/// The binary on a pseudo-terminal of 100 columns and 30 lines.
struct Terminal {
    screen: Arc<Mutex<vt100::Parser>>,
    keys: Box<dyn Write + Send>,
    child: Box<dyn portable_pty::Child + Send + Sync>,
}

impl Terminal {
    fn open(arguments: &[&str]) -> Self {
        let size = PtySize { rows: 30, cols: 100, pixel_width: 0, pixel_height: 0 };
        let pair = native_pty_system().openpty(size).unwrap();
        let mut command = CommandBuilder::new(binary());
        command.args(arguments);
        command.env("RUNNEL_CATALOG", "memory");
        command.env("TERM", "xterm-256color");
        let home = std::env::temp_dir().join(format!("runnel-shell-test-{}", std::process::id()));
        command.env("XDG_DATA_HOME", home);
        let child = pair.slave.spawn_command(command).unwrap();
        let screen =
            Arc::new(Mutex::new(vt100::Parser::new(30.try_into().unwrap(), 100.try_into().unwrap(), 1000)));
        let mut reader = pair.master.try_clone_reader().unwrap();
        let keys = pair.master.take_writer().unwrap();
        let feed = screen.clone();
        std::thread::spawn(move || {
            let _master = pair.master;
            let mut bytes = [0; 4096];
            while let Ok(n) = reader.read(&mut bytes) {
                if n == 0 {
                    break;
                }
                feed.lock().unwrap().process(&bytes[..n]);
            }
        });
        Self { screen, keys, child }
    }

    fn text(&self) -> String {
        self.screen.lock().unwrap().screen().contents()
    }

    fn wait_for(&self, what: &str) -> String {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let text = self.text();
            if text.contains(what) {
                return text;
            }
            assert!(Instant::now() < deadline, "no `{what}` on the screen:\n{text}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn type_in(&mut self, text: &str) {
        self.keys.write_all(text.as_bytes()).unwrap();
        self.keys.flush().unwrap();
    }
}

#[test]
fn a_live_window_redraws_and_q_leaves_it_on_the_screen() {
    let mut terminal = Terminal::open(&["tour"]);
    terminal.wait_for("Runnel SQL>");
    terminal.type_in("SELECT ticker, COUNT(*) AS trades FROM stock GROUP BY ticker;\r");
    let first = terminal.wait_for("rows/s");
    terminal.wait_for("AMZN");
    assert!(first.contains("q quit"), "{first}");
    // It redraws: counts grow.
    let count = |text: &str| {
        let line = text.lines().find(|l| l.contains("AMZN"))?;
        line.split('|').nth(2)?.trim().parse::<u64>().ok()
    };
    let before = count(&terminal.text()).unwrap_or(0);
    std::thread::sleep(Duration::from_millis(2500));
    let after = count(&terminal.text()).expect("a count on the screen");
    assert!(after > before, "{before} {after}\n{}", terminal.text());
    terminal.type_in("q");
    let text = terminal.wait_for("rows in set");
    assert!(text.contains("AMZN"), "{text}");
    terminal.wait_for("Runnel SQL> ");
    terminal.type_in("QUIT;\r");
    let deadline = Instant::now() + Duration::from_secs(10);
    while terminal.child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < deadline, "the shell does not leave:\n{}", terminal.text());
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn the_prompt_goes_on_until_a_semicolon_completes_and_shows_errors() {
    let mut terminal = Terminal::open(&[]);
    terminal.wait_for("Runnel SQL>");
    terminal.type_in("SELECT 1 AS one,\r");
    std::thread::sleep(Duration::from_millis(300));
    terminal.type_in("nosuch;\r");
    let text = terminal.wait_for("error:");
    assert!(text.contains("^^^^^^"), "{text}");
    terminal.type_in("CREATE TABLE stock_prices (a INT) WITH ('connector' = 'datagen');\r");
    terminal.wait_for("[INFO] Execute statement succeeded.");
    terminal.type_in("DESCRIBE stock_p\t");
    terminal.wait_for("DESCRIBE stock_prices");
    terminal.type_in(";\r");
    terminal.wait_for("1 row in set");
    terminal.type_in("\x04");
}
