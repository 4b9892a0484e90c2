//! Deployed jobs as people use them: the real binary, its server and its children, killed and brought back.

#[path = "server/recovery.rs"]
mod recovery;

use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long anything may take before a test fails, in seconds.
const PATIENCE_SECONDS: u64 = 60;

fn binary() -> PathBuf {
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    path.join("runnel")
}

/// A server in a folder of its own, and a folder for scripts and results. Ends with the test.
struct Server {
    temp: TempDir,
    process: Option<Child>,
}

impl Server {
    fn new() -> Self {
        let mut server = Self::without();
        server.start();
        server
    }

    /// A folder in which no server runs yet.
    fn without() -> Self {
        Self { temp: tempfile::tempdir().unwrap(), process: None }
    }

    fn folder(&self) -> PathBuf {
        self.temp.path().join("server")
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.args(words).current_dir(self.temp.path()).stdin(Stdio::null());
        command.env("RUNNEL_CATALOG", "memory").env("RUNNEL_SERVER_DIR", self.folder());
        command
    }

    fn start(&mut self) {
        let mut command = self.command(&["server", "--listen", "127.0.0.1:0"]);
        self.process = Some(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        let mine = self.process.as_ref().unwrap().id();
        wait(|| self.endpoint().filter(|e| e["pid"] == mine));
    }

    fn endpoint(&self) -> Option<Value> {
        serde_json::from_slice(&std::fs::read(self.folder().join("endpoint.json")).ok()?).ok()
    }

    /// `kill -9`.
    fn kill(&mut self) {
        let mut process = self.process.take().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
    }

    fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// Standard output of what must work.
    fn ok(&self, words: &[&str]) -> String {
        let Output { status, stdout, stderr } = self.run(words);
        assert!(status.success(), "{words:?}: {}", String::from_utf8_lossy(&stderr));
        String::from_utf8(stdout).unwrap()
    }

    /// Standard error of what must be refused.
    fn refused(&self, words: &[&str]) -> String {
        let Output { status, stdout, stderr } = self.run(words);
        assert_eq!(status.code(), Some(1), "{words:?}: {}", String::from_utf8_lossy(&stdout));
        String::from_utf8(stderr).unwrap()
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.temp.path().join(name), text).unwrap();
    }

    fn describe(&self, job: &str) -> Value {
        serde_json::from_str(&self.ok(&["job", "describe", job, "--output", "json"])).unwrap()
    }

    fn wait_for(&self, job: &str, status: &str) -> Value {
        wait(|| Some(self.describe(job)).filter(|d| d["status"] == status))
    }

    /// An HTTP request by hand: status line and body.
    fn http(&self, path: &str, token: Option<&str>) -> (String, String) {
        let address = self.endpoint().unwrap()["address"].as_str().unwrap().to_string();
        let mut stream = TcpStream::connect(&address).unwrap();
        let authorization = token.map_or(String::new(), |t| format!("Authorization: Bearer {t}\r\n"));
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{authorization}\r\n")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.lines().next().unwrap().to_string(), body.to_string())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Where `runnel deploy` started the server, it is no child of ours.
        let _ = self.command(&["server", "--stop"]).output();
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

fn wait<T>(mut get: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(PATIENCE_SECONDS);
    loop {
        if let Some(got) = get() {
            return got;
        }
        assert!(Instant::now() < deadline, "waited in vain");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Whether a process runs; one that has ended and nobody has asked after does not.
fn is_alive(pid: u64) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

fn kill_9(pid: u64) {
    assert!(Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap().success());
}

/// Numbers 1 to `n` through a checkpointed job into files.
fn numbers(n: usize, per_second: usize) -> String {
    format!(
        "SET 'execution.checkpointing.interval' = '200 ms';
SET 'execution.checkpointing.min-pause' = '0 ms';
CREATE TABLE numbers (n BIGINT) WITH (
  'connector' = 'datagen', 'rows-per-second' = '{per_second}',
  'fields.n.kind' = 'sequence', 'fields.n.start' = '1', 'fields.n.end' = '{n}'
);
CREATE TABLE out (n BIGINT) WITH ('connector' = 'filesystem', 'path' = 'out', 'format' = 'csv');
INSERT INTO out SELECT n FROM numbers;
"
    )
}

/// All published rows, sorted.
fn published(folder: &Path) -> Vec<u64> {
    let mut rows = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_file() && !path.file_name().unwrap().to_str().unwrap().starts_with(['.', '_']) {
            let text = std::fs::read_to_string(path).unwrap();
            rows.extend(text.lines().map(|l| l.parse::<u64>().unwrap()));
        }
    }
    rows.sort_unstable();
    rows
}

#[test]
fn a_job_survives_its_process_its_server_and_a_stop_without_losing_or_doubling_a_row() {
    let mut server = Server::new();
    server.write("numbers.sql", &numbers(1500, 150));
    let said = server.ok(&["deploy", "numbers.sql"]);
    assert!(said.starts_with("Job numbers (") && said.contains(") is RUNNING.\n"), "{said}");
    let jobs = server.ok(&["jobs"]);
    assert!(jobs.starts_with("NAME     STATUS   UPTIME"), "{jobs}");

    // The process dies.
    let before = wait(|| {
        Some(server.describe("numbers")).filter(|d| d["checkpoints"]["completed"].as_u64() >= Some(2))
    });
    let pid = before["pid"].as_u64().unwrap();
    kill_9(pid);
    let after = wait(|| {
        Some(server.describe("numbers"))
            .filter(|d| d["status"] == "RUNNING" && d["pid"].is_u64() && d["pid"] != pid)
    });
    assert_eq!(after["restarts"], 1);
    assert_eq!(
        after["failure"]["message"],
        "The job has no process any more: its process was killed (signal 9)."
    );
    let log = server.ok(&["job", "logs", "numbers", "-n", "1000"]);
    for phrase in ["switched from RUNNING to RESTARTING", " to INITIALIZING.", "It starts from checkpoint "] {
        assert!(log.contains(phrase), "{phrase} is missing:\n{log}");
    }

    // The server dies; its child does not outlive it; both come back.
    let completed = after["checkpoints"]["completed"].as_u64().unwrap();
    wait(|| {
        Some(server.describe("numbers")).filter(|d| d["checkpoints"]["completed"].as_u64() > Some(completed))
    });
    let pid = server.describe("numbers")["pid"].as_u64().unwrap();
    server.kill();
    wait(|| (!is_alive(pid)).then_some(()));
    server.start();
    let back = server.wait_for("numbers", "RUNNING");
    assert_ne!(back["pid"].as_u64(), Some(pid));

    // It stops with a savepoint and goes on from it.
    let said = server.ok(&["job", "stop", "numbers"]);
    assert!(said.contains("Its state is in the savepoint\n"), "{said}");
    let stopped = server.wait_for("numbers", "FINISHED");
    let savepoint = stopped["savepoint"].as_str().unwrap().to_string();
    assert!(said.contains(&savepoint), "{said}");
    let so_far = published(&server.temp.path().join("out"));
    assert!(!so_far.is_empty() && so_far.len() < 1500, "{}", so_far.len());
    server.ok(&["job", "start", "numbers"]);
    let ended = wait(|| {
        let all = published(&server.temp.path().join("out"));
        Some(server.describe("numbers")).filter(|d| d["status"] == "FINISHED" && all.len() >= 1500)
    });
    assert_eq!(published(&server.temp.path().join("out")), (1..=1500).collect::<Vec<_>>());
    assert_eq!(ended["status"], "FINISHED");

    // Deleting forgets the job and leaves the savepoint.
    let folder = PathBuf::from(ended["folder"].as_str().unwrap());
    assert!(folder.is_dir());
    server.ok(&["job", "delete", "numbers"]);
    assert!(!folder.exists() && Path::new(savepoint.trim_start_matches("file://")).exists());
    assert_eq!(server.ok(&["jobs"]), "There are no jobs. Deploy one: runnel deploy FILE.sql\n");
}

const ENDLESS: &str =
    "CREATE TABLE ticks (n BIGINT) WITH ('connector' = 'datagen', 'rows-per-second' = '100');
CREATE TABLE seen (n BIGINT) WITH ('connector' = 'print');
INSERT INTO seen SELECT 7 FROM ticks;
";

#[test]
fn from_deploy_to_the_first_record_takes_less_than_a_second() {
    let mut times = Vec::new();
    // The best of three: what a busy machine adds is not ours.
    for _ in 0..3 {
        let server = Server::without();
        server.write("ticks.sql", ENDLESS);
        let since = Instant::now();
        let Output { status, stdout, stderr } = server.run(&["deploy", "ticks.sql"]);
        let said = String::from_utf8_lossy(&stderr);
        assert!(status.success(), "{said}");
        assert!(said.starts_with("No server ran; started one in the background: process "), "{said}");
        assert!(String::from_utf8_lossy(&stdout).contains("is RUNNING."));
        wait(|| server.ok(&["job", "logs", "ticks", "--out"]).contains("+I[7]").then_some(()));
        times.push(since.elapsed());
        assert_eq!(server.ok(&["server", "--stop"]).lines().count(), 1);
    }
    let best = times.iter().min().unwrap();
    println!("from deploy (with the start of a server) to the first record: {times:?}");
    assert!(*best < Duration::from_secs(1), "{times:?}");
}

#[test]
fn what_a_script_may_not_hold_is_refused_with_its_line() {
    let server = Server::without();
    server.write("two.sql", "%flink.ssql\nINSERT INTO a SELECT 1;\n\n%flink.ssql\nINSERT INTO b SELECT 2;\n");
    let error = server.refused(&["deploy", "two.sql"]);
    assert_eq!(
        error,
        "error: A deployed script is one job, but the paragraph of line 1 holds INSERTs too. (deploy rule \
         `single-job`)\n  --> two.sql:5:1\n  |\n5 | INSERT INTO b SELECT 2;\n  | ^^^^^^^^^^^\nhint: Put all INSERTs \
         into one paragraph; they run as one job.\n"
    );
    server.write("type.sql", &ENDLESS.replace("SELECT 7", "SELECT 'seven'"));
    let error = server.refused(&["deploy", "type.sql"]);
    assert!(
        error.contains("Incompatible types for sink column 'n'") && error.contains("type.sql:3:"),
        "{error}"
    );
    assert!(server.endpoint().is_none(), "a script that is refused starts no server");

    server.write(
        "note.sql",
        &format!("%md\nA note.\n%flink.ssql\n{ENDLESS}\n%flink.ssql(type=update)\nSELECT 1\n"),
    );
    let Output { stderr, stdout, .. } = server.run(&["deploy", "--check", "note.sql"]);
    assert_eq!(
        String::from_utf8(stderr).unwrap(),
        "note: line 9: the SELECT is left out: a deployed job has no screen (deploy rule `plain-select`).\n"
    );
    let plan = String::from_utf8(stdout).unwrap();
    assert!(plan.ends_with("The script keeps the rules and can be deployed as the job note.\n"), "{plan}");
    assert!(server.refused(&["deploy", "--strict", "note.sql"]).contains("--> note.sql:9:1"));
}

#[test]
fn nobody_else_may_ask_and_one_server_has_a_folder() {
    let server = Server::new();
    server.write("ticks.sql", ENDLESS);
    server.ok(&["deploy", "ticks.sql", "--name", "a job"]);
    let mode =
        |name: &str| std::fs::metadata(server.folder().join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(""), mode("token")), (0o700, 0o600));
    for path in ["/jobs", "/metrics", "/jobs/a%20job/logs"] {
        for token in [None, Some("0000")] {
            let (status, body) = server.http(path, token);
            assert_eq!(status, "HTTP/1.1 401 Unauthorized", "{path}");
            assert!(body.contains("The token is missing or wrong."), "{body}");
        }
    }
    assert_eq!(server.http("/health", None).0, "HTTP/1.1 200 OK");

    let token = std::fs::read_to_string(server.folder().join("token")).unwrap();
    let (status, metrics) = wait(|| {
        Some(server.http("/metrics", Some(token.trim())))
            .filter(|m| !m.1.contains("operator=\"\"} 0\nnumRecordsIn{"))
    });
    assert_eq!(status, "HTTP/1.1 200 OK");
    for name in
        ["numRecordsIn", "numRecordsOut", "uptime", "downtime", "fullRestarts", "numberOfFailedCheckpoints"]
    {
        assert!(
            metrics.contains(&format!("\n{name}{{job=\"a job\",job_id=\"")),
            "{name} is missing:\n{metrics}"
        );
    }
    assert_eq!(server.http("/jobs/nosuch", Some(token.trim())).0, "HTTP/1.1 404 Not Found");

    let error = server.refused(&["server", "--listen", "127.0.0.1:0"]);
    assert!(error.starts_with("error: Another server (process "), "{error}");
    let error = server.refused(&["server", "--dir", "elsewhere", "--listen", "0.0.0.0:0"]);
    assert!(error.contains("listens on loopback only"), "{error}");
}

#[test]
fn jobs_are_asked_for_by_name_and_told_what_they_cannot_do() {
    let server = Server::new();
    server.write("ticks.sql", ENDLESS);
    server.ok(&["deploy", "ticks.sql"]);
    let error = server.refused(&["deploy", "ticks.sql"]);
    assert!(error.starts_with("error: There is a job ticks already; it is RUNNING."), "{error}");
    assert!(error.contains("--update"), "{error}");
    let error = server.refused(&["job", "stop", "tics"]);
    assert_eq!(error, "error: There is no job tics.\nhint: Did you mean ticks?\n");
    assert!(server.refused(&["job", "delete", "ticks"]).contains("Stop it first: `runnel job stop ticks`."));
    assert!(server.refused(&["job", "start", "ticks"]).contains("runs already"));
    assert!(server.ok(&["job", "stop", "ticks", "--no-savepoint"]).contains("has stopped"));
    assert_eq!(server.describe("ticks")["status"], "CANCELED");
    assert!(server.refused(&["job", "savepoint", "ticks"]).contains("does not run: it is CANCELED"));
    let error = server.refused(&["job", "describe", "ticks", "--dir", "nowhere"]);
    assert!(error.contains("No server runs in nowhere."), "{error}");
}

#[test]
fn the_scripts_restart_strategy_is_honoured() {
    let server = Server::new();
    server.write("ticks.sql", &format!("SET 'restart-strategy.type' = 'none';\n{ENDLESS}"));
    server.ok(&["deploy", "ticks.sql"]);
    kill_9(server.describe("ticks")["pid"].as_u64().unwrap());
    let failed = server.wait_for("ticks", "FAILED");
    assert_eq!((&failed["restarts"], &failed["pid"]), (&0.into(), &Value::Null));
    assert!(server.ok(&["job", "describe", "ticks"]).contains("It does not restart."));
    // What fails while it runs is told with its reason.
    server.write(
        "bad.sql",
        "SET 'restart-strategy.type' = 'none';
CREATE TABLE a (n INT) WITH ('connector' = 'datagen', 'rows-per-second' = '10', 'fields.n.min' = '0', 'fields.n.max' = '0');
CREATE TABLE b (n INT) WITH ('connector' = 'blackhole');
INSERT INTO b SELECT 1 / n FROM a;
",
    );
    let _ = server.run(&["deploy", "bad.sql"]);
    let failed = server.wait_for("bad", "FAILED");
    assert!(failed["failure"]["message"].as_str().unwrap().contains("Division by zero"), "{failed}");
}

#[test]
fn a_script_is_replaced_and_the_catalogs_tables_are_taken_along() {
    let server = Server::new();
    let catalog = server.temp.path().join("catalog.db");
    let catalog = catalog.to_str().unwrap();
    let tables = ENDLESS.lines().take(2).collect::<Vec<_>>().join("\n");
    server.ok(&["--catalog", catalog, "-e", &tables]);
    server.write("ticks.sql", ENDLESS.lines().nth(2).unwrap());
    let Output { stderr, .. } = server.run(&["--catalog", catalog, "deploy", "ticks.sql"]);
    let said = String::from_utf8(stderr).unwrap();
    assert!(said.contains("note: default_database.seen is taken from your catalog as it is now"), "{said}");
    wait(|| server.ok(&["job", "logs", "ticks", "--out"]).contains("+I[7]").then_some(()));
    // The job has its own copy: it comes back without the catalog.
    std::fs::remove_file(catalog).unwrap();
    let pid = server.describe("ticks")["pid"].as_u64().unwrap();
    kill_9(pid);
    wait(|| {
        Some(server.describe("ticks"))
            .filter(|d| d["status"] == "RUNNING" && d["pid"].is_u64() && d["pid"] != pid)
    });

    server.write("ticks.sql", &ENDLESS.replace('7', "8"));
    server.ok(&["deploy", "ticks.sql", "--update", "--fresh"]);
    wait(|| server.ok(&["job", "logs", "ticks", "--out", "-n", "3"]).contains("+I[8]").then_some(()));
    assert_eq!(server.describe("ticks")["version"], 2);
}

/// The numbers that a job has printed as inserts or updates.
fn printed(server: &Server, job: &str) -> Vec<u64> {
    let text = server.ok(&["job", "logs", job, "--out", "-n", "1000"]);
    let number = |l: &str| l.strip_prefix("+I[").or(l.strip_prefix("+U["))?.strip_suffix(']')?.parse().ok();
    text.lines().filter_map(number).collect()
}

#[test]
fn an_edited_script_goes_on_with_the_state_of_the_old_one() {
    let server = Server::new();
    let script = "CREATE TABLE ticks (n BIGINT) WITH ('connector' = 'datagen', 'rows-per-second' = '100');
CREATE TABLE seen (n BIGINT) WITH ('connector' = 'print');
INSERT INTO seen SELECT COUNT(*) FROM ticks;
";
    server.write("count.sql", script);
    server.ok(&["deploy", "count.sql"]);
    wait(|| printed(&server, "count").last().filter(|n| **n >= 100).copied());
    server.write("count.sql", &script.replace("COUNT(*)", "COUNT(*) * 1000"));
    let said = server.ok(&["deploy", "count.sql", "--update"]);
    assert!(said.starts_with("The job that ran under this name was stopped with the savepoint "), "{said}");
    assert!(said.contains("It starts from checkpoint "), "{said}");
    let (old, new) = wait(|| {
        let all = printed(&server, "count");
        let (old, new): (Vec<u64>, Vec<u64>) = all.into_iter().partition(|n| *n < 50_000);
        Some((*old.last()?, *new.first()?))
    });
    assert_eq!(new, (old + 1) * 1000, "the count goes on where the old script's stopped");
    assert_eq!(server.describe("count")["version"], 2);

    // A stop right after a start has its savepoint too.
    for _ in 0..4 {
        assert!(server.ok(&["job", "stop", "count"]).contains("Its state is in the savepoint"));
        assert_eq!(server.describe("count")["status"], "FINISHED");
        assert!(server.ok(&["job", "start", "count"]).contains("It starts from checkpoint "));
    }
    let all = printed(&server, "count");
    let counts: Vec<u64> = all.iter().map(|n| n / 1000).skip_while(|n| *n < old + 1).collect();
    assert!(counts.windows(2).all(|w| w[1] == w[0] + 1), "{counts:?}");
}

#[test]
fn the_shells_statements_know_the_servers_jobs() {
    let server = Server::new();
    server.write("ticks.sql", ENDLESS);
    server.ok(&["deploy", "ticks.sql"]);
    let id = server.describe("ticks")["id"].as_str().unwrap().to_string();
    let ask = |sql: &str| server.ok(&["--output", "csv", "-e", sql]);
    let list = ask("SHOW JOBS");
    let lines: Vec<_> = list.lines().collect();
    assert_eq!(lines[0], "job id,job name,status,start time");
    assert!(lines.len() == 2 && lines[1].starts_with(&format!("{id},ticks,RUNNING,")), "{list}");
    assert_eq!(ask(&format!("DESCRIBE JOB '{id}'")), list);
    let stopped = ask(&format!("STOP JOB '{id}' WITH SAVEPOINT"));
    let savepoint = server.describe("ticks")["savepoint"].as_str().unwrap().to_string();
    assert_eq!(stopped, format!("savepoint path\n{savepoint}\n"));
    assert!(ask("SHOW JOBS").contains(",ticks,FINISHED,"));
    let error = server.refused(&["-e", "STOP JOB 'ticks'"]);
    assert!(
        error.contains("There is no job ticks.") && error.contains(&format!("Did you mean '{id}'?")),
        "{error}"
    );
    let error = server.refused(&["-e", "DESCRIBE JOB 'abc'"]);
    assert!(error.contains("Described job abc does not exist in the cluster."), "{error}");
}

#[test]
fn a_server_that_is_told_to_stop_takes_its_jobs_along_and_brings_them_back() {
    let mut server = Server::new();
    server.write("ticks.sql", ENDLESS);
    server.ok(&["deploy", "ticks.sql"]);
    let pid = server.describe("ticks")["pid"].as_u64().unwrap();
    let said = server.ok(&["server", "--stop"]);
    assert!(said.contains("Its jobs come back with the next one."), "{said}");
    assert!(!is_alive(pid));
    server.process.take().unwrap().wait().unwrap();
    assert!(server.refused(&["jobs"]).contains("No server runs in"));
    server.start();
    let back = server.wait_for("ticks", "RUNNING");
    let history = back["history"].as_array().unwrap();
    assert!(history.iter().any(|h| h["what"].as_str().unwrap().contains("to SUSPENDED.")), "{back}");
}
