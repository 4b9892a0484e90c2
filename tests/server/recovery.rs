//! What a deployed job survives, and what becomes of its state when its script or its parallelism changes.

use super::{ENDLESS, Server, is_alive, kill_9, numbers, printed, published, wait};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// A failed job comes back at once, however often.
const AT_ONCE: &str = "SET 'restart-strategy' = 'fixed-delay';
SET 'restart-strategy.fixed-delay.attempts' = '10000';
SET 'restart-strategy.fixed-delay.delay' = '100 ms';
";

fn completed(server: &Server, job: &str) -> u64 {
    server.describe(job)["checkpoints"]["completed"].as_u64().unwrap()
}

/// What the history says, line by line.
fn history(detail: &Value) -> Vec<String> {
    let all = detail["history"].as_array().unwrap();
    all.iter().map(|h| h["what"].as_str().unwrap().to_string()).collect()
}

#[test]
fn whoever_is_killed_nothing_is_lost_or_doubled() {
    const ROWS: usize = 2000;
    let mut random = SmallRng::seed_from_u64(1);
    let mut server = Server::new();
    server.write("numbers.sql", &format!("{AT_ONCE}{}", numbers(ROWS, 250)));
    server.ok(&["deploy", "numbers.sql"]);
    for round in 0..6 {
        server.wait_for("numbers", "RUNNING");
        std::thread::sleep(Duration::from_millis(random.random_range(50..900)));
        let child = server.describe("numbers")["pid"].as_u64();
        // Each of them in turn: the child, the server, both.
        if round % 3 != 1
            && let Some(pid) = child
        {
            kill_9(pid);
        }
        if round % 3 != 0 {
            server.kill();
            server.start();
        }
    }
    wait(|| (published(&server.temp.path().join("out")).len() >= ROWS).then_some(()));
    server.wait_for("numbers", "FINISHED");
    assert_eq!(published(&server.temp.path().join("out")), (1..=ROWS as u64).collect::<Vec<_>>());
}

#[test]
fn a_job_whose_checkpoints_cannot_be_kept_for_a_while_loses_nothing() {
    const ROWS: usize = 1500;
    let server = Server::new();
    let folder = server.temp.path().join("kept");
    let settings = format!("{AT_ONCE}SET 'state.checkpoints.dir' = '{}';\n", folder.display());
    server.write("numbers.sql", &format!("{settings}{}", numbers(ROWS, 200)));
    server.ok(&["deploy", "numbers.sql"]);
    wait(|| (completed(&server, "numbers") >= 2).then_some(()));
    // As where a disk is not mounted any more: what is there is no folder.
    let away = server.temp.path().join("away");
    std::fs::rename(&folder, &away).unwrap();
    std::fs::write(&folder, "").unwrap();
    let down = wait(|| Some(server.describe("numbers")).filter(|d| d["restarts"].as_u64() >= Some(2)));
    assert_ne!(down["status"], "FAILED", "{down}");
    let told = history(&down).join("\n");
    assert!(told.contains("checkpoint") && told.contains(folder.to_str().unwrap()), "{told}");
    std::fs::remove_file(&folder).unwrap();
    std::fs::rename(&away, &folder).unwrap();
    server.wait_for("numbers", "FINISHED");
    assert_eq!(published(&server.temp.path().join("out")), (1..=ROWS as u64).collect::<Vec<_>>());
}

/// Counts numbers, and prints.
fn counting(rows: usize, per_second: usize, settings: &str) -> String {
    format!(
        "{settings}SET 'execution.checkpointing.interval' = '200 ms';
SET 'execution.checkpointing.min-pause' = '0 ms';
CREATE TABLE numbers (n BIGINT) WITH ('connector' = 'datagen', 'rows-per-second' = '{per_second}',
  'fields.n.kind' = 'sequence', 'fields.n.start' = '1', 'fields.n.end' = '{rows}');
CREATE TABLE seen (n BIGINT) WITH ('connector' = 'print');
INSERT INTO seen SELECT COUNT(*) FROM numbers;
"
    )
}

#[test]
fn the_checkpoint_before_a_damaged_one_is_used_and_that_is_told() {
    let mut server = Server::new();
    let settings = format!("{AT_ONCE}SET 'state.checkpoints.num-retained' = '3';\n");
    server.write("count.sql", &counting(400, 100, &settings));
    server.ok(&["deploy", "count.sql"]);
    wait(|| (completed(&server, "count") >= 4).then_some(()));
    let pid = server.describe("count")["pid"].as_u64().unwrap();
    server.kill();
    wait(|| (!is_alive(pid)).then_some(()));
    let folder = server.folder().join("jobs");
    let mut kept: Vec<(u64, PathBuf)> = Vec::new();
    for job in std::fs::read_dir(folder).unwrap().flatten() {
        for run in std::fs::read_dir(job.path().join("checkpoints")).unwrap().flatten() {
            for checkpoint in std::fs::read_dir(run.path()).unwrap().flatten() {
                let name = checkpoint.file_name().into_string().unwrap();
                let id = name.strip_prefix("chk-").unwrap().parse().unwrap();
                if checkpoint.path().join("manifest.json").exists() {
                    kept.push((id, checkpoint.path()));
                }
            }
        }
    }
    kept.sort();
    assert!(kept.len() >= 2, "{kept:?}");
    let (newest, damaged) = kept.last().unwrap();
    let file = damaged.join("manifest.json");
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    server.start();
    let back = server.wait_for("count", "RUNNING");
    let told = history(&back);
    let told = told.iter().find(|h| h.contains("is passed over")).unwrap_or_else(|| panic!("{back}"));
    assert!(told.starts_with(&format!("Checkpoint {newest} is passed over: ")), "{told}");
    let before = kept[kept.len() - 2].0;
    let start = format!("It starts from checkpoint {before}: ");
    assert!(history(&back).iter().any(|h| h.starts_with(&start)), "{back}");
    server.wait_for("count", "FINISHED");
    let counts = printed(&server, "count");
    assert_eq!(counts.last(), Some(&400));
    let again = counts.windows(2).find(|w| w[1] <= w[0]).expect("it has gone back");
    assert!(again[1] > 1, "it did not begin anew: {again:?}");
}

#[test]
fn state_is_restored_at_other_parallelisms() {
    const ROWS: usize = 1200;
    let server = Server::new();
    server.write(
        "groups.sql",
        &format!(
            "{AT_ONCE}CREATE TABLE numbers (n BIGINT) WITH ('connector' = 'datagen', 'rows-per-second' = '200',
  'fields.n.kind' = 'sequence', 'fields.n.start' = '1', 'fields.n.end' = '{ROWS}');
CREATE TABLE seen (k BIGINT, n BIGINT, s BIGINT) WITH ('connector' = 'print');
INSERT INTO seen SELECT MOD(n, 7), COUNT(*), SUM(n) FROM numbers GROUP BY MOD(n, 7);
"
        ),
    );
    server.ok(&["deploy", "groups.sql", "--parallelism", "1"]);
    for parallelism in ["4", "1"] {
        std::thread::sleep(Duration::from_millis(800));
        let said = server.ok(&["deploy", "groups.sql", "--update", "--parallelism", parallelism]);
        assert!(said.contains("stopped with the savepoint") && said.contains("It starts from "), "{said}");
        assert_eq!(server.describe("groups")["parallelism"].to_string(), parallelism);
    }
    server.wait_for("groups", "FINISHED");
    let mut last = BTreeMap::new();
    for line in server.ok(&["job", "logs", "groups", "--out", "-n", "1000"]).lines() {
        let Some((_, rest)) = line.split_once("+U[").or_else(|| line.split_once("+I[")) else { continue };
        let cells: Vec<u64> = rest.trim_end_matches(']').split(", ").map(|c| c.parse().unwrap()).collect();
        last.insert(cells[0], (cells[1], cells[2]));
    }
    for k in 0..7 {
        let of = (1..=ROWS as u64).filter(|n| n % 7 == k);
        assert_eq!(last[&k], (of.clone().count() as u64, of.sum()), "group {k}");
    }
}

#[test]
fn an_edit_that_would_drop_state_is_refused_until_that_is_allowed() {
    let server = Server::new();
    let script = ENDLESS.replace("SELECT 7 FROM ticks", "SELECT COUNT(*) FROM ticks GROUP BY MOD(n, 3)");
    server.write("count.sql", &script);
    server.ok(&["deploy", "count.sql"]);
    wait(|| (printed(&server, "count").len() > 20).then_some(()));
    let edited = script.replace("MOD(n, 3)", "MOD(n, 5)");
    server.write("count.sql", &edited);
    let output = server.run(&["deploy", "count.sql", "--update"]);
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{said}");
    assert!(said.contains("does not fit the query: nothing claims that of "), "{said}");
    assert!(said.contains("execution.savepoint.ignore-unclaimed-state"), "{said}");
    assert_eq!(server.describe("count")["status"], "FAILED");
    let allowed = format!("SET 'execution.savepoint.ignore-unclaimed-state' = 'true';\n{edited}");
    server.write("count.sql", &allowed);
    let said = server.ok(&["deploy", "count.sql", "--update"]);
    let place = |what: &str| said.find(what).unwrap_or_else(|| panic!("{what} is not told:\n{said}"));
    let running = place(" is RUNNING.");
    for what in ["State kept: ", "State new, starts with nothing: ", "State dropped: "] {
        assert!(place(what) < running, "{what} is told before it runs:\n{said}");
    }
}

#[test]
fn draining_fires_all_windows() {
    let server = Server::new();
    server.write(
        "days.sql",
        "CREATE TABLE ticks (n BIGINT, ts AS CAST(CURRENT_TIMESTAMP AS TIMESTAMP(3)), WATERMARK FOR ts AS ts)
  WITH ('connector' = 'datagen', 'rows-per-second' = '100');
CREATE TABLE days (n BIGINT) WITH ('connector' = 'print');
INSERT INTO days SELECT COUNT(*) FROM TABLE(TUMBLE(TABLE ticks, DESCRIPTOR(ts), INTERVAL '30' DAY))
  GROUP BY window_start, window_end;
",
    );
    server.ok(&["deploy", "days.sql"]);
    let read = || Some(server.describe("days")).filter(|d| d["progress"]["rows_in"].as_u64() > Some(30));
    wait(read);
    assert!(printed(&server, "days").is_empty());
    let id = server.describe("days")["id"].as_str().unwrap().to_string();
    let stopped = server.ok(&["--output", "csv", "-e", &format!("STOP JOB '{id}' WITH SAVEPOINT DRAIN")]);
    assert!(stopped.starts_with("savepoint path\n"), "{stopped}");
    let told = printed(&server, "days");
    assert!(!told.is_empty() && told.iter().sum::<u64>() > 30, "{told:?}");
    assert_eq!(server.describe("days")["status"], "FINISHED");
}
